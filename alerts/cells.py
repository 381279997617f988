"""Which cell of the learnt fleet each stored series is measured against."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..metrics.observation import SeriesKey

__all__ = ["CellMap"]

_Identity = tuple[str, str, tuple[tuple[str, str], ...]]


class CellMap:
    """Maps series to cells by flow, step and dimensions.

    A series the fleet does not know yet (a new application version, say) is measured against the most
    similar cell of its step: most dimension values in common, then most traffic. Its answers are thus
    compared with those of comparable customers from its first minute on, and not only after it has a
    past of its own. A step the fleet does not know at all has no cell.

    Args:
        cells: The fleet's cells in order.
        traffic: Mean observations a window of each cell.
    """

    def __init__(self, cells: Sequence[SeriesKey], traffic: NDArray[np.float64]) -> None:
        self._exact = {_identity(key): index for index, key in enumerate(cells)}
        self._by_step: dict[tuple[str, str], list[tuple[frozenset[tuple[str, str]], float, int]]] = {}
        for index, key in enumerate(cells):
            entry = (frozenset(key.dimensions), float(traffic[index]), index)
            self._by_step.setdefault((key.flow, key.step), []).append(entry)
        self._similar: dict[_Identity, int | None] = {}
        self._by_number: dict[int, int | None] = {}

    def cell(self, key: SeriesKey) -> int | None:
        """The cell of a series, or the most similar one; ``None`` for an unknown step."""
        identity = _identity(key)
        exact = self._exact.get(identity)
        if exact is not None:
            return exact
        if identity not in self._similar:
            mine = frozenset(key.dimensions)
            known = self._by_step.get((key.flow, key.step), [])
            best = max(known, key=lambda entry: (len(mine & entry[0]), entry[1], -entry[2]), default=None)
            self._similar[identity] = None if best is None else best[2]
        return self._similar[identity]

    def cells(self, keys: Mapping[int, SeriesKey]) -> dict[int, int]:
        """Cells of series by their number in the store, which always means the same; unknown steps are left out."""
        known = self._by_number
        for number in keys.keys() - known.keys():
            known[number] = self.cell(keys[number])
        return {number: cell for number in keys if (cell := known[number]) is not None}

    def unknown(self, keys: Iterable[SeriesKey]) -> list[SeriesKey]:
        """The series that have no cell of their own."""
        return [key for key in keys if _identity(key) not in self._exact]


def _identity(key: SeriesKey) -> _Identity:
    return key.flow, key.step, tuple(sorted(key.dimensions))
