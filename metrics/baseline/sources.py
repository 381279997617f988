"""Where learning takes cells from: rows of windows, or digests of days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..detection.input import Fleet, Measurements
from ..detection.settings import DetectionSettings
from .cells import CellFigures, Rows, learn_cells
from .history_time import HistoryTime
from .rates import Outcomes, RowOutcomes, cell_totals
from .timetable import Timetable

__all__ = ["CellSource", "RowSource"]

Floats = NDArray[Any]  # float32 or float64
Integers = NDArray[Any]  # int64


class CellSource(Protocol):
    """The history of some cells."""

    @property
    def stretches(self) -> Timetable:
        """Local time of what tails and outcomes are counted by: windows, or several together."""
        ...

    @property
    def together(self) -> int:
        """How many windows that are."""
        ...

    def totals(self) -> tuple[Floats, Floats]:
        """Failures and trials of each cell by outcome column over the history, ``[C, F]`` each."""
        ...

    def portions(self, family: Integers, cells: int) -> Iterator[tuple[Integers, CellFigures, Outcomes]]:
        """So many cells at a time: which, what is learnt of them, and their outcomes."""
        ...


@dataclass(frozen=True, slots=True)
class RowSource:
    """Cells as rows of windows, sorted by cell."""

    history: Measurements
    fleet: Fleet
    time: HistoryTime
    settings: DetectionSettings

    @property
    def stretches(self) -> Timetable:
        """See :class:`CellSource`."""
        return self.time.table

    @property
    def together(self) -> int:
        """See :class:`CellSource`."""
        return 1

    def totals(self) -> tuple[Floats, Floats]:
        """See :class:`CellSource`."""
        history, cells = self.history, len(self.fleet.cells)
        return cell_totals(history, history.failed, cells), cell_totals(history, history.tried, cells)

    def portions(self, family: Integers, cells: int) -> Iterator[tuple[Integers, CellFigures, Outcomes]]:
        """See :class:`CellSource`."""
        history, time, every = self.history, self.time, len(self.fleet.cells)
        number = np.rint((history.window_start - time.first) / self.settings.window_seconds).astype(np.int64)
        for begin in range(0, every, cells):
            chosen = np.arange(begin, min(begin + cells, every))
            low, high = (int(each) for each in np.searchsorted(history.cell, [begin, begin + len(chosen)]))
            cut = history.cut(low, high)
            rows = Rows.of(replace(cut, cell=cut.cell - begin), len(chosen), time.windows, number[low:high])
            figures = learn_cells(rows, self.fleet.grid, time.table, family[chosen], seasonal=time.seasonal)
            yield chosen, figures, RowOutcomes(rows)
