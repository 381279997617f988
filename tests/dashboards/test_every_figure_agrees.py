"""Every table of a report, in every form, against the documented SQL functions and plain counts of observations."""

from __future__ import annotations

import csv
import io
import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from typing import Any

import numpy as np
import openpyxl
import pytest
from starlette.testclient import TestClient

from cxgauge.dashboards.figure_types import Comparison, Period
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
from cxgauge.metrics.verdict import Verdict

MakeDay = Callable[..., ObservationBatch]
Tables = dict[str, list[list[str]]]


def _with_people(batch: ObservationBatch, seed: int) -> ObservationBatch:
    """Each journey logs in and, mostly, sees its bill a second later; 300 customers make them."""
    random = np.random.default_rng(seed)
    records = batch.records.copy()
    logs_in = np.flatnonzero(records["series"] < 2)
    bills = np.flatnonzero(records["series"] >= 2)
    pairs = min(len(logs_in), len(bills))
    for number in range(len(logs_in)):
        instance = uuid.uuid5(uuid.NAMESPACE_URL, f"{seed}-{number}").bytes
        customer = int(random.integers(1, 301)).to_bytes(16, "little")
        places = [logs_in[number], *([bills[number]] if number < pairs else [])]
        for later, place in enumerate(places):
            records[place]["flow_instance"], records[place]["customer"] = instance, customer
            records[place]["observed_at_us"] = records[logs_in[number]]["observed_at_us"] + later * 1_000_000
    kept = np.concatenate([logs_in, bills[:pairs]])
    records = records[np.sort(kept[random.random(len(kept)) < 0.97])]
    return ObservationBatch(batch.series, records[np.argsort(records["observed_at_us"], kind="stable")])


@pytest.fixture
def store(migrated_embedded_dsn: str, today: Period, yesterday: Comparison, make_day: MakeDay) -> Iterator[Store]:
    with Store.open(migrated_embedded_dsn) as store:
        days = [
            _with_people(make_day(yesterday.period.start, seed=1), 1),
            _with_people(make_day(today.start, seed=2, factor=1.2, failures=0.01), 2),
        ]
        store.write(days, "test", StoredPosition(), StoredPosition(0, 1))
        store.compact()
        yield store


@pytest.fixture
def report(store: Store, flow: FlowSpec, today: Period, yesterday: Comparison, english: Wording) -> Report:
    return build_report(store, flow, today, yesterday, english, now=today.end + 4 * 3_600)


def _asked(store: Store, query: str, **values: Any) -> list[tuple[Any, ...]]:
    with store.connection() as connection:
        return list(connection.execute(query, values).fetchall())


def test_json_has_what_the_documented_functions_give(store: Store, report: Report, today: Period) -> None:
    found = json.loads(report_json(report))["figures"]
    span = {"start": today.start, "end": today.end}
    between = "to_timestamp(%(start)s), to_timestamp(%(end)s)"
    for step in found["steps"]:
        columns = [
            "observations", "answered", "good_answer_ratio", "mean_seconds", "p50_seconds", "p95_seconds",
            "p99_seconds", "simulated", *step["verdicts"],
        ]  # fmt: skip
        query = f"SELECT {', '.join(columns)} FROM cxgauge.step_summary('bill_inquiry', %(step)s, {between})"
        (row,) = _asked(store, query, step=step["step"], **span)
        (counted, answered, ratio, mean), quantiles, simulated, verdicts = row[:4], row[4:7], row[7], list(row[8:])
        assert (step["observations"], step["answered"], step["simulated"]) == (counted, answered, simulated)
        assert list(step["verdicts"].values()) == verdicts
        assert step["good_rate"]["value"] == ratio
        assert step["mean_seconds"] == pytest.approx(mean, rel=1e-14)
        assert [step[name]["value"] for name in ("p50", "p95", "p99")] == pytest.approx(quantiles, rel=1e-14)
        right = step["verdicts"]["good"] + step["verdicts"]["slow"]
        assert step["failures"]["value"] == (counted - right) / counted
        checks = _asked(
            store,
            "SELECT check_name, sum(passed), sum(failed), sum(unknown) FROM cxgauge.check_timeseries('bill_inquiry', "
            f"%(step)s, {between}, '1 hour') GROUP BY check_name",
            step=step["step"], **span,
        )  # fmt: skip
        assert {(one["check"], one["passed"], one["failed"], one["unknown"]) for one in step["checks"]} == set(checks)
        before = _asked(
            store,
            f"SELECT observations, p50_seconds, p95_seconds, p99_seconds FROM cxgauge.step_summary('bill_inquiry', "
            f"%(step)s, {between})",
            step=step["step"], start=today.start - 86_400, end=today.start,
        )[0]  # fmt: skip
        assert step["volume_before"] == before[0]
        levels = [step[f"{name}_change"]["before"] for name in ("p50", "p95", "p99")]
        assert levels == pytest.approx(before[1:], rel=1e-14)


def test_customers_and_flow_instances_are_those_counted_one_by_one(store: Store, report: Report, today: Period) -> None:
    found = json.loads(report_json(report))["figures"]
    rows = _asked(
        store,
        "SELECT flow_instance, customer, s.step, verdict, observed_at FROM cxgauge.observations "
        "JOIN cxgauge.series AS s USING (series_id) WHERE observed_at >= to_timestamp(%(start)s) "
        "AND observed_at < to_timestamp(%(end)s) AND flow_instance IS NOT NULL ORDER BY observed_at",
        start=today.start, end=today.end,
    )  # fmt: skip
    good = int(Verdict.GOOD)
    cost, funnel = found["cost"], found["funnel"]
    assert cost["customers"] == len({customer for _, customer, *_ in rows})
    assert cost["customers_hit"] == len({customer for _, customer, _, verdict, _ in rows if verdict != good})
    instances: dict[Any, list[tuple[str, int]]] = {}
    for instance, _, step, verdict, _ in rows:
        instances.setdefault(instance, []).append((step, verdict))
    assert (funnel["instances"], cost["instances"]) == (len(instances), len(instances))
    hit = sum(any(verdict != good for _, verdict in steps) for steps in instances.values())
    assert cost["instances_hit"] == hit
    for step in funnel["steps"]:
        reached = [steps for steps in instances.values() if any(name == step["step"] for name, _ in steps)]
        assert step["reached"] == len(reached)
        assert step["hit"] == sum(any(v != good for name, v in steps if name == step["step"]) for steps in reached)
    ended = sum(steps[-1][0] == "log_in" for steps in instances.values())
    assert funnel["steps"][0]["given_up"] == ended
    assert funnel["completed"] == len(instances) - ended


def test_every_row_of_csv_and_workbook_is_a_figure_of_json(report: Report) -> None:
    expected = _expected(json.loads(report_json(report))["figures"])
    rows = {(row["step"], row["figure"]): row for row in csv.DictReader(io.StringIO(report_csv(report)))}
    sheet = openpyxl.load_workbook(io.BytesIO(report_xlsx(report)))["Figures"]
    header = [cell.value for cell in sheet[1]]
    cells = {}
    for row in sheet.iter_rows(min_row=2, values_only=True):
        named = dict(zip(header, row, strict=True))
        cells[named["step"] or "", named["figure"]] = named
    assert set(rows) == set(cells)
    assert set(expected) <= set(rows)
    for key, (value, low, high, change) in expected.items():
        for name, figure in (("value", value), ("low_95", low), ("high_95", high), ("change", change)):
            assert (float(rows[key][name]) if rows[key][name] else None) == figure, (key, name)
            assert cells[key][name] == (None if figure is None else pytest.approx(figure, rel=1e-15)), (key, name)


Row = tuple[float | None, float | None, float | None, float | None]


def _expected(figures: dict[str, Any]) -> dict[tuple[str, str], Row]:
    """Step and figure → value, ends of its interval and change, of everything the report's tables show."""

    def of(estimate: dict[str, Any], change: dict[str, Any]) -> Row:
        return estimate["value"], estimate["low"], estimate["high"], change["change"]

    cost, funnel = figures["cost"], figures["funnel"]
    found: dict[tuple[str, str], Row] = {
        ("", "observations"): (figures["observations"], None, None, None),
        ("", "good_answer_rate"): of(figures["good_rate"], figures["good_rate_change"]),
        ("", "error_budget_left"): (figures["budget"]["left"], None, None, None),
        ("", "bad_answers"): (cost["bad_answers"], None, None, None),
        ("", "customers_hit"): (cost["customers_hit"], None, None, None),
        ("", "flow_instances_completed"): of(funnel["completion"], funnel["completion_change"]),
    }
    for name in ("bad_answers_more", "completions_lost", "customers_hit_more"):
        found["", name] = (cost[name]["value"], cost[name]["low"], cost[name]["high"], None)
    for step in funnel["steps"]:
        found[step["step"], "flow_instances_reached"] = of(step["reached_share"], step["reached_change"])
        found[step["step"], "flow_instances_given_up"] = of(step["given_up_share"], step["given_up_change"])
    for step in figures["steps"]:
        name = step["step"]
        for measure, figure in (
            ("p50", "duration_p50"), ("p95", "duration_p95"), ("p99", "duration_p99"), ("good_rate", "good_answer_rate")
        ):  # fmt: skip
            found[name, figure] = of(step[measure], step[f"{measure}_change"])
        found[name, "wrong_or_failed_rate"] = of(step["failures"], step["failures_change"])
        found[name, "observations"] = (step["observations"], None, None, None)
        found[name, "duration_mean"] = (step["mean_seconds"], None, None, None)
        for verdict, count in step["verdicts"].items():
            found[name, f"verdict_{verdict}"] = (count, None, None, None)
        for check in step["checks"]:
            found[name, f"check_failure_rate_{check['check']}"] = of(check["failure_rate"], check["change"])
            found[name, f"check_failed_{check['check']}"] = (check["failed"], None, None, None)
    return found


def _html_tables(html: str) -> Tables:
    """The cells of each table below the heading that stands before it, small print after the figure."""
    found: Tables = {}
    heading = ""
    for match in re.finditer(r"<h[23][^>]*>(.*?)</h[23]>|<table[^>]*>(.*?)</table>", html, re.DOTALL):
        if match[1] is not None:
            heading = _plain(match[1])
            continue
        rows = re.findall(r"<tr[^>]*>(.*?)</tr>", match[2], re.DOTALL)
        cells = [[_plain(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)] for row in rows]
        found.setdefault(heading, cells)
    return found


def _plain(cell: str) -> str:
    words = re.sub(r"<[^>]+>", " ", re.sub(r"<svg.*?</svg>", "", cell, flags=re.DOTALL))
    return unescape(re.sub(r"\s+", " ", words)).strip()


def _differences(tables: Tables, report: Report) -> list[str]:
    """Rows of figures that a table does not show, rounded as they are read."""
    w, f = report.wording, report.figures
    lacking = []

    def expect(table: str, *cells: str) -> None:
        if not any(all(cell in row for cell in cells) for row in tables[table]):
            lacking.append(f"{table}: {cells}")

    against = "Compared with the period before"
    for step in f.steps:
        title = report.flow.step(step.step).title.en
        estimates = [
            f"{w.seconds(one.value)} {w.duration_interval(one)}".strip() for one in (step.p50, step.p95, step.p99)
        ]
        good = f"{w.percent(step.good_rate.value)} {w.rate_interval(step.good_rate)}"
        expect("Steps", title, w.count(step.observations), *estimates, good)
        expect("Verdicts", title, *(w.count(count) for count in step.verdicts.values()))
        for change, rate in (
            (step.p50_change, False), (step.p95_change, False), (step.p99_change, False),
            (step.good_rate_change, True), (step.failures_change, True),
        ):  # fmt: skip
            levels = (w.levels(change, rate=rate), w.change(change, rate=rate), w.detectable(change, rate=rate))
            expect("Every figure compared", *levels)
        expect(against, "Latency", w.change(step.p50_change if step.latency.figure == "p50" else step.p95_change))
        for check in step.checks:
            expect("Checks of the answers", w.count(check.passed + check.failed), w.count(check.failed),
                   w.rate(check.failure_rate))  # fmt: skip
            expect("Every figure compared", w.levels(check.change, rate=True), w.change(check.change, rate=True))
    assert f.funnel is not None
    for one in f.funnel.steps:
        share = f"{w.count(one.given_up)} {w.rate(one.given_up_share)}"
        expect("Where customers went", f"{w.count(one.reached)} {w.share(one.reached_share.value)}", share)
    return lacking


def test_html_shows_every_figure(store: Store, report: Report) -> None:
    html = report_html(report, read_pictures(store, report))
    assert _differences(_html_tables(html), report) == []
    cost = report.figures.cost
    assert cost is not None
    w = report.wording
    for count in (cost.bad_answers, cost.customers_hit, cost.instances_hit):
        assert f"{w.count(count)} of " in html


def test_markdown_shows_the_same_rows_as_html(store: Store, report: Report) -> None:
    tables = _html_tables(report_html(report, read_pictures(store, report)))
    lines = [line for line in report_markdown(report).splitlines() if line.startswith("| ")]
    words = {word for line in lines for word in line.replace("(", " ").replace(")", " ").split()}
    for name in ("Steps", "Verdicts", "Checks of the answers", "Where customers went", "Every figure compared"):
        shown = [word for row in tables[name][1:] for cell in row for word in cell.split() if re.search(r"\d", word)]
        assert [word for word in shown if word.strip("()") not in words] == [], name


def test_a_figure_that_differs_is_noticed(store: Store, report: Report) -> None:
    tables = _html_tables(report_html(report, read_pictures(store, report)))
    step = report.figures.steps[1]
    tampered = [
        replace(step, observations=step.observations + 1),
        replace(step, p95=replace(step.p95, value=(step.p95.value or 0) * 1.01)),
        replace(step, verdicts={**step.verdicts, "slow": step.verdicts["slow"] + 1}),
        replace(step, p50_change=replace(step.p50_change, high=0.9)),
        replace(step, checks=(replace(step.checks[0], failed=step.checks[0].failed + 1),)),
    ]
    for one in tampered:
        changed = replace(report, figures=replace(report.figures, steps=(report.figures.steps[0], one)))
        assert len(_differences(tables, changed)) >= 1


def test_every_table_of_the_pages_has_every_digit(store: Store, report: Report, flow: FlowSpec, today: Period) -> None:
    config = Config.parse("timezone: Asia/Shanghai\n")
    parts = HttpParts(store, lambda: config, lambda: {flow.name: flow}, clock=lambda: today.end + 4 * 3_600)
    client = TestClient(application(parts), base_url="http://127.0.0.1", client=("127.0.0.1", 50_000))
    start, end = (datetime.fromtimestamp(at, UTC).isoformat() for at in (today.start, today.end))

    def table(path: str, name: str) -> list[list[str]]:
        query = {"from": start, "to": end, "compare": "previous", "format": "csv", "table": name}
        text = client.get(path, params=query).text
        assert text.startswith("\ufeff"), text[:200]
        return list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))

    page = "/flows/bill_inquiry"
    for figures in report.figures.steps:
        title = flow.step(figures.step).title.en
        (verdicts,) = (row for row in table(page, "verdicts") if row[0] == title)
        assert verdicts[1:] == [str(count) for count in figures.verdicts.values()]
        for check in figures.checks:
            (row,) = (row for row in table(page, "checks") if row[0] == title)
            assert str(check.failed) in row
            assert repr(check.failure_rate.value) in row
        changes = [row for row in table(page, "changes") if row[0] == title]
        shown = (figures.p50_change, figures.p95_change, figures.p99_change, figures.good_rate_change)
        for row, change in zip(changes, (*shown, figures.failures_change), strict=False):
            for value in (change.before, change.after, change.change, change.low, change.high, change.detectable):
                assert repr(value) in row
        (way,) = (row for row in table(f"{page}/way", "funnel") if row[0] == title)
        assert report.figures.funnel is not None
        (of_step,) = (one for one in report.figures.funnel.steps if one.step == figures.step)
        assert {str(of_step.reached), str(of_step.given_up)} <= set(way)
        assert repr(of_step.given_up_share.value) in way
