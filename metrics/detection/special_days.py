"""Special days of the bank (payday, statement day, campaign): what they do to durations and traffic, and how surely.

Such days are left out of what ordinary days teach, and have corrections of their own by hour. As there are few of them,
the correction of the next one is not sure: a deviation within the *margin* is taken for the day's and is not
evidence. A special day of a kind that was never seen may thus be slower by up to :data:`UNSEEN_MARGIN` without an
alarm, and its traffic and tails are not judged at all; failures always are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calendar import LocalTime, special_kinds
from .settings import DetectionSettings

__all__ = ["UNSEEN_MARGIN", "SpecialDays", "SpecialTime", "special_margin"]

Floats = NDArray[Any]  # float64

UNSEEN_MARGIN = 0.35
_OF_CORRECTION = 0.25


@dataclass(frozen=True, slots=True)
class SpecialDays:
    """What special days of ``K`` kinds were like, by hour; ``C`` cells, ``S`` scopes.

    Attributes:
        names: The kinds' names, ``[K]``.
        days: How many days of each kind were seen, ``[K]``.
        level: Durations against those of an ordinary day, log-ratios of cells, ``[K, 24, C]``.
        volume: Traffic likewise, of scopes, ``[K, 24, S]``.
    """

    names: Any
    days: Floats
    level: Floats
    volume: Floats

    @classmethod
    def none(cls, cells: int = 0, scopes: int = 0) -> SpecialDays:
        """No special day has been seen."""
        return cls(np.zeros(0, dtype="U1"), np.zeros(0), np.zeros((0, 24, cells)), np.zeros((0, 24, scopes)))

    def at(self, local: LocalTime, settings: DetectionSettings) -> SpecialTime | None:
        """What the single window of ``local`` is to be judged by; ``None`` on an ordinary day."""
        number = int(local.special[0])
        if not number:
            return None
        name = special_kinds(settings)[number - 1]
        where = np.flatnonzero(self.names == name)
        if not len(where):
            return SpecialTime(0.0, 0.0, 0.0)
        kind, hour = int(where[0]), int(min(local.second[0] // 3600, 23))
        return SpecialTime(float(self.days[kind]), self.level[kind, hour], self.volume[kind, hour])


@dataclass(frozen=True, slots=True)
class SpecialTime:
    """One hour of a special day: corrections of cells and of scopes (0.0 = of everything), days behind them."""

    days: float
    level: Floats | float
    volume: Floats | float

    @property
    def seen(self) -> bool:
        """Whether there was such a day before."""
        return self.days > 0

    def within_margin(self, residual: Floats, correction: Floats | float) -> Floats:
        """The part of residuals that the day may well account for."""
        margin = special_margin(self.days, correction)
        return np.asarray(np.clip(residual, -margin, margin))


def special_margin(days: float, correction: Floats | float) -> Floats:
    """How far the next special day may be from ``correction``, learnt from so many days (log-ratio)."""
    least = UNSEEN_MARGIN / (1.0 + 2.0 * days)
    return np.asarray(least + _OF_CORRECTION * np.abs(correction) / np.sqrt(max(days, 1.0)))
