"""Rival explanations of a shift: they hold an alarm back for as long as they fit, and no longer."""

import numpy as np
import pytest

from cxgauge.metrics.detection.clock import Alternatives
from cxgauge.metrics.detection.rivals import Rivals
from cxgauge.metrics.detection.shift import Noise, ShiftState, advance_shift

HEIGHT, DURATION = 0.2, 30.0
SHIFTS = np.log(np.array([1.1, 1.2, 1.5]))
SHIFTS = np.repeat(np.concatenate([SHIFTS, -SHIFTS])[:, None], 3, axis=1)
LIMIT = np.full(SHIFTS.shape, 3.0)
THRESHOLD = np.full(SHIFTS.shape, 8.0)
UP = np.arange(6) < 3


def noise():
    each = np.full(3, 0.0004), np.full(3, 0.7), np.full(3, 1e-5), np.full(3, 0.998), np.zeros(3)
    return Noise(*each)


def alternatives(**changes):
    values = {name: getattr(Alternatives.none(1), name).copy() for name in Alternatives.__slots__}
    return Alternatives(**(values | {name: np.asarray(value, dtype=float) for name, value in changes.items()}))


class Follow:
    """One scope at a sampling deviation of ``sd``; says window by window whether a shift beats its rivals."""

    def __init__(self, seed, sd=0.05):
        self.rng, self.sd, self.noise = np.random.default_rng(seed), sd, noise()
        self.state, self.rivals = ShiftState.new(self.noise, 6), Rivals(self.noise, 1, 6, 60.0)
        self.at = 0

    def window(self, location, volume=0.0, other=None):
        residual = np.array([location, volume, 0.0]) + self.rng.normal(size=3) * self.sd
        variance, none = np.full(3, self.sd**2), np.zeros(1)
        self.rivals.before(self.state, other or alternatives(), (none, none), none > 0, residual, variance)
        advance_shift(self.state, self.noise, SHIFTS, LIMIT, float(self.at), residual, variance, np.ones(3))
        self.rivals.after(self.state, THRESHOLD)
        self.at += 60
        reaching = (self.state.evidence[:, 0] >= THRESHOLD[:, 0]) & UP
        return bool(reaching.any()) and self.rivals.beaten(0, reaching)


JOB = alternatives(again=[HEIGHT], duration=[DURATION])


@pytest.mark.parametrize("seed", range(5))
def test_a_job_that_runs_a_second_time_is_no_shift(seed):
    follow = Follow(seed)
    said = [follow.window(HEIGHT if 10 <= t < 10 + DURATION else 0.0, other=JOB) for t in range(60)]
    assert not any(said)


@pytest.mark.parametrize("seed", range(5))
def test_a_shift_that_lasts_longer_than_the_job_is_one(seed):
    follow = Follow(seed)
    said = [follow.window(HEIGHT if t >= 10 else 0.0, other=JOB) for t in range(10 + 60)]
    assert DURATION <= np.flatnonzero(said)[0] - 10 <= DURATION + 15


@pytest.mark.parametrize(("effect", "windows"), [(0.1, 20), (0.4, 8)])
def test_a_shift_of_another_size_than_the_job_is_one_before_the_job_would_end(effect, windows):
    delays = []
    for seed in range(5):
        follow = Follow(seed)
        said = [follow.window(effect if t >= 10 else 0.0, other=JOB) for t in range(60)]
        delays.append(np.flatnonzero(said)[0] - 10)
    assert np.median(delays) <= windows


@pytest.mark.parametrize("seed", range(5))
def test_the_season_of_another_hour_is_no_shift_unless_traffic_stays(seed):
    path = alternatives(location=[[0.1], [-0.1]], least=[[0.1], [-0.1]], most=[[0.1], [-0.1]], volume=[[0.5], [-0.5]])
    moved, stays = Follow(seed), Follow(seed)
    assert not any(moved.window(0.1 * (t >= 10), 0.5 * (t >= 10), path) for t in range(120))
    assert any(stays.window(0.1 * (t >= 10), 0.0, path) for t in range(60))


def test_without_rivals_a_shift_has_nothing_to_beat():
    follow = Follow(1)
    said = [follow.window(0.2 if t >= 10 else 0.0) for t in range(30)]
    assert 0 <= np.flatnonzero(said)[0] - 10 <= 6
    assert follow.rivals.strength(0) == 0.0
