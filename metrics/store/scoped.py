"""A store that shows one person's part of the data and changes nothing."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from .connection import Connection, Database, DatabaseSettings, ServerFacts
from .migrations import MigrationPlan
from .named_queries import named_query
from .scope import RULES, SETTING, DataScope, view
from .store import Store

__all__ = ["RestrictedPool", "RestrictedStores", "ScopedStore"]

_CONNECTIONS_LIMIT = 4
_SCOPES_LIMIT = 64


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


class ScopedStore(Store):
    """Reads like :class:`Store`, but only what the scope shows; writing fails in the database.

    Attributes:
        scope: What is shown.
    """

    def __init__(self, whole: Store, pool: RestrictedPool, scope: DataScope, clock: Callable[[], float]) -> None:
        super().__init__(whole.settings, clock=clock, database=_ScopedDatabase(pool, scope))
        self.scope = scope
        self._whole = whole

    @property
    def unrestricted(self) -> Store:
        """The whole store."""
        return self._whole

    def restricted(self, scope: DataScope) -> Store:
        """A scope cannot be exchanged for another."""
        if scope != self.scope:
            raise PermissionError("a restricted store cannot be given another scope; ask the whole store")
        return self

    def migrate(self) -> tuple[MigrationPlan, list[str]]:
        """Not with a restricted store."""
        raise PermissionError("a restricted store cannot migrate; ask the whole store")


class RestrictedStores:
    """The restricted stores of a whole one: those last used are kept, with what they know of series."""

    def __init__(self, whole: Store, clock: Callable[[], float] = time.time) -> None:
        self._whole, self._clock = whole, clock
        self._pool = RestrictedPool(whole.settings.database)
        self._stores: OrderedDict[DataScope, ScopedStore] = OrderedDict()

    def of(self, scope: DataScope) -> ScopedStore:
        """The store as this scope shows it; the caller holds the whole store's lock."""
        store = self._stores.pop(scope, None) or ScopedStore(self._whole, self._pool, scope, self._clock)
        self._stores[scope] = store
        while len(self._stores) > _SCOPES_LIMIT:
            self._stores.popitem(last=False)
        return store

    def close(self) -> None:
        """Close the connections of all of them."""
        self._pool.close()
