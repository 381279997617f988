"""The promise: false alarms on fresh data stay within the budget the thresholds were learnt for, and use some of it."""

import numpy as np
import pytest

from cxgauge.metrics.baseline.count import calibrate_counts
from cxgauge.metrics.baseline.shift import calibrate_shift
from cxgauge.metrics.detection.count import CountState, advance_count
from cxgauge.metrics.detection.settings import MONTH_SECONDS, DetectionSettings
from cxgauge.metrics.detection.shift import ShiftState, advance_shift

WINDOW = 600.0
SETTINGS = DetectionSettings(window_seconds=WINDOW)
MONTH = int(MONTH_SECONDS / WINDOW)
SERIES = 120
SHIFTS = np.log(np.array([1.05, 1.1, 1.2, 1.5]))


def residuals(rng, kind, windows, sampling):
    """Residuals ``[T, S]`` of three kinds of noise beyond sampling noise of a seasonal variance."""
    shocks = {
        "white": rng.normal(size=(windows, SERIES)),
        "correlated": rng.normal(size=(windows, SERIES)),
        "heavy": rng.standard_t(5, size=(windows, SERIES)) / np.sqrt(5 / 3),
    }[kind]
    correlation = {"white": 0.0, "correlated": 0.8, "heavy": 0.6}[kind]
    common = np.zeros((windows, SERIES))
    for t in range(1, windows):
        common[t] = correlation * common[t - 1] + np.sqrt(1 - correlation**2) * shocks[t]
    return 0.02 * common + rng.normal(size=(windows, SERIES)) * np.sqrt(sampling)


@pytest.mark.parametrize("kind", ["white", "correlated", "heavy"])
def test_shifts_keep_to_their_budget(kind):
    rng = np.random.default_rng(7)
    day = np.arange(MONTH) * WINDOW / 86_400 % 1
    sampling = np.repeat((0.0025 / (1.05 + np.sin(2 * np.pi * day)))[:, None], SERIES, axis=1)
    shifts = np.repeat(np.concatenate([SHIFTS, -SHIFTS])[:, None], SERIES, axis=1)
    rate = np.full(SERIES, 1.0 / MONTH)
    test = calibrate_shift(residuals(rng, kind, MONTH, sampling), sampling, shifts, (rate, rate), SETTINGS)
    fresh = residuals(rng, kind, MONTH, sampling)
    state, alarms = ShiftState.new(test.noise, len(shifts)), 0
    for t in range(MONTH):
        advance_shift(state, test.noise, shifts, test.limit, float(t), fresh[t], sampling[t], np.ones(SERIES))
        crossed = ((state.evidence >= test.threshold)[: len(SHIFTS)]).any(axis=0)
        alarms += int(crossed.sum())
        state.evidence[:, crossed] = 0.0
    assert 0.1 * SERIES <= alarms <= SERIES


@pytest.mark.parametrize(
    ("spread", "bursts", "answers", "least"),
    [(0.0, 0, 200.0, 0.1), (0.4, 0, 200.0, 0.1), (0.4, 0, 1000.0, 0.1), (0.0, 30, 200.0, 0.1), (0.0, 30, 2000.0, 0.1)],
)
def test_failures_keep_to_their_budget(spread, bursts, answers, least):
    rng = np.random.default_rng(8)
    tried = np.full((MONTH, SERIES), answers)

    def failures():
        rate = tried * 0.004 * np.exp(rng.normal(size=tried.shape) * spread - spread**2 / 2)
        for series in range(SERIES):  # three times the usual rate for two to nine windows, now and then
            for begin in rng.integers(0, MONTH, bursts):
                rate[begin : begin + int(rng.integers(2, 10)), series] *= 3
        return rng.poisson(rate).astype(float)

    rate, hour = np.full(SERIES, 1.0 / MONTH), (np.arange(MONTH) * WINDOW // 3600 % 24).astype(int)
    test = calibrate_counts(failures(), tried * 0.004, tried, hour, rate, SETTINGS)
    fresh = failures()
    state, alarms = CountState.new(len(test.ratios), SERIES), 0
    for t in range(MONTH):
        expected = tried[t] * 0.004 * test.shape[hour[t]]
        advance_count(state, test.ratios, test.dispersion, test.limit, float(t), fresh[t], expected, tried[t])
        crossed = (state.evidence >= test.threshold).any(axis=0)
        alarms += int(crossed.sum())
        state.evidence[:, crossed] = 0.0
    # bursts may take of the reserve that is left when the budget is divided
    assert least * SERIES <= alarms <= SERIES * (1.3 if bursts else 1.0)
