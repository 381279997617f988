"""Events of the follower, which speak of scopes by number, in the words and units of the product."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baseline.baseline import Profile
from ..deviation import Deviation, DeviationKind, Scope
from .events import Event, EventKind
from .settings import DetectionSettings

__all__ = ["deviation_of", "scope_level"]

Floats = NDArray[Any]  # float64

_KINDS = {
    EventKind.UP: DeviationKind.SLOWER,
    EventKind.DOWN: DeviationKind.FASTER,
    EventKind.TAIL: DeviationKind.TAIL,
    EventKind.FAIL: DeviationKind.FAILING,
    EventKind.FEWER: DeviationKind.IMPROVING,
    EventKind.VOLUME: DeviationKind.VOLUME,
    EventKind.SILENT: DeviationKind.SILENT,
    EventKind.MIX: DeviationKind.MIX,
    EventKind.CREEP: DeviationKind.CREEP,
    EventKind.RESOLVE: DeviationKind.RECOVERED,
}


def deviation_of(event: Event, now: float, profile: Profile, settings: DetectionSettings, levels: Floats) -> Deviation:
    """An event of the window that starts at ``now``; ``levels`` are those of cells then (ln seconds)."""
    fleet = profile.fleet
    scope = fleet.scopes[event.scope]
    if event.channel >= 0:
        check = fleet.channels[event.channel].check
        scope = Scope(scope.flow, scope.step, scope.dimensions, check)
    before = event.before
    if np.isnan(before):
        before = float(np.exp(scope_level(profile, event.scope, levels)))
    window = settings.window_seconds
    inside = fleet.members[event.scope]
    return Deviation(
        kind=_KINDS[event.kind],
        scope=scope,
        detected_at=now + window,
        started_at=event.started,
        started_low=event.started_low,
        started_high=event.started_high,
        effect=event.effect,
        effect_low=event.low,
        effect_high=event.high,
        before=before,
        after=_level_after(event, before),
        observations=round(event.count),
        observations_before=round(float(profile.traffic[inside].sum() * profile.span_seconds / window)),
        evidence=event.evidence,
        ends=_KINDS[event.ends] if event.ends is not None else None,
    )


def scope_level(profile: Profile, scope: int, levels: Floats) -> float:
    """The level of a scope at its usual mix, given those of cells (ln seconds)."""
    inside = profile.fleet.members[scope]
    weight = profile.traffic[inside]
    return float(np.average(levels[inside], weights=weight if weight.any() else None))


def _level_after(event: Event, before: float) -> float:
    """The level since the start: for rates what was counted, since a ratio to a rate of almost nothing says little."""
    if event.kind in (EventKind.FAIL, EventKind.FEWER) and event.count > 0 and "failed" in event.evidence:
        return event.evidence["failed"] / event.count
    return before * float(np.exp(event.effect))
