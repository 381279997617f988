"""Rollups: every figure against a plain count, and merging equal to rolling up the union."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey, Source, check_bits
from cxgauge.metrics.rollup import Origin, Rollup, merge, regroup, roll_up
from cxgauge.metrics.sketch import RELATIVE_ERROR, sketch_of
from cxgauge.metrics.verdict import CheckResult, Verdict

SERIES = tuple(SeriesKey("bill_inquiry", f"step_{n}") for n in range(3))
START = 1_767_225_600

observations = st.lists(
    st.tuples(
        st.integers(0, 400),  # seconds since START
        st.one_of(st.floats(1e-6, 3600), st.sampled_from([0.0, -1.0, math.nan, math.inf])),
        st.integers(0, 2),
        st.sampled_from(list(Verdict)),
        st.sampled_from([Source.RECORDER, Source.OTLP, Source.PROBE, Source.SIMULATED]),
        st.lists(st.sampled_from(list(CheckResult)), max_size=4),
    ),
    max_size=60,
)
Row = tuple[int, float, int, Verdict, Source, list[CheckResult]]


def batch_of(rows: list[Row]) -> ObservationBatch:
    records = np.zeros(len(rows), dtype=RECORD)
    for record, (second, duration, series, verdict, source, results) in zip(records, rows, strict=True):
        record["observed_at_us"] = (START + second) * 1_000_000 + 999_999
        record["duration_seconds"] = duration
        record["series"] = series
        record["verdict"] = verdict
        record["source"] = source
        record["checks"] = check_bits(results)
    return ObservationBatch(SERIES, records)


def assert_equal(left: Rollup, right: Rollup) -> None:
    for name in Rollup.__slots__:
        one, other = getattr(left, name), getattr(right, name)
        if name.startswith("sum_"):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9, err_msg=name)
        else:
            np.testing.assert_array_equal(one, other, err_msg=name)


@given(rows=observations)
def test_every_figure_equals_a_plain_count(rows: list[Row]) -> None:
    rollup = roll_up(batch_of(rows), 60)
    expected: dict[tuple[int, int, int], list[Row]] = defaultdict(list)
    for row in rows:
        origin = {Source.PROBE: Origin.PROBE, Source.SIMULATED: Origin.SIMULATED}.get(row[4], Origin.CUSTOMER)
        expected[(START + row[0]) // 60 * 60, row[2], origin].append(row)
    keys = list(zip(rollup.window_start.tolist(), rollup.series.tolist(), rollup.origin.tolist(), strict=True))
    assert keys == sorted(expected)
    for r, key in enumerate(keys):
        group = expected[key]
        assert rollup.verdicts[r].tolist() == [sum(row[3] == verdict for row in group) for verdict in Verdict]
        timed = [row[1] for row in group if row[3] <= Verdict.WRONG and math.isfinite(row[1]) and row[1] >= 0]
        assert rollup.count[r] == len(timed)
        assert rollup.sum_seconds[r] == pytest.approx(math.fsum(timed))
        logs = [math.log(max(value, 1e-6)) for value in timed]
        assert rollup.sum_log[r] == pytest.approx(math.fsum(logs), abs=1e-9)
        assert rollup.sum_log_sq[r] == pytest.approx(math.fsum(log * log for log in logs), abs=1e-9)
        assert rollup.min_seconds[r] == min(timed, default=math.inf)
        assert rollup.max_seconds[r] == max(timed, default=-math.inf)
        buckets, counts = rollup.sketch(r)
        exact_buckets, exact_counts = sketch_of(timed)
        assert buckets.tolist() == exact_buckets.tolist()
        assert counts.tolist() == exact_counts.tolist()
        tally = Counter((position, result) for row in group for position, result in enumerate(row[5]))
        for position in range(rollup.checks.shape[1]):
            results = (CheckResult.PASS, CheckResult.FAIL, CheckResult.UNKNOWN)
            assert rollup.checks[r, position].tolist() == [tally[position, result] for result in results]
        assert sum(tally[position, result] for position, result in tally if result) == rollup.checks[r].sum()


@given(first=observations, second=observations, third=observations)
def test_merging_equals_rolling_up_the_union_in_any_order(
    first: list[Row], second: list[Row], third: list[Row]
) -> None:
    parts = [roll_up(batch_of(rows), 60) for rows in (first, second, third)]
    union = roll_up(batch_of(first + second + third), 60)
    assert_equal(merge(parts), union)
    assert_equal(merge([parts[2], merge([parts[1], parts[0]])]), union)
    assert_equal(merge([Rollup.empty(60), *parts]), union)


@given(rows=observations)
def test_longer_windows_equal_rolling_up_into_them(rows: list[Row]) -> None:
    batch = batch_of(rows)
    assert_equal(regroup(roll_up(batch, 10), window_seconds=300), roll_up(batch, 300))


@given(rows=observations)
def test_series_that_become_one_equal_rolling_up_as_one(rows: list[Row]) -> None:
    mapping = {0: 7, 1: 7, 2: 3}
    renamed = batch_of(rows)
    renamed.records["series"] = [mapping[row[2]] for row in rows]
    as_one = roll_up(renamed, 60)
    assert_equal(regroup(roll_up(batch_of(rows), 60), mapping), as_one)
    assert_equal(regroup(roll_up(batch_of(rows), 60), np.array([7, 7, 3])), as_one)


@given(rows=observations, q=st.floats(0, 1))
def test_quantiles_are_within_one_percent(rows: list[Row], q: float) -> None:
    rollup = regroup(roll_up(batch_of(rows), 60), {0: 0, 1: 0, 2: 0}, window_seconds=300)
    found = rollup.quantiles(q)
    for r in range(len(rollup)):
        timed = [
            max(row[1], 1e-6)
            for row in rows
            if row[3] <= Verdict.WRONG
            and math.isfinite(row[1])
            and row[1] >= 0
            and (START + row[0]) // 300 * 300 == rollup.window_start[r]
            and {Source.PROBE: 1, Source.SIMULATED: 2}.get(row[4], 0) == rollup.origin[r]
        ]
        if timed:
            exact = float(np.quantile(timed, q))
            assert found[r, 0] == pytest.approx(exact, rel=RELATIVE_ERROR * (1 + 1e-9))
        else:
            assert math.isnan(found[r, 0])


@given(rows=observations)
def test_selected_rows_are_the_rows(rows: list[Row]) -> None:
    rollup = roll_up(batch_of(rows), 60)
    odd = rollup.select(np.arange(len(rollup)) % 2 == 1)
    even = rollup.select(np.arange(0, len(rollup), 2))
    assert_equal(merge([odd, even]), rollup)


def test_fast_errors_do_not_make_a_step_look_faster() -> None:
    answers: list[Row] = [(0, 1.0, 0, Verdict.GOOD, Source.RECORDER, [])] * 10
    refused: list[Row] = [(0, 0.001, 0, Verdict.ERROR, Source.RECORDER, [])] * 90
    rollup = roll_up(batch_of(answers + refused), 60)
    assert rollup.quantiles(0.5)[0, 0] == pytest.approx(1.0, rel=0.01)
    assert rollup.observations.tolist() == [100]
    assert rollup.good.tolist() == [10]


def test_all_thirty_two_checks_are_counted() -> None:
    results = [CheckResult.FAIL] * 31 + [CheckResult.UNKNOWN]
    rollup = roll_up(batch_of([(0, 1.0, 0, Verdict.WRONG, Source.RECORDER, results)]), 60)
    assert rollup.checks.shape == (1, 32, 3)
    assert rollup.checks[0].tolist() == [[0, 1, 0]] * 31 + [[0, 0, 1]]


def test_times_far_apart_do_not_overflow() -> None:
    batch = batch_of([(0, 1.0, 0, Verdict.GOOD, Source.RECORDER, []), (0, 1.0, 2, Verdict.GOOD, Source.RECORDER, [])])
    batch.records["observed_at_us"] = [-(2**62), 2**62]
    rollup = roll_up(batch, 1)
    assert rollup.window_start.tolist() == [-(2**62) // 1_000_000, 2**62 // 1_000_000]
    assert rollup.series.tolist() == [0, 2]


def test_mistakes_are_named() -> None:
    batch = batch_of([(0, 1.0, 0, Verdict.GOOD, Source.RECORDER, [])])
    with pytest.raises(ValueError) as refused:
        roll_up(batch, 0)
    assert str(refused.value) == "window_seconds=0 is not a whole number ≥ 1; write e.g. 60"
    with pytest.raises(ValueError) as refused:
        regroup(roll_up(batch, 60), window_seconds=90)
    assert str(refused.value) == "windows of 90 s are not a multiple of the rollup's 60 s"
    with pytest.raises(ValueError) as refused:
        merge([roll_up(batch, 60), roll_up(batch, 10)])
    assert str(refused.value) == "rollups with windows of [10, 60] s cannot be added; regroup() them first"
    with pytest.raises(ValueError) as refused:
        merge([])
    assert str(refused.value) == "merge() was given no rollup; start from Rollup.empty(window_seconds)"
    batch.records["verdict"] = 8
    with pytest.raises(ValueError) as refused:
        roll_up(batch, 60)
    assert str(refused.value) == "verdict 8 is unknown; verdicts are 0–7"
