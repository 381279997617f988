"""The store's state of health, one finding a question, each with its remedy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import psycopg

from .connection import Connection, DatabaseSettings, ServerFacts, Tier, open_connection, server_facts
from .migrations import READER_ROLE, MigrationError, plan
from .named_queries import named_query

__all__ = ["Finding", "Health", "examine_store", "readable_bytes"]

_OLDEST_POSTGRESQL = 150_000
_SKEW_WARN_SECONDS = 1.0
_SKEW_FAIL_SECONDS = 60.0
_FRESH_SECONDS = 3600.0


class Health(StrEnum):
    """How bad it is; a larger position is worse."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer: what was asked, how it is, in words, and what to do about it (empty when all is well)."""

    name: str
    health: Health
    detail: str
    remedy: str = ""


def examine_store(settings: DatabaseSettings, clock: Callable[[], float] = time.time) -> list[Finding]:
    """Ask the database everything that matters; changes nothing and never raises on account of the database."""
    try:
        with open_connection(settings) as connection:
            connection.execute(named_query("server.set"), ("statement_timeout", "10000"))
            return list(_findings(connection, settings, clock))
    except psycopg.Error as error:
        text = str(error).strip().splitlines()
        return [
            Finding(
                "database",
                Health.FAIL,
                f"cannot be reached: {text[0] if text else type(error).__name__}",
                "start it, or correct database.dsn in the configuration",
            )
        ]


def _findings(connection: Connection, settings: DatabaseSettings, clock: Callable[[], float]) -> Iterator[Finding]:
    facts = server_facts(connection)
    yield _server(facts)
    yield _durability(connection)
    yield _clock_skew(connection, clock)
    schema = _schema(settings)
    yield schema
    yield _reader(connection)
    yield _size(connection)
    if schema.health is Health.OK:
        yield _written(connection, clock)
        yield _rolled_forward(connection, clock)
        yield _capped(connection)


def _server(facts: ServerFacts) -> Finding:
    version = f"PostgreSQL {facts.postgresql // 10_000}.{facts.postgresql % 10_000}"
    extension = f", TimescaleDB {facts.timescaledb}" if facts.timescaledb else ""
    detail = f"{version}{extension}, tier {facts.tier}"
    if facts.postgresql < _OLDEST_POSTGRESQL:
        return Finding("database", Health.FAIL, detail, "use PostgreSQL 15 or newer")
    if facts.tier is Tier.PLAIN and facts.timescaledb_available:
        remedy = "run CREATE EXTENSION timescaledb as superuser, then cxgauge migrate, for cheaper retention"
        return Finding("database", Health.WARN, f"{detail}; the server offers TimescaleDB", remedy)
    return Finding("database", Health.OK, detail)


def _durability(connection: Connection) -> Finding:
    row = connection.execute(named_query("health.durability")).fetchone() or ("", "", "")
    detail = f"fsync {row[0]}, synchronous_commit {row[1]}, full_page_writes {row[2]}"
    if row[0] != "on" or row[2] != "on":
        return Finding("durability", Health.FAIL, detail, "turn it on: a power cut can destroy the database")
    if row[1] == "off":
        return Finding("durability", Health.WARN, detail, "turn it on: a power cut loses what was just committed")
    return Finding("durability", Health.OK, detail)


def _clock_skew(connection: Connection, clock: Callable[[], float]) -> Finding:
    before = clock()
    row = connection.execute(named_query("health.clock")).fetchone()
    after = clock()
    skew = float(row[0] if row else after) - (before + after) / 2
    # The answer was made somewhere between question and reception: that much is not known.
    certain = max(0.0, abs(skew) - (after - before) / 2)
    detail = f"the database's clock is {skew:+.3f} s from this host's"
    if certain <= _SKEW_WARN_SECONDS:
        return Finding("clock", Health.OK, detail)
    health = Health.FAIL if certain > _SKEW_FAIL_SECONDS else Health.WARN
    return Finding("clock", health, detail, "let both hosts follow the same time servers (chrony or systemd-timesyncd)")


def _schema(settings: DatabaseSettings) -> Finding:
    try:
        todo = plan(settings)
    except MigrationError as error:
        detail, _, remedy = str(error).rpartition("; ")
        return Finding("schema", Health.FAIL, detail, remedy)
    if todo.pending:
        names = ", ".join(migration.name for migration in todo.pending)
        detail = f"version {todo.version} of {todo.target}; pending: {names}"
        return Finding("schema", Health.FAIL, detail, "run cxgauge migrate")
    return Finding("schema", Health.OK, f"version {todo.version}, up to date")


def _reader(connection: Connection) -> Finding:
    row = connection.execute(named_query("server.role_exists"), (READER_ROLE,)).fetchone()
    if row is not None and row[0]:
        return Finding("dashboards", Health.OK, f"role {READER_ROLE} is there; GRANT it to the dashboards' user")
    remedy = f"let an administrator run CREATE ROLE {READER_ROLE} NOLOGIN, then cxgauge migrate"
    return Finding("dashboards", Health.WARN, f"role {READER_ROLE} is missing", remedy)


def _size(connection: Connection) -> Finding:
    row = connection.execute(named_query("health.size")).fetchone()
    return Finding("size", Health.OK, f"the database takes {readable_bytes(int(row[0]) if row else 0)}")


def _written(connection: Connection, clock: Callable[[], float]) -> Finding:
    row = connection.execute(named_query("health.newest")).fetchone()
    if row is None or row[0] is None:
        return Finding("written", Health.OK, "no observation yet")
    return Finding("written", Health.OK, f"{row[1]:,} observations, the last {_ago(clock() - float(row[0]))}")


def _rolled_forward(connection: Connection, clock: Callable[[], float]) -> Finding:
    parameters = {"before": clock() - _FRESH_SECONDS}
    row = connection.execute(named_query("health.fresh"), parameters).fetchone()
    if row is None or not row[0]:
        return Finding("housekeeping", Health.OK, "rollups are rolled forward to hours")
    detail = f"{row[0]:,} rollup rows, the oldest {_ago(clock() - float(row[1]))}, are not rolled forward to hours"
    return Finding("housekeeping", Health.WARN, detail, "keep cxgauge up running: it does this every minute")


def _capped(connection: Connection) -> Finding:
    steps = [row[0] for row in connection.execute(named_query("health.capped"), {}).fetchall()]
    if not steps:
        return Finding("dimensions", Health.OK, "no step has more series than its cap")
    detail = f"values beyond the cap are counted as 'other' in {', '.join(steps)}"
    return Finding("dimensions", Health.WARN, detail, "give dimensions with many values a list of allowed ones")


def _ago(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"


def readable_bytes(size: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
