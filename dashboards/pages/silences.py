"""The page of silences, maintenance windows and incidents: what holds messages back, and what must not be learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ...alerts.alert import Silence
from ...alerts.records import load_silences
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.events import StoredEvent, events_of_kinds
from ...metrics.store.scope import DataScope
from ...metrics.store.store import Store
from ..wording import NOTHING, Wording
from .moments import event_words
from .request import PageRequest
from .table import Cells, Column, Row, Table

__all__ = ["INCIDENT_KINDS", "Going", "may_end_event", "may_end_silence", "silences_page"]

INCIDENT_KINDS = ("incident", "maintenance")
"""Kinds of events whose time teaches the baseline nothing."""

_KEPT_SECONDS = 90 * 86_400.0
_LISTED = 200
_HOUR_SECONDS = 3_600.0
_VALUES_MOST = 300


@dataclass(frozen=True, slots=True)
class Going:
    """What is in force or planned, with what is needed to end it; ``path`` is empty where the visitor may not."""

    kind: str
    where: str
    why: str
    who: str
    span: str
    planned: bool
    path: str


def silences_page(store: Store, flows: Mapping[str, FlowSpec], asked: PageRequest, scope: DataScope) -> dict[str, Any]:
    """What the template shows: what goes on or is planned, all of the last ninety days, and the form's choices."""
    now, w = asked.now, asked.wording
    with store.connection() as connection:
        silences = load_silences(connection, now, _KEPT_SECONDS)[-_LISTED:]
        events = events_of_kinds(
            connection, INCIDENT_KINDS, flows, now - _KEPT_SECONDS, now + _KEPT_SECONDS, limit=_LISTED
        )
    silences.sort(key=lambda one: -one.starts_at)
    going = [_silence(one, flows, asked, scope) for one in silences if one.ends_at > now]
    going += [_incident(one, flows, asked, scope) for one in events if one.ended_at is None or one.ended_at > now]
    tables = [_silence_table(silences, flows, asked), _incident_table(events, flows, asked)]
    return {
        "going": going,
        "tables": tables,
        "t": {table.name: table for table in tables},
        "places": _places(flows, w),
        "values": _values(flows, scope),
        "everybody": not scope.dimensions,
        "everywhere": scope.flows is None,
        "page_from": asked.local(now),
        "page_to": asked.local(now + _HOUR_SECONDS),
    }  # fmt: skip


def may_end_silence(silence: Silence, scope: DataScope) -> bool:
    """Whether it speaks of nothing but what the scope shows."""
    pairs = dict(silence.dimensions)
    return (scope.flows is None or silence.flow in scope.flows) and all(
        pairs.get(name) in values for name, values in scope.dimensions
    )


def may_end_event(event: StoredEvent, scope: DataScope) -> bool:
    """Whether it speaks of nothing but what the scope shows; events are of all customers."""
    return not scope.dimensions and (scope.flows is None or event.flow in scope.flows)


def _silence(one: Silence, flows: Mapping[str, FlowSpec], asked: PageRequest, scope: DataScope) -> Going:
    w = asked.wording
    text = w.translator.text
    return Going(
        text("maintenance") if one.maintenance else text("silence"),
        _where(one, flows, w),
        one.comment,
        one.author,
        _span(one.starts_at, one.ends_at, w),
        one.starts_at > asked.now,
        f"/silences/{one.id}/end" if may_end_silence(one, scope) else "",
    )


def _incident(one: StoredEvent, flows: Mapping[str, FlowSpec], asked: PageRequest, scope: DataScope) -> Going:
    w = asked.wording
    known = one.identity is not None and may_end_event(one, scope)
    return Going(
        event_words(one.kind, w),
        _place(one.flow, one.step, flows, w),
        one.title,
        str(one.details.get("by", "")),
        _span(one.at, one.ended_at, w),
        one.at > asked.now,
        f"/incidents/{one.identity}/end" if known else "",
    )


def _span(start: float, end: float | None, w: Wording) -> str:
    text = w.translator.text
    if end is None:
        return text("since {at}, until it is ended", at=w.time(start // 1))
    return text("{start} to {end}", start=w.time(start // 1), end=w.time(end // 1))


def _where(one: Silence, flows: Mapping[str, FlowSpec], w: Wording) -> str:
    place = _place(None if one.flow == "*" else one.flow, None if one.step == "*" else one.step, flows, w)
    kinds = [] if one.kind == "*" else [one.kind]
    return w.listed([place, *(f"{name}={value}" for name, value in one.dimensions), *kinds])


def _place(flow: str | None, step: str | None, flows: Mapping[str, FlowSpec], w: Wording) -> str:
    text = w.translator.text
    if flow is None:
        return text("all flows")
    spec = flows.get(flow)
    title = spec.title.in_language(w.language) if spec else flow
    if step is None:
        return title
    known = next((one for one in spec.steps if one.name == step), None) if spec else None
    return text("{flow} › {step}", flow=title, step=known.title.in_language(w.language) if known else step)


def _silence_table(silences: list[Silence], flows: Mapping[str, FlowSpec], asked: PageRequest) -> Table:
    w, now = asked.wording, asked.now
    cells, text = Cells(w), w.translator.text

    def state(one: Silence) -> str:
        if one.ends_at > now:
            return text("planned") if one.starts_at > now else text("in force")
        return text("ended early by {who}", who=one.ended_by) if one.ended_by else text("over")

    rows = tuple(
        Row(
            (
                cells.time(one.starts_at),
                cells.time(one.ends_at),
                cells.words(state(one), style="warning" if one.starts_at <= now < one.ends_at else "none"),
                cells.words(text("maintenance") if one.maintenance else text("silence")),
                cells.words(_where(one, flows, w)),
                cells.words(one.comment),
                cells.words(one.author or NOTHING),
                cells.words(one.id, style="mono"),
            )
        )
        for one in silences
    )
    columns = (
        Column(text("From")),
        Column(text("To")),
        Column(text("State")),
        Column(text("Kind")),
        Column(text("Where")),
        Column(text("Why")),
        Column(text("Who")),
        Column(text("Name"), wide=True),
    )
    empty = text("No message was held back in the last ninety days.")
    return Table("silences", text("Silences and maintenance"), columns, rows, empty=empty)


def _incident_table(events: list[StoredEvent], flows: Mapping[str, FlowSpec], asked: PageRequest) -> Table:
    w = asked.wording
    cells, text = Cells(w), w.translator.text
    rows = tuple(
        Row(
            (
                cells.time(one.at),
                cells.time(one.ended_at),
                cells.words(event_words(one.kind, w)),
                cells.words(_place(one.flow, one.step, flows, w)),
                cells.words(one.title),
                cells.words(str(one.details.get("by", "")) or NOTHING),
            )
        )
        for one in events
    )
    columns = (
        Column(text("From")),
        Column(text("To")),
        Column(text("Kind")),
        Column(text("Where")),
        Column(text("What")),
        Column(text("Who")),
    )
    empty = text("No incident was reported in the last ninety days.")
    note = text("Without an end four hours are left out of learning.")
    return Table("incidents", text("Incidents"), columns, rows, empty=empty, note=note)


def _places(flows: Mapping[str, FlowSpec], w: Wording) -> list[tuple[str, list[tuple[str, str]]]]:
    """Flows and their steps as a form's choices: title, then ``(value, words)``."""
    text = w.translator.text
    return [
        (
            flow.title.in_language(w.language),
            [
                (flow.name, text("{flow}: all steps", flow=flow.title.in_language(w.language))),
                *((f"{flow.name}/{step.name}", step.title.in_language(w.language)) for step in flow.steps),
            ],
        )
        for flow in flows.values()
    ]


def _values(flows: Mapping[str, FlowSpec], scope: DataScope) -> list[tuple[str, str]]:
    """Values of dimensions as a form's choices; of a limited visitor those of the limits."""
    limits = dict(scope.dimensions)
    pairs = [
        (one.name, value)
        for flow in flows.values()
        for one in flow.dimensions
        if not limits or one.name in limits
        for value in sorted(limits.get(one.name, frozenset(one.values or ())))
    ]
    return [(urlencode([pair]), f"{pair[0]}={pair[1]}") for pair in dict.fromkeys(pairs)][:_VALUES_MOST]
