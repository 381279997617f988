"""Table of events; every function works in the caller's transaction. Times are seconds since 1970 UTC."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from psycopg.types.json import Jsonb

from ..change_event import ChangeEvent
from .connection import Connection
from .named_queries import named_query

__all__ = [
    "StoredEvent",
    "end_event",
    "events_near",
    "events_of_kinds",
    "events_within",
    "find_event",
    "put_events",
]


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as stored; ``flow`` ``None`` means all flows, ``ended_at`` ``None`` a moment or an unknown end."""

    at: float
    ended_at: float | None
    kind: str
    flow: str | None
    step: str | None
    title: str
    details: dict[str, Any] = field(default_factory=dict)
    version: str | None = None
    identity: str | None = None


def put_events(connection: Connection, events: Iterable[ChangeEvent]) -> None:
    """Write events whose ``at`` and ``id`` are set; an id that is there already in the same flow is changed.

    Raises:
        ValueError: an event has no ``at`` or no ``id``.
    """
    rows = []
    for event in events:
        if event.at is None or event.id is None:
            raise ValueError(f"event {event.title!r} has no time or no id; set both before it is stored")
        rows.append(
            {
                "at": event.at.timestamp(),
                "ended_at": None if event.ended_at is None else event.ended_at.timestamp(),
                "kind": event.kind,
                "flow": event.flow,
                "step": event.step,
                "title": event.title,
                "details": Jsonb(event.details),
                "version": event.version,
                "identity": event.id,
            }
        )
    with connection.cursor() as cursor:
        cursor.executemany(named_query("events.put"), rows)


def events_within(
    connection: Connection, start: float, end: float, flow: str | None = None, *, limit: int = 100
) -> list[StoredEvent]:
    """Events that began in [start, end) or last into it, newest first; with a flow those of it and those of all."""
    values = {"start": start, "end": end, "flow": flow, "limit": limit}
    return [StoredEvent(*row) for row in connection.execute(named_query("events.within"), values).fetchall()]


def events_near(
    connection: Connection, moment: float, start: float, end: float, flow: str, step: str | None, *, limit: int
) -> list[StoredEvent]:
    """Events concerning a step that began in [start, end] or were going on at ``moment``, nearest first."""
    values = {"moment": moment, "start": start, "end": end, "flow": flow, "step": step, "limit": limit}
    return [StoredEvent(*row) for row in connection.execute(named_query("events.nearest"), values).fetchall()]


def events_of_kinds(
    connection: Connection, kinds: Iterable[str], flows: Iterable[str], start: float, end: float, *, limit: int
) -> list[StoredEvent]:
    """Events of some kinds and flows (or of all flows) that began in [start, end) or last into it, newest first."""
    values = {"kinds": list(kinds), "flows": list(flows), "start": start, "end": end, "limit": limit}
    return [StoredEvent(*row) for row in connection.execute(named_query("events.of_kinds"), values).fetchall()]


def find_event(connection: Connection, identity: str, kinds: Iterable[str]) -> StoredEvent | None:
    """The event of this identity, if it is of one of these kinds."""
    values = {"identity": identity, "kinds": list(kinds)}
    row = connection.execute(named_query("events.identified"), values).fetchone()
    return None if row is None else StoredEvent(*row)


def end_event(connection: Connection, identity: str, kinds: Iterable[str], at: float) -> bool:
    """Say that an event is over; false when there is none, or it was over before."""
    values = {"identity": identity, "kinds": list(kinds), "at": at}
    return connection.execute(named_query("events.end"), values).rowcount > 0
