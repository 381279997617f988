"""Seasonal profiles of many series at once, and predictions of each day from the other days.

Everything is linear in the data once outlying minutes are clipped, so leaving a fold of days out is a
subtraction. The smoothing of each series is chosen by the error of such predictions, not by taste.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.calendar import SLOTS_PER_DAY, LocalTime
from ..detection.medians import median

__all__ = ["FINE_BINS", "Season", "fine_bin", "fit_season"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64

_BANDWIDTHS = (0.0, 1.0, 2.0, 4.0)  # quarter hours
FINE_BINS = 288  # of five minutes in a day, for jobs that begin and end at a minute
_FINE_DEVIATIONS = 4.0
_FINE_LEAST = 0.02


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

    def take(self, series: Any) -> Season:
        """The seasons of some series."""
        return Season(self.level[..., series], self.week[..., series], self.job[..., series])

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
        level += self.week[local.weekday[rows], hour]
        level += self.job[kind, fine_bin(local)[rows]]
        return np.asarray(level)


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
    if not seasonal:
        total = weight.sum(axis=0)
        level = np.divide((x * weight).sum(axis=0), total, out=np.zeros(count), where=total > 0)
        flat = np.broadcast_to(level, (1, SLOTS_PER_DAY, count)).copy()
        season = Season(flat, np.zeros((7, 24, count)), np.zeros((1, FINE_BINS, count)))
        return season, np.broadcast_to(level, x.shape).copy()
    folding = _folding(local)
    season, predicted = _fit_smooth(x, weight, local, family, folding)
    job, _ = _fit_jobs(x, weight, local, family, folding, None)
    if job.any():
        kind = local.day_type if folding.types > 1 else np.zeros_like(local.day_type)
        season, smooth = _fit_smooth(x - job[kind, fine_bin(local)], weight, local, family, folding)
        job, others = _fit_jobs(x - smooth, weight, local, family, folding, job != 0)
        season, predicted = Season(season.level, season.week, job), smooth + others
    return _with_week(season, predicted, x, weight, local, folding)


@dataclass(frozen=True, slots=True)
class _Folding:
    """Days of the history: each window's day ``[T]``, each day's type and fold."""

    day: Integers
    day_type: Integers
    fold: Integers
    types: int
    folds: int


def _folding(local: LocalTime) -> _Folding:
    days, day = np.unique(local.day, return_inverse=True)
    types = 2 if len(days) >= 10 and len(np.unique(local.day_type)) == 2 else 1
    day_type = np.zeros(len(days), dtype=np.int64)
    day_type[day] = local.day_type if types > 1 else 0
    weeks = (days - days.min()) // 7
    fold = weeks if weeks.max() >= 1 and len(days) >= 10 else np.arange(len(days))
    fold = np.unique(fold, return_inverse=True)[1]
    return _Folding(day, day_type, fold, types, int(fold.max()) + 1)


def fine_bin(local: LocalTime) -> Integers:
    """The five minutes of the day that each window is in."""
    return np.asarray(np.minimum(local.second // (86_400 / FINE_BINS), FINE_BINS - 1).astype(np.int64))


def _fit_smooth(
    x: Floats, weight: Floats, local: LocalTime, family: Integers, folding: _Folding
) -> tuple[Season, Floats]:
    """Smooth profiles, each series' bandwidth chosen by how well other folds foretell it."""
    count, types, folds = x.shape[1], folding.types, folding.folds
    sums, weights = _slot_sums(x, weight, local, folding)
    shape = (folds, types, SLOTS_PER_DAY, count)
    fold_sum, fold_weight = np.zeros(shape), np.zeros(shape)
    np.add.at(fold_sum, (folding.fold, folding.day_type), sums)
    np.add.at(fold_weight, (folding.fold, folding.day_type), weights)
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
    week, job = np.zeros((7, 24, count)), np.zeros((types, FINE_BINS, count))
    level = np.stack(everything)[best, ..., pick].transpose(1, 2, 0)
    predicted = np.empty_like(x)
    for f in range(folds):
        chosen = np.stack([candidate[f] for candidate in predictions])[best, ..., pick].transpose(1, 2, 0)
        rows = np.flatnonzero(folding.fold[folding.day] == f)
        predicted[rows] = Season(np.ascontiguousarray(chosen), week, job).at(local, rows)
    return Season(np.ascontiguousarray(level), week, job), predicted


def _fit_jobs(
    residual: Floats, weight: Floats, local: LocalTime, family: Integers, folding: _Folding, where: Floats | None
) -> tuple[Floats, Floats]:
    """Five-minute bins that differ from the smooth profile day after day, and their cross-fitted values ``[T, C]``.

    Jobs are those of a family: all its series, and all days unless day types differ plainly.

    Args:
        residual: Deviations from the smooth profile ``[T, C]``, or locations if ``where`` is not given.
        weight: Weights ``[T, C]``.
        local: Local time.
        family: Family of each series.
        folding: Days and folds.
        where: Bins to fill in ``[types, 288, C]``; by default those that stand out from the running median of three
            hours, which a job of less than half of that does not move.
    """
    families, inverse = np.unique(family, return_inverse=True)
    weighted = residual * weight
    top = np.stack([weighted[:, inverse == f].sum(axis=1) for f in range(len(families))], axis=1)
    bottom = np.stack([weight[:, inverse == f].sum(axis=1) for f in range(len(families))], axis=1)
    common = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
    days, fine = len(folding.fold), fine_bin(local)
    mean, seen = _day_means(common, bottom, folding.day * FINE_BINS + fine, days * FINE_BINS)
    mean, seen = mean.reshape(days, FINE_BINS, -1), seen.reshape(days, FINE_BINS, -1) > 0
    first = [int(np.argmax(inverse == f)) for f in range(len(families))]
    allowed = np.asarray(where[..., first].any(axis=0)) if where is not None else None
    if where is None:
        for kind in range(folding.types):
            rows = np.flatnonzero(folding.day_type == kind)
            mean[rows] -= _running_median(median(np.where(seen[rows], mean[rows], np.nan)))
    every = _bins(mean, seen, np.arange(days), folding, allowed)
    job = np.stack([every[0]] * folding.types)
    left = np.stack([np.stack([one] * folding.types) for one in every[1]])
    for kind in range(folding.types if folding.types > 1 else 0):
        rows = np.flatnonzero(folding.day_type == kind)
        remainder = mean - job[kind]
        allowed = where[kind][:, first] if where is not None else None
        own, others = _bins(remainder, seen, rows, folding, allowed)
        job[kind] += own
        left[:, kind] += others
    kinds = folding.day_type[folding.day]
    return job[..., inverse], left[..., inverse][folding.fold[folding.day], kinds, fine]


def _bins(
    mean: Floats, seen: Floats, rows: Integers, folding: _Folding, allowed: Floats | None
) -> tuple[Floats, Floats]:
    """Five-minute values from some days ``[288, F]``, and from those days less each fold ``[folds, 288, F]``."""
    shape = mean.shape[1:]
    if len(rows) < 3:
        return np.zeros(shape), np.zeros((folding.folds, *shape))
    pulled = np.nan_to_num(_pulled_in(np.where(seen[rows], mean[rows], np.nan)))
    number, total = seen[rows].sum(axis=0), pulled.sum(axis=0)
    centre = total / np.maximum(number, 1)
    variance = (np.where(seen[rows], pulled - centre, 0.0) ** 2).sum(axis=0) / np.maximum(number - 1, 1)
    # few days make a variance small by luck: bins borrow from their neighbours of an hour
    smooth = sum(np.roll(variance, lag, axis=0) for lag in range(-6, 7)) / 13
    error2 = np.maximum(0.5 * (variance + smooth), 1e-12) / np.maximum(number, 1)
    z2 = centre**2 / error2
    use = _significant(centre, error2) & (number >= 3)
    if allowed is not None:
        use = use & allowed
    shrink = np.where(use, z2 / (1.0 + z2), 0.0)
    left = np.zeros((folding.folds, *shape))
    for f in range(folding.folds):
        out = folding.fold[rows] == f
        fewer = np.maximum(number - seen[rows][out].sum(axis=0), 1)
        left[f] = (total - pulled[out].sum(axis=0)) / fewer * shrink
    return centre * shrink, left


def _running_median(profile: Floats) -> Floats:
    """Median over three hours around each five-minute bin ``[288, F]``; a slope passes through unchanged."""
    lags = np.stack([np.roll(profile, lag, axis=0) for lag in range(-18, 19)])
    return np.nan_to_num(median(lags))


def _significant(centre: Floats, error2: Floats) -> Floats:
    """Bins of stretches of 5 to 60 minutes whose sum is far from 0."""
    use = np.zeros(centre.shape, dtype=bool)
    for width in (1, 2, 3, 6, 12):
        top = sum(np.roll(centre, -lag, axis=0) for lag in range(width))
        bottom = sum(np.roll(error2, -lag, axis=0) for lag in range(width))
        hit = (np.abs(top) > _FINE_DEVIATIONS * np.sqrt(bottom)) & (np.abs(top) > _FINE_LEAST * width)
        for lag in range(width):
            same = np.sign(centre) == np.sign(np.roll(top, lag, axis=0))
            use |= np.roll(hit, lag, axis=0) & same & (np.abs(centre) > np.sqrt(error2))
    return use


def _day_means(x: Floats, weight: Floats, key: Integers, size: int) -> tuple[Floats, Floats]:
    """Weighted means by key ``[size, C]`` and their weights."""
    order = np.argsort(key, kind="stable")
    keys, first = np.unique(key[order], return_index=True)
    weights: Floats = np.zeros((size, x.shape[1]))
    sums: Floats = np.zeros((size, x.shape[1]))
    weights[keys] = np.add.reduceat(weight[order], first, axis=0)
    sums[keys] = np.add.reduceat((x * weight)[order], first, axis=0)
    return np.divide(sums, weights, out=np.zeros_like(sums), where=weights > 0), weights


def _slot_sums(x: Floats, weight: Floats, local: LocalTime, folding: _Folding) -> tuple[Floats, Floats]:
    """Weighted sums by day and quarter hour ``[days, 96, C]``, outlying quarter hours pulled in."""
    days, count = len(folding.fold), x.shape[1]
    slot = np.minimum(local.second // (86_400 / SLOTS_PER_DAY), SLOTS_PER_DAY - 1).astype(np.int64)
    mean, weights = _day_means(x, weight, folding.day * SLOTS_PER_DAY + slot, days * SLOTS_PER_DAY)
    weights = weights.reshape(days, SLOTS_PER_DAY, count)
    mean = np.where(weights > 0, mean.reshape(weights.shape), np.nan)
    for kind in range(folding.types):
        rows = np.flatnonzero(folding.day_type == kind)
        if len(rows) >= 3:
            mean[rows] = _pulled_in(mean[rows])
    # a quarter hour of much traffic is limited by the common noise of its minutes: weights are capped
    cap = np.nan_to_num(median(np.where(weights > 0, weights, np.nan).reshape(-1, count)), nan=1.0)
    weights = np.minimum(weights, cap)
    return np.nan_to_num(mean) * weights, weights


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
    season: Season, predicted: Floats, x: Floats, weight: Floats, local: LocalTime, folding: _Folding
) -> tuple[Season, Floats]:
    """Add the day-of-week correction by hour, shrunk by how well other weeks foretell it."""
    folds, fold = folding.folds, folding.fold[folding.day]
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
    return Season(season.level, (centre * shrink).reshape(7, 24, count), season.job), out
