"""Calibration of the shift tests: noise, thresholds from theory, corrected on cross-fitted history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.medians import every_nth, quantiles
from ..detection.settings import DetectionSettings
from ..detection.shift import Noise, steady_information
from ..detection.threshold import correction, solve_threshold
from .noise import fit_noise
from .walk import ABSENT, shift_peaks

__all__ = ["BLOCK_SECONDS", "ShiftTest", "calibrate_shift", "evidence_limit", "shift_limit", "typical_windows"]

Floats = NDArray[Any]  # float64

_ASYMMETRY = 1.0  # nats by which one side may be worse than both together before it counts alone
_RELIEF = 0.4  # the most that history may lower a threshold below theory

_SAMPLE = 500  # windows from which typical ones are taken
BLOCK_SECONDS = 21_600  # excursions are counted in blocks of six hours


@dataclass(frozen=True, slots=True)
class ShiftTest:
    """The test for lasting shifts of ``Q`` quantities.

    Attributes:
        noise: Their noise.
        shifts: Shifts tested for, ``[J, Q]``; the first half up, the second half down.
        threshold: Evidence that is reported, ``[J, Q]``.
        limit: The most evidence one window may add, ``[J, Q]``.
        variance: Typical sampling variance of a window, ``[Q]``.
    """

    noise: Noise
    shifts: Floats
    threshold: Floats
    limit: Floats
    variance: Floats


def calibrate_shift(
    residual: Floats, variance: Floats, shifts: Floats, rates: tuple[Floats, Floats], settings: DetectionSettings
) -> ShiftTest:
    """Learn noise and thresholds of ``Q`` quantities from cross-fitted residuals.

    Args:
        residual: Residuals ``[T, Q]`` on consecutive windows, 0 without data.
        variance: Sampling variances ``[T, Q]``, ``inf`` or :data:`~.walk.ABSENT` without data.
        shifts: Shifts tested for ``[J, Q]``, the first half up, the second half down.
        rates: False alarms a window allowed up and down, ``[Q]`` each.
        settings: Window length and spike length.
    """
    noise = fit_noise(residual, variance, settings)
    hypotheses = len(shifts)
    half = hypotheses // 2
    typical, share = typical_windows(variance)
    information = np.stack([steady_information(noise, level, shifts) for level in typical])
    # hypotheses alarm together more often than apart; what the division misses, history corrects
    rate = np.concatenate([np.broadcast_to(each / np.sqrt(half), (half, len(each))) for each in rates])
    threshold = solve_threshold(information, share, rate)
    middle = np.median(information, axis=0)
    limit = shift_limit(threshold, middle, settings)
    block = BLOCK_SECONDS / settings.window_seconds
    peaks = shift_peaks(residual, variance, noise, shifts, threshold, limit, max(int(block), 1))
    up, down = (np.asarray(each) * block for each in rates)
    for side, mask in enumerate((slice(0, half), slice(half, None))):
        mine, other = (up, down) if side == 0 else (down, up)
        # noise is nearly symmetric: both sides together say what one alone says with twice the error
        twins = np.concatenate(
            [peaks[side], peaks[1 - side] + np.log(np.maximum(mine, 1e-12) / np.maximum(other, 1e-12))]
        )
        more = np.maximum(correction(twins, mine), correction(peaks[side], mine) - _ASYMMETRY)
        threshold[mask] = np.maximum(threshold[mask] + np.clip(more, -_RELIEF, 20.0), 3.0)
    return ShiftTest(noise, shifts, threshold, shift_limit(threshold, middle, settings), np.median(typical, axis=0))


def typical_windows(values: Floats) -> tuple[Floats, Floats]:
    """Nine typical windows: quantiles over some windows of finite ``values [T, Q]``, and their shares."""
    some = every_nth(values, _SAMPLE)
    levels = quantiles(np.where(some < ABSENT, some, np.nan), np.linspace(0.06, 0.94, 9)).astype(np.float64)
    return np.nan_to_num(levels, nan=1.0), np.full(9, 1 / 9)


def shift_limit(threshold: Floats, information: Floats, settings: DetectionSettings) -> Floats:
    """The most evidence about a shift of a window that may be part of a change, but is not as large as a spike.

    At least ``spike_windows`` windows are needed. A weak shift, whose evidence goes slowly, needs more, so that a
    small disturbance leaves a climb of ``g`` nats behind, which chance makes with probability ``e^-g``; evidence for a
    strong one loses its information with every window.
    """
    gap = 5.6 - 2.6 * np.maximum(information - 0.5, 0.0)
    gap = np.minimum(np.maximum(gap, -1.2 * information), 0.55 * threshold)
    full = threshold / (settings.spike_windows - 0.05)
    return np.asarray(np.clip((threshold - gap) / settings.spike_windows, 0.1 * threshold, full))


def evidence_limit(threshold: Floats, information: Floats, settings: DetectionSettings) -> Floats:
    """The most evidence of one window.

    A weak shift needs twice the windows of a spike; a strong one, which windows back at the old
    level contradict at once, may be reported one window after a spike would have ended.
    """
    strong = np.clip((information - 0.5) / 3.0, 0.0, 1.0)
    # what a spike must leave to go: a walk without change climbs g nats with probability e^-g, and windows that
    # carry much information bring the evidence down at once
    gap = np.minimum(5.6 - 3.2 * strong, 0.55 * threshold)
    full = threshold / (settings.spike_windows + 0.95)
    return np.asarray(np.clip((threshold - gap) / settings.spike_windows, 0.1 * threshold, full))
