"""The table of what changed against the compared period, of a flow or of one of its steps."""

from __future__ import annotations

from collections.abc import Iterator

from ..figure_types import ChangeFigure, ChangeStatus, StepFigures
from ..report.report import Report
from .table import Cell, Cells, Column, Row, Table

__all__ = ["change_table"]

_NOT_COMPARABLE = (ChangeStatus.TOO_FEW, ChangeStatus.NOT_COMPARED)


def change_table(report: Report, step: str | None = None) -> Table:
    """Compared figures: the flow's rate first, then those of each step of which anything could be compared."""
    w, f = report.wording, report.figures
    text = w.translator.text
    rows: list[Row] = []
    if step is None and f.good_rate_change.status not in _NOT_COMPARABLE:
        rows.append(_row(report, text("All steps"), text("Good answers"), f.good_rate_change, rate=True))
    for figures in f.steps:
        if step in (None, figures.step):
            rows += _of_step(report, figures)
    columns = (
        Column(text("Step")),
        Column(text("Figure")),
        Column(text("Unit"), unseen=True),
        Column(text("Before"), number=True, unseen=True),
        Column(text("After"), number=True, unseen=True),
        Column(text("Before → after"), number=True, picture=True),
        Column(text("Change (95 % interval)"), text("ratio, of rates a difference"), number=True, interval=True),
        Column(text("Smallest change seen"), text("ratio, of rates a difference"), number=True, wide=True),
        Column(text("Verdict")),
    )
    title = text("Changes")
    if f.compared:
        title = text("Compared with {against}", against=w.compared(f.compared))
    empty = text("There are too few observations in one of the periods to compare anything.")
    note = text(
        "A verdict allows for {count} figures compared together (Bonferroni); the intervals are of each figure alone.",
        count=f.comparisons,
    )
    return Table("changes", title, columns, tuple(rows), empty=empty, note=note)


def _of_step(report: Report, step: StepFigures) -> Iterator[Row]:
    w, text = report.wording, report.wording.translator.text
    changes = (step.p50_change, step.p95_change, step.p99_change, step.good_rate_change)
    if all(change.status in _NOT_COMPARABLE for change in (*changes, *(check.change for check in step.checks))):
        return
    title = report.flow.step(step.step).title.in_language(w.language)
    names = (text("Median"), text("95th percentile"), text("99th percentile"), text("Good answers"))
    for name, change in zip(names, changes, strict=True):
        yield _row(report, title, name, change, rate=change is step.good_rate_change)
    yield _row(report, title, text("Wrong or failed"), step.failures_change, rate=True, failures=True)
    for check in step.checks:
        name = text("Failures of “{check}”", check=w.check_title(report.flow, step.step, check.check))
        yield _row(report, title, name, check.change, rate=True, failures=True)


def _row(
    report: Report, step: str, figure: str, change: ChangeFigure, *, rate: bool = False, failures: bool = False
) -> Row:
    w = report.wording
    cells, text = Cells(w), w.translator.text
    verdict = w.status(change, rate=rate, failures=failures)
    return Row(
        (
            cells.words(step),
            cells.words(figure),
            cells.words(text("ratio") if rate else text("s")),
            Cell("", change.before),
            Cell("", change.after),
            Cell(w.levels(change, rate=rate)),
            Cell(w.change(change, rate=rate), change.change, low=change.low, high=change.high),
            Cell(w.detectable(change, rate=rate), change.detectable),
            Cell(verdict, verdict, style=change.status.value),
        ),
        change.status.value,
    )
