"""Tables of evaluation, alerts and deliveries; every function works in the caller's transaction.

Times are seconds since 1970 UTC. Alerts and silences travel as JSON documents: their form belongs to
``alerts``; the columns beside them repeat what queries ask for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg.types.json import Jsonb

from ..baseline.bands import BandHour
from ..deviation import Deviation
from .connection import Connection
from .named_queries import named_query

__all__ = [
    "AlertRow",
    "ClaimedMessage",
    "DetectorState",
    "GivenUpMessages",
    "SilenceRow",
    "StoredBaseline",
    "TransitionRow",
    "WaitingMessages",
    "add_bands",
    "add_baseline",
    "alertmanager_posts",
    "claim_messages",
    "completions",
    "detector_state",
    "enqueue_message",
    "find_silences",
    "given_up_messages",
    "lock_alerts",
    "mark_delivered",
    "mark_failed",
    "mark_retry",
    "newest_baseline",
    "newest_baseline_id",
    "note_alertmanager_post",
    "note_call",
    "progress",
    "prune_calls",
    "read_alert",
    "read_alerts",
    "read_current_alerts",
    "read_silences",
    "read_transitions",
    "recent_calls",
    "save_alert",
    "save_detector_state",
    "save_deviation",
    "save_silence",
    "save_transitions",
    "set_progress",
    "untaught_spans",
    "waiting_messages",
]


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert as stored: what queries ask for, and the whole of it as JSON in ``document``."""

    alert_id: str
    state: str
    severity: str
    kind: str
    flow: str
    step: str | None
    dimensions: dict[str, str]
    check_name: str | None
    opened_at: float
    started_at: float
    fired_at: float | None
    resolved_at: float | None
    resolution: str | None
    acknowledged_at: float | None
    acknowledged_by: str | None
    assignee: str | None
    document: str


@dataclass(frozen=True, slots=True)
class TransitionRow:
    """One line of an alert's audit trail; ``actor`` is empty when the evaluator acted."""

    alert_id: str
    sequence: int
    kind: str
    at: float
    actor: str
    note: str


@dataclass(frozen=True, slots=True)
class SilenceRow:
    """A silence as stored."""

    silence_id: str
    starts_at: float
    ends_at: float
    author: str
    comment: str
    document: str


@dataclass(frozen=True, slots=True)
class StoredBaseline:
    """A learnt profile."""

    baseline_id: int
    learned_at: float
    history_through: float
    profile: bytes
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DetectorState:
    """The detector after every window that ended at or before ``through``."""

    through: float
    state: bytes
    settings: dict[str, Any]


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


def lock_alerts(connection: Connection) -> None:
    """Let nobody else change alerts until the transaction ends."""
    connection.execute(named_query("alerts.lock"), {"name": "alerts"})


# -- evaluation -------------------------------------------------------------------------------------------


def progress(connection: Connection, name: str) -> tuple[float, dict[str, Any]] | None:
    """How far ``name`` has come, and its details; ``None`` if it never started."""
    row = connection.execute(named_query("alerts.progress"), {"name": name}).fetchone()
    return None if row is None else (row[0], row[1])


def set_progress(connection: Connection, name: str, through: float, details: Mapping[str, Any]) -> None:
    """Note how far ``name`` has come."""
    values = {"name": name, "through": through, "details": Jsonb(dict(details))}
    connection.execute(named_query("alerts.set_progress"), values)


def detector_state(connection: Connection, name: str) -> DetectorState | None:
    """The stored state of a detector."""
    row = connection.execute(named_query("alerts.detector_state"), {"name": name}, binary=True).fetchone()
    return None if row is None else DetectorState(*row)


def save_detector_state(connection: Connection, name: str, state: DetectorState) -> None:
    """Replace the stored state of a detector."""
    values = {"name": name, "through": state.through, "state": state.state, "settings": Jsonb(state.settings)}
    connection.execute(named_query("alerts.set_detector_state"), values, binary=True)


def newest_baseline(connection: Connection, name: str, baseline_id: int | None = None) -> StoredBaseline | None:
    """The newest profile called ``name``, or the one with this id."""
    values = {"name": name, "baseline_id": baseline_id}
    row = connection.execute(named_query("alerts.newest_baseline"), values, binary=True).fetchone()
    return None if row is None else StoredBaseline(*row)


def newest_baseline_id(connection: Connection, name: str) -> int | None:
    """The id of the newest profile called ``name``."""
    row = connection.execute(named_query("alerts.newest_baseline_id"), {"name": name}).fetchone()
    return None if row is None else row[0]


def add_baseline(
    connection: Connection,
    name: str,
    learned_at: float,
    history: tuple[float, float],
    profile: bytes,
    details: Mapping[str, Any],
    keep: int = 5,
) -> int:
    """Store a profile and forget all but the newest ``keep``; returns its id."""
    values = {
        "name": name,
        "learned_at": learned_at,
        "history_from": history[0],
        "history_through": history[1],
        "profile": profile,
        "details": Jsonb(dict(details)),
    }
    row = connection.execute(named_query("alerts.add_baseline"), values, binary=True).fetchone()
    connection.execute(named_query("alerts.prune_baselines"), {"name": name, "keep": keep})
    if row is None:
        raise RuntimeError("the database did not number the new baseline")
    return int(row[0])


def add_bands(
    connection: Connection, bands: Sequence[BandHour], learned_until: float, keep_seconds: float = 400 * 86_400.0
) -> None:
    """Store what is usual by hour; hours before ``learned_until`` that have a band keep it, old ones are forgotten."""
    values = {
        "flow": [band.flow for band in bands],
        "step": [band.step for band in bands],
        "hour": [band.hour for band in bands],
        "expected": [band.expected_seconds for band in bands],
        "low": [band.low_seconds for band in bands],
        "high": [band.high_seconds for band in bands],
        "learned_until": learned_until,
    }
    connection.execute(named_query("alerts.add_bands"), values)
    connection.execute(named_query("alerts.prune_bands"), {"before": learned_until - keep_seconds})


# -- alerts -----------------------------------------------------------------------------------------------


def read_current_alerts(connection: Connection, resolved_after: float) -> list[str]:
    """Documents of all open alerts and of those resolved since."""
    rows = connection.execute(named_query("alerts.current_alerts"), {"resolved_after": resolved_after})
    return [row[0] for row in rows]


def read_alerts(
    connection: Connection,
    states: Sequence[str] | None = None,
    flow: str | None = None,
    since: float = 0.0,
    limit: int = 100,
) -> list[str]:
    """Documents of alerts, newest first."""
    values = {"states": list(states) if states is not None else None, "flow": flow, "since": since, "limit": limit}
    return [row[0] for row in connection.execute(named_query("alerts.alerts"), values)]


def read_alert(connection: Connection, prefix: str) -> str | None:
    """The document of the one alert whose id begins with ``prefix``; ``None`` without one, or with several."""
    escaped = prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    rows = connection.execute(named_query("alerts.alert"), {"prefix": escaped}).fetchall()
    return rows[0][0] if len(rows) == 1 else None


def read_transitions(connection: Connection, alert_id: str) -> list[TransitionRow]:
    """The audit trail of an alert."""
    rows = connection.execute(named_query("alerts.transitions"), {"alert_id": alert_id}).fetchall()
    return [TransitionRow(alert_id, *row) for row in rows]


def save_alert(connection: Connection, row: AlertRow) -> None:
    """Insert or replace an alert."""
    connection.execute(named_query("alerts.save_alert"), {**asdict(row), "dimensions": Jsonb(row.dimensions)})


def save_transitions(connection: Connection, rows: Iterable[TransitionRow]) -> None:
    """Add to audit trails.

    Raises:
        psycopg.errors.UniqueViolation: somebody else wrote the same step of an alert's life.
    """
    with connection.cursor() as cursor:
        cursor.executemany(named_query("alerts.save_transition"), [asdict(row) for row in rows])


def save_deviation(connection: Connection, deviation: Deviation, alert_id: str | None) -> None:
    """Add a deviation, once; figures that are not finite are stored as such."""
    scope = deviation.scope
    values = {
        "kind": deviation.kind.value,
        "flow": scope.flow,
        "step": scope.step,
        "dimensions": Jsonb(dict(scope.dimensions)),
        "check_name": scope.check,
        "detected_at": deviation.detected_at,
        "started_at": deviation.started_at,
        "started_low": deviation.started_low,
        "started_high": deviation.started_high,
        "effect": deviation.effect,
        "effect_low": deviation.effect_low,
        "effect_high": deviation.effect_high,
        "before": deviation.before,
        "after": deviation.after,
        "observations": deviation.observations,
        "observations_before": deviation.observations_before,
        "evidence": Jsonb({name: value for name, value in deviation.evidence.items() if math.isfinite(value)}),
        "details": Jsonb({"ends": deviation.ends.value} if deviation.ends is not None else {}),
        "alert_id": alert_id,
    }
    connection.execute(named_query("alerts.save_deviation"), values)


def read_silences(connection: Connection, ending_after: float) -> list[str]:
    """Documents of silences that end at or after a time."""
    return [row[0] for row in connection.execute(named_query("alerts.silences"), {"ending_after": ending_after})]


def find_silences(connection: Connection, prefix: str) -> list[str]:
    """Documents of (at most two) silences whose id begins so."""
    return [row[0] for row in connection.execute(named_query("alerts.find_silences"), {"prefix": prefix})]


def save_silence(connection: Connection, row: SilenceRow) -> None:
    """Insert or replace a silence."""
    connection.execute(named_query("alerts.save_silence"), asdict(row))


def untaught_spans(connection: Connection, start: float) -> list[tuple[float, float, str]]:
    """Spans ``(from, to, flow)`` since ``start`` that must not teach a baseline; ``to`` may be infinite."""
    return [
        (row[0], row[1], row[2]) for row in connection.execute(named_query("alerts.untaught_spans"), {"start": start})
    ]


# -- messages ---------------------------------------------------------------------------------------------


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
    connection.execute(named_query("alerts.enqueue"), values)


def claim_messages(
    connection: Connection, notifier: str, now: float, lease_until: float, limit: int
) -> list[ClaimedMessage]:
    """Take the next messages that are due; whoever dies with them loses them when the lease ends, to be sent again."""
    values = {"notifier": notifier, "now": now, "lease_until": lease_until, "limit": limit}
    rows = connection.execute(named_query("alerts.claim"), values).fetchall()
    return sorted((ClaimedMessage(*row) for row in rows), key=lambda message: message.delivery_id)


def mark_delivered(connection: Connection, ids: Sequence[int], now: float) -> None:
    """These messages arrived."""
    connection.execute(named_query("alerts.delivered"), {"ids": list(ids), "now": now})


def mark_retry(connection: Connection, ids: Sequence[int], at: float, error: str) -> None:
    """These messages are to be tried again."""
    connection.execute(named_query("alerts.retry"), {"ids": list(ids), "at": at, "error": error})


def mark_failed(connection: Connection, ids: Sequence[int], error: str) -> None:
    """These messages are given up."""
    connection.execute(named_query("alerts.failed"), {"ids": list(ids), "error": error})


def waiting_messages(connection: Connection) -> list[WaitingMessages]:
    """What waits, by notifier."""
    return [WaitingMessages(*row) for row in connection.execute(named_query("alerts.waiting")).fetchall()]


def given_up_messages(connection: Connection, since: float) -> list[GivenUpMessages]:
    """What was given up of the messages put into the outbox since a time, by notifier and reason."""
    rows = connection.execute(named_query("alerts.given_up"), {"since": since}).fetchall()
    return [GivenUpMessages(*row) for row in rows]


def recent_calls(connection: Connection, notifier: str, after: float) -> list[float]:
    """When the notifier called its service since a time."""
    values = {"notifier": notifier, "after": after}
    return [row[0] for row in connection.execute(named_query("alerts.recent_calls"), values)]


def note_call(connection: Connection, notifier: str, now: float) -> None:
    """The notifier is about to call its service."""
    connection.execute(named_query("alerts.note_call"), {"notifier": notifier, "now": now})


def prune_calls(connection: Connection, before: float) -> None:
    """Forget old calls."""
    connection.execute(named_query("alerts.prune_calls"), {"before": before})


def completions(
    connection: Connection, start: float, end: float, until: float, first: Sequence[int], last: Sequence[int]
) -> tuple[int, int]:
    """Flow instances that passed a series of ``first`` within [start, end), and those that passed one of ``last`` too.

    Passing the last counts until ``until``, if it gave an answer.
    """
    values = {"start": start, "end": end, "until": until, "first": list(first), "last": list(last)}
    row = connection.execute(named_query("alerts.completions"), values).fetchone()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


# -- Alertmanager -----------------------------------------------------------------------------------------


def alertmanager_posts(connection: Connection, notifier: str) -> dict[str, tuple[float, float | None]]:
    """What an Alertmanager has taken, by alert id: when it first took the alert as firing, and when its end."""
    rows = connection.execute(named_query("alerts.alertmanager_posts"), {"notifier": notifier})
    return {row[0]: (row[1], row[2]) for row in rows}


def note_alertmanager_post(
    connection: Connection, notifier: str, firing: Sequence[str], resolved: Sequence[str], now: float
) -> None:
    """An Alertmanager took these alerts as firing, and those as over."""
    connection.execute(named_query("alerts.note_firing_post"), {"notifier": notifier, "ids": list(firing), "now": now})
    connection.execute(
        named_query("alerts.note_resolved_post"), {"notifier": notifier, "ids": list(resolved), "now": now}
    )
