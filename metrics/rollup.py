"""Rollup: what a window knows of each series, in columns; merging rollups equals rolling up the union.

**Which durations enter the sketch and the sums.** Those of *answered* observations, whatever the answer was worth:
good, slow, stale, incomplete and wrong. An ``error`` is often refused at once; with it in, an outage would look like a
speed-up. ``timeout`` and ``abandoned`` are censored, their durations say how long the customer or the caller was
willing to wait and not how long the answer took. These three are counted by verdict, so that they lower the good-answer
rate; a latency figure is therefore to be read beside the share that was answered. An observation whose duration is not
a finite number of seconds ≥ 0 (clock trouble) is counted by verdict only as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from .grouping import count_codes, group_rows, offsets_of, sum_codes, sum_rows, weigh_rows
from .observation import CHECKS_PER_STEP_LIMIT, RECORD, ObservationBatch, Source
from .sketch import BUCKET_SPAN, GAMMA, LOG_GAMMA, MIN_BUCKET, buckets_of
from .verdict import VERDICT_COUNT, Verdict

__all__ = ["ANSWERED", "ORIGIN_BY_SOURCE", "Origin", "Rollup", "merge", "regroup", "roll_up", "roll_up_columns"]

ANSWERED = (Verdict.GOOD, Verdict.SLOW, Verdict.STALE, Verdict.INCOMPLETE, Verdict.WRONG)
"""Verdicts whose durations are latencies: the customer got an answer."""
_ANSWERED = np.array([verdict in ANSWERED for verdict in Verdict])
_SHORTEST_SECONDS = 1e-6  # logarithms of shorter durations, 0 included, are taken at the sketch's lower end


class Origin(IntEnum):
    """Whose experience a rollup row speaks of; rows of different origins are never merged. Stored."""

    CUSTOMER = 0
    PROBE = 1  # synthetic checks: kept out of customers' figures
    SIMULATED = 2  # demonstration history: never shown without the word "simulated"


ORIGIN_BY_SOURCE = np.zeros(256, dtype=np.int16)
"""Origin of each :class:`Source` number; unknown numbers count as customers."""
ORIGIN_BY_SOURCE[Source.PROBE] = Origin.PROBE
ORIGIN_BY_SOURCE[Source.SIMULATED] = Origin.SIMULATED


@dataclass(frozen=True, slots=True)
class Rollup:
    """R rows, one a window, series and origin, in that order; no two rows have the same three.

    Attributes:
        window_seconds: Length of the windows.
        window_start: [R] int64, seconds since 1970 UTC, a multiple of ``window_seconds``.
        series: [R] int64, index into a batch's series table, or id in the store, as the maker of the rollup says.
        origin: [R] int16, :class:`Origin`.
        count: [R] int64, *answered* observations with a usable duration: what the sketch and the sums below describe.
        sum_seconds: [R] float64, Σ d.
        sum_log: [R] float64, Σ ln d, d in seconds.
        sum_log_sq: [R] float64, Σ (ln d)².
        min_seconds: [R] float64, +inf where ``count`` is 0.
        max_seconds: [R] float64, −inf where ``count`` is 0.
        offsets: [R + 1] int64; row r has ``buckets[offsets[r]:offsets[r + 1]]``.
        buckets: [N] int16, ascending within a row, see ``sketch``.
        bucket_counts: [N] int64.
        verdicts: [R, 8] int64, **all** observations by :class:`Verdict`.
        checks: [R, K, 3] int64, observations by check position and passed, failed, unknown; K may be 0.
    """

    window_seconds: int
    window_start: NDArray[np.int64]
    series: NDArray[np.int64]
    origin: NDArray[np.int16]
    count: NDArray[np.int64]
    sum_seconds: NDArray[np.float64]
    sum_log: NDArray[np.float64]
    sum_log_sq: NDArray[np.float64]
    min_seconds: NDArray[np.float64]
    max_seconds: NDArray[np.float64]
    offsets: NDArray[np.int64]
    buckets: NDArray[np.int16]
    bucket_counts: NDArray[np.int64]
    verdicts: NDArray[np.int64]
    checks: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.window_start)

    @classmethod
    def empty(cls, window_seconds: int) -> Rollup:
        """A rollup without rows."""
        return roll_up(ObservationBatch((), np.empty(0, dtype=RECORD)), window_seconds)

    @property
    def observations(self) -> NDArray[np.int64]:
        """[R] all observations, answered or not."""
        return np.asarray(self.verdicts.sum(axis=1))

    @property
    def good(self) -> NDArray[np.int64]:
        """[R] good answers: fast, right and complete."""
        return self.verdicts[:, Verdict.GOOD]

    def rows_of_buckets(self) -> NDArray[np.int64]:
        """[N] the row that each entry of ``buckets`` belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offsets))

    def sketch(self, row: int) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
        """Buckets and counts of one row."""
        part = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        return self.buckets[part], self.bucket_counts[part]

    def quantiles(self, *qs: float) -> NDArray[np.float64]:
        """[R, len(qs)] quantiles in seconds, within 1 % (see ``sketch.quantile``); NaN where ``count`` is 0."""
        result = np.full((len(self), len(qs)), np.nan)
        filled = self.count > 0
        if not filled.any():
            return result
        # One running count over all rows: ranks of row r lie between its predecessors' total and its own.
        ends = np.cumsum(self.bucket_counts)
        before = (np.cumsum(self.count) - self.count)[filled]
        for column, q in enumerate(qs):
            if not 0 <= q <= 1:
                raise ValueError(f"quantile q={q} is not within 0–1; write the 95th percentile as 0.95")
            rank = (self.count[filled] - 1) * q
            low = np.floor(rank).astype(np.int64)
            high = np.ceil(rank).astype(np.int64)
            first = _seconds(self.buckets[np.searchsorted(ends, before + low, side="right")])
            second = _seconds(self.buckets[np.searchsorted(ends, before + high, side="right")])
            result[filled, column] = first + (second - first) * (rank - low)
        return result

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Rollup:
        """The rollup of some rows (mask, or row numbers in ascending order)."""
        chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows.astype(np.int64)
        lengths = np.diff(self.offsets)[chosen]
        offsets = offsets_of(lengths)
        entries = np.repeat(self.offsets[:-1][chosen] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Rollup(
            self.window_seconds,
            self.window_start[chosen],
            self.series[chosen],
            self.origin[chosen],
            self.count[chosen],
            self.sum_seconds[chosen],
            self.sum_log[chosen],
            self.sum_log_sq[chosen],
            self.min_seconds[chosen],
            self.max_seconds[chosen],
            offsets,
            self.buckets[entries],
            self.bucket_counts[entries],
            self.verdicts[chosen],
            self.checks[chosen],
        )


def roll_up(batch: ObservationBatch, window_seconds: int) -> Rollup:
    """Roll up a batch; ``Rollup.series`` are indexes into ``batch.series``, check positions are those of its keys."""
    records = batch.records
    return roll_up_columns(
        records["observed_at_us"],
        duration_seconds=records["duration_seconds"],
        series=records["series"],
        verdict=records["verdict"],
        checks=records["checks"],
        origin=ORIGIN_BY_SOURCE[records["source"]],
        window_seconds=window_seconds,
    )


def roll_up_columns(
    observed_at_us: NDArray[np.int64],
    *,
    duration_seconds: NDArray[np.float64],
    series: NDArray[np.integer],
    verdict: NDArray[np.integer],
    checks: NDArray[np.int64],
    origin: NDArray[np.integer],
    window_seconds: int,
) -> Rollup:
    """Roll up observations given as columns of equal length.

    Raises:
        ValueError: ``window_seconds`` is not a whole number ≥ 1, or a verdict is unknown.
    """
    if window_seconds < 1 or window_seconds != int(window_seconds):
        raise ValueError(f"window_seconds={window_seconds} is not a whole number ≥ 1; write e.g. 60")
    if len(verdict) and int(verdict.max()) >= VERDICT_COUNT:
        raise ValueError(f"verdict {int(verdict.max())} is unknown; verdicts are 0–{VERDICT_COUNT - 1}")
    window = np.floor_divide(observed_at_us, window_seconds * 1_000_000)
    keys, row = group_rows(window, series.astype(np.int64), origin.astype(np.int64))
    rows = len(keys[0])
    verdicts = np.bincount(row * VERDICT_COUNT + verdict, minlength=rows * VERDICT_COUNT).reshape(rows, VERDICT_COUNT)

    timed = _ANSWERED[verdict] & (duration_seconds >= 0) & (duration_seconds < np.inf)
    timed_row = row if timed.all() else row[timed]
    duration = duration_seconds if timed.all() else duration_seconds[timed]
    logs = np.log(np.maximum(duration, _SHORTEST_SECONDS))
    shortest = np.full(rows, np.inf)
    longest = np.full(rows, -np.inf)
    np.minimum.at(shortest, timed_row, duration)
    np.maximum.at(longest, timed_row, duration)
    cell, amount = count_codes(timed_row * BUCKET_SPAN + (buckets_of(duration) - MIN_BUCKET), rows * BUCKET_SPAN)
    return Rollup(
        int(window_seconds),
        keys[0] * window_seconds,
        keys[1],
        keys[2].astype(np.int16),
        np.bincount(timed_row, minlength=rows),
        weigh_rows(timed_row, duration, rows),
        weigh_rows(timed_row, logs, rows),
        weigh_rows(timed_row, logs * logs, rows),
        shortest,
        longest,
        offsets_of(np.bincount(cell // BUCKET_SPAN, minlength=rows)),
        (cell % BUCKET_SPAN + MIN_BUCKET).astype(np.int16),
        amount,
        verdicts,
        _count_checks(row, np.ascontiguousarray(checks, dtype=np.int64), rows),
    )


def merge(rollups: Iterable[Rollup]) -> Rollup:
    """Add up rollups with the same meaning of ``series`` and the same window length.

    Raises:
        ValueError: there is none, or their windows differ in length.
    """
    parts = list(rollups)
    if not parts:
        raise ValueError("merge() was given no rollup; start from Rollup.empty(window_seconds)")
    lengths = {part.window_seconds for part in parts}
    if len(lengths) > 1:
        raise ValueError(f"rollups with windows of {sorted(lengths)} s cannot be added; regroup() them first")
    if len(parts) == 1:
        return parts[0]
    return _combine(_concatenate(parts))


def regroup(
    rollup: Rollup, mapping: Mapping[int, int] | NDArray[np.integer] | None = None, *, window_seconds: int | None = None
) -> Rollup:
    """Add up rows of series that become one (a step over its dimensions, a flow over its steps) or of longer windows.

    Args:
        rollup: What to regroup.
        mapping: New series of each old one, as a mapping or an array indexed by old series; none leaves them. Check
            positions are added up as they are: regroup only series of the same step if you mean to read ``checks``.
        window_seconds: New window length, a multiple of the old one.

    Raises:
        KeyError: a series is not in ``mapping``.
        ValueError: the new windows are not a multiple of the old ones.
    """
    seconds = window_seconds or rollup.window_seconds
    if seconds % rollup.window_seconds:
        raise ValueError(f"windows of {seconds} s are not a multiple of the rollup's {rollup.window_seconds} s")
    series = rollup.series
    if mapping is not None:
        if isinstance(mapping, Mapping):
            old, inverse = np.unique(series, return_inverse=True)
            series = np.array([mapping[int(one)] for one in old], dtype=np.int64)[inverse]
        else:
            series = np.asarray(mapping, dtype=np.int64)[series]
    return _combine(_replace_keys(rollup, seconds, rollup.window_start // seconds * seconds, series))


def _seconds(buckets: NDArray[np.int16]) -> NDArray[np.float64]:
    return np.asarray(np.exp(buckets * LOG_GAMMA) * (2 / (GAMMA + 1)))


def _count_checks(row: NDArray[np.int64], bits: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    used = int(np.bitwise_or.reduce(bits.view(np.uint64))) if len(bits) else 0
    width = min((used.bit_length() + 1) // 2, CHECKS_PER_STEP_LIMIT)
    counts = np.zeros((rows, width, 3), dtype=np.int64)
    for position in range(width):
        result = (bits >> (2 * position)) & 3
        counts[:, position] = np.bincount(row * 4 + result, minlength=rows * 4).reshape(rows, 4)[:, 1:]
    return counts


def _concatenate(parts: list[Rollup]) -> Rollup:
    width = max(part.checks.shape[1] for part in parts)
    padded = [np.pad(part.checks, ((0, 0), (0, width - part.checks.shape[1]), (0, 0))) for part in parts]
    return Rollup(
        parts[0].window_seconds,
        np.concatenate([part.window_start for part in parts]),
        np.concatenate([part.series for part in parts]),
        np.concatenate([part.origin for part in parts]),
        np.concatenate([part.count for part in parts]),
        np.concatenate([part.sum_seconds for part in parts]),
        np.concatenate([part.sum_log for part in parts]),
        np.concatenate([part.sum_log_sq for part in parts]),
        np.concatenate([part.min_seconds for part in parts]),
        np.concatenate([part.max_seconds for part in parts]),
        offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
        np.concatenate([part.buckets for part in parts]),
        np.concatenate([part.bucket_counts for part in parts]),
        np.concatenate([part.verdicts for part in parts]),
        np.concatenate(padded),
    )


def _replace_keys(
    rollup: Rollup, window_seconds: int, window_start: NDArray[np.int64], series: NDArray[np.int64]
) -> Rollup:
    fields = {name: getattr(rollup, name) for name in Rollup.__slots__}
    return Rollup(**{**fields, "window_seconds": window_seconds, "window_start": window_start, "series": series})


def _combine(loose: Rollup) -> Rollup:
    """Add up rows with equal keys, which may come in any order."""
    seconds = loose.window_seconds
    keys, row = group_rows(loose.window_start // seconds, loose.series, loose.origin.astype(np.int64))
    rows = len(keys[0])
    shortest = np.full(rows, np.inf)
    longest = np.full(rows, -np.inf)
    np.minimum.at(shortest, row, loose.min_seconds)
    np.maximum.at(longest, row, loose.max_seconds)
    code = np.repeat(row, np.diff(loose.offsets)) * BUCKET_SPAN + (loose.buckets - MIN_BUCKET)
    cell, amount = sum_codes(code, loose.bucket_counts)
    return Rollup(
        seconds,
        keys[0] * seconds,
        keys[1],
        keys[2].astype(np.int16),
        sum_rows(row, loose.count, rows),
        weigh_rows(row, loose.sum_seconds, rows),
        weigh_rows(row, loose.sum_log, rows),
        weigh_rows(row, loose.sum_log_sq, rows),
        shortest,
        longest,
        offsets_of(np.bincount(cell // BUCKET_SPAN, minlength=rows)),
        (cell % BUCKET_SPAN + MIN_BUCKET).astype(np.int16),
        amount,
        sum_rows(row, loose.verdicts, rows),
        sum_rows(row, loose.checks, rows),
    )
