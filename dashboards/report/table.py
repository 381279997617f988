"""The report as a table for programs: every figure in a row of its own with its unit, at full precision."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields

from ..figure_types import ChangeFigure, Conclusion, Cost, DataQuality, Estimate, Funnel, StepFigures
from .report import Report

__all__ = ["FigureRow", "figure_headers", "figure_rows", "report_csv"]

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
    rows += _quality_rows(f.flow, f.quality)
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
    yield _estimate(flow, name, "wrong_or_failed_rate", "share", step.failures, step.failures_change)
    for about, found in (("latency", step.latency), ("correctness", step.correctness)):
        if found.conclusion is not Conclusion.NOT_COMPARED:
            yield FigureRow(flow, name, f"{about}_by_{found.figure}", "verdict", None, None, None, None,
                            verdict=found.conclusion.value)  # fmt: skip
    yield FigureRow(flow, name, "good_answer_objective", "share", step.budget.objective, None, None, None)
    yield FigureRow(flow, name, "error_budget_left", "share", step.budget.left, None, None, count)
    for verdict, number in step.verdicts.items():
        yield FigureRow(flow, name, f"verdict_{verdict}", "count", number, None, None, count)
    for check in step.checks:
        yield _estimate(flow, name, f"check_failure_rate_{check.check}", "share", check.failure_rate, check.change)
        results = {"failed": check.failed, "unknown": check.unknown, "skipped": check.skipped}
        for figure, amount in results.items():
            yield FigureRow(flow, name, f"check_{figure}_{check.check}", "count", amount, None, None, None)


def _quality_rows(flow: str, quality: DataQuality) -> Iterator[FigureRow]:
    """What came late, twice or not at all: sums of each step, and every reason there is."""
    for one in quality.steps:
        sums = {
            "late": one.late, "time_corrected": one.corrected, "merged_as_other": one.merged,
            "duplicate": one.duplicates, "sent_back": one.sent_back, "lost": one.lost,
        }  # fmt: skip
        for name, amount in sums.items():
            yield FigureRow(flow, one.step, f"{name}_observations", "count", amount, None, None, None)
        for reason, amount in one.reasons.items():
            yield FigureRow(flow, one.step, f"left_out_{reason}", "count", amount, None, None, None)
    for reason, amount in quality.unplaced.items():
        yield FigureRow("", "", f"left_out_{reason}", "count", amount, None, None, None)


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


def figure_headers() -> list[str]:
    """Names of the columns."""
    return [field.name for field in fields(FigureRow)]


def _safe(cell: object) -> object:
    """Text that a spreadsheet would take for a formula is marked as text."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def report_csv(report: Report) -> str:
    """Comma-separated values in UTF-8, one figure a row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(figure_headers())
    for row in figure_rows(report):
        writer.writerow(["" if cell is None else _safe(cell) for cell in astuple(row)])
    return text.getvalue()
