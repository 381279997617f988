"""Fitting seasons of many series at once, and predictions of each day from the other days.

Everything is linear in the data once outlying quarter hours are clipped, so leaving a fold of days out is a
subtraction. The smoothing of each series is chosen by the error of such predictions, not by taste.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.calendar import SLOTS_PER_DAY
from ..detection.medians import median
from .jobs import fit_jobs, pulled_in
from .season import FINE_BINS, Season
from .timetable import Timetable

__all__ = ["fill_unknown", "fit_season"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64

_ALONE = 0.99  # share of a series' data in one fold above which the other folds cannot foretell it
_YOUNG_DAYS = 10  # series that begin so late are fitted on their own days
_NEW_SECONDS = 2 * 86_400.0  # with less data a series has its family's shape, or none
_BANDWIDTHS = (0.0, 1.0, 2.0, 4.0)  # quarter hours
_FINE_MIDDLES = (np.arange(FINE_BINS) + 0.5) * (86_400 / FINE_BINS)


def fit_season(
    x: Floats, weight: Floats, table: Timetable, family: Integers, *, seasonal: bool
) -> tuple[Season, Floats]:
    """Fit seasons and give each window's level as predicted from the *other* folds of days.

    Args:
        x: Locations ``[T, C]`` (ln seconds); finite, anything where ``weight`` is 0.
        weight: Weights ``[T, C]``, 0 where there is nothing.
        table: Local time of the ``T`` windows.
        family: Family of each series; a series may take the shape of its family and keep its own level.
        seasonal: Whether there is enough history for a season at all.

    Returns:
        The season fitted on everything, and the cross-fitted levels ``[T, C]``, float32.
    """
    starts = _late_starts(weight, table) if seasonal else np.zeros(0, dtype=np.int64)
    if starts.any():
        return _fit_by_age(x, weight, table, family, starts)
    total, weights = table.weighted_sums(x, weight)
    if not seasonal:
        bottom = weights.sum(axis=(0, 1))
        level = np.divide(total.sum(axis=(0, 1)), bottom, out=np.zeros(x.shape[1]), where=bottom > 0)
        return Season.flat(level), np.broadcast_to(level.astype(np.float32), x.shape).copy()
    season, left = _fit_smooth(total, weights, family, table)
    predicted = _by_day(left, table)
    job, _ = fit_jobs(total, weights, family, table, None)
    jobs_left = None
    with_job = np.flatnonzero(job.any(axis=(0, 1)))  # whole families
    if len(with_job):
        sums = total[..., with_job], weights[..., with_job]
        found = _fit_around_jobs(*sums, job[..., with_job], family[with_job], table)
        season = season.replaced(found[0], with_job)
        left = [each.replaced(other, with_job) for each, other in zip(left, found[1], strict=True)]
        jobs_left = np.zeros((table.folds, *job.shape))
        jobs_left[..., with_job] = found[2]
        predicted[..., with_job] = _by_day(found[1], table)
        predicted += jobs_left[table.fold, table.day_type]
    season, left = _with_week(season, left, total - weights * predicted, weights, table)
    return season, table.spread_out(left, jobs_left)


def _fit_around_jobs(
    total: Floats, weights: Floats, job: Floats, family: Integers, table: Timetable
) -> tuple[Season, list[Season], Floats]:
    """Seasons of series with jobs, what they are without each fold, and jobs likewise."""
    season, left = _fit_smooth(total - job[table.day_type] * weights, weights, family, table)
    remainder = total - weights * _by_day(left, table)
    job, jobs_left = fit_jobs(remainder, weights, family, table, job != 0)
    return Season(season.level, season.week, job), left, jobs_left


def _late_starts(weight: Floats, table: Timetable) -> Integers:
    """The first window of the day on which each series began, 0 for those that are as old as the history."""
    some = weight > 0
    day = np.where(some.any(axis=0), table.day[some.argmax(axis=0)], 0)
    young = (day > 0) & (table.days - day < _YOUNG_DAYS) & (table.days >= _YOUNG_DAYS)
    return np.where(young, np.searchsorted(table.day, day), 0)


def _fit_by_age(
    x: Floats, weight: Floats, table: Timetable, family: Integers, starts: Integers
) -> tuple[Season, Floats]:
    """:func:`fit_season`, each young series on its own days, those of less than two days by their family's shape."""
    grown = np.flatnonzero(starts == 0)
    predicted = np.zeros(x.shape, dtype=np.float32)
    found: list[tuple[Integers, Season]] = []
    if len(grown):
        season, predicted[:, grown] = fit_season(x[:, grown], weight[:, grown], table, family[grown], seasonal=True)
        found.append((grown, season))
    for start in np.unique(starts[starts > 0]).tolist():
        mine = np.flatnonzero(starts == start)
        own = table.since(start)
        part = (x[start:, mine], weight[start:, mine])
        first = (part[1] > 0).argmax(axis=0).min()
        seconds = float((len(own.day) - first) * table.window_seconds)
        if seconds < _NEW_SECONDS:
            shape = _shape_of_grown(found[0] if len(grown) else None, family, mine)
            season = _with_shape(shape, *own.weighted_sums(*part), own)
            predicted[start:, mine] = own.spread_out([season], None)
        else:
            season, predicted[start:, mine] = fit_season(*part, own, family[mine], seasonal=True)
        found.append((mine, season))
    order = np.argsort(np.concatenate([places for places, _ in found]))
    return Season.joined([season for _, season in found]).take(order), predicted


def _shape_of_grown(grown: tuple[Integers, Season] | None, family: Integers, series: Integers) -> Floats:
    """The mean shape of the grown series of each series' family ``[types, 96, len(series)]``, flat without any."""
    shape = np.zeros((1 if grown is None else len(grown[1].level), SLOTS_PER_DAY, len(series)))
    if grown is not None:
        for place, own in enumerate(family[series]):
            inside = family[grown[0]] == own
            if inside.any():
                levels = grown[1].level[..., inside]
                shape[..., place] = (levels - levels.mean(axis=(0, 1))).mean(axis=-1)
    return shape


def _with_shape(shape: Floats, total: Floats, weight: Floats, table: Timetable) -> Season:
    """Seasons of a known shape, at the level that the data have."""
    flat = np.zeros(shape.shape[2])
    season = Season(shape, np.zeros((7, 24, len(flat))), np.zeros((len(shape), FINE_BINS, len(flat))))
    kind = table.true_type if len(shape) > 1 else np.zeros(table.days, dtype=np.int64)
    usual = np.stack([season.smooth(int(each), _FINE_MIDDLES) for each in kind])
    bottom = weight.sum(axis=(0, 1))
    level = np.divide((total - weight * usual).sum(axis=(0, 1)), bottom, out=flat, where=bottom > 0)
    return Season(shape + level, season.week, season.job)


def _by_day(left: list[Season], table: Timetable) -> Floats:
    """The smooth level of every day and five minutes, ``[D, 288, C]``, each fold's days by its own season."""
    keys = list(zip(table.fold.tolist(), table.day_type.tolist(), strict=True))
    levels = {(fold, kind): left[fold].smooth(kind, _FINE_MIDDLES) for fold, kind in set(keys)}
    return np.stack([levels[key] for key in keys])


def _fit_smooth(total: Floats, weight: Floats, family: Integers, table: Timetable) -> tuple[Season, list[Season]]:
    """Smooth profiles, each series' bandwidth chosen by how well other folds foretell it; and one a fold left out."""
    count, types, folds = total.shape[2], table.types, table.folds
    sums, weights = _slot_sums(total, weight, table)
    shape = (folds, types, SLOTS_PER_DAY, count)
    fold_sum, fold_weight = (np.zeros(shape, dtype=sums.dtype) for _ in range(2))
    for day, (fold, kind) in enumerate(zip(table.fold, table.day_type, strict=True)):
        fold_sum[fold, kind] += sums[day]
        fold_weight[fold, kind] += weights[day]
    total_sum, total_weight = fold_sum.sum(axis=0), fold_weight.sum(axis=0)
    shared = _family_shape(total_sum, total_weight, family)
    candidates = [(bandwidth, False) for bandwidth in _BANDWIDTHS] + [(1.0, True)]
    error = np.full(count, np.inf)
    left, level = np.zeros_like(fold_sum), np.zeros_like(total_sum)
    for bandwidth, pooled in candidates:
        own = shared if pooled else None
        fits = np.stack(
            [_profile(total_sum - fold_sum[f], total_weight - fold_weight[f], bandwidth, own) for f in range(folds)]
        )
        mean = np.divide(fold_sum, fold_weight, out=fits.copy(), where=fold_weight > 0)
        loss = (fold_weight * (mean - fits) ** 2).sum(axis=(0, 1, 2))
        better = loss < error * 0.999
        error[better] = loss[better]
        left[..., better] = fits[..., better]
        if better.any():
            level[..., better] = _profile(total_sum, total_weight, bandwidth, own)[..., better]
    # data in one fold only: nothing else foretells it
    alone = fold_weight.sum(axis=(1, 2)) > _ALONE * total_weight.sum(axis=(0, 1))
    for f in range(folds):
        left[f][..., alone[f]] = level[..., alone[f]]
    fill_unknown(level, total_weight, shared, family)
    for f in range(folds):
        fill_unknown(left[f], total_weight, shared, family)
    week, job = np.zeros((7, 24, count)), np.zeros((types, FINE_BINS, count))
    return Season(level, week, job), [Season(left[f], week, job) for f in range(folds)]


def fill_unknown(level: Floats, weight: Floats, shared: Floats, family: Integers) -> None:
    """Give quarter hours without any data a level, in place.

    They take the shape of the family where other series of it have data then, otherwise the line between the nearest
    quarter hours with data, around the clock; a day type without any takes the other's levels.

    Args:
        level: Levels ``[types, 96, C]``.
        weight: Weight of the data in each ``[types, 96, C]``.
        shared: Shape of each series' family around its mean, likewise.
        family: Family of each series.
    """
    known = weight > 0
    for series in np.flatnonzero(~known.all(axis=(0, 1)) & known.any(axis=(0, 1))):
        mine, values = known[..., series], level[..., series]
        others = (weight[..., family == family[series]].sum(axis=-1) > weight[..., series]) & ~mine
        own = values[mine].mean() - shared[..., series][mine].mean()
        for kind in range(len(level)):
            if mine[kind].any():
                here = np.flatnonzero(mine[kind])
                missing = np.flatnonzero(~mine[kind])
                values[kind, missing] = np.interp(missing, here, values[kind, here], period=SLOTS_PER_DAY)
        for kind in np.flatnonzero(~mine.any(axis=1)).tolist():
            values[kind] = values[1 - kind]
        values[others] = own + shared[..., series][others]


def _slot_sums(total: Floats, weight: Floats, table: Timetable) -> tuple[Floats, Floats]:
    """Weighted sums by day and quarter hour ``[D, 96, C]``, outlying quarter hours pulled in."""
    days, _, count = total.shape
    sums, weights = (
        each.reshape(days, SLOTS_PER_DAY, FINE_BINS // SLOTS_PER_DAY, count).sum(axis=2) for each in (total, weight)
    )
    mean = np.divide(sums, weights, out=np.full_like(sums, np.nan), where=weights > 0)
    for kind in range(table.types):
        rows = np.flatnonzero(table.day_type == kind)
        if len(rows) >= 3:
            mean[rows] = pulled_in(mean[rows])
    # a quarter hour of much traffic is limited by the common noise of its minutes: weights are capped
    cap = np.nan_to_num(median(np.where(weights > 0, weights, np.nan).reshape(-1, count)), nan=1.0)
    weights = np.minimum(weights, cap)
    return np.nan_to_num(mean) * weights, weights


def _family_shape(total_sum: Floats, total_weight: Floats, family: Integers) -> Floats:
    """The smoothed shape of each series' family around its mean, ``[types, 96, C]``."""
    families, inverse = np.unique(family, return_inverse=True)
    share = np.zeros((len(inverse), len(families)), dtype=total_sum.dtype)
    share[np.arange(len(inverse)), inverse] = 1.0
    deviation = (total_sum - total_weight * _level(total_sum, total_weight)) @ share
    return np.asarray(_smooth(deviation, total_weight @ share, 1.0)[..., inverse])


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
    """Weighted kernel mean around the clock, ``[types, 96, C]``; empty stretches take the mean level."""
    level = _level(total_sum, total_weight)
    top, bottom = total_sum, total_weight
    if bandwidth > 0:
        kernel = _KERNELS[bandwidth].astype(total_sum.dtype)
        top, bottom = (np.einsum("ij,tjc->tic", kernel, each, optimize=True) for each in (total_sum, total_weight))
    typical = bottom.mean(axis=(0, 1))
    prior = 1e-3 * typical + 1e-30
    return np.asarray((top + prior * level) / (bottom + prior))


def _kernel(bandwidth: float) -> Floats:
    """The weights ``[96, 96]`` of a Gaussian kernel around the clock, cut off at three bandwidths."""
    slots = np.arange(SLOTS_PER_DAY)
    lag = (slots[:, None] - slots[None, :] + SLOTS_PER_DAY // 2) % SLOTS_PER_DAY - SLOTS_PER_DAY // 2
    return np.where(np.abs(lag) <= np.ceil(3 * bandwidth), np.exp(-0.5 * (lag / bandwidth) ** 2), 0.0)


_KERNELS = {bandwidth: _kernel(bandwidth) for bandwidth in _BANDWIDTHS if bandwidth > 0}


def _with_week(
    season: Season, left: list[Season], remainder: Floats, weight: Floats, table: Timetable
) -> tuple[Season, list[Season]]:
    """Add the day-of-week correction by hour, shrunk by how well other weeks foretell it."""
    folds = table.folds
    if folds < 3 or season.level.shape[0] < 2:
        return season, left
    days, _, count = remainder.shape
    top, bottom = (each.reshape(days, 24, -1, count).sum(axis=2) for each in (remainder, weight))
    tops, bottoms = np.zeros((folds, 7, 24, count)), np.zeros((folds, 7, 24, count))
    for day in range(days):
        tops[table.fold[day], table.weekday[day]] += top[day]
        bottoms[table.fold[day], table.weekday[day]] += bottom[day]
    mean = np.divide(tops, bottoms, out=np.zeros_like(tops), where=bottoms > 0)
    seen = bottoms > 0
    weeks = np.maximum(seen.sum(axis=0), 1)
    centre = mean.sum(axis=0) / weeks
    within = (np.where(seen, mean - centre, 0.0) ** 2).sum(axis=0) / np.maximum(weeks - 1, 1)
    typical = within.mean(axis=(0, 1))
    signal = np.maximum((centre**2).mean(axis=(0, 1)) - (within / weeks).mean(axis=(0, 1)), 0.0)
    shrink = signal / np.maximum(signal + typical / max(folds - 1, 1), 1e-12)
    shrink = np.where(signal > 0.25 * typical / folds, shrink, 0.0)
    others = [
        Season(each.level, (mean.sum(axis=0) - mean[f]) / np.maximum(weeks - seen[f], 1) * shrink, each.job)
        for f, each in enumerate(left)
    ]
    return Season(season.level, centre * shrink, season.job), others
