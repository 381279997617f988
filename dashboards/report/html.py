"""The report as one self-contained HTML file, and that file as PDF."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...metrics.store.store import Store
from ..charts import Chart
from ..pages.step import DimensionRow, dimension_rows, step_charts
from ..rendering import render
from .data import read_bands, read_rows
from .report import Report
from .view import (
    alert_rows,
    change_rows,
    comparison_notes,
    improvement_lines,
    method,
    mix_lines,
    other_deviations,
    quality,
    too_few_steps,
)

__all__ = ["StepPictures", "read_pictures", "report_html"]

_STATIC = Path(__file__).parents[1] / "static"


@dataclass(frozen=True, slots=True)
class StepPictures:
    """What a step is shown with beside its figures."""

    step: str
    charts: tuple[Chart, ...]
    dimensions: tuple[DimensionRow, ...]


def read_pictures(store: Store, report: Report) -> list[StepPictures]:
    """Charts and dimensions of every step with data."""
    figures = report.figures
    return [_pictures(store, report, step.step) for step in figures.steps if step.observations]


def _pictures(store: Store, report: Report, name: str) -> StepPictures:
    figures, flow = report.figures, report.flow
    rows = read_rows(store, flow.name, name, figures.period, figures.compared, now=report.generated_at)
    charts = step_charts(
        flow.step(name),
        rows,
        figures.period,
        figures.compared,
        report.wording,
        report.generated_at,
        report.alerts,
        read_bands(store, flow.name, name, figures.period),
    )
    return StepPictures(name, tuple(charts), tuple(dimension_rows(flow, rows.rollup, rows.keys)))


@cache
def _styles() -> str:
    return (_STATIC / "pages.css").read_text("utf-8")


def report_html(report: Report, steps: list[StepPictures]) -> str:
    """The report as one HTML file that needs nothing else: styles and pictures are in it, and no script."""
    return render(
        "report.html.j2",
        report.wording,
        report=report,
        steps=steps,
        styles=_styles(),
        script="",
        changes=change_rows(report),
        too_few=too_few_steps(report),
        notes=comparison_notes(report),
        alerts=alert_rows(report),
        other_deviations=other_deviations(report),
        mix_lines=mix_lines,
        improvements=improvement_lines(report),
        quality=quality(report),
        method=method(report),
    )
