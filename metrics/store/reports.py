"""Tables of scheduled reports: what is due, what was made, its files and where they were sent.

Every function works in the caller's connection. Times are seconds since 1970 UTC. What is claimed is claimed until a
time; whoever dies over it leaves it to be claimed again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .connection import Connection
from .named_queries import named_query

__all__ = [
    "ClaimedDelivery",
    "ClaimedRun",
    "DeliveryState",
    "ReportRun",
    "ReportTrouble",
    "add_run",
    "claim_delivery",
    "claim_run",
    "expire_runs",
    "fail_delivery",
    "fail_run",
    "keep_report",
    "known_schedules",
    "mark_report_delivered",
    "put_off_delivery",
    "put_off_run",
    "read_file",
    "read_runs",
    "read_troubles",
]

_DESCRIBED = (
    "run_id", "schedule", "flow", "start", "end", "due_at", "state", "trial", "attempts", "made_at", "error",
    "language", "title", "status", "headline", "asked_by", "asked", "dimensions",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A report to be made now."""

    run_id: str
    schedule: str
    flow: str
    start: float
    end: float
    due_at: float
    trial: bool
    attempts: int


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A report to be sent now to ``target``: a notifier's name, or ``folder``."""

    run_id: str
    target: str
    attempts: int


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """What became of one delivery: ``waiting``, ``delivered`` or ``failed``."""

    target: str
    state: str
    attempts: int
    error: str | None


@dataclass(frozen=True, slots=True)
class ReportRun:
    """One report of the history; ``state`` is ``waiting``, ``made`` or ``failed``. A trial was asked for by hand.

    ``asked_by`` had it made on a page (``asked``: comparison, formats, language); ``None`` when a schedule did.
    ``dimensions`` says of which customers it speaks; empty for all.
    """

    run_id: str
    schedule: str
    flow: str
    start: float
    end: float
    due_at: float
    state: str
    trial: bool
    attempts: int
    made_at: float | None
    error: str | None
    language: str | None
    title: str | None
    status: str | None
    headline: str | None
    asked_by: str | None
    asked: dict[str, Any]
    dimensions: dict[str, list[str]]
    formats: tuple[str, ...]
    deliveries: tuple[DeliveryState, ...]


@dataclass(frozen=True, slots=True)
class ReportTrouble:
    """A report, or its delivery to ``target``, that failed (``state``) or is tried again (``waiting``)."""

    run_id: str
    target: str | None
    state: str
    error: str
    due_at: float


def known_schedules(connection: Connection, names: Collection[str], now: float) -> dict[str, float]:
    """Since when each schedule is known; new ones from ``now`` on, and those no longer configured are forgotten."""
    parameters = {"names": list(names), "now": now}
    connection.execute(named_query("reports.forget_schedules"), parameters)
    connection.execute(named_query("reports.note_schedules"), parameters)
    return dict(connection.execute(named_query("reports.schedules")).fetchall())


def add_run(
    connection: Connection,
    run_id: str,
    schedule: str,
    flow: str,
    *,
    start: float,
    end: float,
    due_at: float,
    now: float,
    trial: bool = False,
) -> bool:
    """Note that a report is due; False when it was noted before."""
    parameters = {
        "run_id": run_id,
        "schedule": schedule,
        "flow": flow,
        "start": start,
        "end": end,
        "due_at": due_at,
        "trial": trial,
        "next_attempt_at": now,
    }
    return connection.execute(named_query("reports.add_run"), parameters).rowcount > 0


def claim_run(connection: Connection, now: float, until: float, run_id: str | None = None) -> ClaimedRun | None:
    """Take the oldest report that is due to be tried, or a certain one."""
    parameters = {"now": now, "until": until, "run_id": run_id}
    row = connection.execute(named_query("reports.claim_run"), parameters).fetchone()
    return None if row is None else ClaimedRun(*row)


def keep_report(
    connection: Connection,
    run_id: str,
    files: Mapping[str, bytes],
    targets: Sequence[str],
    *,
    now: float,
    language: str,
    title: str,
    status: str,
    headline: str,
) -> bool:
    """Keep what was made, and note whom to send it to; False when somebody else made it meanwhile."""
    with connection.transaction():
        described = {
            "run_id": run_id, "now": now, "language": language, "title": title, "status": status, "headline": headline,
        }  # fmt: skip
        if not connection.execute(named_query("reports.run_made"), described).rowcount:
            return False
        for kind, content in files.items():
            connection.execute(named_query("reports.put_file"), {"run_id": run_id, "format": kind, "content": content})
        for target in targets:
            connection.execute(named_query("reports.put_delivery"), {"run_id": run_id, "target": target, "now": now})
    return True


def put_off_run(connection: Connection, run_id: str, error: str, next_attempt_at: float) -> None:
    """Try again later."""
    parameters = {"run_id": run_id, "error": error, "next_attempt_at": next_attempt_at}
    connection.execute(named_query("reports.run_put_off"), parameters)


def fail_run(connection: Connection, run_id: str, error: str) -> None:
    """Give a report up."""
    connection.execute(named_query("reports.run_failed"), {"run_id": run_id, "error": error})


def claim_delivery(
    connection: Connection, now: float, until: float, run_id: str | None = None
) -> ClaimedDelivery | None:
    """Take a delivery that is due to be tried, of any report or of a certain one."""
    parameters = {"now": now, "until": until, "run_id": run_id}
    row = connection.execute(named_query("reports.claim_delivery"), parameters).fetchone()
    return None if row is None else ClaimedDelivery(*row)


def mark_report_delivered(connection: Connection, claimed: ClaimedDelivery, now: float, remark: str = "") -> None:
    """It arrived; ``remark`` says what did not quite work."""
    _of(connection, "delivered", claimed, now=now, error=remark or None)


def put_off_delivery(connection: Connection, claimed: ClaimedDelivery, error: str, next_attempt_at: float) -> None:
    """Try again later."""
    _of(connection, "delivery_put_off", claimed, error=error, next_attempt_at=next_attempt_at)


def fail_delivery(connection: Connection, claimed: ClaimedDelivery, error: str) -> None:
    """Give a delivery up."""
    _of(connection, "delivery_failed", claimed, error=error)


def _of(connection: Connection, query: str, claimed: ClaimedDelivery, **values: Any) -> None:
    parameters = {"run_id": claimed.run_id, "target": claimed.target, **values}
    connection.execute(named_query(f"reports.{query}"), parameters)


def read_runs(
    connection: Connection,
    *,
    run_id: str | None = None,
    flows: Collection[str] | None = None,
    limit: int = 50,
    offset: int = 0,
) -> list[ReportRun]:
    """The history, newest first; of some flows only, or a certain report."""
    parameters = {
        "run_id": run_id,
        "flows": None if flows is None else list(flows),
        "limit": limit,
        "offset": offset,
    }
    rows = connection.execute(named_query("reports.runs"), parameters).fetchall()
    return [_run(row) for row in rows]


def _run(row: Sequence[Any]) -> ReportRun:
    described: dict[str, Any] = dict(zip(_DESCRIBED, row, strict=False))
    return ReportRun(**described, formats=tuple(row[-2]), deliveries=tuple(DeliveryState(**one) for one in row[-1]))


def read_file(connection: Connection, run_id: str, kind: str) -> bytes | None:
    """A file of a report; ``None`` when there is none of this format."""
    row = connection.execute(named_query("reports.file"), {"run_id": run_id, "format": kind}).fetchone()
    return None if row is None else bytes(row[0])


def read_troubles(connection: Connection, since: float, limit: int = 20) -> list[ReportTrouble]:
    """What went wrong with reports due since then and has not come right, newest first."""
    rows = connection.execute(named_query("reports.troubles"), {"since": since, "limit": limit}).fetchall()
    return [ReportTrouble(*row) for row in rows]


def expire_runs(connection: Connection, before: float) -> int:
    """Remove reports that were due before then, with their files; how many."""
    return connection.execute(named_query("reports.expire"), {"before": before}).rowcount
