"""What is usual at each local time: the seasonal profile of many series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.calendar import SLOTS_PER_DAY, LocalTime

__all__ = ["FINE_BINS", "Season", "fine_bin"]

Floats = NDArray[Any]  # float32
Integers = NDArray[Any]  # int64

FINE_BINS = 288  # of five minutes in a day, for jobs that begin and end at a minute


@dataclass(frozen=True, slots=True)
class Season:
    """What is usual at each local time.

    Attributes:
        level: Levels by day type and quarter hour, ``[types, 96, C]``.
        week: Correction by day of week and hour, ``[7, 24, C]``.
        job: Correction by day type and five minutes, not smoothed and 0 except where something regular
            begins and ends sharply, ``[types, 288, C]``.
    """

    level: Floats
    week: Floats
    job: Floats

    @classmethod
    def flat(cls, level: Floats, types: int = 1) -> Season:
        """Always the same level, ``[C]``."""
        count = len(level)
        every = np.broadcast_to(level, (types, SLOTS_PER_DAY, count)).copy()
        return cls(every, np.zeros((7, 24, count)), np.zeros((types, FINE_BINS, count)))

    def take(self, series: Any) -> Season:
        """The seasons of some series."""
        return Season(self.level[..., series], self.week[..., series], self.job[..., series])

    def replaced(self, season: Season, series: Any) -> Season:
        """The same but for some series."""
        parts = []
        for own, other in zip((self.level, self.week, self.job), (season.level, season.week, season.job), strict=True):
            part = own.copy()
            part[..., series] = other
            parts.append(part)
        return Season(*parts)

    @classmethod
    def joined(cls, seasons: Sequence[Season]) -> Season:
        """Series side by side; seasons of one day type beside seasons of two have both days alike."""
        types = max(each.level.shape[0] for each in seasons)
        wide = [
            each
            if each.level.shape[0] == types
            else cls(np.repeat(each.level, types, axis=0), each.week, np.repeat(each.job, types, axis=0))
            for each in seasons
        ]
        names = ("level", "week", "job")
        return cls(*(np.concatenate([getattr(each, name) for each in wide], axis=-1) for name in names))

    def narrow(self) -> Season:
        """The same in single precision: half the memory, and far more exact than it is known."""
        return Season(*(each.astype(np.float32) for each in (self.level, self.week, self.job)))

    def smooth(self, kind: Any, second: Floats) -> Floats:
        """The level at seconds of the local day ``[T]``, ``[T, C]``, between quarter hours by line."""
        position = second / (86_400 / SLOTS_PER_DAY) - 0.5
        left = np.floor(position).astype(np.int64)
        share = (position - left)[:, None].astype(self.level.dtype)
        level = self.level[kind, left % SLOTS_PER_DAY] * (1 - share)
        level += self.level[kind, (left + 1) % SLOTS_PER_DAY] * share
        return np.asarray(level)

    def at(self, local: LocalTime, rows: Integers | slice = slice(None)) -> Floats:
        """The level of every series at the given windows, ``[len(rows), C]``."""
        types = self.level.shape[0]
        kind = local.day_type[rows] if types > 1 else np.zeros_like(local.day_type[rows])
        level = self.smooth(kind, local.second[rows])
        hour = np.minimum(local.second[rows] // 3600, 23).astype(np.int64)
        level += self.week[local.weekday[rows], hour]
        level += self.job[kind, fine_bin(local)[rows]]
        return np.asarray(level)


def fine_bin(local: LocalTime) -> Integers:
    """The five minutes of the day that each window is in."""
    return np.asarray(np.minimum(local.second // (86_400 / FINE_BINS), FINE_BINS - 1).astype(np.int64))
