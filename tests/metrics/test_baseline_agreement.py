"""What is learnt at once for many series agrees with what was learnt window by window in double precision.

The figures are those of the plain method: every minute's histogram, every window of the tests in turn.
"""

import numpy as np
import pytest

from cxgauge.metrics.baseline.baseline import learn
from cxgauge.metrics.baseline.digest_learning import DigestedCells, learn_digests
from cxgauge.metrics.detection.input import SKETCH_GRID, BucketGrid, Fleet, Measurements
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.digest.day import DayDigests
from cxgauge.metrics.digest.making import put_hours
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.rollup import roll_up
from cxgauge.metrics.verdict import Verdict

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


# -- learnt from digests of days instead of windows ------------------------------------------------------------------


def history_of_sketches():
    """The same kind of history on the grid of the product's sketches, with failures: a rollup of one series."""
    rng = np.random.default_rng(2)
    start = 345_600 + 60 * np.arange(MINUTES)
    day = (start % 86_400) / 86_400
    count = rng.poisson(RATE * (1 + 0.6 * np.sin(2 * np.pi * (day - 0.3))))
    common = np.convolve(rng.normal(size=MINUTES) * 0.014, 0.7 ** np.arange(40))[:MINUTES]
    row = np.repeat(np.arange(MINUTES), count)
    x = (0.15 * np.sin(2 * np.pi * (day - 0.4)) + common)[row] + rng.normal(size=len(row)) * 0.5
    x = np.where(rng.random(len(x)) < 0.002, np.log(30.0), x)
    records = np.zeros(len(row), dtype=RECORD)
    records["observed_at_us"] = start[row] * 1_000_000
    records["duration_seconds"] = np.exp(x)
    records["verdict"] = np.where(rng.random(len(row)) < 0.004, Verdict.WRONG, Verdict.GOOD)
    return roll_up(ObservationBatch((), records), 60)


@pytest.fixture(scope="module")
def both():
    """Learnt from windows, and from digests of the same windows."""
    rollup = history_of_sketches()
    settings = DetectionSettings(false_alarms_per_series_month=1.0)
    fleet = Fleet.build([SeriesKey("flow", "step")], SKETCH_GRID)
    days, series = [DayDigests.empty(1, 60)], np.arange(1)
    first = 345_600
    for start in range(first, first + 60 * MINUTES, 86_400):
        part = rollup.select((rollup.window_start >= start) & (rollup.window_start < start + 86_400))
        days.append(put_hours(DayDigests.empty(1, 60), days[-1], part, series, start, range(24)))
    rows = DayDigests.from_bytes([next(each.to_bytes()) for each in days[1:]])
    span = (float(first), float(first + 60 * MINUTES))
    windows = learn(Measurements.from_rollup(rollup, {0: 0}), fleet, settings, families=1)
    return windows, learn_digests(DigestedCells.of(rows, first, 1), fleet, settings, span, families=1)


def test_digests_know_the_distribution_and_the_seasons(both):
    windows, digests = both
    for name, relative in (("scale", 0.01), ("slope", 0.01), ("spread", 0.02), ("tail_rate", 0.2), ("pair_rate", 1e-6)):
        np.testing.assert_allclose(getattr(digests, name), getattr(windows, name), rtol=relative, err_msg=name)
    edges = [each.tail_edge * each.scale[:, None] for each in both]
    np.testing.assert_allclose(edges[1], edges[0], rtol=0.06)
    np.testing.assert_allclose(digests.season.level, windows.season.level, atol=0.003)
    np.testing.assert_allclose(digests.volume.level, windows.volume.level, rtol=1e-4)


def test_digests_know_the_noise_and_the_thresholds(both):
    windows, digests = both
    for name in ("fast_variance", "slow_variance", "fast_correlation"):
        one, other = (getattr(each.shift.noise, name)[:2] for each in both)
        np.testing.assert_allclose(other, one, rtol=0.03, err_msg=name)
    np.testing.assert_allclose(digests.shift.threshold, windows.shift.threshold, atol=0.2)
    tested = np.isfinite(windows.count.threshold)
    assert (np.isfinite(digests.count.threshold) == tested).all()
    difference = (digests.count.threshold - windows.count.threshold)[tested]
    assert np.median(np.abs(difference)) < 0.5
    assert np.abs(difference).max() < 2.0
