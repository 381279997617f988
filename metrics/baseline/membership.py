"""Adding columns of cells up to columns of scopes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Membership"]

Floats = NDArray[Any]  # float32 or float64
Integers = NDArray[Any]  # int64


@dataclass(frozen=True, slots=True)
class Membership:
    """Pairs of a source column and the target column it is added to, with a weight."""

    source: Integers
    target: Integers
    weight: Floats

    @classmethod
    def of(cls, source: Integers, target: Integers, weight: Floats | None = None) -> Membership:
        """Pairs in order of their target; pairs that occur more than once are put together."""
        source, target = np.asarray(source, dtype=np.int64), np.asarray(target, dtype=np.int64)
        values = np.ones(len(source)) if weight is None else weight
        wide = int(source.max(initial=0)) + 1
        key, place = np.unique(target * wide + source, return_inverse=True)
        return cls(key % wide, key // wide, np.bincount(place, values, minlength=len(key)))

    def add(self, target: Floats, source: Floats) -> None:
        """``target [T, S] += source [T, C]`` by pairs."""
        if not len(self.source):
            return
        touched, place, number = np.unique(self.target, return_inverse=True, return_counts=True)
        if len(touched) * 4 <= len(self.source):
            matrix = np.zeros((source.shape[1], len(touched)), dtype=source.dtype)
            matrix[self.source, place] = self.weight
            target[:, touched] += source @ matrix
            return
        turn = np.arange(len(self.source)) - np.repeat(np.cumsum(number) - number, number)
        for each in range(int(number.max())):
            chosen = turn == each
            self._add_once(target, source, self.source[chosen], self.target[chosen], self.weight[chosen])

    @staticmethod
    def _add_once(target: Floats, source: Floats, froms: Integers, tos: Integers, weight: Floats) -> None:
        into, out_of = _slice_of(tos), _slice_of(froms)
        part = source[:, froms if out_of is None else out_of]
        if (weight != 1.0).any():
            part = part * weight.astype(source.dtype)
        if into is not None:
            target[:, into] += part
        else:
            target[:, tos] += part

    def totals(self, source: Floats, targets: int) -> Floats:
        """Weighted sums of ``source [..., C]`` by target, ``[..., targets]``, for small arrays."""
        out = np.zeros((*source.shape[:-1], targets))
        np.add.at(np.moveaxis(out, -1, 0), self.target, np.moveaxis(source[..., self.source] * self.weight, -1, 0))
        return out


def _slice_of(columns: Integers) -> slice | None:
    """The columns as a slice, if they are evenly spaced."""
    if len(columns) == 1:
        return slice(int(columns[0]), int(columns[0]) + 1)
    steps = np.diff(columns)
    if (steps == steps[0]).all() and steps[0] > 0:
        return slice(int(columns[0]), int(columns[-1]) + 1, int(steps[0]))
    return None
