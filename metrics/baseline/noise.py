"""The noise of a series beyond sampling: what all observations of a window share, and how long it lasts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.medians import median
from ..detection.settings import DetectionSettings
from ..detection.shift import Noise

__all__ = ["fit_noise"]

Floats = NDArray[Any]  # float64

_SHORT_LAGS = (1, 2, 3, 4, 6, 8, 11, 15)
_CORRELATIONS = np.array([0, *np.arange(0.1, 0.7, 0.1), *np.arange(0.65, 0.9, 0.025), 0.9, 0.92, 0.94, 0.96])
_SAFE_SIDE = 1.1  # the long-run variance is known to about a tenth
_LEVEL_FLOOR = 0.002  # no level is known better than this (ln seconds)


def fit_noise(residual: Floats, variance: Floats, settings: DetectionSettings) -> Noise:
    """Fit fast and slow autoregressions and white noise to residuals of known sampling variance.

    Method of moments on weighted autocovariances: lags of 1 to 15 windows for the fast part, one to six hours for
    the slow part. Residuals are pulled in at four robust deviations first, so an incident in the
    history does not widen the model.

    Args:
        residual: Cross-fitted residuals ``[T, S]`` on consecutive windows.
        variance: Sampling variances ``[T, S]``, ``inf`` where there is no data.
        settings: For the length of a window and the correlation time of the slow part.
    """
    seen = np.isfinite(variance)
    middle = _median(np.where(seen, variance, np.nan))
    weight = np.where(seen, 1.0 / (np.where(seen, variance, 1.0) + middle), 0.0)
    scale = 1.4826 * _median(np.where(seen, np.abs(residual) * np.sqrt(weight), np.nan))
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = np.where(weight > 0, 4 * scale / np.sqrt(weight), 0.0)
    r = np.clip(np.where(seen, residual, 0.0), -limit, limit)
    total = weight.sum(axis=0)
    r = r - np.divide((weight * r).sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
    weighted = weight * r
    zero = _mean(weighted * r * weight, weight * weight)
    sampling = _mean(np.where(seen, variance, 0.0) * weight * weight, weight * weight)
    windows = len(r)
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


def _covariance(weighted: Floats, weight: Floats, lag: int) -> Floats:
    return _mean(weighted[lag:] * weighted[:-lag], weight[lag:] * weight[:-lag])


def _mean(top: Floats, bottom: Floats) -> Floats:
    total = bottom.sum(axis=0)
    return np.asarray(np.divide(top.sum(axis=0), total, out=np.zeros_like(total), where=total > 0))


def _median(values: Floats) -> Floats:
    return np.asarray(np.nan_to_num(median(values), nan=1.0))
