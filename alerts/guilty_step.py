"""Which step it began at: a whole flow, or a later step, may cross its threshold before the step that is guilty does.

A flow adds up the evidence of all its steps, and a later step may have more traffic. When either is reported first, the
steps of the flow in their order are looked at over the same windows; the first that changed beyond doubt is named
as well, so that the alert leads with it. It is *derived*: the detector has not reported it by itself yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from ..metrics.detection.detector import Detector
from ..metrics.detection.estimate import Estimate, estimate
from ..metrics.detection.input import Measurements
from ..metrics.detection.interval import corrected_interval
from ..metrics.deviation import Deviation, DeviationKind, Scope
from .grouping import lead_order, one_cause

__all__ = ["DERIVED", "guilty_steps", "is_derived"]

DERIVED = "derived"
"""Evidence of a deviation that was derived from another one: how many standard errors its effect is from 0."""

_SURE = 4.0  # standard errors, as several steps are looked at
_LEAST_SHARE = 0.3  # of the largest effect among the steps
_KINDS = frozenset({DeviationKind.SLOWER, DeviationKind.TAIL, DeviationKind.FAILING})

Windows = Callable[[Deviation], Measurements]
"""The windows since a deviation began, of its whole flow."""


def is_derived(deviation: Deviation) -> bool:
    """Whether the detector has not reported it by itself."""
    return DERIVED in deviation.evidence


def guilty_steps(
    news: Iterable[Deviation], detector: Detector, steps: Mapping[str, Sequence[str]], windows: Windows
) -> list[Deviation]:
    """For each deviation that is news, the earlier or narrower one of the step it began at, where there is one.

    Args:
        news: What was reported and belongs to no open alert.
        detector: Knows what is usual.
        steps: Ordered step names of each flow.
        windows: Gives the windows to look at.
    """
    found: list[Deviation] = []
    for deviation in news:
        names = steps.get(deviation.scope.flow, ())
        if deviation.kind not in _KINDS or len(names) < 2 or deviation.scope.step == names[0]:
            continue
        if deviation.scope.step is not None and deviation.scope.step not in names:
            continue
        guilty = _guilty(deviation, detector, names, windows(deviation), steps)
        if guilty is not None and (guilty.scope, guilty.kind) != (deviation.scope, deviation.kind):
            found.append(guilty)
    return found


def _guilty(
    deviation: Deviation,
    detector: Detector,
    names: Sequence[str],
    rows: Measurements,
    steps: Mapping[str, Sequence[str]],
) -> Deviation | None:
    by_step = {name: _estimates(deviation, detector, name, rows) for name in names}
    sizes = [each.effect for estimates in by_step.values() for _, each in estimates if _sure(each)]
    largest = max([*sizes, deviation.effect if deviation.scope.step is not None else 0.0])
    last = names.index(deviation.scope.step) if deviation.scope.step is not None else len(names)
    for name in names[:last]:
        derived = [
            _derived(deviation, scope, each)
            for scope, each in by_step[name]
            if _sure(each) and each.effect >= _LEAST_SHARE * largest
        ]
        derived = [each for each in derived if one_cause(each, deviation, 0.0)]
        if derived:
            return min(derived, key=lambda each: lead_order(each, steps))
    return None


def _estimates(deviation: Deviation, detector: Detector, step: str, rows: Measurements) -> list[tuple[Scope, Estimate]]:
    """The step over everyone: durations, a tail, or each kind of failure that is followed."""
    plain = Scope(deviation.scope.flow, step)
    scopes = [plain]
    if deviation.kind is DeviationKind.FAILING:
        fleet = detector.profile.fleet
        scopes = [
            replace(plain, check=channel.check) for channel in fleet.channels if fleet.scopes[channel.scope] == plain
        ]
    quantile = deviation.evidence.get("quantile", 0.95)
    each = [(scope, estimate(detector, scope, deviation.kind, rows, quantile)) for scope in scopes]
    return [(scope, found) for scope, found in each if found is not None]


def _sure(found: Estimate) -> bool:
    return found.error > 0 and found.effect >= _SURE * found.error


def _derived(deviation: Deviation, scope: Scope, found: Estimate) -> Deviation:
    effect, low, high = corrected_interval(found.effect, found.error)
    quantile = {name: value for name, value in deviation.evidence.items() if name == "quantile"}
    return replace(
        deviation,
        scope=scope,
        effect=effect,
        effect_low=low,
        effect_high=high,
        before=found.before,
        after=found.after,
        observations=found.observations,
        evidence={DERIVED: found.effect / found.error, **quantile},
    )
