"""The test for a lasting change of a rate of counts: failed checks, bad verdicts, observations in the tail.

Page's CUSUM of the Poisson log-likelihood ratio ``y ln R − μ(R − 1)`` for several ratios ``R``. Counts that vary
more than Poisson's (bursts, common causes) divide the evidence of a window by ``1 + ωμ``, so that a larger expectation,
from more traffic or another mix, does not by itself make evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXCESS_CLIP", "CountState", "advance_count", "count_information"]

Floats = NDArray[Any]  # float64

EXCESS_CLIP = 2.5  # evidence for a ratio counts at most this many deviations, and one, beyond what it foretells


@dataclass(slots=True)
class CountState:
    """Evidence for each ratio and channel, and sums since it last left zero, ``[K, J]``."""

    evidence: Floats
    start: Floats
    failed: Floats
    expected: Floats
    tried: Floats
    windows: Floats

    @classmethod
    def new(cls, ratios: int, channels: int) -> CountState:
        """Before the first window."""
        return cls(*(np.zeros((ratios, channels)) for _ in range(6)))


def advance_count(
    state: CountState,
    ratios: Floats,
    dispersion: Floats,
    limit: Floats,
    now: float | Floats,
    failed: Floats,
    expected: Floats,
    tried: Floats,
) -> None:
    """Take one window into ``state`` (in place).

    Args:
        state: The state of ``J`` channels.
        ratios: Ratios of the rate tested for, ``[K]``.
        dispersion: Variance of a window's count is ``μ(1 + dispersion·μ)``, ``[J]``.
        limit: The most evidence one window may add, ``[K, J]``.
        now: Start of the window, one or each channel's own.
        failed: Counts ``[J]``.
        expected: Expected counts ``[J]``.
        tried: Trials ``[J]``.
    """
    ratio = ratios[:, None]
    scale = 1 + dispersion * expected
    most = ratio * expected + EXCESS_CLIP * np.sqrt(ratio) * np.sqrt(expected * scale) + 1.0
    step = (np.minimum(failed, most) * np.log(ratio) - expected * (ratio - 1)) / scale
    np.minimum(step, limit, out=step)
    before = state.evidence
    evidence = np.maximum(before + step, 0.0)
    running = evidence > 0
    state.start = np.where(running & (before <= 0), now, state.start)
    state.failed = np.where(running, state.failed + failed, 0.0)
    state.expected = np.where(running, state.expected + expected, 0.0)
    state.tried = np.where(running, state.tried + tried, 0.0)
    state.windows = np.where(running, state.windows + 1, 0.0)
    state.evidence = evidence


def count_information(expected: Floats, dispersion: Floats, ratios: Floats) -> Floats:
    """Information (nats) a window for each ratio, ``[K, J]``: ``μ(R ln R − R + 1)/(1 + ωμ)``."""
    ratio = ratios[:, None]
    return np.asarray(expected * (ratio * np.log(ratio) - ratio + 1) / (1 + dispersion * expected))
