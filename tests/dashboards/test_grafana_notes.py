"""Alerts and events of a real store as annotations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cxgauge.dashboards.grafana.notes import read_notes
from cxgauge.dashboards.grafana.publisher import Note
from cxgauge.metrics.store.store import Store

NOW = 1_767_225_600.0


@pytest.fixture
def store(migrated_dsn: str) -> Iterator[Store]:
    """Alerts in every state and events, some of long ago."""
    with Store.open(migrated_dsn) as store:
        store.migrate()
        with store.connection() as connection:
            for name, state, flow, step, check, ago, lasted in (
                ("over", "resolved", "bill_inquiry", "bill_total", None, 7_200, 600),
                ("open", "firing", "bill_inquiry", "bill_details", "details_shown", 3_600, None),
                ("held_back", "pending", "bill_inquiry", "bill_total", None, 3_600, None),
                ("of_the_ruler", "firing", "", "source", None, 3_600, None),
                ("of_long_ago", "resolved", "transfer", None, None, 90_000, 60),
            ):
                connection.execute(
                    "INSERT INTO alerts (alert_id, state, severity, kind, flow, step, check_name, opened_at, started_at"
                    ", resolved_at, document) SELECT %s, %s, 'warning', 'slower', %s, %s, %s, t, t,"
                    " t + %s * interval '1 second', '{}' FROM to_timestamp(%s) AS t",
                    [name, state, flow, step, check, lasted, NOW - ago],
                )
            for title, place, after, length in (
                ("bill-service 8.2.0", "bill_inquiry", 3_700, None),
                ("Database maintenance", None, 1_800, 900),
                ("long ago", None, 90_000, None),
            ):
                connection.execute(
                    "INSERT INTO events (at, ended_at, kind, flow, title) "
                    "SELECT t, t + %s * interval '1 second', 'deployment', %s, %s FROM to_timestamp(%s) AS t",
                    [length, place, title, NOW - after],
                )
        yield store


def test_what_people_were_told_of_and_what_happened_oldest_first(store: Store) -> None:
    found = read_notes(store, NOW - 86_400)
    with store.connection() as connection:
        ids: dict[str, int] = dict(connection.execute("SELECT title, event_id FROM events").fetchall())
    assert found == [
        Note(
            "cxgauge-alert-over",
            NOW - 7_200,
            NOW - 6_600,
            "bill_inquiry · bill_total · slower",
            ("alert", "warning", "bill_inquiry"),
        ),
        Note(
            f"cxgauge-event-{ids['bill-service 8.2.0']}",
            NOW - 3_700,
            NOW - 3_700,
            "bill-service 8.2.0",
            ("event", "deployment", "bill_inquiry"),
        ),
        Note(
            "cxgauge-alert-open",
            NOW - 3_600,
            NOW - 3_600,
            "bill_inquiry · bill_details · details_shown · slower",
            ("alert", "warning", "bill_inquiry"),
        ),
        Note(
            f"cxgauge-event-{ids['Database maintenance']}",
            NOW - 1_800,
            NOW - 900,
            "Database maintenance",
            ("event", "deployment"),
        ),
    ]


def test_a_store_without_any_has_no_notes(store: Store) -> None:
    assert read_notes(store, NOW) == []
