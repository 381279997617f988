"""The page of one alert: what, since when, evidence, before and after, who is hit, examples, what people did."""

from __future__ import annotations

from collections.abc import Mapping
from math import expm1
from typing import Any

from ...alerts.alert import Alert, Transition, TransitionKind, alert_from_json
from ...alerts.text import alert_text
from ...metrics.deviation import Scope
from ...metrics.specification.flow import FlowSpec, StepSpec
from ...metrics.store.named_queries import named_query
from ...metrics.store.store import Store
from ...metrics.verdict import Verdict
from ..charts import Chart
from ..figure_types import Period
from ..report.data import Rows, read_bands
from ..step_data import StepData
from ..wording import Wording
from .alert_list import alert_flow_title, severity_words, titles_of_flows
from .moments import event_marks, event_table, read_events
from .request import PageRequest
from .step import around, compared_distribution, example_table, step_charts
from .table import Cell, Cells, Column, Row, Table

__all__ = ["alert_page", "transition_words"]

_VERDICT = "verdict:"
_EXAMPLE_SECONDS = 6 * 3_600.0  # single observations are many: a long alert is shown by its beginning


def alert_page(store: Store, flows: Mapping[str, FlowSpec], identity: str, asked: PageRequest) -> dict[str, Any] | None:
    """One alert with its evidence, ``None`` when there is none of this id."""
    with store.connection() as connection:
        row = connection.execute(named_query("report.alert"), {"alert_id": identity}).fetchone()
        if row is None:
            return None
        rows = connection.execute(named_query("report.transitions"), {"alert_id": identity}).fetchall()
    alert = alert_from_json(row[0])
    transitions = [
        Transition(identity, number, TransitionKind(kind), at, by, note) for number, kind, at, by, note in rows
    ]
    w = asked.wording
    flow = flows.get(alert.flow)
    step = next((one for one in flow.steps if one.name == alert.scope.step), None) if flow else None
    end = alert.resolved_at or asked.now
    period = around(alert.lead.started_at, end, asked.now)
    tables = [_members(alert, flow, w), _affected(alert, w), _history(alert, transitions, w)]
    charts: list[Chart] = []
    if flow is not None:
        events = read_events(store, flow.name, period, alert.scope.step)
        tables.append(event_table(events, asked))
        if step is not None:
            charts = _charts(store, flow, step, alert, period, asked)
            since = Period(alert.lead.started_at, min(end, alert.lead.started_at + _EXAMPLE_SECONDS))
            tables.append(example_table(store, flow.name, step.name, since, dict(alert.scope.dimensions), w))
    return {
        "alert": alert,
        "said": alert_text(alert, titles_of_flows(flows), w.figures, now=0.0),
        "severity": severity_words(w)[alert.severity.value],
        "flow": flow,
        "step": step,
        "flow_title": alert_flow_title(flows, alert, w),
        "charts": charts,
        "tables": tables,
        "t": {table.name: table for table in tables},
        "around": period,
    }


def _charts(
    store: Store, flow: FlowSpec, step: StepSpec, alert: Alert, period: Period, asked: PageRequest
) -> list[Chart]:
    """Before and after: durations and good answers over time, and the two distributions."""
    w = asked.wording
    text = w.translator.text
    dimensions = dict(alert.scope.dimensions)
    rollup, keys = store.read_rollups(period.start, period.end, flow.name, step.name, dimensions=dimensions)
    bands = read_bands(store, flow.name, step.name, period) if not dimensions else ()
    marks = event_marks(read_events(store, flow.name, period, step.name), w)
    found = Rows(rollup, None, keys)
    charts = step_charts(step, found, period, None, w, asked.now, (alert,), bands=bands, events=marks)[:2]
    began, end = alert.lead.started_at, alert.resolved_at or asked.now
    ended = rollup.window_start + rollup.window_seconds
    since = StepData(rollup.select((rollup.window_start >= began) & (rollup.window_start < end)), keys)
    before = StepData(rollup.select(ended <= began), keys)
    names = (text("since it began"), text("before"))
    distribution = compared_distribution(since, before, w, names=names, target=step.timeliness.target_seconds)
    return [*charts, distribution] if distribution else charts


def _members(alert: Alert, flow: FlowSpec | None, w: Wording) -> Table:
    """The places in which the same cause shows."""
    cells, text = Cells(w), w.translator.text
    rows = []
    for member in alert.members:
        scope, lead = member.deviation.scope, member.deviation
        where = [_step_title(flow, scope.step, w), *(f"{name}={value}" for name, value in scope.dimensions)]
        rows.append(
            Row(
                (
                    cells.words(", ".join(where)),
                    cells.words(_check_title(flow, scope, w)),
                    Cell(w.relative(expm1(lead.effect)), expm1(lead.effect), low=expm1(lead.effect_low),
                         high=expm1(lead.effect_high), note=_interval(lead.effect_low, lead.effect_high, w)),
                    cells.count(lead.observations),
                    cells.time(lead.started_at),
                    cells.time(member.recovered_at),
                )
            )
        )  # fmt: skip
    columns = (
        Column(text("Where")),
        Column(text("Check")),
        Column(text("Change (95 % interval)"), text("ratio"), number=True, interval=True),
        Column(text("Observations"), text("count"), number=True),
        Column(text("Began")),
        Column(text("Recovered")),
    )
    return Table("places", text("Where it shows"), columns, tuple(rows))


def _step_title(flow: FlowSpec | None, name: str | None, w: Wording) -> str:
    if name is None:
        return w.translator.text("the flow as a whole")
    step = next((one for one in flow.steps if one.name == name), None) if flow else None
    return step.title.in_language(w.language) if step else name


def _check_title(flow: FlowSpec | None, scope: Scope, w: Wording) -> str:
    """The check that fails more often, or the verdict that is given more often."""
    name = scope.check or ""
    verdict = name.removeprefix(_VERDICT)
    if verdict != name and verdict in {one.label for one in Verdict}:
        return w.verdict(verdict)
    return w.check_title(flow, scope.step, name) if flow and scope.step and name else name


def _interval(low: float, high: float, w: Wording) -> str:
    return w.translator.text("{low} to {high}", low=w.relative(expm1(low)), high=w.relative(expm1(high)))


def _affected(alert: Alert, w: Wording) -> Table:
    """Which customers it concerns, by dimension."""
    cells, text = Cells(w), w.translator.text
    contributions = alert.attribution.contributions if alert.attribution else ()
    rows = tuple(
        Row(
            (
                cells.words(", ".join(f"{name}={value}" for name, value in one.dimensions)),
                Cell(w.relative(expm1(one.effect)), expm1(one.effect), low=expm1(one.effect_low),
                     high=expm1(one.effect_high), note=_interval(one.effect_low, one.effect_high, w)),
                Cell(w.share(one.share), one.share, low=one.share_low, high=one.share_high,
                     note=text("{low} to {high}", low=w.share(one.share_low), high=w.share(one.share_high))),
            )
        )
        for one in contributions
    )  # fmt: skip
    columns = (
        Column(text("Dimensions")),
        Column(text("Change (95 % interval)"), text("ratio"), number=True, interval=True),
        Column(text("Of the whole change"), text("ratio"), number=True, interval=True),
    )
    empty = text("No group of customers stands out, as far as the data can tell.")
    return Table("affected", text("Who is affected"), columns, rows, empty=empty)


def _own_note(transition: Transition) -> str:
    """What the evaluator noted for itself; which places joined stands in a table of its own."""
    return "" if transition.kind in (TransitionKind.JOINED, TransitionKind.RECOVERED) else transition.note


def _history(alert: Alert, transitions: list[Transition], w: Wording) -> Table:
    """Who did what when, and how large it was found to be meanwhile; oldest first."""
    cells, text = Cells(w), w.translator.text
    nothing = Cell("")
    entries = [
        (
            one.at,
            Row(
                (
                    cells.time(one.at),
                    cells.words(transition_words(one, w)),
                    cells.words(one.by),
                    cells.words(one.note if one.by else _own_note(one)),
                    nothing,
                    nothing,
                ),
                "person" if one.by else one.kind.value,
            ),
        )
        for one in transitions
    ]
    entries += [
        (
            one.at,
            Row(
                (
                    cells.time(one.at),
                    cells.words(text("its size as far as known then")),
                    cells.words(""),
                    cells.words(""),
                    Cell(w.relative(expm1(one.effect)), expm1(one.effect), low=expm1(one.effect_low),
                         high=expm1(one.effect_high), note=_interval(one.effect_low, one.effect_high, w)),
                    cells.count(one.observations),
                ),
                "size",
            ),
        )
        for one in alert.history
    ]  # fmt: skip
    entries.sort(key=lambda entry: entry[0])
    columns = (
        Column(text("Time")),
        Column(text("What")),
        Column(text("Who")),
        Column(text("Note")),
        Column(text("Change (95 % interval)"), text("ratio"), number=True, interval=True),
        Column(text("Observations"), text("count"), number=True),
    )
    return Table("history", text("History"), columns, tuple(row for _, row in entries), empty=text("Nothing yet."))


def transition_words(transition: Transition, w: Wording) -> str:
    """What happened, in words."""
    text = w.translator.text
    return {
        TransitionKind.OPENED: text("found"),
        TransitionKind.JOINED: text("another place of the same cause joined"),
        TransitionKind.UPDATED: text("its size changed"),
        TransitionKind.FIRED: text("reported"),
        TransitionKind.REOPENED: text("came back"),
        TransitionKind.RECOVERED: text("one place recovered"),
        TransitionKind.RESOLVED: text("over"),
        TransitionKind.REMINDED: text("reminded"),
        TransitionKind.MUTED: text("messages held back"),
        TransitionKind.UNMUTED: text("messages no longer held back"),
        TransitionKind.ACKNOWLEDGED: text("acknowledged"),
        TransitionKind.ASSIGNED: text("assigned"),
        TransitionKind.COMMENTED: text("comment"),
        TransitionKind.ACCEPTED: text("accepted as the new normal"),
    }[transition.kind]
