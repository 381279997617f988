"""Calibration of the count tests: rates by cell, hourly shape, over-dispersion, thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.count import CountState, advance_count, count_information
from ..detection.settings import DetectionSettings
from ..detection.threshold import correction, solve_threshold
from .shift import BLOCK_SECONDS, evidence_limit, typical_windows

__all__ = ["CountTest", "calibrate_counts", "pair_rates"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64

_SHAPE_PRIOR = 40.0  # counts that an even shape of the day counts for
_RATE_FLOOR = 1e-5
_DISPERSION_BLOCK_SECONDS = (1_800, 14_400)


@dataclass(frozen=True, slots=True)
class CountTest:
    """The test for changes of ``J`` rates.

    Attributes:
        ratios: Ratios tested for, ``[K]``.
        shape: Hourly shape of each rate, ``[24, J]``.
        dispersion: Over-dispersion of a window, ``[J]``.
        threshold: Evidence that is reported, ``[K, J]``; ``inf`` where the channel is not tested.
        limit: The most evidence one window may add, ``[K, J]``.
        expected: Typical expected count of a window, ``[J]``.
        rate: Typical rate, ``[J]``.
    """

    ratios: Floats
    shape: Floats
    dispersion: Floats
    threshold: Floats
    limit: Floats
    expected: Floats
    rate: Floats


def pair_rates(failed: Floats, tried: Floats, group: Integers) -> Floats:
    """Failure rate of each (cell, outcome), shrunk to the rate of its group.

    Args:
        failed: Total failures ``[P]``.
        tried: Total trials ``[P]``.
        group: Which pairs belong together, ``[P]``.
    """
    size = int(group.max()) + 1 if len(group) else 0
    group_failed = np.bincount(group, failed, minlength=size)
    group_tried = np.bincount(group, tried, minlength=size)
    common = np.maximum((group_failed + 0.5) / np.maximum(group_tried + 1.0, 1.0), _RATE_FLOOR)[group]
    prior = 5.0 / common  # trials in which the group would expect five failures
    return np.asarray(np.maximum((failed + prior * common) / (tried + prior), _RATE_FLOOR))


def calibrate_counts(
    failed: Floats, expected: Floats, tried: Floats, hour: Integers, rate: Floats, settings: DetectionSettings
) -> CountTest:
    """Learn shape, dispersion and thresholds of ``J`` rates.

    Args:
        failed: Counts ``[T, J]`` on consecutive windows.
        expected: Counts expected from constant rates by cell, ``[T, J]``.
        tried: Trials ``[T, J]``.
        hour: Local hour of each window, ``[T]``.
        rate: False alarms a window allowed, ``[J]``; 0 = do not test.
        settings: Ratios, window and spike length.
    """
    channels = failed.shape[1]
    shape = np.ones((24, channels))
    for each in range(24):
        rows = hour == each
        shape[each] = (failed[rows].sum(axis=0) + _SHAPE_PRIOR) / (expected[rows].sum(axis=0) + _SHAPE_PRIOR)
    mean = expected * shape[hour]
    dispersion = _dispersion(failed, mean, settings)
    ratios = np.array(settings.failure_ratios)
    typical, share = typical_windows(np.where(tried > 0, mean, np.nan))
    typical = np.where((tried > 0).any(axis=0), typical, 1e-9)
    information = np.stack([count_information(level, dispersion, ratios) for level in typical])
    wanted = np.maximum(np.broadcast_to(rate / np.sqrt(len(ratios)), (len(ratios), channels)), 1e-12)
    threshold = solve_threshold(information, share, wanted)
    middle = np.median(information, axis=0)
    limit = evidence_limit(threshold, middle, settings)
    peaks = _peaks(failed, mean, tried, ratios, dispersion, threshold, limit, settings)
    more = correction(peaks, rate * BLOCK_SECONDS / settings.window_seconds)
    threshold = np.maximum(threshold + np.clip(more, -1.0, 20.0), 3.0)
    total = tried.sum(axis=0)
    threshold = np.where((total > 0) & (rate > 0), threshold, np.inf)
    overall = np.divide(mean.sum(axis=0), total, out=np.zeros(channels), where=total > 0)
    limit = evidence_limit(np.where(np.isfinite(threshold), threshold, 1.0), middle, settings)
    return CountTest(ratios, shape, dispersion, threshold, limit, np.median(typical, axis=0), overall)


def _dispersion(failed: Floats, mean: Floats, settings: DetectionSettings) -> Floats:
    """Long-run over-dispersion of a window: the larger of what sums of half an hour and of four hours show."""
    lengths = [max(int(seconds / settings.window_seconds), 1) for seconds in _DISPERSION_BLOCK_SECONDS]
    return np.asarray(np.max([_block_dispersion(failed, mean, length) for length in lengths], axis=0))


def _block_dispersion(failed: Floats, mean: Floats, length: int) -> Floats:
    """Over-dispersion that explains the spread of sums of ``length`` windows, pulled in at six deviations."""
    blocks = len(failed) // length
    if blocks < 4:
        return np.full(failed.shape[1], 0.1)
    y = failed[: blocks * length].reshape(blocks, length, -1).sum(axis=1)
    m = mean[: blocks * length].reshape(blocks, length, -1).sum(axis=1)
    out = np.zeros(failed.shape[1])
    for _ in range(3):
        edge = 6 * np.sqrt(m * (1 + out / length * m)) + 1
        excess = (np.clip(y - m, -edge, edge) ** 2 - m).sum(axis=0)
        square = (m**2).sum(axis=0)
        # one standard error on the safe side
        error = np.sqrt((2 * m**2 + m).sum(axis=0))
        out = np.divide(np.maximum(excess + error, 0.0), square, out=np.zeros_like(square), where=square > 0) * length
    return out


def _peaks(
    failed: Floats,
    mean: Floats,
    tried: Floats,
    ratios: Floats,
    dispersion: Floats,
    threshold: Floats,
    limit: Floats,
    settings: DetectionSettings,
) -> Floats:
    windows, channels = failed.shape
    block = max(int(BLOCK_SECONDS / settings.window_seconds), 1)
    peaks = np.full((-(-windows // block), channels), -np.inf)
    state = CountState.new(len(ratios), channels)
    for t in range(windows):
        advance_count(state, ratios, dispersion, limit, float(t), failed[t], mean[t], tried[t])
        np.maximum(peaks[t // block], (state.evidence - threshold).max(axis=0), out=peaks[t // block])
    return peaks
