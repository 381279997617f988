"""The page of one flow: its steps, what changed, verdicts, checks, alerts, events and how far to trust it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...metrics.specification.flow import FlowSpec
from ...metrics.store.store import Store
from ..quality_words import beside
from ..report.report import Report, build_report
from ..report.view import comparison_notes, method, mix_lines, quality, too_few_steps
from .change_table import change_table
from .funnel_table import funnel_table
from .improvement_table import improvements_of
from .moments import alert_table, deviation_table, event_table, read_events
from .quality_table import check_table, quality_table
from .request import PageRequest
from .table import Cell, Cells, Column, Row, Table

__all__ = ["flow_page", "way_page"]


def way_page(store: Store, flow: FlowSpec, asked: PageRequest) -> dict[str, Any]:
    """What the template of the page on flow instances shows: who reached which step, gave up or went where."""
    report = build_report(store, flow, asked.period, asked.compared, asked.wording, now=asked.now)
    return {"report": report, "tables": [funnel_table(report, asked)]}


def flow_page(store: Store, flow: FlowSpec, asked: PageRequest) -> dict[str, Any]:
    """What the template of the flow's page shows."""
    report = build_report(store, flow, asked.period, asked.compared, asked.wording, now=asked.now, on_the_spot=False)
    tables = [
        _steps(report, asked),
        change_table(report),
        _verdicts(report),
        check_table(report, report.figures.steps, with_step=True),
        alert_table(report, asked),
        deviation_table(report),
        improvements_of(report, asked),
        event_table(read_events(store, flow.name, asked.period), asked),
        funnel_table(report, asked),
        quality_table(report),
    ]
    return {
        "report": report,
        "tables": tables,
        "t": {table.name: table for table in tables},
        "too_few": too_few_steps(report),
        "notes": comparison_notes(report),
        "quality": quality(report),
        "mix_lines": mix_lines,
        "method": method(report),
    }


def _steps(report: Report, asked: PageRequest) -> Table:
    w, f = report.wording, report.figures
    cells, text = Cells(w), w.translator.text
    rows = tuple(
        Row(
            (
                cells.words(
                    report.flow.step(step.step).title.in_language(w.language),
                    asked.link(f"/flows/{report.flow.name}/steps/{step.step}"),
                ),
                replace(cells.count(step.observations), note=beside(f, step.step, w)),
                cells.duration(step.p50),
                cells.duration(step.p95),
                cells.duration(step.p99),
                cells.seconds(step.target_seconds),
                cells.rate(step.good_rate),
                cells.budget(step.budget),
            )
        )
        for step in f.steps
    )
    nothing, all_observations = Cell(""), replace(cells.count(f.observations), note=beside(f, None, w))
    foot = Row(
        (
            cells.words(text("All steps")), all_observations, nothing, nothing, nothing, nothing,
            cells.rate(f.good_rate), cells.budget(f.budget),
        )
    )  # fmt: skip
    seconds, ratio, count = text("s"), text("ratio"), text("count")
    columns = (
        Column(text("Step")),
        Column(text("Observations"), count, number=True),
        Column(text("Median"), seconds, number=True, interval=True),
        Column(text("95th percentile"), seconds, number=True, interval=True),
        Column(text("99th percentile"), seconds, number=True, interval=True),
        Column(text("Target"), seconds, number=True),
        Column(text("Good answers"), ratio, number=True, interval=True),
        Column(text("Error budget left"), ratio, number=True),
    )
    note = text("Small print: 95 % intervals.")
    return Table("steps", text("Steps"), columns, rows, foot, note=note)


def _verdicts(report: Report) -> Table:
    w, f = report.wording, report.figures
    cells, text = Cells(w), w.translator.text
    rows = tuple(
        Row(
            (
                cells.words(report.flow.step(step.step).title.in_language(w.language)),
                *(cells.count(count) for count in step.verdicts.values()),
            )
        )
        for step in f.steps
    )
    columns = (
        Column(text("Step")),
        *(Column(w.verdict(label), text("count"), number=True) for label in f.verdicts),
    )
    return Table("verdicts", text("Verdicts"), columns, rows)
