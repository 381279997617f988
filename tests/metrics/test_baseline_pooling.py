"""Young series lean on the fleet: fewer false alarms than by themselves, and shifts are still found."""

from dataclasses import replace

import numpy as np
import pytest

from cxgauge.metrics.baseline.baseline import learn
from cxgauge.metrics.baseline.parts import join
from cxgauge.metrics.baseline.pooling import pool_young
from cxgauge.metrics.detection.input import SKETCH_GRID, Fleet, Measurements
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.detection.shift import ShiftState, advance_shift
from cxgauge.metrics.observation import SeriesKey

WINDOW = 600.0
DAY = 144
MONDAY = 345_600.0
SETTINGS = DetectionSettings(window_seconds=WINDOW, false_alarms_per_series_month=1.0)
OLD, YOUNG, DAYS = 24, 24, 28
SHIFT = np.log(1.3)


def locations(rng, windows, series):
    """Seasonal locations with common noise, in ln seconds."""
    common = np.zeros((windows, series))
    for t in range(1, windows):
        common[t] = 0.7 * common[t - 1] + rng.normal(size=series) * 0.015
    return 0.1 * np.sin(2 * np.pi * (np.arange(windows) % DAY) / DAY)[:, None] + common


def measured(x, first, rng, each=100.0):
    """Rows of sums of ``each`` observations of deviation .3; ``first`` window of each series."""
    rows = [np.arange(begin, len(x)) for begin in first]
    window, cell = np.concatenate(rows), np.repeat(np.arange(len(first)), [len(part) for part in rows])
    mean = x[window, cell] + rng.normal(size=len(window)) * 0.3 / np.sqrt(each)
    nothing, count = np.zeros((len(window), 0)), np.full(len(window), each)
    square = count * mean**2 + (count - 1) * 0.09
    empty = np.zeros(0, dtype=np.int64)
    offsets = np.zeros(len(window) + 1, dtype=np.int64)
    start = MONDAY + WINDOW * window
    return Measurements(start, cell, count, count * mean, square, offsets, empty, empty * 1.0, nothing, nothing)


@pytest.fixture(scope="module")
def fleet():
    keys = [SeriesKey(f"flow{index:02d}", "step") for index in range(OLD + YOUNG)]
    return Fleet.build(keys, SKETCH_GRID)


def learnt(fleet, young_windows):
    """The fleet of which half is young, and the young ones by themselves."""
    rng = np.random.default_rng(1)
    windows = DAYS * DAY
    first = [0] * OLD + [windows - young_windows] * YOUNG
    rows = measured(locations(rng, windows, OLD + YOUNG), first, rng)
    young = rows.take(np.flatnonzero(rows.cell >= OLD))
    alone = Fleet.build(fleet.cells[OLD:], SKETCH_GRID)
    return learn(rows, fleet, SETTINGS), learn(replace(young, cell=young.cell - OLD), alone, SETTINGS)


@pytest.fixture(scope="module")
def profiles(fleet):
    """Young ones of a day and a half."""
    return learnt(fleet, 3 * DAY // 2)


def alarms(profile, series, seed, shift=0.0):
    """First alarm up of each series in a month, in windows, after a shift from the beginning on; inf without any."""
    rng = np.random.default_rng(seed)
    x = locations(rng, 30 * DAY, len(series)) + rng.normal(size=(30 * DAY, len(series))) * 0.03 + shift
    day = np.arange(30 * DAY) % DAY * WINDOW
    level = profile.season.take(series).smooth(0, day + WINDOW / 2)
    test, places = profile.shift, np.asarray(series)
    noise, state = test.noise.take(places), ShiftState.new(test.noise.take(places), len(test.shifts))
    found, number = np.full(len(series), np.inf), 0
    for t in range(30 * DAY):
        arguments = x[t] - level[t], np.full(len(series), 0.0009), np.ones(len(series))
        advance_shift(state, noise, test.shifts[:, places], test.limit[:, places], float(t), *arguments)
        up = (state.evidence >= test.threshold[:, places])[:4].any(axis=0)
        number += int(up.sum())
        found[up & np.isinf(found)] = t
        state.evidence[:, up] = 0.0
        if shift and np.isfinite(found).all():
            break
    return found, number


@pytest.mark.parametrize(("young_windows", "by_themselves"), [(DAY // 4, True), (3 * DAY // 2, False), (3 * DAY, True)])
def test_false_alarms_of_young_series_keep_to_the_budget(fleet, young_windows, by_themselves):
    pooled, alone = learnt(fleet, young_windows)
    young = list(range(OLD, OLD + YOUNG))
    assert alarms(pooled, young, 7)[1] <= YOUNG
    if by_themselves:  # the fleet's help is needed for it
        assert alarms(alone, list(range(YOUNG)), 7)[1] > YOUNG


def test_a_shift_of_a_young_series_is_found_earlier_than_without_the_fleet(profiles):
    pooled, alone = profiles
    delays, _ = alarms(pooled, list(range(OLD, OLD + YOUNG)), 8, SHIFT)
    unaided, _ = alarms(alone, list(range(YOUNG)), 8, SHIFT)
    assert np.median(delays) < np.median(unaided)
    assert np.median(delays) <= 3 * DAY / 24  # within three hours


def test_grown_series_are_left_as_they_are(profiles):
    pooled, _ = profiles
    again = pool_young(pooled)
    grown = np.concatenate([np.arange(OLD) + part * 2 * OLD for part in range(3)])
    assert np.array_equal(again.shift.threshold[:, grown], pooled.shift.threshold[:, grown])


def test_a_fleet_without_grown_series_lends_nothing(profiles):
    _, alone = profiles
    assert pool_young(alone) is alone


def test_parts_learnt_apart_are_what_is_learnt_together(fleet):
    rng = np.random.default_rng(2)
    rows = measured(locations(rng, 12 * DAY, 6), [0] * 6, rng)
    keys = list(fleet.cells[:6])
    whole = learn(rows, Fleet.build(keys, SKETCH_GRID), SETTINGS)
    halves = []
    for begin in (0, 3):
        own = rows.take(np.flatnonzero((rows.cell >= begin) & (rows.cell < begin + 3)))
        part = Fleet.build(keys[begin : begin + 3], SKETCH_GRID)
        halves.append(learn(replace(own, cell=own.cell - begin), part, SETTINGS))
    joined = join(halves)
    assert joined.fleet.scopes == whole.fleet.scopes
    assert joined.fleet.channels == whole.fleet.channels
    assert joined.reasons == whole.reasons
    assert joined.season.level == pytest.approx(whole.season.level, abs=1e-5)
    assert joined.shift.threshold == pytest.approx(whole.shift.threshold, rel=1e-3)
    assert joined.count.expected == pytest.approx(whole.count.expected, rel=1e-3)


def test_nothing_cannot_be_joined():
    with pytest.raises(ValueError) as error:
        join([])
    assert str(error.value) == "there is no profile to join; learn at least one"


def test_hours_never_seen_lie_between_their_neighbours(fleet):
    rng = np.random.default_rng(3)
    x = locations(rng, 14 * DAY, 1)
    rows = measured(x, [0], rng)
    hour = (rows.window_start - MONDAY) // 3600 % 24
    own = rows.take(np.flatnonzero((hour < 10) | (hour >= 14)))  # never between ten and two
    level = learn(own, Fleet.build(list(fleet.cells[:1]), SKETCH_GRID), SETTINGS).season.level[0, :, 0]
    before, after = level[39], level[56]
    assert level[40:56] == pytest.approx(before + (after - before) * np.arange(1, 17) / 17, abs=1e-5)


def test_hours_never_seen_take_the_shape_of_the_step(fleet):
    rng = np.random.default_rng(4)
    x = locations(rng, 14 * DAY, 4)
    x[:, 3] += 0.7  # the one in question is slower
    rows = measured(x, [0] * 4, rng)
    hour = (rows.window_start - MONDAY) // 3600 % 24
    rows = rows.take(np.flatnonzero((rows.cell < 3) | (hour < 10) | (hour >= 14)))
    keys = [SeriesKey("flow", "step", (("channel", str(index)),)) for index in range(4)]
    level = learn(rows, Fleet.build(keys, SKETCH_GRID), SETTINGS).season.level[0]
    assert level[42:54, 3] == pytest.approx(level[42:54, :3].mean(axis=1) + 0.7, abs=0.03)
