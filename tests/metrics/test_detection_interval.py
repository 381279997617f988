"""Intervals of what was found because it was large: they hold the truth, and are as lopsided as few failures are."""

import numpy as np
import pytest

from cxgauge.metrics.detection.count import CountState, advance_count
from cxgauge.metrics.detection.interval import corrected_interval, plain_rate_interval, rate_interval

RATIOS = np.array([1.5, 2.0, 4.0, 10.0])
SERIES = 400


def found(usual, ratio, threshold=9.0, windows=4_000):
    """Intervals at the first alarm of series whose rate changes to ``ratio`` times the usual one after 300 windows."""
    rng = np.random.default_rng(int(1000 * usual * ratio))
    state, out = CountState.new(len(RATIOS), SERIES), {}
    expected, limit = np.full(SERIES, usual), np.full((len(RATIOS), SERIES), threshold / 4)
    for t in range(windows):
        failed = rng.poisson(expected * (ratio if t >= 300 else 1.0)).astype(float)
        advance_count(state, RATIOS, np.zeros(SERIES), limit, float(t), failed, expected, expected)
        for series in np.flatnonzero((state.evidence >= threshold).any(axis=0)):
            on = state.evidence[:, series] > 0
            if t >= 300 and int(series) not in out:
                sums = state.failed[on, series], state.expected[on, series], state.windows[on, series]
                out[int(series)] = rate_interval(*sums, 0.0)
            state.evidence[:, series] = 0.0
        if len(out) == SERIES:
            break
    return np.array(list(out.values()))


@pytest.mark.parametrize(
    ("usual", "ratio"), [(0.1, 3.0), (0.1, 10.0), (1.0, 2.0), (1.0, 10.0), (10.0, 1.5), (10.0, 3.0)]
)
def test_intervals_of_rates_hold_the_truth(usual, ratio):
    effect, low, high = found(usual, ratio).T
    assert len(effect) > 0.95 * SERIES
    assert np.mean((low <= np.log(ratio)) & (np.log(ratio) <= high)) >= 0.9
    assert abs(np.median(effect) - np.log(ratio)) < 0.2


def test_the_interval_of_few_failures_is_lopsided_and_of_many_is_not():
    def sides(failures, expected):
        effect, low, high = rate_interval(np.array([failures]), np.array([expected]), np.array([10.0]), 0.0)
        return effect - low, high - effect

    low, high = sides(6.0, 0.6)
    assert low > 1.05 * high
    low, high = sides(6_000.0, 600.0)
    assert low == pytest.approx(high, abs=0.02)
    assert low < 0.06


def test_what_varies_more_than_chance_is_known_less_well():
    counts = np.array([100.0]), np.array([20.0]), np.array([10.0])
    _, low, high = rate_interval(*counts, 0.0)
    _, lower, higher = rate_interval(*counts, 0.2)
    assert lower < low < np.log(5) < high < higher


def test_the_start_that_fits_best_counts():
    failed, expected = np.array([40.0, 38.0]), np.array([40.0, 8.0])  # the first excursion began long before the change
    effect, low, high = rate_interval(failed, expected, np.array([40.0, 8.0]), 0.0)
    assert low < np.log(38 / 8) < high
    assert effect > 1.0


def test_a_location_is_shrunk_to_what_selection_leaves():
    effect, low, high = corrected_interval(0.2, 0.05)
    assert effect == pytest.approx(0.2 * (1 - 2 / 16))
    assert low < effect < high
    assert corrected_interval(-0.2, 0.05)[0] == pytest.approx(-effect)


@pytest.mark.parametrize(("usual", "ratio"), [(0.5, 3.0), (4.0, 1.0), (30.0, 2.0), (400.0, 0.7)])
def test_intervals_of_what_was_not_selected_hold_the_truth_nineteen_times_in_twenty(usual, ratio):
    counts = np.random.default_rng(3).poisson(usual * ratio, 2_000)
    ends = np.array([plain_rate_interval(float(count), usual, 10.0, 0.0)[1:] for count in counts])
    assert 0.92 <= np.mean((ends[:, 0] <= np.log(ratio)) & (np.log(ratio) <= ends[:, 1])) <= 0.99


def test_no_failure_at_all_has_an_upper_end():
    _, low, high = plain_rate_interval(0.0, 5.0, 10.0, 0.0)
    assert low == -2.0
    assert -1.5 < high < 0.0
