"""Verdicts keep their promise on periods whose truth is known; bench/verdicts.py counts over many more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from math import log

import numpy as np
import pytest

from cxgauge.dashboards.conclusions import correctness_of, latency_of
from cxgauge.dashboards.figure_types import (
    ChangeFigure,
    ChangeStatus,
    CheckFigures,
    Comparison,
    Conclusion,
    Estimate,
    FlowFigures,
    Period,
    StepConclusion,
)
from cxgauge.dashboards.figures import flow_figures
from cxgauge.dashboards.wording import Wording
from cxgauge.metrics.observation import SeriesKey
from cxgauge.metrics.rollup import Rollup, roll_up_columns
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.verdict import Verdict

FLOW = """
name: bill
title: {en: Bill, zh: 账单}
owner: cards
steps: [{name: total, title: {en: Total, zh: 总额}, timeliness: {target: 2s, timeout: 60s}}]
"""
KEYS = {0: SeriesKey("bill", "total")}
WEEK = 7 * 86_400
LATER, EARLIER = Period(100.0 * WEEK, 101.0 * WEEK), Period(99.0 * WEEK, 100.0 * WEEK)
SEEDS = range(15)


@pytest.fixture(scope="module")
def flow() -> FlowSpec:
    return parse_flow(FLOW)


def _week(
    random: np.random.Generator, period: Period, a_day: int, *, slower: float = 1, failing: float = 1, since: float = 0
) -> Rollup:
    """A week with seasons, minutes and days that all customers share; a change from ``since`` (0–1) on."""
    minutes = WEEK // 60
    season = 1 + 0.8 * np.sin((np.arange(minutes) / 1440 - 0.3) * 2 * np.pi)
    minute = np.repeat(np.arange(minutes), random.poisson(season * a_day / 1440))
    shocks, noise = random.normal(0, 0.03, minutes), np.zeros(minutes)
    for at in range(1, minutes):
        noise[at] = 0.8 * noise[at - 1] + shocks[at]
    noise += np.repeat(random.normal(0, 0.01, 7), 1440)
    touched = minute >= since * minutes
    durations = np.exp(random.normal(-0.2, 0.4, len(minute)) + noise[minute] + log(slower) * touched)
    failed = random.random(len(minute)) < 0.02 * np.exp(3 * noise[minute]) * np.where(touched, failing, 1)
    verdict = np.where(failed, Verdict.ERROR, np.where(durations > 2, Verdict.SLOW, Verdict.GOOD))
    none = np.zeros(len(minute), dtype=np.int64)
    return roll_up_columns(
        ((period.start + minute * 60.0) * 1e6).astype(np.int64),
        duration_seconds=durations, series=none, verdict=verdict.astype(np.int64), checks=none, origin=none,
        window_seconds=3_600,
    )  # fmt: skip


def _figures(
    flow: FlowSpec, seed: int, *, a_day: int = 2_000, slower: float = 1, failing: float = 1, since: float = 0
) -> FlowFigures:
    random = np.random.default_rng(seed)
    after = _week(random, LATER, a_day, slower=slower, failing=failing, since=since)
    before = _week(random, EARLIER, a_day)
    return flow_figures(flow, after, KEYS, LATER, Comparison("week", EARLIER), before, now=LATER.end)


def test_a_week_like_the_one_before_is_not_called_changed_and_often_the_same(flow: FlowSpec) -> None:
    found = [_figures(flow, seed, a_day=6_000) for seed in SEEDS]
    changed = [
        change
        for figures in found
        for change in (
            figures.good_rate_change, figures.steps[0].p50_change, figures.steps[0].p95_change,
            figures.steps[0].p99_change, figures.steps[0].failures_change, figures.steps[0].good_rate_change,
        )
        if change.status in (ChangeStatus.WORSE, ChangeStatus.BETTER)
    ]  # fmt: skip
    assert len(changed) <= 1
    same = [figures.steps[0].latency.conclusion is Conclusion.SAME for figures in found]
    assert sum(same) >= len(SEEDS) // 2


@pytest.mark.parametrize(
    ("make", "about"),
    [
        (lambda flow, seed: _figures(flow, seed, slower=1.05), "latency"),
        (lambda flow, seed: _figures(flow, seed, failing=1.25), "correctness"),
    ],
)
def test_what_lies_at_the_margin_is_hardly_ever_called_the_same(
    flow: FlowSpec, make: Callable[[FlowSpec, int], FlowFigures], about: str
) -> None:
    found = [getattr(make(flow, seed).steps[0], about).conclusion for seed in SEEDS]
    assert found.count(Conclusion.SAME) <= 1


def test_little_data_is_not_called_the_same(flow: FlowSpec) -> None:
    figures = _figures(flow, 1, a_day=60)
    assert figures.steps[0].latency.conclusion is Conclusion.NOT_ENOUGH_DATA
    assert figures.steps[0].correctness.conclusion is Conclusion.NOT_ENOUGH_DATA


@pytest.mark.parametrize("since", [0.3, 0.5])
def test_a_change_in_the_middle_of_the_week_is_told(flow: FlowSpec, since: float) -> None:
    steps = [_figures(flow, seed, a_day=4_000, slower=1.2, failing=3, since=since).steps[0] for seed in range(5)]
    assert sum(step.latency == StepConclusion(Conclusion.WORSE, "p50") for step in steps) >= 4
    assert sum(step.correctness == StepConclusion(Conclusion.WORSE, "failures") for step in steps) >= 4


def test_the_flow_says_what_counts_as_the_same(flow: FlowSpec) -> None:
    strict = parse_flow(FLOW + "same_within: {durations: 0.001, failures: 0.01, failure_share: 0.000001}\n")
    loose, found = (_figures(one, 3, a_day=6_000).steps[0] for one in (flow, strict))
    assert (loose.latency.conclusion, loose.correctness.conclusion) == (Conclusion.SAME, Conclusion.SAME)
    assert (found.latency.conclusion, found.correctness.conclusion) == (Conclusion.NOT_ENOUGH_DATA,) * 2
    assert (loose.p50_change.margin, found.p50_change.margin, found.failures_change.margin) == (0.05, 0.001, 0.01)


def test_a_proven_change_within_the_margin_is_told_as_such() -> None:
    lenient = parse_flow(FLOW + "same_within: {durations: 0.3}\n")
    change = _figures(lenient, 1, a_day=6_000, slower=1.15).steps[0].p50_change
    assert change.status is ChangeStatus.WORSE
    assert change.within_margin
    assert Wording("en", UTC).status(change) == "slower, by less than 30 %"
    assert Wording("zh", UTC).status(change) == "变慢，但幅度不到 30%"


def _change(status: ChangeStatus, low: float = -0.01, high: float = 0.01, *, within: bool = False) -> ChangeFigure:
    return ChangeFigure(status, 1.0, 1.0, 0.0, low, high, 0.02, 100, 100, 8, margin=0.05, within_margin=within)


SAME, WORSE, BETTER, NOTHING, UNCLEAR = (
    _change(status)
    for status in (
        ChangeStatus.SAME, ChangeStatus.WORSE, ChangeStatus.BETTER, ChangeStatus.NO_EVIDENCE, ChangeStatus.UNCLEAR
    )
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "conclusion", "figure"),
    [
        ((SAME, SAME, NOTHING), Conclusion.SAME, "p50"),
        ((SAME, _change(ChangeStatus.SAME, -0.04, 0.04), SAME), Conclusion.SAME, "p95"),
        ((SAME, NOTHING, NOTHING), Conclusion.NOT_ENOUGH_DATA, "p50"),
        ((SAME, SAME, UNCLEAR), Conclusion.NOT_ENOUGH_DATA, "p99"),
        ((SAME, SAME, WORSE), Conclusion.WORSE, "p99"),
        ((BETTER, SAME, WORSE), Conclusion.WORSE, "p99"),
        ((BETTER, SAME, SAME), Conclusion.BETTER, "p50"),
        ((_change(ChangeStatus.WORSE, within=True), WORSE, SAME), Conclusion.WORSE, "p95"),
        ((ChangeFigure(ChangeStatus.NOT_COMPARED),) * 3, Conclusion.NOT_COMPARED, "p50"),
        ((ChangeFigure(ChangeStatus.TOO_FEW),) * 3, Conclusion.NOT_ENOUGH_DATA, "p50"),
    ],
)
def test_percentiles_make_one_conclusion(
    changes: tuple[ChangeFigure, ChangeFigure, ChangeFigure], conclusion: Conclusion, figure: str
) -> None:
    assert latency_of(*changes) == StepConclusion(conclusion, figure)


def test_one_check_that_fails_more_decides_over_failures_that_are_the_same() -> None:
    rate = Estimate(0.1, 0.05, 0.15, 100)
    checks = [CheckFigures("sum", 90, 10, 0, rate, WORSE), CheckFigures("shown", 90, 10, 0, rate, NOTHING)]
    assert correctness_of(SAME, checks) == StepConclusion(Conclusion.WORSE, "check:sum")
    assert correctness_of(SAME, checks[1:]) == StepConclusion(Conclusion.SAME, "failures")
