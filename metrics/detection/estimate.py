"""How large a deviation is by now: an effect estimated anew from windows that had no part in raising the alarm.

An effect at the moment of the alarm is selected to be large; windows after it are not (intervals taken
at the alarm cover too little). Nothing here changes the detector.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baseline.budget import TAILS
from ..baseline.location import pulled_in_sum, tail_count, undo_clip
from ..deviation import DeviationKind, Scope
from .calendar import local_time
from .detector import Detector
from .input import Measurements
from .interval import plain_rate_interval

__all__ = ["Estimate", "estimate"]

Floats = NDArray[Any]  # float64

_Z95 = 1.959964
_DISPERSION_LIMIT = 1.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A log-ratio with its standard error and 95 % interval, levels before and after, and the observations behind it.

    For failures and tails the levels are rates; for durations ``before`` and ``after`` are geometric means in seconds.
    ``ends`` of the interval are given where it is lopsided.
    """

    effect: float
    error: float
    before: float
    after: float
    observations: int
    ends: tuple[float, float] | None = None

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.effect - _Z95 * self.error if self.ends is None else self.ends[0]

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.effect + _Z95 * self.error if self.ends is None else self.ends[1]


def estimate(
    detector: Detector, scope: Scope, kind: DeviationKind, rows: Measurements, quantile: float = TAILS[0]
) -> Estimate | None:
    """The effect over some windows; ``None`` for other kinds, what is not monitored, or without data.

    Args:
        detector: Knows what is usual, accepted levels included.
        scope: What the deviation speaks of.
        kind: ``SLOWER``, ``FASTER``, ``TAIL``, ``FAILING`` or ``IMPROVING``.
        rows: The windows; rows of other cells are left out.
        quantile: Which tail, for ``TAIL``.
    """
    fleet = detector.profile.fleet
    plain = replace(scope, check=None)
    if plain not in fleet.scopes or not len(rows):
        return None
    index = fleet.scopes.index(plain)
    rows = rows.take(np.flatnonzero(np.isin(rows.cell, fleet.members[index])))
    if not len(rows):
        return None
    if kind in {DeviationKind.SLOWER, DeviationKind.FASTER}:
        return _of_location(detector, index, rows)
    if kind is DeviationKind.TAIL:
        return _of_tail(detector, index, rows, quantile)
    if kind in {DeviationKind.FAILING, DeviationKind.IMPROVING}:
        return _of_rate(detector, index, scope.check, rows)
    return None


def _levels(detector: Detector, rows: Measurements) -> tuple[Floats, Floats]:
    """Number of each row's window, and what is usual of its cell then."""
    starts, window = np.unique(rows.window_start, return_inverse=True)
    season = detector.profile.season.at(local_time(starts, detector.settings))
    return window, season[window, rows.cell] + detector.accepted_level[rows.cell]


def _of_location(detector: Detector, index: int, rows: Measurements) -> Estimate | None:
    profile, cell = detector.profile, rows.cell
    window, level = _levels(detector, rows)
    pulled = pulled_in_sum(rows, profile.fleet.grid, level, profile.scale[cell])
    usable = np.isfinite(pulled) & np.asarray(profile.known[cell], dtype=bool)
    top = np.bincount(window, np.where(usable, pulled / (profile.slope * profile.spread)[cell], 0.0))
    bottom = np.bincount(window, np.where(usable, rows.count / profile.spread[cell], 0.0))
    seen = bottom > 0
    if not seen.any():
        return None
    noise, windows = profile.shift.noise, int(seen.sum())
    single = noise.white_variance[index] + noise.fast_variance[index]
    weight = 1.0 / (1.0 / bottom[seen] + single)
    shift = float((weight * top[seen] / bottom[seen]).sum() / weight.sum()) - float(detector.follower.offset[index])
    fast = float(noise.fast_correlation[index])
    shared = noise.fast_variance[index] * ((1 + fast) / (1 - fast) - 1) / windows
    wander = noise.slow_variance[index] * (1 - noise.slow_correlation[index] ** windows)
    error = float(np.sqrt(1.0 / weight.sum() + max(shared, 0.0) + wander))
    scale = float(np.median(profile.scale[profile.fleet.members[index]]))
    effect = float(undo_clip(shift, scale))
    stretch = effect / shift if shift else 1.0
    mean = float((level * rows.count).sum() / max(rows.count.sum(), 1e-9)) + float(detector.follower.offset[index])
    observations = round(float(rows.count[usable].sum()))
    return Estimate(effect, error * max(stretch, 1.0), float(np.exp(mean)), float(np.exp(mean + effect)), observations)


def _of_tail(detector: Detector, index: int, rows: Measurements, quantile: float) -> Estimate | None:
    profile, cell = detector.profile, rows.cell
    number = TAILS.index(quantile) if quantile in TAILS else 0
    _, level = _levels(detector, rows)
    beyond = tail_count(rows, profile.fleet.grid, level + (profile.tail_edge[:, number] * profile.scale)[cell])
    row = np.repeat(np.arange(len(rows)), np.diff(rows.offsets))
    trials = np.bincount(row, rows.bucket_counts, minlength=len(rows))
    mean = trials * profile.tail_rate[cell, number]
    return _ratio(detector, index * len(TAILS) + number, rows, beyond, mean, float(trials.sum()))


def _of_rate(detector: Detector, index: int, check: str | None, rows: Measurements) -> Estimate | None:
    fleet, channels = detector.profile.fleet, detector.channels
    number = next((n for n, each in enumerate(fleet.channels) if each.scope == index and each.check == check), None)
    if number is None:
        return None
    rate = detector.profile.pair_rate * np.exp(detector.accepted_rate)
    members = np.flatnonzero(channels.member_channel == number)
    failed, mean, tried = np.zeros(len(rows)), np.zeros(len(rows)), 0.0
    for member in members:
        pair = int(channels.member_pair[member])
        cell, column = channels.pairs[pair]
        if column < rows.failed.shape[1]:
            mine = rows.cell == cell
            failed[mine] += rows.failed[mine, column]
            mean[mine] += rate[pair] * rows.tried[mine, column]
            tried += float(channels.member_share[member] * rows.tried[mine, column].sum())
    return _ratio(detector, len(TAILS) * len(fleet.scopes) + number, rows, failed, mean, tried)


def _ratio(
    detector: Detector, test: int, rows: Measurements, failed: Floats, mean: Floats, tried: float
) -> Estimate | None:
    """Failures against what was expected of them."""
    starts, window = np.unique(rows.window_start, return_inverse=True)
    hour = np.minimum(local_time(starts, detector.settings).second // 3600, 23).astype(np.int64)
    count = detector.profile.count
    usual = mean * count.shape[hour[window], test] * np.exp(detector.follower.accepted[test])
    expected, seen = float(usual.sum()), float(failed.sum())
    if tried <= 0:
        return None
    dispersion = min(float(count.dispersion[test]), _DISPERSION_LIMIT)
    error = float(np.sqrt(1 / (seen + 0.25) + dispersion / len(starts)))
    effect = float(np.log((seen + 0.25) / (expected + 0.25)))
    _, low, high = plain_rate_interval(seen, expected, len(starts), dispersion)
    return Estimate(effect, error, expected / tried, seen / tried, round(tried), (min(low, effect), max(high, effect)))
