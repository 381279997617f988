"""The first page: which flow is bad, at a glance, and by which step; every line leads on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...alerts.alert import RULER, Alert, alert_from_json
from ...alerts.coverage import judged_flows
from ...alerts.text import alert_text
from ...alerts.titles import Titles
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.named_queries import named_query
from ...metrics.store.store import Store
from ..charts import rate_line
from ..headline import flow_titles
from ..overview import FlowSummary, StepSummary, flow_state, read_overview
from .request import PageRequest
from .table import Cell, Cells, Chip, Column, Row, Table

__all__ = ["Attention", "overview_page", "state_words"]

_ATTENTION_SHOWN = 8
_FIRING_READ = 200


@dataclass(frozen=True, slots=True)
class Attention:
    """An open alert as the first page tells it."""

    id: str
    text: str
    grave: bool
    since: float
    acknowledged_by: str | None


def overview_page(store: Store, flows: Mapping[str, FlowSpec], asked: PageRequest) -> dict[str, Any]:
    """What the template of the overview shows; only alerts of ``flows``, and of the ruler itself."""
    summaries = read_overview(store, flows, asked.period)
    with store.connection() as connection:
        rows = connection.execute(named_query("pages.firing"), {"limit": _FIRING_READ}).fetchall()
    firing = [alert_from_json(row[0]) for row in rows]
    alerts = [alert for alert in firing if alert.flow in flows or alert.flow == RULER]
    judged = judged_flows(store)
    states = {one.flow.name: flow_state(one, one.flow.name in judged) for one in summaries}
    return {
        "summaries": summaries,
        "attention": _attention(alerts[:_ATTENTION_SHOWN], flows, asked),
        "more": max(0, len(alerts) - _ATTENTION_SHOWN),
        "counts": {state: sum(found == state for found in states.values()) for state in state_words(asked)},
        "words": state_words(asked),
        "tables": [
            _flows(summaries, states, alerts, asked),
            *([_steps(summaries, states, alerts, asked)] if asked.table == "steps" else []),
        ],
    }


def state_words(asked: PageRequest) -> dict[str, str]:
    """What the states of flows and steps are called, gravest first."""
    text = asked.wording.translator.text
    return {
        "alert": text("alert open"),
        "missed": text("objective missed"),
        "fine": text("no alert"),
        "learning": text("still learning"),
        "no_data": text("no data"),
    }


def _attention(alerts: Iterable[Alert], flows: Mapping[str, FlowSpec], asked: PageRequest) -> list[Attention]:
    titles = Titles({name: flow_titles(flow) for name, flow in flows.items()})
    figures = asked.wording.figures
    return [
        Attention(
            alert.id,
            alert_text(alert, titles, figures, now=asked.now).short,
            alert.severity.value == "critical",
            alert.lead.started_at,
            alert.acknowledged_by,
        )
        for alert in alerts
    ]


def _alerted(alerts: Iterable[Alert]) -> dict[tuple[str, str], str]:
    """Id of the gravest open alert of each step."""
    found: dict[tuple[str, str], str] = {}
    for alert in alerts:
        for member in alert.members:
            scope = member.deviation.scope
            if scope.step is not None and member.recovered_at is None:
                found.setdefault((scope.flow, scope.step), alert.id)
    return found


def _step_state(step: StepSummary, flow_judged: bool, alerted: bool) -> str:
    if alerted:
        return "alert"
    if not step.observations:
        return "no_data"
    if step.budget.left is not None and step.budget.left < 0:
        return "missed"
    return "fine" if flow_judged else "learning"


def _flows(
    summaries: list[FlowSummary], states: Mapping[str, str], alerts: Iterable[Alert], asked: PageRequest
) -> Table:
    w, cells, words = asked.wording, Cells(asked.wording), state_words(asked)
    text = w.translator.text
    alerted = _alerted(alerts)
    rows = []
    for one in summaries:
        name, state = one.flow.name, states[one.flow.name]
        chips = [
            Chip(
                one.flow.step(step.step).title.in_language(w.language),
                found := _step_state(step, state != "learning", (name, step.step) in alerted),
                asked.link(f"/flows/{name}/steps/{step.step}"),
                words[found],
            )
            for step in one.steps
        ]
        rows.append(
            Row(
                (
                    cells.words(one.flow.title.in_language(w.language), asked.link(f"/flows/{name}")),
                    _state(one, state, words[state], asked),
                    cells.chips(chips),
                    cells.rate(one.good_rate),
                    Cell(text("Good answers over time") if one.observations else "", line=rate_line(one.points)),
                    cells.budget(one.budget),
                    cells.count(one.observations),
                    cells.words(one.flow.owner, style=""),
                ),
                state,
            )
        )
    columns = (
        Column(text("Flow")),
        Column(text("State")),
        Column(text("Steps"), wide=True),
        Column(text("Good answers"), text("ratio"), number=True, interval=True),
        Column(text("Over time"), wide=True, picture=True),
        Column(text("Error budget left"), text("ratio"), number=True),
        Column(text("Observations"), text("count"), number=True, wide=True),
        Column(text("Owner"), wide=True),
    )
    return Table("flows", text("Flows"), columns, tuple(rows))


def _state(one: FlowSummary, state: str, words: str, asked: PageRequest) -> Cell:
    cells, plural = Cells(asked.wording), asked.wording.translator.plural
    if state != "alert":
        return cells.words(words, style=state)
    count = plural("{count} open alert", "{count} open alerts", len(one.alerts))
    path = f"/alerts/{one.alerts[0]}" if len(one.alerts) == 1 else "/alerts"
    changes = {} if len(one.alerts) == 1 else {"flow": one.flow.name, "state": "open"}
    return cells.words(count, asked.link(path, **changes), style="alert")


def _steps(
    summaries: list[FlowSummary], states: Mapping[str, str], alerts: Iterable[Alert], asked: PageRequest
) -> Table:
    """Every step of every flow; for the CSV, the page has them as signs."""
    w, cells, words = asked.wording, Cells(asked.wording), state_words(asked)
    text = w.translator.text
    alerted = _alerted(alerts)
    rows = tuple(
        Row(
            (
                cells.words(one.flow.title.in_language(w.language)),
                cells.words(one.flow.step(step.step).title.in_language(w.language)),
                cells.words(
                    words[_step_state(step, states[one.flow.name] != "learning", (one.flow.name, step.step) in alerted)]
                ),
                cells.rate(step.good_rate),
                cells.budget(step.budget),
                cells.count(step.observations),
            )
        )
        for one in summaries
        for step in one.steps
    )
    columns = (
        Column(text("Flow")),
        Column(text("Step")),
        Column(text("State")),
        Column(text("Good answers"), text("ratio"), number=True, interval=True),
        Column(text("Error budget left"), text("ratio"), number=True),
        Column(text("Observations"), text("count"), number=True),
    )
    return Table("steps", text("Steps"), columns, rows)
