# ruff: noqa: E501 - queries read better on one line
"""A restricted store: whatever is asked of it, the answer is that of a store which holds nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import psycopg
import pytest

from cxgauge.alerts.alert import Alert, AlertState, Member, NearbyEvent, Severity, alert_from_json, to_json
from cxgauge.alerts.impact import Impact
from cxgauge.metrics.deviation import Deviation, DeviationKind
from cxgauge.metrics.deviation import Scope as Place
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey, Source
from cxgauge.metrics.rollup import Rollup
from cxgauge.metrics.store.scope import EVERYTHING, RULES, DataScope
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition
from cxgauge.metrics.verdict import Verdict

START = 1_773_417_600.0
FLOWS, BRANCHES = ("bill", "loan"), ("north", "south", "")
SCOPES = {
    "flow": DataScope.of(["bill"]),
    "branch": DataScope.of(None, {"branch": ["north"]}),
    "branches": DataScope.of(None, {"branch": ["north", "south"]}),
    "both": DataScope.of(["loan"], {"branch": ["south"], "channel": ["app"]}),
    "nothing": DataScope.of([]),
    "unknown value": DataScope.of(None, {"branch": ["west"]}),
    "unknown dimension": DataScope.of(None, {"segment": ["north"]}),
    "a value that looks like SQL": DataScope.of(["bill' OR true --"], {"br'anch": ["north"]}),
}


def _batch(scope: DataScope = EVERYTHING) -> ObservationBatch:
    """Observations of two flows, two steps, three branches ("" lacks the dimension), two channels; or some of them."""
    keys = tuple(
        SeriesKey(flow, step, tuple(sorted([("channel", channel), *([("branch", branch)] if branch else [])])), ("c",))
        for flow in FLOWS
        for step in ("ask", "answer")
        for branch in BRANCHES
        for channel in ("app", "web")
    )
    random = np.random.default_rng(7)
    records = np.zeros(4_000, dtype=RECORD)
    records["observed_at_us"] = ((START + np.sort(random.random(4_000)) * 7_200) * 1e6).astype(np.int64)
    records["series"] = random.integers(0, len(keys), 4_000)
    records["duration_seconds"] = np.exp(random.normal(0, 0.4, 4_000)) * (1 + records["series"])
    records["verdict"] = random.choice([Verdict.GOOD, Verdict.WRONG], 4_000)
    records["customer"] = np.frombuffer(random.integers(1, 99, 4_000).astype(">u8").repeat(2).tobytes(), "V16")
    records["source"] = int(Source.RECORDER)
    seen = np.array([_sees(scope, key) for key in keys])
    return ObservationBatch(keys, records[seen[records["series"]]])


def _sees(scope: DataScope, key: SeriesKey) -> bool:
    """Said once more, in Python, independently of the database's rules."""
    values = dict(key.dimensions)
    return scope.shows_flow(key.flow) and all(values.get(name) in allowed for name, allowed in scope.dimensions)


@pytest.fixture
def store(migrated_embedded_dsn: str) -> Iterator[Store]:
    with Store.open(migrated_embedded_dsn) as opened:
        opened.migrate()
        yield opened


def _write(store: Store, batch: ObservationBatch) -> None:
    store.write([batch], "test", StoredPosition(), StoredPosition(0, 1))


def _comparable(rollup: Rollup, keys: dict[int, SeriesKey]) -> list[tuple[object, ...]]:
    rows = [
        (keys[int(rollup.series[row])], float(rollup.window_start[row]), rollup.verdicts[row].tolist(),
         float(rollup.sum_seconds[row]))
        for row in range(len(rollup))
    ]  # fmt: skip
    return sorted(rows, key=repr)


def test_figures_are_those_of_a_store_that_holds_nothing_else(store: Store) -> None:
    _write(store, _batch())
    store.compact()
    for number, scope in enumerate(SCOPES.values()):
        database = replace(store.settings.database, schema=f"filtered_{number}")
        with Store(replace(store.settings, database=database)) as filtered:
            filtered.migrate()
            _write(filtered, _batch(scope))
            filtered.compact()
            _compare(store.restricted(scope), filtered, scope)


def _compare(restricted: Store, filtered: Store, scope: DataScope) -> None:
    span = START, START + 7_200
    for hours in (False, True):
        for flow in (None, *FLOWS):
            shown = restricted.read_rollups(*span, flow, hours=hours)
            assert _comparable(*shown) == _comparable(*filtered.read_rollups(*span, flow, hours=hours))
    assert all(_sees(scope, key) for key in restricted.series().values())
    assert set(filtered.series().values()) - set(restricted.series().values()) == {
        key for key in filtered.series().values() if not _sees(scope, key)
    }
    for flow in FLOWS:
        assert restricted.customers_hit(*span, flow) == filtered.customers_hit(*span, flow)
        shown_examples = restricted.worst_examples(*span, flow, limit=50)
        expected_examples = filtered.worst_examples(*span, flow, limit=50)
        assert [(one.observed_at, one.series) for one in shown_examples] == [
            (one.observed_at, one.series) for one in expected_examples
        ]


def _alert(id_: str, *places: Place) -> Alert:
    members = tuple(
        Member(
            Deviation(DeviationKind.SLOWER, place, START, START, START, START, 0.2, 0.1, 0.3, 1.0, 1.2, 500, 900),
            START,
            0.2,
        )
        for place in places
    )
    return Alert(
        id_, AlertState.FIRING, Severity.WARNING, members, START, START,
        impact=Impact(3_412, 5_000, 3_450, 5_100),
        nearby=(NearbyEvent(START, "configuration", "bill, loan"), NearbyEvent(START, "deployment", "8.2.0"),
                NearbyEvent(START, "improvement", "p95 of the north")),
    )  # fmt: skip


Keep = Callable[[Alert], None]


@pytest.fixture
def keep(store: Store) -> Keep:
    def keep(alert: Alert) -> None:
        place = alert.scope
        with store.connection() as connection:
            connection.execute(
                "INSERT INTO alerts (alert_id, state, severity, kind, flow, step, dimensions, opened_at, started_at, document) "
                "VALUES (%s, 'firing', 'warning', 'slower', %s, %s, %s::jsonb, now(), now(), %s)",
                (alert.id, place.flow, place.step, _json(dict(place.dimensions)), to_json(alert)),
            )
            connection.execute(
                "INSERT INTO alert_transitions (alert_id, sequence, kind, at) VALUES (%s, 1, 'opened', now())",
                (alert.id,),
            )

    return keep


def _json(value: object) -> str:
    import json

    return json.dumps(value)


def _ids(store: Store, table: str = "alerts") -> list[str]:
    with store.connection() as connection:
        return [row[0] for row in connection.execute(f"SELECT alert_id FROM {table} ORDER BY 1").fetchall()]


def test_an_alert_is_seen_when_all_it_speaks_of_may_be(store: Store, keep: Keep) -> None:
    north = Place("bill", "ask", (("branch", "north"),))
    keep(_alert("north", north))
    keep(_alert("north+south", north, Place("bill", "ask", (("branch", "south"),))))
    keep(_alert("north+all", north, Place("bill", "answer")))
    keep(_alert("whole", Place("bill", "ask")))
    keep(_alert("loan", Place("loan", "ask", (("branch", "north"),))))
    keep(_alert("bill+loan", Place("bill", "ask"), Place("loan", "ask")))
    keep(_alert("ruler", Place("", "source", (("name", "north"),))))

    assert _ids(store.restricted(DataScope.of(["bill"]))) == ["north", "north+all", "north+south", "whole"]
    assert _ids(store.restricted(DataScope.of(None, {"branch": ["north"]}))) == ["loan", "north"]
    assert _ids(store.restricted(DataScope.of(["bill"], {"branch": ["north"]}))) == ["north"]
    assert _ids(store.restricted(DataScope.of(["bill"], {"branch": ["north"]})), "alert_transitions") == ["north"]
    assert _ids(store.restricted(DataScope.of(["bill"], {"branch": ["north", "south"]}))) == ["north", "north+south"]


def test_an_alert_tells_nothing_of_what_is_hidden(store: Store, keep: Keep) -> None:
    keep(_alert("north", Place("bill", "ask", (("branch", "north"),))))

    def read(scope: DataScope) -> Alert:
        with store.restricted(scope).connection() as connection:
            row = connection.execute("SELECT document::text FROM alerts").fetchone()
        assert row is not None
        return alert_from_json(row[0])

    assert [near.kind for near in read(EVERYTHING).nearby] == ["configuration", "deployment", "improvement"]
    by_flow = read(DataScope.of(["bill"]))
    assert ([near.kind for near in by_flow.nearby], by_flow.impact is None) == (["deployment", "improvement"], False)
    by_branch = read(DataScope.of(None, {"branch": ["north"]}))
    assert ([near.kind for near in by_branch.nearby], by_branch.impact) == (["deployment"], None)


def test_events_of_other_flows_and_what_a_reload_changed_are_hidden(store: Store) -> None:
    with store.connection() as connection:
        for flow, kind in (("bill", "deployment"), ("loan", "deployment"), (None, "deployment"), (None, "configuration"),
                           ("bill", "improvement")):  # fmt: skip
            connection.execute("INSERT INTO events (at, kind, flow, title) VALUES (now(), %s, %s, 't')", (kind, flow))

    def seen(scope: DataScope) -> list[tuple[str | None, str]]:
        with store.restricted(scope).connection() as connection:
            return connection.execute("SELECT flow, kind FROM events ORDER BY event_id").fetchall()

    assert seen(DataScope.of(["bill"])) == [("bill", "deployment"), (None, "deployment"), ("bill", "improvement")]
    assert seen(DataScope.of(["bill"], {"branch": ["north"]})) == [("bill", "deployment"), (None, "deployment")]


def test_every_table_has_a_rule(store: Store) -> None:
    with store.connection() as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'cxgauge'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')"
        ).fetchall()
    assert {row[0] for row in rows} - set(RULES) == set()


def test_a_table_without_a_rule_is_empty(store: Store) -> None:
    with store.connection() as connection:
        connection.execute("CREATE TABLE cxgauge.novelty (flow text); INSERT INTO cxgauge.novelty VALUES ('bill')")
    with store.restricted(DataScope.of(["bill"])).connection() as connection:
        assert connection.execute("SELECT * FROM novelty").fetchall() == []


def test_functions_cannot_be_reached_and_nothing_can_be_written(store: Store) -> None:
    restricted = store.restricted(DataScope.of(["bill"]))
    with restricted.connection() as connection:
        with pytest.raises(psycopg.errors.UndefinedFunction):
            connection.execute("SELECT * FROM step_summary('loan', 'ask', now(), now())")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("DELETE FROM alerts")
    with pytest.raises(psycopg.Error):
        _write(restricted, _batch())
    with pytest.raises(PermissionError, match="a restricted store cannot be given another scope; ask the whole store"):
        restricted.restricted(EVERYTHING)


def test_a_connection_that_served_one_scope_serves_the_next_with_its_own(store: Store) -> None:
    _write(store, _batch())
    for _ in range(10):
        for scope in SCOPES.values():
            assert all(_sees(scope, key) for key in store.restricted(scope).series().values())


def test_a_connection_without_a_scope_shows_nothing(store: Store) -> None:
    from cxgauge.metrics.store.scoped import RestrictedPool

    _write(store, _batch())
    pool = RestrictedPool(store.settings.database)
    try:
        with pool.connection() as connection, pytest.raises(psycopg.errors.UndefinedObject):
            connection.execute("SELECT * FROM series").fetchall()
    finally:
        pool.close()
