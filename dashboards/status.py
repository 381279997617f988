"""The state of everything in a few lines: for the terminal and for scripts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..alerts.alert import alert_from_json
from ..alerts.coverage import judged_flows
from ..alerts.text import alert_text
from ..alerts.titles import Titles
from ..metrics.specification.flow import FlowSpec
from ..metrics.store.named_queries import named_query
from ..metrics.store.store import Store
from .figure_types import Period
from .headline import flow_titles
from .overview import FlowSummary, flow_state, read_overview
from .wording import Wording

__all__ = [
    "AlertStatus",
    "FlowStatus",
    "Status",
    "alert_lines",
    "read_status",
    "simulated_line",
    "status_headings",
    "status_lines",
]

_ALERTS_SHOWN = 100


@dataclass(frozen=True, slots=True)
class FlowStatus:
    """One flow: ``state`` is ``alert``, ``missed`` (its objective), ``fine``, ``learning`` or ``no_data``.

    ``learning`` says that no step of it is judged yet, so that the lack of alerts says nothing.
    """

    flow: str
    title: str
    state: str
    observations: int
    simulated: int
    good_rate: float | None
    objective: float
    budget_left: float | None
    last_at: float | None


@dataclass(frozen=True, slots=True)
class AlertStatus:
    """One open alert in a sentence."""

    id: str
    severity: str
    flow: str
    text: str
    acknowledged_by: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """Flows of a period and the alerts open now."""

    period: Period
    flows: tuple[FlowStatus, ...]
    alerts: tuple[AlertStatus, ...]


def read_status(store: Store, flows: Mapping[str, FlowSpec], period: Period, wording: Wording) -> Status:
    """Read the state of every declared flow in ``period``, and the open alerts."""
    summaries = read_overview(store, flows, period)
    judged = judged_flows(store)
    parameters = {"start": period.end, "end": period.end, "limit": _ALERTS_SHOWN}
    with store.connection() as connection:
        rows = connection.execute(named_query("report.alerts_listed"), parameters).fetchall()
    titles = Titles({name: flow_titles(flow) for name, flow in flows.items()})
    alerts = [alert for alert in (alert_from_json(row[0]) for row in rows) if alert.is_open]
    return Status(
        period,
        tuple(_flow(summary, summary.flow.name in judged, wording) for summary in summaries),
        tuple(
            AlertStatus(
                alert.id,
                alert.severity.value,
                alert.flow,
                alert_text(alert, titles, wording.figures, now=0.0).short,
                alert.acknowledged_by,
            )
            for alert in alerts
        ),
    )


def _flow(summary: FlowSummary, judged: bool, wording: Wording) -> FlowStatus:
    return FlowStatus(
        summary.flow.name,
        summary.flow.title.in_language(wording.language),
        flow_state(summary, judged),
        summary.observations,
        summary.simulated,
        summary.good_rate.value,
        summary.budget.objective,
        summary.budget.left,
        summary.last_at,
    )


def status_headings(wording: Wording) -> tuple[str, ...]:
    """Headings of :func:`status_lines`."""
    text = wording.translator.text
    return (
        text("Flow"),
        text("State"),
        text("Good answers"),
        text("Error budget left"),
        text("Observations"),
        text("Last data"),
    )


def simulated_line(status: Status, wording: Wording) -> str:
    """What the asterisk of :func:`status_lines` means; empty when nothing is simulated."""
    count, total = (sum(getattr(flow, name) for flow in status.flows) for name in ("simulated", "observations"))
    if not count:
        return ""
    said = wording.translator.text(
        "{count} of {total} observations are demonstration data, not customers'",
        count=wording.count(count), total=wording.count(total),
    )  # fmt: skip
    return f"* {said}"


def alert_lines(status: Status, wording: Wording) -> list[str]:
    """One line an open alert; one that says so when there is none."""
    if not status.alerts:
        return [wording.translator.text("No open alert.")]
    return [f"[{alert.id}] {_quoted(alert.text)}" for alert in status.alerts]


def _quoted(text: str) -> str:
    """Text for a terminal: what is emphasised elsewhere stands in quotes."""
    return re.sub(r"\*([^*]+)\*", r"“\1”", text)


def status_lines(status: Status, wording: Wording) -> list[tuple[str, ...]]:
    """Rows for a table: flow, state, good answers, budget left, observations, last data.

    An asterisk behind the observations says that some are simulated; the last data have their date only on another
    day than the period's end.
    """
    text = wording.translator.text
    states = {
        "alert": text("alert open"),
        "missed": text("objective missed"),
        "fine": text("no alert"),
        "learning": text("still learning"),
        "no_data": text("no data"),
    }
    return [
        (
            flow.title,
            states[flow.state],
            wording.percent(flow.good_rate),
            wording.share(flow.budget_left),
            wording.count(flow.observations) + ("*" if flow.simulated else ""),
            "–" if flow.last_at is None else wording.figures.time(flow.last_at, status.period.end - 1),
        )
        for flow in status.flows
    ]
