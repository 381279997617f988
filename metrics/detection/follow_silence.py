"""Silence: windows without observations where the season expects some."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .events import Event, EventKind
from .raised import Raised
from .settings import DetectionSettings

__all__ = ["SilenceFollower"]

Floats = NDArray[Any]  # float64

_SILENCE_SECONDS = 300.0  # silence is not called before this, however many observations are missing


class SilenceFollower:
    """Adds up the observations that are missing; ``silent.recovery`` is their number."""

    def __init__(self, parent: Floats, settings: DetectionSettings) -> None:
        self._parent, self._settings = parent, settings
        self.silent = Raised.new(len(parent))

    def step(self, now: Floats, seen: Floats, expected: Floats) -> list[Event]:
        """Take in a window: observations seen and expected of each scope."""
        silent, enough = self.silent, self._settings.silent_evidence
        cap = enough * self._settings.window_seconds / _SILENCE_SECONDS
        quiet = seen <= 0
        fresh = quiet & (silent.recovery <= 0) & (expected > 0)
        silent.started = np.where(fresh, now, silent.started)
        silent.recovery = np.where(quiet, silent.recovery + np.minimum(expected, cap), 0.0)
        events = []
        for scope in np.flatnonzero((silent.recovery >= enough) & (silent.effect == 0)):
            silent.effect[scope], silent.detected[scope] = -1.0, now[scope]
            if not self._parent_silent(int(scope)):
                silent.told[scope] = 1.0
                events.append(self._event(EventKind.SILENT, int(scope), now, expected, None))
        for scope in np.flatnonzero(~quiet & (silent.effect != 0)):
            if silent.told[scope]:
                events.append(self._event(EventKind.RESOLVE, int(scope), now, expected, EventKind.SILENT))
            silent.effect[scope] = silent.told[scope] = 0.0
        return events

    def _parent_silent(self, scope: int) -> bool:
        parent = int(self._parent[scope])
        return parent >= 0 and (self.silent.effect[parent] != 0 or self._parent_silent(parent))

    def _event(self, kind: EventKind, scope: int, now: Floats, expected: Floats, ends: EventKind | None) -> Event:
        since, missing = float(self.silent.started[scope]), float(self.silent.recovery[scope])
        effect = -float(np.log1p(2 * missing)) if ends is None else 0.0
        evidence = {"missing": missing} if ends is None else {}
        times = (float(now[scope]), since, since, since)
        return Event(kind, scope, -1, *times, effect, effect, effect, float(expected[scope]), 0.0, evidence, ends)
