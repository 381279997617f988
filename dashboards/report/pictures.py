"""What a step of a report is shown with beside its figures: charts, and the values of its dimensions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...metrics.specification.flow import FlowSpec
from ...metrics.store.store import Store
from ..charts import Chart
from ..dimension_rows import DimensionRow, dimension_rows
from ..pages.step import step_charts
from ..usual import usual_blocks
from ..wording import Wording
from .data import read_bands, read_rows
from .report import Report

__all__ = ["StepPictures", "read_pictures"]


@dataclass(frozen=True, slots=True)
class StepPictures:
    """Charts and dimensions of one step."""

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
        bands=read_bands(store, flow.name, name, figures.period),
        usual=usual_blocks(store, flow.name, name, figures.period),
    )
    found = dimension_rows(flow, rows.rollup, rows.keys)
    return StepPictures(name, tuple(charts), tuple(_titled(flow, found, report.wording)))


def _titled(flow: FlowSpec, rows: list[DimensionRow], w: Wording) -> list[DimensionRow]:
    """The rows with dimensions called as people do."""
    titles = {
        one.name: one.title.in_language(w.language) if one.title is not None else one.name for one in flow.dimensions
    }
    return [replace(row, dimension=titles[row.dimension]) for row in rows]
