"""The test for rates: a burst is evidence for what it looks like, and two short bursts do not make a small change."""

import numpy as np
import pytest

from cxgauge.metrics.detection.count import CountState, advance_count

RATIOS = np.array([1.5, 2.0, 4.0, 10.0])


def evidence(counts, usual, dispersion=0.0):
    """Evidence for each ratio after windows of some counts, without a limit on what one may say."""
    state, limit = CountState.new(len(RATIOS), 1), np.full((len(RATIOS), 1), np.inf)
    for t, failed in enumerate(counts):
        expected = np.array([usual])
        advance_count(state, RATIOS, np.array([dispersion]), limit, float(t), np.array([failed]), expected, expected)
    return state.evidence[:, 0]


def test_a_window_says_no_more_for_a_ratio_than_the_ratio_foretells():
    few, many = evidence([30.0], 1.0), evidence([3_000.0], 1.0)
    assert many.tolist() == few.tolist()
    assert (np.diff(many) > 0).all()  # what is far beyond every ratio speaks for the largest
    assert many[0] < 2.0


def test_counts_within_what_a_ratio_foretells_are_taken_as_they_are():
    step = 3 * np.log(2.0) - 1.0
    assert evidence([3.0], 1.0)[1] == pytest.approx(step, rel=1e-6)
    assert evidence([3.0], 1.0, dispersion=1.0)[1] == pytest.approx(step / 2, rel=1e-6)


def test_two_short_bursts_in_a_day_are_no_lasting_change():
    quiet = [1.0, 0, 0, 0, 0, 0, 0, 0, 0, 0] * 30  # a failure in ten windows, as usual
    once = evidence([20.0] * 3 + quiet, 0.1)
    twice = evidence(([20.0] * 3 + quiet) * 2, 0.1)
    assert twice.max() < once.max() + 1.0
    assert twice.max() < 4.0
    assert evidence([20.0] * 3, 0.1)[3] > 10.0  # while it lasts it is plain
