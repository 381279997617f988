"""The promise about false alarms beside what was observed."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Promise"]

_Z95 = 1.96


@dataclass(frozen=True, slots=True)
class Promise:
    """False alarms over a time in which nothing was wrong.

    Attributes:
        alarms: How many there were.
        months: Over how many series-months (30 days of one family of scopes).
        promised: How many a series-month were tolerated.
    """

    alarms: int
    months: float
    promised: float

    @property
    def observed(self) -> float:
        """False alarms a series-month."""
        return self.alarms / self.months

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of :attr:`observed`: Byar's approximation to the exact Poisson limits.

        Breslow & Day 1987, IARC Scientific Publications 82, page 69.
        """
        count, more = self.alarms, self.alarms + 1
        low = count * (1 - 1 / (9 * count) - _Z95 / (3 * count**0.5)) ** 3 if count else 0.0
        high = more * (1 - 1 / (9 * more) + _Z95 / (3 * more**0.5)) ** 3
        return low / self.months, high / self.months

    @property
    def is_broken(self) -> bool:
        """Whether there were more than promised, beyond chance."""
        return self.interval[0] > self.promised
