"""What is normal for each series, learnt from its own history: level, season, noise, and thresholds to match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .baseline_location import CLIP, pulled_in_sum, shape_of
from .baseline_noise import fit_noise
from .baseline_season import Season, fit_season
from .detection_calendar import LocalTime, local_time
from .detection_input import Fleet, Measurements
from .detection_settings import MONTH_SECONDS, DetectionSettings
from .detection_shift import Noise, ShiftState, advance_shift, steady_information
from .detection_threshold import correction, solve_threshold

__all__ = ["Band", "Profile", "baseline", "learn"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64


@dataclass(frozen=True, slots=True)
class Band:
    """The expected level of a scope at one time, in seconds, and where 95 % of windows should lie.

    ``reason`` says why there is no band (too little history); then the levels are NaN.
    """

    level: float
    low: float
    high: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """The baseline of a fleet: pure data, made by :func:`learn`.

    Attributes:
        fleet: What is monitored.
        settings: The settings it was learnt with.
        learnt_until: End of the last window of history (seconds).
        season: Levels of cells (ln seconds).
        scale: Standard deviation of log duration of each cell, ``[C]``.
        slope: Share of observations inside the clip, ``[C]``.
        spread: Variance of one observation's contribution to the location, ``[C]``.
        known: Which cells have a level, ``[C]``.
        traffic: Mean observations a window, ``[C]``.
        noise: Noise of the scopes.
        shifts: Shifts tested for, ``[J]``.
        threshold: Evidence that alarms, ``[J, S]``.
        limit: The most evidence one window may add, ``[J, S]``.
        reasons: Why a scope is not tested, or "", ``[S]``.
    """

    fleet: Fleet
    settings: DetectionSettings
    learnt_until: float
    season: Season
    scale: Floats
    slope: Floats
    spread: Floats
    known: NDArray[np.bool_]
    traffic: Floats
    noise: Noise
    shifts: Floats
    threshold: Floats
    limit: Floats
    reasons: tuple[str, ...]


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
        A profile; scopes with too little history carry a reason instead of thresholds.
    """
    history = _without(history, excluded)
    cells, window = len(fleet.cells), settings.window_seconds
    if len(history) == 0:
        return _nothing(fleet, settings)
    first = float(history.window_start.min())
    number = np.rint((history.window_start - first) / window).astype(np.int64)
    windows = int(number.max()) + 1
    starts = first + window * np.arange(windows)
    local = local_time(starts, settings)
    span = windows * window
    seasonal = span >= settings.season_history_seconds
    flat = number * cells + history.cell
    shape = (windows, cells)
    count = np.bincount(flat, history.count, minlength=windows * cells).reshape(shape)
    rough, scale = _rough_level(history, fleet, flat, count, local, seasonal)
    level = rough[number, history.cell]
    pulled = np.nan_to_num(pulled_in_sum(history, fleet.grid, level, scale[history.cell]))
    slope, spread = _score_moments(history, fleet, level, scale, cells)
    total = np.bincount(flat, pulled, minlength=windows * cells).reshape(shape)
    x = rough + np.divide(total, count * slope, out=np.zeros(shape), where=count > 0)
    season, predicted = fit_season(x, count / spread, local, fleet.family, seasonal=seasonal)
    residual, variance, _ = stratify(x - predicted, count, spread, fleet)
    noise = fit_noise(residual, variance, settings)
    shifts = np.log(np.array(settings.effects))
    shifts = np.concatenate([shifts, -shifts])
    threshold, limit = _calibrate(residual, variance, noise, shifts, fleet, settings)
    traffic = count.sum(axis=0) / np.maximum(windows, 1)
    reasons = tuple(
        _reason(span, float(traffic[inside].sum()), scope.dimensions != (), settings)
        for scope, inside in zip(fleet.scopes, fleet.members, strict=True)
    )
    return Profile(
        fleet,
        settings,
        first + span,
        season,
        scale,
        slope,
        spread,
        count.sum(axis=0) > 0,
        traffic,
        noise,
        shifts,
        threshold,
        limit,
        reasons,
    )


def stratify(deviation: Floats, count: Floats, spread: Floats, fleet: Fleet) -> tuple[Floats, Floats, Floats]:
    """Residuals of scopes from deviations of cells, each cell weighted by its information.

    Args:
        deviation: Location minus level ``[T, C]``.
        count: Observations ``[T, C]``.
        spread: Variance of one observation ``[C]``.
        fleet: The scopes.

    Returns:
        Residual, sampling variance (``inf`` without data) and observations, each ``[T, S]``.
    """
    weight = count / spread
    weighted = deviation * weight
    scopes = len(fleet.scopes)
    top, bottom, seen = (np.zeros((count.shape[0], scopes)) for _ in range(3))
    for index, inside in enumerate(fleet.members):
        top[:, index] = weighted[:, inside].sum(axis=1)
        bottom[:, index] = weight[:, inside].sum(axis=1)
        seen[:, index] = count[:, inside].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bottom > 0, top / bottom, 0.0), 1.0 / bottom, seen


def _without(history: Measurements, excluded: Sequence[tuple[float, float]]) -> Measurements:
    keep = np.ones(len(history), dtype=bool)
    for begin, end in excluded:
        keep &= (history.window_start < begin) | (history.window_start >= end)
    return history if keep.all() else history.take(np.flatnonzero(keep))


def _rough_level(
    history: Measurements, fleet: Fleet, flat: Integers, count: Floats, local: LocalTime, seasonal: bool
) -> tuple[Floats, Floats]:
    """A first level of each window and cell from plain means, and a robust scale of each cell."""
    rows = np.repeat(np.arange(len(history)), np.diff(history.offsets))
    middles = np.bincount(rows, history.bucket_counts * fleet.grid.middle(history.buckets), minlength=len(history))
    sums = np.where(np.isnan(history.sum_log), middles, history.sum_log)
    total = np.bincount(flat, np.nan_to_num(sums), minlength=count.size).reshape(count.shape)
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    season, _ = fit_season(mean, count, local, fleet.family, seasonal=seasonal)
    rough = season.at(local)
    scale = np.full(count.shape[1], 0.5)
    number, cell = flat // count.shape[1], history.cell
    level = rough[number, cell]
    if len(rows):
        for _ in range(3):
            counts, middle = shape_of(history, fleet.grid, level, scale[cell], cell, count.shape[1])
            scale = np.maximum(scale * _robust_deviation(counts, middle), 0.25 * fleet.grid.width)
    else:
        second = np.where(history.count > 1, history.sum_log_sq - history.sum_log**2 / history.count, np.nan)
        for index in range(count.shape[1]):
            inside = (cell == index) & np.isfinite(second)
            if inside.any():
                freedom = history.count[inside] - 1
                scale[index] = max(float(np.sqrt(max(np.median(second[inside] / freedom), 1e-8))), 1e-3)
    return rough, scale


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
    history: Measurements, fleet: Fleet, level: Floats, scale: Floats, cells: int
) -> tuple[Floats, Floats]:
    """Share of observations inside the clip, and the variance of one observation's share in the location."""
    counts, middle = shape_of(history, fleet.grid, level, scale[history.cell], history.cell, cells)
    counts = counts + 20 * np.exp(-(middle**2) / 2) / np.exp(-(middle**2) / 2).sum()
    share = counts / counts.sum(axis=1, keepdims=True)
    inside = np.abs(middle) < CLIP
    slope = share[:, inside].sum(axis=1)
    pulled = np.clip(middle, -CLIP, CLIP)
    mean = share @ pulled
    variance = share @ pulled**2 - mean**2
    return slope, variance / slope**2 * scale**2


def _reason(span: float, traffic: float, part: bool, settings: DetectionSettings) -> str:
    if span < settings.minimum_history_seconds:
        return (
            f"history of {span / 60:.0f} minutes is shorter than the {settings.minimum_history_seconds / 60:.0f} needed"
        )
    if part and traffic < settings.minimum_count:
        return f"{traffic:.2f} observations a window are fewer than the {settings.minimum_count:g} needed"
    return "" if traffic > 0 else "no durations in the history"


def _calibrate(
    residual: Floats, variance: Floats, noise: Noise, shifts: Floats, fleet: Fleet, settings: DetectionSettings
) -> tuple[Floats, Floats]:
    """Thresholds from theory at typical windows, corrected by running the test over the cross-fitted history."""
    scopes, hypotheses = len(fleet.scopes), len(shifts)
    rate = _rates(fleet, settings)
    typical, share = _typical(variance)
    information = np.stack([steady_information(noise, level, shifts) for level in typical])
    threshold = solve_threshold(information, share, np.broadcast_to(rate / (hypotheses / 2), (hypotheses, scopes)))
    limit = _limit(threshold, np.median(information, axis=0), settings)
    state = ShiftState.new(noise, hypotheses)
    windows = len(residual)
    block = max(int(21_600 / settings.window_seconds), 1)
    up = shifts > 0
    peaks = np.full((2, -(-windows // block), scopes), -np.inf)
    none = np.zeros(scopes)
    for t in range(windows):
        advance_shift(state, noise, shifts, limit, float(t), residual[t], variance[t], none)
        over = state.evidence - threshold
        np.maximum(peaks[0, t // block], over[up].max(axis=0), out=peaks[0, t // block])
        np.maximum(peaks[1, t // block], over[~up].max(axis=0), out=peaks[1, t // block])
    block_rate = float(np.mean(rate)) * block
    for side, mask in enumerate((up, ~up)):
        more = correction(peaks[side], block_rate)
        threshold[mask] = np.maximum(threshold[mask] + np.clip(more, -1.5, 20.0), 3.0)
    return threshold, _limit(threshold, np.median(information, axis=0), settings)


def _rates(fleet: Fleet, settings: DetectionSettings) -> Floats:
    """False alarms a window that each scope may raise."""
    families = max(len(np.unique(fleet.family)), 1)
    each = settings.false_alarms_per_series_month
    month = each * families if each is not None else settings.false_alarms_per_month
    per_window = month * settings.window_seconds / MONTH_SECONDS
    return np.full(len(fleet.scopes), per_window / max(len(fleet.scopes), 1))


def _typical(variance: Floats) -> tuple[Floats, Floats]:
    """Nine typical windows: quantiles of the sampling variance ``[9, S]`` and their shares."""
    finite = np.where(np.isfinite(variance), variance, np.nan)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        levels = np.nanquantile(finite, np.linspace(0.06, 0.94, 9), axis=0)
    return np.nan_to_num(levels, nan=1.0), np.full(9, 1 / 9)


def _limit(threshold: Floats, information: Floats, settings: DetectionSettings) -> Floats:
    """The most evidence of one window: strong shifts may alarm one window after a spike could have ended."""
    strong = np.clip((information - 0.5) / 2.5, 0.0, 1.0)
    windows = settings.spike_windows + (1 - strong) * settings.spike_windows + strong * 0.95
    return threshold / windows


def _nothing(fleet: Fleet, settings: DetectionSettings) -> Profile:
    cells, scopes = len(fleet.cells), len(fleet.scopes)
    shifts = np.log(np.array(settings.effects))
    shifts = np.concatenate([shifts, -shifts])
    noise = Noise(*(np.full(scopes, value) for value in (1e-4, 0.5, 1e-6, 0.999, 0.0)))
    season = Season(np.zeros((1, 96, cells)), np.zeros((7, 24, cells)))
    ones = np.ones(cells)
    grid = np.full((len(shifts), scopes), np.inf)
    known = np.zeros(cells, dtype=bool)
    reasons = tuple("no history" for _ in range(scopes))
    return Profile(fleet, settings, 0.0, season, ones, ones, ones, known, 0 * ones, noise, shifts, grid, grid, reasons)
