from __future__ import annotations

import numpy as np
import pytest

from cxgauge.dashboards.figure_types import ChangeStatus, Comparison, FlowFigures, MixSplit, Period
from cxgauge.dashboards.figures import flow_figures
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey, Source, check_bits
from cxgauge.metrics.rollup import Rollup, roll_up
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.verdict import CheckResult, Verdict

FLOW = """
name: bill
title: {en: Bill inquiry, zh: 账单查询}
owner: cards
steps:
  - name: total
    title: {en: Total, zh: 总额}
    timeliness: {target: 2s, timeout: 30s, objective: 0.9}
    checks:
      - {name: details_present, kind: present, value: $.details}
  - name: details
    title: {en: Details, zh: 明细}
    timeliness: {target: 1s}
"""
KEYS = {
    0: SeriesKey("bill", "total", (("channel", "app"),), ("details_present",)),
    1: SeriesKey("bill", "total", (("channel", "web"),), ("other", "details_present")),
    2: SeriesKey("bill", "details"),
}
DAY = 86_400
TODAY = Period(10.0 * DAY, 11.0 * DAY)
YESTERDAY = Comparison("previous", Period(9.0 * DAY, 10.0 * DAY))


@pytest.fixture(scope="module")
def flow() -> FlowSpec:
    return parse_flow(FLOW)


def _rollup(
    start: float,
    durations: np.ndarray,
    *,
    series: int = 0,
    verdicts: np.ndarray | None = None,
    checks: int = 0,
    source: Source = Source.RECORDER,
    span: float = DAY,
) -> Rollup:
    records = np.zeros(len(durations), dtype=RECORD)
    records["observed_at_us"] = ((start + np.arange(len(durations)) * span / len(durations)) * 1e6).astype(np.int64)
    records["duration_seconds"] = durations
    records["series"] = series
    records["verdict"] = np.where(durations > 2, Verdict.SLOW, Verdict.GOOD) if verdicts is None else verdicts
    records["checks"] = checks
    records["source"] = int(source)
    return roll_up(ObservationBatch(tuple(KEYS.values()), records), 60)


def _lognormal(seed: int, size: int, shift: float = 0.0) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(shift, 0.5, size))


def _compare(flow: FlowSpec, before: np.ndarray, after: np.ndarray) -> FlowFigures:
    return flow_figures(
        flow,
        _rollup(TODAY.start, after),
        KEYS,
        TODAY,
        YESTERDAY,
        _rollup(YESTERDAY.period.start, before),
        now=TODAY.end,
    )


def test_percentiles_are_exact_within_one_percent(flow: FlowSpec) -> None:
    durations = _lognormal(1, 5000)
    step = flow_figures(flow, _rollup(TODAY.start, durations), KEYS, TODAY, now=TODAY.end).steps[0]

    for estimate, q in ((step.p50, 0.5), (step.p95, 0.95), (step.p99, 0.99)):
        exact = float(np.quantile(durations, q))
        assert estimate.value == pytest.approx(exact, rel=0.01)
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < exact < estimate.high
        assert estimate.observations == 5000
    assert step.mean_seconds == pytest.approx(durations.mean())


def test_counts_rates_and_budget(flow: FlowSpec) -> None:
    durations = np.full(1000, 0.5)
    verdicts = np.array([Verdict.GOOD] * 950 + [Verdict.SLOW] * 30 + [Verdict.ERROR] * 20)
    step = flow_figures(flow, _rollup(TODAY.start, durations, verdicts=verdicts), KEYS, TODAY, now=TODAY.end).steps[0]

    assert (step.observations, step.answered, step.good) == (1000, 980, 950)
    assert step.good_rate.value == 0.95
    assert step.verdicts == {
        "good": 950,
        "slow": 30,
        "stale": 0,
        "incomplete": 0,
        "wrong": 0,
        "abandoned": 0,
        "timeout": 0,
        "error": 20,
    }
    assert step.budget.objective == 0.9
    assert step.budget.allowed == pytest.approx(100)
    assert step.budget.used == 50
    assert step.budget.left == pytest.approx(0.5)


def test_checks_are_found_by_name_whatever_their_position(flow: FlowSpec) -> None:
    from cxgauge.metrics.rollup import merge

    rollup = merge(
        [
            _rollup(TODAY.start, np.full(10, 0.5), series=0, checks=check_bits([CheckResult.FAIL])),
            _rollup(
                TODAY.start,
                np.full(30, 0.5),
                series=1,
                checks=check_bits([CheckResult.FAIL, CheckResult.PASS]),
            ),
            _rollup(TODAY.start, np.full(5, 0.5), series=0, checks=check_bits([CheckResult.UNKNOWN])),
        ]
    )
    (check,) = flow_figures(flow, rollup, KEYS, TODAY, now=TODAY.end).steps[0].checks

    assert (check.check, check.passed, check.failed, check.unknown) == ("details_present", 30, 10, 5)
    assert check.failure_rate.value == 0.25
    assert check.failure_rate.observations == 40


def test_steps_without_data_say_so(flow: FlowSpec) -> None:
    figures = flow_figures(flow, _rollup(TODAY.start, np.full(10, 0.5)), KEYS, TODAY, now=TODAY.end)
    details = figures.steps[1]

    assert (details.observations, details.p50.value, details.p50.reason) == (0, None, "no answered observation")
    assert (details.good_rate.value, details.good_rate.reason) == (None, "no observation")
    assert details.budget.left is None
    assert figures.steps[0].p99.reason == "too few observations for an interval of p99"
    assert figures.steps[0].p99.value == pytest.approx(0.5, rel=0.01)


def test_probes_are_left_out_and_simulated_ones_counted(flow: FlowSpec) -> None:
    from cxgauge.metrics.rollup import merge

    rollup = merge(
        [
            _rollup(TODAY.start, np.full(20, 0.5), source=Source.SIMULATED),
            _rollup(TODAY.start, np.full(7, 9.0), source=Source.PROBE),
            _rollup(TODAY.start, np.full(10, 0.5)),
        ]
    )
    figures = flow_figures(flow, rollup, KEYS, TODAY, now=TODAY.end)

    assert (figures.observations, figures.steps[0].observations, figures.steps[0].simulated) == (30, 30, 20)
    assert (figures.quality.simulated, figures.quality.probe_observations) == (20, 7)


def test_a_slower_step_is_found_with_its_size(flow: FlowSpec) -> None:
    step = _compare(flow, _lognormal(1, 20_000), _lognormal(2, 20_000, np.log(1.2))).steps[0]

    assert step.p50_change.status is ChangeStatus.WORSE
    assert step.p50_change.low is not None
    assert step.p50_change.high is not None
    assert 0.1 < step.p50_change.low < 0.2 < step.p50_change.high < 0.3
    assert step.good_rate_change.status is ChangeStatus.WORSE
    assert step.good_rate_change.change is not None
    assert step.good_rate_change.change < 0


def test_a_faster_step_is_better(flow: FlowSpec) -> None:
    step = _compare(flow, _lognormal(1, 20_000, np.log(1.2)), _lognormal(2, 20_000)).steps[0]
    assert step.p50_change.status is ChangeStatus.BETTER
    assert step.good_rate_change.status is ChangeStatus.BETTER


def test_no_change_is_called_no_evidence_with_what_could_have_been_seen(flow: FlowSpec) -> None:
    for seed in range(20):
        step = _compare(flow, _lognormal(2 * seed, 5000), _lognormal(2 * seed + 1, 5000)).steps[0]
        for change in (step.p50_change, step.p95_change, step.good_rate_change):
            assert change.status in {ChangeStatus.SAME, ChangeStatus.NO_EVIDENCE, ChangeStatus.UNCLEAR}
        assert step.p50_change.detectable is not None
        assert 0.01 < step.p50_change.detectable < 0.15


def test_too_few_to_compare(flow: FlowSpec) -> None:
    step = _compare(flow, np.full(3, 0.5), _lognormal(2, 5000)).steps[0]
    assert step.p50_change.status is ChangeStatus.TOO_FEW
    assert step.p50_change.reason == "too few observations in the compared period"
    assert (step.p50_change.observations_before, step.p50_change.observations) == (3, 5000)


def test_figures_do_not_depend_on_how_often_they_are_computed(flow: FlowSpec) -> None:
    before, after = _lognormal(1, 3000), _lognormal(2, 3000)
    assert _compare(flow, before, after) == _compare(flow, before, after)


def test_coverage_and_gaps(flow: FlowSpec) -> None:
    early = _rollup(TODAY.start, np.full(600, 0.5), span=3600)
    quality = flow_figures(flow, early, KEYS, TODAY, now=TODAY.start + 7200).quality

    assert (quality.windows, quality.windows_with_data) == (120, 60)
    assert (quality.first, quality.last) == (TODAY.start, TODAY.start + 3600)
    assert quality.gaps == ((TODAY.start + 3600, TODAY.start + 7200),)


def test_no_data_at_all(flow: FlowSpec) -> None:
    figures = flow_figures(flow, Rollup.empty(60), KEYS, TODAY, YESTERDAY, Rollup.empty(60), now=TODAY.end)
    assert figures.good_rate.value is None
    assert figures.good_rate_change.status is ChangeStatus.TOO_FEW
    assert figures.quality.gaps == ((TODAY.start, TODAY.end),)


def test_other_customers_are_told_apart_from_a_slow_down(flow: FlowSpec) -> None:
    from cxgauge.metrics.rollup import merge

    def day(start: float, seed: int, app: int, web: int, factor: float = 1.0) -> Rollup:
        parts = [
            _rollup(start, _lognormal(seed, app)),
            _rollup(start, _lognormal(seed + 1, web) * 2 * factor, series=1),
        ]
        return merge(parts)

    def split(before: Rollup, after: Rollup) -> MixSplit:
        figures = flow_figures(flow, after, KEYS, TODAY, YESTERDAY, before, now=TODAY.end)
        found = figures.steps[0].split
        assert found is not None
        assert (1 + found.within) * (1 + found.mix) == pytest.approx(1 + found.total)
        return found

    before = day(YESTERDAY.period.start, 21, 8000, 2000)
    mixed = split(before, day(TODAY.start, 13, 2000, 8000))
    assert mixed.mix == pytest.approx(2**0.6 - 1, abs=0.03)
    assert mixed.within == pytest.approx(0, abs=0.03)

    slower = split(before, day(TODAY.start, 5, 8000, 2000, factor=1.5))
    assert slower.mix == pytest.approx(0, abs=0.01)
    assert [part.dimensions for part in slower.parts] == [{"channel": "web"}]
    assert slower.parts[0].effect_low < 0.5 < slower.parts[0].effect_high
