"""What is added to the detector's word: read from the store, in the transaction of the window.

Failures get a name, the step at which it began is looked for, accepted levels are taken from what was stored since, and
the sizes of open alerts are brought up to date.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from ..metrics.detection.events import REBASED
from ..metrics.detection.input import Measurements
from ..metrics.deviation import Deviation, DeviationKind, Scope
from ..metrics.specification.flow import FlowSpec
from ..metrics.store.store import Store
from .alert import ALERTING, Alert, Transition
from .baselines import Judge
from .evaluation_settings import EvaluationSettings
from .grouping import DOMINANT_VERDICT
from .guilty_step import guilty_steps
from .investigation import dominant_verdict, investigate
from .lifecycle import Lifecycle
from .re_estimation import estimate_is_due, estimated_anew

__all__ = ["Reckoning"]


@dataclass(frozen=True, slots=True)
class Reckoning:
    """Adds to what the detector says.

    Attributes:
        store: Where windows are.
        flows: The specification.
        settings: How windows are judged.
    """

    store: Store
    flows: Mapping[str, FlowSpec]
    settings: EvaluationSettings

    def completed(self, deviation: Deviation, now: float) -> Deviation:
        """Volumes a minute instead of a window; unnamed failures with the verdict that most of them have."""
        if deviation.kind in {DeviationKind.SILENT, DeviationKind.VOLUME}:
            scale = 60.0 / self.settings.window_seconds
            return replace(deviation, before=deviation.before * scale, after=deviation.after * scale)
        if deviation.kind is DeviationKind.FAILING and deviation.scope.check is None:
            verdict = dominant_verdict(self.store, deviation, now)
            if verdict is not None:
                return replace(deviation, evidence={**deviation.evidence, DOMINANT_VERDICT: float(verdict)})
        return deviation

    def windows(self, loaded: Judge, scope: Scope, start: float, end: float) -> Measurements:
        """Stored windows of a scope's flow and step."""
        rollup, keys = self.store.read_rollups(start, end, scope.flow, scope.step)
        return Measurements.from_rollup(rollup, loaded.cells.cells(keys))

    def accept(self, loaded: Judge, alerts: Iterable[Alert], start: float, end: float) -> list[Deviation]:
        """Let the detector take levels for normal that a person accepted within (start, end]; returns their ends."""
        accepted = _accepted(alerts, start, end)
        for each in accepted:
            windows = self.windows(loaded, Scope(each.scope.flow), each.started_at, end).windows()
            loaded.detector.accept(each.scope, each.kind, list(windows))
        evidence = {REBASED: 1.0, "by_person": 1.0}
        return [
            replace(each, kind=DeviationKind.RECOVERED, ends=each.kind, detected_at=end, evidence=evidence)
            for each in accepted
        ]

    def guilty(self, loaded: Judge, lifecycle: Lifecycle, found: list[Deviation], end: float) -> list[Deviation]:
        """The steps at which what is new began, where others were reported first."""
        news = [each for each in found if each.kind in ALERTING and lifecycle.is_news(each)]
        reported = {(each.scope, each.kind) for each in found}
        derived = guilty_steps(
            news,
            loaded.detector,
            {name: tuple(step.name for step in flow.steps) for name, flow in self.flows.items()},
            lambda each: self.windows(loaded, Scope(each.scope.flow), each.started_at, end),
        )
        unique = {(each.scope, each.kind): each for each in derived if (each.scope, each.kind) not in reported}
        return [self.completed(each, end) for each in unique.values()]

    def estimate_anew(self, loaded: Judge, lifecycle: Lifecycle, end: float) -> list[Transition]:
        """Bring sizes and impact of open alerts up to date, where it is time."""
        found: list[Transition] = []
        for alert in list(lifecycle.alerts.values()):
            if alert.flow and estimate_is_due(alert, end, self.settings.window_seconds):
                deviation = estimated_anew(loaded.detector, alert, end, partial(self.windows, loaded))
                if deviation is not None:
                    attribution, impact = investigate(self.store, self.flows, alert, end)
                    found += lifecycle.re_estimate(deviation, alert.id, end)
                    lifecycle.attach(alert.id, attribution or alert.attribution, impact or alert.impact, alert.nearby)
        return found


def _accepted(alerts: Iterable[Alert], start: float, end: float) -> list[Deviation]:
    """Deviations whose level a person accepted within (start, end]."""
    return [
        member.deviation
        for alert in alerts
        if alert.accepted_by is not None and alert.resolved_at is not None and start < alert.resolved_at <= end
        for member in alert.members
    ]
