"""Figures over time: what charts draw."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isfinite

import numpy as np

from ..metrics.rollup import Rollup, regroup
from .figure_types import Period

__all__ = ["StepPoints", "TimePoint", "point_seconds", "step_points"]

_POINTS_MOST = 120
_LENGTHS = (60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400)


@dataclass(frozen=True, slots=True)
class TimePoint:
    """One span of time; figures are ``None`` where there was no observation."""

    start: float
    observations: int
    good: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class StepPoints:
    """A step over time, in spans of ``seconds``; spans without data are there too."""

    seconds: int
    points: tuple[TimePoint, ...]


def point_seconds(period: Period, window_seconds: int) -> int:
    """Length of the spans a chart of ``period`` has: at most 120 of them, and whole windows."""
    wanted = period.seconds / _POINTS_MOST
    for length in (window_seconds, *_LENGTHS):
        if length >= wanted and length % window_seconds == 0:
            return length
    return ceil(wanted / 86_400) * 86_400


def step_points(rollup: Rollup, period: Period) -> StepPoints:
    """The rows of one step, any dimensions, added up by span."""
    seconds = point_seconds(period, rollup.window_seconds)
    if len(rollup) == 0:
        return StepPoints(seconds, ())
    one = regroup(rollup, np.zeros(int(rollup.series.max()) + 1, dtype=np.int64), window_seconds=seconds)
    starts, place = np.unique(one.window_start, return_inverse=True)
    verdicts = np.zeros((len(starts), one.verdicts.shape[1]), dtype=np.int64)
    np.add.at(verdicts, place, one.verdicts)
    quantiles = {int(start): (None, None) for start in starts}
    merged = _without_origin(one)
    for start, (p50, p95) in zip(merged.window_start, merged.quantiles(0.5, 0.95), strict=True):
        quantiles[int(start)] = (_known(p50), _known(p95))  # type: ignore[assignment]
    found = {
        int(start): TimePoint(float(start), int(row.sum()), int(row[0]), *quantiles[int(start)])
        for start, row in zip(starts, verdicts, strict=True)
    }
    first = int(period.start // seconds * seconds)
    last = min(int(period.end), int(starts[-1]) + seconds)
    return StepPoints(
        seconds,
        tuple(found.get(start) or TimePoint(float(start), 0, 0, None, None) for start in range(first, last, seconds)),
    )


def _without_origin(rollup: Rollup) -> Rollup:
    """Customers' and simulated rows of a window added up: for drawing only, and the page says which are simulated."""
    from dataclasses import fields

    values = {field.name: getattr(rollup, field.name) for field in fields(rollup)}
    return regroup(Rollup(**{**values, "origin": np.zeros(len(rollup), dtype=np.int16)}))


def _known(value: float) -> float | None:
    return float(value) if isfinite(value) else None
