"""The store: what other parts of the program see of the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType

from ..observation import ObservationBatch, SeriesKey
from ..rollup import Origin, Rollup
from ..verdict import Verdict
from .catalog import Catalog
from .connection import Connection, Database, DatabaseSettings, ServerFacts
from .digests import Digester
from .migrations import MigrationPlan, migrate, plan
from .named_queries import named_query
from .read import CUSTOMERS_AND_SIMULATED, CustomersHit, Example, ReadPath
from .retention import Housekeeping, Retention, RetentionResult
from .scope import EVERYTHING, DataScope
from .scoped import RestrictedStores
from .write import Part, Position, StoredPosition, WritePath, WriteResult

__all__ = ["ScopedStore", "SourceProgress", "Store", "StoreSettings"]


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How the store is kept.

    Attributes:
        database: How to reach it.
        window_seconds: Length of the rollup windows; divides 60.
        retention: How long things are kept.
        series_per_step_limit: At most this many series a step; what exceeds it goes to a series ``other``.
        future_limit_seconds: Observations dated further ahead of our clock are written with our time.
        grace_seconds: How long after its end a window's rows are left as appended.
    """

    database: DatabaseSettings
    window_seconds: int = 60
    retention: Retention = field(default_factory=Retention)
    series_per_step_limit: int = 1000
    future_limit_seconds: float = 300.0
    grace_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.window_seconds < 1 or 60 % self.window_seconds:
            raise ValueError(
                f"window_seconds={self.window_seconds} does not divide a minute; choose one of 60, 30, 20, 15, 12, 10, "
                "6, 5, 4, 3, 2, 1"
            )


@dataclass(frozen=True, slots=True)
class SourceProgress:
    """How far one source was written: its position, observations in all, and when that was (seconds since 1970)."""

    source: str
    position: StoredPosition
    observations: int
    updated_at: float


class Store:
    """The store of observations, rollups and alerts. Thread-safe; opens its connections at the first use.

    Not fork-safe: make a store in each process.
    """

    def __init__(
        self, settings: StoreSettings, *, clock: Callable[[], float] = time.time, database: Database | None = None
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._database = Database(settings.database) if database is None else database
        self._catalog = Catalog(self._database, settings.series_per_step_limit)
        self._read = ReadPath(self._database, self._catalog, window_seconds=settings.window_seconds)
        self._write = WritePath(
            self._database,
            self._catalog,
            window_seconds=settings.window_seconds,
            future_limit_seconds=settings.future_limit_seconds,
            clock=clock,
        )
        self._housekeeping = Housekeeping(self._database, grace_seconds=settings.grace_seconds)
        self._digester = Digester(self._database, window_seconds=settings.window_seconds)
        self._restricted: RestrictedStores[ScopedStore] | None = None
        self._lock = threading.Lock()

    @classmethod
    def open(cls, dsn: str, *, schema: str = "cxgauge", window_seconds: int = 60) -> Store:
        """A store with default settings at ``dsn``."""
        return cls(StoreSettings(DatabaseSettings(dsn, schema), window_seconds=window_seconds))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        if self._restricted is not None:
            self._restricted.close()
        self._database.close()

    # -- what a person may see ------------------------------------------------------------------------

    @property
    def scope(self) -> DataScope:
        """What this store shows."""
        return EVERYTHING

    @property
    def unrestricted(self) -> Store:
        """The whole store; for what a person may do beyond reading, once that has been checked."""
        return self

    def restricted(self, scope: DataScope) -> Store:
        """The store as a person with this scope may see it: every query of it shows that part only, none can write."""
        if scope.is_everything:
            return self
        with self._lock:
            if self._restricted is None:
                self._restricted = RestrictedStores(self.settings.database, partial(ScopedStore, self))
            return self._restricted.of(scope)

    # -- schema and server ----------------------------------------------------------------------------

    def plan(self) -> MigrationPlan:
        """What :meth:`migrate` would do."""
        return plan(self.settings.database)

    def migrate(self) -> tuple[MigrationPlan, list[str]]:
        """Bring the schema up to date; what was done, and remarks for people."""
        return migrate(self.settings.database)

    @property
    def facts(self) -> ServerFacts:
        """What kind of server it is."""
        return self._database.facts

    def connection(self) -> AbstractContextManager[Connection]:
        """A connection in autocommit whose search path is our schema, for the tables of other parts."""
        return self._database.connection()

    # -- writing --------------------------------------------------------------------------------------

    def write(
        self, batches: Sequence[ObservationBatch], source: str, resume_from: Position, resume_to: Position
    ) -> WriteResult:
        """Write batches and advance the source's resume point in one transaction; see ``WritePath.write``."""
        return self._write.write([Part(source, batches, resume_from, resume_to)])

    def write_parts(self, parts: Sequence[Part], *, rehearse: bool = False) -> WriteResult:
        """Write what several sources contribute in one transaction; see ``WritePath.write``."""
        return self._write.write(parts, rehearse=rehearse)

    def position(self, source: str) -> StoredPosition | None:
        """How far ``source`` was written; None if never."""
        return self._write.position(source)

    def progress(self) -> list[SourceProgress]:
        """How far each source was written."""
        with self._database.connection() as connection:
            rows = connection.execute(named_query("write.resume_points")).fetchall()
        return [SourceProgress(row[0], StoredPosition(row[1], row[2]), row[3], row[4].timestamp()) for row in rows]

    def forget_sources(self, prefix: str, keep: Collection[str], older_than: float) -> int:
        """Delete resume points of sources that begin with ``prefix``, are not in ``keep`` and were last moved before.

        Only for sources that can never come again, else they would be written twice.
        """
        parameters = {"prefix": prefix, "keep": list(keep), "before": older_than}
        with self._database.connection() as connection:
            return connection.execute(named_query("write.forget_resume_points"), parameters).rowcount

    # -- reading --------------------------------------------------------------------------------------

    def series(self) -> dict[int, SeriesKey]:
        """All series by id; ``SeriesKey.checks`` are the step's checks in the order of the rollups' positions."""
        return self._catalog.series()

    def read_rollups(
        self,
        start: float,
        end: float,
        flow: str | None = None,
        step: str | None = None,
        *,
        dimensions: Mapping[str, str] | None = None,
        hours: bool = False,
        origins: Collection[Origin] = CUSTOMERS_AND_SIMULATED,
    ) -> tuple[Rollup, dict[int, SeriesKey]]:
        """Rollup of the windows starting within [start, end) and its series; see ``ReadPath.rollups``."""
        return self._read.rollups(start, end, flow, step, dimensions=dimensions, hours=hours, origins=origins)

    def span(self) -> tuple[float, float] | None:
        """Start of the oldest and newest window there is; None without any."""
        return self._read.span()

    def customers_hit(
        self,
        start: float,
        end: float,
        flow: str,
        step: str | None = None,
        *,
        dimensions: Mapping[str, str] | None = None,
        verdicts: Collection[Verdict] = tuple(Verdict),
        at_least_seconds: float = 0.0,
    ) -> CustomersHit:
        """Count distinct customers with such observations; see ``ReadPath.customers_hit``."""
        return self._read.customers_hit(
            start, end, flow, step, dimensions=dimensions, verdicts=verdicts, at_least_seconds=at_least_seconds
        )

    def worst_examples(
        self,
        start: float,
        end: float,
        flow: str,
        step: str | None = None,
        *,
        dimensions: Mapping[str, str] | None = None,
        verdicts: Collection[Verdict] = tuple(Verdict),
        limit: int = 10,
    ) -> list[Example]:
        """The worst observations of a span; see ``ReadPath.worst_examples``."""
        return self._read.worst_examples(start, end, flow, step, dimensions=dimensions, verdicts=verdicts, limit=limit)

    # -- housekeeping ---------------------------------------------------------------------------------

    def compact(self, stop: Callable[[], bool] = lambda: False) -> int:
        """Add up closed windows and roll them forward to hours; how many windows of series that were."""
        return self._housekeeping.compact(self._clock(), stop)

    def digest(self, stop: Callable[[], bool] = lambda: False, seconds: float = float("inf")) -> int:
        """Digest hours that are over, for about so long; how many hours of series that were. See ``Digester.run``."""
        return self._digester.run(self._clock(), self.settings.retention.windows_days * 86_400.0, stop, seconds)

    def analyze(self) -> None:
        """Let the database look at its tables anew, after much was added at once."""
        self._housekeeping.analyze()

    def expire(self, stop: Callable[[], bool] = lambda: False) -> RetentionResult:
        """Remove what is older than its retention."""
        return self._housekeeping.expire(self._clock(), self.settings.retention, stop)


class ScopedStore(Store):
    """Reads like :class:`Store`, but only what the scope shows; writing fails in the database."""

    def __init__(self, whole: Store, database: Database, scope: DataScope) -> None:
        super().__init__(whole.settings, clock=whole._clock, database=database)
        self._scope = scope
        self._whole = whole

    @property
    def scope(self) -> DataScope:
        """What this store shows."""
        return self._scope

    @property
    def unrestricted(self) -> Store:
        """The whole store."""
        return self._whole

    def restricted(self, scope: DataScope) -> Store:
        """A scope cannot be exchanged for another."""
        if scope != self._scope:
            raise PermissionError("a restricted store cannot be given another scope; ask the whole store")
        return self

    def migrate(self) -> tuple[MigrationPlan, list[str]]:
        """Not with a restricted store."""
        raise PermissionError("a restricted store cannot migrate; ask the whole store")
