"""One figure is one figure: plain SQL on the rollups, JSON, CSV, workbook, HTML, Markdown and page say the same."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html import unescape
from typing import Any

import openpyxl
import pytest
from starlette.testclient import TestClient

from cxgauge.dashboards.figure_types import Comparison, Estimate, Period
from cxgauge.dashboards.http import HttpParts, application
from cxgauge.dashboards.report.html import read_pictures, report_html
from cxgauge.dashboards.report.json import report_json
from cxgauge.dashboards.report.markdown import report_markdown
from cxgauge.dashboards.report.report import Report, build_report
from cxgauge.dashboards.report.table import report_csv
from cxgauge.dashboards.report.workbook import report_xlsx
from cxgauge.dashboards.wording import Wording
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.observation import ObservationBatch
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

MakeDay = Callable[..., ObservationBatch]
STEPS = ("log_in", "bill_total")
PLAIN = """
SELECT
    s.step, sum(good + slow + stale + incomplete + wrong + abandoned + timeout + error)::int8, sum(good)::int8,
    sum(slow)::int8, sum(incomplete)::int8, sum(answered)::int8, sum(sum_seconds), coalesce(sum(r.checks[2]), 0)::int8
FROM cxgauge.window_rollups AS r JOIN cxgauge.series AS s USING (series_id)
WHERE s.flow = 'bill_inquiry' AND origin <> 1 AND window_start >= to_timestamp(%s) AND window_start < to_timestamp(%s)
GROUP BY s.step
"""


@pytest.fixture
def store(
    database_dsn: str, today: Period, yesterday: Comparison, make_day: Callable[..., ObservationBatch]
) -> Iterator[Store]:
    with Store.open(database_dsn) as store:
        store.migrate()
        batches = [make_day(yesterday.period.start, seed=1), make_day(today.start, seed=2, factor=1.2, failures=0.01)]
        store.write(batches, "test", StoredPosition(), StoredPosition(0, 1))
        store.compact()
        yield store


@pytest.fixture
def report(store: Store, flow: FlowSpec, today: Period, yesterday: Comparison, english: Wording) -> Report:
    return build_report(store, flow, today, yesterday, english, now=today.end)


@pytest.fixture
def plain(store: Store, today: Period) -> dict[str, tuple[Any, ...]]:
    """Step → observations, good, slow, incomplete, answered, sum of seconds, failed checks, p50, p95, p99."""
    with store.connection() as connection:
        rows = connection.execute(PLAIN, (today.start, today.end)).fetchall()
        return {
            step: (*counts, *_quantiles(connection, step, today))
            for step, *counts in rows
        }  # fmt: skip


def _quantiles(connection: Any, step: str, period: Period) -> list[float]:
    rows = connection.execute(
        "SELECT seconds FROM cxgauge.quantiles('bill_inquiry', %s, to_timestamp(%s), to_timestamp(%s), "
        "ARRAY[0.5, 0.95, 0.99]) ORDER BY q",
        (step, period.start, period.end),
    ).fetchall()
    return [row[0] for row in rows]


def test_json_says_what_plain_sql_says(report: Report, plain: dict[str, tuple[Any, ...]]) -> None:
    figures = json.loads(report_json(report))["figures"]
    for step in figures["steps"]:
        observations, good, slow, incomplete, answered, seconds, failed, *quantiles = plain[step["step"]]
        assert (step["observations"], step["good"], step["answered"]) == (observations, good, answered)
        assert (step["verdicts"]["slow"], step["verdicts"]["incomplete"]) == (slow, incomplete)
        assert sum(check["failed"] for check in step["checks"]) == failed
        assert step["good_rate"]["value"] == good / observations
        assert step["mean_seconds"] == pytest.approx(seconds / answered, rel=1e-14)
        assert [step[name]["value"] for name in ("p50", "p95", "p99")] == pytest.approx(quantiles, rel=1e-14)
    every = [plain[step] for step in STEPS]
    assert figures["good_rate"]["value"] == sum(row[1] for row in every) / sum(row[0] for row in every)
    assert figures["cost"]["bad_answers"] == sum(row[0] - row[1] for row in every)


def test_csv_and_workbook_have_every_digit_of_json(report: Report) -> None:
    found = json.loads(report_json(report))["figures"]
    rows = {(row["step"], row["figure"]): row for row in csv.DictReader(io.StringIO(report_csv(report)))}
    sheet = openpyxl.load_workbook(io.BytesIO(report_xlsx(report)))["Figures"]
    headers = [cell.value for cell in sheet[1]]
    cells = {}
    for row in sheet.iter_rows(min_row=2, values_only=True):
        named = dict(zip(headers, row, strict=True))
        cells[named["step"] or "", named["figure"]] = named
    for step in found["steps"]:
        for measure, figure in (("p50", "duration_p50"), ("p99", "duration_p99"), ("good_rate", "good_answer_rate")):
            key, change = (step["step"], figure), step[f"{measure}_change"]
            expected = {
                "value": step[measure]["value"], "low_95": step[measure]["low"], "high_95": step[measure]["high"],
                "before": change["before"], "change": change["change"], "change_low_95": change["low"],
                "change_high_95": change["high"], "detectable_change": change["detectable"],
            }  # fmt: skip
            assert {name: float(rows[key][name]) for name in expected} == expected
            assert {name: cells[key][name] for name in expected} == pytest.approx(expected, rel=1e-15)
            assert rows[key]["verdict"] == cells[key]["verdict"] == change["status"]


def test_what_people_read_is_the_same_figure_rounded(
    store: Store, report: Report, plain: dict[str, tuple[Any, ...]]
) -> None:
    w = report.wording
    html, markdown = report_html(report, read_pictures(store, report)), report_markdown(report)
    for figures in report.figures.steps:
        observations, good, *_, p50, p95, p99 = plain[figures.step]
        title = report.flow.step(figures.step).title.en
        cells = _row(html, title)
        expected = [w.count(observations), *(w.seconds(value) for value in (p50, p95, p99))]
        assert [cells[0], *cells[1:4]] == expected
        assert cells[5] == w.percent(good / observations)
        line = next(line for line in markdown.splitlines() if line.startswith(f"| {title} |"))
        assert [cell.strip().split(" (")[0] for cell in line.split("|")[2:6]] == expected


def _row(html: str, title: str) -> list[str]:
    """Cells of the first row of that heading, without their small print."""
    row = re.search(rf'<tr><th scope="row">{re.escape(title)}</th>(.*?)</tr>', html, re.DOTALL)
    assert row is not None
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row[1], re.DOTALL)
    return [unescape(re.sub(r"<small>.*?</small>|<[^>]*>", "", cell, flags=re.DOTALL)).strip() for cell in cells]


def test_the_page_and_its_csv_have_every_digit(
    store: Store, report: Report, flow: FlowSpec, today: Period, english: Wording
) -> None:
    config = Config.parse("timezone: Asia/Shanghai\n")
    parts = HttpParts(store, lambda: config, lambda: {flow.name: flow}, clock=lambda: today.end)
    client = TestClient(application(parts), base_url="http://127.0.0.1", client=("127.0.0.1", 50_000))
    start, end = (datetime.fromtimestamp(at, UTC).isoformat() for at in (today.start, today.end))
    query = {"from": start, "to": end, "compare": "previous"}
    page = client.get("/flows/bill_inquiry", params=query).text
    table = client.get("/flows/bill_inquiry", params={**query, "format": "csv", "table": "steps"})
    rows = {row[0]: row for row in csv.reader(io.StringIO(table.text.removeprefix("\ufeff")))}
    for figures in report.figures.steps:
        given = rows[flow.step(figures.step).title.en]
        for estimate in (figures.p50, figures.p95, figures.p99, figures.good_rate):
            assert isinstance(estimate, Estimate)
            assert [repr(part) for part in (estimate.value, estimate.low, estimate.high)] == _after(given, estimate)
            assert f'value="{estimate.value!r}"' in page


def _after(row: list[str], estimate: Estimate) -> list[str]:
    at = row.index(repr(estimate.value))
    return row[at : at + 3]


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_a_comparison_with_no_real_change_says_so(
    embedded_dsn: str, flow: FlowSpec, today: Period, yesterday: Comparison, make_day: Callable[..., ObservationBatch],
    english: Wording, chinese: Wording, seed: int,
) -> None:  # fmt: skip
    with Store.open(embedded_dsn) as store:
        store.migrate()
        batches = [
            make_day(yesterday.period.start, seed=seed, failures=0.01),
            make_day(today.start, seed=seed + 100, failures=0.01),
        ]
        store.write(batches, "test", StoredPosition(), StoredPosition(0, 1))
        text, chinese_text = (
            report_markdown(build_report(store, flow, today, yesterday, wording, now=today.end))
            for wording in (english, chinese)
        )
    assert (
        "**No evidence that Bill inquiry changed against the period before, and not enough data to say that it is the "
        "same; at its busiest step a median slower by" in text
    )
    assert "| Bill total | Median | " in text
    assert " | not enough data |" in text
    assert not re.search(r"\| (slower|faster|worse|better|more failures|fewer failures) \|", text)
    assert "no evidence that it is more or fewer than at the share of the period before" in text
    assert "**没有证据表明“账单查询”与上一期相比有变化，但数据不足以断定持平；" in chinese_text
    assert "| 数据不足 |" in chinese_text
