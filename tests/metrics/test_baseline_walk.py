"""Running the tests over history side by side finds what running them window by window finds."""

import numpy as np
import pytest

from cxgauge.metrics.baseline.runs import run_sums
from cxgauge.metrics.baseline.walk import ABSENT, count_peaks, shift_peaks
from cxgauge.metrics.detection.count import CountState, advance_count
from cxgauge.metrics.detection.medians import median, quantiles
from cxgauge.metrics.detection.shift import Noise, ShiftState, advance_shift

WINDOWS, SERIES, BLOCK = 8_640, 6, 60
UP = np.log([1.05, 1.1, 1.2, 1.5])
SHIFTS = np.repeat(np.concatenate([UP, -UP])[:, None], SERIES, axis=1)


def test_peaks_of_shifts_are_those_of_the_detector():
    rng = np.random.default_rng(3)
    common = np.zeros((WINDOWS, SERIES))
    for t in range(1, WINDOWS):
        common[t] = 0.7 * common[t - 1] + rng.normal(size=SERIES) * 0.014
    residual = common + rng.normal(size=(WINDOWS, SERIES)) * 0.05
    variance = np.where(rng.random((WINDOWS, SERIES)) < 0.02, np.inf, 0.0025)
    noise = Noise(*(np.full(SERIES, value) for value in (4e-4, 0.7, 1e-5, 0.99, 1e-5)))
    threshold, limit = np.full(SHIFTS.shape, 8.0), np.full(SHIFTS.shape, 2.0)
    state = ShiftState.new(noise, len(SHIFTS))
    expected = np.full((2, WINDOWS // BLOCK, SERIES), -np.inf)
    for t in range(WINDOWS):
        advance_shift(state, noise, SHIFTS, limit, float(t), residual[t], variance[t], np.ones(SERIES))
        over = state.evidence - threshold
        for side, part in enumerate((over[:4], over[4:])):
            expected[side, t // BLOCK] = np.maximum(expected[side, t // BLOCK], part.max(axis=0))
    found = shift_peaks(
        residual.astype(np.float32), np.minimum(variance, ABSENT), noise, SHIFTS, threshold, limit, BLOCK
    )
    difference = np.abs(found - expected)
    assert np.quantile(difference, 0.95) < 0.05
    assert difference.mean() < 0.02
    assert np.ptp(expected) > 3.0  # there is something to differ about


def test_peaks_of_counts_are_those_of_the_detector():
    rng = np.random.default_rng(4)
    hour = np.arange(WINDOWS) // 60 % 24
    shape = 1.0 + 0.5 * np.sin(np.arange(24) / 24 * 2 * np.pi)[:, None] * np.ones(SERIES)
    mean = np.full((WINDOWS, SERIES), 0.4)
    failed = rng.poisson(mean * shape[hour]).astype(float)
    ratios, dispersion = np.array([1.5, 2.0, 4.0, 10.0]), np.full(SERIES, 0.1)
    threshold, limit = np.full((4, SERIES), 8.0), np.full((4, SERIES), 2.0)
    state, expected = CountState.new(4, SERIES), np.full((WINDOWS // BLOCK, SERIES), -np.inf)
    for t in range(WINDOWS):
        arguments = failed[t], mean[t] * shape[hour[t]], np.ones(SERIES)
        advance_count(state, ratios, dispersion, limit, float(t), *arguments)
        expected[t // BLOCK] = np.maximum(expected[t // BLOCK], (state.evidence - threshold).max(axis=0))
    found = count_peaks(failed, mean, (shape, hour), ratios, dispersion, threshold, limit, BLOCK)
    difference = np.abs(found - expected)
    assert np.quantile(difference, 0.95) < 0.05
    assert np.ptp(expected) > 3.0


@pytest.mark.parametrize("first", [0, 3, 5])
@pytest.mark.parametrize("length", [1, 5, 30])
def test_sums_of_runs(first, length):
    values = np.random.default_rng(5).normal(size=(200, 3))
    starts = np.unique(np.concatenate([[0], np.arange(first, 200, length)]))
    assert run_sums(values, starts) == pytest.approx(np.add.reduceat(values, starts, axis=0))


@pytest.mark.parametrize("rows", [1, 2, 7, 28, 64, 65])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_medians_are_numpys(rows, missing):
    rng = np.random.default_rng(rows)
    values = rng.normal(size=(rows, 300))
    values[rng.random(values.shape) < missing] = np.nan
    values[0] = 1.0
    shares = np.array([0.06, 0.5, 0.94])
    assert quantiles(values, shares) == pytest.approx(np.nanquantile(values, shares, axis=0))
    assert median(values) == pytest.approx(np.nanmedian(values, axis=0))


def test_the_median_of_nothing_is_not_a_number():
    assert np.isnan(median(np.full((3, 300), np.nan))).all()
