"""The report as tables for spreadsheets: every figure in a row of its own, units in the headers, full precision."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime

from ..figure_types import ChangeFigure, Cost, Estimate, Funnel, StepFigures
from .report import Report
from .view import alert_rows, quality

__all__ = ["FigureRow", "figure_rows", "report_csv", "report_xlsx"]

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One figure; ``unit`` is that of value and before. A change is relative, of shares a difference (0–1)."""

    flow: str
    step: str
    figure: str
    unit: str
    value: float | int | None
    low_95: float | None
    high_95: float | None
    observations: int | None
    before: float | None = None
    change: float | None = None
    change_low_95: float | None = None
    change_high_95: float | None = None
    verdict: str = ""
    detectable_change: float | None = None


def figure_rows(report: Report) -> list[FigureRow]:
    """Every figure of the report, the flow as a whole first (with an empty step)."""
    f = report.figures
    rows = [
        _estimate(f.flow, "", "good_answer_rate", "share", f.good_rate, f.good_rate_change),
        FigureRow(f.flow, "", "observations", "count", f.observations, None, None, f.observations),
        FigureRow(f.flow, "", "error_budget_left", "share", f.budget.left, None, None, f.observations),
    ]
    for step in f.steps:
        rows += _step_rows(f.flow, step)
    if f.funnel is not None:
        rows += _funnel_rows(f.flow, f.funnel)
    if f.cost is not None:
        rows += _cost_rows(f.flow, f.cost)
    return rows


def _funnel_rows(flow: str, funnel: Funnel) -> Iterator[FigureRow]:
    yield FigureRow(flow, "", "flow_instances", "count", funnel.instances, None, None, funnel.instances,
                    None if funnel.instances_before is None else float(funnel.instances_before))  # fmt: skip
    yield _estimate(flow, "", "flow_instances_completed", "share", funnel.completion, funnel.completion_change)
    for step in funnel.steps:
        name = step.step
        yield _estimate(flow, name, "flow_instances_reached", "share", step.reached_share, step.reached_change)
        yield _estimate(flow, name, "flow_instances_given_up", "share", step.given_up_share, step.given_up_change)
        yield FigureRow(flow, name, "flow_instances_hit", "count", step.hit, None, None, step.reached)
        for went in step.went:
            share = went.share
            figure = f"went_to_{went.to_step}" if went.to_step else "ended_here"
            yield FigureRow(flow, name, figure, "share", share.value, share.low, share.high, share.observations,
                            went.share_before)  # fmt: skip


def _cost_rows(flow: str, cost: Cost) -> Iterator[FigureRow]:
    amounts = (
        ("bad_answers_more", cost.bad_answers_more),
        ("flow_instances_hit_more", cost.instances_hit_more),
        ("completions_lost", cost.completions_lost),
        ("customers_hit_more", cost.customers_hit_more),
    )
    yield FigureRow(flow, "", "bad_answers", "count", cost.bad_answers, None, None, None)
    yield FigureRow(flow, "", "flow_instances_hit", "count", cost.instances_hit, None, None, cost.instances)
    yield FigureRow(flow, "", "customers_hit", "count", cost.customers_hit, None, None, cost.customers)
    for name, amount in amounts:
        if amount is not None:
            yield FigureRow(flow, "", name, "count", amount.value, amount.low, amount.high, None)


def _step_rows(flow: str, step: StepFigures) -> Iterator[FigureRow]:
    name, count = step.step, step.observations
    before = None if step.volume_before is None else float(step.volume_before)
    yield FigureRow(flow, name, "observations", "count", count, None, None, count, before)
    yield FigureRow(flow, name, "simulated_observations", "count", step.simulated, None, None, count)
    yield _estimate(flow, name, "duration_p50", "seconds", step.p50, step.p50_change)
    yield _estimate(flow, name, "duration_p95", "seconds", step.p95, step.p95_change)
    yield _estimate(flow, name, "duration_p99", "seconds", step.p99, step.p99_change)
    yield FigureRow(flow, name, "duration_mean", "seconds", step.mean_seconds, None, None, step.answered)
    yield FigureRow(flow, name, "duration_target", "seconds", step.target_seconds, None, None, None)
    yield _estimate(flow, name, "good_answer_rate", "share", step.good_rate, step.good_rate_change)
    yield FigureRow(flow, name, "good_answer_objective", "share", step.budget.objective, None, None, None)
    yield FigureRow(flow, name, "error_budget_left", "share", step.budget.left, None, None, count)
    for verdict, number in step.verdicts.items():
        yield FigureRow(flow, name, f"verdict_{verdict}", "count", number, None, None, count)
    for check in step.checks:
        yield _estimate(flow, name, f"check_failure_rate_{check.check}", "share", check.failure_rate, check.change)
        yield FigureRow(flow, name, f"check_failed_{check.check}", "count", check.failed, None, None, None)


def _estimate(flow: str, step: str, figure: str, unit: str, estimate: Estimate, change: ChangeFigure) -> FigureRow:
    return FigureRow(
        flow,
        step,
        figure,
        unit,
        estimate.value,
        estimate.low,
        estimate.high,
        estimate.observations,
        change.before,
        change.change,
        change.low,
        change.high,
        change.status.value,
        change.detectable,
    )


def _headers() -> list[str]:
    return [field.name for field in fields(FigureRow)]


def _safe(cell: object) -> object:
    """Text that a spreadsheet would take for a formula is marked as text."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def report_csv(report: Report) -> str:
    """Comma-separated values in UTF-8, one figure a row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_headers())
    for row in figure_rows(report):
        writer.writerow(["" if cell is None else _safe(cell) for cell in astuple(row)])
    return text.getvalue()


def report_xlsx(report: Report) -> bytes:
    """A workbook with the sheets figures, alerts and about.

    Raises:
        ValueError: the package that writes workbooks is not installed.
    """
    try:
        import xlsxwriter
    except ImportError as error:
        raise ValueError("format 'xlsx' needs XlsxWriter; install cxgauge[xlsx]") from error
    data = io.BytesIO()
    w, f = report.wording, report.figures
    text = w.translator.text
    with xlsxwriter.Workbook(data, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}) as book:
        bold = book.add_format({"bold": True, "bottom": 1})
        title = report.flow.title.in_language(w.language)
        about: list[tuple[object, ...]] = [
            (text("{flow}: experience report", flow=title),),
            (report.headline.text.replace("*", ""),),
            (report.headline.objective,),
            (text("Period"), w.period(f.period), w.zone_name(f.period.start)),
            (text("Compared with"), w.period(f.compared.period) if f.compared else "–"),
            (text("Owner"), report.flow.owner),
            *((line,) for line in quality(report)),
            (text("Made by cxgauge on {at}", at=w.time(report.generated_at // 1)),),
        ]
        alerts = [(row.id, row.began, row.what.replace("*", ""), row.state, row.handling) for row in alert_rows(report)]
        alert_headers = ("id", text("Began"), text("What"), text("State"), text("Handling"))
        sheets: list[tuple[str, Sequence[str], Sequence[Sequence[object]], tuple[int, ...]]] = [
            (text("About"), (), about, (40, 44, 20)),
            (text("Figures"), _headers(), [astuple(row) for row in figure_rows(report)], (18, 24, 32, 9)),
            (text("Alerts"), alert_headers, alerts, (16, 20, 90, 24, 40)),
        ]
        for name, headers, rows, widths in sheets:
            sheet = book.add_worksheet(name)
            for column, width in enumerate(widths):
                sheet.set_column(column, column, width)
            if headers:
                sheet.write_row(0, 0, headers, bold)
                sheet.freeze_panes(1, 0)
                sheet.autofilter(0, 0, max(1, len(rows)), len(headers) - 1)
            for number, row in enumerate(rows, 1 if headers else 0):
                for column, cell in enumerate(row):
                    if isinstance(cell, str):
                        sheet.write_string(number, column, cell)
                    elif cell is not None:
                        sheet.write(number, column, cell)
        book.set_properties({"title": title, "created": datetime.fromtimestamp(report.generated_at, UTC)})
    return data.getvalue()
