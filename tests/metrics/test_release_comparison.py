"""Old against new at equal mix."""

import numpy as np
import pytest

from cxgauge.metrics.detection.input import Measurements
from cxgauge.metrics.release_comparison import ReleaseVerdict, compare_failures, compare_latency


def measured(seed, ratio, shares, *, minutes=480, rate=200, failure=0.01, common=None):
    rng = np.random.default_rng(seed)
    strata = len(shares)
    minute, cell = np.repeat(np.arange(minutes), strata), np.tile(np.arange(strata), minutes)
    n = rng.poisson(rate * np.tile(shares, minutes)).astype(float)
    level = np.log(ratio) + np.linspace(-0.7, 0.7, strata)[cell] + (0 if common is None else common[minute])
    total = n * level + rng.normal(size=len(n)) * np.sqrt(n) * 0.5
    fails = rng.binomial(n.astype(int), failure).astype(float)
    offsets, buckets = np.zeros(len(n) + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)
    outcomes = fails[:, None], n[:, None]
    return Measurements(60.0 * minute, cell, n, total, total, offsets, buckets, np.zeros(0), *outcomes)


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(1.0, ReleaseVerdict.SAME), (1.1, ReleaseVerdict.WORSE), (0.9, ReleaseVerdict.BETTER)],
)
def test_verdict_at_equal_mix(ratio, verdict):
    common = np.random.default_rng(9).normal(size=480) * 0.03
    old = measured(1, 1.0, (0.7, 0.2, 0.1), common=common)
    new = measured(2, ratio, (0.1, 0.2, 0.7), common=common)
    found = compare_latency(old, new)
    assert found.verdict is verdict
    assert found.low < np.log(ratio) < found.high


def test_intervals_cover_the_truth_at_their_rate():
    covered = []
    for seed in range(150):
        common = np.random.default_rng(seed).normal(size=180) * 0.05
        old = measured(2 * seed + 1000, 1.0, (0.5, 0.5), minutes=180, common=common)
        new = measured(2 * seed + 1001, 1.03, (0.3, 0.7), minutes=180, common=common)
        found = compare_latency(old, new)
        covered.append(found.low < np.log(1.03) < found.high)
    assert 0.9 <= np.mean(covered) <= 0.99


def test_too_little_data_is_said():
    found = compare_latency(measured(1, 1.0, (1.0,), minutes=60), measured(2, 1.5, (1.0,), minutes=60))
    assert found.verdict is ReleaseVerdict.UNDECIDED
    assert found.reason == "both releases ran together in 4 blocks; 8 are needed"


def test_failures_at_equal_mix():
    old = measured(3, 1.0, (0.8, 0.2), failure=0.01)
    assert compare_failures(old, measured(4, 1.0, (0.2, 0.8), failure=0.02), (0,)).verdict is ReleaseVerdict.WORSE
    assert compare_failures(old, measured(5, 1.0, (0.2, 0.8), failure=0.005), (0,)).verdict is ReleaseVerdict.BETTER
    nothing = measured(6, 1.0, (0.5, 0.5), failure=0.0)
    assert compare_failures(nothing, nothing, (0,)).reason == "0 failures are fewer than the 5 needed"
