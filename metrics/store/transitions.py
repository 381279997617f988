"""How flow instances pass from step to step: counted once an hour into rollups, and on the spot for what is newer.

An instance is followed from its first answer until it pauses for longer than :data:`GAP_SECONDS` or until
:data:`LONGEST_SECONDS` after it began; what comes later begins anew. So an hour's instances depend on the observations
of four hours only, and any way of cutting a period into pieces gives the same counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import errors

from .connection import Connection
from .named_queries import named_query
from .store import Store

__all__ = [
    "GAP_SECONDS",
    "LONGEST_SECONDS",
    "Customers",
    "InstanceRow",
    "Instances",
    "TransitionRow",
    "count_transitions",
    "read_customers",
    "read_instances",
]

GAP_SECONDS = 1_800
"""A longer pause ends an instance: the session timeout that web analytics agree on."""
LONGEST_SECONDS = 7_200
"""An instance is not followed for longer."""

_HOUR = 3_600
_DAY = 86_400
_GRACE_SECONDS = 300  # observations may be late
_UNDER_WAY_SECONDS = 300  # whoever had an answer so recently may still go on
_HOURS_AT_ONCE = 400
_READING_MILLISECONDS = 30_000

Ends = Mapping[str, Sequence[str]]
"""Flow → steps at which it may end."""


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """Instances that began in an hour: all of the flow if ``step`` is empty, else those that passed the step."""

    hour: int
    step: str
    origin: int
    reached: int
    given_up: int
    hit: int


@dataclass(frozen=True, slots=True)
class TransitionRow:
    """Consecutive steps; ``from_step`` empty: the instance began, ``to_step`` empty: it ended."""

    hour: int
    from_step: str
    to_step: str
    origin: int
    passings: int


@dataclass(frozen=True, slots=True)
class Instances:
    """Flow instances that began in a span, by hour.

    Attributes:
        rows: Counts by step and of the flow as a whole.
        transitions: Passings.
        under_way: Instances left out because they may still go on.
        missing: Spans of which nothing can be told any more (observations are not kept that long) or in time.
    """

    rows: tuple[InstanceRow, ...]
    transitions: tuple[TransitionRow, ...]
    under_way: int = 0
    missing: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Customers:
    """Distinct customers of a flow in a span, and those with an answer that was not good."""

    seen: int
    hit: int


def count_transitions(store: Store, ends: Ends, now: float, stop: Callable[[], bool] = lambda: False) -> int:
    """Count the instances of every hour that is over, once; again when observations were added to it since.

    Each hour is one transaction and may be repeated or cut off at any moment.

    Returns:
        How many hours were counted.
    """
    oldest = now - store.settings.retention.observations_days * _DAY
    start = -(-(oldest + GAP_SECONDS) // _HOUR) * _HOUR
    end = (now - LONGEST_SECONDS - _GRACE_SECONDS) // _HOUR * _HOUR
    done = 0
    with store.connection() as connection:
        span = {"start": start, "end": end, "limit": _HOURS_AT_ONCE}
        stale = connection.execute(named_query("transitions.stale_hours"), span).fetchall()
        for hour, observations in stale:
            if stop():
                break
            _count_hour(connection, ends, hour, observations, now)
            done += 1
    return done


def _count_hour(connection: Connection, ends: Ends, hour: int, observations: int, now: float) -> None:
    with connection.transaction():
        connection.execute(named_query("server.lock_transaction"), (f"cxgauge transitions {hour}",))
        rows = _counted(connection, ends, hour, hour + _HOUR, None)
        for query in ("forget_instances", "forget_transitions"):
            connection.execute(named_query(f"transitions.{query}"), {"hour": hour})
        instances, transitions = [], []
        for kind, flow, at, origin, one, other, count, given_up, hit, _ in rows:
            common = {"hour": at, "flow": flow, "origin": origin}
            if kind == "i":
                instances.append({**common, "step": one, "reached": count, "given_up": given_up, "hit": hit})
            else:
                transitions.append({**common, "from_step": one, "to_step": other, "passings": count})
        with connection.cursor() as cursor:
            cursor.executemany(named_query("transitions.add_instances"), instances)
            cursor.executemany(named_query("transitions.add_transitions"), transitions)
        connection.execute(
            named_query("transitions.mark_counted"), {"hour": hour, "observations": observations, "now": now}
        )


def _counted(
    connection: Connection, ends: Ends, start: float, end: float, open_since: float | None
) -> list[tuple[Any, ...]]:
    pairs = [(flow, step) for flow, steps in ends.items() for step in steps]
    parameters = {
        "start": start,
        "end": end,
        "gap": GAP_SECONDS,
        "longest": LONGEST_SECONDS,
        "flows": list(ends),
        "end_flows": [flow for flow, _ in pairs],
        "end_steps": [step for _, step in pairs],
        "open_since": float("inf") if open_since is None else open_since,
    }
    return connection.execute(named_query("transitions.count"), parameters).fetchall()


def read_instances(store: Store, flow: str, ends: Sequence[str], start: float, end: float, now: float) -> Instances:
    """Instances of a flow that began in [start, end): from rollups where hours are counted, else from observations.

    Args:
        store: The store.
        flow: The flow.
        ends: Steps at which it may end.
        start: From.
        end: Before; not beyond ``now``.
        now: Seconds since 1970 UTC.
    """
    end = min(end, now)
    oldest = now - store.settings.retention.observations_days * _DAY + GAP_SECONDS
    rows: list[InstanceRow] = []
    transitions: list[TransitionRow] = []
    missing: list[tuple[float, float]] = []
    under_way = 0
    series = _series(store, flow)
    with store.connection() as connection:
        span = {"start": -(-start // _HOUR) * _HOUR, "end": end // _HOUR * _HOUR}
        found = connection.execute(named_query("transitions.counted_hours"), span).fetchall()
        hours = [int(row[0]) for row in found]
        parameters = {"flow": flow, "hours": hours}
        rows += [InstanceRow(*row) for row in connection.execute(named_query("transitions.instances"), parameters)]
        transitions += [
            TransitionRow(*row) for row in connection.execute(named_query("transitions.transitions"), parameters)
        ]
        for left, right in _between(hours, start, end):
            if left < oldest and _has_data(connection, series, left, min(right, oldest)):
                missing.append((left, min(right, oldest)))
            if right <= oldest:
                continue
            try:
                live = _live(connection, {flow: ends}, max(left, oldest), right, now - _UNDER_WAY_SECONDS)
            except errors.QueryCanceled:
                missing.append((max(left, oldest), right))
                continue
            for kind, _, at, origin, one, other, count, given_up, hit, still in live:
                under_way += still
                if kind == "i" and count:
                    rows.append(InstanceRow(at, one, origin, count, given_up, hit))
                elif kind == "t":
                    transitions.append(TransitionRow(at, one, other, origin, count))
    return Instances(tuple(rows), tuple(transitions), under_way, tuple(missing))


def _series(store: Store, flow: str) -> list[int]:
    return [number for number, key in store.series().items() if key.flow == flow]


def _has_data(connection: Connection, series: list[int], start: float, end: float) -> bool:
    parameters = {"series": series, "start": start, "end": end}
    row = connection.execute(named_query("transitions.has_data"), parameters).fetchone()
    return row is not None and bool(row[0])


def _live(connection: Connection, ends: Ends, start: float, end: float, open_since: float) -> list[tuple[Any, ...]]:
    with connection.transaction():
        connection.execute(named_query("transitions.limit_time"), {"milliseconds": str(_READING_MILLISECONDS)})
        return _counted(connection, ends, start, end, open_since)


def _between(hours: Sequence[int], start: float, end: float) -> Iterator[tuple[float, float]]:
    """What of a span the counted hours leave."""
    at = start
    for hour in hours:
        if hour > at:
            yield at, float(hour)
        at = float(hour + _HOUR)
    if end > at:
        yield at, end


def read_customers(store: Store, flow: str, start: float, end: float, now: float) -> Customers | None:
    """Distinct customers of a flow in a span; ``None`` when their observations are not (all) kept, or not in time."""
    if start < now - store.settings.retention.observations_days * _DAY:
        return None
    series = _series(store, flow)
    try:
        with store.connection() as connection, connection.transaction():
            connection.execute(named_query("transitions.limit_time"), {"milliseconds": str(_READING_MILLISECONDS)})
            parameters = {"start": start, "end": end, "series": series}
            row = connection.execute(named_query("transitions.customers"), parameters).fetchone()
    except errors.QueryCanceled:
        return None
    return None if row is None else Customers(*row)
