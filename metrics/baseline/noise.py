"""The noise of a series beyond sampling: what all observations of a window share, and how long it lasts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.medians import every_nth, median
from ..detection.settings import DetectionSettings
from ..detection.shift import Noise
from .walk import ABSENT

__all__ = ["fit_noise"]

Floats = NDArray[Any]  # float64

_SHORT_LAGS = (1, 2, 3, 4, 6, 8, 11, 15)
_CORRELATIONS = np.array([0, *np.arange(0.1, 0.7, 0.1), *np.arange(0.65, 0.9, 0.025), 0.9, 0.92, 0.94, 0.96])
_SAFE_SIDE = 1.1  # the long-run variance is known to about a tenth
_ROWS_AT_ONCE = 1_440
_SAMPLE = 1_000  # windows from which medians are taken
_EVERY = 7  # windows; no divisor of an hour or a day in minutes
_LEVEL_FLOOR = 0.002  # no level is known better than this (ln seconds)


def fit_noise(residual: Floats, variance: Floats, settings: DetectionSettings) -> Noise:
    """Fit fast and slow autoregressions and white noise to residuals of known sampling variance.

    Method of moments on weighted autocovariances: lags of 1 to 15 windows for the fast part, one to six hours for
    the slow part. Residuals are pulled in at four robust deviations first, so an incident in the
    history does not widen the model.

    Args:
        residual: Cross-fitted residuals ``[T, S]`` on consecutive windows.
        variance: Sampling variances ``[T, S]``, ``inf`` or :data:`~.walk.ABSENT` without data.
        settings: For the length of a window and the correlation time of the slow part.
    """
    weighted, weight, sampled = _weighted(residual, variance)
    zero = _ratio(_dot(weighted, weighted), _dot(weight, weight))
    sampling = _ratio(sampled, _dot(weight, weight))
    windows = len(weight)
    per_hour = 3600 / settings.window_seconds
    slow_corr = float(np.exp(-settings.window_seconds / settings.slow_correlation_seconds))
    long_lags = [lag for lag in (np.array([1, 1.5, 2, 3, 4, 6]) * per_hour).astype(int) if 0 < lag < windows / 3]
    slow = np.zeros_like(zero)
    if long_lags:
        slow = np.mean([_covariance(weighted, weight, lag) / slow_corr**lag for lag in long_lags], axis=0)
    slow = np.maximum(slow, _LEVEL_FLOOR**2)
    lags = [lag for lag in _SHORT_LAGS if lag < windows / 3]
    short = np.array([_covariance(weighted, weight, lag) - slow * slow_corr**lag for lag in lags]).reshape(
        len(lags), len(zero)
    )
    power = _CORRELATIONS[:, None] ** np.array(lags)[None, :]
    fit = np.maximum(power @ short / np.maximum((power**2).sum(axis=1), 1e-12)[:, None], 0.0)
    loss = ((short[None] - fit[:, None, :] * power[:, :, None]) ** 2).sum(axis=1)
    best = loss.argmin(axis=0)
    fast = fit[best, np.arange(len(zero))]
    white = np.maximum(zero - sampling - fast - slow, 0.0)
    none = _CORRELATIONS[best] == 0.0
    white = np.where(none, np.maximum(zero - sampling - slow, 0.0), white)
    return Noise(
        np.where(none, 0.0, _SAFE_SIDE * fast), _CORRELATIONS[best], slow, np.full_like(zero, slow_corr), white
    )


def _weighted(residual: Floats, variance: Floats) -> tuple[Floats, Floats, Floats]:
    """Weight times residual, both pulled in and centred, weights ``[T, S]``, and Σ variance · weight² ``[S]``."""
    some = every_nth(variance, _SAMPLE).astype(np.float32)
    some = np.where(some < ABSENT, some, np.nan)
    middle = _median(some)
    scale = 4 * 1.4826 * _median(np.abs(every_nth(residual, _SAMPLE)) / np.sqrt(some + middle))
    weighted, weight = (np.empty(residual.shape, dtype=np.float32) for _ in range(2))
    total, top, sampled = (np.zeros(residual.shape[1]) for _ in range(3))
    for begin in range(0, len(residual), _ROWS_AT_ONCE // 4):  # what is worked on stays in the cache
        part = slice(begin, begin + _ROWS_AT_ONCE // 4)
        v = variance[part].astype(np.float32)
        w = (v < ABSENT) / (v + middle)
        root = np.sqrt(w)
        r = residual[part] * root
        np.minimum(np.maximum(r, -scale), scale, out=r)
        r *= root
        weighted[part], weight[part] = r, w
        total += w.sum(axis=0)
        top += r.sum(axis=0)
        np.multiply(w, np.minimum(v, np.float32(ABSENT)), out=v)
        sampled += np.einsum("ts,ts->s", v, w)
    mean = np.divide(top, total, out=np.zeros_like(total), where=total > 0).astype(np.float32)
    for begin in range(0, len(residual), _ROWS_AT_ONCE // 4):
        part = slice(begin, begin + _ROWS_AT_ONCE // 4)
        weighted[part] -= weight[part] * mean
    return weighted, weight, sampled


def _covariance(weighted: Floats, weight: Floats, lag: int) -> Floats:
    # weights go with the season of traffic, slowly: some windows tell their products
    some = slice(None, None, _EVERY)
    return _ratio(_dot(weighted[lag:], weighted[:-lag]), _EVERY * _dot(weight[lag:][some], weight[:-lag][some]))


def _dot(one: Floats, other: Floats) -> Floats:
    """Sums over time of products, in stretches so that single precision is exact enough."""
    total = np.zeros(one.shape[1])
    for begin in range(0, len(one), _ROWS_AT_ONCE):
        part = slice(begin, begin + _ROWS_AT_ONCE)
        total += np.einsum("ts,ts->s", one[part], other[part])
    return total


def _ratio(top: Floats, bottom: Floats) -> Floats:
    return np.asarray(np.divide(top, bottom, out=np.zeros_like(bottom), where=bottom > 0))


def _median(values: Floats) -> Floats:
    return np.asarray(np.nan_to_num(median(values), nan=1.0)).astype(np.float32)
