"""Log-bucket sketch of durations: quantiles within 1 %, merged by adding counts.

The layout is DDSketch's (Masson, Rim, Lee 2019, https://doi.org/10.14778/3352063.3352135): bucket ``i`` holds the
values in ``(γ^(i−1), γ^i]`` seconds with γ = 1.02, and stands for ``2γ^i/(γ+1)``, which is off by at most
``(γ−1)/(γ+1) < 0.0100`` relative to any value in it. Unlike t-digest or KLL the bound holds at every quantile and after
any number of merges, and a merge is exact: the sketch of a union is the sum of the sketches.

A sketch is two arrays, bucket indexes (int16, ascending) and counts (int64), which SQL reads as ``int2[]`` and
``int8[]``. Indexes span 1 µs to one day; what lies outside is counted in the outermost bucket, so a quantile that
falls there is only known to be below 1 µs or above a day.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BUCKET_SPAN",
    "GAMMA",
    "LOG_GAMMA",
    "MAX_BUCKET",
    "MIN_BUCKET",
    "RELATIVE_ERROR",
    "bucket_seconds",
    "bucket_upper_seconds",
    "buckets_of",
    "fraction_at_most",
    "merge_sketches",
    "quantile",
    "sketch_of",
]

GAMMA = 1.02
LOG_GAMMA = math.log(GAMMA)
RELATIVE_ERROR = (GAMMA - 1) / (GAMMA + 1)
"""Largest relative error of a quantile, for durations between 1 µs and one day: 0.0099."""
MIN_BUCKET = math.ceil(math.log(1e-6) / LOG_GAMMA)
MAX_BUCKET = math.ceil(math.log(86_400) / LOG_GAMMA)
BUCKET_SPAN = MAX_BUCKET - MIN_BUCKET + 1
"""How many different buckets there are."""


def buckets_of(durations_seconds: ArrayLike) -> NDArray[np.int16]:
    """The bucket of each duration.

    Raises:
        ValueError: a duration is negative or not a finite number.
    """
    values = np.asarray(durations_seconds, dtype=np.float64)
    bad = ~(values >= 0) | np.isinf(values)
    if bad.any():
        position = int(np.argmax(bad))
        raise ValueError(
            f"duration {values.flat[position]} at position {position} is not a finite number of seconds ≥ 0; "
            "count such observations by verdict only"
        )
    with np.errstate(divide="ignore"):
        indexes = np.ceil(np.log(values) / LOG_GAMMA)
    return np.clip(indexes, MIN_BUCKET, MAX_BUCKET).astype(np.int16)


def bucket_seconds(buckets: ArrayLike) -> NDArray[np.float64]:
    """The duration that stands for each bucket, in seconds."""
    exponents = np.asarray(buckets, dtype=np.float64)
    return np.asarray(np.exp(exponents * LOG_GAMMA) * (2 / (GAMMA + 1)))


def bucket_upper_seconds(buckets: ArrayLike) -> NDArray[np.float64]:
    """The largest duration of each bucket, in seconds."""
    return np.asarray(np.exp(np.asarray(buckets, dtype=np.float64) * LOG_GAMMA))


def sketch_of(durations_seconds: ArrayLike) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """The sketch of some durations: buckets in ascending order and their counts."""
    buckets, counts = np.unique(buckets_of(durations_seconds), return_counts=True)
    return buckets, counts.astype(np.int64)


def merge_sketches(buckets: ArrayLike, counts: ArrayLike) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Add up sketches that were laid one after the other: equal buckets become one, in ascending order."""
    merged, inverse = np.unique(np.asarray(buckets, dtype=np.int16), return_inverse=True)
    totals = np.zeros(len(merged), dtype=np.int64)
    np.add.at(totals, inverse, np.asarray(counts, dtype=np.int64))
    return merged, totals


def quantile(buckets: ArrayLike, counts: ArrayLike, q: float) -> float:
    """The ``q``-quantile in seconds, off by at most :data:`RELATIVE_ERROR`; NaN for an empty sketch.

    It estimates what ``numpy.quantile`` and SQL's ``percentile_cont`` give (linear between the two nearest ranks): each
    of the two is within the bound, hence so is every point between them.

    Args:
        buckets: Bucket indexes in ascending order.
        counts: Their counts.
        q: 0–1.

    Raises:
        ValueError: ``q`` is not within 0–1.
    """
    if not 0 <= q <= 1:
        raise ValueError(f"quantile q={q} is not within 0–1; write the 95th percentile as 0.95")
    ends = np.cumsum(np.asarray(counts, dtype=np.int64))
    total = int(ends[-1]) if len(ends) else 0
    if total == 0:
        return math.nan
    rank = (total - 1) * q
    low = math.floor(rank)
    high = math.ceil(rank)
    at = np.searchsorted(ends, np.array([low, high]), side="right")
    first, second = bucket_seconds(np.asarray(buckets)[at])
    return float(first + (second - first) * (rank - low))


def fraction_at_most(buckets: ArrayLike, counts: ArrayLike, seconds: float) -> float:
    """The share (0–1) of durations that are at most ``seconds``; NaN for an empty sketch.

    The bucket that ``seconds`` lies in is divided in proportion on the logarithmic scale, so the answer is the exact
    share at some duration within 2 % of ``seconds``.
    """
    amounts = np.asarray(counts, dtype=np.float64)
    total = float(amounts.sum())
    if total == 0:
        return math.nan
    if seconds <= 0:
        return 0.0
    position = math.log(seconds) / LOG_GAMMA
    share = np.clip(position - np.asarray(buckets, dtype=np.float64) + 1, 0.0, 1.0)
    return float((amounts * share).sum() / total)
