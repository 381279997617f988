"""Housekeeping: appended rollup rows are added up, rolled forward to hours, and what is old is removed.

Every step is one transaction, may be killed at any moment and run again, and leaves all sums as they were: at any time
``hour_rollups`` is the sum of the window rows marked ``rolled``, and the rows not marked are still to come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..names import Schema
from ..rollup import Rollup, merge, regroup
from .connection import Connection, Database
from .digests import note_windows
from .named_queries import named_query
from .read import fetch_rollups
from .rows import rollup_rows

__all__ = ["Housekeeping", "Retention", "RetentionResult"]

_HOUR = 3600
_STATEMENT_SECONDS = 600  # nobody waits for housekeeping
_MANY_ROWS = 100_000
_DAY = 86_400
_DIGESTS_DAYS = 120.0
_EXPIRED_WITH_HOURS = (
    "events.expire",
    "transitions.expire_instances",
    "transitions.expire_transitions",
    "transitions.expire_transition_hours",
    "quality.expire",
)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept, in days.

    Attributes:
        observations_days: Single observations: examples, customers hit, reprocessing.
        windows_days: Window rollups: what the detector learns from, figures finer than an hour.
        hours_days: Hour rollups: trends, comparison with last year; and events.
    """

    observations_days: float = 14.0
    windows_days: float = 90.0
    hours_days: float = 1100.0

    @property
    def digests_days(self) -> float:
        """Digests of windows: as long as windows, and at least 120 days."""
        return max(self.windows_days, _DIGESTS_DAYS)

    def __post_init__(self) -> None:
        for name in ("observations_days", "windows_days", "hours_days"):
            if not getattr(self, name) > 0:
                raise ValueError(f"retention {name}={getattr(self, name)!r} is not a number of days > 0; write e.g. 30")
        if self.hours_days < self.windows_days:
            raise ValueError(
                f"retention hours_days={self.hours_days:g} is shorter than windows_days={self.windows_days:g}; hours "
                "are made from windows and must be kept at least as long"
            )


@dataclass(frozen=True, slots=True)
class RetentionResult:
    """What :meth:`Housekeeping.expire` removed: rows, or chunks where tables are hypertables."""

    observations: int
    windows: int
    hours: int


class Housekeeping:
    """Runs housekeeping; several may run at once, one works and the others return.

    Args:
        database: Where.
        grace_seconds: How long after its end a window may still get rows before they are added up. Later ones are
            added up as well, at the price of rewriting the row.
        rows_per_transaction: Bounds memory and the length of transactions.
    """

    def __init__(self, database: Database, *, grace_seconds: float = 60.0, rows_per_transaction: int = 20_000) -> None:
        self._database = database
        self._grace_seconds = grace_seconds
        self._rows = rows_per_transaction

    def compact(self, now: float, stop: Callable[[], bool] = lambda: False) -> int:
        """Add up the appended rows of closed windows and roll them forward to hours.

        Returns:
            How many windows of series were added up.
        """
        total = 0
        while not stop():
            taken = self._compact_some(now)
            total += taken
            if taken == 0:
                break
        if total >= _MANY_ROWS:
            self.analyze()
        return total

    def analyze(self) -> None:
        """Let the database look at its tables anew: after much was added or rolled forward, plans are bad before."""
        with self._database.connection() as connection, connection.transaction():
            connection.execute(named_query("retention.limit_time"), (str(_STATEMENT_SECONDS * 1_000),))
            connection.execute(named_query("retention.analyze"))

    def expire(self, now: float, retention: Retention, stop: Callable[[], bool] = lambda: False) -> RetentionResult:
        """Remove what is older than its retention; windows only once they are contained in hours."""
        observations = self._expire(Schema.OBSERVATIONS, now - retention.observations_days * _DAY, stop)
        before = now - retention.windows_days * _DAY
        oldest = self._oldest_fresh()
        windows = self._expire(Schema.WINDOW_ROLLUPS, before if oldest is None else min(before, oldest), stop)
        hours = self._delete("retention.expire_hours", now - retention.hours_days * _DAY, stop)
        for query in _EXPIRED_WITH_HOURS:
            self._delete(query, now - retention.hours_days * _DAY, stop)
        for kind in ("days", "hours", "late"):
            self._delete(f"digests.expire_{kind}", now - retention.digests_days * _DAY, stop)
        return RetentionResult(observations, windows, hours)

    def _compact_some(self, now: float) -> int:
        lock = f"cxgauge compact {self._database.settings.schema}"
        with self._database.connection() as connection, connection.transaction():
            got = connection.execute(named_query("server.try_lock_transaction"), (lock,)).fetchone()
            if got is None or not got[0]:
                return 0
            parameters: dict[str, Any] = {"closed_before": now - self._grace_seconds - 60, "limit": self._rows}
            boundary = connection.execute(named_query("retention.fresh_boundary"), parameters).fetchone()
            if boundary is None:
                return 0
            connection.execute(named_query("retention.limit_time"), (str(_STATEMENT_SECONDS * 1_000),))
            taken = 0
            keys = {"window": boundary[0], "series": boundary[1]}
            for fresh in fetch_rollups(connection, named_query("retention.take_fresh"), keys):
                taken += len(fresh)
                self._add_windows(connection, fresh)
                self._add_hours(connection, fresh)
                note_windows(connection, fresh)
            return taken

    def _add_windows(self, connection: Connection, fresh: Rollup) -> None:
        rolled = fetch_rollups(connection, named_query("retention.take_rolled"), _keys(fresh))
        same = [part for part in rolled if part.window_seconds == fresh.window_seconds]
        others = [part for part in rolled if part.window_seconds != fresh.window_seconds]
        _copy(connection, "write.copy_window_rollups", rollup_rows([merge([fresh, *same]), *others], rolled=True))

    def _add_hours(self, connection: Connection, fresh: Rollup) -> None:
        added = regroup(fresh, window_seconds=_HOUR)
        hours = fetch_rollups(connection, named_query("retention.take_hours"), _keys(added))
        _copy(connection, "write.copy_hour_rollups", rollup_rows([merge([added, *hours])], rolled=None))

    def _oldest_fresh(self) -> float | None:
        with self._database.connection() as connection:
            row = connection.execute(named_query("retention.oldest_fresh")).fetchone()
        return None if row is None or row[0] is None else float(row[0])

    def _expire(self, table: str, before: float, stop: Callable[[], bool]) -> int:
        if self._database.facts.tier.has_hypertables:
            with self._database.connection() as connection:
                parameters = {"table": table, "before": before}
                return len(connection.execute(named_query("server.drop_chunks"), parameters).fetchall())
        query = "expire_observations" if table == Schema.OBSERVATIONS else "expire_windows"
        return self._delete(f"retention.{query}", before, stop)

    def _delete(self, query: str, before: float, stop: Callable[[], bool]) -> int:
        total = 0
        while not stop():
            with self._database.connection() as connection:
                parameters = {"before": before, "limit": self._rows}
                removed = connection.execute(named_query(query), parameters).rowcount
            total += removed
            if removed < self._rows:
                break
        return total


def _keys(rollup: Rollup) -> dict[str, Any]:
    windows = rollup.window_start.tolist()
    return {"windows": windows, "series": rollup.series.tolist(), "first": min(windows), "last": max(windows)}


def _copy(connection: Connection, query: str, data: bytes) -> None:
    with connection.cursor() as cursor, cursor.copy(named_query(query)) as copy:
        copy.write(data)
