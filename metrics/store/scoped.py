"""Connections that show one person's part of the data and change nothing, and the stores made of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Generic, TypeVar

from .connection import Connection, Database, DatabaseSettings, ServerFacts
from .named_queries import named_query
from .scope import RULES, SETTING, DataScope, view

__all__ = ["RestrictedPool", "RestrictedStores"]

_CONNECTIONS_LIMIT = 4
_SCOPES_LIMIT = 64

Made = TypeVar("Made")


class RestrictedPool(Database):
    """Connections that see restricted views instead of tables and can only read; for all scopes together."""

    def __init__(self, settings: DatabaseSettings) -> None:
        super().__init__(replace(settings, connections_limit=min(_CONNECTIONS_LIMIT, settings.connections_limit)))

    def _configure(self, connection: Connection) -> None:
        super()._configure(connection)
        schema = self.settings.schema
        tables: dict[str, list[str]] = {}
        for table, column in connection.execute(named_query("scope.columns"), {"schema": schema}):
            tables.setdefault(table, []).append(column)
        order = [*(name for name in RULES if name in tables), *(name for name in tables if name not in RULES)]
        with connection.transaction():  # rules refer to the views of series, alerts and runs, which come before
            for table in order:
                connection.execute(view(schema, table, tables[table]))
        for setting, value in (("search_path", "pg_temp"), ("default_transaction_read_only", "on")):
            connection.execute(named_query("server.set"), (setting, value))


class _ScopedDatabase(Database):
    """The pool, seen with one scope."""

    def __init__(self, pool: RestrictedPool, scope: DataScope) -> None:  # the pool is shared: none is made here
        self.settings = pool.settings
        self._shared, self._scope = pool, scope.to_json()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Borrow a connection; whatever scope it had before, it has this one now."""
        with self._shared.connection() as connection:
            connection.execute(named_query("server.set"), (SETTING, self._scope))
            yield connection

    @property
    def facts(self) -> ServerFacts:
        return self._shared.facts

    def close(self) -> None:
        """The pool belongs to the whole store, which closes it."""


class RestrictedStores(Generic[Made]):
    """A store for each scope, all on one pool: those last used are kept, with what they know of series.

    Args:
        settings: How to reach the database.
        make: Makes the store of a scope on connections that show no more than it.
    """

    def __init__(self, settings: DatabaseSettings, make: Callable[[Database, DataScope], Made]) -> None:
        self._pool, self._make = RestrictedPool(settings), make
        self._stores: OrderedDict[DataScope, Made] = OrderedDict()

    def of(self, scope: DataScope) -> Made:
        """The store as this scope shows it; for one caller at a time."""
        store = self._stores.pop(scope, None) or self._make(_ScopedDatabase(self._pool, scope), scope)
        self._stores[scope] = store
        while len(self._stores) > _SCOPES_LIMIT:
            self._stores.popitem(last=False)
        return store

    def close(self) -> None:
        """Close the connections of all of them."""
        self._pool.close()
