"""What a profile takes for usual, hour by hour: the band that charts draw behind durations."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.calendar import LocalTime, local_time
from ..detection.special_days import special_margin
from .profile import Profile

__all__ = ["HOUR_SECONDS", "BandHour", "baseline_bands"]

Floats = NDArray[Any]  # float64

HOUR_SECONDS = 3600.0
_NORMAL_95 = 1.96  # half-width of the central 95 % of a normal distribution, in standard deviations


@dataclass(frozen=True, slots=True)
class BandHour:
    """One hour of one step: typical durations in seconds; ``hour`` is its start in seconds since 1970 UTC.

    ``expected_seconds`` is the geometric mean over all customers at their usual mix. The typical durations of
    95 of 100 single windows lie from ``low_seconds`` to ``high_seconds``. Longer spans vary less, so the band
    does not say that what is inside is well: deviations do. On a special day of the bank the band is where such days
    were against ordinary ones, and wider by how little that is known: within it nothing is called a deviation.
    """

    flow: str
    step: str
    hour: float
    expected_seconds: float
    low_seconds: float
    high_seconds: float


def baseline_bands(profile: Profile, start: float, end: float) -> list[BandHour]:
    """The bands of every whole hour that begins in ``[start, end)``, by step and hour.

    Steps with too little history to be tested are left out. The spread of a window is that of the noise the shift
    test was calibrated on (see ``baseline_noise``) plus the sampling variance of a typical window.
    """
    hours = np.arange(np.ceil(start / HOUR_SECONDS), np.ceil(end / HOUR_SECONDS)) * HOUR_SECONDS
    if not len(hours):
        return []
    local = local_time(hours + HOUR_SECONDS / 2, profile.settings)
    level = profile.mix.at(local).astype(np.float64)
    moved, margin = _special_days(profile, local)
    level += moved
    noise = profile.shift.noise
    spread = (noise.fast_variance, noise.slow_variance, noise.white_variance, profile.shift.variance)
    variance: NDArray[Any] = np.asarray(np.sum(spread, axis=0, dtype=np.float64))
    found: list[BandHour] = []
    for number, (scope, reason) in enumerate(zip(profile.fleet.scopes, profile.reasons, strict=True)):
        if scope.step is None or scope.dimensions or reason:
            continue
        half = _NORMAL_95 * np.sqrt(variance[number]) + margin[:, number]  # locations come first among the quantities
        expected = level[:, number]
        for hour, *values in zip(
            hours.tolist(), *(np.exp(expected + shift).tolist() for shift in (0.0, -half, half)), strict=True
        ):
            if np.isfinite(values).all():
                found.append(BandHour(scope.flow, scope.step, hour, *values))
    return found


def _special_days(profile: Profile, local: LocalTime) -> tuple[Floats, Floats]:
    """What special days add to the levels of scopes, and how far the day may be from there, ``[T, S]`` (ln)."""
    fleet = profile.fleet
    moved, margin = (np.zeros((len(local.day), len(fleet.scopes))) for _ in range(2))
    for place in np.flatnonzero(local.special).tolist():
        one = LocalTime(*(getattr(local, item.name)[place : place + 1] for item in fields(LocalTime)))
        special = profile.special.at(one, profile.settings)
        if special is None:
            continue
        of_cell = np.broadcast_to(special.level, len(fleet.cells))
        for number, inside in enumerate(fleet.members):
            weight = profile.traffic[inside] + 1e-9
            moved[place, number] = np.average(of_cell[inside], weights=weight)
        margin[place] = special_margin(special.days, moved[place])
    return moved, margin
