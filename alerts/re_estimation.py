"""The size of an open alert, estimated anew from time to time from the windows since it was found.

At the moment of an alarm an effect is selected to be large, and its interval covers too little; windows after it are
not selected. An update is not a message: readers see it where they look, and in the message about the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..metrics.detection.detector import Detector
from ..metrics.detection.estimate import estimate
from ..metrics.detection.input import Measurements
from ..metrics.deviation import Deviation, Scope
from .alert import Alert, AlertState

__all__ = ["estimate_is_due", "estimated_anew"]

_OFTEN_WINDOWS, _SELDOM_WINDOWS = 15, 60
_YOUNG_WINDOWS = 120
_LONGEST_SECONDS = 6 * 3600.0

ReadWindows = Callable[[Scope, float, float], Measurements]
"""Windows of a scope's flow and step from one time to another."""


def estimate_is_due(alert: Alert, now: float, window_seconds: float) -> bool:
    """Every fifteen windows for the first two hours (of windows of a minute), then every sixty."""
    if alert.state is not AlertState.FIRING or alert.members[0].recovered_at is not None or not alert.history:
        return False
    age = (now - alert.lead.detected_at) / window_seconds
    every = _OFTEN_WINDOWS if age <= _YOUNG_WINDOWS else _SELDOM_WINDOWS
    return now - alert.history[-1].at >= every * window_seconds


def estimated_anew(detector: Detector, alert: Alert, now: float, read: ReadWindows) -> Deviation | None:
    """The lead of an alert with its size as of ``now``; ``None`` when that cannot be told.

    From the windows since it was found, of the last six hours.
    """
    lead = alert.lead
    rows = read(lead.scope, max(lead.detected_at, now - _LONGEST_SECONDS), now)
    found = estimate(detector, lead.scope, lead.kind, rows, lead.evidence.get("quantile", 0.95))
    if found is None:
        return None
    return replace(
        lead,
        effect=found.effect,
        effect_low=found.low,
        effect_high=found.high,
        after=lead.before * found.after / found.before if found.before > 0 else found.after,
        observations=alert.history[0].observations + found.observations,
    )
