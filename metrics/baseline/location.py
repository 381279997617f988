"""The location of a window: a mean of log durations in which no single observation counts for much.

Deviations from the expected level are pulled in at ``±CLIP`` standard deviations (Huber 1964,
doi:10.1214/aoms/1177703732), so a few time-outs are not a shift. The part inside the limits is
taken from the exact sums, only what lies outside from the histogram.
"""

from __future__ import annotations

from math import erf, exp, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.input import BucketGrid, Measurements

__all__ = ["CLIP", "pulled_in_shift", "pulled_in_sum", "shape_of", "tail_count", "undo_clip"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64

CLIP = 1.8
_BIN = 0.1  # standard deviations
_BINS = 160  # from -8 to 8 standard deviations


def pulled_in_sum(rows: Measurements, grid: BucketGrid, level: Floats, scale: Floats) -> Floats:
    """Σ over each row's observations of the deviation from ``level``, pulled in at ``±CLIP·scale``.

    Rows without a histogram use their sum alone, pulled in as a whole at ``4·scale/√n``; rows
    without a sum use the middles of their buckets; rows with neither give NaN.
    """
    lengths = np.diff(rows.offsets)
    row = np.repeat(np.arange(len(rows)), lengths)
    deviation = grid.middle(rows.buckets) - level[row]
    edge = CLIP * scale[row]
    beyond = deviation - np.clip(deviation, -edge, edge)
    outside = np.bincount(row, rows.bucket_counts * beyond, minlength=len(rows))
    from_buckets = np.bincount(row, rows.bucket_counts * deviation, minlength=len(rows))
    exact = rows.sum_log - rows.count * level
    pulled = 4 * scale * np.sqrt(rows.count)
    has = lengths > 0
    total = np.where(np.isnan(exact), np.where(has, from_buckets, np.nan), exact)
    return np.asarray(np.where(has, total - outside, np.clip(total, -pulled, pulled)))


def shape_of(
    rows: Measurements, grid: BucketGrid, level: Floats, scale: Floats, cell: Integers, cells: int
) -> tuple[Floats, Floats]:
    """The distribution of standardised deviations of each cell: counts ``[C, bins]`` and bin middles.

    A bucket's observations are spread evenly over its width, so that a coarse grid does not look discrete.
    """
    lengths = np.diff(rows.offsets)
    row = np.repeat(np.arange(len(rows)), lengths)
    counts = np.zeros(cells * _BINS)
    parts = 5
    for part in range(parts):
        inside = grid.low + grid.width * (rows.buckets + (part + 0.5) / parts)
        z = (inside - level[row]) / scale[row]
        bin_number = np.clip(np.floor(z / _BIN).astype(np.int64) + _BINS // 2, 0, _BINS - 1)
        counts += np.bincount(cell[row] * _BINS + bin_number, rows.bucket_counts / parts, minlength=cells * _BINS)
    return counts.reshape(cells, _BINS), (np.arange(_BINS) - _BINS // 2 + 0.5) * _BIN


def tail_count(rows: Measurements, grid: BucketGrid, edge: Floats) -> Floats:
    """Observations of each row beyond ``edge`` (ln seconds); a bucket that straddles it counts in part."""
    lengths = np.diff(rows.offsets)
    row = np.repeat(np.arange(len(rows)), lengths)
    share = np.clip((grid.low - edge[row]) / grid.width + rows.buckets + 1, 0.0, 1.0)
    return np.bincount(row, rows.bucket_counts * share, minlength=len(rows))


def _response(shift: float) -> float:
    """E of the pulled-in deviation of a normal observation shifted by ``shift`` deviations, over its slope at 0."""

    def expected(mean: float) -> float:
        def density(value: float) -> float:
            return exp(-value * value / 2) / sqrt(2 * pi)

        def cumulative(value: float) -> float:
            return 0.5 * (1 + erf(value / sqrt(2)))

        low, high = -CLIP - mean, CLIP - mean
        inside = mean * (cumulative(high) - cumulative(low)) + density(low) - density(high)
        return inside + CLIP * (1 - cumulative(high)) - CLIP * cumulative(low)

    return expected(shift) / erf(CLIP / sqrt(2))


_SHIFTS = np.linspace(0.0, 4.0, 81)
_RESPONSES = np.array([_response(float(shift)) for shift in _SHIFTS])


def undo_clip(effect: Floats | float, scale: Floats | float) -> Floats:
    """The shift that a mean pulled-in deviation ``effect`` stands for (clipping understates large shifts)."""
    size = np.abs(effect) / scale
    return np.asarray(np.sign(effect) * np.interp(size, _RESPONSES, _SHIFTS) * scale)


def pulled_in_shift(shift: Floats | float, scale: Floats | float) -> Floats:
    """The mean pulled-in deviation that a shift shows as: the inverse of :func:`undo_clip`."""
    size = np.abs(shift) / scale
    return np.asarray(np.sign(shift) * np.interp(size, _SHIFTS, _RESPONSES) * scale)
