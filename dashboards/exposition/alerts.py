"""Open alerts and the effects behind them as gauges, and the levels of the baseline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import exp, isfinite

import numpy as np
from prometheus_client.core import GaugeMetricFamily, Metric

from ...alerts.alert import Alert, AlertState
from ...metrics.baseline.baseline import Profile
from ...metrics.detection.calendar import local_time
from ...metrics.deviation import Deviation
from ...metrics.names import Label
from ...metrics.names import Metric as Name

__all__ = ["alert_families", "baseline_durations"]

_SCOPE = [Label.FLOW, Label.STEP, Label.KIND, Label.CHECK]
_STATES = {AlertState.PENDING: 1, AlertState.FIRING: 2}


def alert_families(alerts: Iterable[Alert]) -> Iterator[Metric]:
    """States of open alerts, and the effects of their members that have not recovered.

    Of several members with the same labels (sub-populations: dimensions are not labels here), the one with
    the largest effect stands for all. An effect is a factor: 1.19 is 19 % more.
    """
    state = GaugeMetricFamily(
        Name.ALERT_STATE, "1 for every open alert, by its state.", labels=[*_SCOPE, Label.SEVERITY, Label.STATE]
    )
    effects = [
        GaugeMetricFamily(Name.DEVIATION_EFFECT_RATIO, "Level after the change divided by before.", labels=_SCOPE),
        GaugeMetricFamily(Name.DEVIATION_EFFECT_LOW_RATIO, "Lower end of its 95 % interval.", labels=_SCOPE),
        GaugeMetricFamily(Name.DEVIATION_EFFECT_HIGH_RATIO, "Upper end of its 95 % interval.", labels=_SCOPE),
    ]
    states: dict[tuple[str, ...], tuple[int, Alert]] = {}
    worst: dict[tuple[str, ...], Deviation] = {}
    for alert in alerts:
        key = (*_labels(alert.lead), alert.severity.value)
        rank = _STATES[alert.state]
        if key not in states or states[key][0] < rank:
            states[key] = (rank, alert)
        for member in alert.members:
            if member.recovered_at is None:
                scope = _labels(member.deviation)
                if scope not in worst or abs(worst[scope].effect) < abs(member.deviation.effect):
                    worst[scope] = member.deviation
    for labels, (_, alert) in sorted(states.items(), key=lambda item: item[0]):
        state.add_metric([*labels, alert.state.value], 1.0)
    for scope, deviation in sorted(worst.items(), key=lambda item: item[0]):
        values = (deviation.effect, deviation.effect_low, deviation.effect_high)
        for family, value in zip(effects, values, strict=True):
            family.add_metric(scope, exp(value) if value < 700 else float("inf"))
    yield state
    yield from effects


def baseline_durations(profile: Profile, at: float) -> dict[tuple[str, str], float]:
    """What is usual at ``at`` (seconds since 1970 UTC): typical duration in seconds by ``(flow, step)``.

    The geometric mean over all customers at their usual mix; steps with too little history are left out.
    """
    level = profile.mix.at(local_time(np.array([at]), profile.settings))[0]
    return {
        (scope.flow, scope.step): exp(value)
        for scope, value, reason in zip(profile.fleet.scopes, level.tolist(), profile.reasons, strict=True)
        if scope.step is not None and not scope.dimensions and not reason and isfinite(value)
    }


def _labels(deviation: Deviation) -> tuple[str, ...]:
    scope = deviation.scope
    return (scope.flow, scope.step or "", deviation.kind.value, scope.check or "")
