"""The fixtures that every other test stands on."""

from __future__ import annotations

from typing import Any

import psycopg


def test_a_fresh_database_is_empty_and_a_second_connection_sees_what_the_first_wrote(database_dsn: str) -> None:
    with psycopg.connect(database_dsn, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
        connection.execute("CREATE TABLE passage (n int)")
    with psycopg.connect(database_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM passage").fetchone() == (0,)


def test_timescaledb_is_the_real_thing(timescaledb_dsn: str) -> None:
    with psycopg.connect(timescaledb_dsn) as connection:
        connection.execute("CREATE TABLE passage (ts timestamptz NOT NULL)")
        connection.execute("SELECT create_hypertable('passage', 'ts')")
        rows = connection.execute("SELECT hypertable_name FROM timescaledb_information.hypertables").fetchall()
    assert rows == [("passage",)]


def test_the_clock_moves_only_when_told(clock: Any) -> None:
    start = clock()
    clock.sleep(2.5)
    assert (clock() - start, clock.advance(0.5) - start, clock.slept) == (2.5, 3.0, [2.5])


def test_prometheus_starts_with_the_configuration_given(prometheus: Any) -> None:
    server = prometheus("global: {scrape_interval: 7s}\n")
    assert "scrape_interval: 7s" in server.get("/api/v1/status/config")["data"]["yaml"]


def test_alertmanager_starts_with_the_configuration_given(alertmanager: Any) -> None:
    server = alertmanager("route: {receiver: team}\nreceivers: [{name: team}]\n")
    assert server.get("/api/v2/receivers") == [{"name": "team"}]


def test_chromium_shows_chinese(chromium: Any) -> None:
    page = chromium.new_page()
    page.set_content("<p lang=zh-CN>及时性</p>")
    assert page.inner_text("p") == "及时性"
    page.close()
