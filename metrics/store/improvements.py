"""Tables of the improvement ledger; every function works in the caller's transaction. Times are seconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg.types.json import Jsonb

from .connection import Connection
from .named_queries import named_query

__all__ = [
    "Improvement",
    "TrailRow",
    "insert_improvement",
    "lock_improvement",
    "note_improvement",
    "read_ledger",
    "read_trail",
    "update_improvement",
]

_LISTED = 2_000


@dataclass(frozen=True, slots=True)
class Improvement:
    """One entry of the ledger.

    Attributes:
        id: Eight hexadecimal digits.
        flow: The flow.
        step: The step that is to get better.
        measure: The figure that is to get better: ``p50``, ``p95``, ``p99``, ``good_rate`` or ``check:NAME``.
        action: What is done.
        owner: Who does it.
        due: ISO date until when, or empty.
        finding: What was found, such as the id of an alert.
        planned_at: When it was written down.
        done_at: Since when it is in effect; ``None`` while it is not.
        note: Anything else.
        dimensions: For which customers; empty for all.
        dropped_at: When it was given up; ``None`` unless it was.
    """

    id: str
    flow: str
    step: str
    measure: str
    action: str
    owner: str
    due: str
    finding: str
    planned_at: float
    done_at: float | None
    note: str = ""
    dimensions: dict[str, str] = field(default_factory=dict)
    dropped_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is still to be done."""
        return self.done_at is None and self.dropped_at is None


@dataclass(frozen=True, slots=True)
class TrailRow:
    """What somebody did to an entry: ``planned``, ``changed``, ``done``, ``dropped`` or ``reopened``."""

    at: float
    actor: str
    action: str
    details: dict[str, Any]


def insert_improvement(connection: Connection, entry: Improvement) -> None:
    """Write an entry down."""
    values = {
        "id": entry.id, "flow": entry.flow, "step": entry.step, "measure": entry.measure,
        "dimensions": Jsonb(entry.dimensions), "action": entry.action, "owner": entry.owner, "due": entry.due or None,
        "finding": entry.finding, "note": entry.note, "planned_at": entry.planned_at,
    }  # fmt: skip
    connection.execute(named_query("improvements.add"), values)


def update_improvement(connection: Connection, entry: Improvement) -> None:
    """Change what may change of an entry; what is in effect is an event of that time, too."""
    values = {
        "id": entry.id, "action": entry.action, "owner": entry.owner, "due": entry.due or None, "note": entry.note,
        "done_at": entry.done_at, "dropped_at": entry.dropped_at,
    }  # fmt: skip
    connection.execute(named_query("improvements.change"), values)
    event = {"flow": entry.flow, "step": entry.step, "title": entry.action, "identity": f"improvement-{entry.id}"}
    if entry.done_at is None:
        connection.execute(named_query("improvements.remove_event"), event)
    else:
        connection.execute(named_query("improvements.put_event"), event | {"at": entry.done_at})


def lock_improvement(connection: Connection, identity: str) -> Improvement | None:
    """The entry, which nobody else changes until the transaction ends; ``None`` when there is none."""
    if connection.execute(named_query("improvements.lock"), {"id": identity}).fetchone() is None:
        return None
    return next(iter(read_ledger(connection, identity=identity)), None)


def read_ledger(
    connection: Connection, flow: str | None = None, identity: str | None = None, limit: int = _LISTED
) -> list[Improvement]:
    """Entries, oldest first; of one flow, or one of them."""
    rows = connection.execute(named_query("improvements.read"), {"flow": flow, "id": identity, "limit": limit})
    return [Improvement(*row) for row in rows.fetchall()]


def note_improvement(
    connection: Connection, identity: str, actor: str, action: str, details: Mapping[str, Any], at: float
) -> None:
    """Note who did what to an entry."""
    values = {"id": identity, "at": at, "actor": actor, "action": action, "details": Jsonb(dict(details))}
    connection.execute(named_query("improvements.note"), values)


def read_trail(connection: Connection, identity: str) -> list[TrailRow]:
    """What happened to an entry, oldest first."""
    rows = connection.execute(named_query("improvements.trail"), {"id": identity}).fetchall()
    return [TrailRow(*row) for row in rows]
