"""Intervals of effects that were looked at because they were large."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["corrected_interval", "plain_rate_interval", "rate_interval"]

Floats = NDArray[Any]  # float64

_SELECTION = 2.0
_WIDTH = 2.3
_Z95 = 1.959964
_AT_LEAST, _AT_MOST = -2.0, 7.0  # log-ratios of rates that are thought of
_GRID = np.linspace(_AT_LEAST, _AT_MOST, 1_801)
_RATIOS = np.exp(_GRID) - 1.0


def corrected_interval(effect: float, error: float) -> tuple[float, float, float]:
    """The effect less what selection adds to it, and a 95 % interval that allows for selection.

    A change is reported when its evidence crosses a threshold, from the start that suits it best. Both push the
    estimate up, each by about ``error² / effect`` (the stopping part: Siegmund 1978,
    doi:10.1093/biomet/65.2.341); the interval is widened until it covered 95 % in simulation.

    Args:
        effect: Estimated log-ratio.
        error: Its standard error as if nothing had been selected.
    """
    if effect == 0:
        return 0.0, -_WIDTH * error, _WIDTH * error
    shrink = min(_SELECTION * (error / effect) ** 2, 0.5)
    centre = effect * (1 - shrink)
    return centre, centre - _WIDTH * error, centre + _WIDTH * error


def rate_interval(failed: Floats, expected: Floats, windows: Floats, dispersion: float) -> tuple[float, float, float]:
    """Log-ratio of a rate to the usual one and a 95 % interval, from counts since each of several possible starts.

    The profile likelihood of a Poisson rate whose start is one of those given: ``max_k (y_k ln R − μ_k (R − 1))``,
    divided by the variance of the count over its mean. With few failures it is lopsided, as it should be; a normal
    approximation of the logarithm is not. One failure is taken off each count, because an excursion begins with one
    by definition; the lower end and the middle allow for selection as in :func:`corrected_interval`.

    Args:
        failed: Failures since each start.
        expected: How many were to be expected.
        windows: How many windows that is.
        dispersion: Over-dispersion of a window.
    """
    effect, low, high = _profile(np.maximum(failed - 1.0, 0.25), expected, windows, dispersion, _WIDTH)
    error = (effect - low) / _WIDTH
    less = min(_SELECTION * error**2 / max(effect, 0.1), 0.5 * max(effect, 0.0))
    return effect - less, low - less, high


def plain_rate_interval(
    failed: float, expected: float, windows: float, dispersion: float
) -> tuple[float, float, float]:
    """:func:`rate_interval` of windows that had no part in raising an alarm: nothing was selected.

    Without a failure the effect and the lower end are the least that is thought of, ``e^-2`` of the usual rate.
    """
    return _profile(np.array([failed]), np.array([expected]), np.array([windows]), dispersion, _Z95)


def _profile(
    counts: Floats, expected: Floats, windows: Floats, dispersion: float, width: float
) -> tuple[float, float, float]:
    """The log-ratio that is likeliest for the start that fits best, and where the likelihood is ``width²/2`` less."""
    usual = np.maximum(expected, 1e-9)
    likelihood = counts[:, None] * _GRID - usual[:, None] * _RATIOS
    start = int(likelihood.max(axis=1).argmax())
    scale = 1.0 + dispersion * counts[start] / max(float(windows[start]), 1.0)
    likelihood = likelihood.max(axis=0) / scale
    best = int(likelihood.argmax())
    inside = np.flatnonzero(likelihood >= likelihood[best] - width**2 / 2)
    return float(_GRID[best]), float(_GRID[inside[0]]), float(_GRID[inside[-1]])
