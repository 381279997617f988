"""Digests of windows: written once their hour is over, again for series whose windows came late, and read for learning.

Every step is one transaction under the lock of the housekeeping, may be killed at any moment and run again: hours are
replaced as a whole, never added to. Windows that are added up after their series' hour was digested are noted in the
transaction that adds them up, so none is forgotten; those older than windows are kept are not told any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..digest.day import DAY_SECONDS, HOURS, DayDigests
from ..digest.making import put_hours
from ..rollup import Rollup, merge, regroup
from .connection import Connection, Database
from .named_queries import named_query
from .read import CUSTOMERS_AND_SIMULATED, fetch_rollups

__all__ = ["DigestHistory", "Digester", "digested_hours", "history_span", "note_windows", "read_history"]

Integers = NDArray[Any]  # int64

_HOUR = 3_600


@dataclass(frozen=True, slots=True)
class DigestHistory:
    """Consecutive UTC days of some series.

    Attributes:
        first_day: Start of the first day (seconds since 1970 UTC).
        days: ``D``.
        rows: A row a series and day, series after series, days in order, ``[C · D]``.
    """

    first_day: int
    days: int
    rows: DayDigests


class Digester:
    """Makes digests.

    Args:
        database: Where.
        window_seconds: Usual length of a window.
        grace_seconds: How long after its end an hour is left alone.
        rows_per_transaction: Windows of series that are read at once: bounds memory and the length of transactions.
    """

    def __init__(
        self,
        database: Database,
        *,
        window_seconds: int = 60,
        grace_seconds: float = 300.0,
        rows_per_transaction: int = 30_000,
    ) -> None:
        self._database = database
        self._window_seconds = window_seconds
        self._grace_seconds = grace_seconds
        self._rows = rows_per_transaction

    def run(
        self, now: float, kept_seconds: float, stop: Callable[[], bool] = lambda: False, seconds: float = float("inf")
    ) -> int:
        """Digest what is over and not digested, the newest day first, late ones before all.

        Args:
            now: Seconds since 1970 UTC.
            kept_seconds: How long windows are kept; of a day that may have lost some nothing is told anew.
            stop: Ends it after a transaction.
            seconds: It ends after about so long.

        Returns:
            How many hours of series were digested.
        """
        began, total = time.monotonic(), 0
        oldest = (now - kept_seconds) // DAY_SECONDS * DAY_SECONDS + 2 * DAY_SECONDS
        while not stop() and time.monotonic() - began < seconds:
            taken = self._take_some(now, oldest)
            if taken is None:
                break
            total += taken
        return total

    def _take_some(self, now: float, oldest: float) -> int | None:
        lock = f"cxgauge compact {self._database.settings.schema}"
        with self._database.connection() as connection, connection.transaction():
            got = connection.execute(named_query("server.try_lock_transaction"), (lock,)).fetchone()
            if got is None or not got[0]:
                return None
            late = self._take_late(connection, oldest)
            return late if late is not None else self._take_waiting(connection, now, oldest)

    def _take_late(self, connection: Connection, oldest: float) -> int | None:
        limit = max(self._rows * self._window_seconds // _HOUR, 1)
        row = connection.execute(named_query("digests.late_day"), {"oldest": oldest, "limit": limit}).fetchone()
        if row is None:
            return None
        hour, series = row
        _digest(connection, [hour], np.array(series, dtype=np.int64))
        connection.execute(named_query("digests.forget_late"), {"hour": hour, "series": series})
        return len(series)

    def _take_waiting(self, connection: Connection, now: float, oldest: float) -> int | None:
        span = {"before": now - self._grace_seconds - _HOUR, "oldest": oldest}
        waiting = connection.execute(named_query("digests.waiting_hours"), span).fetchall()
        if not waiting:
            return None
        day, after = waiting[0][0] // DAY_SECONDS, waiting[0][1]
        hours = sorted(hour for hour, through in waiting if hour // DAY_SECONDS == day and through == after)
        limit = max(self._rows * self._window_seconds // (_HOUR * len(hours)), 1)
        found = connection.execute(named_query("digests.next_series"), {"after": after, "limit": limit}).fetchall()
        series = np.array([row[0] for row in found], dtype=np.int64)
        if len(series):
            _digest(connection, hours, series)
        progress = {"hours": hours, "through": int(series[-1]) if len(series) else after, "now": now}
        connection.execute(named_query("digests.advance_hours"), progress | {"done": len(series) < limit})
        return len(series) * len(hours)


def note_windows(connection: Connection, rollup: Rollup) -> None:
    """Note that these windows were added up: their hours are to be digested, again if need be."""
    keys = np.unique(np.stack([rollup.window_start // _HOUR * _HOUR, rollup.series]), axis=1)
    hours: dict[str, list[int]] = {"hours": np.unique(keys[0]).tolist()}
    connection.execute(named_query("digests.note_hours"), hours)
    connection.execute(named_query("digests.note_late"), {"hours": keys[0].tolist(), "series": keys[1].tolist()})


def digested_hours(connection: Connection, start: float, end: float) -> list[int]:
    """Starts of the hours within the span of which digests are complete, but for what came late."""
    span = {"start": start, "end": end}
    return [int(row[0]) for row in connection.execute(named_query("digests.digested_hours"), span)]


def history_span(
    connection: Connection, start: float, through: float, window_seconds: float
) -> tuple[float, float] | None:
    """Start of the first and end of the last window within a span; ``None`` without any.

    Asked of the hours that are known, and of the windows of hours at either end only: to look for the first of many
    millions of windows takes minutes.
    """
    row = connection.execute(named_query("digests.known_hours"), {"start": start, "end": through}).fetchone()
    oldest, first, last = row if row is not None else (None, None, None)
    recent = _windows_between(connection, start if last is None else last, through)
    if first is None:
        if recent is None:
            return None
        return recent[0], min(recent[1] + window_seconds, through)
    begin = max(float(first), start)
    if first == oldest and first >= start:  # nothing is older: the history begins with the first window of this hour
        within = _windows_between(connection, first, first + _HOUR)
        begin = begin if within is None else within[0]
    end = float(last) + _HOUR if recent is None else recent[1] + window_seconds
    return begin, min(end, through)


def _windows_between(connection: Connection, start: float, end: float) -> tuple[float, float] | None:
    found = connection.execute(named_query("digests.windows_between"), {"start": start, "end": end}).fetchone()
    return None if found is None or found[0] is None else (float(found[0]), float(found[1]))


def read_history(
    connection: Connection,
    series: Sequence[int],
    start: float,
    end: float,
    missing: Iterable[int] = (),
    *,
    window_seconds: int = 60,
) -> DigestHistory:
    """The days of some series that overlap a span.

    Args:
        connection: The store.
        series: Their ids.
        start: From.
        end: Before.
        missing: Starts of hours that are not digested yet: their windows are read instead.
        window_seconds: Shortest windows to tell apart.
    """
    first = int(start // DAY_SECONDS) * DAY_SECONDS
    days = max(-int(-(end - first) // DAY_SECONDS), 1)
    span = {"series": list(series), "start": first, "end": first + days * DAY_SECONDS}
    found = connection.cursor(binary=True).execute(named_query("digests.days_of_series"), span).fetchall()
    order = np.argsort(series, kind="stable")
    ordered = np.array(series, dtype=np.int64)[order]
    known = DayDigests.from_bytes([row[2] for row in found])
    if not found:
        rows = DayDigests.empty(len(ordered) * days, window_seconds)
    else:
        place = np.searchsorted(ordered, np.array([row[0] for row in found], dtype=np.int64)) * days
        place += (np.array([row[1] for row in found], dtype=np.int64) - first) // DAY_SECONDS
        shortest = int(np.lcm(known.window_seconds, window_seconds))
        rows = known.coarsened(shortest).spread(place, len(ordered) * days)
    rows = _with_windows(connection, rows, ordered, first, days, sorted(set(missing)))
    back = np.argsort(order, kind="stable")
    places = (back[:, None] * days + np.arange(days)).ravel()
    return DigestHistory(first, days, rows.take(places))


def _with_windows(
    connection: Connection, rows: DayDigests, series: Integers, first: int, days: int, missing: Sequence[int]
) -> DayDigests:
    """The rows, and beside them what windows tell of the missing hours."""
    by_day: dict[int, list[int]] = {}
    for hour in missing:
        by_day.setdefault((int(hour) - first) // DAY_SECONDS, []).append(int(hour))
    for day, hours in sorted(by_day.items()):
        if not 0 <= day < days:
            continue
        rollup = _windows(connection, hours, series)
        if rollup is None:
            continue
        here = np.arange(len(series)) * days + day
        today = rows.take(here)
        before = rows.take(here - 1) if day else DayDigests.empty(len(series), rows.window_seconds)
        start = first + day * DAY_SECONDS
        told = put_hours(today, before, rollup, series, start, [(hour - start) // _HOUR for hour in hours])
        rows = rows.replaced(here, told)
    return rows


def _digest(connection: Connection, hours: Sequence[int], series: Integers) -> None:
    """Digest some hours of one day of some series, in place of what was known of them."""
    day = hours[0] // DAY_SECONDS * DAY_SECONDS
    rollup = _windows(connection, hours, series)
    today, there = _rows_of_day(connection, day, series)
    if rollup is None:
        if not there.any():
            return
        rollup = Rollup.empty(today.window_seconds)
    yesterday, _ = _rows_of_day(connection, day - DAY_SECONDS, series)
    days = put_hours(today, yesterday, rollup, series, day, [(hour - day) // _HOUR % HOURS for hour in hours])
    chosen = np.flatnonzero(there | days.verdicts.any(axis=(1, 2)))
    values = {"day": day, "series": series[chosen].tolist(), "digests": list(days.take(chosen).to_bytes())}
    connection.execute(named_query("digests.put_days"), values, binary=True)


def _windows(connection: Connection, hours: Sequence[int], series: Integers) -> Rollup | None:
    """All windows of some hours of a day, of customers and simulated; ``None`` without any."""
    parameters = {
        "start": min(hours),
        "end": max(hours) + _HOUR,
        "series": series.tolist(),
        "origins": sorted(int(origin) for origin in CUSTOMERS_AND_SIMULATED),
    }
    parts = fetch_rollups(connection, named_query("read.windows_of_series"), parameters)
    if not parts:
        return None
    common = int(np.lcm.reduce([part.window_seconds for part in parts]))
    rollup = merge([regroup(part, window_seconds=common) for part in parts])
    if (max(hours) - min(hours)) // _HOUR + 1 > len(set(hours)):
        rollup = rollup.select(np.isin(rollup.window_start // _HOUR * _HOUR, list(hours)))
    return rollup if len(rollup) else None


def _rows_of_day(connection: Connection, day: int, series: Integers) -> tuple[DayDigests, NDArray[np.bool_]]:
    """The digests of a day, empty where there is none, and where there is one."""
    values = {"day": day, "series": series.tolist()}
    found = connection.cursor(binary=True).execute(named_query("digests.days"), values).fetchall()
    there = np.zeros(len(series), dtype=np.bool_)
    if not found:
        return DayDigests.empty(len(series), 60), there
    place = np.searchsorted(series, np.array([row[0] for row in found], dtype=np.int64))
    there[place] = True
    return DayDigests.from_bytes([row[1] for row in found]).spread(place, len(series)), there
