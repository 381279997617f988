"""Learning from digests of days instead of single windows, a part of a fleet at a time.

The same is learnt as from windows (:func:`~.baseline.learn`), in a third of the time and from a fiftieth of the bytes;
reference/detection.md says by how much thresholds differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.input import Fleet
from ..detection.settings import DetectionSettings
from ..digest.day import BIN_SECONDS, DAY_SECONDS, DayDigests
from .baseline import learn_part
from .cells import CellFigures
from .digested import DigestSource
from .history_time import HistoryTime
from .profile import Profile
from .rates import Outcomes
from .special_days import SpecialRows, learn_special_days, ordinary_windows
from .timetable import Timetable
from .workspace import Workspace

__all__ = ["CELLS_IN_MEMORY", "DigestedCells", "learn_digests"]

Booleans = NDArray[Any]
Floats = NDArray[Any]
Integers = NDArray[Any]

CELLS_IN_MEMORY = 64  # whose digests are held at one time
_HOUR = 3_600


@dataclass(frozen=True, slots=True)
class DigestedCells:
    """Digests of the cells of a fleet: what reads those of some, and the start of the first day.

    ``read`` gives a row a cell and UTC day, cell after cell, for cells of the fleet by number, ascending.
    """

    read: Callable[[Integers], DayDigests]
    first_day: float

    @classmethod
    def of(cls, rows: DayDigests, first_day: float, cells: int) -> DigestedCells:
        """Of rows that are in memory."""
        days = len(rows) // max(cells, 1)
        return cls(lambda chosen: rows.take((chosen[:, None] * days + np.arange(days)).ravel()), first_day)


def learn_digests(
    history: DigestedCells,
    fleet: Fleet,
    settings: DetectionSettings,
    span: tuple[float, float],
    *,
    families: int,
    excluded: Sequence[tuple[float, float, str]] = (),
    space: Workspace | None = None,
) -> Profile:
    """Learn what is normal for some flows.

    Args:
        history: Digests of the cells in the order of the fleet, read some dozens at a time; what is outside of the
            span does not count.
        fleet: The flows, whole.
        settings: Budget, zone, window length, tested effects.
        span: Start of the first and end of the last window of the history of the larger fleet.
        families: Over how many families the budget is divided; see :func:`~.budget.count_families`.
        excluded: Spans ``(from, to, flow or pattern of flows)`` that must not teach.
        space: Memory to be used again.

    Returns:
        A profile; young series do not lean on others yet, :func:`~.pooling.pool_young` is for the whole fleet.
    """
    source = _DigestedFleet.of(history, fleet, settings, span, excluded)
    profile = learn_part(source, fleet, settings, source.time, families, space or Workspace())
    special = source.special()
    return replace(profile, special=learn_special_days(profile, special)) if special is not None else profile


@dataclass(slots=True)
class _DigestedFleet:
    """The cells of a fleet, some dozens in memory at a time.

    Attributes:
        history: Where their digests are.
        time: The windows to learn from, whole stretches of five minutes.
        settings: For the length of a window and the bank's calendar.
        flow: Number of each cell's flow, ``[C]``.
        taught: Which windows may teach a flow, ``[flows, T]``.
        ordinary: Which windows are of ordinary days, ``[T]``.
        stretches: See :class:`~.sources.CellSource`.
    """

    history: DigestedCells
    time: HistoryTime
    settings: DetectionSettings
    flow: Integers
    taught: Booleans
    ordinary: Booleans
    stretches: Timetable
    _last: tuple[int, DigestSource, SpecialRows | None] | None = None

    @classmethod
    def of(
        cls,
        history: DigestedCells,
        fleet: Fleet,
        settings: DetectionSettings,
        span: tuple[float, float],
        excluded: Sequence[tuple[float, float, str]],
    ) -> _DigestedFleet:
        time = HistoryTime.stretched(settings, span, BIN_SECONDS)
        starts = time.first + settings.window_seconds * np.arange(time.windows)
        names, flow = np.unique([cell.flow for cell in fleet.cells], return_inverse=True)
        taught: Booleans = np.repeat(((starts >= span[0]) & (starts < span[1]))[None], len(names), axis=0)
        for first, last, pattern in excluded:
            for place, name in enumerate(names.tolist()):
                if fnmatchcase(name, pattern):
                    taught[place] &= (starts < first) | (starts >= last)
        ordinary = ordinary_windows(starts[taught.any(axis=0)], starts, settings)
        stretches = DigestSource.stretches_of(time, settings)
        return cls(history, time, settings, flow.ravel(), taught, ordinary, stretches)

    @property
    def together(self) -> int:
        """See :class:`~.sources.CellSource`."""
        return round(BIN_SECONDS / self.settings.window_seconds)

    def totals(self) -> tuple[Floats, Floats]:
        """See :class:`~.sources.CellSource`."""
        parts = [self._some(begin)[0].totals() for begin in self._begins()]
        columns = max((failed.shape[1] for failed, _ in parts), default=0)
        wide = [[np.pad(each, ((0, 0), (0, columns - each.shape[1]))) for each in both] for both in parts]
        failed, tried = (np.concatenate([both[place] for both in wide]) for place in range(2))
        return failed, tried

    def portions(self, family: Integers, cells: int) -> Iterator[tuple[Integers, CellFigures, Outcomes]]:
        """See :class:`~.sources.CellSource`; portions are of :data:`CELLS_IN_MEMORY` cells at most."""
        for begin in self._begins():
            source, _ = self._some(begin)
            for chosen, figures, outcomes in source.portions(family[begin : begin + source.cells], cells):
                yield begin + chosen, figures, outcomes

    def special(self) -> SpecialRows | None:
        """Windows of special days of all cells; ``None`` if there is no such day."""
        if self.ordinary.all():
            return None
        found = []
        for begin in self._begins():
            rows = self._some(begin)[1]
            if rows is not None:
                found.append(replace(rows, cell=rows.cell + begin))
        return SpecialRows.joined(found)

    def _begins(self) -> range:
        return range(0, len(self.flow), CELLS_IN_MEMORY)

    def _some(self, begin: int) -> tuple[DigestSource, SpecialRows | None]:
        """Some cells, what must not teach taken out, and their windows of special days; the last ones are kept."""
        if self._last is None or self._last[0] != begin:
            self._last = None  # before others are read
            chosen = np.arange(begin, min(begin + CELLS_IN_MEMORY, len(self.flow)))
            rows = self.history.read(chosen)
            source = DigestSource.of(rows, self.history.first_day, self.time, self.stretches, self.settings)
            taught = self.taught[self.flow[chosen]]
            special = None if self.ordinary.all() else _special_rows(source, taught & ~self.ordinary)
            self._last = begin, replace(source, rows=_only(source, taught & self.ordinary)), special
        return self._last[1:]


def _only(source: DigestSource, keep: Booleans) -> DayDigests:
    """The digests with nothing but the windows to keep; stretches and hours that lose a window lose everything."""
    rows = source.rows
    cells, days = source.cells, source.days
    begin = round((source.time.first - source.first_day) / rows.window_seconds)
    longer = round(rows.window_seconds / source.settings.window_seconds)
    every = np.zeros((cells, days * DAY_SECONDS // rows.window_seconds), dtype=np.bool_)
    kept = keep[:, ::longer]
    every[:, begin : begin + kept.shape[1]] = kept
    windows = every.reshape(cells * days, -1)

    def whole(seconds: int) -> Booleans:
        return np.asarray(windows.reshape(len(windows), -1, seconds // rows.window_seconds).all(axis=2))

    stretches, hours = whole(BIN_SECONDS), whole(_HOUR)
    # the hours at the ends of the history are not whole, yet all there is
    hours |= _at_the_ends(source, windows)
    values = {item.name: getattr(rows, item.name) for item in fields(DayDigests)}
    for name, mask in (("count", windows), ("shape", hours[..., None])):
        values[name] = np.where(mask, values[name], values[name].dtype.type(0))
    for name in ("tails", "verdicts", "checks"):
        values[name] = np.where(stretches[:, None], values[name], values[name].dtype.type(0))
    return DayDigests(**values)


def _at_the_ends(source: DigestSource, windows: Booleans) -> Booleans:
    """Hours that are cut by the beginning or the end of the history and by nothing else, ``[R, 24]``."""
    per_hour = _HOUR // source.rows.window_seconds
    shape = (source.cells, source.days * 24, per_hour)
    kept = windows.reshape(shape)
    first = source.time.first
    last = first + source.time.windows * source.settings.window_seconds
    starts = source.first_day + source.rows.window_seconds * np.arange(shape[1] * per_hour).reshape(shape[1:])
    inside = (starts >= first) & (starts < last)
    cut = inside.any(axis=1) & ~inside.all(axis=1)
    # what the span cuts off within a stretch of five minutes is little beside an hour
    share = kept.sum(axis=2) / np.maximum(inside.sum(axis=1), 1)
    least = 1.0 - BIN_SECONDS / source.rows.window_seconds / np.maximum(inside.sum(axis=1), 1)
    found = cut & (share > np.maximum(least, 0.0))
    return np.asarray(found.reshape(source.cells * source.days, 24))


def _special_rows(source: DigestSource, chosen: Booleans) -> SpecialRows:
    """Windows of special days, row by row."""
    starts = source.time.first + source.settings.window_seconds * np.arange(source.time.windows)
    count, x = source.locations()
    window, cell = np.nonzero(chosen.T & (count > 0))
    return SpecialRows(
        starts[window], cell, count[window, cell].astype(np.float64), location=x[window, cell].astype(np.float64)
    )
