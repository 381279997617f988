"""A change of durations between two periods, told apart: slower for customers alike, or other customers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import expm1

import numpy as np
from numpy.typing import NDArray

from ..alerts.attribution import CellCounts, attribute_latency
from ..metrics.observation import SeriesKey
from ..metrics.rollup import Rollup
from .figure_types import MixSplit, Part

__all__ = ["mix_split"]


def mix_split(before: Rollup, after: Rollup, keys: Mapping[int, SeriesKey]) -> MixSplit | None:
    """Split the change by the groups that the dimensions make; ``None`` without two groups to tell apart.

    The arithmetic is that of alerts, so that a report and an alert name the same groups; see ``alerts.attribution``.
    """
    groups = sorted({key.dimensions for key in keys.values()})
    if len(groups) < 2:
        return None
    number = {group: place for place, group in enumerate(groups)}
    cell = {series: number[key.dimensions] for series, key in keys.items()}
    found = attribute_latency(
        [dict(group) for group in groups], _counts(before, cell, len(groups)), _counts(after, cell, len(groups))
    )
    if not (np.isfinite(found.total) and np.isfinite(found.mix)):
        return None
    parts = tuple(
        Part(
            dict(one.dimensions),
            expm1(one.effect),
            expm1(one.effect_low),
            expm1(one.effect_high),
            one.share,
            one.share_low,
            one.share_high,
            one.observations,
        )
        for one in found.contributions
    )
    return MixSplit(expm1(found.total), expm1(found.within), expm1(found.mix), parts, found.reason)


def _counts(rollup: Rollup, cell: Mapping[int, int], size: int) -> CellCounts:
    place = np.array([cell[int(series)] for series in rollup.series], dtype=np.int64)

    def add(column: Sequence[float] | NDArray[np.number]) -> NDArray[np.float64]:
        return np.bincount(place, weights=np.asarray(column, dtype=np.float64), minlength=size).astype(np.float64)

    observations = rollup.observations
    return CellCounts(
        count=add(rollup.count),
        sum_log=add(rollup.sum_log),
        sum_log_sq=add(rollup.sum_log_sq),
        tried=add(observations),
        failed=add(observations - rollup.good),
    )
