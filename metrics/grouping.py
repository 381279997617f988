"""Grouping of numpy columns: the arithmetic under rollups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["count_codes", "group_rows", "offsets_of", "sum_codes", "sum_rows", "weigh_rows"]

_DENSE_LIMIT = 1 << 22  # cells of a dense histogram that are worth clearing rather than sorting


def offsets_of(lengths: NDArray[np.integer]) -> NDArray[np.int64]:
    """Where each of some lists begins when they are laid one after the other, and the total."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def group_rows(*columns: NDArray[np.int64]) -> tuple[tuple[NDArray[np.int64], ...], NDArray[np.int64]]:
    """Distinct combinations of the columns in lexicographic order, and each row's place among them."""
    size = len(columns[0])
    if size == 0:
        return tuple(np.empty(0, dtype=np.int64) for _ in columns), np.empty(0, dtype=np.int64)
    lows = [int(column.min()) for column in columns]
    spans = [int(column.max()) - low + 1 for column, low in zip(columns, lows, strict=True)]
    cells = 1
    for span in spans:  # Python integers: no overflow
        cells *= span
    if cells >= 1 << 62:  # far-off windows: number the columns' values first
        numbered = [np.unique(column, return_inverse=True) for column in columns]
        keys, row = group_rows(*(inverse.astype(np.int64) for _, inverse in numbered))
        return tuple(values[key] for (values, _), key in zip(numbered, keys, strict=True)), row
    code = np.zeros(size, dtype=np.int64)
    for column, low, span in zip(columns, lows, spans, strict=True):
        code *= span
        code += column - low
    if cells <= min(_DENSE_LIMIT, 8 * size + 4096):
        present = np.zeros(cells, dtype=bool)
        present[code] = True
        distinct = np.flatnonzero(present)
        place = np.cumsum(present) - 1
        row = place[code]
    else:
        distinct, row = np.unique(code, return_inverse=True)
    keys_reversed = []
    rest = distinct
    for low, span in zip(reversed(lows), reversed(spans), strict=True):
        rest, part = np.divmod(rest, span)
        keys_reversed.append(part + low)
    return tuple(reversed(keys_reversed)), row.astype(np.int64, copy=False)


def count_codes(codes: NDArray[np.int64], cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct codes below ``cells`` in ascending order, and how often each occurs."""
    if cells <= min(_DENSE_LIMIT, 8 * len(codes) + 4096):
        amounts = np.bincount(codes, minlength=cells)
        distinct = np.flatnonzero(amounts)
        return distinct, amounts[distinct]
    # 32-bit numbers sort several times as fast as 64-bit ones.
    ordered = np.sort(codes.astype(np.int32) if cells < 1 << 31 else codes)
    starts = np.flatnonzero(np.concatenate(([len(codes) > 0], ordered[1:] != ordered[:-1])))
    return ordered[starts].astype(np.int64), np.diff(starts, append=len(codes))


def sum_rows(row: NDArray[np.int64], values: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """[rows, …] sum of the integer values of each row."""
    totals = np.zeros((rows, *values.shape[1:]), dtype=np.int64)
    np.add.at(totals, row, values)
    return totals


def sum_codes(codes: NDArray[np.int64], amounts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct codes in ascending order and the sum of the amounts of each, in integers."""
    if len(codes) == 0:
        return codes, amounts
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[starts], np.add.reduceat(amounts[order], starts)


def weigh_rows(row: NDArray[np.int64], weights: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
    """[rows] sum of the weights of each row."""
    return np.bincount(row, weights=weights, minlength=rows).astype(np.float64, copy=False)
