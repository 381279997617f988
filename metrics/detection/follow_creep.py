"""Creep: many small changes, each too small to be reported, against the profile as it was learnt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baseline.baseline import Profile
from .events import Event, EventKind

__all__ = ["CreepFollower"]

Floats = NDArray[Any]  # float64

_Z95 = 1.959964
_LEAST = float(np.log(1.03))
_DEVIATIONS = 4.0
_DAY = 86_400.0


@dataclass(slots=True)
class _Day:
    """The day so far of each scope: Σ r/v, Σ 1/v, the day's number, and the level last reported."""

    score: Floats
    weight: Floats
    number: Floats
    told: Floats


class CreepFollower:
    """Compares the mean of each day with the frozen profile, once a day."""

    def __init__(self, profile: Profile, tested: Floats, common: Floats) -> None:
        self._slow_variance, self._tested, self._common = profile.shift.noise.slow_variance, tested, common
        self.day = _Day(*(np.zeros(len(profile.fleet.scopes)) for _ in range(4)))

    def step(self, now: Floats, residual: Floats, variance: Floats, raised: Floats) -> list[Event]:
        """Take in a window of locations; says once a day whether the level has moved away from the profile.

        Args:
            now: Start of the window, each scope's own.
            residual: Deviations from the profile, ``[S]``.
            variance: Their sampling variances, ``inf`` without data.
            raised: Effects that are reported already, 0 = none.
        """
        day, number = self.day, now // _DAY
        events = []
        for scope in np.flatnonzero((number != day.number) & (day.weight > 0)):
            mean, weight = day.score[scope] / day.weight[scope], day.weight[scope]
            error = float(np.sqrt(1 / weight + self._slow_variance[scope]))
            moved = float(mean - day.told[scope])
            quiet = raised[scope] == 0 and self._tested[scope]
            if quiet and abs(moved) >= _LEAST and moved > _DEVIATIONS * error:
                day.told[scope] = mean
                since = float(now[scope]) - _DAY
                times = (float(now[scope]), since, since - _DAY, float(now[scope]))
                interval = (float(mean), float(mean - _Z95 * error), float(mean + _Z95 * error))
                events.append(Event(EventKind.CREEP, int(scope), -1, *times, *interval, np.nan, 0.0, {"day": moved}))
        new_day = number != day.number
        day.number = np.where(new_day, number, day.number)
        use = np.isfinite(variance) & (raised == 0)
        one = np.where(use, 1.0 / (np.where(use, variance, 1.0) + self._common), 0.0)
        day.weight = np.where(new_day, 0.0, day.weight) + one
        day.score = np.where(new_day, 0.0, day.score) + one * residual
        return events
