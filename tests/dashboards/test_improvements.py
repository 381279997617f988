from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import psycopg
import pytest

from cxgauge.dashboards.figure_types import ChangeFigure, ChangeStatus, Period
from cxgauge.dashboards.improvements import (
    Actor,
    Improvement,
    add_improvement,
    change_improvement,
    close_improvement,
    finish_improvement,
    outcomes,
    read_improvement,
    read_improvements,
    standing,
)
from cxgauge.dashboards.report.markdown import report_markdown
from cxgauge.dashboards.report.report import build_report
from cxgauge.dashboards.wording import Wording
from cxgauge.metrics.observation import ObservationBatch
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.store.connection import DatabaseSettings, open_connection
from cxgauge.metrics.store.events import events_within
from cxgauge.metrics.store.migrations import migrate, migrations
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

MakeDay = Callable[..., ObservationBatch]
DAY = 86_400.0


@pytest.fixture
def store(embedded_dsn: str, today: Period, make_day: MakeDay) -> Iterator[Store]:
    """A week ago slow, today fast: the bill only."""
    with Store.open(embedded_dsn) as store:
        store.migrate()
        batches = [make_day(today.start - 7 * DAY, seed=1, factor=1.3), make_day(today.start, seed=2)]
        store.write(batches, "test", StoredPosition(), StoredPosition(0, 1))
        yield store


def _plan(store: Store, flow: FlowSpec, step: str, measure: str = "p50") -> str:
    return add_improvement(
        store, flow, step, measure, "cache it", owner="cards", due="2026-03-13", finding="", now=1_773_000_000.0
    ).id


def test_the_next_report_says_whether_it_helped(
    store: Store, flow: FlowSpec, today: Period, english: Wording, chinese: Wording
) -> None:
    helped, idle, planned = (_plan(store, flow, step) for step in ("bill_total", "log_in", "log_in"))
    assert finish_improvement(store, helped, today.start)
    assert finish_improvement(store, idle, today.start)
    assert not finish_improvement(store, "none", today.start)

    report = build_report(store, flow, today, None, english, now=today.end)
    found = {one.improvement.id: one.change for one in report.improvements}
    assert found[helped].status is ChangeStatus.BETTER
    high = found[helped].high
    assert high is not None
    assert high < 0
    assert found[idle].status in {ChangeStatus.SAME, ChangeStatus.NO_EVIDENCE, ChangeStatus.UNCLEAR}
    assert found[planned].status is ChangeStatus.NOT_COMPARED
    text = report_markdown(report)
    assert "- Bill total, Median: “cache it” (cards), done 2026-03-14 00:00: faster; 1.28 → 1.01 s" in text
    assert "- Log-in, Median: “cache it” (cards) is planned, due 2026-03-13" in text
    assert "改进台账" in report_markdown(build_report(store, flow, today, None, chinese, now=today.end))


def test_the_ledger_is_kept_by_flow(store: Store, flow: FlowSpec) -> None:
    identity = _plan(store, flow, "bill_total", "check:details_present")
    assert [entry.id for entry in read_improvements(store, "bill_inquiry")] == [identity]
    assert read_improvements(store, "other") == []
    assert read_improvements(store)[0].done_at is None


@pytest.mark.parametrize(
    ("step", "measure", "due", "message"),
    [
        ("pay", "p50", "", "step 'pay' is not in flow bill_inquiry; it has log_in, bill_total"),
        ("log_in", "mean", "", "measure 'mean' is not known; write one of p50, p95, p99, good_rate"),
        ("log_in", "p50", "soon", "due='soon' is not a day; write e.g. 2026-04-30"),
    ],
)
def test_entries_that_make_no_sense_are_refused(
    store: Store, flow: FlowSpec, step: str, measure: str, due: str, message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        add_improvement(store, flow, step, measure, "x", owner="", due=due, finding="", now=0.0)
    assert str(caught.value) == message


def _read(store: Store, identity: str) -> tuple[Improvement, list[str]]:
    found = read_improvement(store, identity)
    assert found is not None
    return found[0], [f"{row.actor} {row.action}" for row in found[1]]


def test_what_is_changed_leaves_a_trail_and_an_audit(store: Store, flow: FlowSpec, today: Period) -> None:
    by = Actor("li.wei", "10.0.0.1")
    identity = _plan(store, flow, "bill_total")
    changed = change_improvement(
        store, identity, by=by, now=today.end, action=" cache more ", due="2026-05-01", note="agreed"
    )
    assert changed is not None
    entry, trail = _read(store, identity)
    assert entry == changed
    assert (entry.action, entry.owner, entry.due, entry.note) == ("cache more", "cards", "2026-05-01", "agreed")
    assert change_improvement(store, identity, by=by, now=today.end, note="agreed") == entry  # nothing new, no trace
    assert finish_improvement(store, identity, today.start, by=by, now=today.end)
    assert close_improvement(store, identity, by=by, now=today.end)
    assert _read(store, identity)[0].done_at is None
    assert close_improvement(store, identity, by=by, now=today.end, reopen=True)
    entry, trail = _read(store, identity)
    assert trail == [" planned", "li.wei changed", "li.wei done", "li.wei dropped", "li.wei reopened"]
    assert entry.is_open
    with store.connection() as connection:
        rows = connection.execute("SELECT actor, action, subject, address FROM audit ORDER BY audit_id").fetchall()
    assert [row[:2] for row in rows] == [
        ("", "improvement planned"),
        *(("li.wei", f"improvement {each}") for each in ("changed", "done", "dropped", "reopened")),
    ]
    assert {row[2] for row in rows} == {identity}
    assert rows[-1][3] == "10.0.0.1"


def test_what_is_in_effect_is_an_event_of_that_time_until_it_is_not(
    store: Store, flow: FlowSpec, today: Period
) -> None:
    identity = _plan(store, flow, "bill_total")

    def events() -> list[tuple[float, str, str | None]]:
        with store.connection() as connection:
            found = events_within(connection, today.start - DAY, today.end, flow.name)
        return [(event.at, event.title, event.step) for event in found if event.kind == "improvement"]

    assert events() == []
    assert finish_improvement(store, identity, today.start, now=today.end)
    assert finish_improvement(store, identity, today.start + 60, now=today.end)
    assert events() == [(today.start + 60, "cache it", "bill_total")]
    assert close_improvement(store, identity, by=Actor(), now=today.end)
    assert events() == []


def test_an_entry_for_some_customers_is_judged_by_them_alone(
    store: Store, flow: FlowSpec, today: Period, make_day: MakeDay, english: Wording
) -> None:
    batch = make_day(today.start, seed=3)
    slow = np.array([("channel", "web") in key.dimensions for key in batch.series])
    batch.records["duration_seconds"][slow[batch.records["series"]]] *= 3
    store.write([batch], "more", StoredPosition(), StoredPosition(0, 1))
    for channel, status in (("app", ChangeStatus.BETTER), ("web", ChangeStatus.WORSE)):
        entry = add_improvement(
            store, flow, "bill_total", "p50", "cache", owner="", due="", finding="", now=today.start,
            dimensions={"channel": channel},
        )  # fmt: skip
        assert finish_improvement(store, entry.id, today.start, now=today.end)
        entry = _read(store, entry.id)[0]
        (outcome,) = outcomes(store, flow, [entry], english, until=today.end, now=today.end)
        assert outcome.change.status is status, channel


def test_one_that_was_given_up_is_said_so_and_left_out_of_later_reports(
    store: Store, flow: FlowSpec, today: Period, english: Wording
) -> None:
    identity = _plan(store, flow, "log_in")
    assert close_improvement(store, identity, by=Actor("li.wei"), now=today.start + 60)
    text = report_markdown(build_report(store, flow, today, None, english, now=today.end))
    assert "- Log-in, Median: “cache it” (cards) was given up" in text
    later = Period(today.end, today.end + DAY)
    assert build_report(store, flow, later, None, english, now=later.end).improvements == ()


@pytest.mark.parametrize(
    ("done", "dropped", "due", "at", "status", "expected"),
    [
        (None, None, "", 0.0, None, "planned"),
        (None, None, "2026-03-14", 0.0, None, "planned"),  # until the end of that day
        (None, None, "2026-03-14", DAY, None, "overdue"),
        (1.0, None, "2026-03-01", 0.0, None, "done"),
        (1.0, None, "", 0.0, ChangeStatus.BETTER, "better"),
        (1.0, None, "", 0.0, ChangeStatus.SAME, "same"),
        (1.0, None, "", 0.0, ChangeStatus.NO_EVIDENCE, "too_few"),
        (1.0, None, "", 0.0, ChangeStatus.UNCLEAR, "too_few"),
        (1.0, None, "", 0.0, ChangeStatus.NOT_COMPARED, "too_few"),
        (None, 1.0, "2026-03-01", 0.0, None, "dropped"),
    ],
)
def test_where_an_entry_stands(
    done: float | None, dropped: float | None, due: str, at: float, status: ChangeStatus | None, expected: str,
    today: Period, english: Wording,
) -> None:  # fmt: skip
    entry = Improvement("a", "f", "s", "p50", "x", "", due, "", 0.0, done, dropped_at=dropped)
    change = ChangeFigure(status) if status else None
    assert standing(entry, change, today.start + at, english.zone) == expected


def test_faults_are_refused_and_nothing_is_written(store: Store, flow: FlowSpec, today: Period) -> None:
    identity = _plan(store, flow, "log_in")
    before = _read(store, identity)
    by = Actor("li.wei")
    with pytest.raises(ValueError, match=r"^due='soon' is not a day; write e\.g\. 2026-04-30$"):
        change_improvement(store, identity, by=by, now=0.0, due="soon")
    with pytest.raises(ValueError, match=r"^action='' is empty; say what is going to be done$"):
        change_improvement(store, identity, by=by, now=0.0, action=" ")
    with pytest.raises(
        ValueError, match=r"^done at 2026-03-14T16:00:00Z is still to come; say it when it is in effect$"
    ):
        finish_improvement(store, identity, today.end, by=by, now=today.end - 1)
    with pytest.raises(ValueError, match=r"^dimension 'branch' is not declared in flow bill_inquiry; it has channel$"):
        add_improvement(
            store, flow, "log_in", "p50", "x", owner="", due="", finding="", now=0.0, dimensions={"branch": "north"}
        )
    assert _read(store, identity) == before
    assert change_improvement(store, "none", by=by, now=0.0, note="x") is None
    assert not close_improvement(store, "none", by=by, now=0.0)


def test_entries_of_the_first_version_are_taken_over(embedded_dsn: str) -> None:
    settings = DatabaseSettings(embedded_dsn)
    with pytest.raises(psycopg.Error):  # what is granted in the end speaks of later tables
        migrate(settings, migrations()[:8])
    details = '{"id": "%s", "measure": "p99", "owner": "cards", "due": "%s", "finding": "it was slow"}'
    with open_connection(settings) as connection:
        for identity, due, ended in (("aaaaaaaa", "2026-03-01", None), ("bbbbbbbb", "", "2026-02-02T00:00Z")):
            connection.execute(
                "INSERT INTO events (at, ended_at, kind, flow, step, title, details) "
                "VALUES ('2026-02-01T00:00Z', %s, 'improvement', 'f', 's', 'cache it', %s)",
                (ended, details % (identity, due)),
            )
    migrate(settings)
    with Store.open(embedded_dsn) as store:
        entries = read_improvements(store)
        with store.connection() as connection:
            events = connection.execute("SELECT kind, at, identity FROM events").fetchall()
    assert [(one.id, one.measure, one.owner, one.due, one.finding) for one in entries] == [
        ("aaaaaaaa", "p99", "cards", "2026-03-01", "it was slow"),
        ("bbbbbbbb", "p99", "cards", "", "it was slow"),
    ]
    assert (entries[0].done_at, entries[1].done_at) == (None, 1_769_990_400.0)
    assert [(kind, at.timestamp(), identity) for kind, at, identity in events] == [
        ("improvement", 1_769_990_400.0, "improvement-bbbbbbbb")
    ]
