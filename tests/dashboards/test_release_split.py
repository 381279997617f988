from __future__ import annotations

import numpy as np
import pytest

from cxgauge.dashboards.figure_types import ChangeStatus, Comparison, Conclusion, FlowFigures, Period
from cxgauge.dashboards.figures import flow_figures
from cxgauge.dashboards.release_split import split_releases
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.rollup import Rollup, roll_up
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.verdict import Verdict

FLOW = """
name: bill
title: {en: Bill, zh: 账单}
owner: cards
dimensions: [{name: app_version}, {name: channel, values: [app, web]}]
steps: [{name: total, title: {en: Total, zh: 总额}, timeliness: {target: 2s}}]
"""
CHANNELS, VERSIONS = ("app", "web"), ("8.1.0", "8.2.0")
KEYS = {
    2 * v + c: SeriesKey("bill", "total", (("app_version", version), ("channel", channel)))
    for v, version in enumerate(VERSIONS)
    for c, channel in enumerate(CHANNELS)
}
DAY = Period(86_400.0, 172_800.0)
RELEASES = Comparison("release:8.1.0..8.2.0", DAY)


@pytest.fixture(scope="module")
def flow() -> FlowSpec:
    return parse_flow(FLOW)


def _rollup(seed: int, web_share: tuple[float, float], factor: float = 1.0, size: int = 20_000) -> Rollup:
    """Web is twice as slow as the app; the versions have different shares of web customers."""
    random = np.random.default_rng(seed)
    version = random.integers(0, 2, size)
    web = random.random(size) < np.where(version == 1, web_share[1], web_share[0])
    minute = random.normal(0, 0.05, 1440)  # noise that both releases share
    at = np.sort(random.random(size)) * 86_400
    durations = np.exp(random.normal(-0.5, 0.4, size) + minute[(at // 60).astype(int)]) * np.where(web, 2, 1)
    durations *= np.where(version == 1, factor, 1)
    records = np.zeros(size, dtype=RECORD)
    records["observed_at_us"] = ((DAY.start + at) * 1e6).astype(np.int64)
    records["duration_seconds"] = durations
    records["series"] = 2 * version + web
    records["verdict"] = np.where(durations > 2, Verdict.SLOW, Verdict.GOOD)
    return roll_up(ObservationBatch(tuple(KEYS.values()), records), 60)


def _compare(flow: FlowSpec, rollup: Rollup) -> FlowFigures:
    return flow_figures(flow, rollup, KEYS, DAY, RELEASES, now=DAY.end)


def test_other_customers_are_not_called_a_slower_release(flow: FlowSpec) -> None:
    for seed in range(5):
        rollup = _rollup(seed, (0.2, 0.8))
        step = _compare(flow, rollup).steps[0]
        raw = [rollup.select(np.isin(rollup.series, [2 * v, 2 * v + 1])).sum_log.sum() for v in (0, 1)]
        assert raw[1] > raw[0] + 1000  # unweighted, the newer release looks far slower
        for change in (step.p50_change, step.p95_change, step.good_rate_change):
            assert change.status in {ChangeStatus.SAME, ChangeStatus.NO_EVIDENCE, ChangeStatus.UNCLEAR}


def test_a_slower_release_is_found_at_equal_mix_with_its_size(flow: FlowSpec) -> None:
    step = _compare(flow, _rollup(1, (0.2, 0.8), factor=1.1)).steps[0]
    assert step.p50_change.status is ChangeStatus.WORSE
    assert step.p50_change.low is not None
    assert step.p50_change.high is not None
    assert step.p50_change.low < 0.1 < step.p50_change.high
    assert step.p50_change.high - step.p50_change.low < 0.12


def test_what_happened_while_a_release_was_rolled_out_is_not_put_down_to_it(flow: FlowSpec) -> None:
    """From noon on everybody is slower by a third; by then most use the newer release."""
    for seed in range(3):
        random = np.random.default_rng(seed)
        size = 40_000
        at = np.sort(random.random(size)) * 86_400
        version = (random.random(size) < at / 86_400).astype(np.int64)
        durations = np.exp(random.normal(-0.5, 0.4, size)) * np.where(at > 43_200, 1.33, 1)
        records = np.zeros(size, dtype=RECORD)
        records["observed_at_us"] = ((DAY.start + at) * 1e6).astype(np.int64)
        records["duration_seconds"] = durations
        records["series"] = 2 * version
        records["verdict"] = np.where(durations > 2, Verdict.SLOW, Verdict.GOOD)
        step = _compare(flow, roll_up(ObservationBatch(tuple(KEYS.values()), records), 60)).steps[0]
        raw = [np.median(durations[version == v]) for v in (0, 1)]
        assert raw[1] > 1.1 * raw[0]
        assert step.latency.conclusion in (Conclusion.SAME, Conclusion.NOT_ENOUGH_DATA)
        assert step.p50_change.change == pytest.approx(0, abs=0.03)


def test_figures_are_those_of_the_newer_release(flow: FlowSpec) -> None:
    rollup = _rollup(2, (0.5, 0.5))
    newer = rollup.select(rollup.series >= 2)
    figures = _compare(flow, rollup)
    assert figures.observations == int(newer.observations.sum())
    assert figures.steps[0].volume_before == int(rollup.observations.sum()) - figures.observations
    assert figures.steps[0].p50_change.after == figures.steps[0].p50.value


def test_weights_give_the_older_release_the_newer_one_s_mix() -> None:
    split = split_releases(_rollup(3, (0.2, 0.8)), KEYS, RELEASES.kind)
    weighted = [
        float((split.older.observations * split.weights)[split.older.series == series].sum()) for series in (0, 1)
    ]
    newer = [int(split.newer.observations[split.newer.series == series].sum()) for series in (2, 3)]
    assert weighted == pytest.approx(newer)
    assert split.left_out == 0


def test_cells_of_one_release_alone_are_left_out_of_both() -> None:
    rollup = _rollup(4, (0.0, 0.5))
    split = split_releases(rollup, KEYS, RELEASES.kind)
    assert set(split.newer.series.tolist()) == {2}
    assert split.left_out == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("release:8.1.0", "--compare 'release:8.1.0' names no two releases; write e.g. release:8.1.0..8.2.0"),
        ("release:8.1.0..9.0.0", "release '9.0.0' was not seen in this period; seen were 8.1.0, 8.2.0"),
    ],
)
def test_unknown_releases_are_refused(kind: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        split_releases(_rollup(5, (0.5, 0.5), size=100), KEYS, kind)
    assert str(caught.value) == message


def test_flow_without_versions_is_refused() -> None:
    keys = {number: SeriesKey("bill", "total", (("channel", "app"),)) for number in KEYS}
    with pytest.raises(ValueError) as caught:
        split_releases(_rollup(6, (0.5, 0.5), size=100), keys, RELEASES.kind)
    assert str(caught.value) == (
        "releases are told by a dimension app_version or version or release, and the flow has none"
    )
