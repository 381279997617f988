"""Making digests: some hours of windows are put into the days they belong to, in place of what was known of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..rollup import Rollup, regroup
from ..sketch import LOG_GAMMA
from ..verdict import VERDICT_COUNT
from .day import BIN_SECONDS, BINS_PER_DAY, CLIP, HOURS, SHAPE_BINS, SHAPE_REACH, DayDigests

__all__ = ["put_hours"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64

_HOUR = 3_600
_LEVEL_PRIOR = 15.0  # observations that the hour before counts for
_RULER_LEAST = 300.0  # observations from which a ruler is made
_HOUR_LEAST = 20.0  # of an hour that takes part in it
_NARROWEST = 0.15  # scale of ln duration, as of the detector
_UNKNOWN_SCALE = 0.5
_CENTRAL = (0.1587, 0.8413)  # half the distance is a standard deviation of a normal law
_TAIL_SHARES = (0.95, 0.995)
_NORMAL_EDGES = (1.645, 2.576)
_TAIL_PRIOR = (20.0, 200.0)  # observations of a normal law beside those seen
_BINS_PER_HOUR = _HOUR // BIN_SECONDS


def put_hours(
    today: DayDigests, yesterday: DayDigests, rollup: Rollup, series: Integers, day: int, hours: Sequence[int]
) -> DayDigests:
    """Days with some of their hours told anew.

    Args:
        today: A row a series, empty ones included.
        yesterday: Likewise of the day before: where levels and scales come from.
        rollup: All windows of those hours of those series; several origins add up.
        series: Series of each row, ascending.
        day: Start of the day (seconds since 1970 UTC).
        hours: Which of its 24 hours.
    """
    window = math.lcm(rollup.window_seconds, today.window_seconds if today.count.any() else 1)
    rollup = regroup(rollup, window_seconds=window) if len(rollup) else rollup
    positions = rollup.checks.shape[1]
    if today.count.any():
        days = _copied(today.coarsened(window).with_checks(positions))
    else:
        days = DayDigests.empty(len(today), window, max(positions, today.check_positions))
        days.ruler[:] = today.ruler
        days.verdicts[:] = today.verdicts  # there may be answers without a duration
        days.checks[:, : today.checks.shape[1]] = today.checks
    _clear(days, hours)
    if not len(rollup):
        return days
    rows = _Rows.of(rollup, series, day)
    hourly = _Hourly.of(rows)
    days.level[:, list(hours)] = np.nan
    _set_levels(days, yesterday, hourly, sorted(hours))
    _set_rulers(days, yesterday, hourly)
    _set_shapes(days, hourly)
    _set_windows(days, rows)
    return days


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a rollup and where they belong: row of the days, second of the day; entries and their row."""

    rollup: Rollup
    row: Integers
    second: Integers
    entry: Integers
    buckets: Integers

    @classmethod
    def of(cls, rollup: Rollup, series: Integers, day: int) -> _Rows:
        return cls(
            rollup,
            np.searchsorted(series, rollup.series),
            rollup.window_start - day,
            rollup.rows_of_buckets(),
            rollup.buckets.astype(np.int64),
        )

    @property
    def hour(self) -> Integers:
        return np.asarray(self.row * HOURS + self.second // _HOUR)


@dataclass(frozen=True, slots=True)
class _Hourly:
    """Sketches of hours with data ``[G]`` on a dense range of buckets.

    Attributes:
        place: Row of the days times 24 plus the hour, ascending, ``[G]``.
        counts: ``[G, span]``.
        first: The first bucket.
    """

    place: Integers
    counts: Floats
    first: int

    @classmethod
    def of(cls, rows: _Rows) -> _Hourly:
        place, which = np.unique(rows.hour[rows.rollup.count > 0], return_inverse=True)
        index = np.zeros(len(rows.row), dtype=np.int64)
        index[rows.rollup.count > 0] = which
        first = int(rows.buckets.min()) if len(rows.buckets) else 0
        span = int(rows.buckets.max()) - first + 1 if len(rows.buckets) else 1
        code = index[rows.entry] * span + rows.buckets - first
        counts = np.bincount(code, rows.rollup.bucket_counts, minlength=len(place) * span)
        return cls(place, counts.reshape(len(place), span), first)

    @property
    def total(self) -> Floats:
        return np.asarray(self.counts.sum(axis=1))

    def quantile(self, share: float) -> Floats:
        """Of each hour (ln seconds), within a bucket by line."""
        below = np.cumsum(self.counts, axis=1)
        wanted = share * below[:, -1:]
        bucket = (below >= wanted).argmax(axis=1)
        each = np.arange(len(below))
        inside = np.maximum(self.counts[each, bucket], 1e-9)
        part = (wanted[:, 0] - below[each, bucket] + self.counts[each, bucket]) / inside
        return np.asarray((self.first + bucket - 1 + np.clip(part, 0.0, 1.0)) * LOG_GAMMA)


def _copied(days: DayDigests) -> DayDigests:
    values = {item.name: getattr(days, item.name) for item in fields(days) if item.name != "window_seconds"}
    whole = {"shape", "count", "tails", "verdicts", "checks"}
    return DayDigests(
        days.window_seconds,
        **{name: value.astype(np.uint32) if name in whole else value.copy() for name, value in values.items()},
    )


def _clear(days: DayDigests, hours: Sequence[int]) -> None:
    each = _HOUR // days.window_seconds
    for hour in hours:
        windows = slice(hour * each, (hour + 1) * each)
        days.count[:, windows], days.pulled[:, windows] = 0, 0.0
        days.shape[:, hour], days.level[:, hour] = 0, np.nan
        for values in (days.tails, days.verdicts, days.checks):
            values[..., hour * _BINS_PER_HOUR : (hour + 1) * _BINS_PER_HOUR] = 0


def _set_levels(days: DayDigests, yesterday: DayDigests, hourly: _Hourly, hours: Sequence[int]) -> None:
    """Levels of hours: their medians, leaning on the hour before them as far as they have few observations."""
    seen, middle = np.zeros((2, len(days), HOURS))
    seen.reshape(-1)[hourly.place], middle.reshape(-1)[hourly.place] = hourly.total, hourly.quantile(0.5)
    known = np.concatenate([yesterday.level, days.level], axis=1).astype(np.float64)
    for hour in hours:
        there = ~np.isnan(known[:, : HOURS + hour])
        last = HOURS + hour - 1 - there[:, ::-1].argmax(axis=1)
        before = np.where(there.any(axis=1), known[np.arange(len(days)), last], np.nan)
        n, own = seen[:, hour], middle[:, hour]
        leaning = (n * own + _LEVEL_PRIOR * before) / (n + _LEVEL_PRIOR)
        known[:, HOURS + hour] = np.where(n > 0, np.where(np.isnan(before), own, leaning), np.nan)
    days.level[:] = known[:, HOURS:]


def _set_rulers(days: DayDigests, yesterday: DayDigests, hourly: _Hourly) -> None:
    """Rulers of rows that have none: from yesterday's shape, or from these hours."""
    new = days.ruler[:, 0] <= 0
    if not new.any():
        return
    total = yesterday.shape.sum(axis=(1, 2))
    old = new & (yesterday.ruler[:, 0] > 0)
    days.ruler[old] = yesterday.ruler[old]
    measured = np.flatnonzero(old & (total >= _RULER_LEAST))
    if len(measured):
        days.ruler[measured] = _ruler_of_shape(yesterday.take(measured))
    fresh = np.flatnonzero(new & ~old)
    if len(fresh) and len(hourly.place):
        days.ruler[fresh] = _ruler_of_hours(days, hourly)[fresh]


def _ruler_of_shape(days: DayDigests) -> Floats:
    width = days.shape_width()
    below = np.cumsum(days.shape.sum(axis=1), axis=1).astype(np.float64)
    below = np.concatenate([np.zeros((len(days), 1)), below], axis=1)
    ends = np.arange(SHAPE_BINS + 1) - SHAPE_REACH
    shares = (*_CENTRAL, *_TAIL_SHARES)
    found = np.array([np.interp(np.array(shares) * row[-1], row, ends) for row in below]) * width[:, None]
    return _blended((found[:, 1] - found[:, 0]) / 2, found[:, 2:], below[:, -1])


def _ruler_of_hours(days: DayDigests, hourly: _Hourly) -> Floats:
    """Of every row: the mean over its hours of widths of their distributions."""
    row, total = hourly.place // HOURS, hourly.total
    weight = np.where(total >= _HOUR_LEAST, total, 1e-3 * total)
    level = days.level.reshape(-1)[hourly.place]
    low, high = (hourly.quantile(share) for share in _CENTRAL)
    widths = [(high - low) / 2, *(hourly.quantile(share) - level for share in _TAIL_SHARES)]
    size = len(days)
    bottom = np.maximum(np.bincount(row, weight, minlength=size), 1e-9)
    scale, *edges = (np.bincount(row, weight * each, minlength=size) / bottom for each in widths)
    seen = np.bincount(row, total, minlength=size)
    return _blended(np.where(seen >= _HOUR_LEAST, scale, _UNKNOWN_SCALE), np.stack(edges, axis=1), seen)


def _blended(scale: Floats, edges: Floats, seen: Floats) -> Floats:
    """Rulers ``[R, 3]``: edges lean on a normal law's while little was seen."""
    scale = np.maximum(scale, _NARROWEST)
    prior = np.array(_TAIL_PRIOR)
    normal = scale[:, None] * np.array(_NORMAL_EDGES)
    share = seen[:, None] / (seen[:, None] + prior)
    edges = np.maximum(share * edges + (1 - share) * normal, 0.5 * scale[:, None])
    return np.concatenate([scale[:, None], edges], axis=1).astype(np.float32)


def _set_shapes(days: DayDigests, hourly: _Hourly) -> None:
    group, bucket = np.nonzero(hourly.counts)
    place = hourly.place[group]
    distance = (hourly.first + bucket - 0.5) * LOG_GAMMA - days.level.reshape(-1)[place]
    bin_number = np.floor(distance / days.shape_width()[place // HOURS]).astype(np.int64) + SHAPE_REACH
    code = place * SHAPE_BINS + np.clip(bin_number, 0, SHAPE_BINS - 1)
    found = np.bincount(code, hourly.counts[group, bucket], minlength=len(days) * HOURS * SHAPE_BINS)
    days.shape.reshape(-1)[:] += found.astype(np.uint32)


def _set_windows(days: DayDigests, rows: _Rows) -> None:
    """Counts and locations of windows; tails, verdicts and checks of stretches of five minutes."""
    rollup = rows.rollup
    level = days.level.reshape(-1)[rows.hour].astype(np.float64)
    scale = days.ruler[rows.row, 0].astype(np.float64)
    entry, amount = rows.entry, rollup.bucket_counts
    distance = (rows.buckets - 0.5) * LOG_GAMMA - level[entry]
    edge = CLIP * scale[entry]
    beyond = np.bincount(entry, amount * (distance - np.clip(distance, -edge, edge)), minlength=len(rollup))
    total = np.where(rollup.count > 0, rollup.sum_log - rollup.count * level - beyond, 0.0)
    size, windows = len(days), days.count.shape[1]
    slot = rows.row * windows + rows.second // days.window_seconds
    count = np.bincount(slot, rollup.count, minlength=size * windows).reshape(size, windows)
    pulled = np.bincount(slot, total, minlength=size * windows).reshape(size, windows)
    days.count[:] += count.astype(np.uint32)
    days.pulled[:] += np.divide(pulled, count, out=np.zeros_like(pulled), where=count > 0).astype(np.float32)
    place = rows.row * BINS_PER_DAY + rows.second // BIN_SECONDS
    shape = (size, BINS_PER_DAY)

    def add(values: Integers, weights: Any) -> Integers:
        return np.bincount(values, weights, minlength=size * BINS_PER_DAY).reshape(shape).astype(np.uint32)

    last = np.rint(days.edges() / LOG_GAMMA).reshape(-1, 2)[rows.hour]
    for tail in range(days.tails.shape[1]):
        over = rows.buckets > last[entry, tail]
        days.tails[:, tail] += add(place[entry[over]], amount[over])
    for verdict in range(VERDICT_COUNT):
        if rollup.verdicts[:, verdict].any():
            days.verdicts[:, verdict] += add(place, rollup.verdicts[:, verdict])
    for position in range(rollup.checks.shape[1]):
        days.checks[:, position] += add(place, rollup.checks[:, position, 0])
        days.checks[:, days.check_positions + position] += add(place, rollup.checks[:, position, 1])
