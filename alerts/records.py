"""Alerts, silences and their lifecycle between memory and the store, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic import TypeAdapter

from ..metrics.deviation import Deviation
from ..metrics.store.alerts import (
    AlertRow,
    SilenceRow,
    TransitionRow,
    find_silences,
    read_current_alerts,
    read_silences,
    save_alert,
    save_silence,
    save_transitions,
)
from ..metrics.store.connection import Connection
from .alert import Alert, Severity, Silence, Transition, alert_from_json, to_json
from .lifecycle import Lifecycle, LifecycleSettings

__all__ = ["find_silence", "load_lifecycle", "load_silences", "save_lifecycle", "store_silence"]

_SILENCE = TypeAdapter(Silence)
_SILENCES_KEPT_SECONDS = 86400.0


def load_lifecycle(
    connection: Connection,
    settings: LifecycleSettings,
    steps: Mapping[str, Sequence[str]],
    severity_of: Callable[[Deviation], Severity],
    now: float,
) -> Lifecycle:
    """The lifecycle as stored: alerts that are open or were resolved recently, and silences that may still count."""
    documents = read_current_alerts(connection, now - settings.reopen_seconds)
    alerts = [alert_from_json(document) for document in documents]
    return Lifecycle(settings, steps, alerts, load_silences(connection, now), severity_of)


def save_lifecycle(
    connection: Connection, before: Mapping[str, Alert], lifecycle: Lifecycle, transitions: Iterable[Transition]
) -> None:
    """Write the alerts that differ from ``before``, and what happened to them."""
    for alert in lifecycle.alerts.values():
        if before.get(alert.id) != alert:
            save_alert(connection, _row(alert))
    save_transitions(
        connection,
        [
            TransitionRow(each.alert_id, each.sequence, each.kind.value, each.at, each.by, each.note)
            for each in transitions
        ],
    )


def load_silences(connection: Connection, now: float, kept_seconds: float = _SILENCES_KEPT_SECONDS) -> list[Silence]:
    """Silences that have not ended long ago, by their beginning."""
    return [_SILENCE.validate_json(text) for text in read_silences(connection, now - kept_seconds)]


def find_silence(connection: Connection, prefix: str) -> Silence | None:
    """The silence with this id, or the only one whose id begins so."""
    found = find_silences(connection, prefix)
    return _SILENCE.validate_json(found[0]) if prefix and len(found) == 1 else None


def store_silence(connection: Connection, silence: Silence) -> None:
    """Add a silence, or change it."""
    row = SilenceRow(
        silence.id,
        silence.starts_at,
        silence.ends_at,
        silence.author,
        silence.comment,
        _SILENCE.dump_json(silence).decode(),
    )
    save_silence(connection, row)


def _row(alert: Alert) -> AlertRow:
    scope = alert.scope
    return AlertRow(
        alert_id=alert.id,
        state=alert.state.value,
        severity=alert.severity.value,
        kind=alert.lead.kind.value,
        flow=scope.flow,
        step=scope.step,
        dimensions=dict(scope.dimensions),
        check_name=scope.check,
        opened_at=alert.opened_at,
        started_at=alert.lead.started_at,
        fired_at=alert.fired_at,
        resolved_at=alert.resolved_at,
        resolution=alert.resolution.value if alert.resolution else None,
        acknowledged_at=alert.acknowledged_at,
        acknowledged_by=alert.acknowledged_by,
        assignee=alert.assignee,
        document=to_json(alert),
    )
