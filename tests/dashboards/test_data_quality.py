"""What came late, twice or not at all stands beside the figures: in every format, on the pages, as SQL has it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import httpx2 as httpx
import numpy as np
import openpyxl
import pytest

from cxgauge.dashboards.coverage import read_coverage
from cxgauge.dashboards.figure_types import Period
from cxgauge.dashboards.http import HttpParts, application
from cxgauge.dashboards.report.files import render_report
from cxgauge.dashboards.report.report import Report, build_report
from cxgauge.dashboards.report.workbook import report_xlsx
from cxgauge.dashboards.server import HttpServer
from cxgauge.dashboards.wording import Wording
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.observation import ObservationBatch
from cxgauge.metrics.quality import QualityCounts, Reason
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.store.scope import DataScope
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

START, DAY, HOUR = 1_773_417_600.0, 86_400.0, 3_600.0
MakeDay = Callable[..., ObservationBatch]


@pytest.fixture
def store(migrated_embedded_dsn: str, make_day: MakeDay) -> Iterator[Store]:
    """A day of which some answers had no check, with counts in the first, the last and the next hour."""
    day = make_day(START, seed=2, failures=0.01)
    bill = np.flatnonzero(day.records["series"] >= 2)
    day.records["checks"][bill[:7]] = 0  # not evaluated
    day.records["checks"][bill[7:10]] = 3  # unknown
    counts = QualityCounts()
    for reason, amount, at, step in (
        (Reason.LATE, 5, START, "bill_total"),
        (Reason.LATE, 7, START + DAY - 1, "bill_total"),
        (Reason.LATE, 1_000, START + DAY, "bill_total"),
        (Reason.DUPLICATE, 3, START + HOUR, "bill_total"),
        (Reason.NOT_TAKEN, 40, START + HOUR, "bill_total"),
        (Reason.INVALID, 2, START + HOUR, "bill_total"),
        (Reason.BUFFER_FULL, 4, START + HOUR, "log_in"),
        (Reason.UNKNOWN_STEP, 6, START + HOUR, ""),
    ):
        counts.add(reason, amount, at, "bill_inquiry", step)
    counts.add(Reason.REQUEST_REFUSED, 9, START + HOUR)
    counts.add(Reason.LATE, 11, START + HOUR, "other_flow", "x")
    with Store.open(migrated_embedded_dsn) as store:
        store.migrate()
        store.write([day, counts.batch()], "test", StoredPosition(), StoredPosition(0, 1))
        yield store


def rendered(store: Store, report: Report, kind: str) -> str:
    found = render_report(store, report, kind)
    return found if isinstance(found, str) else found.decode("utf-8-sig", "replace")


@pytest.fixture
def report(store: Store, flow: FlowSpec, today: Period, english: Wording) -> Report:
    return build_report(store, flow, today, None, english, now=today.end)


def test_the_figures_are_those_of_the_hours_of_the_period(report: Report) -> None:
    quality = {one.step: one for one in report.figures.quality.steps}
    bill, log_in, unknown = quality["bill_total"], quality["log_in"], quality[""]

    assert (bill.late, bill.duplicates, bill.sent_back, bill.lost) == (12, 3, 40, 2)
    assert (bill.checks_unknown, bill.checks_skipped) == (3, 7)
    assert bill.reasons == {"duplicate": 3, "invalid": 2, "late": 12, "not_taken": 40}
    assert (log_in.late, log_in.lost, log_in.checks_skipped) == (0, 4, 0)
    assert (unknown.lost, unknown.reasons) == (6, {"unknown_step": 6})
    assert report.figures.quality.unplaced == {"request_refused": 9}
    (check,) = report.figures.steps[1].checks
    assert (check.unknown, check.skipped) == (3, 7)
    assert check.passed + check.failed + check.unknown + 7 == report.figures.steps[1].observations


def test_sql_says_the_same(store: Store, report: Report) -> None:
    with store.connection() as connection:
        rows = connection.execute(
            "SELECT step, reason, sum(amount)::int FROM quality_rollups WHERE flow = 'bill_inquiry' "
            "AND hour >= to_timestamp(%s) AND hour < to_timestamp(%s) GROUP BY step, reason ORDER BY 1, 2",
            (START, START + DAY),
        ).fetchall()
        skipped = connection.execute(
            "SELECT count(*) FROM observations JOIN series USING (series_id) "
            "WHERE step = 'bill_total' AND checks & 3 = 0"
        ).fetchone()
    told = [
        (one.step, reason, amount) for one in report.figures.quality.steps for reason, amount in one.reasons.items()
    ]
    assert sorted(told) == rows
    assert skipped == (7,)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_format_says_it(store: Store, flow: FlowSpec, today: Period, english: Wording, language: str) -> None:
    wording = Wording(language, english.zone)  # type: ignore[arg-type]
    report = build_report(store, flow, today, None, wording, now=today.end)
    headings = {"en": ("Late", "Sent back", "Checks skipped"), "zh": ("迟到", "退回", "检查未执行")}[language]
    beside = {"en": "12 late, 40 sent back, 2 lost", "zh": "迟到 12，退回 40，丢失 2"}[language]

    page = rendered(store, report, "html")
    assert all(f">{heading}</th>" in page for heading in headings)
    assert f"<small>{beside}</small>" in page
    markdown = rendered(store, report, "md")
    title = report.flow.step("bill_total").title.in_language(wording.language)
    assert f"| {title} | 12 | 0 | 0 | 3 | 40 | 2 | 3 | 7 |" in markdown
    found = json.loads(rendered(store, report, "json"))["figures"]["quality"]
    assert [one["late"] for one in found["steps"]] == [0, 12, 0]
    assert found["unplaced"] == {"request_refused": 9}


def test_spreadsheets_have_every_amount(store: Store, report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(rendered(store, report, "csv"))))
    values = {(row["step"], row["figure"]): row["value"] for row in rows}

    assert values["bill_total", "late_observations"] == "12"
    assert values["bill_total", "sent_back_observations"] == "40"
    assert values["bill_total", "left_out_duplicate"] == "3"
    assert values["bill_total", "check_skipped_details_present"] == "7"
    assert values["", "left_out_request_refused"] == "9"
    sheet = openpyxl.load_workbook(io.BytesIO(report_xlsx(report)))["Late, doubled and lost"]
    assert [[cell.value for cell in row] for row in sheet.iter_rows(min_row=2)] == [
        ["Log-in", 0, 0, 0, 0, 0, 4, 0, 0],
        ["Bill total", 12, 0, 0, 3, 40, 2, 3, 7],
        ["step not known", 0, 0, 0, 0, 0, 6, 0, 0],
    ]


@dataclass
class Pages:
    client: httpx.Client

    def table(self, path: str, name: str) -> list[dict[str, str]]:
        answer = self.client.get(path, params={"format": "csv", "table": name}).raise_for_status()
        return list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))


@pytest.fixture
def pages(store: Store, flow: FlowSpec, tmp_path: Path) -> Iterator[Pages]:
    config = Config.parse("timezone: Asia/Shanghai", "cxgauge.yml", tmp_path)
    parts = HttpParts(store, lambda: config, lambda: {flow.name: flow}, clock=lambda: START + DAY)
    server = HttpServer(application(parts), "127.0.0.1", 0)
    server.start()
    try:
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
            yield Pages(client)
    finally:
        server.stop()


def test_the_pages_say_it_beside_the_figures(pages: Pages) -> None:
    by_step = {row["Step"]: row for row in pages.table("/flows/bill_inquiry", "left_out")}
    assert by_step["Bill total"]["Late (count)"] == "12"
    assert by_step["step not known"]["Lost (count)"] == "6"
    reasons = {
        row["Reason"]: row["Count (count)"] for row in pages.table("/flows/bill_inquiry/steps/bill_total", "left_out")
    }
    assert reasons == {"not_taken": "40", "invalid": "2", "late": "12", "duplicate": "3"}
    assert [row["Skipped (count)"] for row in pages.table("/flows/bill_inquiry", "checks")] == ["7"]
    flow_page = pages.client.get("/flows/bill_inquiry").text
    assert re.search(r"<small>12 late, 40 sent back, 2 lost</small>", flow_page)
    step_page = pages.client.get("/flows/bill_inquiry/steps/bill_total").text
    assert "12 late, 40 sent back, 2 lost" in step_page

    coverage = {row["Step"]: row for row in pages.table("/data", "coverage")}
    assert [coverage["Bill total"][f"{name} (count)"] for name in ("Late", "Lost", "Checks skipped")] == [
        "12",
        "2",
        "7",
    ]
    everywhere = [(row["Flow"], row["Reason"], row["Count (count)"]) for row in pages.table("/data", "left_out")]
    assert ("flow not known", "request_refused", "9") in everywhere
    assert "other_flow" not in pages.client.get("/data").text


def test_people_who_see_some_flows_see_no_counts_of_others(store: Store, flow: FlowSpec, today: Period) -> None:
    wording = Wording("en", Config.parse("timezone: Asia/Shanghai", "cxgauge.yml", Path()).timezone)
    cases: tuple[tuple[DataScope, int, dict[str, int]], ...] = (
        (DataScope.of(flows=["bill_inquiry"]), 12, {}),
        (DataScope.of(flows=["other_flow"]), 0, {}),
        (DataScope.of(dimensions={"channel": ["app"]}), 0, {}),
    )
    for scope, late, unplaced in cases:
        report = build_report(store.restricted(scope), flow, today, None, wording, now=today.end)
        assert sum(one.late for one in report.figures.quality.steps) == late
        assert report.figures.quality.unplaced == unplaced


def test_coverage_is_what_a_loop_finds(store: Store, flow: FlowSpec, report: Report) -> None:
    compacted = store.compact()
    assert compacted
    for period, seconds in ((Period(START, START + DAY), 3_600), (Period(START + 600, START + 8_000), 60)):
        found, hours = read_coverage(store, {flow.name: flow}, period, period.end)
        assert hours is (seconds == 3_600)
        rollup, keys = store.read_rollups(period.start, period.end, hours=hours)
        for step in flow.steps:
            mine = rollup.select(np.isin(rollup.series, [one for one, key in keys.items() if key.step == step.name]))
            starts = sorted(set(mine.window_start.tolist()))
            edges = [period.start - seconds, *starts, period.end]
            one = found[flow.name, step.name]
            assert one.covered == pytest.approx(len(starts) / -(-period.seconds // seconds))
            assert one.longest_gap == max(0, *(b - a - seconds for a, b in pairwise(edges)))
            assert one.observations == int(mine.verdicts.sum())
            assert one.last == starts[-1] + seconds
    whole, _ = read_coverage(store, {flow.name: flow}, Period(START, START + DAY), START + DAY)
    bill = whole["bill_inquiry", "bill_total"]
    assert (bill.checks_unknown, bill.checks_skipped, bill.observations) == (3, 7, report.figures.steps[1].observations)
