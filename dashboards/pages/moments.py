"""Alerts and events of a period: tables, and marks and shades for charts."""

from __future__ import annotations

from math import expm1

from ...alerts.alert import Alert
from ...metrics.deviation import Deviation, DeviationKind
from ...metrics.store.events import StoredEvent, events_within
from ...metrics.store.store import Store
from ..figure_types import Period
from ..headline import sentences
from ..report.report import Report
from ..report.view import alert_rows
from ..wording import Wording
from .request import PageRequest
from .table import Cell, Cells, Column, Row, Table

__all__ = [
    "alert_table",
    "concerns",
    "deviation_table",
    "event_marks",
    "event_table",
    "event_words",
    "read_events",
]

_EVENTS_SHOWN = 100
_BETTER = (DeviationKind.FASTER, DeviationKind.IMPROVING, DeviationKind.RECOVERED)


def read_events(store: Store, flow: str, period: Period, step: str | None = None) -> list[StoredEvent]:
    """Deployments, campaigns and the like that concern a flow, or one of its steps, newest first."""
    with store.connection() as connection:
        found = events_within(connection, period.start, period.end, flow, limit=_EVENTS_SHOWN)
    return [event for event in found if step is None or event.step in (None, step)]


def event_words(kind: str, w: Wording) -> str:
    """What a kind of event is called."""
    text = w.translator.text
    return {
        "deployment": text("deployment"),
        "configuration": text("configuration change"),
        "campaign": text("campaign"),
        "incident": text("incident"),
        "maintenance": text("maintenance"),
        "improvement": text("improvement in effect"),
    }.get(kind, kind)


def event_marks(events: list[StoredEvent], w: Wording) -> list[tuple[float, str]]:
    """Moments for a chart, each with its words."""
    return [(event.at, f"{w.time(event.at // 1)} {event_words(event.kind, w)}: {event.title}") for event in events]


def event_table(events: list[StoredEvent], asked: PageRequest) -> Table:
    """Events, newest first."""
    w = asked.wording
    cells, text = Cells(w), w.translator.text
    rows = tuple(
        Row(
            (
                cells.time(event.at),
                cells.time(event.ended_at),
                cells.words(event_words(event.kind, w)),
                cells.words(event.title),
                cells.words(event.version or ""),
            )
        )
        for event in events
    )
    columns = (
        Column(text("Time")),
        Column(text("Ended")),
        Column(text("Kind")),
        Column(text("What")),
        Column(text("Release")),
    )
    note = text("Marked ▼ in the charts. What lies close together in time need not be cause and effect.")
    empty = text("No deployment or other event was reported for this period.")
    return Table("events", text("Events"), columns, rows, empty=empty, note=note)


def concerns(alert: Alert, step: str) -> bool:
    """Whether an alert is about this step, or about the flow as a whole."""
    return alert.scope.step is None or any(member.deviation.scope.step == step for member in alert.members)


def alert_table(report: Report, asked: PageRequest, step: str | None = None) -> Table:
    """Alerts of a report's period, of one step if given."""
    w = report.wording
    cells, text = Cells(w), w.translator.text
    rows = tuple(
        Row(
            (
                cells.time(alert.lead.started_at),
                cells.words(row.what, asked.link(f"/alerts/{row.id}"), emphasis=True),
                cells.words(row.state, style="alert" if row.open else "none"),
                cells.words(row.handling),
            )
        )
        for row, alert in zip(alert_rows(report), report.alerts, strict=True)
        if step is None or concerns(alert, step)
    )
    columns = (Column(text("Began")), Column(text("What")), Column(text("State")), Column(text("Handling")))
    return Table("alerts", text("Alerts"), columns, rows, empty=text("No alert in this period."))


def deviation_table(report: Report, step: str | None = None) -> Table:
    """What detection noted beside alerts, such as what got better, newest first; of one step if given."""
    w = report.wording
    cells, text, say = Cells(w), w.translator.text, sentences(report.flow, w)
    alerted = {
        (one.deviation.kind, one.deviation.scope, one.deviation.started_at)
        for alert in report.alerts
        for one in alert.members
    }

    def row(one: Deviation) -> Row:
        low, high = sorted((expm1(one.effect_low), expm1(one.effect_high)))
        note = text("{low} to {high}", low=w.relative(low), high=w.relative(high))
        better = one.kind in _BETTER
        return Row(
            (
                cells.time(one.started_at),
                cells.words(say.what(one), style="better" if better else "", emphasis=True),
                Cell(say.levels(one), None),
                Cell(w.relative(expm1(one.effect)), expm1(one.effect), low=low, high=high, note=note),
                cells.count(one.observations),
                cells.time(one.detected_at),
            ),
            "better" if better else "",
        )

    found = [
        one
        for one in report.deviations
        if (one.kind, one.scope, one.started_at) not in alerted and step in (None, one.scope.step)
    ]
    columns = (
        Column(text("Began")),
        Column(text("What")),
        Column(text("Before → after"), number=True, picture=True),
        Column(text("Change (95 % interval)"), text("ratio"), number=True, interval=True),
        Column(text("Observations"), text("count"), number=True),
        Column(text("Found"), wide=True),
    )
    empty = text("Detection found nothing else in this period, neither better nor worse.")
    rows = tuple(row(one) for one in reversed(found))
    return Table("deviations", text("Other deviations: what got better, too"), columns, rows, empty=empty)
