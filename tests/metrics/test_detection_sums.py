"""What is worked out for a whole fleet at once is what plain sums over rows, cells and scopes give."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxgauge.metrics.baseline.location import pulled_in_sum, tail_count
from cxgauge.metrics.baseline.season import Season
from cxgauge.metrics.detection.channels import ChannelMap
from cxgauge.metrics.detection.clock import Clock
from cxgauge.metrics.detection.input import SKETCH_GRID, Fleet, Measurements
from cxgauge.metrics.detection.row_figures import row_figures
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.detection.sums import CellSums, FailureSums, ScopeSums
from cxgauge.metrics.observation import SeriesKey
from cxgauge.metrics.verdict import VERDICT_COUNT


def rows_of(rng, cell, cells_of_buckets=np.int64, columns=VERDICT_COUNT + 2):
    """Rows of cells with histograms of none to five buckets, some without a sum."""
    size = len(cell)
    lengths = rng.integers(0, 6, size)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    buckets = np.concatenate([np.sort(rng.choice(160, n, replace=False) - 90) for n in lengths] + [np.zeros(0)])
    counts = rng.integers(1, 9, offsets[-1]).astype(float)
    count = np.bincount(np.repeat(np.arange(size), lengths), counts, minlength=size) + (lengths == 0) * 3.0
    total = np.where(rng.random(size) < 0.3, np.nan, rng.normal(-0.5, 0.5, size) * count)
    everyone = rng.integers(1, 50, size).astype(float)
    failed = np.where(rng.random((size, columns)) < 0.2, rng.integers(1, 4, (size, columns)), 0).astype(float)
    tried = np.repeat(everyone[:, None], columns, axis=1)
    tried[:, VERDICT_COUNT:] = rng.integers(0, 9, (size, columns - VERDICT_COUNT))
    return Measurements(
        np.zeros(size), cell, count, total, total, offsets, buckets.astype(cells_of_buckets), counts, failed, tried
    )


@given(seed=st.integers(0, 10_000), size=st.integers(0, 30), kind=st.sampled_from([np.int16, np.int64]))
@settings(max_examples=60, deadline=None)
def test_figures_of_rows_are_those_of_every_bucket_looked_at(seed, size, kind):
    rng = np.random.default_rng(seed)
    rows = rows_of(rng, np.arange(size), kind)
    level, scale = rng.normal(-0.5, 0.6, size), rng.uniform(0.05, 0.9, size)
    edges = [level + 1.2 * scale, level + 2.6 * scale]
    found = row_figures(rows, SKETCH_GRID, level, scale, edges)
    np.testing.assert_allclose(found.pulled, pulled_in_sum(rows, SKETCH_GRID, level, scale), rtol=1e-12, atol=1e-12)
    for beyond, edge in zip(found.beyond, edges, strict=True):
        np.testing.assert_allclose(beyond, tail_count(rows, SKETCH_GRID, edge), rtol=1e-12, atol=1e-12)
    row = np.repeat(np.arange(size), np.diff(rows.offsets))
    np.testing.assert_array_equal(found.trials, np.bincount(row, rows.bucket_counts, minlength=size))


@pytest.mark.parametrize("cell", [[0, 1, 2, 3], [1, 3], [3, 1, 1, 0], []])
def test_rows_add_up_to_cells_in_whatever_order(cell):
    cell = np.array(cell, dtype=np.int64)
    values = np.arange(1.0, 1 + len(cell))
    np.testing.assert_array_equal(CellSums(cell, 4)(values), np.bincount(cell, values, minlength=4))


@pytest.mark.parametrize("members", [[[0], [1], [2]], [[2], [0]], [[0, 1, 2], [1], [0, 2]], [[0, 1], [], [2]]])
def test_cells_add_up_to_scopes(members):
    inside = [np.array(each, dtype=np.int64) for each in members]
    add, values = ScopeSums(inside, 3), np.array([1.0, 10.0, 100.0])
    np.testing.assert_array_equal(add(values), [values[each].sum() for each in inside])
    assert add.several.tolist() == [len(each) > 1 for each in members]
    assert add.same == (members == [[0], [1], [2]])


def bank():
    """Two flows; one of two steps, split by channel and region."""
    parts = [(("channel", a), ("region", b)) for a in ("app", "web") for b in ("n", "s")]
    keys = [SeriesKey("bill", step, each, ("total", "date")) for step in ("one", "two") for each in parts]
    return Fleet.build([*keys, SeriesKey("login", "only", (), ("face",))], SKETCH_GRID)


@pytest.mark.parametrize("alike", [True, False])
def test_failures_add_up_to_channels_whether_or_not_verdicts_have_the_same_trials(alike):
    fleet, rng = bank(), np.random.default_rng(3)
    channels = ChannelMap.of(fleet)
    rate = rng.uniform(0.001, 0.1, len(channels.pairs))
    cell = rng.permutation(len(fleet.cells))[:7]
    rows = rows_of(rng, np.concatenate([cell, cell[:2]]))
    if not alike:
        rows.tried[:, 4] += 1
    sums = FailureSums(channels, rate * 2, len(fleet.cells), len(fleet.channels))
    sums.take_rates(rate)
    failed, mean, tried = sums.of_window(rows, CellSums(rows.cell, len(fleet.cells)))
    pair = {tuple(each): number for number, each in enumerate(channels.pairs.tolist())}
    for number, channel in enumerate(fleet.channels):
        figures = np.zeros(3)
        for cell_number, column in channel.pairs:
            own = rows.cell == cell_number
            share = 1 / sum(other == cell_number for other, _ in channel.pairs)
            trials = rows.tried[own, column].sum()
            figures += rows.failed[own, column].sum(), rate[pair[cell_number, column]] * trials, share * trials
        np.testing.assert_allclose([failed[number], mean[number], tried[number]], figures, rtol=1e-9)


def test_a_fleet_without_failure_channels_has_none():
    fleet = bank()
    none = ChannelMap(*(np.zeros((0, 2), dtype=np.int64), *(np.zeros(0, dtype=np.int64) for _ in range(4))))
    sums = FailureSums(none, np.zeros(0), len(fleet.cells), 0)
    rows = rows_of(np.random.default_rng(0), np.arange(3))
    assert [len(each) for each in sums.of_window(rows, CellSums(rows.cell, len(fleet.cells)))] == [0, 0, 0]


@pytest.mark.parametrize("quiet_scope", [False, True])
def test_the_season_of_a_scope_an_hour_away_is_that_of_its_cells_by_traffic(quiet_scope):
    fleet, rng = bank(), np.random.default_rng(4)
    size = len(fleet.cells)
    traffic = rng.uniform(1, 9, size)
    if quiet_scope:
        traffic[:4] = 0.0
    job = np.zeros((2, 288, size))
    job[:, 30:40, 2] = 0.4
    season = Season(rng.normal(size=(2, 96, size)), rng.normal(size=(7, 24, size)), job)
    volume = Season.flat(np.full(len(fleet.scopes), 50.0), 2)
    profile: Any = SimpleNamespace(fleet=fleet, traffic=traffic, season=season, volume=volume)
    clock = Clock(profile, DetectionSettings())
    start = 345_600.0 + 30 * 300.0
    found = clock.now(start)

    def level(index, at):
        from cxgauge.metrics.detection.calendar import local_time

        cells = fleet.members[index]
        weight = traffic[cells] if traffic[cells].any() else np.ones(len(cells))
        return np.average(season.at(local_time(np.array([at]), DetectionSettings()))[0][cells], weights=weight)

    for index, inside in enumerate(fleet.members):
        moved = [level(index, start + by) - level(index, start) for by in (3600.0, -3600.0)]
        np.testing.assert_allclose(found.location[:, index], moved, atol=1e-5)
        assert (found.job[index] > 0) == bool((2 in inside) and not (quiet_scope and len(inside) > 4))
    some = np.array([3, 0])
    for whole, part in zip(clock.at(np.array([start])), clock.at(np.array([start]), some), strict=True):
        np.testing.assert_array_equal(whole[..., some], part)
