"""Medians and quantiles over what is there: NaN is left out, and a column with nothing gives NaN without a warning.

Few rows (the days of a month) of many columns are sorted by a network of comparisons, each of all columns at once:
K. E. Batcher's odd-even merge sort (1968, doi:10.1145/1468075.1468121). That is some ten times as fast as
``numpy.nanmedian``, which goes column by column.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["every_nth", "median", "quantiles"]

Floats = NDArray[Any]  # float32 or float64

_FEW = 64  # rows up to which a network is used
_STRIDES = (1, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)  # no divisors of an hour or a day in minutes


def median(values: Floats) -> Floats:
    """Medians along the first axis."""
    return np.asarray(quantiles(values, np.array([0.5]))[0])


def quantiles(values: Floats, shares: Floats) -> Floats:
    """Quantiles along the first axis, ``[len(shares), …]``, between neighbours by line."""
    size = len(values)
    shape = values.shape[1:]
    if not size:
        return np.full((len(shares), *shape), np.nan)
    missing = np.isnan(values)
    complete = not missing.any()
    ordered = _sorted_rows(values if complete else np.where(missing, values.dtype.type(np.inf), values))
    out = np.empty((len(shares), *shape), dtype=values.dtype)
    last = np.asarray(size - 1) if complete else size - 1 - missing.sum(axis=0)
    for place, share in enumerate(shares):
        position = np.maximum(last, 0) * share
        low = np.floor(position).astype(np.int64)
        high = np.minimum(low + 1, np.maximum(last, 0))
        if complete:
            lower, upper = ordered[int(low)], ordered[int(high)]
        else:
            lower, upper = (np.take_along_axis(ordered, each[None], axis=0)[0] for each in (low, high))
        out[place] = lower
        part = (position - low).astype(values.dtype)
        if part.any():
            with np.errstate(invalid="ignore"):
                out[place] += np.where(part > 0, (upper - lower) * part, values.dtype.type(0))
    return out if complete else np.where(last >= 0, out, np.nan)


def every_nth(values: Floats, wanted: int) -> Floats:
    """About ``wanted`` rows or more, evenly spaced; in minutes the stride visits every time of the day in turn."""
    stride = max((each for each in _STRIDES if each * wanted <= len(values)), default=1)
    return values[::stride]


def _sorted_rows(values: Floats) -> Any:
    """The values of each column in ascending order; rows may be addressed one by one."""
    if values.ndim < 2:
        return np.sort(values)
    if len(values) > _FEW or values[0].size < 256:
        across = np.array(np.moveaxis(values, 0, -1), order="C")  # numpy sorts what lies together many times as fast
        across.sort(axis=-1)
        return np.moveaxis(across, -1, 0)
    rows = list(np.array(values, order="C"))
    spare = np.empty_like(rows[0])
    for low, high in _network(len(rows)):
        smaller = np.minimum(rows[low], rows[high], out=spare)
        np.maximum(rows[low], rows[high], out=rows[high])
        spare, rows[low] = rows[low], smaller
    return np.stack(rows)


@lru_cache(maxsize=64)
def _network(size: int) -> tuple[tuple[int, int], ...]:
    """The comparisons that sort ``size`` values."""
    return tuple(_comparisons(size))


def _comparisons(size: int) -> Iterator[tuple[int, int]]:
    p = 1
    while p < size:
        k = p
        while k >= 1:
            for j in range(k % p, size - k, 2 * k):
                for i in range(min(k, size - j - k)):
                    if (i + j) // (p * 2) == (i + j + k) // (p * 2):
                        yield i + j, i + j + k
            k //= 2
        p *= 2
