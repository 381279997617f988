"""What the histograms of many rows say at once: sums pulled in at the clip, and observations in the tails.

Only buckets beyond the clip or in a tail, one in ten or so, are worked on one by one; all others are told apart by two
comparisons of bucket numbers. The figures are those of :func:`~..baseline.location.pulled_in_sum` and
:func:`~..baseline.location.tail_count`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baseline.location import CLIP
from .input import BucketGrid, Measurements

__all__ = ["RowFigures", "row_figures"]

Floats = NDArray[Any]  # float64

_LOWEST, _HIGHEST = -(2**15), 2**15 - 1
_LIMITS = np.dtype([("low", "i2"), ("high", "i2"), ("row", "i4")])  # eight bytes, so that they are repeated as a number


@dataclass(frozen=True, slots=True)
class RowFigures:
    """Figures of rows ``[R]``.

    Attributes:
        pulled: Σ of the deviation from the level over a row's observations, pulled in; NaN where nothing is known.
        trials: Observations in the histogram.
        beyond: Observations beyond each edge.
    """

    pulled: Floats
    trials: Floats
    beyond: list[Floats]


def row_figures(
    rows: Measurements, grid: BucketGrid, level: Floats, scale: Floats, edges: Sequence[Floats] = ()
) -> RowFigures:
    """The figures of each row.

    Rows without a histogram use their sum alone, pulled in as a whole at ``4·scale/√n``; rows without a sum use the
    middles of their buckets; rows with neither give NaN. A bucket that straddles an edge counts beyond it in part.

    Args:
        rows: The rows.
        grid: Their grid.
        level: Expected ln seconds, ``[R]``.
        scale: Standard deviation of ln seconds, ``[R]``.
        edges: Where tails begin, ln seconds, ``[R]`` each.
    """
    size, lengths = len(rows), np.diff(rows.offsets)
    has = lengths > 0
    counts, edge = rows.bucket_counts, CLIP * scale
    place, row = _apart(rows, grid, lengths, level, edge, edges)
    bucket, number = rows.buckets[place].astype(np.float64), counts[place]
    deviation = grid.low + grid.width * (bucket + 0.5) - level[row]
    limit = edge[row]
    outside = np.bincount(row, number * (deviation - np.clip(deviation, -limit, limit)), minlength=size)
    total = rows.sum_log - rows.count * level
    unknown = np.isnan(total)
    if unknown.any():
        total = np.where(unknown, np.where(has, _from_buckets(rows, grid, lengths, level), np.nan), total)
    pulled = total - outside
    if not has.all():
        whole = 4 * scale * np.sqrt(rows.count)
        pulled = np.where(has, pulled, np.clip(total, -whole, whole))
    beyond = [
        np.bincount(row, number * np.clip((grid.low - each[row]) / grid.width + bucket + 1, 0.0, 1.0), minlength=size)
        for each in edges
    ]
    return RowFigures(pulled, _sums(counts, rows.offsets, has), beyond)


def _apart(
    rows: Measurements, grid: BucketGrid, lengths: Floats, level: Floats, edge: Floats, edges: Sequence[Floats]
) -> tuple[Floats, Floats]:
    """The entries of histograms that lie beyond the clip or, in part at least, beyond an edge, and their rows."""
    limits = np.empty(len(rows), dtype=_LIMITS)
    below = (level - edge - grid.low) / grid.width - 0.5
    above = (level + edge - grid.low) / grid.width - 0.5
    for each in edges:
        above = np.minimum(above, (each - grid.low) / grid.width - 1)
    with np.errstate(invalid="ignore"):  # a level that is not known
        limits["low"] = np.clip(np.ceil(below), _LOWEST, _HIGHEST)
        limits["high"] = np.clip(np.floor(above), _LOWEST, _HIGHEST)
    limits["row"] = np.arange(len(rows))
    each = np.repeat(limits.view(np.int64), lengths).view(_LIMITS)
    place = np.flatnonzero((rows.buckets < each["low"]) | (rows.buckets > each["high"]))
    return place, each["row"][place]


def _from_buckets(rows: Measurements, grid: BucketGrid, lengths: Floats, level: Floats) -> Floats:
    row = np.repeat(np.arange(len(rows)), lengths)
    deviation = grid.middle(rows.buckets) - level[row]
    return np.bincount(row, rows.bucket_counts * deviation, minlength=len(rows))


def _sums(values: Floats, offsets: Floats, some: Floats) -> Floats:
    """Sums of consecutive values."""
    if some.all():
        return np.asarray(np.add.reduceat(values, offsets[:-1]) if len(some) else np.zeros(0))
    out = np.zeros(len(some))
    if some.any():
        out[some] = np.add.reduceat(values, offsets[:-1][some])
    return out
