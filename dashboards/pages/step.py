"""The page of one step: durations and good answers over time, distribution, verdicts, checks, dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...alerts.alert import Alert
from ...metrics.observation import SeriesKey
from ...metrics.rollup import Rollup
from ...metrics.specification.flow import FlowSpec, StepSpec
from ...metrics.store.store import Store
from ..charts import Chart, distribution_chart, duration_chart, rate_chart
from ..figure_types import Comparison, Estimate, Period
from ..figures import StepData, quantile_estimate, rate_estimate
from ..release_split import RELEASE, split_releases
from ..report.data import Rows, read_rows
from ..report.report import build_report
from ..report.view import alert_rows, change_rows, mix_lines
from ..series import step_points
from ..wording import Wording
from .request import PageRequest

__all__ = ["DimensionRow", "around", "dimension_rows", "step_charts", "step_page"]

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


def step_page(store: Store, flow: FlowSpec, step: StepSpec, asked: PageRequest) -> dict[str, Any]:
    """What the template of the step's page shows."""
    report = build_report(store, flow, asked.period, asked.compared, asked.wording, now=asked.now)
    figures = next(one for one in report.figures.steps if one.step == step.name)
    title = step.title.in_language(asked.wording.language)
    rows = read_rows(store, flow.name, step.name, asked.period, asked.compared, now=asked.now)
    return {
        "report": report,
        "step": step,
        "figures": figures,
        "title": title,
        "charts": step_charts(step, rows, asked.period, asked.compared, asked.wording, asked.now, report.alerts),
        "changes": [row for row in change_rows(report) if row.step == title],
        "mix_lines": mix_lines,
        "dimensions": dimension_rows(flow, rows.rollup, rows.keys),
        "alerts": [row for row, alert in zip(alert_rows(report), report.alerts, strict=True) if _of(alert, step)],
    }


def _of(alert: Alert, step: StepSpec) -> bool:
    """Whether an alert is about this step, or about the flow as a whole."""
    return alert.scope.step is None or any(member.deviation.scope.step == step.name for member in alert.members)


def step_charts(
    step: StepSpec,
    rows: Rows,
    period: Period,
    compared: Comparison | None,
    w: Wording,
    now: float,
    alerts: tuple[Alert, ...],
    bands: Sequence[tuple[float, float, float]] = (),
) -> list[Chart]:
    """Duration, good answers and distribution; an alert's span is shaded."""
    points = step_points(rows.rollup, period)
    end = min(period.end, now)
    start = period.start
    shades = [
        (max(start, alert.lead.started_at), min(end, alert.resolved_at or end), alert.id)
        for alert in alerts
        if _of(alert, step) and alert.lead.started_at < end
    ]
    charts = [
        duration_chart(points, start, end, step.timeliness.target_seconds, w, shades=shades, bands=bands),
        rate_chart(points, start, end, step.good_objective, w, shades=shades),
    ]
    distribution = _distribution(rows, compared, w)
    return [*charts, distribution] if distribution else charts


def _distribution(rows: Rows, compared: Comparison | None, w: Wording) -> Chart | None:
    after, before = _sides(rows, compared)
    if not after.answered:
        return None
    datas = [after, *([before] if before is not None and before.answered else [])]
    low = min(int(data.buckets[0]) for data in datas)
    high = max(int(data.buckets[-1]) for data in datas)
    dense = [data.dense(low, high)[0] for data in datas]
    text = w.translator.text
    against = w.compared(compared) if compared else ""
    return distribution_chart(
        dense[0], dense[1] if len(dense) > 1 else None, low, w, names=(text("this period"), against)
    )


def _sides(rows: Rows, compared: Comparison | None) -> tuple[StepData, StepData | None]:
    """What is told and what it is compared with."""
    if compared is not None and compared.kind.startswith(RELEASE):
        split = split_releases(rows.rollup, rows.keys, compared.kind)
        return StepData(split.newer, rows.keys), StepData(split.older, rows.keys, None, split.weights)
    return StepData(rows.rollup, rows.keys), StepData(rows.earlier, rows.keys) if rows.earlier is not None else None


def dimension_rows(flow: FlowSpec, rollup: Rollup, keys: Mapping[int, SeriesKey]) -> list[DimensionRow]:
    """Figures by the values of each dimension, most frequent first."""
    rows = []
    for dimension in flow.dimensions:
        values: dict[str, dict[int, SeriesKey]] = {}
        for number, key in keys.items():
            value = dict(key.dimensions).get(dimension.name)
            if value is not None:
                values.setdefault(value, {})[number] = key
        found = [_dimension_row(dimension.name, value, rollup, some) for value, some in values.items()]
        found.sort(key=lambda row: -row.observations)
        rows += [row for row in found if row.observations][:_VALUES_SHOWN]
    return rows


def _dimension_row(name: str, value: str, rollup: Rollup, keys: Mapping[int, SeriesKey]) -> DimensionRow:
    data = StepData(rollup, keys)
    return DimensionRow(
        name,
        value,
        data.observations,
        quantile_estimate(data, 0.5),
        quantile_estimate(data, 0.95),
        rate_estimate(data.good, data.observations),
    )


def around(alert_start: float, alert_end: float, now: float) -> Period:
    """The span an alert's chart shows: as long before as since, at least an hour to each side."""
    length = max(3_600.0, alert_end - alert_start)
    start = (alert_start - length) // 60 * 60
    return Period(start, max(start + 120, -(-min(now, alert_end + 3_600) // 60) * 60))
