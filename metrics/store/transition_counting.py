"""Counting how flow instances passed from step to step: hours once they are over, what is newer again and again.

An hour is over when its instances are, two hours later. What is newer, the *tail*, is counted from what is known at the
moment into slices of five minutes and replaced by the next count, so that reading never has to count.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np

from ..flow_instances import (
    GAP_SECONDS,
    LONGEST_SECONDS,
    SLICE_SECONDS,
    InstanceCount,
    Passages,
    PassingCount,
    follow,
)
from ..observation import SeriesKey
from ..rollup import ORIGIN_BY_SOURCE
from .connection import Connection
from .copy_binary import read_array
from .named_queries import named_query
from .store import Store

__all__ = ["GRACE_SECONDS", "UNDER_WAY_SECONDS", "Ends", "count_instances", "count_tail", "count_transitions"]

GRACE_SECONDS = 300
"""Observations may be late by this much before an hour is counted; later ones have it counted again."""
UNDER_WAY_SECONDS = 300
"""Whoever had an answer so recently may still go on."""

_HOUR = 3_600
_DAY = 86_400
_SLICES_SECONDS = 2 * _DAY  # how long they are kept: for periods that begin or end within an hour
_HOURS_READ = 400
_TOGETHER_SECONDS = _DAY  # hours that are counted at once share what is read before and after them
_TOGETHER_OBSERVATIONS = 2_000_000
_READ_AT_ONCE = 500_000  # bounds what the server puts together
_PASSAGES_AT_ONCE = 4_000_000  # some 400 MB; more are followed in parts, by instance
_EPOCH_2000_US = 946_684_800_000_000
_LOCK = "cxgauge transitions"

Ends = Mapping[str, Sequence[str]]
"""Flow → steps at which it may end."""


def count_transitions(store: Store, ends: Ends, now: float, stop: Callable[[], bool] = lambda: False) -> int:
    """Count the instances of every hour that is over, once; again when observations were added to it since.

    Some hours are one transaction, which may be repeated or cut off at any moment.

    Returns:
        How many hours were counted.
    """
    oldest = now - store.settings.retention.observations_days * _DAY
    start = -(-(oldest + GAP_SECONDS) // _HOUR) * _HOUR
    done = 0
    keys = store.series()
    with store.connection() as connection:
        span = {"start": start, "end": _tail_start(now), "limit": _HOURS_READ}
        stale = connection.execute(named_query("transitions.stale_hours"), span).fetchall()
        for hours in _together(stale):
            if stop():
                break
            _count_hours(connection, keys, ends, hours, now)
            done += len(hours)
    return done


def count_tail(store: Store, ends: Ends, now: float) -> int:
    """Count what has not been over for long enough for its hour, from what is known now, in place of the last count.

    Returns:
        How many instances were counted, those under way left out.
    """
    start = _tail_start(now)
    keys = store.series()
    with store.connection() as connection, connection.transaction():
        _lock(connection)
        instances, passings = count_instances(connection, keys, ends, start, now, now - UNDER_WAY_SECONDS)
        _keep_slices(connection, start, now, instances, passings, now)
        for query in ("forget_old_instance_slices", "forget_old_transition_slices", "forget_old_counted_slices"):
            connection.execute(named_query(f"transitions.{query}"), {"before": now - _SLICES_SECONDS})
    return sum(one.reached for one in instances if not one.step)


def count_instances(
    connection: Connection,
    keys: Mapping[int, SeriesKey],
    ends: Ends,
    start: float,
    end: float,
    open_since: float | None = None,
    *,
    within_seconds: float = math.inf,
) -> tuple[list[InstanceCount], list[PassingCount]]:
    """Count the instances of some flows that began in [start, end) from their observations.

    Args:
        connection: A connection.
        keys: What each series is.
        ends: The flows, and where each may end.
        start: Seconds since 1970 UTC.
        end: Seconds since 1970 UTC.
        open_since: Whoever had an answer since then is under way.
        within_seconds: Time allowed.

    Raises:
        TimeoutError: it took longer.
    """
    deadline = time.monotonic() + within_seconds
    wanted = [number for number, key in keys.items() if key.flow in ends]
    span = {"series": wanted, "start": start - GAP_SECONDS, "end": end + LONGEST_SECONDS}
    row = connection.execute(named_query("transitions.size"), span).fetchone()
    size = row[0] if row else 0
    parts = max(1, math.ceil(size / _PASSAGES_AT_ONCE))
    instances: list[InstanceCount] = []
    passings: list[PassingCount] = []
    for part in range(parts):
        chosen = {**span, "parts": parts, "part": part}
        passages = _read_passages(connection, keys, ends, chosen, math.ceil(size / parts / _READ_AT_ONCE), deadline)
        more_instances, more_passings = follow(passages, start, end, open_since)
        instances += more_instances
        passings += more_passings
    return instances, passings


def _tail_start(now: float) -> int:
    """Where the first hour begins whose instances may not be over."""
    return int((now - LONGEST_SECONDS - GRACE_SECONDS) // _HOUR * _HOUR)


def _lock(connection: Connection) -> None:
    connection.execute(named_query("server.lock_transaction"), (_LOCK,))


def _together(stale: Iterable[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Hours that follow one another, some at a time; ``observations`` are those of four hours each."""
    hours: list[tuple[int, int]] = []
    for hour, observations in stale:
        fits = hours and hour == hours[-1][0] + _HOUR and hour < hours[0][0] + _TOGETHER_SECONDS
        if hours and not (fits and sum(each for _, each in hours) + observations <= 4 * _TOGETHER_OBSERVATIONS):
            yield hours
            hours = []
        hours.append((hour, observations))
    if hours:
        yield hours


def _count_hours(
    connection: Connection, keys: Mapping[int, SeriesKey], ends: Ends, hours: Sequence[tuple[int, int]], now: float
) -> None:
    start, end = hours[0][0], hours[-1][0] + _HOUR
    with connection.transaction():
        _lock(connection)
        instances, passings = count_instances(connection, keys, ends, start, end)
        span = {"start": start, "end": end}
        for query in ("forget_instances", "forget_transitions"):
            connection.execute(named_query(f"transitions.{query}"), span)
        _copy(connection, "add_instances", (row[:-1] for row in _instance_rows(instances, _HOUR)))
        _copy(connection, "add_transitions", _passing_rows(passings, _HOUR))
        with connection.cursor() as cursor:
            marks = [{"hour": hour, "observations": count, "now": now} for hour, count in hours]
            cursor.executemany(named_query("transitions.mark_counted"), marks)
        if end > now - _SLICES_SECONDS:
            _keep_slices(connection, start, end, instances, passings, now)


def _keep_slices(
    connection: Connection,
    start: float,
    end: float,
    instances: Iterable[InstanceCount],
    passings: Iterable[PassingCount],
    now: float,
) -> None:
    """Put these counts in place of those of all slices that begin in [start, end); what is the same stays."""
    span = {"start": start, "end": end, "seconds": SLICE_SECONDS, "now": now}
    for table, rows in (
        ("instance_slices", _instance_rows(instances, SLICE_SECONDS)),
        ("transition_slices", _passing_rows(passings, SLICE_SECONDS)),
    ):
        before: dict[Any, set[tuple[Any, ...]]] = defaultdict(set)
        for row in connection.execute(named_query(f"transitions.all_{table}"), span):
            before[row[0]].add(row)
        after: dict[Any, set[tuple[Any, ...]]] = defaultdict(set)
        for row in rows:
            after[row[0]].add(row)
        changed = [at for at in before.keys() | after.keys() if before.get(at) != after.get(at)]
        connection.execute(named_query(f"transitions.forget_{table}"), {"slices": changed})
        _copy(connection, f"add_{table}", (row for at in changed for row in after.get(at, ())))
    connection.execute(named_query("transitions.mark_slices"), span)


def _copy(connection: Connection, query: str, rows: Iterable[Sequence[Any]]) -> None:
    with connection.cursor() as cursor, cursor.copy(named_query(f"transitions.{query}")) as copy:
        for row in rows:
            copy.write_row(row)


def _instance_rows(instances: Iterable[InstanceCount], seconds: int) -> Iterator[tuple[Any, ...]]:
    """Rows by spans of this length."""
    sums: dict[tuple[int, str, str, int], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for one in instances:
        total = sums[one.slice_start // seconds * seconds, one.flow, one.step, one.origin]
        for place, count in enumerate((one.reached, one.given_up, one.hit, one.under_way)):
            total[place] += count
    for (at, flow, step, origin), counts in sums.items():
        yield (datetime.fromtimestamp(at, UTC), flow, step, origin, *counts)


def _passing_rows(passings: Iterable[PassingCount], seconds: int) -> Iterator[tuple[Any, ...]]:
    sums: dict[tuple[int, str, str, str, int], int] = defaultdict(int)
    for one in passings:
        sums[one.slice_start // seconds * seconds, one.flow, one.from_step, one.to_step, one.origin] += one.passings
    for (at, *key), count in sums.items():
        yield (datetime.fromtimestamp(at, UTC), *key, count)


def _read_passages(
    connection: Connection,
    keys: Mapping[int, SeriesKey],
    ends: Ends,
    span: Mapping[str, Any],
    pieces: int,
    deadline: float,
) -> Passages:
    """Observations with a flow instance; read in some pieces of equal length."""
    columns: list[list[Any]] = [[] for _ in range(6)]
    kinds = (">i4", ">i2", ">i2", ">i8", ">f8", "V16")
    for left, right in pairwise(np.linspace(span["start"], span["end"], max(1, pieces) + 1).tolist()):
        if time.monotonic() > deadline:
            raise TimeoutError("counting flow instances took longer than allowed")
        cursor = connection.cursor(binary=True)
        row = cursor.execute(named_query("transitions.passages"), {**span, "start": left, "end": right}).fetchone()
        for column, data, kind in zip(columns, row or [None] * 6, kinds, strict=True):
            column.append(read_array(data, kind))
    series, verdict, source, answered, duration, instance = (np.concatenate(column) for column in columns)
    places = sorted({(key.flow, key.step) for key in keys.values() if key.flow in ends})
    numbers = {place: number for number, place in enumerate(places)}
    place_of = np.zeros(max(keys, default=0) + 1, dtype=np.int64)
    for number, key in keys.items():
        place_of[number] = numbers.get((key.flow, key.step), 0)
    halves = np.ascontiguousarray(instance).view(">u8").reshape(-1, 2).astype(np.uint64)
    answered_us = answered + _EPOCH_2000_US
    usable = (duration >= 0) & (duration <= _DAY)
    return Passages(
        place=place_of[series],
        high=halves[:, 0],
        low=halves[:, 1],
        verdict=verdict.astype(np.int64),
        origin=ORIGIN_BY_SOURCE[source].astype(np.int64),
        answered_us=answered_us,
        asked_us=answered_us - np.rint(np.where(usable, duration, 0) * 1e6).astype(np.int64),
        places=tuple((flow, step, step in ends[flow]) for flow, step in places),
    )
