"""Events in the store: put twice they are one, found near a moment and within a span, removed when old."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from cxgauge.metrics.change_event import ChangeEvent
from cxgauge.metrics.store.events import StoredEvent, events_near, events_within, put_events
from cxgauge.metrics.store.store import Store

AT = 1_767_225_600.0
HOUR = 3600.0


@pytest.fixture
def store(migrated_embedded_dsn: str) -> Iterator[Store]:
    with Store.open(migrated_embedded_dsn) as opened:
        opened.migrate()
        yield opened


def event(name: str, at: float = AT, ended_at: float | None = None, **fields: object) -> ChangeEvent:
    given = {"kind": "deployment", "title": name, "id": name, **fields}
    return ChangeEvent.model_validate(
        {
            **given,
            "at": datetime.fromtimestamp(at, UTC),
            "ended_at": None if ended_at is None else datetime.fromtimestamp(ended_at, UTC),
        }
    )


def put(store: Store, *events: ChangeEvent) -> None:
    with store.connection() as connection, connection.transaction():
        put_events(connection, events)


def within(store: Store, start: float, end: float, flow: str | None = None) -> list[str]:
    with store.connection() as connection:
        return [each.title for each in events_within(connection, start, end, flow)]


def near(store: Store, moment: float, flow: str = "bill", step: str | None = "total", limit: int = 10) -> list[str]:
    with store.connection() as connection:
        found = events_near(connection, moment, moment - HOUR, moment + HOUR, flow, step, limit=limit)
    return [each.title for each in found]


def test_an_event_comes_back_as_it_was(store: Store) -> None:
    given = event("a", AT, AT + 60, flow="bill", step="total", version="8.2.0", details={"hosts": 3, "canary": True})
    put(store, given)
    with store.connection() as connection:
        [found] = events_within(connection, AT, AT + 1)
    details = {"hosts": 3, "canary": True}
    assert found == StoredEvent(AT, AT + 60, "deployment", "bill", "total", "a", details, "8.2.0", "a")


def test_the_same_id_changes_the_event_of_its_flow(store: Store) -> None:
    put(store, event("started", id="1", flow="bill"), event("other", id="1", flow="loan"), event("all", id="1"))
    put(store, event("ended", AT, AT + 60, id="1", flow="bill"))
    put(store, event("late retry", id="1", flow="bill"))
    with store.connection() as connection:
        found = {each.flow: (each.title, each.ended_at) for each in events_within(connection, AT, AT + 1)}
    assert found == {"bill": ("late retry", AT + 60), "loan": ("other", None), None: ("all", None)}


def test_a_span_has_what_began_in_it_or_lasts_into_it(store: Store) -> None:
    put(
        store,
        event("over", AT - 100, AT - 50),
        event("lasting", AT - 100, AT + 1),
        event("inside", AT),
        event("after", AT + 10),
        event("elsewhere", AT + 1, flow="loan"),
    )
    assert within(store, AT, AT + 10) == ["elsewhere", "inside", "lasting"]
    assert within(store, AT, AT + 10, "bill") == ["inside", "lasting"]


def test_near_a_moment_the_nearest_come_first(store: Store) -> None:
    put(
        store,
        event("hour before", AT - HOUR),
        event("minute after", AT + 60, flow="bill"),
        event("at", AT + 1, step="total", flow="bill"),
        event("too early", AT - HOUR - 1),
        event("too late", AT + HOUR + 1),
        event("campaign", AT - 50 * HOUR, AT + HOUR),
        event("other step", AT, flow="bill", step="details"),
        event("other flow", AT, flow="loan"),
    )
    assert near(store, AT) == ["at", "minute after", "hour before", "campaign"]
    assert near(store, AT, limit=2) == ["at", "minute after"]
    assert near(store, AT, step=None)[:2] == ["other step", "at"]


def test_old_events_are_removed_with_the_hours(migrated_embedded_dsn: str) -> None:
    now = AT + 1200 * 86_400
    with Store(Store.open(migrated_embedded_dsn).settings, clock=lambda: now) as store:
        store.migrate()
        put(store, event("old"), event("lasts", AT, now), event("new", now))
        store.expire()
        assert within(store, 0, now + 1) == ["new", "lasts"]


def test_without_an_id_nothing_is_stored(store: Store) -> None:
    with pytest.raises(ValueError, match="event 'x' has no time or no id; set both before it is stored"):
        put(store, ChangeEvent(kind="incident", title="x"))
