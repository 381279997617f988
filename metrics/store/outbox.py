"""Messages on their way to notifiers, and what an Alertmanager was told.

Every function works in the caller's transaction; times are seconds since 1970 UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .connection import Connection
from .named_queries import named_query

__all__ = [
    "ClaimedMessage",
    "GivenUpMessages",
    "WaitingMessages",
    "alertmanager_posts",
    "claim_messages",
    "enqueue_message",
    "given_up_messages",
    "mark_delivered",
    "mark_failed",
    "mark_retry",
    "note_alertmanager_post",
    "note_call",
    "prune_calls",
    "recent_calls",
    "waiting_messages",
]


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message to send now; claimed until its lease ends."""

    delivery_id: int
    attempts: int
    created_at: float
    message: str


@dataclass(frozen=True, slots=True)
class WaitingMessages:
    """What waits for one notifier."""

    notifier: str
    count: int
    oldest_at: float
    next_attempt_at: float
    last_error: str | None


@dataclass(frozen=True, slots=True)
class GivenUpMessages:
    """What one notifier gave up for one reason."""

    notifier: str
    reason: str | None
    count: int
    newest_at: float


def enqueue_message(
    connection: Connection,
    alert_id: str,
    sequence: int,
    notifier: str,
    message: str,
    now: float,
    not_before: float | None = None,
) -> None:
    """Put a message into the outbox; the same transition is never put there twice for one notifier."""
    values = {
        "alert_id": alert_id,
        "sequence": sequence,
        "notifier": notifier,
        "message": message,
        "now": now,
        "not_before": now if not_before is None else not_before,
    }
    connection.execute(named_query("outbox.enqueue"), values)


def claim_messages(
    connection: Connection, notifier: str, now: float, lease_until: float, limit: int
) -> list[ClaimedMessage]:
    """Take the next messages that are due; whoever dies with them loses them when the lease ends, to be sent again."""
    values = {"notifier": notifier, "now": now, "lease_until": lease_until, "limit": limit}
    rows = connection.execute(named_query("outbox.claim"), values).fetchall()
    return sorted((ClaimedMessage(*row) for row in rows), key=lambda message: message.delivery_id)


def mark_delivered(connection: Connection, ids: Sequence[int], now: float) -> None:
    """These messages arrived."""
    connection.execute(named_query("outbox.delivered"), {"ids": list(ids), "now": now})


def mark_retry(connection: Connection, ids: Sequence[int], at: float, error: str) -> None:
    """These messages are to be tried again."""
    connection.execute(named_query("outbox.retry"), {"ids": list(ids), "at": at, "error": error})


def mark_failed(connection: Connection, ids: Sequence[int], error: str) -> None:
    """These messages are given up."""
    connection.execute(named_query("outbox.failed"), {"ids": list(ids), "error": error})


def waiting_messages(connection: Connection) -> list[WaitingMessages]:
    """What waits, by notifier."""
    return [WaitingMessages(*row) for row in connection.execute(named_query("outbox.waiting")).fetchall()]


def given_up_messages(connection: Connection, since: float) -> list[GivenUpMessages]:
    """What was given up of the messages put into the outbox since a time, by notifier and reason."""
    rows = connection.execute(named_query("outbox.given_up"), {"since": since}).fetchall()
    return [GivenUpMessages(*row) for row in rows]


def recent_calls(connection: Connection, notifier: str, after: float) -> list[float]:
    """When the notifier called its service since a time."""
    values = {"notifier": notifier, "after": after}
    return [row[0] for row in connection.execute(named_query("outbox.recent_calls"), values)]


def note_call(connection: Connection, notifier: str, now: float) -> None:
    """The notifier is about to call its service."""
    connection.execute(named_query("outbox.note_call"), {"notifier": notifier, "now": now})


def prune_calls(connection: Connection, before: float) -> None:
    """Forget old calls."""
    connection.execute(named_query("outbox.prune_calls"), {"before": before})


def alertmanager_posts(connection: Connection, notifier: str) -> dict[str, tuple[float, float | None]]:
    """What an Alertmanager has taken, by alert id: when it first took the alert as firing, and when its end."""
    rows = connection.execute(named_query("outbox.alertmanager_posts"), {"notifier": notifier})
    return {row[0]: (row[1], row[2]) for row in rows}


def note_alertmanager_post(
    connection: Connection, notifier: str, firing: Sequence[str], resolved: Sequence[str], now: float
) -> None:
    """An Alertmanager took these alerts as firing, and those as over."""
    connection.execute(named_query("outbox.note_firing_post"), {"notifier": notifier, "ids": list(firing), "now": now})
    connection.execute(
        named_query("outbox.note_resolved_post"), {"notifier": notifier, "ids": list(resolved), "now": now}
    )
