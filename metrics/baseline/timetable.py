"""The local time of a history laid out for fitting: sums by day and five minutes, folds of days, and the way back.

Seasons are fitted on sums over five minutes, never on single windows: what is needed of 40,000 minutes is then
8,000 sums a series. Only sums and the final prediction touch every window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.calendar import LocalTime
from .runs import run_sums
from .season import FINE_BINS, Season, fine_bin

__all__ = ["Timetable"]

Floats = NDArray[Any]  # float64 or float32
Integers = NDArray[Any]  # int64

_DAYS_FOR_WEEKS = 10  # with fewer days, folds are single days and all days are of one type


@dataclass(frozen=True, slots=True)
class Timetable:
    """The ``T`` windows of a history on ``D`` local days.

    Attributes:
        local: Their local time.
        day: Each window's day, ``[T]``.
        day_type: Each day's type, ``[D]``; all 0 when there is but one.
        weekday: Each day's day of the week, ``[D]``.
        fold: Each day's fold: a week, or a day while there are few, ``[D]``.
        types: Number of day types.
        folds: Number of folds.
        starts: First windows of runs within the same five minutes.
        run: Day times 288 plus five minutes of each run.
    """

    local: LocalTime
    day: Integers
    day_type: Integers
    weekday: Integers
    fold: Integers
    types: int
    folds: int
    starts: Integers
    run: Integers

    @classmethod
    def of(cls, local: LocalTime) -> Timetable:
        """Lay out windows in order of time."""
        days, first, day = np.unique(local.day, return_index=True, return_inverse=True)
        types = 2 if len(days) >= _DAYS_FOR_WEEKS and len(np.unique(local.day_type)) == 2 else 1
        weeks = (days - days.min()) // 7
        fold = weeks if weeks.max() >= 1 and len(days) >= _DAYS_FOR_WEEKS else np.arange(len(days))
        fold = np.unique(fold, return_inverse=True)[1]
        key = day * FINE_BINS + fine_bin(local)
        starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
        day_type = local.day_type[first] if types > 1 else np.zeros(len(days), dtype=np.int64)
        return cls(
            local, day, day_type, local.weekday[first], fold, types, int(fold.max()) + 1, starts, key[starts]
        )  # fmt: skip

    def since(self, first: int) -> Timetable:
        """The windows from ``first`` on as a history of their own."""
        local = self.local
        parts = (local.day, local.second, local.day_type, local.weekday, local.special)
        return Timetable.of(LocalTime(*(each[first:] for each in parts)))

    @property
    def window_seconds(self) -> float:
        """Length of a window."""
        return float(np.median(np.diff(self.local.second[:100]))) if len(self.day) > 1 else 60.0

    @property
    def true_type(self) -> Integers:
        """Each day's type, whether or not types are told apart here, ``[D]``."""
        return self.local.day_type[np.searchsorted(self.day, np.arange(self.days))]

    @property
    def days(self) -> int:
        """Number of days."""
        return len(self.fold)

    def half_hours(self) -> tuple[Integers, Integers]:
        """First window of each half hour, and its local hour."""
        half = self.day * 48 + np.minimum(self.local.second // 1800, 47).astype(np.int64)
        starts = np.flatnonzero(np.concatenate(([True], half[1:] != half[:-1])))
        return starts, half[starts] % 48 // 2

    def sums(self, values: Floats) -> Floats:
        """Sums of ``values [T, C]`` by day and five minutes, ``[D, 288, C]``, in the precision of ``values``."""
        by_run = run_sums(values, self.starts)
        out = np.zeros((self.days * FINE_BINS, values.shape[1]), dtype=by_run.dtype)
        if len(np.unique(self.run)) == len(self.run):
            out[self.run] = by_run
        else:  # an hour that the clock repeats
            np.add.at(out, self.run, by_run)
        return out.reshape(self.days, FINE_BINS, -1)

    def weighted_sums(self, values: Floats, weight: Floats) -> tuple[Floats, Floats]:
        """Sums of ``values · weight`` and of ``weight``, both ``[T, C]``."""
        return self.sums(values * weight), self.sums(weight)

    def spread_out(self, seasons: list[Season], jobs: Floats | None) -> Floats:
        """The level of every window, ``[T, C]`` float32, each fold's days by its own season.

        Args:
            seasons: One season a fold, or one for all.
            jobs: Further five-minute corrections by fold and day type ``[folds, types, 288, C]``.
        """
        second, place = np.unique(self.local.second, return_inverse=True)
        hour = np.minimum(second // 3600, 23).astype(np.int64)
        fine = np.minimum(second // (86_400 / FINE_BINS), FINE_BINS - 1).astype(np.int64)
        out = np.empty((len(self.day), seasons[0].level.shape[2]), dtype=np.float32)
        templates: dict[tuple[int, int], Floats] = {}
        one_type, true_type = len(seasons[0].level) == 1, self.true_type
        edges = np.flatnonzero(np.concatenate(([True], self.day[1:] != self.day[:-1], [True])))
        for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            day = int(self.day[begin])
            fold = int(self.fold[day]) if len(seasons) > 1 else 0
            kind = 0 if one_type else int(true_type[day])
            weekday = int(self.weekday[day])
            key = fold, kind
            if key not in templates:
                template = seasons[fold].smooth(kind, second) + seasons[fold].job[kind][fine]
                templates[key] = template if jobs is None else template + jobs[fold, kind][fine]
            rows = place[begin:end]
            out[begin:end] = templates[key][rows]
            out[begin:end] += seasons[fold].week[weekday][hour[rows]]
        return out
