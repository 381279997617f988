"""Sums over stretches of consecutive windows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["run_sums"]

Floats = NDArray[Any]  # float32 or float64
Integers = NDArray[Any]  # int64

_LONGEST = 400  # windows of a run up to which row by row is faster
_ROWS_AT_ONCE = 1_440


def run_sums(values: Floats, starts: Integers) -> Floats:
    """Sums of ``values [T, C]`` from each start to the next, ``[len(starts), C]``, in the precision of ``values``.

    Runs of equal length, as five minutes are but for the first and the last, are added row by row: numpy's
    ``reduceat`` takes some times as long.
    """
    out = np.empty((len(starts), values.shape[1]), dtype=values.dtype)
    lengths = np.diff(starts)
    length = int(lengths[len(lengths) // 2]) if len(lengths) else 0
    inner = lengths[1:]
    if len(starts) < 4 or length > _LONGEST or not (inner == length).all():
        return np.asarray(np.add.reduceat(values, starts, axis=0, out=out))
    np.sum(values[: starts[1]], axis=0, out=out[0])
    np.sum(values[starts[-1] :], axis=0, out=out[-1])
    number, first = len(starts) - 2, int(starts[1])
    inside = values[first : first + number * length].reshape(number, length, -1)
    at_once = max(_ROWS_AT_ONCE // length, 1)
    for begin in range(0, number, at_once):
        part, target = inside[begin : begin + at_once], out[1 + begin : 1 + min(begin + at_once, number)]
        target[:] = part[:, 0]
        for each in range(1, length):
            target += part[:, each]
    return out
