# ruff: noqa: E501 - queries read better on one line
"""Every query of every dashboard, asked of the real TimescaleDB (as the reader) and the real Prometheus, answers."""

from __future__ import annotations

import math
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import psycopg
import pytest
from prometheus_client import start_http_server

from cxgauge.dashboards.exposition.exposition import Exposition, HealthFigures
from cxgauge.dashboards.grafana.boards import dashboards
from cxgauge.examples.bank import FLOWS_DIRECTORY
from cxgauge.examples.history import SimulatedHistory
from cxgauge.metrics.baseline.bands import BandHour
from cxgauge.metrics.observation import Source
from cxgauge.metrics.specification.flow import load_flows
from cxgauge.metrics.store.evaluation import add_bands
from cxgauge.metrics.store.migrations import READER_ROLE
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

FLOWS = load_flows(FLOWS_DIRECTORY)
BOARDS = dashboards(FLOWS)
NOW = 1_767_268_800.0  # 2026-01-01T12:00:00Z
CHANGE = NOW - 1800
SPANS = (
    (NOW - 7200, NOW),
    (NOW - 7 * 86_400 - 3600, NOW - 7 * 86_400),
    (NOW - 364 * 86_400 - 3600, NOW - 364 * 86_400),
)


@pytest.fixture
def store(migrated_timescaledb_dsn: str) -> Iterator[Store]:
    """Two hours, an hour a week ago and one a year ago; bands, and an alert of every flow and step."""
    with Store.open(migrated_timescaledb_dsn) as store:
        store.migrate()
        position = StoredPosition(0, 0)
        for start, end in SPANS:
            for batch in SimulatedHistory(FLOWS, start, end, 0.5).batches():
                following = StoredPosition(0, position.offset + 1)
                store.write([batch], "test", position, following)
                position = following
        with store.connection() as connection, connection.transaction():
            for flow in FLOWS.values():
                for step in flow.steps:
                    hours = np.arange(NOW - 7200, NOW, 3600.0).tolist()
                    add_bands(connection, [BandHour(flow.name, step.name, hour, 1.0, 0.9, 1.1) for hour in hours], NOW)
                    _add_alert(connection, flow.name, step.name)
                    _add_instances(connection, flow.name, step.name, origin=0, reached=200, given_up=30, hit=10)
                    _add_instances(connection, flow.name, step.name, origin=1, reached=999, given_up=999, hit=999)
        yield store


def _add_alert(connection: psycopg.Connection[Any], flow: str, step: str) -> None:
    values = {"id": f"{flow}-{step}", "flow": flow, "step": step, "at": CHANGE}
    connection.execute(
        "INSERT INTO alerts (alert_id, state, severity, kind, flow, step, opened_at, started_at, document) VALUES "
        "(%(id)s, 'firing', 'warning', 'slower', %(flow)s, %(step)s, to_timestamp(%(at)s), to_timestamp(%(at)s), '{}')",
        values,
    )
    connection.execute(
        "INSERT INTO deviations (kind, flow, step, detected_at, started_at, started_low, started_high, effect, effect_low, "
        "effect_high, before, after, observations, observations_before, alert_id) SELECT 'slower', %(flow)s, %(step)s, t, t, t, t, "
        "0.2, 0.1, 0.3, 1, 1.2, 500, 5000, %(id)s FROM to_timestamp(%(at)s) AS t",
        values,
    )
    connection.execute(
        "INSERT INTO events (at, kind, flow, title) VALUES (to_timestamp(%(at)s), 'release', %(flow)s, 'bill-service 2')",
        values,
    )


def _add_instances(connection: psycopg.Connection[Any], flow: str, step: str, **counts: int) -> None:
    connection.execute(
        "INSERT INTO instance_rollups (hour, flow, step, origin, reached, given_up, hit) "
        "SELECT h, %(flow)s, %(step)s, %(origin)s, %(reached)s, %(given_up)s, %(hit)s "
        "FROM generate_series(to_timestamp(%(start)s), to_timestamp(%(end)s), '1 hour') AS h",
        {"flow": flow, "step": step, "start": NOW - 4 * 3600, "end": NOW, **counts},
    )


def filled_in(statement: str, choices: dict[str, str]) -> str:
    """What Grafana makes of a statement: macros and variables."""
    start, end = NOW - 7200, NOW
    for macro, value in (("$__timeFrom()", start), ("$__timeTo()", end)):
        statement = statement.replace(macro, time.strftime("'%Y-%m-%dT%H:%M:%SZ'", time.gmtime(value)))
    statement = statement.replace("$__interval", "1m").replace("${change:raw}", str(int(CHANGE)))
    for name, choice in choices.items():
        statement = statement.replace(f"${{{name}:sqlstring}}", f"'{choice}'")
    assert "$" not in statement, statement
    return statement


def choices_of(uid: str) -> dict[str, str]:
    if uid == "cxgauge-step":
        return {"flow": "bill_inquiry", "step": "bill_details", "dimension": "channel"}
    return {"channel": "app" if uid == "cxgauge-flow-bill_inquiry" else "*", "app_version": "*"}


def test_every_statement_returns_rows_to_the_reader(store: Store) -> None:
    empty, asked = [], 0
    with store.connection() as connection, connection.transaction():
        connection.execute(f"SET LOCAL ROLE {READER_ROLE}")
        for uid, board in BOARDS.items():
            statements = [
                (panel["title"], target["rawSql"])
                for panel in board["panels"]
                for target in panel.get("targets", ())
                if "rawSql" in target
            ]
            statements += [(note["name"], note["rawQuery"]) for note in board["annotations"]["list"]]
            statements += [(one["name"], one["query"]) for one in board["templating"].get("list", ())]
            for title, statement in statements:
                asked += 1
                found = connection.execute(filled_in(statement, choices_of(uid)).encode()).fetchall()
                if not found or all(value is None for row in found for value in row[1:] or row):
                    empty.append(f"{uid}: {title}")
    assert empty == []
    assert asked > 60


def test_a_whole_row_of_the_overview(store: Store) -> None:
    """Good-answer rate, budget and comparisons are those of the rollups added up by hand."""
    (panel,) = (panel for panel in BOARDS["cxgauge-overview"]["panels"] if panel["title"] == "Flows")
    statement = filled_in(panel["targets"][0]["rawSql"], {})
    with store.connection() as connection:
        rows = {row[0]: row for row in connection.execute(statement.encode()).fetchall()}
        count = "SELECT sum(good)::float8, sum(good + slow + stale + incomplete + wrong + abandoned + timeout + error)::float8 "
        source = "FROM rollup_rows('transfer', NULL, to_timestamp(%s), to_timestamp(%s))"
        now, before = (
            connection.execute((count + source).encode(), span).fetchone()
            for span in ((NOW - 7200, NOW), (NOW - 7 * 86_400 - 7200, NOW - 7 * 86_400))
        )
    assert now is not None
    assert before is not None
    row = rows["Transfer"]
    assert row[1] == now[1]
    assert row[2] == pytest.approx(now[0] / now[1])
    objective = min(step.good_objective for step in FLOWS["transfer"].steps)
    assert {step.good_objective for step in FLOWS["transfer"].steps} == {objective}
    assert row[5] == pytest.approx(1 - (now[1] - now[0]) / (now[1] * (1 - objective)))
    assert row[6] == pytest.approx(now[0] / now[1] - before[0] / before[1])
    assert row[8] == 2


def ask(store: Store, uid: str, title: str) -> list[tuple[Any, ...]]:
    (panel,) = (panel for panel in BOARDS[uid]["panels"] if panel["title"] == title)
    statement = filled_in(panel["targets"][0]["rawSql"], choices_of(uid))
    with store.connection() as connection:
        return connection.execute(statement.encode()).fetchall()


def test_drop_off_is_of_the_span_and_not_of_probes(store: Store) -> None:
    rows = ask(store, "cxgauge-flow-bill_inquiry", "Drop-off")
    titles = [step.title.en for step in FLOWS["bill_inquiry"].steps]
    assert rows == [(title, 400, 0.05, 60, 0.15) for title in titles]  # two whole hours


def test_a_column_of_the_heat_map_is_the_distribution_of_that_time(store: Store) -> None:
    rows = ask(store, "cxgauge-step", "Durations as a heat map")
    times = sorted({time for time, _, _ in rows})
    names = [[name for time, name, _ in rows if time == one] for one in times]
    assert len(times) > 60
    assert all(name == names[0] for name in names)  # every row in every column, or their heights would not agree
    edges = [float(name) for name in names[0]]
    assert edges == sorted(edges)
    assert all(high / low == pytest.approx(1.02**9, rel=0.01) for low, high in pairwise(edges))
    shares = np.array([[share for time, _, share in rows if time == one] for one in times])
    assert (shares >= 0).all()
    assert shares.sum(axis=1).max() <= 100 + 1e-9
    assert shares.sum() / len(times) > 98  # what is left out is rare
    with store.connection() as connection:
        query = "SELECT bucket, observations FROM distribution('bill_inquiry', 'bill_details', %s, %s + interval '1 minute')"
        found = connection.execute(query, (times[5], times[5])).fetchall()
    total, column = sum(count for _, count in found), dict.fromkeys(edges, 0)
    for bucket, count in found:
        up_to = 1.02 ** (math.ceil(bucket / 9) * 9)
        name = next((edge for edge in edges if edge == pytest.approx(up_to, rel=0.01)), None)
        if name is not None:
            column[name] += count
    assert shares[5].tolist() == pytest.approx([100 * count / total for count in column.values()])


@contextmanager
def exposed() -> Iterator[int]:
    """A bank's figures on a port, going on."""
    written, stop = 0, threading.Event()

    def health() -> HealthFigures:
        return HealthFigures(
            dropped={"buffer_full": written // 50},
            written=written,
            writer_failures=1,
            writer_lag_seconds=0.5,
            spool_bytes=1_000,
            spool_limit_bytes=1_000_000,
            evaluation_lag_seconds=20.0,
            evaluation_duration_seconds=0.1,
        )

    exposition = Exposition(FLOWS, health=health)

    def go_on() -> None:
        nonlocal written
        while not stop.is_set():
            for batch in SimulatedHistory(FLOWS, time.time() - 5, time.time(), 4.0).batches():
                batch.records["source"] = Source.RECORDER
                batch.records["source"][:2] = Source.PROBE
                exposition.observe(batch)
                written += len(batch)
            stop.wait(0.5)

    server, serving = start_http_server(0, addr="127.0.0.1", registry=exposition.registry)
    worker = threading.Thread(target=go_on)
    worker.start()
    try:
        yield server.server_port
    finally:
        stop.set()
        worker.join()
        server.shutdown()
        server.server_close()
        serving.join()


def test_every_expression_returns_series(prometheus: Any) -> None:
    expressions = {
        (panel["title"], target["refId"]): _promql(target["expr"])
        for board in BOARDS.values()
        for panel in board["panels"]
        for target in panel.get("targets", ())
        if "expr" in target
    }
    assert len(expressions) > 12
    with exposed() as port:
        config = f"scrape_configs: [{{job_name: cxgauge, scrape_interval: 1s, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]"
        server = prometheus(config)
        deadline = time.monotonic() + 60
        waiting = dict(expressions)
        while waiting and time.monotonic() < deadline:
            waiting = {key: text for key, text in waiting.items() if not _asked(server, text)}
            time.sleep(0.5)
    assert waiting == {}


def _promql(expression: str) -> str:
    for name, value in (
        ("$__rate_interval", "1m"),
        ("$__range", "5m"),
        ("$flow", "bill_inquiry"),
        ("$step", "bill_total"),
    ):
        expression = expression.replace(name, value)
    return expression


def _asked(server: Any, expression: str) -> list[Any]:
    found: list[Any] = server.get(f"/api/v1/query?query={urllib.parse.quote(expression)}")["data"]["result"]
    return [one for one in found if not re.fullmatch("NaN", one["value"][1])]
