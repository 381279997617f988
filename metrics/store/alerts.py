"""Tables of alerts, deviations and silences; every function works in the caller's transaction.

Times are seconds since 1970 UTC. Alerts and silences travel as JSON documents: their form belongs to
``alerts``; the columns beside them repeat what queries ask for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from psycopg.types.json import Jsonb

from ..deviation import Deviation
from .connection import Connection
from .named_queries import named_query

__all__ = [
    "AlertRow",
    "SilenceRow",
    "TransitionRow",
    "find_silences",
    "lock_alerts",
    "read_alert",
    "read_alerts",
    "read_current_alerts",
    "read_silences",
    "read_transitions",
    "save_alert",
    "save_deviation",
    "save_silence",
    "save_transitions",
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


def lock_alerts(connection: Connection) -> None:
    """Let nobody else change alerts until the transaction ends."""
    connection.execute(named_query("alerts.lock"), {"name": "alerts"})


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
