"""The ruler's own health as deviations: sources that stopped delivering, an evaluation that is late.

They go through the same lifecycle as everything else. Silence of all sources is never taken for health: when
the baseline expects traffic and nothing arrives at all, that is an alert of its own, and the silence of the single
steps is grouped under it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..metrics.detection.calendar import local_time
from ..metrics.detection.detector import Detector
from ..metrics.deviation import Deviation, DeviationKind, Scope
from ..metrics.store.store import SourceProgress
from .alert import EVALUATION, RULER, SOURCE
from .evaluation_settings import EvaluationSettings

__all__ = ["evaluation_health", "source_health"]


def evaluation_health(through: float | None, now: float, settings: EvaluationSettings) -> list[Deviation]:
    """Whether the evaluation is late: nothing after ``through`` has been judged."""
    if through is None or now - through <= settings.late_seconds + settings.window_seconds:
        return []
    return [_deviation(Scope(RULER, EVALUATION), through, through + settings.late_seconds, 0.0, {})]


def source_health(
    sources: Sequence[SourceProgress], detector: Detector | None, now: float, settings: EvaluationSettings
) -> list[Deviation]:
    """Whether every source is silent although the season expects traffic."""
    if not sources or detector is None:
        return []
    newest = max(sources, key=lambda source: source.updated_at)
    since = newest.updated_at
    if now - since < settings.no_data_seconds:
        return []
    expected = _expected_a_window(detector, since)
    missing = expected * (now - since) / settings.window_seconds
    if missing < settings.detection.silent_evidence:
        return []
    scope = Scope(RULER, SOURCE, (("name", newest.source),))
    return [_deviation(scope, since, since + settings.no_data_seconds, expected * 60 / settings.window_seconds, {})]


def _expected_a_window(detector: Detector, at: float) -> float:
    """Observations of the busiest scope that the season expects in a window."""
    volume = detector.profile.volume.at(local_time(np.array([at]), detector.settings))[0]
    return float(np.max(volume, initial=0.0))


def _deviation(scope: Scope, since: float, detected_at: float, before: float, evidence: dict[str, float]) -> Deviation:
    return Deviation(
        kind=DeviationKind.SILENT,
        scope=scope,
        detected_at=detected_at,
        started_at=since,
        started_low=since,
        started_high=since,
        effect=0.0,
        effect_low=0.0,
        effect_high=0.0,
        before=before,
        after=0.0,
        observations=0,
        observations_before=0,
        evidence=evidence,
    )
