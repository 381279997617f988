"""What a step of a report is shown with beside its figures: charts, and the values of its dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ...metrics.specification.flow import FlowSpec
from ...metrics.store.store import Store
from ..charts import Chart
from ..dimension_rows import DimensionRow, dimension_rows
from ..figure_types import FlowFigures, Period
from ..pages.step import step_charts
from ..usual import usual_blocks
from ..wording import Wording
from .data import Rows, read_bands, read_rows
from .report import Report

__all__ = ["StepPictures", "read_pictures"]

_FEWEST_ANSWERS = 30  # fewer show chance rather than a distribution


@dataclass(frozen=True, slots=True)
class StepPictures:
    """Charts and dimensions of one step; no chart of too few answers. ``notes`` say which values are not shown."""

    step: str
    charts: tuple[Chart, ...]
    dimensions: tuple[DimensionRow, ...]
    notes: tuple[str, ...] = ()


def read_pictures(store: Store, report: Report) -> list[StepPictures]:
    """Charts and dimensions of every step with data."""
    figures = report.figures
    return [_pictures(store, report, step.step) for step in figures.steps if step.observations]


def _pictures(store: Store, report: Report, name: str) -> StepPictures:
    figures, flow = report.figures, report.flow
    rows = read_rows(store, flow.name, name, figures.period, figures.compared, now=report.generated_at)
    found = dimension_rows(flow, rows.rollup, rows.keys)
    titled = tuple(_titled(flow, found, report.wording))
    notes = tuple(_left_out(flow, found, rows, report.wording))
    answered = next(step.answered for step in figures.steps if step.step == name)
    charts = _charts(store, report, name, rows) if answered >= _FEWEST_ANSWERS else []
    return StepPictures(name, tuple(charts), titled, notes)


def _charts(store: Store, report: Report, name: str, rows: Rows) -> list[Chart]:
    figures, flow = report.figures, report.flow
    period, compared = _with_data(figures), figures.compared
    if period != figures.period:
        compared = None
        rows = read_rows(store, flow.name, name, period, None, now=report.generated_at)
    return step_charts(
        flow.step(name),
        rows,
        period,
        compared,
        report.wording,
        report.generated_at,
        report.alerts,
        bands=read_bands(store, flow.name, name, period),
        usual=usual_blocks(store, flow.name, name, period),
    )


def _with_data(figures: FlowFigures) -> Period:
    """The period; of a flow that is younger, the time since its first observation, where a chart has something to show.

    Only where nothing is compared: two lines of a chart speak of equally long times.
    """
    quality, whole = figures.quality, figures.period
    if figures.good_rate_change.observations_before or quality.first is None or quality.last is None:
        return whole
    young = quality.first - whole.start > (whole.end - quality.first) and quality.last > quality.first
    return Period(quality.first, max(quality.last, quality.first + 60)) if young else whole


def _left_out(flow: FlowSpec, shown: list[DimensionRow], rows: Rows, w: Wording) -> Iterator[str]:
    """How many values of a dimension are not in the table."""
    seen = set(rows.rollup.series.tolist())
    for dimension in flow.dimensions:
        values = {dict(key.dimensions).get(dimension.name) for number, key in rows.keys.items() if number in seen}
        listed = sum(row.dimension == dimension.name for row in shown)
        if listed < len(values - {None}):
            title = dimension.title.in_language(w.language) if dimension.title is not None else dimension.name
            yield w.translator.text(
                "{dimension}: the {shown} most frequent of {all} values", dimension=title, shown=listed,
                all=len(values - {None}),
            )  # fmt: skip


def _titled(flow: FlowSpec, rows: list[DimensionRow], w: Wording) -> list[DimensionRow]:
    """The rows with dimensions called as people do."""
    titles = {
        one.name: one.title.in_language(w.language) if one.title is not None else one.name for one in flow.dimensions
    }
    return [replace(row, dimension=titles[row.dimension]) for row in rows]
