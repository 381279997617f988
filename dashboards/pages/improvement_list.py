"""The improvement ledger: the list by filters, one entry with what came of it, and the form for a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from ...alerts.alert import Alert, alert_from_json
from ...metrics.deviation import DeviationKind
from ...metrics.specification.flow import FlowSpec, StepSpec
from ...metrics.store.named_queries import named_query
from ...metrics.store.scope import DataScope
from ...metrics.store.store import Store
from ..charts import Chart
from ..figure_types import ChangeFigure, ChangeStatus, Period
from ..improvement_words import (
    STANDINGS,
    customers_words,
    field_words,
    measure_words,
    standing_words,
    trail_words,
)
from ..improvements import MEASURES, Improvement, outcomes, read_improvement, read_improvements, standing
from ..periods import aligned
from ..report.data import read_rows
from ..wording import NOTHING, Wording
from .improvement_table import STYLES, improvement_table, is_rate, ledger_order, verdict_words
from .request import PageRequest
from .step import step_charts
from .table import Cells, Column, Row, Table

__all__ = ["LEDGER_FILTERS", "NEW_FIELDS", "improvement_page", "improvements_page", "new_improvement_page"]

LEDGER_FILTERS = ("flow", "state", "owner", "page")
"""Parameters of the list."""

NEW_FIELDS = ("flow", "step", "measure", "alert")
"""What the form for a new entry may begin with."""

_PAGE_LENGTH = 25
_CSV_LENGTH = 500
_JUDGED_MOST = 100  # a filter by verdict has to judge before it can choose
_PAGES_MOST = 1_000
_VERDICTS = ("better", "same", "worse", "too_few")
_CHART_SECONDS = 14 * 86_400


def improvements_page(store: Store, flows: Mapping[str, FlowSpec], asked: PageRequest) -> dict[str, Any]:
    """The ledger: what is overdue and planned first, then what was done, newest first.

    Raises:
        ValueError: a filter cannot be used.
    """
    state, number = _filters(asked.own, flows)
    w, own = asked.wording, asked.own
    every = [entry for entry in read_improvements(store) if _is_known(entry, flows)]
    owners = sorted({entry.owner for entry in every if entry.owner})
    every = [one for one in every if own.get("flow", one.flow) == one.flow and own.get("owner", one.owner) == one.owner]
    stands = {entry.id: standing(entry, None, asked.now, w.zone) for entry in every}
    chosen = sorted(every, key=lambda entry: ledger_order(entry, stands[entry.id]))
    judged: dict[str, ChangeFigure] = {}
    if state in _VERDICTS:
        done = [entry for entry in chosen if stands[entry.id] == "done"][:_JUDGED_MOST]
        judged = _judged(store, flows, done, asked)
        chosen = [one for one in done if standing(one, judged[one.id], asked.now, w.zone) == state]
    elif state:
        wanted = ("planned", "overdue") if state == "planned" else (state,)
        chosen = [entry for entry in chosen if stands[entry.id] in wanted]
    length = _CSV_LENGTH if asked.table else _PAGE_LENGTH
    shown = chosen[:_CSV_LENGTH] if asked.table else chosen[(number - 1) * length : number * length]
    judged |= _judged(store, flows, [one for one in shown if one.done_at is not None and one.id not in judged], asked)
    return {
        "tables": [_list(flows, shown, judged, asked)],
        "counts": {name: sum(stand == name for stand in stands.values()) for name in ("overdue", "planned", "done")},
        "states": {name: standing_words(name, w) for name in STANDINGS},
        "flow_names": {name: one.title.in_language(w.language) for name, one in flows.items()},
        "owners": owners,
        "chosen": {name: value for name, value in own.items() if name != "page"},
        "total": len(chosen),
        "pages": -(-len(chosen) // _PAGE_LENGTH),
        "number": number,
        "earlier": asked.link(asked.path, page=str(number - 1)) if number > 1 else "",
        "later": asked.link(asked.path, page=str(number + 1)) if number * _PAGE_LENGTH < len(chosen) else "",
    }  # fmt: skip


def _filters(own: Mapping[str, str], flows: Mapping[str, FlowSpec]) -> tuple[str, int]:
    state, page, flow = own.get("state", ""), own.get("page", "1"), own.get("flow", "")
    if state and state not in STANDINGS:
        raise ValueError(f"state={state!r} is not known; write one of {', '.join(STANDINGS)}")
    if flow and flow not in flows:
        raise ValueError(f"flow={flow!r} is not declared; write one of {', '.join(flows)}")
    if not (page.isascii() and page.isdigit() and 1 <= int(page) <= _PAGES_MOST):
        raise ValueError(f"page={page!r} is not a number from 1 to {_PAGES_MOST}")
    return state, int(page)


def _is_known(entry: Improvement, flows: Mapping[str, FlowSpec]) -> bool:
    return entry.flow in flows and any(step.name == entry.step for step in flows[entry.flow].steps)


def _judged(
    store: Store, flows: Mapping[str, FlowSpec], entries: Sequence[Improvement], asked: PageRequest
) -> dict[str, ChangeFigure]:
    return {
        one.improvement.id: one.change
        for entry in entries
        for one in outcomes(store, flows[entry.flow], [entry], asked.wording, until=asked.now, now=asked.now)
    }


def _list(
    flows: Mapping[str, FlowSpec],
    shown: Sequence[Improvement],
    judged: Mapping[str, ChangeFigure],
    asked: PageRequest,
) -> Table:
    text = asked.wording.translator.text
    empty = text("No entry. A finding becomes an entry on the page of its alert or step.")
    if asked.own.keys() - {"page"}:
        empty = text("No entry fits.")
    return improvement_table(flows, [(entry, judged.get(entry.id)) for entry in shown], asked, empty=empty)


# -- one entry ---------------------------------------------------------------------------------------------------


def improvement_page(
    store: Store, flows: Mapping[str, FlowSpec], identity: str, asked: PageRequest
) -> dict[str, Any] | None:
    """One entry with what came of it; ``None`` when there is none that may be seen."""
    found = read_improvement(store, identity)
    if found is None or not _is_known(found[0], flows):
        return None
    entry, trail = found
    w, flow = asked.wording, flows[entry.flow]
    step = flow.step(entry.step)
    change = _judged(store, flows, [entry], asked).get(entry.id) if entry.done_at is not None else None
    stands = standing(entry, change, asked.now, w.zone)
    cells, text = Cells(w), w.translator.text
    rows = tuple(
        Row((cells.time(one.at), cells.words(trail_words(one.action, w)), cells.words(one.actor or NOTHING),
             cells.words(_details(one.details, w))))
        for one in trail
    )  # fmt: skip
    columns = (Column(text("Time")), Column(text("What")), Column(text("Who")), Column(text("Details")))
    history = Table("history", text("History"), columns, rows, empty=text("Nothing yet."))
    return {
        "entry": entry,
        "flow": flow,
        "step": step,
        "customers": w.listed(customers_words(entry)),
        "measure": measure_words(flow, entry, w),
        "standing": stands,
        "style": STYLES.get(stands, stands),
        "said": standing_words(stands, w),
        "verdict": _verdict(flow, entry, change, w),
        "alert": _alert(store, entry.finding),
        "charts": _charts(store, flow, step, entry, asked),
        "tables": [improvement_table(flows, [(entry, change)], asked), history],
        "history": history,
    }


def _verdict(flow: FlowSpec, entry: Improvement, change: ChangeFigure | None, w: Wording) -> str:
    """One sentence on what came of it; empty while it is not in effect."""
    text = w.translator.text
    if change is None:
        return ""
    if change.status in (ChangeStatus.NOT_COMPARED, ChangeStatus.TOO_FEW):
        return text("Not enough data yet to say whether it helped.")
    rate = is_rate(entry)
    return text("{figure} {verdict}: {levels}, {change}", figure=measure_words(flow, entry, w),
                verdict=verdict_words(entry, change, w), levels=w.levels(change, rate=rate),
                change=w.change(change, rate=rate))  # fmt: skip


def _charts(store: Store, flow: FlowSpec, step: StepSpec, entry: Improvement, asked: PageRequest) -> list[Chart]:
    """The figure over time, from two weeks before it was in effect to two weeks after."""
    if entry.done_at is None:
        return []
    w = asked.wording
    end = min(asked.now, entry.done_at + _CHART_SECONDS)
    length = max(end - entry.done_at, 6 * 3_600.0)
    period = aligned(entry.done_at - length, max(end, entry.done_at + 3_600.0), 3_600)
    rows = read_rows(store, flow.name, step.name, period, None, now=asked.now, dimensions=entry.dimensions or None)
    said = w.translator.text("in effect: {action}", action=entry.action)
    mark = [(entry.done_at, f"{w.time(entry.done_at // 1)} {said}")]
    charts = step_charts(step, rows, Period(period.start, period.end), None, w, asked.now, (), events=mark)
    return charts[1:2] if is_rate(entry) else charts[:1]


def _details(details: Mapping[str, Any], w: Wording) -> str:
    """What was written, by its names in words; empty where something was taken away."""
    text = w.translator.text
    said = []
    for name, value in details.items():
        words = field_words(name, w)
        if not words or value is None:
            continue
        shown = str(value)
        if name == "done_at":
            shown = w.time(datetime.fromisoformat(shown).timestamp())
        elif isinstance(value, dict):
            shown = w.listed([f"{one}={each}" for one, each in value.items()])
        said.append(text("{figure}: {value}", figure=words, value=shown or NOTHING))
    return "; ".join(said)


def _alert(store: Store, finding: str) -> str:
    """The id of the alert that led to it, if there is one that may be seen."""
    return finding if finding and _read_alert(store, finding) is not None else ""


def _read_alert(store: Store, identity: str) -> Alert | None:
    with store.connection() as connection:
        row = connection.execute(named_query("report.alert"), {"alert_id": identity}).fetchone()
    return None if row is None else alert_from_json(row[0])


# -- a new one ---------------------------------------------------------------------------------------------------


def new_improvement_page(
    store: Store, flows: Mapping[str, FlowSpec], asked: PageRequest, scope: DataScope
) -> dict[str, Any]:
    """The form for a new entry, filled in with what an alert or a step says.

    Raises:
        ValueError: there is no such flow or step.
    """
    own = asked.own
    alert = _read_alert(store, own["alert"]) if own.get("alert") else None
    flow = flows.get(alert.flow if alert else own.get("flow", ""))
    if flow is None:
        name = own.get("flow", "")
        if name:
            raise ValueError(f"flow={name!r} is not declared; write one of {', '.join(flows)}")
        return {"flow": None, "flows": flows, "tables": []}
    step = flow.steps[0]
    wanted = alert.scope.step if alert else own.get("step")
    if wanted is not None:
        found = next((one for one in flow.steps if one.name == wanted), None)
        if found is None:
            raise ValueError(f"step={wanted!r} is not in flow {flow.name}; write one of {_names(flow)}")
        step = found
    w = asked.wording
    customers = _customers(flow, alert, scope)
    return {
        "flow": flow,
        "step": step,
        "alert": alert,
        "measure": own.get("measure") or (_measure(alert) if alert else "p95"),
        "measures": _measures(flow, step, w),
        "customers": customers,
        "everybody": not scope.dimensions,
        "tables": [],
    }


def _customers(flow: FlowSpec, alert: Alert | None, scope: DataScope) -> list[tuple[str, str]]:
    """For whom it may be, beside everybody: those whom the alert is about first; as the form sends it, and in words."""
    declared = {one.name for one in flow.dimensions}
    limits = dict(scope.dimensions)
    found = [dict(alert.scope.dimensions)] if alert and set(dict(alert.scope.dimensions)) <= declared else []
    found += [
        {one.name: value}
        for one in flow.dimensions
        for value in sorted(limits.get(one.name, frozenset(one.values or ())))
    ]
    allowed = [one for one in found if one and all(one.get(name) in values for name, values in limits.items())]
    return list(dict.fromkeys((urlencode(one), ", ".join(f"{name}={one[name]}" for name in one)) for one in allowed))


def _names(flow: FlowSpec) -> str:
    return ", ".join(one.name for one in flow.steps)


def _measures(flow: FlowSpec, step: StepSpec, w: Wording) -> list[tuple[str, str]]:
    probe = Improvement("", flow.name, step.name, "", "", "", "", "", 0.0, None)
    names = [*MEASURES, *(f"check:{name}" for name in step.check_names)]
    text = w.translator.text
    found = []
    for name in names:
        words = measure_words(flow, replace(probe, measure=name), w)
        found.append((name, text("Failures of “{check}”", check=words) if name.startswith("check:") else words))
    return found


def _measure(alert: Alert) -> str:
    """The figure in which the alert shows."""
    lead = alert.lead
    check = lead.scope.check or ""
    if check and not check.startswith("verdict:"):
        return f"check:{check}"
    if lead.kind in (DeviationKind.FAILING, DeviationKind.SILENT):
        return "good_rate"
    return "p99" if lead.kind is DeviationKind.TAIL else "p50"
