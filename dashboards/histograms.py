"""Rollups laid out for comparing: counts by block of time and bucket, verdict or check result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..metrics.rollup import Rollup
from ..metrics.sketch import bucket_seconds
from .figure_types import Period

__all__ = ["Blocks", "block_seconds", "blocks_of", "columns_by_block", "log_quantile", "other_shares", "shares"]

_BLOCK_SECONDS = 1800  # noise common to neighbouring minutes is mostly gone after half an hour
_FEWEST = 8
_MOST = 2_000

Matrix = NDArray[np.float64]


def block_seconds(period: Period, window_seconds: int) -> int:
    """Length of a block: half an hour, shorter when the period has fewer than eight, longer when over 2,000."""
    windows = max(1, int(period.seconds // window_seconds))
    wanted = max(1, _BLOCK_SECONDS // window_seconds)
    blocks = min(max(windows // wanted, min(_FEWEST, windows)), _MOST)
    return -(-windows // blocks) * window_seconds


class Blocks:
    """Which block of a period each row of a rollup lies in."""

    def __init__(self, rollup: Rollup, period: Period, seconds: int) -> None:
        self.count = max(1, -(-int(period.seconds) // seconds))
        position = ((rollup.window_start - int(period.start)) // seconds).astype(np.int64)
        self.of_row = np.clip(position, 0, self.count - 1)

    @classmethod
    def one(cls, rollup: Rollup) -> Blocks:
        """All rows in one block."""
        return cls(rollup, Period(0, 1), 1)


def blocks_of(
    rollup: Rollup, blocks: Blocks, low: int, high: int, weights: NDArray[np.float64] | None = None
) -> Matrix:
    """``(blocks, high - low + 1)`` durations by bucket from ``low`` to ``high``, inclusive; rows may have weights."""
    width = high - low + 1
    rows = rollup.rows_of_buckets()
    cell = blocks.of_row[rows] * width + (rollup.buckets.astype(np.int64) - low)
    counts = rollup.bucket_counts if weights is None else rollup.bucket_counts * weights[rows]
    sums = np.bincount(cell, weights=counts, minlength=blocks.count * width)
    return sums.astype(np.float64).reshape(blocks.count, width)


def columns_by_block(columns: NDArray[np.int64], blocks: Blocks, weights: NDArray[np.float64] | None = None) -> Matrix:
    """``(blocks, columns)`` sums of a rollup's ``[R, columns]`` counts; rows may have weights."""
    result = np.zeros((blocks.count, columns.shape[1]), dtype=np.float64)
    np.add.at(result, blocks.of_row, columns if weights is None else columns * weights[:, None])
    return result


def log_quantile(low: int, high: int, quantile: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """A statistic: logarithm of a quantile of each row of bucket counts, with the ranks of ``sketch.quantile``.

    Resampled counts are whole numbers too, so that the same rule holds for them.
    """
    logs = np.log(bucket_seconds(np.arange(low, high + 1)))

    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        ends = np.cumsum(counts, axis=1)
        totals = ends[:, -1]
        rank = np.maximum(totals - 1, 0) * quantile
        first = logs[_position(ends, np.floor(rank))]
        second = logs[_position(ends, np.ceil(rank))]
        share = rank - np.floor(rank)
        value = np.log(np.exp(first) * (1 - share) + np.exp(second) * share)
        return np.where(totals > 0, value, np.nan)

    return statistic


def _position(ends: NDArray[np.float64], rank: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bucket of each row that holds the value of this rank (from 0)."""
    position = (ends <= rank[:, None] + 1e-9).sum(axis=1)
    return np.asarray(np.minimum(position, ends.shape[1] - 1), dtype=np.int64)


def shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """A statistic: share of the first column among all columns of each row."""
    totals = counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(totals > 0, counts[:, 0] / totals, np.nan)


def other_shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """A statistic: share of all columns but the first."""
    return np.asarray(1 - shares(counts))
