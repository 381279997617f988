"""The exposition: every figure equals a plain count, labels are bounded, formats are what Prometheus reads."""

from __future__ import annotations

import math
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from cxgauge.alerts.alert import Alert, AlertState, Member, Severity
from cxgauge.dashboards.exposition.buckets import duration_bounds
from cxgauge.dashboards.exposition.exposition import Exposition, HealthFigures
from cxgauge.metrics.deviation import Deviation, DeviationKind, Scope
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey, Source, check_bits
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.verdict import CheckResult, Verdict

GOLDEN = Path(__file__).with_name("golden") / "exposition.txt"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
NOW = 1_767_225_600.0
CHECKS = ("total_shown", "total_is_sum")


def flow(target: str = "1s", name: str = "bill_inquiry", steps: Sequence[str] = ("bill_total", "details")) -> FlowSpec:
    def step(step_name: str) -> dict[str, Any]:
        checks = [{"name": check, "kind": "present", "value": "$.total"} for check in CHECKS]
        return {
            "name": step_name,
            "title": {"en": step_name, "zh": step_name},
            "timeliness": {"target": target, "objective": 0.95},
            "checks": checks if step_name == "bill_total" else [],
        }

    document = {
        "name": name,
        "title": {"en": "Bill", "zh": "账单"},
        "owner": "cards",
        "steps": [step(s) for s in steps],
    }
    return FlowSpec.model_validate(document)


Row = tuple[str, str, float, Verdict, tuple[CheckResult, ...]]


def batch(
    rows: Sequence[Row], *, source: Source = Source.RECORDER, trace: int = 0, at: float = NOW
) -> ObservationBatch:
    keys: dict[tuple[str, str], int] = {}
    records = np.zeros(len(rows), dtype=RECORD)
    for number, (flow_name, step, duration, verdict, checks) in enumerate(rows):
        series = keys.setdefault((flow_name, step), len(keys))
        trace_id = np.void((trace + number).to_bytes(16, "big")) if trace else np.void(bytes(16))
        records[number] = (
            int((at + number) * 1e6), duration, series, verdict, source, 0, check_bits(checks),
            np.void(bytes(16)), np.void(bytes(16)), trace_id, number if trace else 0,
        )  # fmt: skip
    names = {"bill_total": CHECKS}
    return ObservationBatch(tuple(SeriesKey(f, s, (), names.get(s, ())) for f, s in keys), records)


def samples(exposition: Exposition) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Value by sample name and sorted labels."""
    text = exposition.render()[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def value(exposition: Exposition, sample: str, **labels: str) -> float | None:
    return samples(exposition).get((sample, tuple(sorted(labels.items()))))


@pytest.fixture
def make() -> Callable[..., Exposition]:
    def build(*flows: FlowSpec, **options: Any) -> Exposition:
        specified = {one.name: one for one in flows or (flow(),)}
        return Exposition(specified, clock=options.pop("clock", lambda: NOW), process_metrics=False, **options)

    return build


durations = st.one_of(
    st.floats(0, 60, allow_nan=False), st.sampled_from([1.0, 1.0905, 4.0, 30.0, math.inf, -1.0, math.nan])
)
some_rows = st.lists(
    st.tuples(
        st.just("bill_inquiry"),
        st.sampled_from(["bill_total", "details", "unheard_of"]),
        durations,
        st.sampled_from(list(Verdict)),
        st.tuples(st.sampled_from(list(CheckResult)), st.sampled_from(list(CheckResult))),
    ),
    max_size=40,
)


@given(rows=some_rows, cut=st.integers(0, 40))
def test_every_figure_equals_a_plain_count_however_the_rows_are_cut_into_batches(rows: list[Row], cut: int) -> None:
    specified = flow()
    exposition = Exposition({specified.name: specified}, clock=lambda: NOW, process_metrics=False)
    for part in (rows[:cut], rows[cut:]):
        exposition.observe(batch(part))
    found = samples(exposition)

    def of(name: str, step: str, **more: str) -> float:
        return found[(name, tuple(sorted({"flow": "bill_inquiry", "step": step, **more}.items())))]

    for step in ("bill_total", "details"):
        mine = [row for row in rows if row[1] == step]
        verdicts = Counter(row[3] for row in mine)
        for verdict in Verdict:
            assert of("cxgauge_observations_total", step, verdict=verdict.label) == verdicts[verdict]
        timed = [row[2] for row in mine if row[3] <= Verdict.WRONG and 0 <= row[2] < math.inf]
        assert of("cxgauge_step_duration_seconds_count", step) == len(timed)
        assert of("cxgauge_step_duration_seconds_sum", step) == pytest.approx(math.fsum(timed))
        assert of("cxgauge_timely_observations_total", step) == sum(seconds <= 1.0 for seconds in timed)
        for bound in duration_bounds(specified.step(step)):
            expected = sum(seconds <= bound for seconds in timed)
            assert of("cxgauge_step_duration_seconds_bucket", step, le=str(bound)) == expected
        if mine:
            good = sum(row[3] is Verdict.GOOD for row in mine)
            assert of("cxgauge_good_answer_ratio", step) == pytest.approx(good / len(mine))
    for position, check in enumerate(CHECKS):
        results = Counter(row[4][position] for row in rows if row[1] == "bill_total")
        for result in (CheckResult.PASS, CheckResult.FAIL, CheckResult.UNKNOWN):
            expected = results[result]
            assert of("cxgauge_checks_total", "bill_total", check=check, result=result.label) == expected
    unheard = sum(row[1] == "unheard_of" for row in rows)
    assert found[("cxgauge_uncounted_observations_total", (("reason", "unknown_step"),))] == unheard


@given(target=st.floats(0.02, 60), share=st.floats(0.125, 1.8))
def test_durations_ten_per_cent_apart_fall_into_different_buckets(target: float, share: float) -> None:
    bounds = np.array(duration_bounds(flow(f"{target:.3f}s").steps[0]))
    positions = np.searchsorted(bounds, float(f"{target:.3f}") * share * np.array([1.0, 1.1, 1.21]))
    assert len(set(positions.tolist())) == 3


@pytest.mark.parametrize("target", ["0.7s", "1s", "1.1s", "1.5s", "2s", "8s"])
def test_1_0_and_1_1_and_1_2_s_fall_apart(target: str) -> None:
    assert len(set(np.searchsorted(duration_bounds(flow(target).steps[0]), [1.0, 1.1, 1.2]).tolist())) == 3


def test_target_band_and_timeout_are_bounds_exactly_and_the_number_of_bounds_is_small() -> None:
    for target in ("0.3s", "1.2s", "7s"):
        step = flow(target).steps[0]
        bounds = duration_bounds(step)
        timeliness = step.timeliness
        assert {timeliness.target_seconds, timeliness.slow_seconds, timeliness.timeout_seconds} <= set(bounds)
        assert list(bounds) == sorted(set(bounds))
        assert len(bounds) <= 42


@pytest.mark.parametrize(
    ("source", "reason"), [(Source.PROBE, "probe"), (Source.IMPORT, "import"), (Source.SIMULATED, "simulated")]
)
def test_what_is_not_of_customers_now_is_counted_apart(
    make: Callable[..., Exposition], source: Source, reason: str
) -> None:
    exposition = make()
    exposition.observe(batch([("bill_inquiry", "details", 1.0, Verdict.GOOD, ())] * 3, source=source))
    assert value(exposition, "cxgauge_uncounted_observations_total", reason=reason) == 3
    assert value(exposition, "cxgauge_observations_total", flow="bill_inquiry", step="details", verdict="good") == 0


def test_only_the_specification_makes_labels(make: Callable[..., Exposition]) -> None:
    exposition = make()
    before = set(samples(exposition))
    rows: list[Row] = [(f"flow_{n}", f"step_{n}", 1.0, Verdict.GOOD, ()) for n in range(50)]
    exposition.observe(batch(rows))
    exposition.set_baselines({("flow_1", "step_1"): 1.0})
    assert set(samples(exposition)) == before


def test_the_ratio_forgets_after_five_minutes(make: Callable[..., Exposition], clock: Any) -> None:
    exposition = make(clock=clock)
    labels = {"flow": "bill_inquiry", "step": "details"}
    exposition.observe(batch([("bill_inquiry", "details", 9.0, Verdict.ERROR, ())]))
    clock.advance(200)
    exposition.observe(batch([("bill_inquiry", "details", 0.5, Verdict.GOOD, ())]))
    assert value(exposition, "cxgauge_good_answer_ratio", **labels) == 0.5
    clock.advance(200)
    assert value(exposition, "cxgauge_good_answer_ratio", **labels) == 1.0
    clock.advance(200)
    assert value(exposition, "cxgauge_good_answer_ratio", **labels) is None


def test_a_reload_keeps_counters_and_restarts_a_histogram_whose_target_changed(make: Callable[..., Exposition]) -> None:
    exposition = make()
    row: Row = ("bill_inquiry", "bill_total", 0.5, Verdict.GOOD, (CheckResult.PASS, CheckResult.FAIL))
    exposition.observe(batch([row]))
    labels = {"flow": "bill_inquiry", "step": "bill_total"}
    exposition.reload({"bill_inquiry": flow("1s", steps=("bill_total", "dispute"))})
    assert value(exposition, "cxgauge_step_duration_seconds_count", **labels) == 1
    exposition.reload({"bill_inquiry": flow("2s", steps=("bill_total", "dispute"))})
    exposition.observe(batch([row]))
    assert value(exposition, "cxgauge_step_duration_seconds_count", **labels) == 1
    assert value(exposition, "cxgauge_observations_total", **labels, verdict="good") == 2
    assert value(exposition, "cxgauge_checks_total", **labels, check="total_is_sum", result="fail") == 2
    assert value(exposition, "cxgauge_observations_total", flow="bill_inquiry", step="details", verdict="good") is None


def test_exemplars_lead_to_the_last_trace_of_each_bucket_and_verdict(make: Callable[..., Exposition]) -> None:
    exposition = make()
    rows: list[Row] = [
        ("bill_inquiry", "details", 0.99, Verdict.GOOD, ()),
        ("bill_inquiry", "details", 0.98, Verdict.GOOD, ()),
        ("bill_inquiry", "details", 1.2, Verdict.SLOW, ()),
    ]
    exposition.observe(batch(rows, trace=0xAB00))
    exposition.observe(batch(rows))  # without traces: forgets nothing
    body, content_type = exposition.render(OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    found = {
        (sample.name, sample.labels.get("le") or sample.labels.get("verdict")): sample.exemplar
        for family in parse_openmetrics(body.decode())
        for sample in family.samples
        if sample.exemplar
    }
    trace = {"trace_id": f"{0xAB01:032x}", "span_id": f"{1:016x}"}
    assert {key: exemplar.labels for key, exemplar in found.items()} == {
        ("cxgauge_step_duration_seconds_bucket", "1.0"): trace,
        ("cxgauge_step_duration_seconds_bucket", "1.297"): {"trace_id": f"{0xAB02:032x}", "span_id": f"{2:016x}"},
        ("cxgauge_observations_total", "good"): trace,
        ("cxgauge_observations_total", "slow"): {"trace_id": f"{0xAB02:032x}", "span_id": f"{2:016x}"},
    }
    assert found[("cxgauge_step_duration_seconds_bucket", "1.0")].value == 0.98


def test_health_that_cannot_be_read_is_said_and_hides_nothing_else(
    make: Callable[..., Exposition], caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> HealthFigures:
        raise OSError("the spool is gone")

    exposition = make(health=broken)
    assert value(exposition, "cxgauge_health_readable") == 0
    assert value(exposition, "cxgauge_step_target_seconds", flow="bill_inquiry", step="details") == 1
    assert "the ruler's own health could not be read" in caplog.text


def alert(kind: DeviationKind, effect: float, state: AlertState, step: str | None = "bill_total", **more: Any) -> Alert:
    deviation = Deviation(
        kind, Scope("bill_inquiry", step, **more), NOW, NOW - 60, NOW - 90, NOW - 30,
        effect, effect - 0.01, effect + 0.01, 1.0, math.exp(effect), 300, 4000,
    )  # fmt: skip
    return Alert("a", state, Severity.WARNING, (Member(deviation, NOW, effect),), NOW, NOW)


def test_open_alerts_and_the_largest_effect_of_each_scope(make: Callable[..., Exposition]) -> None:
    exposition = make()
    exposition.set_alerts(
        [
            alert(DeviationKind.SLOWER, math.log(1.2), AlertState.FIRING),
            alert(DeviationKind.SLOWER, math.log(1.5), AlertState.PENDING, dimensions=(("channel", "app"),)),
            alert(DeviationKind.SILENT, 0.0, AlertState.FIRING, step=None),
            alert(DeviationKind.FAILING, math.log(4), AlertState.RESOLVED, check="total_is_sum"),
        ]
    )
    found = {key: figure for key, figure in samples(exposition).items() if "alert" in key[0] or "effect" in key[0]}
    slower = {"flow": "bill_inquiry", "step": "bill_total", "kind": "slower", "check": ""}
    silent = {"flow": "bill_inquiry", "step": "", "kind": "silent", "check": ""}
    firing = {"severity": "warning", "state": "firing"}

    def key(name: str, labels: dict[str, str]) -> tuple[str, tuple[tuple[str, str], ...]]:
        return name, tuple(sorted(labels.items()))

    assert found == {
        key("cxgauge_alert_state", slower | firing): 1,
        key("cxgauge_alert_state", silent | firing): 1,
        key("cxgauge_deviation_effect_ratio", slower): pytest.approx(1.5),
        key("cxgauge_deviation_effect_low_ratio", slower): pytest.approx(1.5 * math.exp(-0.01)),
        key("cxgauge_deviation_effect_high_ratio", slower): pytest.approx(1.5 * math.exp(0.01)),
        key("cxgauge_deviation_effect_ratio", silent): 1,
        key("cxgauge_deviation_effect_low_ratio", silent): pytest.approx(math.exp(-0.01)),
        key("cxgauge_deviation_effect_high_ratio", silent): pytest.approx(math.exp(0.01)),
    }


@pytest.fixture
def complete(make: Callable[..., Exposition]) -> Exposition:
    """An exposition with something of everything in it."""
    health = HealthFigures(
        dropped={"buffer_full": 2},
        written=1000,
        writer_failures=1,
        writer_lag_seconds=0.5,
        spool_bytes=4096,
        spool_limit_bytes=1 << 30,
        evaluation_lag_seconds=61.5,
        evaluation_duration_seconds=0.02,
    )
    exposition = make(flow("1s"), flow("2s", name="transfer", steps=("confirm",)), health=lambda: health)
    passed, failed = CheckResult.PASS, CheckResult.FAIL
    rows: list[Row] = [
        ("bill_inquiry", "bill_total", 1.0, Verdict.GOOD, (passed, passed)),
        ("bill_inquiry", "bill_total", 1.1, Verdict.SLOW, (passed, passed)),
        ("bill_inquiry", "bill_total", 1.2, Verdict.WRONG, (passed, failed)),
        ("transfer", "confirm", 0.4, Verdict.GOOD, ()),
    ]
    exposition.observe(batch(rows, trace=0xCE00))
    exposition.set_baselines({("bill_inquiry", "bill_total"): 0.98})
    exposition.set_alerts([alert(DeviationKind.SLOWER, math.log(1.2), AlertState.FIRING)])
    return exposition


def test_the_exposition_is_the_one_on_file(complete: Exposition, monkeypatch: pytest.MonkeyPatch) -> None:
    """To accept a change: delete the file, run the test, read the difference."""
    monkeypatch.setattr("platform.python_version", lambda: "3.11.0")
    text = complete.render(OPENMETRICS)[0].decode()
    if not GOLDEN.exists():
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.prometheus
def test_promtool_finds_nothing_to_say(complete: Exposition, services: dict[str, dict[str, str]]) -> None:
    command = [services["prometheus"]["promtool"], "check", "metrics"]
    done = subprocess.run(command, input=complete.render()[0], capture_output=True, check=False)
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (0, "", "")
