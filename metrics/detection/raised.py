"""Deviations that have been reported and are not over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Meanwhile", "Raised"]

Floats = NDArray[Any]  # float64


_FADING = 1 - 1 / 500.0  # of a window to the next


@dataclass(slots=True)
class Meanwhile:
    """Where quantities are while they are reported: what an accepted level is taken from. Old windows fade.

    ``score / weight`` is a mean of residuals, or failures by failures expected.
    """

    score: Floats
    weight: Floats

    @classmethod
    def new(cls, size: int) -> Meanwhile:
        """Nothing is reported."""
        return cls(np.zeros(size), np.zeros(size))

    def add(self, reported: Floats, score: Floats, weight: Floats) -> None:
        """Take in a window; what is not reported begins at nothing again."""
        for total in (self.score, self.weight):
            total[np.flatnonzero((total != 0) & ~reported)] = 0.0
        place = np.flatnonzero(reported)
        self.score[place] = _FADING * self.score[place] + score[place]
        self.weight[place] = _FADING * self.weight[place] + weight[place]


@dataclass(slots=True)
class Raised:
    """What is reported of each quantity, one entry each; ``effect`` 0 = nothing.

    Attributes:
        effect: Log-ratio.
        started: Estimated start (seconds).
        detected: When it was noted (seconds).
        recovery: Evidence (nats) that it is over.
        told: 1 where it was reported, 0 where something wider speaks for it.
        weight: Information about ``effect``, 1 / variance.
    """

    effect: Floats
    started: Floats
    detected: Floats
    recovery: Floats
    told: Floats
    weight: Floats

    @classmethod
    def new(cls, size: int) -> Raised:
        """Nothing is reported."""
        return cls(*(np.zeros(size) for _ in range(6)))

    def settle(self, places: Floats) -> None:
        """Nothing is reported of ``places`` any more."""
        self.effect[places] = self.recovery[places] = self.told[places] = 0.0
