"""Learning from digests of days instead of single windows, a part of a fleet at a time.

The same is learnt as from windows (:func:`~.baseline.learn`), in a third of the time and from a fiftieth of the bytes;
reference/detection.md says by how much thresholds differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.input import Fleet
from ..detection.settings import DetectionSettings
from ..digest.day import BIN_SECONDS, DAY_SECONDS, DayDigests
from .baseline import learn_part
from .digested import DigestSource
from .history_time import HistoryTime
from .profile import Profile
from .special_days import SpecialRows, learn_special_days, ordinary_windows
from .workspace import Workspace

__all__ = ["DigestedCells", "learn_digests"]

Booleans = NDArray[Any]
Integers = NDArray[Any]

_HOUR = 3_600


@dataclass(frozen=True, slots=True)
class DigestedCells:
    """Digests of the cells of a fleet, a row a cell and UTC day, cell after cell; the first day's start."""

    rows: DayDigests
    first_day: float


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
        history: Digests of the cells in the order of the fleet; those outside of the span do not count.
        fleet: The flows, whole.
        settings: Budget, zone, window length, tested effects.
        span: Start of the first and end of the last window of the history of the larger fleet.
        families: Over how many families the budget is divided; see :func:`~.budget.count_families`.
        excluded: Spans ``(from, to, flow or pattern of flows)`` that must not teach.
        space: Memory to be used again.

    Returns:
        A profile; young series do not lean on others yet, :func:`~.pooling.pool_young` is for the whole fleet.
    """
    time = HistoryTime.stretched(settings, span, BIN_SECONDS)
    source = DigestSource.of(history.rows, history.first_day, time, settings)
    taught = _taught(source, fleet, span, excluded)
    starts = time.first + settings.window_seconds * np.arange(time.windows)
    ordinary = ordinary_windows(starts[taught.any(axis=0)], starts, settings)
    special = _special_rows(source, starts, taught & ~ordinary) if not ordinary.all() else None
    teaching = replace(source, rows=_only(source, taught & ordinary))
    profile = learn_part(teaching, fleet, settings, time, families, space or Workspace())
    return replace(profile, special=learn_special_days(profile, special)) if special is not None else profile


def _taught(
    source: DigestSource, fleet: Fleet, span: tuple[float, float], excluded: Sequence[tuple[float, float, str]]
) -> Booleans:
    """Which windows may teach a cell, ``[C, T]``; cells of a flow share a row of memory."""
    starts = source.time.first + source.settings.window_seconds * np.arange(source.time.windows)
    inside = (starts >= span[0]) & (starts < span[1])
    names, flow = np.unique([cell.flow for cell in fleet.cells], return_inverse=True)
    keep: Booleans = np.repeat(inside[None], len(names), axis=0)
    for first, last, pattern in excluded:
        for place, name in enumerate(names.tolist()):
            if fnmatchcase(name, pattern):
                keep[place] &= (starts < first) | (starts >= last)
    return np.asarray(keep[flow.ravel()])


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


def _special_rows(source: DigestSource, starts: Any, chosen: Booleans) -> SpecialRows:
    """Windows of special days, row by row."""
    count, x = source.locations()
    window, cell = np.nonzero(chosen.T & (count > 0))
    return SpecialRows(
        starts[window], cell, count[window, cell].astype(np.float64), location=x[window, cell].astype(np.float64)
    )
