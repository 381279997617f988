"""Seasonal profiles of many series at once, and predictions of each day from the other days.

Everything is linear in the data once outlying minutes are clipped, so leaving a fold of days out is a
subtraction. The smoothing of each series is chosen by the error of such predictions, not by taste.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .detection_calendar import SLOTS_PER_DAY, LocalTime
from .detection_medians import median

__all__ = ["Season", "fit_season"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64

_BANDWIDTHS = (0.0, 1.0, 2.0, 4.0)  # quarter hours


@dataclass(frozen=True, slots=True)
class Season:
    """Levels by day type and quarter hour ``[types, 96, C]``, with a day-of-week correction by hour ``[7, 24, C]``."""

    level: Floats
    week: Floats

    def take(self, series: Integers) -> Season:
        """The seasons of some series."""
        return Season(self.level[..., series], self.week[..., series])

    def at(self, local: LocalTime, rows: Integers | slice = slice(None)) -> Floats:
        """The level of every series at the given windows, ``[len(rows), C]``, between quarter hours by line."""
        types = self.level.shape[0]
        kind = local.day_type[rows] if types > 1 else np.zeros_like(local.day_type[rows])
        position = local.second[rows] / (86_400 / SLOTS_PER_DAY) - 0.5
        left = np.floor(position).astype(np.int64)
        share = (position - left)[:, None]
        level = self.level[kind, left % SLOTS_PER_DAY] * (1 - share)
        level += self.level[kind, (left + 1) % SLOTS_PER_DAY] * share
        hour = np.minimum(local.second[rows] // 3600, 23).astype(np.int64)
        return np.asarray(level + self.week[local.weekday[rows], hour])


def fit_season(
    x: Floats, weight: Floats, local: LocalTime, family: Integers, *, seasonal: bool
) -> tuple[Season, Floats]:
    """Fit seasons and give each window's level as predicted from the *other* folds of days.

    Args:
        x: Locations ``[T, C]`` (ln seconds); anything where ``weight`` is 0.
        weight: Weights ``[T, C]``, 0 where there is nothing.
        local: Local time of the ``T`` windows.
        family: Family of each series; a series may take the shape of its family and keep its own level.
        seasonal: Whether there is enough history for a season at all.

    Returns:
        The season fitted on everything, and the cross-fitted levels ``[T, C]``.
    """
    count = x.shape[1]
    days, day = np.unique(local.day, return_inverse=True)
    if not seasonal:
        total = weight.sum(axis=0)
        level = np.divide((x * weight).sum(axis=0), total, out=np.zeros(count), where=total > 0)
        season = Season(np.broadcast_to(level, (1, SLOTS_PER_DAY, count)).copy(), np.zeros((7, 24, count)))
        return season, np.broadcast_to(level, x.shape).copy()
    types = 2 if len(days) >= 10 and len(np.unique(local.day_type)) == 2 else 1
    sums, weights, day_type, fold = _slot_sums(x, weight, local, day, len(days), types)
    folds = int(fold.max()) + 1
    shape = (folds, types, SLOTS_PER_DAY, count)
    fold_sum, fold_weight = np.zeros(shape), np.zeros(shape)
    np.add.at(fold_sum, (fold, day_type), sums)
    np.add.at(fold_weight, (fold, day_type), weights)
    total_sum, total_weight = fold_sum.sum(axis=0), fold_weight.sum(axis=0)
    left_out = [(total_sum - fold_sum[f], total_weight - fold_weight[f]) for f in range(folds)]
    best, error = np.zeros(count, dtype=np.int64), np.full(count, np.inf)
    shared = _family_shape(total_sum, total_weight, family)
    candidates = [(bandwidth, False) for bandwidth in _BANDWIDTHS] + [(1.0, True)]
    predictions: list[list[Floats]] = []
    for number, (bandwidth, pooled) in enumerate(candidates):
        fits = [_profile(s, w, bandwidth, shared if pooled else None) for s, w in left_out]
        loss = np.zeros(count)
        for f, fit in enumerate(fits):
            mean = np.divide(fold_sum[f], fold_weight[f], out=fit.copy(), where=fold_weight[f] > 0)
            loss += (fold_weight[f] * (mean - fit) ** 2).sum(axis=(0, 1))
        predictions.append(fits)
        better = loss < error * 0.999
        best[better], error[better] = number, loss[better]
    everything = [_profile(total_sum, total_weight, b, shared if p else None) for b, p in candidates]
    pick = np.arange(count)
    level = np.stack(everything)[best, ..., pick].transpose(1, 2, 0)
    no_week = np.zeros((7, 24, count))
    season = Season(np.ascontiguousarray(level), no_week)
    predicted = np.empty_like(x)
    for f in range(folds):
        chosen = np.stack([candidate[f] for candidate in predictions])[best, ..., pick].transpose(1, 2, 0)
        rows = np.flatnonzero(fold[day] == f)
        predicted[rows] = Season(np.ascontiguousarray(chosen), no_week).at(local, rows)
    return _with_week(season, predicted, x, weight, local, fold[day], folds)


def _slot_sums(
    x: Floats, weight: Floats, local: LocalTime, day: Integers, days: int, types: int
) -> tuple[Floats, Floats, Integers, Integers]:
    """Weighted sums by day and quarter hour ``[days, 96, C]``, outliers pulled in; type and fold of each day."""
    count = x.shape[1]
    slot = np.minimum(local.second // (86_400 / SLOTS_PER_DAY), SLOTS_PER_DAY - 1).astype(np.int64)
    key = day * SLOTS_PER_DAY + slot
    order = np.argsort(key, kind="stable")
    keys, first = np.unique(key[order], return_index=True)
    weights: Floats = np.zeros((days * SLOTS_PER_DAY, count))
    sums: Floats = np.zeros((days * SLOTS_PER_DAY, count))
    weights[keys] = np.add.reduceat(weight[order], first, axis=0)
    sums[keys] = np.add.reduceat((x * weight)[order], first, axis=0)
    weights = weights.reshape(days, SLOTS_PER_DAY, count)
    mean = np.divide(sums.reshape(weights.shape), weights, out=np.full(weights.shape, np.nan), where=weights > 0)
    day_type = np.zeros(days, dtype=np.int64)
    day_type[day] = local.day_type if types > 1 else 0
    for kind in range(types):
        rows = np.flatnonzero(day_type == kind)
        if len(rows) >= 3:
            mean[rows] = _pulled_in(mean[rows])
    # a quarter hour of much traffic is limited by the common noise of its minutes: weights are capped
    positive = np.where(weights > 0, weights, np.nan)
    cap = np.nan_to_num(median(positive.reshape(-1, count)), nan=1.0) if days else np.ones(count)
    weights = np.minimum(weights, cap)
    ordinal = np.zeros(days, dtype=np.int64)
    ordinal[day] = local.day - local.day.min()
    weeks = ordinal // 7
    fold = weeks if weeks.max() >= 1 and days >= 10 else np.arange(days)
    fold = np.unique(fold, return_inverse=True)[1]
    return np.nan_to_num(mean) * weights, weights, day_type, fold.astype(np.int64)


def _pulled_in(mean: Floats) -> Floats:
    """Clip each quarter hour's days to four robust deviations around their median."""
    centre = median(mean)
    spread = median(np.abs(mean - centre))
    typical = median(spread)
    limit = 4 * 1.4826 * np.maximum(spread, typical)
    return np.clip(mean, centre - limit, centre + limit)


def _family_shape(total_sum: Floats, total_weight: Floats, family: Integers) -> Floats:
    """The smoothed shape of each series' family around its mean, ``[types, 96, C]``."""
    level = _level(total_sum, total_weight)
    shape = np.zeros_like(total_sum)
    families, inverse = np.unique(family, return_inverse=True)
    for index in range(len(families)):
        inside = np.flatnonzero(inverse == index)
        deviation = (total_sum[..., inside] - total_weight[..., inside] * level[inside]).sum(axis=-1)
        weight = total_weight[..., inside].sum(axis=-1)
        shape[..., inside] = _smooth(deviation[..., None], weight[..., None], 1.0)
    return shape


def _level(total_sum: Floats, total_weight: Floats) -> Floats:
    weight = total_weight.sum(axis=(0, 1))
    return np.asarray(np.divide(total_sum.sum(axis=(0, 1)), weight, out=np.zeros_like(weight), where=weight > 0))


def _profile(total_sum: Floats, total_weight: Floats, bandwidth: float, shared: Floats | None) -> Floats:
    if shared is None:
        return _smooth(total_sum, total_weight, bandwidth)
    weight = total_weight.sum(axis=(0, 1))
    left = (total_sum - total_weight * shared).sum(axis=(0, 1))
    return np.asarray(shared + np.divide(left, weight, out=np.zeros_like(weight), where=weight > 0))


def _smooth(total_sum: Floats, total_weight: Floats, bandwidth: float) -> Floats:
    """Weighted kernel mean around the clock, ``[types, 96, C]``; empty stretches take the nearest or the mean level."""
    level = _level(total_sum, total_weight)
    top, bottom = total_sum.copy(), total_weight.copy()
    if bandwidth > 0:
        reach = int(np.ceil(3 * bandwidth))
        top, bottom = np.zeros_like(top), np.zeros_like(bottom)
        for lag in range(-reach, reach + 1):
            kernel = np.exp(-0.5 * (lag / bandwidth) ** 2)
            top += kernel * np.roll(total_sum, lag, axis=1)
            bottom += kernel * np.roll(total_weight, lag, axis=1)
    typical = bottom.mean(axis=(0, 1))
    prior = 1e-3 * typical + 1e-300
    return np.asarray((top + prior * level) / (bottom + prior))


def _with_week(
    season: Season, predicted: Floats, x: Floats, weight: Floats, local: LocalTime, fold: Integers, folds: int
) -> tuple[Season, Floats]:
    """Add the day-of-week correction by hour, shrunk by how well other weeks foretell it."""
    if folds < 3 or season.level.shape[0] < 2:
        return season, predicted
    count = x.shape[1]
    hour = np.minimum(local.second // 3600, 23).astype(np.int64)
    cell = local.weekday * 24 + hour
    residual = np.where(weight > 0, x - predicted, 0.0)
    tops, bottoms = np.zeros((folds, 168, count)), np.zeros((folds, 168, count))
    for f in range(folds):
        rows = np.flatnonzero(fold == f)
        order = rows[np.argsort(cell[rows], kind="stable")]
        keys, first = np.unique(cell[order], return_index=True)
        tops[f, keys] = np.add.reduceat((residual * weight)[order], first, axis=0)
        bottoms[f, keys] = np.add.reduceat(weight[order], first, axis=0)
    mean = np.divide(tops, bottoms, out=np.zeros_like(tops), where=bottoms > 0)
    seen = bottoms > 0
    weeks = np.maximum(seen.sum(axis=0), 1)
    centre = mean.sum(axis=0) / weeks
    within = (np.where(seen, mean - centre, 0.0) ** 2).sum(axis=0) / np.maximum(weeks - 1, 1)
    signal = np.maximum((centre**2).mean(axis=0) - (within / weeks).mean(axis=0), 0.0)
    shrink = signal / np.maximum(signal + within.mean(axis=0) / max(folds - 1, 1), 1e-12)
    shrink = np.where(signal > 0.25 * within.mean(axis=0) / folds, shrink, 0.0)
    out = predicted.copy()
    for f in range(folds):
        others = (mean.sum(axis=0) - mean[f]) / np.maximum(weeks - seen[f], 1) * shrink
        rows = np.flatnonzero(fold == f)
        out[rows] += others[cell[rows]]
    return Season(season.level, (centre * shrink).reshape(7, 24, count)), out
