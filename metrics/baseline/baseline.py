"""What is normal for each series, learnt from its own history: level, season, noise, and thresholds to match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.calendar import LocalTime, local_time
from ..detection.channels import ChannelMap, Drift, Grid, ShiftInputs, shift_inputs, volume_terms
from ..detection.input import Fleet, Measurements
from ..detection.settings import DetectionSettings
from ..detection.special_days import SpecialDays
from .budget import TAILS, divide_budget
from .count import CountTest, calibrate_counts, pair_rates
from .location import CLIP, pulled_in_sum, shape_of, tail_count
from .season import Season, fit_season
from .shift import ShiftTest, calibrate_shift
from .special_days import learn_special_days, split_special_days

_SHAPE_ROWS = 4_000  # windows a cell from which the shape of its durations is learnt

__all__ = ["Profile", "baseline", "learn"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64


@dataclass(frozen=True, slots=True)
class Profile:
    """The baseline of a fleet: pure data, made by :func:`learn`.

    ``C`` cells, ``S`` scopes, ``P`` pairs of cell and outcome column, ``J = 2S + channels`` count tests.

    Attributes:
        fleet: What is monitored.
        settings: The settings it was learnt with.
        learnt_until: End of the last window of history (seconds).
        span_seconds: Length of the history.
        season: Levels of cells (ln seconds).
        scale: Standard deviation of log duration of each cell, ``[C]``.
        slope: Share of observations inside the clip, ``[C]``.
        spread: Variance of one observation's contribution to the location, ``[C]``.
        known: Which cells have a level, ``[C]``.
        traffic: Mean observations a window, ``[C]``.
        tail_edge: Where tails begin, in deviations above the level, ``[C, 2]``.
        tail_rate: Share of observations beyond, ``[C, 2]``.
        tail_slope: By how much its logarithm grows with the location of scopes, ``[S, 2]``.
        pair_rate: Failure rate of each pair of :class:`~.detection_channels.ChannelMap`, ``[P]``.
        volume: Expected observations of scopes a window.
        mix: Expected level of scopes at their usual mix (ln seconds).
        shift: Test of shifts; quantities are locations, volumes, mixes of all scopes, ``3S``.
        count: Test of rates.
        reasons: Why a scope's latency is not tested, or "", ``[S]``.
        special: What the bank's special days are like, against ordinary ones.
    """

    fleet: Fleet
    settings: DetectionSettings
    learnt_until: float
    span_seconds: float
    season: Season
    scale: Floats
    slope: Floats
    spread: Floats
    known: Floats
    traffic: Floats
    tail_edge: Floats
    tail_rate: Floats
    tail_slope: Floats
    pair_rate: Floats
    volume: Season
    mix: Season
    shift: ShiftTest
    count: CountTest
    reasons: tuple[str, ...]
    special: SpecialDays


def baseline(history: Measurements, fleet: Fleet, settings: DetectionSettings | None = None) -> Profile:
    """The baseline of a history: :func:`learn` under the name of its seam."""
    return learn(history, fleet, settings or DetectionSettings())


def learn(
    history: Measurements,
    fleet: Fleet,
    settings: DetectionSettings,
    *,
    excluded: Sequence[tuple[float, float]] = (),
) -> Profile:
    """Learn what is normal.

    Args:
        history: Measurements of past windows, in any order.
        fleet: What is monitored.
        settings: Budget, zone, window length, tested effects.
        excluded: Spans ``(from, to)`` in seconds that must not teach: alarms, incidents, maintenance.

    Returns:
        A profile; scopes with too little history carry a reason and are not tested.
    """
    history, special = split_special_days(_without(history, excluded), settings)
    cells, window = len(fleet.cells), settings.window_seconds
    first = float(history.window_start.min()) if len(history) else 0.0
    number = np.rint((history.window_start - first) / window).astype(np.int64)
    windows = int(number.max()) + 1 if len(history) else 1
    local = local_time(first + window * np.arange(windows), settings)
    span = windows * window if len(history) else 0.0
    seasonal = span >= settings.season_history_seconds
    grid = Grid(windows, cells, number * cells + history.cell)
    count = grid.add(history.count)
    rough, scale = _rough_level(history, fleet, grid, count, local, seasonal=seasonal)
    level = rough[number, history.cell]
    pulled = np.nan_to_num(pulled_in_sum(history, fleet.grid, level, scale[history.cell]))
    slope, spread, tail_edge, steepness = _score_moments(history, fleet, level, scale)
    x = rough + np.divide(grid.add(pulled), count * slope, out=np.zeros_like(count), where=count > 0)
    season, predicted = fit_season(x, count / spread, local, fleet.family, seasonal=seasonal)
    inputs = shift_inputs(x - predicted, predicted, count, spread, fleet)
    volume, mix, residual, variance = _quantities(inputs, local, seasonal=seasonal)
    budget = divide_budget(fleet, settings, np.asarray(inputs.count.any(axis=0) * 1.0), _tried_channels(history, fleet))
    up = np.concatenate([budget.paged, budget.reported, budget.reported])
    down = np.tile(budget.reported, 3)
    shift = calibrate_shift(residual, variance, _shifts(len(fleet.scopes), settings), (up, down), settings)
    channels = ChannelMap.of(fleet)
    tail_rate, pair_rate, counts = _rates(history, fleet, grid, level, scale, tail_edge, channels)
    tail_slope = np.array([np.median(steepness[inside], axis=0) for inside in fleet.members]).reshape(-1, len(TAILS))
    _follow_drift(counts[1], inputs, tail_slope)
    hour = np.minimum(local.second // 3600, 23).astype(np.int64)
    count_test = calibrate_counts(*counts, hour, budget.counts, settings)
    traffic = count.sum(axis=0) / windows
    reasons = tuple(
        _reason(span, float(traffic[inside].sum()), scope.dimensions != (), settings)
        for scope, inside in zip(fleet.scopes, fleet.members, strict=True)
    )
    profile = Profile(
        fleet,
        settings,
        first + span,
        span,
        season,
        scale,
        slope,
        spread,
        np.asarray(count.any(axis=0)),
        traffic,
        tail_edge,
        tail_rate,
        tail_slope,
        pair_rate,
        volume,
        mix,
        shift,
        count_test,
        reasons,
        SpecialDays.none(cells, len(fleet.scopes)),
    )
    return replace(profile, special=learn_special_days(profile, special))


def _quantities(inputs: ShiftInputs, local: LocalTime, *, seasonal: bool) -> tuple[Season, Season, Floats, Floats]:
    """Seasons of volume and mix, and residuals and variances of locations, volumes and mixes ``[T, 3S]``."""
    each = np.arange(inputs.count.shape[1])
    volume, expected = fit_season(inputs.count, np.ones_like(inputs.count), local, each, seasonal=seasonal)
    mix, usual = fit_season(inputs.level, inputs.count, local, each, seasonal=seasonal)
    volume_residual, volume_variance = volume_terms(inputs.count, expected)
    residual = np.concatenate([inputs.residual, volume_residual, inputs.level - usual], axis=1)
    variance = np.concatenate([inputs.variance, volume_variance, inputs.mix_variance], axis=1)
    return volume, mix, residual, variance


def _follow_drift(mean: Floats, inputs: ShiftInputs, tail_slope: Floats) -> None:
    """Let the expected counts of tails follow the recent location, in place."""
    drift, tails = Drift.new(len(tail_slope)), tail_slope.size
    for t in range(len(mean)):
        recent = drift.advance(inputs.residual[t], inputs.variance[t])
        mean[t, :tails] *= np.exp(tail_slope * recent[:, None]).ravel()


def _shifts(scopes: int, settings: DetectionSettings) -> Floats:
    """Shifts tested for, ``[J, 3S]``: of location and of mix as set, of volume larger ones."""
    location = np.log(np.array(settings.effects))
    volume = np.log(np.linspace(1.3, 3.0, len(location)))
    up = np.concatenate([np.tile(each[:, None], (1, scopes)) for each in (location, volume, location)], axis=1)
    return np.concatenate([up, -up])


def _tried_channels(history: Measurements, fleet: Fleet) -> Floats:
    """Whether each failure channel has any trial."""
    columns = history.tried.shape[1]
    tried = np.zeros((len(fleet.cells), columns))
    np.add.at(tried, history.cell, history.tried)
    return np.array(
        [float(any(column < columns and tried[cell, column] > 0 for cell, column in channel.pairs))
         for channel in fleet.channels]
    )  # fmt: skip


def _rates(
    history: Measurements,
    fleet: Fleet,
    grid: Grid,
    level: Floats,
    scale: Floats,
    tail_edge: Floats,
    channels: ChannelMap,
) -> tuple[Floats, Floats, tuple[Floats, Floats, Floats]]:
    """Rates of tails and pairs, and counts, expectations and trials ``[T, J]`` of every count test."""
    tails, weights = [], _histogram_total(history)
    usual = np.zeros((len(fleet.cells), len(TAILS)))
    for k in range(len(TAILS)):
        beyond = tail_count(history, fleet.grid, level + tail_edge[history.cell, k] * scale[history.cell])
        tails.append(grid.add(beyond))
        total = np.bincount(history.cell, weights, minlength=len(fleet.cells))
        usual[:, k] = pair_rates(tails[-1].sum(axis=0), total, fleet.family)
    trials = grid.add(weights)
    failed = [grid.add(history.failed[:, column]) for column in range(history.failed.shape[1])]
    tried = [grid.add(history.tried[:, column]) for column in range(history.tried.shape[1])]
    pair_failed = np.array([failed[c][:, cell].sum() if c < len(failed) else 0.0 for cell, c in channels.pairs])
    pair_tried = np.array([tried[c][:, cell].sum() if c < len(tried) else 0.0 for cell, c in channels.pairs])
    rate = pair_rates(pair_failed, pair_tried, channels.group)
    return usual, rate, channels.over_time(fleet, tails, usual, trials, failed, tried, rate)


def _histogram_total(rows: Measurements) -> Floats:
    row = np.repeat(np.arange(len(rows)), np.diff(rows.offsets))
    return np.bincount(row, rows.bucket_counts, minlength=len(rows))


def _without(history: Measurements, excluded: Sequence[tuple[float, float]]) -> Measurements:
    keep = np.ones(len(history), dtype=bool)
    for begin, end in excluded:
        keep &= (history.window_start < begin) | (history.window_start >= end)
    return history if keep.all() else history.take(np.flatnonzero(keep))


def _rough_level(
    history: Measurements, fleet: Fleet, grid: Grid, count: Floats, local: LocalTime, *, seasonal: bool
) -> tuple[Floats, Floats]:
    """A first level of each window and cell from plain means, and a robust scale of each cell."""
    rows = np.repeat(np.arange(len(history)), np.diff(history.offsets))
    middles = np.bincount(rows, history.bucket_counts * fleet.grid.middle(history.buckets), minlength=len(history))
    sums = np.where(np.isnan(history.sum_log), middles, history.sum_log)
    mean = np.divide(grid.add(np.nan_to_num(sums)), count, out=np.zeros_like(count), where=count > 0)
    season, _ = fit_season(mean, count, local, fleet.family, seasonal=seasonal)
    rough = season.at(local)
    cell = history.cell
    level = rough.ravel()[grid.position]
    scale = np.full(grid.cells, 0.5)
    if len(rows):
        rows_of = _sample(history, grid.cells)
        sample = history.take(rows_of)
        for _ in range(3):
            counts, middle = shape_of(sample, fleet.grid, level[rows_of], scale[sample.cell], sample.cell, grid.cells)
            scale = np.maximum(scale * _robust_deviation(counts, middle), 0.25 * fleet.grid.width)
        return rough, scale
    freedom = history.count - 1
    within = np.divide(
        history.sum_log_sq - history.sum_log**2 / np.maximum(history.count, 1),
        freedom,
        out=np.full(len(history), np.nan),
        where=freedom > 0,
    )
    for index in range(grid.cells):
        inside = within[(cell == index) & np.isfinite(within)]
        if len(inside):
            scale[index] = max(float(np.sqrt(max(np.median(inside), 0.0))), 1e-3)
    return rough, scale


def _sample(history: Measurements, cells: int) -> Integers:
    """Rows enough to know the shape of a distribution, the same ones every time."""
    wanted = _SHAPE_ROWS * cells
    if len(history) <= wanted:
        return np.arange(len(history))
    return np.sort(np.random.default_rng(0).choice(len(history), wanted, replace=False))


def _robust_deviation(counts: Floats, middle: Floats) -> Floats:
    """The half-width of the central 68 % of each row of counts, in units of the middles."""
    total = counts.sum(axis=1, keepdims=True)
    share = np.cumsum(counts, axis=1) / np.maximum(total, 1e-300)
    width = middle[1] - middle[0]
    out = np.ones(len(counts))
    for row in np.flatnonzero(total[:, 0] > 0):
        low, high = np.interp([0.1587, 0.8413], share[row], middle + width / 2)
        out[row] = max((high - low) / 2, 1e-3)
    return out


def _score_moments(
    history: Measurements, fleet: Fleet, level: Floats, scale: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Share of observations inside the clip, variance of one observation's share, edges of the tails, their steepness.

    Twenty observations of a normal law are added, so that a young cell is not taken at its word.
    """
    rows = _sample(history, len(fleet.cells))
    sample = history.take(rows)
    counts, middle = shape_of(sample, fleet.grid, level[rows], scale[sample.cell], sample.cell, len(fleet.cells))
    normal = np.exp(-(middle**2) / 2)
    counts = counts + 20 * normal / normal.sum()
    share = counts / counts.sum(axis=1, keepdims=True)
    inside = np.abs(middle) < CLIP
    slope = share[:, inside].sum(axis=1)
    pulled = np.clip(middle, -CLIP, CLIP)
    variance = share @ pulled**2 - (share @ pulled) ** 2
    below = np.cumsum(share, axis=1)
    edges = np.array([np.interp(TAILS, row, middle + (middle[1] - middle[0]) / 2) for row in below])
    edges = edges.reshape(len(scale), len(TAILS))
    beyond = np.array([np.interp(edge - 0.3, middle, row) for row, edge in zip(below, edges, strict=True)])
    steepness = np.log(np.maximum(1 - beyond.reshape(edges.shape), 1e-9) / (1 - np.array(TAILS))) / 0.3
    return slope, variance / slope**2 * scale**2, edges, np.clip(steepness, 0.0, 4.0) / scale[:, None]


def _reason(span: float, traffic: float, part: bool, settings: DetectionSettings) -> str:
    if span < settings.minimum_history_seconds:
        return (
            f"history of {span / 60:.0f} minutes is shorter than the {settings.minimum_history_seconds / 60:.0f} needed"
        )
    if part and traffic < settings.minimum_count:
        return f"{traffic:.2f} observations a window are fewer than the {settings.minimum_count:g} needed"
    return "" if traffic > 0 else "no durations in the history"
