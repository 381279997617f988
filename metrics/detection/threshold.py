"""Thresholds: how high a CUSUM must be for a stated rate of false alarms, in theory and as corrected by history."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["correction", "excursion_rate", "solve_threshold"]

Floats = NDArray[Any]  # float64

_FEWEST_PEAKS = 8  # with fewer a tail says nothing
_INCIDENTS = 3  # excursions over a history that may be incidents
_OVERSHOOT = 1.166  # twice Siegmund's 0.583


def excursion_rate(threshold: Floats, information: Floats) -> Floats:
    """False alarms a window of a CUSUM of Gaussian log-likelihood ratios without change.

    ``1 / ARL`` with ``ARL = (e^b − b − 1) / D``, ``b = h + 1.166·√(2D)``: Siegmund, Sequential Analysis (1985),
    equation 2.57, doi:10.1007/978-1-4757-1862-1; ``D`` is the information (nats) of one window.
    """
    b = np.minimum(threshold + _OVERSHOOT * np.sqrt(2 * information), 700.0)  # exp(700) is still a number
    return np.asarray(information / np.maximum(np.expm1(b) - b, 1e-12))


def solve_threshold(information: Floats, weight: Floats, rate: Floats) -> Floats:
    """The threshold at which the mean excursion rate over typical windows equals ``rate``.

    Args:
        information: Information of a window in typical windows, ``[K, ...]``.
        weight: Share of each typical window, ``[K]``.
        rate: Wanted false alarms a window, broadcast to the trailing shape.
    """
    shape = np.broadcast_shapes(information.shape[1:], np.shape(rate))
    low, high = np.full(shape, 0.5), np.full(shape, 60.0)
    share = weight.reshape((-1,) + (1,) * (information.ndim - 1))
    for _ in range(50):
        middle = 0.5 * (low + high)
        too_many = (share * excursion_rate(middle[None], information)).sum(axis=0) > rate
        low, high = np.where(too_many, middle, low), np.where(too_many, high, middle)
    return high


def correction(peaks: Floats, block_rate: Floats, *, prior: float = 10.0, share: float = 0.25) -> Floats:
    """How much to raise (or lower) a threshold that theory set, from excursions over history.

    ``peaks`` are block maxima of ``max_j (W_j − h_j)``; in theory the chance of a block over ``-z`` is
    ``block_rate · e^z``. The upper ``share`` of blocks is taken as exponential with its own scale,
    shrunk to the theoretical scale 1 with the weight of ``prior`` peaks (peaks over threshold with a
    fixed shape: Davison & Smith 1990, doi:10.1111/j.2517-6161.1990.tb01796.x).

    Args:
        peaks: Block maxima ``[B, S]``; NaN where a block has no data.
        block_rate: False alarms a block that the budget allows.
        prior: Number of peaks that the theoretical scale counts for.
        share: Share of blocks called the tail.

    Returns:
        What to add to every threshold of a scope, ``[S]``; 0 where history is too short to say.
    """
    if not len(peaks):
        return np.zeros(peaks.shape[1])
    there = np.isfinite(peaks)
    ordered = -np.sort(-np.where(there, peaks, -np.inf), axis=0)
    number = (there.sum(axis=0) * share).astype(np.int64)
    enough = number >= _FEWEST_PEAKS
    safe = np.where(enough, number, 0)
    base = np.take_along_axis(ordered, safe[None], axis=0)[0]
    base = np.where(enough, base, 0.0)
    inside = np.arange(len(ordered))[:, None] < safe
    # the largest excess is limited so that a few real incidents in the history do not set the threshold
    few = np.minimum(np.where(enough, _INCIDENTS, 0), len(ordered) - 1)
    often = np.where(enough, np.take_along_axis(ordered, few[None], axis=0)[0], base)
    with np.errstate(invalid="ignore"):
        most = np.maximum(np.log(np.maximum(safe, 1)), often - base) + 3.0
        over = np.where(inside & enough, np.minimum(ordered - base, most), 0.0)
    scale = (over.sum(axis=0) + prior) / (safe + prior)
    more = base + scale * np.log(share / np.maximum(block_rate, 1e-12))
    return np.asarray(np.where(enough, more, 0.0))
