"""Learning special days: they are kept apart from the history of ordinary days, then compared with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..detection.calendar import local_time, special_kinds
from ..detection.input import Measurements
from ..detection.settings import DetectionSettings
from ..detection.special_days import SpecialDays
from .location import pulled_in_sum, undo_clip

if TYPE_CHECKING:
    from .profile import Profile

__all__ = ["SpecialRows", "learn_special_days", "ordinary_windows", "split_special_days"]

Floats = NDArray[Any]  # float64

_ORDINARY_DAYS = 3  # fewer ordinary days than this cannot do without the special ones
_PRIOR = 100.0  # of a step's hour, in units of information: a correction known to a tenth counts half
_LONGEST_HOUR_WEIGHT = 2_500.0  # the windows of an hour share noise: more than this an hour does not know
_VOLUME_PRIOR = 5.0  # observations


@dataclass(frozen=True, slots=True)
class SpecialRows:
    """Rows of special days.

    Attributes:
        window_start: Seconds since 1970 UTC, ``[R]``.
        cell: Index into the fleet's cells, ``[R]``.
        count: Observations with a duration, ``[R]``.
        location: Where they lie (ln seconds), ``[R]``; if it is not given, ``rows`` tell.
        rows: The rows with sums and histograms.
    """

    window_start: Floats
    cell: Floats
    count: Floats
    location: Floats | None = None
    rows: Measurements | None = None

    @classmethod
    def of(cls, rows: Measurements) -> SpecialRows:
        """Rows of windows."""
        return cls(rows.window_start, rows.cell, rows.count, rows=rows)

    @classmethod
    def joined(cls, parts: Sequence[SpecialRows]) -> SpecialRows:
        """Rows with locations, one part after the other."""
        none = np.zeros(0)
        columns = [[part.window_start, part.cell, part.count, part.location] for part in parts]
        start, cell, count, location = (
            np.concatenate(each) for each in zip(*columns, [none, none.astype(np.int64), none, none], strict=True)
        )
        return cls(start, cell, count, location)

    def __len__(self) -> int:
        return len(self.cell)

    def pulled(self, profile: Profile, expected: Floats) -> Floats:
        """Sums of deviations from what is expected, pulled in; NaN where nothing is known."""
        if self.rows is not None:
            return pulled_in_sum(self.rows, profile.fleet.grid, expected, profile.scale[self.cell])
        if self.location is None:
            return np.full(len(self.cell), np.nan)
        return np.asarray((self.location - expected) * profile.slope[self.cell] * self.count)


def ordinary_windows(there: Floats, starts: Floats, settings: DetectionSettings) -> NDArray[Any]:
    """Which windows are of ordinary days; all of them, if there are hardly any such days with data.

    Args:
        there: Starts of the windows that teach.
        starts: Starts of the windows asked of.
        settings: The bank's calendar.
    """
    if not settings.special_days or not len(there):
        return np.ones(len(starts), dtype=bool)
    local = local_time(there, settings)
    if len(np.unique(local.day[local.special == 0])) < _ORDINARY_DAYS:
        return np.ones(len(starts), dtype=bool)
    return np.asarray(local_time(starts, settings).special == 0)


def split_special_days(history: Measurements, settings: DetectionSettings) -> tuple[Measurements, Measurements]:
    """The rows of ordinary days and those of special days; no special ones if there are hardly any others."""
    starts, inverse = np.unique(history.window_start, return_inverse=True)
    ordinary = ordinary_windows(starts, starts, settings)
    if ordinary.all():
        return history, history.take(np.zeros(0, dtype=np.int64))
    ordinary = ordinary[inverse]
    return history.take(np.flatnonzero(ordinary)), history.take(np.flatnonzero(~ordinary))


def learn_special_days(profile: Profile, history: SpecialRows) -> SpecialDays:
    """What special days did to durations of steps and to traffic of scopes, hour by hour.

    Args:
        profile: What ordinary days are like.
        history: The rows of special days.
    """
    fleet, settings = profile.fleet, profile.settings
    cells, scopes = len(fleet.cells), len(fleet.scopes)
    if not len(history):
        return SpecialDays.none(cells, scopes)
    starts, inverse = np.unique(history.window_start, return_inverse=True)
    local = local_time(starts, settings)
    hour = np.minimum(local.second // 3600, 23).astype(np.int64)
    kinds = np.unique(local.special)
    kind = np.searchsorted(kinds, local.special)
    days = np.array([len(np.unique(local.day[kind == number])) for number in range(len(kinds))], dtype=np.float64)
    shape = (len(kinds), 24)
    place = (kind * 24 + hour)[inverse]
    level = _levels(profile, history, place, profile.season.at(local), inverse, len(kinds) * 24)
    seen, expected = np.zeros((len(kinds) * 24, scopes)), np.zeros((len(kinds) * 24, scopes))
    usual = profile.volume.at(local)
    np.add.at(expected, kind * 24 + hour, np.maximum(usual, 0.0))
    by_cell = np.zeros((len(kinds) * 24, cells))
    np.add.at(by_cell, (place, history.cell), history.count)
    for index, inside in enumerate(fleet.members):
        seen[:, index] = by_cell[:, inside].sum(axis=1)
    volume = np.log((seen + _VOLUME_PRIOR) / (expected + _VOLUME_PRIOR))
    names = np.array([special_kinds(settings)[number - 1] for number in kinds])
    return SpecialDays(names, days, level.reshape(*shape, cells), volume.reshape(*shape, scopes))


def _levels(profile: Profile, history: SpecialRows, place: Floats, season: Floats, window: Floats, size: int) -> Floats:
    """Log-ratios of durations of cells ``[size, C]``; all cells of a step share theirs."""
    fleet, cell = profile.fleet, history.cell
    expected = season[window, cell]
    pulled = history.pulled(profile, expected)
    usable = np.isfinite(pulled) & profile.known[cell].astype(bool)
    families = int(fleet.family.max()) + 1
    key = place * families + fleet.family[cell]

    def add(values: Floats) -> Floats:
        return np.bincount(key, np.where(usable, values, 0.0), minlength=size * families)

    weight = np.minimum(add(history.count / profile.spread[cell]), _LONGEST_HOUR_WEIGHT)
    mean = add(np.where(usable, pulled, 0.0) / profile.slope[cell]) / np.maximum(add(history.count), 1e-9)
    scale = np.array([np.median(profile.scale[fleet.family == family]) for family in range(families)])
    moved = undo_clip(mean.reshape(size, families), scale)
    shrunk = moved * (weight / (weight + _PRIOR)).reshape(size, families)
    return np.asarray(shrunk[:, fleet.family])
