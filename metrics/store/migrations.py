"""Migrations: numbered SQL files applied once each, in order, under a lock, and checked by their checksums."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import psycopg
from psycopg import errors, sql

from ..names import Schema
from .connection import Connection, DatabaseSettings, Tier, open_connection, server_facts
from .named_queries import named_query

__all__ = ["READER_ROLE", "Migration", "MigrationError", "MigrationPlan", "migrate", "migrations", "plan"]

READER_ROLE = "cxgauge_reader"
"""Role for dashboards: it reads rollups, views, events and alerts, but neither observations nor the audit."""

_FILE = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_READER_TABLES = (
    Schema.SERIES,
    Schema.CHECKS,
    Schema.WINDOW_ROLLUPS,
    Schema.HOUR_ROLLUPS,
    Schema.INSTANCE_ROLLUPS,
    Schema.TRANSITION_ROLLUPS,
    Schema.INSTANCE_SLICES,
    Schema.TRANSITION_SLICES,
    Schema.QUALITY_ROLLUPS,
    Schema.BASELINE_BANDS,
    Schema.DEVIATIONS,
    Schema.ALERTS,
    Schema.ALERT_TRANSITIONS,
    Schema.EVENTS,
)
_HYPERTABLES = (
    (Schema.OBSERVATIONS, "observed_at", "1 day"),
    (Schema.WINDOW_ROLLUPS, "window_start", "1 day"),
)
_TIMESCALEDB_UNUSED = (
    "the server offers TimescaleDB but this database does not use it: run CREATE EXTENSION timescaledb as superuser, "
    "then cxgauge migrate"
)
_NO_READER = (
    f"role {READER_ROLE} for dashboards was not made, because the database user may not; let an administrator run "
    f"CREATE ROLE {READER_ROLE} NOLOGIN, then cxgauge migrate again"
)
_log = logging.getLogger(__name__)


class MigrationError(RuntimeError):
    """The database and the migrations do not fit together; the message names the file and the remedy."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: ``version`` is its number, ``checksum`` the SHA-256 of its text."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """What there is to do: migrations already applied and those still to apply, in order."""

    applied: tuple[int, ...]
    pending: tuple[Migration, ...]

    @property
    def version(self) -> int:
        """Version of the schema before; 0 for none."""
        return max(self.applied, default=0)

    @property
    def target(self) -> int:
        """Version of the schema once everything pending is applied."""
        return max([self.version, *(migration.version for migration in self.pending)])


def migrations() -> tuple[Migration, ...]:
    """The migrations that ship with the package, in order.

    Raises:
        MigrationError: numbers are missing or used twice.
    """
    folder = files(__package__).joinpath("sql", "migrations")
    found = []
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        match = _FILE.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), file.name, file.read_text(encoding="utf-8")))
    numbers = [migration.version for migration in found]
    if numbers != list(range(1, len(found) + 1)):
        raise MigrationError(f"migrations are numbered {numbers}; number them 1, 2, 3 … without gaps or doubles")
    return tuple(found)


def plan(settings: DatabaseSettings, known: Sequence[Migration] | None = None) -> MigrationPlan:
    """Say what :func:`migrate` would do, changing nothing.

    Raises:
        MigrationError: an applied migration was changed since, or the database is newer than this program.
    """
    with open_connection(settings) as connection:
        return _plan(connection, settings.schema, migrations() if known is None else known)


def migrate(settings: DatabaseSettings, known: Sequence[Migration] | None = None) -> tuple[MigrationPlan, list[str]]:
    """Bring the schema up to date: each pending migration in a transaction of its own, one program at a time.

    Then hypertables are made where the server has them, and the role for dashboards. All of it may be run again.

    Returns:
        What was pending, and remarks for people about what could not be done and how to do it.

    Raises:
        MigrationError: see :func:`plan`; or a migration failed, in which case those before it stay applied.
    """
    chosen = migrations() if known is None else known
    with open_connection(settings) as connection:
        lock = f"cxgauge migrate {settings.schema}"
        connection.execute(named_query("server.lock"), (lock,))
        try:
            todo = _plan(connection, settings.schema, chosen)
            _create_schema(connection, settings.schema)
            for migration in todo.pending:
                _apply(connection, migration)
            remarks = _use_tier(connection, settings.schema)
            remarks += _grant_reader(connection, settings.schema)
        finally:
            if not connection.closed:
                connection.execute(named_query("server.unlock"), (lock,))
    return todo, remarks


def _plan(connection: Connection, schema: str, known: Sequence[Migration]) -> MigrationPlan:
    table = sql.SQL("SELECT version, name, checksum FROM {}.{} ORDER BY version")
    try:
        rows = connection.execute(table.format(sql.Identifier(schema), sql.Identifier(Schema.MIGRATIONS))).fetchall()
    except (errors.UndefinedTable, errors.InvalidSchemaName):
        rows = []
    by_version = {migration.version: migration for migration in known}
    for version, name, checksum in rows:
        migration = by_version.get(version)
        if migration is None:
            raise MigrationError(
                f"schema {schema!r} has migration {name}, which this version of cxgauge does not know; "
                "install the newer cxgauge that made it"
            )
        if migration.checksum != checksum:
            raise MigrationError(
                f"{name} was changed after it was applied to schema {schema!r} (SHA-256 {migration.checksum[:12]}…, "
                f"applied was {checksum[:12]}…); restore the file and put the change into a migration of its own"
            )
    applied = tuple(row[0] for row in rows)
    return MigrationPlan(applied, tuple(one for one in known if one.version not in applied))


def _create_schema(connection: Connection, schema: str) -> None:
    exists = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", (schema,)).fetchone()
    if exists is None or not exists[0]:
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    connection.execute(named_query("migrate.create_table"))


def _apply(connection: Connection, migration: Migration) -> None:
    try:
        with connection.transaction():
            connection.execute(migration.text.encode())
            connection.execute(named_query("migrate.record"), (migration.version, migration.name, migration.checksum))
    except psycopg.Error as error:
        raise MigrationError(f"{migration.name} failed and was rolled back: {error}") from error
    _log.info("applied migration %s", migration.name)


def _use_tier(connection: Connection, schema: str) -> list[str]:
    """Make hypertables where there are any; returns remarks."""
    facts = server_facts(connection)
    if facts.tier is Tier.PLAIN:
        if facts.timescaledb_available:
            return [_TIMESCALEDB_UNUSED]
        return []
    for table, column, chunk in _HYPERTABLES:
        row = connection.execute(named_query("server.is_hypertable"), {"schema": schema, "table": table}).fetchone()
        if row is None or not row[0]:
            connection.execute(
                named_query("server.make_hypertable"), {"table": table, "column": column, "chunk": chunk}
            )
    if facts.tier is Tier.TIMESCALEDB_COMMUNITY:
        return _compress(connection)
    return []


def _compress(connection: Connection) -> list[str]:
    try:
        with connection.transaction():
            connection.execute(named_query("migrate.compress_observations"))
            connection.execute(named_query("migrate.compression_policy"))
    except (errors.FeatureNotSupported, errors.InsufficientPrivilege) as error:
        return [f"observations are kept uncompressed: {str(error).splitlines()[0]}"]
    return []


def _grant_reader(connection: Connection, schema: str) -> list[str]:
    role = sql.Identifier(READER_ROLE)
    try:
        with connection.transaction():
            found = connection.execute(named_query("server.role_exists"), (READER_ROLE,)).fetchone()
            if found is None or not found[0]:
                connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(role))
    except (errors.DuplicateObject, errors.UniqueViolation):
        pass  # another database of the server made it at the same time
    except errors.InsufficientPrivilege:
        return [_NO_READER]
    tables = sql.SQL(", ").join(sql.Identifier(schema, table) for table in _READER_TABLES)
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), role))
    connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(tables, role))
    return []
