from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cxgauge.alerts.alert import Alert, to_json
from cxgauge.dashboards.figure_types import Comparison, Period
from cxgauge.dashboards.report.data import flow_span
from cxgauge.dashboards.report.json import report_json, report_schema
from cxgauge.dashboards.report.markdown import report_markdown
from cxgauge.dashboards.report.report import Report, build_report
from cxgauge.dashboards.wording import Wording
from cxgauge.metrics.baseline.bands import BandHour
from cxgauge.metrics.deviation import Deviation
from cxgauge.metrics.observation import ObservationBatch, Source
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.store.evaluation import add_bands
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

DAY = 86_400.0
MakeDay = Callable[..., ObservationBatch]
SCHEMA = Path(__file__).parents[2] / "docs/reference/report.schema.json"


@pytest.fixture
def store(embedded_dsn: str) -> Iterator[Store]:
    with Store.open(embedded_dsn) as store:
        store.migrate()
        yield store


def _write(store: Store, *batches: ObservationBatch) -> None:
    store.write(list(batches), "test", StoredPosition(), StoredPosition(0, 1))


def _keep_alert(store: Store, alert: Alert) -> None:
    with store.connection() as connection:
        connection.execute(
            "INSERT INTO alerts (alert_id, state, severity, kind, flow, step, opened_at, started_at, fired_at, "
            "resolved_at, resolution, document) VALUES (%s, %s, %s, %s, %s, %s, to_timestamp(%s), to_timestamp(%s), "
            "to_timestamp(%s), to_timestamp(%s), %s, %s)",
            (
                alert.id,
                alert.state.value,
                alert.severity.value,
                alert.lead.kind.value,
                alert.flow,
                alert.scope.step,
                alert.opened_at,
                alert.lead.started_at,
                alert.fired_at,
                alert.resolved_at,
                alert.resolution,
                to_json(alert),
            ),
        )


def _report(store: Store, flow: FlowSpec, today: Period, yesterday: Comparison | None, wording: Wording) -> Report:
    return build_report(store, flow, today, yesterday, wording, now=today.end + 60)


def test_slower_step_leads_the_report(
    store: Store, flow: FlowSpec, today: Period, yesterday: Comparison, english: Wording, make_day: MakeDay
) -> None:
    _write(store, make_day(yesterday.period.start, seed=1), make_day(today.start, seed=2, factor=1.2))
    report = _report(store, flow, today, yesterday, english)

    assert report.headline.status == "worse"
    assert report.headline.step == "bill_total"
    assert report.headline.text.startswith("Bill inquiry got slower at *Bill total* than in the period before: ")
    text = report_markdown(report)
    assert f"**{report.headline.text}**" in text
    assert "| Log-in | Median | " in text
    assert " | not enough data |" in text
    assert "The compared period has other days of the week" in text
    assert "Cards \\| bills" in text


def test_no_change_is_said_plainly(
    store: Store, flow: FlowSpec, today: Period, yesterday: Comparison, english: Wording, make_day: MakeDay
) -> None:
    _write(store, make_day(yesterday.period.start, seed=3), make_day(today.start, seed=4))
    report = _report(store, flow, today, yesterday, english)

    assert report.headline.status == "no_evidence"
    assert report.headline.text.startswith(
        "No evidence that Bill inquiry changed against the period before, and not enough data to say that it is the "
        "same; at its busiest step a median slower by "
    )


def test_failing_check_weighs_more_than_slowness(
    store: Store, flow: FlowSpec, today: Period, yesterday: Comparison, chinese: Wording, make_day: MakeDay
) -> None:
    _write(store, make_day(yesterday.period.start, seed=1), make_day(today.start, seed=2, factor=1.1, failures=0.05))
    report = _report(store, flow, today, yesterday, chinese)

    assert report.headline.text.startswith("“账单查询”在“账单总额”未通过检查“有明细”的次数比上一期多：")


def test_alert_of_the_period_is_the_headline(
    store: Store,
    flow: FlowSpec,
    today: Period,
    yesterday: Comparison,
    english: Wording,
    make_day: MakeDay,
    alert: Alert,
) -> None:
    _write(store, make_day(today.start, seed=2))
    _keep_alert(store, alert)
    _keep_alert(store, replace(alert, id="other", opened_at=today.end + 1))
    report = _report(store, flow, today, yesterday, english)

    assert report.headline.alert == "0123456789ab"
    assert report.headline.text == (
        "Bill inquiry got slower at *Bill total* since 14 March 10:42: 1.00 → 1.19 s (+19 %, 18–20 %); "
        "3,412 customers had a bad answer"
    )
    assert len(report.alerts) == 1
    assert "nobody has acknowledged it" in report_markdown(report)


def test_deviations_of_no_alert_are_listed(
    store: Store, flow: FlowSpec, today: Period, english: Wording, make_day: MakeDay, slower: Deviation
) -> None:
    _write(store, make_day(today.start))
    with store.connection() as connection:
        connection.execute(
            "INSERT INTO deviations (kind, flow, step, detected_at, started_at, started_low, started_high, effect, "
            "effect_low, effect_high, before, after, observations, observations_before) VALUES ('slower', "
            "'bill_inquiry', 'bill_total', to_timestamp(%s), to_timestamp(%s), to_timestamp(%s), to_timestamp(%s), %s, "
            "%s, %s, %s, %s, %s, %s)",
            (
                slower.detected_at, slower.started_at, slower.started_low, slower.started_high, slower.effect,
                slower.effect_low, slower.effect_high, slower.before, slower.after, slower.observations,
                slower.observations_before,
            ),
        )  # fmt: skip
    report = _report(store, flow, today, None, english)

    assert report.deviations == (slower,)
    assert "- Bill inquiry got slower at *Bill total* since 2026-03-14 10:42: 1.00 → 1.19 s" in report_markdown(report)


def test_json_follows_its_schema_and_has_the_figures_in_full(
    store: Store,
    flow: FlowSpec,
    today: Period,
    yesterday: Comparison,
    english: Wording,
    make_day: MakeDay,
    alert: Alert,
) -> None:
    _write(store, make_day(yesterday.period.start, seed=1), make_day(today.start, seed=2, factor=1.2))
    _keep_alert(store, alert)
    report = _report(store, flow, today, yesterday, english)
    document: dict[str, Any] = json.loads(report_json(report))

    jsonschema.validate(document, report_schema())
    assert document["schema_version"] == "1"
    assert document["figures"]["steps"][1]["p50"]["value"] == report.figures.steps[1].p50.value
    assert document["figures"]["steps"][1]["p50_change"]["status"] == "worse"
    assert document["alerts"][0]["deviation"]["effect"] == alert.lead.effect
    assert english.duration(report.figures.steps[1].p50) in report_markdown(report)


def test_documented_schema_is_the_one_in_use() -> None:
    assert json.loads(SCHEMA.read_text("utf-8")) == report_schema(), (
        "write it anew: python -m cxgauge.dashboards.report.json > docs/reference/report.schema.json"
    )


def test_empty_period(store: Store, flow: FlowSpec, today: Period, yesterday: Comparison, english: Wording) -> None:
    report = _report(store, flow, today, yesterday, english)
    text = report_markdown(report)
    assert report.headline.text == "No observation of Bill inquiry in this period"
    assert "There is no observation in this period, so nothing can be compared." in text


def test_simulated_data_are_never_shown_without_the_word(
    store: Store, flow: FlowSpec, today: Period, english: Wording, chinese: Wording, make_day: MakeDay
) -> None:
    _write(store, make_day(today.start, source=Source.SIMULATED))
    assert "**Simulated: 8,640 of 8,640 observations are demonstration data" in report_markdown(
        _report(store, flow, today, None, english)
    )
    assert "**模拟数据：" in report_markdown(_report(store, flow, today, None, chinese))


def test_long_periods_read_by_the_hour_have_the_same_figures(
    store: Store, flow: FlowSpec, today: Period, english: Wording, make_day: MakeDay
) -> None:
    _write(store, make_day(today.start, seed=1), make_day(today.start + DAY, seed=2))
    exact = _report(store, flow, Period(today.start, today.start + 2 * DAY), None, english)
    longer = _report(store, flow, Period(today.start - DAY, today.start + 4 * DAY), None, english)

    assert longer.figures.steps[1].p95 == exact.figures.steps[1].p95
    assert longer.figures.verdicts == exact.figures.verdicts


def test_span_of_a_flow(store: Store, today: Period, make_day: MakeDay) -> None:
    assert flow_span(store, "bill_inquiry").first is None
    _write(store, make_day(today.start))
    span = flow_span(store, "bill_inquiry")
    assert span.first == today.start
    assert span.last == today.end


def test_the_median_is_held_against_the_baseline(
    store: Store, flow: FlowSpec, today: Period, yesterday: Comparison, english: Wording, make_day: MakeDay
) -> None:
    _write(store, make_day(today.start, seed=2, factor=1.2))
    hours = [int(today.start) + 3_600 * hour for hour in range(24)]
    with store.connection() as connection:
        add_bands(connection, [BandHour(flow.name, "bill_total", hour, 1.0, 0.9, 1.1) for hour in hours], today.end)
    report = _report(store, flow, today, yesterday, english)
    assert list(report.usual) == ["bill_total"]
    assert (report.usual["bill_total"].low, report.usual["bill_total"].high) == pytest.approx((0.9, 1.1))
    assert "; usual 0.90–1.10 s |" in report_markdown(report)
    assert json.loads(report_json(report))["usual"]["bill_total"]["low"] == report.usual["bill_total"].low
