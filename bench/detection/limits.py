"""The best that any rule can do, in minutes: Lorden 1971 (doi:10.1214/aoms/1177693055), Moustakides 1986."""

from __future__ import annotations

import numpy as np
from cells import MONTH
from simulator import Truth


def threshold(information: float, months: float = 1.0) -> float:
    """h with (e^h − h − 1)/D = γ (Lorden, Moustakides)."""
    low, high = 0.0, 60.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if (np.exp(middle) - middle - 1) / information < months * MONTH else (low, middle)
    return high


def limit(information: np.ndarray) -> float:
    """Minutes that the best rule needs from the change on, when each minute brings this much information."""
    mean = float(np.median(information))
    h = threshold(mean)
    target = np.exp(-h) + h - 1
    total = np.cumsum(information)
    if total[-1] < target:
        return float(len(information))
    index = int(np.searchsorted(total, target))
    before = total[index - 1] if index else 0.0
    return max(index + (target - before) / information[index], 1.0)


def shift_information(truth: Truth, rate: np.ndarray, effect: float) -> np.ndarray:
    """Nats a minute of a shift, with the common noise as part of the variance."""
    common = truth.noise**2 * (1 + truth.correlation) / (1 - truth.correlation)
    return effect**2 / 2 / (truth.deviation**2 / np.maximum(rate, 1e-3) + common)


def failure_information(truth: Truth, rate: np.ndarray, effect: float) -> np.ndarray:
    """Nats a minute of a change of the failure rate."""
    p0, p1 = truth.failure, truth.failure * np.exp(effect)
    return rate * (p1 * np.log(p1 / p0) + (1 - p1) * np.log((1 - p1) / (1 - p0)))
