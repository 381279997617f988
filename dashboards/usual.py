"""What the distribution of durations usually is: blocks of earlier time to hold a period against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..metrics.rollup import Origin
from ..metrics.store.store import Store
from .figure_types import Period

__all__ = ["UsualBlocks", "usual_blocks", "usual_range"]

_DAYS = 14
_DAY, _HOUR = 86_400, 3_600
_FEWEST_BLOCKS = 2
_FEWEST_DAYS = 5
_RANGE_HOURS_MOST = 31 * 24
_FEWEST_ANSWERS = 50  # fewer show the noise of counting rather than what is usual


@dataclass(frozen=True, slots=True)
class UsualBlocks:
    """Answers by bucket in earlier blocks.

    Attributes:
        low_bucket: Number of the first bucket.
        counts: ``[blocks, buckets]``; no block when too little is known.
        of_days: Whether the blocks are the same hours of earlier days; else they are the hours before.
    """

    low_bucket: int
    counts: NDArray[np.float64]
    of_days: bool

    def over(self, low: int, high: int) -> NDArray[np.float64]:
        """The same counts for the buckets from ``low`` to ``high``; what lies outside goes to the ends."""
        result = np.zeros((len(self.counts), high - low + 1))
        if self.counts.size:
            place = np.clip(np.arange(self.counts.shape[1]) + self.low_bucket, low, high) - low
            np.add.at(result.T, place, self.counts.T)
        return result


def usual_blocks(store: Store, flow: str, step: str, period: Period) -> UsualBlocks:
    """The same hours of the fourteen days before, or if those are too few the hours of the day before ``period``.

    A period longer than a day is held against whole days. Read from hour rollups: a period's edges count as full hours.
    """
    start = period.start // _HOUR * _HOUR
    length = min(_DAY, max(_HOUR, -(-(period.end - start) // _HOUR) * _HOUR))
    rollup, _ = store.read_rollups(start - _DAYS * _DAY, start, flow, step, hours=True)
    rollup = rollup.select((rollup.origin != Origin.PROBE) & (rollup.count > 0))
    if not len(rollup):
        return UsualBlocks(0, np.zeros((0, 0)), of_days=True)
    low, high = int(rollup.buckets.min()), int(rollup.buckets.max())
    rows = rollup.rows_of_buckets()
    before = start - rollup.window_start  # seconds from the hour's start to the period's
    days = (before - 1) // _DAY
    inside = (_DAY - 1 - (before - 1) % _DAY) < length
    hours = np.where(before <= _DAY, (before - 1) // _HOUR, -1)
    for block, kept, count, of_days in ((days, inside, _DAYS, True), (hours, hours >= 0, 24, False)):
        width = high - low + 1
        cells = block[rows] * width + (rollup.buckets.astype(np.int64) - low)
        used = kept[rows]
        counts = np.bincount(
            cells[used].astype(np.int64), weights=rollup.bucket_counts[used], minlength=count * width
        ).reshape(count, width)
        counts = counts[counts.sum(axis=1) >= _FEWEST_ANSWERS]
        if len(counts) >= _FEWEST_BLOCKS:
            return UsualBlocks(low, counts, of_days)
    return UsualBlocks(low, np.zeros((0, 0)), of_days=False)


def usual_range(store: Store, flow: str, step: str, period: Period) -> list[tuple[float, float, float]]:
    """Hours of a period with the range of the geometric means of the same hours of the fourteen days before.

    For those of whose customers no baseline is learnt by themselves: a range of what was, without a promise that so
    many windows lie in it. At least five days must have that hour.

    Returns:
        ``(start, low, high)``, seconds; none for a period of more than a month.
    """
    start = int(period.start // _HOUR * _HOUR)
    hours = -(-int(period.end - start) // _HOUR)
    if not 0 < hours <= _RANGE_HOURS_MOST:
        return []
    rollup, _ = store.read_rollups(start - _DAYS * _DAY, period.end, flow, step, hours=True)
    rollup = rollup.select((rollup.origin != Origin.PROBE) & (rollup.count > 0))
    if not len(rollup):
        return []
    place = ((rollup.window_start - (start - _DAYS * _DAY)) // _HOUR).astype(np.int64)
    length = _DAYS * 24 + hours
    counts = np.bincount(place, weights=rollup.count, minlength=length)[:length]
    sums = np.bincount(place, weights=rollup.sum_log, minlength=length)[:length]
    means = np.where(counts >= _FEWEST_ANSWERS, sums / np.maximum(counts, 1), np.nan)
    found = []
    for hour in range(hours):
        same = means[hour : hour + _DAYS * 24 : 24]
        known = same[np.isfinite(same)]
        if len(known) >= _FEWEST_DAYS:
            found.append((float(start + hour * _HOUR), float(np.exp(known.min())), float(np.exp(known.max()))))
    return found
