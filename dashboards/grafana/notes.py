"""Alerts and events of the store as annotations, for dashboards of others: ours draw them from the database."""

from __future__ import annotations

from ...metrics.store.store import Store
from .publisher import Note

__all__ = ["read_notes"]

_QUERY = """
SELECT 'cxgauge-alert-' || alert_id, extract(epoch FROM started_at)::float8,
    extract(epoch FROM coalesce(resolved_at, started_at))::float8,
    concat_ws(' · ', flow, step, check_name, kind), ARRAY['alert', severity, flow]
FROM alerts WHERE state <> 'pending' AND flow <> '' AND started_at >= to_timestamp(%(since)s)
UNION ALL
SELECT 'cxgauge-event-' || event_id, extract(epoch FROM at)::float8, extract(epoch FROM coalesce(ended_at, at))::float8, title,
    array_remove(ARRAY['event', kind, flow], NULL)
FROM events WHERE at >= to_timestamp(%(since)s)
ORDER BY 2 LIMIT 1000
"""


def read_notes(store: Store, since: float) -> list[Note]:
    """Alerts that people were told of and events since a time (seconds since 1970 UTC), oldest first."""
    with store.connection() as connection:
        found = connection.execute(_QUERY, {"since": since}).fetchall()
    return [Note(key, start, end, text, tuple(tags)) for key, start, end, text, tags in found]
