"""Connections to the database, and which kind of server it is."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from ..names import Schema
from .named_queries import named_query

__all__ = ["Connection", "Database", "DatabaseSettings", "ServerFacts", "Tier", "open_connection", "server_facts"]

Connection = psycopg.Connection[tuple[Any, ...]]
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_log = logging.getLogger(__name__)


class Tier(StrEnum):
    """What the server can do; found by asking it, never configured."""

    PLAIN = "plain"
    TIMESCALEDB_APACHE = "timescaledb-apache"  # hypertables, drop_chunks
    TIMESCALEDB_COMMUNITY = "timescaledb-community"  # also compression and policies

    @property
    def has_hypertables(self) -> bool:
        """Whether tables can be split into chunks that are dropped whole."""
        return self is not Tier.PLAIN


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """How to reach the database.

    Attributes:
        dsn: libpq connection string or URL.
        schema: Where our tables are; lower-case letters, digits and underscores.
        connections_limit: Size of the pool.
        statement_timeout_seconds: A statement that runs longer is cancelled by the server; 0 for never.
        connect_timeout_seconds: How long to wait for a connection.
        application_name: Shown in ``pg_stat_activity``.
    """

    dsn: str
    schema: str = Schema.NAME
    connections_limit: int = 8
    statement_timeout_seconds: float = 60.0
    connect_timeout_seconds: float = 5.0
    application_name: str = "cxgauge"

    def __post_init__(self) -> None:
        if not _SCHEMA_NAME.fullmatch(self.schema):
            raise ValueError(
                f"schema={self.schema!r} is not a plain name; use lower-case letters, digits and underscores, "
                "not a digit first"
            )


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What kind of server it is.

    Attributes:
        tier: See :class:`Tier`.
        postgresql: Version number as PostgreSQL has it, 170011 for 17.11.
        timescaledb: Version of the extension; None without it.
        timescaledb_available: Whether the extension could be created, whatever it is.
    """

    tier: Tier
    postgresql: int
    timescaledb: str | None
    timescaledb_available: bool


def server_facts(connection: Connection) -> ServerFacts:
    """Ask the server which tier it is."""
    row = connection.execute(named_query("server.facts")).fetchone()
    if row is None:
        raise RuntimeError("the server did not say its version")
    version, extension, license_, available = row
    tier = Tier.PLAIN
    if extension is not None:
        tier = Tier.TIMESCALEDB_COMMUNITY if license_ == "timescale" else Tier.TIMESCALEDB_APACHE
    return ServerFacts(tier, int(version), extension, bool(available))


def open_connection(settings: DatabaseSettings) -> Connection:
    """One connection outside of any pool, in autocommit, with our search path and no statement timeout.

    For migrations and tools; the caller closes it.
    """
    connection = psycopg.connect(
        settings.dsn,
        autocommit=True,
        connect_timeout=max(1, round(settings.connect_timeout_seconds)),
        application_name=settings.application_name,
    )
    _set_search_path(connection, settings.schema)
    return connection


class Database:
    """A pool of connections with our search path, timeouts and name; opens at the first use.

    Broken connections are replaced by the pool, with growing pauses while the server is away.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings
        self._facts: ServerFacts | None = None
        self._pool = ConnectionPool(
            settings.dsn,
            kwargs={
                "autocommit": True,
                "connect_timeout": max(1, round(settings.connect_timeout_seconds)),
                "application_name": settings.application_name,
                "keepalives_idle": 30,
            },
            min_size=1,
            max_size=settings.connections_limit,
            open=False,
            configure=self._configure,
            check=ConnectionPool.check_connection,
            timeout=settings.connect_timeout_seconds,
            reconnect_timeout=60.0,
            name=settings.application_name,
        )

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Borrow a connection in autocommit; use ``connection.transaction()`` for more than one statement.

        Raises:
            psycopg.OperationalError: no connection within the time allowed (``PoolTimeout``).
        """
        if self._pool.closed:
            self._pool.open(wait=False)
        with self._pool.connection() as connection:
            yield connection

    @property
    def facts(self) -> ServerFacts:
        """What kind of server it is; asked once."""
        if self._facts is None:
            with self.connection() as connection:
                self._facts = server_facts(connection)
        return self._facts

    def close(self) -> None:
        """Close all connections."""
        if not self._pool.closed:
            self._pool.close(timeout=2.0)

    def _configure(self, connection: Connection) -> None:
        _set_search_path(connection, self.settings.schema)
        milliseconds = round(self.settings.statement_timeout_seconds * 1000)
        connection.execute(named_query("server.set"), ("statement_timeout", str(milliseconds)))
        connection.execute(named_query("server.set"), ("idle_in_transaction_session_timeout", "60000"))
        connection.execute(named_query("server.set"), ("work_mem", "32MB"))  # a minute of 100,000 series
        # A plan made for any span and any number of series reads far too much of most of them.
        connection.execute(named_query("server.set"), ("plan_cache_mode", "force_custom_plan"))


def _set_search_path(connection: Connection, schema: str) -> None:
    connection.execute(named_query("server.set_search_path"), {"schema": schema})
    connection.execute(named_query("server.set"), ("timezone", "UTC"))
