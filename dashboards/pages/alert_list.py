"""The list of alerts, by filters and page by page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...alerts.alert import RULER, Alert, Severity, alert_from_json
from ...alerts.text import alert_text
from ...alerts.titles import Titles
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.named_queries import named_query
from ...metrics.store.store import Store
from ..headline import flow_titles
from ..wording import Wording
from .request import PageRequest
from .table import Cells, Column, Row, Table

__all__ = ["ALERT_FILTERS", "alert_flow_title", "alerts_page", "severity_words", "titles_of_flows"]

ALERT_FILTERS = ("state", "flow", "owner", "severity", "page")
"""Parameters of the list, beside the period."""

STATES = ("open", "new", "acknowledged", "over")
_PAGE_LENGTH = 50
_PAGES_MOST = 1_000
_CSV_LENGTH = 5_000


def titles_of_flows(flows: Mapping[str, FlowSpec]) -> Titles:
    """Titles as texts of alerts want them."""
    return Titles({name: flow_titles(flow) for name, flow in flows.items()})


def alert_flow_title(flows: Mapping[str, FlowSpec], alert: Alert, w: Wording) -> str:
    """The title of an alert's flow; the ruler itself is *Measurement*."""
    if alert.flow == RULER:
        return w.translator.text("Measurement")
    flow = flows.get(alert.flow)
    return flow.title.in_language(w.language) if flow else alert.flow


def severity_words(w: Wording) -> dict[str, str]:
    """What severities are called."""
    text = w.translator.text
    return {
        Severity.CRITICAL.value: text("critical"),
        Severity.WARNING.value: text("warning"),
        Severity.INFO.value: text("information"),
    }


def alerts_page(store: Store, flows: Mapping[str, FlowSpec], asked: PageRequest) -> dict[str, Any]:
    """Alerts of the period that pass the filters, open ones first; only those of ``flows`` and of the ruler itself.

    Raises:
        ValueError: a filter cannot be used.
    """
    state, severity, number = _filters(asked.own)
    owner, flow = asked.own.get("owner"), asked.own.get("flow")
    wanted = [name for name, one in flows.items() if owner in (None, one.owner) and flow in (None, name)]
    if owner is None and flow in (None, RULER):
        wanted.append(RULER)
    length = _CSV_LENGTH if asked.table else _PAGE_LENGTH
    parameters = {
        "start": asked.period.start, "end": asked.period.end, "flows": wanted, "severity": severity, "state": state,
        "limit": length, "offset": 0 if asked.table else (number - 1) * length,
    }  # fmt: skip
    with store.connection() as connection:
        rows = connection.execute(named_query("pages.alerts"), parameters).fetchall()
    total = int(rows[0][1]) if rows else 0
    w = asked.wording
    text = w.translator.text
    own = {name: value for name, value in asked.own.items() if name != "page"}
    without_page = replace(asked, own=own)
    pages = -(-total // _PAGE_LENGTH)
    return {
        "tables": [alert_list(flows, [alert_from_json(row[0]) for row in rows], asked)],
        "total": total,
        "states": {
            "open": text("open"),
            "new": text("open, not acknowledged"),
            "acknowledged": text("open, acknowledged"),
            "over": text("over"),
        },
        "severities": severity_words(w),
        "flow_names": {name: one.title.in_language(w.language) for name, one in flows.items()},
        "owners": sorted({one.owner for one in flows.values() if one.owner}),
        "chosen": own,
        "number": number,
        "pages": pages,
        "earlier": without_page.link(asked.path, page=str(number - 1)) if number > 1 else "",
        "later": without_page.link(asked.path, page=str(number + 1)) if number < pages else "",
    }


def _filters(own: Mapping[str, str]) -> tuple[str | None, str | None, int]:
    state, severity = own.get("state"), own.get("severity")
    if state is not None and state not in STATES:
        raise ValueError(f"state={state!r} is not known; write one of {', '.join(STATES)}")
    if severity is not None and severity not in set(Severity):
        raise ValueError(f"severity={severity!r} is not known; write one of {', '.join(Severity)}")
    page = own.get("page", "1")
    if not (page.isascii() and page.isdigit() and 1 <= int(page) <= _PAGES_MOST):
        raise ValueError(f"page={page!r} is not a number from 1 to {_PAGES_MOST}")
    return state, severity, int(page)


def alert_list(flows: Mapping[str, FlowSpec], alerts: list[Alert], asked: PageRequest) -> Table:
    """Alerts as a table; each row leads to its alert."""
    w = asked.wording
    cells, text, titles = Cells(w), w.translator.text, titles_of_flows(flows)
    severities = severity_words(w)
    rows = tuple(
        Row(
            (
                cells.time(alert.lead.started_at),
                cells.words(alert_flow_title(flows, alert, w)),
                cells.words(
                    alert_text(alert, titles, w.figures, now=asked.now).short,
                    asked.link(f"/alerts/{alert.id}"),
                    emphasis=True,
                ),
                cells.words(severities[alert.severity.value], style=alert.severity.value),
                cells.words(
                    text("open")
                    if alert.is_open
                    else text("over since {at}", at=w.time((alert.resolved_at or 0) // 1)),
                    style="alert" if alert.is_open else "none",
                ),
                cells.words(alert.acknowledged_by or ""),
                cells.words(alert.assignee or ""),
                cells.words(alert.id, style="mono"),
            )
        )
        for alert in alerts
    )
    columns = (
        Column(text("Began")),
        Column(text("Flow")),
        Column(text("What")),
        Column(text("Severity")),
        Column(text("State")),
        Column(text("Acknowledged by"), wide=True),
        Column(text("Assigned to"), wide=True),
        Column(text("Id"), wide=True),
    )
    return Table("alerts", text("Alerts"), columns, rows, empty=text("No alert in this period."))
