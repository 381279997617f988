"""Medians and quantiles over what is there: NaN is left out, and a column with nothing gives NaN without a warning.

One sort along the first axis puts NaN last; the rest is arithmetic on places. That is some times as fast as
``numpy.nanmedian``, which goes column by column.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["every_nth", "median", "quantiles"]

Floats = NDArray[Any]  # float64

_STRIDES = (1, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)  # no divisors of an hour or a day in minutes


def median(values: Floats) -> Floats:
    """Medians along the first axis."""
    size = len(values)
    if size and not np.isnan(values).any():
        # as numpy.median, without its checks
        low, high = (size - 1) // 2, size // 2
        parted = np.partition(values, (low, high), axis=0)
        return np.asarray(0.5 * (parted[low] + parted[high]))
    return np.asarray(quantiles(values, np.array([0.5]))[0])


def quantiles(values: Floats, shares: Floats) -> Floats:
    """Quantiles along the first axis, ``[len(shares), …]``, between neighbours by line."""
    if not len(values):
        return np.full((len(shares), *values.shape[1:]), np.nan)
    ordered = np.sort(values, axis=0)  # NaN last
    number = len(values) - np.isnan(values).sum(axis=0)
    last = np.maximum(number - 1, 0)
    out = np.empty((len(shares), *values.shape[1:]), dtype=values.dtype)
    for place, share in enumerate(shares):
        position = last * share
        low = np.floor(position).astype(np.int64)
        high = np.minimum(low + 1, last)
        lower, upper = (np.take_along_axis(ordered, each[None], axis=0)[0] for each in (low, high))
        out[place] = lower + (upper - lower) * (position - low)
    return out


def every_nth(values: Floats, wanted: int) -> Floats:
    """About ``wanted`` rows or more, evenly spaced; in minutes the stride visits every time of the day in turn."""
    stride = max((each for each in _STRIDES if each * wanted <= len(values)), default=1)
    return values[::stride]
