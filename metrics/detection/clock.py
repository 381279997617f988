"""Other explanations of a deviation: the customers' clock moved by an hour, or a regular job ran at another time.

A change of daylight saving, or a nightly job that was moved, repeats what is known at another time. Such an
explanation is kept beside "no change" as a log-odds of its own, fed by volume as well as by location, and
needs less evidence than an alarm does; when it wins, the expectation moves and the evidence starts anew.
A real shift does not have the shape of the season an hour away, nor does it move traffic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baseline.baseline import Profile
from ..baseline.season import FINE_BINS, fine_bin
from .calendar import LocalTime, local_time
from .settings import DetectionSettings

__all__ = ["CLOCK_SECONDS", "Alternatives", "Clock", "ClockState", "explain"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64

CLOCK_SECONDS = (3600.0, -3600.0)

_CLOCK_PRIOR = 7.0  # nats against a moved clock
_CLOCK_TRAFFIC = 1.0  # nats that volume must bring in favour of it
_CLOCK_STEP = 2.0  # the most one window may say
_JOB_PRIOR = 8.0
_JOB_LEAST = 0.03
_JOB_EARLIER_BINS, _JOB_LATER_BINS = 30, 48  # a job may move by two and a half hours back, by four on
_JOB_AGAIN_BINS = 18  # and may run a second time within an hour and a half
_JOB_OVERTIME_SECONDS = 300.0
_ABSENT_PRIOR = 6.0
_MISSED_PRIOR = 3.0
_JOB_REST_SECONDS = (1800.0, 43_200.0)  # after a false start, after a whole run


@dataclass(frozen=True, slots=True)
class Alternatives:
    """What other explanations would add at one window, ``[S]`` or ``[2, S]``.

    Attributes:
        location: Change of level if the clock were an hour ahead, or behind, ``[2, S]``.
        volume: Change of log traffic likewise, ``[2, S]``.
        least: What ``location`` may be at least if jobs begin and end five minutes off their usual time.
        most: What it may be at most.
        under: By how much the level may be under what is usual now for the same reason, 0 or less, ``[S]``.
        over: By how much it may be over it.
        job: Height of the job that should be running now, or 0.
        earlier: Height of the job that might be running now instead of later today, or 0.
        later: Height of the job that might be running now if it did not at its time, or 0.
        again: Height of the job that might be running now a second time, or 0.
        duration: Its usual length in windows.
    """

    location: Floats
    volume: Floats
    least: Floats
    most: Floats
    under: Floats
    over: Floats
    job: Floats
    earlier: Floats
    later: Floats
    again: Floats
    duration: Floats

    @classmethod
    def none(cls, scopes: int) -> Alternatives:
        """No other explanation."""
        zero = np.zeros(scopes)
        return cls(*(np.zeros((2, scopes)) for _ in range(4)), *(zero.copy() for _ in range(7)))


class Clock:
    """Works out the alternatives of a profile's scopes at any time."""

    def __init__(self, profile: Profile, settings: DetectionSettings) -> None:
        self._profile, self._settings = profile, settings
        fleet, traffic = profile.fleet, profile.traffic
        self._weight = np.zeros((len(fleet.cells), len(fleet.scopes)))
        for index, inside in enumerate(fleet.members):
            share = traffic[inside] if traffic[inside].any() else np.ones(len(inside))
            self._weight[inside, index] = share / share.sum()
        self._job = profile.season.job @ self._weight  # [types, 288, S]
        strong = np.maximum(self._job.max(axis=1, keepdims=True), _JOB_LEAST)
        near = np.stack([np.roll(self._job, lag, axis=1) for lag in (-1, 0, 1)])
        self._job_least, self._job_most = near.min(axis=0) - self._job, near.max(axis=0) - self._job
        running = self._job > 0.5 * strong
        number = running.sum(axis=1)
        height = np.where(running, self._job, 0.0).sum(axis=1) / np.maximum(number, 1)
        earlier, later = np.zeros_like(running), np.zeros_like(running)
        for lag in range(1, _JOB_EARLIER_BINS + 1):
            earlier |= np.roll(running, -lag, axis=1)
        for lag in range(1, _JOB_LATER_BINS + 1):
            later |= np.roll(running, lag, axis=1)
        self._earlier = np.where(earlier & ~running, height[:, None, :], 0.0)
        again = np.zeros_like(running)
        for lag in range(1, _JOB_AGAIN_BINS + 1):
            again |= np.roll(running, lag, axis=1)
        self._again = np.where(again & ~running, height[:, None, :], 0.0)
        self._later = np.where(later & ~running, height[:, None, :], 0.0)
        self._duration = number * (86_400 / FINE_BINS) / settings.window_seconds

    def at(
        self, starts: Floats, scopes: Floats | slice = slice(None), cells: Floats | slice = slice(None)
    ) -> list[Any]:
        """The arrays of :class:`Alternatives` over windows ``[T, …]`` for some scopes and all their cells."""
        profile = self._profile
        local = local_time(starts, self._settings)
        season, volume = profile.season.take(cells), profile.volume.take(scopes)
        weight = self._weight[cells][:, scopes]
        level, expected = season.at(local) @ weight, volume.at(local)
        moved = [local_time(starts + seconds, self._settings) for seconds in CLOCK_SECONDS]
        floor = 1.0
        location = np.stack([season.at(other) @ weight - level for other in moved], axis=1)
        traffic = np.stack(
            [np.log(np.maximum(volume.at(other), floor) / np.maximum(expected, floor)) for other in moved], axis=1
        )
        kind, bins = self._kind(local), fine_bin(local)
        slack = [
            np.stack([edge[self._kind(other), fine_bin(other)][:, scopes] for other in moved], axis=1)
            for edge in (self._job_least, self._job_most)
        ]
        return [
            location,
            traffic,
            location + slack[0],
            location + slack[1],
            self._job_least[kind, bins][:, scopes],
            self._job_most[kind, bins][:, scopes],
            self._job[kind, bins][:, scopes],
            self._earlier[kind, bins][:, scopes],
            self._later[kind, bins][:, scopes],
            self._again[kind, bins][:, scopes],
            self._duration[kind][:, scopes],
        ]

    def now(self, start: float) -> Alternatives:
        """The alternatives at one window."""
        return Alternatives(*(values[0] for values in self.at(np.array([start]))))

    def _kind(self, local: LocalTime) -> Any:
        return local.day_type if self._job.shape[0] > 1 else np.zeros_like(local.day_type)


@dataclass(slots=True)
class ClockState:
    """Log-odds of other explanations, and which are in force, ``[S]`` (``[2, S]`` for clocks)."""

    clock: Floats
    traffic: Floats  # the part of it that volume says
    moved: Floats  # 0 = usual clock, 1 and 2 = :data:`CLOCK_SECONDS`
    job: Floats
    running: Floats  # windows that a job has been running elsewhere, 0 = not
    over: Floats
    rested: Floats  # windows until a job may be looked for again
    absent: Floats
    missed: Floats  # windows for which a job that did not run at its time may still come

    @classmethod
    def new(cls, scopes: int) -> ClockState:
        """The usual clock, no job."""
        zero = np.zeros(scopes)
        return cls(np.full((2, scopes), -_CLOCK_PRIOR), np.zeros((2, scopes)), *(zero.copy() for _ in range(7)))


def explain(
    state: ClockState, other: Alternatives, residual: tuple[Floats, Floats], variance: tuple[Floats, Floats],
    window_seconds: float, top: Integers,
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    """Weigh the other explanations with one window (in place).

    Args:
        state: The state.
        other: What they would add.
        residual: Residuals of location and of log volume, ``[S]`` each.
        variance: Long-run variances of a window, ``inf`` without data.
        window_seconds: Length of a window.
        top: The scope that decides for each scope: clocks and jobs are a step's, not a sub-population's.

    Returns:
        What to take off the residuals of location and volume, and the scopes whose evidence is to start anew.
    """
    (r, v), (r_variance, v_variance) = residual, variance
    here = np.arange(len(r))
    heard = np.clip(_gain(v, other.volume, v_variance), -_CLOCK_STEP, _CLOCK_STEP)
    state.traffic = np.clip(state.traffic + heard, -_CLOCK_TRAFFIC, _CLOCK_PRIOR)
    evidence = _gain(r, other.location, r_variance) + heard
    state.clock = np.clip(state.clock + np.clip(evidence, -_CLOCK_STEP, _CLOCK_STEP), -_CLOCK_PRIOR, _CLOCK_PRIOR)
    before = state.moved.astype(np.int64)
    held = state.clock[np.maximum(before - 1, 0), here] > 0
    # a shift can look like the season an hour away, but it does not move traffic
    believed = np.where(state.traffic >= _CLOCK_TRAFFIC, state.clock, -_CLOCK_PRIOR)
    best = believed.argmax(axis=0)
    after = np.where((before > 0) & held, before, np.where(believed[best, here] > 0, best + 1, 0))
    after = after[top]
    state.moved = after.astype(np.float64)
    row = np.maximum(after - 1, 0)
    location = np.where(after > 0, other.location[row, here], 0.0)
    volume = np.where(after > 0, other.volume[row, here], 0.0)
    anew = after != before
    # a moved clock moves jobs along
    usual = after == 0
    jobs = replace(
        other, **{name: np.where(usual, getattr(other, name), 0.0) for name in ("job", "earlier", "later", "again")}
    )
    shift, started = _jobs(state, jobs, r - location, r_variance, window_seconds, top)
    return location + shift, volume, anew | started


def _gain(residual: Floats, offset: Floats, variance: Floats) -> Floats:
    """Log-likelihood of an offset against none."""
    return np.asarray(offset * (residual - 0.5 * offset) / variance)


def _jobs(
    state: ClockState,
    other: Alternatives,
    residual: Floats,
    variance: Floats,
    window_seconds: float,
    top: Integers,
) -> tuple[Floats, Floats]:
    # once a job has run at its time it is not expected again that day
    state.missed = np.where(
        state.absent >= _MISSED_PRIOR, _JOB_LATER_BINS * 300 / window_seconds, np.maximum(state.missed - 1, 0.0)
    )
    height = np.maximum(other.earlier, np.where(state.missed > 0, other.later, 0.0))
    state.rested = np.maximum(state.rested - 1, 0.0)
    looking = (height > 0) & (state.running == 0) & (state.rested == 0)
    state.job = np.where(looking, np.maximum(state.job + _gain(residual, height, variance), 0.0), 0.0)
    begun = (looking & (state.job >= _JOB_PRIOR))[top]
    running = begun | (state.running > 0)
    # a running job is over when its time is, or when the level is plainly back
    size = np.where(height > 0, height, 0.0)
    left = np.where(running & ~begun, _gain(residual - size, -size, variance), 0.0)
    state.over = np.where(running, np.maximum(state.over + left, 0.0), 0.0)
    overtime = other.duration + _JOB_OVERTIME_SECONDS / window_seconds
    ended = running & ((state.running >= overtime) | (state.over >= _ABSENT_PRIOR) | (height <= 0))
    ended = ended[top]
    whole = state.running >= 0.5 * other.duration
    rest = np.where(whole, _JOB_REST_SECONDS[1], _JOB_REST_SECONDS[0]) / window_seconds
    state.running = np.where(running & ~ended, state.running + 1, 0.0)
    state.rested = np.where(ended, rest, state.rested)
    state.absent = np.where(other.job > 0, np.maximum(state.absent + _gain(residual, -other.job, variance), 0.0), 0.0)
    absent = (state.absent >= _ABSENT_PRIOR)[top]
    shift = np.where(running & ~ended, size, 0.0) - np.where(absent, np.maximum(other.job, 0.0), 0.0)
    return shift, begun | ended
