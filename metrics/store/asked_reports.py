"""Reports that people ask for on a page; works in the caller's transaction. Times are seconds since 1970 UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from .connection import Connection
from .named_queries import named_query
from .scope import DataScope

__all__ = ["Load", "add_asked_report", "asked_load", "give_up_asked_reports"]


@dataclass(frozen=True, slots=True)
class Load:
    """How many reports wait to be made, of how many of them one person asked, and of how many lately."""

    waiting: int
    own_waiting: int
    own_lately: int


def add_asked_report(
    connection: Connection,
    run_id: str,
    flow: str,
    *,
    start: float,
    end: float,
    now: float,
    by: str,
    asked: Mapping[str, Any],
    scope: DataScope,
) -> None:
    """Note that somebody wants a report, of the customers that the scope shows."""
    values = {
        "run_id": run_id, "flow": flow, "start": start, "end": end, "now": now, "by": by, "asked": Jsonb(dict(asked)),
        "dimensions": Jsonb({name: sorted(values) for name, values in scope.dimensions}),
    }  # fmt: skip
    connection.execute(named_query("asked_reports.add"), values)


def asked_load(connection: Connection, by: str, since: float) -> Load:
    """What waits, for everybody and for one person; the caller holds a lock."""
    connection.execute(named_query("server.lock_transaction"), ("cxgauge asked reports",))
    row = connection.execute(named_query("asked_reports.load"), {"by": by, "since": since}).fetchone()
    return Load(*(row or (0, 0, 0)))


def give_up_asked_reports(connection: Connection, before: float, error: str) -> int:
    """Give up what has waited since before then: whoever made it is gone; how many."""
    return connection.execute(named_query("asked_reports.give_up"), {"before": before, "error": error}).rowcount
