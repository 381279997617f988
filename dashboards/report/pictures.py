"""What a step of a report is shown with beside its figures: charts, and the values of its dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...metrics.observation import SeriesKey
from ...metrics.rollup import Rollup
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.store import Store
from ..charts import Chart
from ..figure_types import Estimate
from ..pages.step import step_charts
from ..step_data import StepData, quantile_estimate, rate_estimate
from ..usual import usual_blocks
from ..wording import Wording
from .data import read_bands, read_rows
from .report import Report

__all__ = ["DimensionRow", "StepPictures", "read_pictures"]

_VALUES_SHOWN = 12


@dataclass(frozen=True, slots=True)
class DimensionRow:
    """One value of a dimension at a step."""

    dimension: str
    value: str
    observations: int
    p50: Estimate
    p95: Estimate
    good_rate: Estimate


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
    return StepPictures(name, tuple(charts), tuple(_dimension_rows(flow, rows.rollup, rows.keys, report.wording)))


def _dimension_rows(flow: FlowSpec, rollup: Rollup, keys: Mapping[int, SeriesKey], w: Wording) -> list[DimensionRow]:
    """Figures by the values of each dimension, most frequent first."""
    rows = []
    for dimension in flow.dimensions:
        values: dict[str, dict[int, SeriesKey]] = {}
        for number, key in keys.items():
            value = dict(key.dimensions).get(dimension.name)
            if value is not None:
                values.setdefault(value, {})[number] = key
        title = dimension.title.in_language(w.language) if dimension.title is not None else dimension.name
        found = [_dimension_row(title, value, StepData(rollup, some)) for value, some in values.items()]
        found.sort(key=lambda row: -row.observations)
        rows += [row for row in found if row.observations][:_VALUES_SHOWN]
    return rows


def _dimension_row(name: str, value: str, data: StepData) -> DimensionRow:
    return DimensionRow(
        name,
        value,
        data.observations,
        quantile_estimate(data, 0.5),
        quantile_estimate(data, 0.95),
        rate_estimate(data.good, data.observations),
    )
