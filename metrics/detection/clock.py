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
from ..baseline.season import FINE_BINS, Season, fine_bin
from .calendar import LocalTime, local_time
from .settings import DetectionSettings
from .sums import ScopeSums

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
        self._volume, self._settings = profile.volume, settings
        self._season = _scope_season(profile)
        self._scopes = len(profile.fleet.scopes)
        # jobs are a matter of few scopes: what follows is about those alone
        self._with_job = np.flatnonzero((self._season.job != 0).any(axis=(0, 1)))
        job = self._season.job[..., self._with_job].astype(np.float64)  # [types, 288, …]
        strong = np.maximum(job.max(axis=1, keepdims=True), _JOB_LEAST)
        near = np.stack([np.roll(job, lag, axis=1) for lag in (-1, 0, 1)])
        self._job, self._job_least, self._job_most = job, near.min(axis=0) - job, near.max(axis=0) - job
        running = job > 0.5 * strong
        number = running.sum(axis=1)
        height = np.where(running, job, 0.0).sum(axis=1) / np.maximum(number, 1)
        before, after, soon = (
            _near(running, sign, bins)
            for sign, bins in ((-1, _JOB_EARLIER_BINS), (1, _JOB_LATER_BINS), (1, _JOB_AGAIN_BINS))
        )
        self._earlier, self._later, self._again = (
            np.where(each & ~running, height[:, None, :], 0.0) for each in (before, after, soon)
        )
        self._duration = number * (86_400 / FINE_BINS) / settings.window_seconds

    def at(self, starts: Floats, scopes: Floats | slice = slice(None)) -> list[Any]:
        """The arrays of :class:`Alternatives` over windows ``[T, …]`` for some scopes."""
        local = local_time(starts, self._settings)
        everyone = isinstance(scopes, slice)
        season = self._season if everyone else self._season.take(scopes)
        volume = self._volume if everyone else self._volume.take(scopes)
        level, expected = season.at(local), np.maximum(volume.at(local), 1.0)
        moved = [local_time(starts + seconds, self._settings) for seconds in CLOCK_SECONDS]
        location = np.stack([season.at(other) - level for other in moved], axis=1)
        traffic = np.stack([np.log(np.maximum(volume.at(other), 1.0) / expected) for other in moved], axis=1)
        place, own = self._jobs_of(scopes)
        least, most = location, location
        if len(own):
            least, most = location.copy(), location.copy()
            for target, edge in ((least, self._job_least), (most, self._job_most)):
                slack = [edge[self._kind(other), fine_bin(other)][:, own] for other in moved]
                target[:, :, place] += np.stack(slack, axis=1)
        kind, bins = self._kind(local), fine_bin(local)
        jobs = [self._job_least, self._job_most, self._job, self._earlier, self._later, self._again]
        by_window = [*(values[kind, bins] for values in jobs), self._duration[kind]]
        return [location, traffic, least, most, *(_placed(values[:, own], place, level.shape) for values in by_window)]

    def now(self, start: float) -> Alternatives:
        """The alternatives at one window."""
        return Alternatives(*(values[0] for values in self.at(np.array([start]))))

    def _jobs_of(self, scopes: Floats | slice) -> tuple[Integers, Integers]:
        """Of the scopes asked for, those that have a job: their places there, and among all that have one."""
        if isinstance(scopes, slice):
            return self._with_job, np.arange(len(self._with_job))
        where = np.full(self._scopes, -1)
        where[self._with_job] = np.arange(len(self._with_job))
        place = np.flatnonzero(where[scopes] >= 0)
        return place, where[scopes][place]

    def _kind(self, local: LocalTime) -> Any:
        return local.day_type if self._job.shape[0] > 1 else np.zeros_like(local.day_type)


def _scope_season(profile: Profile) -> Season:
    """The season of each scope: that of its cells, by their usual traffic."""
    fleet, season = profile.fleet, profile.season
    add = ScopeSums(fleet.members, len(fleet.cells))
    if add.same:
        return season
    traffic = np.asarray(profile.traffic, dtype=np.float64)
    whole = add(traffic)
    # of scopes without traffic every cell counts alike
    share, number = np.divide(1.0, whole, out=np.zeros(len(whole)), where=whole > 0), add(np.ones(len(traffic)))
    parts = []
    for values in (season.level, season.week, season.job):
        out = np.zeros((*values.shape[:2], len(whole)), dtype=np.float32)
        for first, second in np.ndindex(values.shape[:2]):
            row = values[first, second]
            if row.any():
                weighted = add(row * traffic) * share
                out[first, second] = weighted if whole.all() else np.where(whole > 0, weighted, add(row) / number)
        parts.append(out)
    return Season(*parts)


def _near(running: Floats, sign: int, bins: int) -> Floats:
    """Whether a job runs within so many bins after (``sign`` -1) or before."""
    found = np.zeros_like(running)
    for lag in range(1, bins + 1):
        found |= np.roll(running, sign * lag, axis=1)
    return found


def _placed(values: Floats, place: Integers, shape: tuple[int, ...]) -> Floats:
    out = np.zeros(shape)
    out[:, place] = values
    return out


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
