"""Five-minute bins that differ from the smooth profile day after day: something regular that begins and ends sharply.

Jobs are those of a family: all its series, and all days unless day types differ plainly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.medians import median
from .season import FINE_BINS
from .timetable import Timetable

__all__ = ["fit_jobs", "pulled_in"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64

_FINE_DEVIATIONS = 4.0
_FINE_LEAST = 0.02


def fit_jobs(
    total: Floats, weight: Floats, family: Integers, table: Timetable, where: Floats | None
) -> tuple[Floats, Floats]:
    """Jobs ``[types, 288, C]``, and their values when each fold is left out ``[folds, types, 288, C]``.

    Args:
        total: Weighted sums by day and five minutes ``[D, 288, C]``: of deviations from the smooth profile, or of
            locations if ``where`` is not given.
        weight: Sums of weights.
        family: Family of each series.
        table: Days and folds.
        where: Jobs whose bins to fill in; by default those that stand out from the running median of three hours,
            which a job of less than half of that does not move.
    """
    families, first, inverse = np.unique(family, return_index=True, return_inverse=True)
    top, bottom = _by_family(total, inverse, len(families)), _by_family(weight, inverse, len(families))
    mean, seen = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0), bottom > 0
    allowed = np.asarray(where[..., first].any(axis=0)) if where is not None else None
    if where is None:
        for kind in range(table.types):
            rows = np.flatnonzero(table.day_type == kind)
            mean[rows] -= _running_median(median(np.where(seen[rows], mean[rows], np.nan)))
    every = _bins(mean, seen, np.arange(table.days), table, allowed)
    job = np.stack([every[0]] * table.types)
    left = np.stack([every[1]] * table.types, axis=1)
    for kind in range(table.types if table.types > 1 else 0):
        rows = np.flatnonzero(table.day_type == kind)
        allowed = where[kind][:, first] if where is not None else None
        own, others = _bins(mean[rows] - job[kind], seen[rows], rows, table, allowed)
        job[kind] += own
        left[:, kind] += others
    if not job.any() and not left.any():
        nothing = np.zeros((table.types, FINE_BINS, len(inverse)))
        return nothing, np.broadcast_to(nothing, (table.folds, *nothing.shape))
    return job[..., inverse], left[..., inverse]


def _by_family(values: Floats, inverse: Integers, families: int) -> Floats:
    if families == values.shape[-1]:
        return values[..., np.argsort(inverse)]
    share = np.zeros((values.shape[-1], families), dtype=values.dtype)
    share[np.arange(len(inverse)), inverse] = 1.0
    return np.asarray(values @ share)


def _bins(
    mean: Floats, seen: Floats, rows: Integers, table: Timetable, allowed: Floats | None
) -> tuple[Floats, Floats]:
    """Five-minute values of some days ``[288, F]``, and of those days less each fold ``[folds, 288, F]``."""
    shape = mean.shape[1:]
    if len(rows) < 3:
        return np.zeros(shape), np.zeros((table.folds, *shape))
    pulled = np.nan_to_num(pulled_in(np.where(seen, mean, np.nan)))
    number, total = seen.sum(axis=0), pulled.sum(axis=0)
    centre = total / np.maximum(number, 1)
    variance = (np.where(seen, pulled - centre, 0.0) ** 2).sum(axis=0) / np.maximum(number - 1, 1)
    # few days make a variance small by luck: bins borrow from their neighbours of an hour
    smooth = sum(np.roll(variance, lag, axis=0) for lag in range(-6, 7)) / 13
    error2 = np.maximum(0.5 * (variance + smooth), 1e-12) / np.maximum(number, 1)
    z2 = centre**2 / error2
    use = _significant(centre, error2) & (number >= 3)
    if allowed is not None:
        use = use & allowed
    shrink = np.where(use, z2 / (1.0 + z2), 0.0)
    left = np.zeros((table.folds, *shape))
    for f in range(table.folds if use.any() else 0):
        out = table.fold[rows] == f
        fewer = np.maximum(number - seen[out].sum(axis=0), 1)
        left[f] = (total - pulled[out].sum(axis=0)) / fewer * shrink
    return centre * shrink, left


def pulled_in(mean: Floats) -> Floats:
    """Clip each bin's days (the first axis) to four robust deviations around their median."""
    centre = median(mean)
    spread = median(np.abs(mean - centre))
    typical = median(spread)
    limit = 4 * 1.4826 * np.maximum(spread, typical)
    return np.clip(mean, centre - limit, centre + limit)


def _running_median(profile: Floats) -> Floats:
    """Median over three hours around each five-minute bin ``[288, F]``; a slope passes through unchanged."""
    around = np.concatenate([profile[-18:], profile, profile[:18]])
    view = np.lib.stride_tricks.sliding_window_view(around, 37, axis=0)
    return np.nan_to_num(median(np.moveaxis(view, -1, 0)))


def _significant(centre: Floats, error2: Floats) -> Floats:
    """Bins of stretches of 5 to 60 minutes whose sum is far from 0."""
    use = np.zeros(centre.shape, dtype=bool)
    for width in (1, 2, 3, 6, 12):
        top = sum(np.roll(centre, -lag, axis=0) for lag in range(width))
        bottom = sum(np.roll(error2, -lag, axis=0) for lag in range(width))
        hit = (np.abs(top) > _FINE_DEVIATIONS * np.sqrt(bottom)) & (np.abs(top) > _FINE_LEAST * width)
        for lag in range(width if hit.any() else 0):
            same = np.sign(centre) == np.sign(np.roll(top, lag, axis=0))
            use |= np.roll(hit, lag, axis=0) & same & (np.abs(centre) > np.sqrt(error2))
    return use
