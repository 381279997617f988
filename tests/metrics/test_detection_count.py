"""The count test, worked out in blocks of single precision, is the plain one."""

import numpy as np
import pytest

from cxgauge.metrics.detection.count import EXCESS_CLIP, CountState, advance_count, at_ratio


def plain(state, ratios, dispersion, limit, now, failed, expected, tried):
    """Page's CUSUM of Poisson ratios, one array after the other in double precision."""
    ratio = ratios[:, None]
    scale = 1 + dispersion * expected
    most = ratio * expected + EXCESS_CLIP * np.sqrt(ratio * expected * scale) + 1
    step = np.minimum((np.minimum(failed, most) * np.log(ratio) - expected * (ratio - 1)) / scale, limit)
    evidence = np.maximum(state["evidence"] + step, 0.0)
    running = evidence > 0
    state["start"] = np.where(running & (state["evidence"] <= 0), now, state["start"])
    for name, more in (("failed", failed), ("expected", expected), ("tried", tried), ("windows", 1.0)):
        state[name] = np.where(running, state[name] + more, 0.0)
    state["evidence"] = evidence


@pytest.mark.parametrize("ratios", [[1.5, 2.0, 4.0, 10.0], [1 / 1.5, 1 / 2, 1 / 4]])
@pytest.mark.parametrize("own_times", [False, True])
def test_many_windows_give_what_the_plain_test_gives(monkeypatch, ratios, own_times):
    monkeypatch.setattr("cxgauge.metrics.detection.count._AT_ONCE", 7)
    rng, tests, ratios = np.random.default_rng(8), 40, np.array(ratios)
    rate, dispersion = rng.uniform(1e-3, 0.3, tests), rng.uniform(0, 0.4, tests)
    limit = np.where(rng.random((len(ratios), tests)) < 0.1, np.inf, rng.uniform(0.5, 2, (len(ratios), tests)))
    state = CountState.new(len(ratios), tests)
    other = {name: np.zeros((len(ratios), tests)) for name in CountState.__slots__}
    ever = 0
    for window in range(400):
        tried = rng.integers(0, 20, tests).astype(float)
        expected = tried * rate
        failed = rng.poisson(expected * (3 if 200 < window < 260 else 1)).astype(float)
        now = 60.0 * window + (np.arange(tests) if own_times else 0.0)
        advance_count(state, ratios, dispersion, limit, now, failed, expected, tried)
        plain(other, ratios, dispersion, limit, now, failed, expected, tried)
        if window == 330:
            state.clear(np.array([3, 30]))
            for values in other.values():
                values[:, [3, 30]] = 0.0
        running = other["evidence"] > 1e-3  # what is just above nothing may be nothing in the other precision
        ever += running.sum()
        np.testing.assert_allclose(state.evidence, other["evidence"], atol=2e-3)
        for name in ("start", "failed", "tried", "windows", "expected"):
            same = np.isclose(getattr(state, name), other[name], rtol=1e-4, atol=1e-3)
            assert same[running].mean() > 0.995 if running.any() else True, name
    assert ever > 1_000


def test_rates_are_changed_where_they_have_moved_only():
    mean = np.array([1.0, 2.0, 3.0])
    assert at_ratio(mean, np.zeros(3)) is mean
    np.testing.assert_allclose(at_ratio(mean, np.array([0.0, np.log(2), 0.0])), [1.0, 4.0, 3.0])
    assert mean.tolist() == [1.0, 2.0, 3.0]
