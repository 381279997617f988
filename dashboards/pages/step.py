"""The page of one step: durations and good answers over time, distribution, verdicts, checks, dimensions, examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import expm1, isfinite, log
from typing import Any

from ...alerts.alert import Alert
from ...alerts.coverage import step_sensitivity
from ...metrics.specification.flow import FlowSpec, StepSpec
from ...metrics.store.store import Store
from ...metrics.verdict import Verdict
from ..charts import Chart, distribution_chart, duration_chart, rate_chart
from ..dimension_rows import DimensionRow, dimension_rows
from ..figure_types import Comparison, Period, StepFigures
from ..quality_words import beside
from ..release_split import RELEASE, split_releases
from ..report.data import Rows, read_bands, read_rows
from ..report.report import Report, build_report
from ..report.view import mix_lines
from ..series import step_points
from ..step_data import StepData
from ..usual import UsualBlocks, usual_blocks
from ..wording import Wording
from .change_table import change_table
from .improvement_table import improvements_of
from .moments import alert_table, concerns, deviation_table, event_marks, event_table, read_events
from .quality_table import check_table, reasons_table
from .request import PageRequest
from .table import Cell, Cells, Chip, Column, Row, Table

__all__ = [
    "around",
    "compared_distribution",
    "example_table",
    "step_charts",
    "step_page",
]

_EXAMPLES = 10
_EXAMPLE_SECONDS = 3_600.0  # single observations are many: only the end of the period is read
_HORIZON_SECONDS = 3_600.0
_DAY_SECONDS = 86_400.0
_FEWEST_RECENT = 100  # fewer show the noise of counting


def step_page(store: Store, flow: FlowSpec, step: StepSpec, asked: PageRequest) -> dict[str, Any]:
    """What the template of the step's page shows."""
    w, period = asked.wording, asked.period
    report = build_report(store, flow, period, asked.compared, w, now=asked.now, funnel=False)
    figures = next(one for one in report.figures.steps if one.step == step.name)
    compared = report.figures.compared
    rows = (report.rows or read_rows(store, flow.name, None, period, compared, now=asked.now)).of_step(step.name)
    events = read_events(store, flow.name, period, step.name)
    charts = step_charts(
        step, rows, period, compared, w, asked.now, report.alerts,
        bands=read_bands(store, flow.name, step.name, period), events=event_marks(events, w),
        usual=usual_blocks(store, flow.name, step.name, period),
    )  # fmt: skip
    if recent := _since_the_alert(store, flow, step, rows, report, asked):
        charts[-1] = recent
    end = min(period.end, asked.now)
    tables = [
        change_table(report, step.name),
        _verdicts(figures, w),
        check_table(report, [figures], with_step=False),
        reasons_table(report, step.name),
        _dimensions(dimension_rows(flow, rows.rollup, rows.keys), w),
        example_table(store, flow.name, step.name, Period(max(period.start, end - _EXAMPLE_SECONDS), end), {}, w),
        alert_table(report, asked, step.name),
        deviation_table(report, step.name),
        improvements_of(report, asked, step.name),
        event_table(events, asked),
    ]
    return {
        "report": report,
        "step": step,
        "figures": figures,
        "title": step.title.in_language(w.language),
        "beside": beside(report.figures, step.name, w),
        "charts": charts,
        "tables": tables,
        "t": {table.name: table for table in tables},
        "place": _place(report, step, asked),
        "mix_lines": mix_lines,
        "sensitivity": _sensitivity(store, flow, step, w),
        "open_alerts": [one for one in report.alerts if one.is_open and concerns(one, step.name)],
    }


def _place(report: Report, step: StepSpec, asked: PageRequest) -> Cell:
    """All steps of the flow in order, each with its observations; the step's own has no link."""
    w = report.wording
    return Cells(w).chips(
        [
            Chip(
                report.flow.step(one.step).title.in_language(w.language),
                "here" if one.step == step.name else "",
                "" if one.step == step.name else asked.link(f"/flows/{report.flow.name}/steps/{one.step}"),
                w.count(one.observations),
            )
            for one in report.figures.steps
        ]
    )


def _since_the_alert(
    store: Store, flow: FlowSpec, step: StepSpec, rows: Rows, report: Report, asked: PageRequest
) -> Chart | None:
    """The distribution since an open alert of the step began: over the whole period it would drown.

    ``None`` without such an alert, with too few answers since, or where other things are compared.
    """
    if asked.compared is not None and asked.compared.kind.startswith(RELEASE):
        return None
    began = [one.lead.started_at for one in report.alerts if one.is_open and concerns(one, step.name)]
    since = min(began, default=asked.now)
    if not began or since <= asked.period.start:
        return None
    rollup = rows.rollup
    after = StepData(rollup.select(rollup.window_start >= since), rows.keys)
    before = StepData(rollup.select(rollup.window_start + rollup.window_seconds <= since), rows.keys)
    if after.answered < _FEWEST_RECENT:
        return None
    text = asked.wording.translator.text
    usual = usual_blocks(store, flow.name, step.name, Period(since, max(asked.now, since + 1)))
    return compared_distribution(
        after, before, asked.wording, names=(text("since the alert began"), text("before it, in this period")),
        usual=usual, target=step.timeliness.target_seconds,
    )  # fmt: skip


def _sensitivity(store: Store, flow: FlowSpec, step: StepSpec, w: Wording) -> tuple[str, str]:
    """The smallest slow-down that the detector finds within an hour, and what to say below it: within a day, too."""
    text = w.translator.text
    if store.scope.dimensions:
        return "–", text("not for a part: detection judges all customers together")
    found = step_sensitivity(store, flow.name, step.name, _HORIZON_SECONDS)
    if found is None or not isfinite(found.ratio):
        return "–", text("the step is still learnt") if found is None or not found.reason else text("not judged yet")
    hour = w.relative(expm1(log(found.ratio)))
    day = step_sensitivity(store, flow.name, step.name, _DAY_SECONDS)
    if day is None or not isfinite(day.ratio):
        return hour, text("found within an hour in half of all cases, at usual traffic")
    return hour, text(
        "found within an hour in half of all cases, at usual traffic; within a day {change}",
        change=w.relative(expm1(log(day.ratio))),
    )


def step_charts(
    step: StepSpec,
    rows: Rows,
    period: Period,
    compared: Comparison | None,
    w: Wording,
    now: float,
    alerts: tuple[Alert, ...],
    *,
    bands: Sequence[tuple[float, float, float]] = (),
    events: Sequence[tuple[float, str]] = (),
    usual: UsualBlocks | None = None,
) -> list[Chart]:
    """Duration, good answers and distribution; an alert's span is shaded, events are marked."""
    points = step_points(rows.rollup, period)
    end = min(period.end, now)
    start = period.start
    shades = [
        (max(start, alert.lead.started_at), min(end, alert.resolved_at or end), alert.id)
        for alert in alerts
        if concerns(alert, step.name) and alert.lead.started_at < end
    ]
    target = step.timeliness.target_seconds
    charts = [
        duration_chart(points, start, end, target, w, shades=shades, bands=bands, events=events),
        rate_chart(points, start, end, step.good_objective, w, shades=shades, events=events),
    ]
    text = w.translator.text
    after, before = _sides(rows, compared)
    names = (text("this period"), w.compared(compared) if compared else "")
    distribution = compared_distribution(after, before, w, names=names, usual=usual, target=target)
    return [*charts, distribution] if distribution else charts


def compared_distribution(
    after: StepData,
    before: StepData | None,
    w: Wording,
    *,
    names: tuple[str, str],
    usual: UsualBlocks | None = None,
    target: float | None = None,
) -> Chart | None:
    """The distribution of one span against another and against what is usual; ``None`` without any answer."""
    if not after.answered:
        return None
    datas = [after, *([before] if before is not None and before.answered else [])]
    low = min(int(data.buckets[0]) for data in datas)
    high = max(int(data.buckets[-1]) for data in datas)
    dense = [data.dense(low, high)[0] for data in datas]
    text, usual_name = w.translator.text, ""
    if usual is not None and len(usual.counts):
        count = len(usual.counts)
        of_days = text("usual (same hours, {count} days)", count=count)
        usual_name = of_days if usual.of_days else text("usual ({count} hours before)", count=count)
    return distribution_chart(
        dense[0],
        dense[1] if len(dense) > 1 else None,
        low,
        w,
        names=names,
        usual=usual.over(low, high) if usual is not None and len(usual.counts) else None,
        usual_name=usual_name,
        target_seconds=target,
    )


def _sides(rows: Rows, compared: Comparison | None) -> tuple[StepData, StepData | None]:
    """What is told and what it is compared with."""
    if compared is not None and compared.kind.startswith(RELEASE):
        split = split_releases(rows.rollup, rows.keys, compared.kind)
        return StepData(split.newer, rows.keys), StepData(split.older, rows.keys, None, split.weights)
    return StepData(rows.rollup, rows.keys), StepData(rows.earlier, rows.keys) if rows.earlier is not None else None


def _verdicts(figures: StepFigures, w: Wording) -> Table:
    cells, text = Cells(w), w.translator.text
    rows = tuple(
        Row(
            (
                Cell(w.verdict(label), label, style=f"verdict-{label}"),
                cells.count(count),
                cells.ratio(count / figures.observations if figures.observations else None),
            )
        )
        for label, count in figures.verdicts.items()
    )
    columns = (
        Column(text("Verdict")),
        Column(text("Observations"), text("count"), number=True),
        Column(text("Share"), text("ratio"), number=True),
    )
    return Table("verdicts", text("Verdicts"), columns, rows)


def _dimensions(found: Sequence[DimensionRow], w: Wording) -> Table:
    cells, text = Cells(w), w.translator.text
    rows = tuple(
        Row(
            (
                cells.words(one.dimension),
                cells.words(one.value),
                cells.count(one.observations),
                cells.duration(one.p50),
                cells.duration(one.p95),
                cells.rate(one.good_rate),
            )
        )
        for one in found
    )
    columns = (
        Column(text("Dimension")),
        Column(text("Value")),
        Column(text("Observations"), text("count"), number=True),
        Column(text("Median"), text("s"), number=True, interval=True),
        Column(text("95th percentile"), text("s"), number=True, interval=True),
        Column(text("Good answers"), text("ratio"), number=True, interval=True),
    )
    return Table("dimensions", text("By dimension"), columns, rows, empty=text("No dimension was sent."))


def example_table(
    store: Store, flow: str, step: str, period: Period, dimensions: Mapping[str, str], w: Wording
) -> Table:
    """The worst observations of a span, with the ids by which to find their traces."""
    cells, text = Cells(w), w.translator.text
    bad = [verdict for verdict in Verdict if verdict is not Verdict.GOOD]
    found = []
    if period.end > period.start:
        found = store.worst_examples(
            period.start, period.end, flow, step, dimensions=dimensions, verdicts=bad, limit=_EXAMPLES
        )
    rows = tuple(
        Row(
            (
                cells.time(one.observed_at),
                Cell(w.verdict(one.verdict.label), one.verdict.label, style=f"verdict-{one.verdict.label}"),
                cells.seconds(one.duration_seconds),
                cells.words(", ".join(f"{name}={value}" for name, value in one.series.dimensions)),
                cells.words(one.trace_id or "", style="mono"),
                cells.words(str(one.flow_instance) if one.flow_instance else "", style="mono"),
                cells.words(text("simulated") if one.simulated else ""),
            )
        )
        for one in found
    )
    columns = (
        Column(text("Time")),
        Column(text("Verdict")),
        Column(text("Duration"), text("s"), number=True),
        Column(text("Dimensions")),
        Column(text("Trace")),
        Column(text("Flow instance")),
        Column(text("Origin")),
    )
    note = text("The worst first, {period}.", period=w.period(period))
    empty = text("No bad answer, {period}.", period=w.period(period))
    return Table("examples", text("Examples"), columns, rows, empty=empty, note=note)


def around(alert_start: float, alert_end: float, now: float) -> Period:
    """The span an alert's chart shows: as long before as since, at least an hour to each side."""
    length = max(3_600.0, alert_end - alert_start)
    start = (alert_start - length) // 60 * 60
    return Period(start, max(start + 120, -(-min(now, alert_end + 3_600) // 60) * 60))
