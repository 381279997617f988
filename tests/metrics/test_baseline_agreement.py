"""What is learnt at once for many series agrees with what was learnt window by window in double precision.

The figures are those of the plain method: every minute's histogram, every window of the tests in turn.
"""

import numpy as np
import pytest

from cxgauge.metrics.baseline.baseline import learn
from cxgauge.metrics.detection.input import BucketGrid, Fleet, Measurements
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.observation import SeriesKey

GRID = BucketGrid(-4.0, 0.125)
MINUTES, RATE = 21 * 1440, 50


def history():
    """Seasonal, heavy-tailed latency with common noise; one cell."""
    rng = np.random.default_rng(1)
    start = 345_600.0 + 60.0 * np.arange(MINUTES)
    day = (start % 86_400) / 86_400
    count = rng.poisson(RATE * (1 + 0.6 * np.sin(2 * np.pi * (day - 0.3))))
    common = np.zeros(MINUTES)
    for t in range(1, MINUTES):
        common[t] = 0.7 * common[t - 1] + rng.normal() * 0.014
    row = np.repeat(np.arange(MINUTES), count)
    x = (0.15 * np.sin(2 * np.pi * (day - 0.4)) + common)[row] + rng.normal(size=len(row)) * 0.5
    x = np.where(rng.random(len(x)) < 0.002, np.log(30.0), x)
    key, amount = np.unique(row * 128 + np.clip(np.floor((x + 4) / 0.125), 0, 127).astype(int), return_counts=True)
    offsets = np.concatenate(([0], np.cumsum(np.bincount(key // 128, minlength=MINUTES))))
    total, square = (np.bincount(row, values, minlength=MINUTES) for values in (x, x * x))
    nothing = np.zeros((MINUTES, 0))
    cell = np.zeros(MINUTES, dtype=np.int64)
    return Measurements(start, cell, count * 1.0, total, square, offsets, key % 128, amount * 1.0, nothing, nothing)


@pytest.fixture(scope="module")
def profile():
    fleet = Fleet.build([SeriesKey("flow", "step")], GRID)
    return learn(history(), fleet, DetectionSettings(false_alarms_per_series_month=1.0))


def test_the_distribution_of_a_cell(profile):
    assert profile.scale[0] == pytest.approx(0.5031, rel=0.01)
    assert profile.slope[0] == pytest.approx(0.9262, rel=0.01)
    assert profile.spread[0] == pytest.approx(0.2596, rel=0.02)
    assert profile.tail_rate[0] == pytest.approx([0.04959, 0.00498], rel=0.05)


def test_the_seasons(profile):
    level = [-0.0857, -0.1470, -0.1182, -0.0154, 0.0933, 0.1508, 0.1186, 0.0272]
    assert profile.season.level[0, ::12, 0] == pytest.approx(level, abs=0.001)
    volume = [21.420, 23.549, 41.925, 64.559, 78.457, 76.415, 58.327, 35.459]
    assert profile.volume.level[0, ::12, 0] == pytest.approx(volume, rel=0.001)


def test_the_noise(profile):
    noise = profile.shift.noise
    assert noise.fast_variance[0] == pytest.approx(3.47e-4, rel=0.03)
    assert noise.fast_correlation[0] == pytest.approx(0.725, abs=0.026)
    assert noise.slow_variance[0] == pytest.approx(4e-6, rel=0.03)


def test_the_thresholds(profile):
    up, down = [9.00, 9.71, 9.86, 8.69], [8.86, 9.57, 9.72, 8.55]
    assert profile.shift.threshold[:, 0] == pytest.approx(up + down, abs=0.2)
    volume = [9.73, 8.78, 7.73, 6.86]
    assert profile.shift.threshold[:, 1] == pytest.approx(volume * 2, abs=0.2)
    tails = [[10.80, 11.30, 10.85, 8.25], [10.01, 11.04, 12.14, 12.20]]
    assert pytest.approx(np.array(tails), abs=0.2) == profile.count.threshold[:, :2].T
