"""Deviations that have been reported and are not over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Raised"]

Floats = NDArray[Any]  # float64


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
