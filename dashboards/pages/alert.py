"""The pages of alerts: the list, and one with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...alerts.alert import RULER, Alert, Transition, TransitionKind, alert_from_json
from ...alerts.text import alert_text
from ...alerts.titles import Titles
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.named_queries import named_query
from ...metrics.store.store import Store
from ...metrics.verdict import Verdict
from ..headline import flow_titles
from ..report.data import Rows, read_bands
from ..wording import Wording
from .request import PageRequest
from .step import around, step_charts

__all__ = ["AlertLine", "alert_page", "alerts_page"]

_LISTED = 200
_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class AlertLine:
    """One alert of a list."""

    alert: Alert
    text: str
    flow_title: str


def _titles(flows: Mapping[str, FlowSpec]) -> Titles:
    return Titles({name: flow_titles(flow) for name, flow in flows.items()})


def alerts_page(store: Store, flows: Mapping[str, FlowSpec], asked: PageRequest) -> dict[str, Any]:
    """Alerts of the period, open ones first."""
    parameters = {"start": asked.period.start, "end": asked.period.end, "limit": _LISTED}
    with store.connection() as connection:
        rows = connection.execute(named_query("report.alerts_listed"), parameters).fetchall()
    titles, w = _titles(flows), asked.wording
    lines = []
    for (document,) in rows:
        alert = alert_from_json(document)
        text = alert_text(alert, titles, w.figures, now=0.0)
        lines.append(AlertLine(alert, text.short, _flow_title(flows, alert, w)))
    return {"lines": lines, "limit": _LISTED}


def _flow_title(flows: Mapping[str, FlowSpec], alert: Alert, w: Wording) -> str:
    if alert.flow == RULER:
        return w.translator.text("Measurement")
    flow = flows.get(alert.flow)
    return flow.title.in_language(w.language) if flow else alert.flow


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
    flow = flows.get(alert.flow)
    end = alert.resolved_at or asked.now
    period = around(alert.lead.started_at, end, asked.now)
    charts, examples = [], []
    step = next((one for one in flow.steps if one.name == alert.scope.step), None) if flow else None
    if flow is not None and step is not None:
        dimensions = dict(alert.scope.dimensions)
        rollup, keys = store.read_rollups(period.start, period.end, flow.name, step.name, dimensions=dimensions)
        bands = read_bands(store, flow.name, step.name, period) if not dimensions else ()
        found = Rows(rollup, None, keys)
        charts = step_charts(step, found, period, None, asked.wording, asked.now, (alert,), bands)[:2]
        examples = store.worst_examples(
            alert.lead.started_at,
            end,
            flow.name,
            step.name,
            dimensions=dimensions,
            verdicts=[verdict for verdict in Verdict if verdict is not Verdict.GOOD],
            limit=_EXAMPLES,
        )
    return {
        "alert": alert,
        "said": alert_text(alert, _titles(flows), asked.wording.figures, now=0.0),
        "flow": flow,
        "step": step,
        "flow_title": _flow_title(flows, alert, asked.wording),
        "charts": charts,
        "examples": examples,
        "events": [(transition, transition_words(transition, asked.wording)) for transition in transitions],
    }


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
