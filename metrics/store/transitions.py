"""How flow instances pass from step to step: read from what was counted, counted on the spot where nothing was.

What an instance is: :mod:`..flow_instances`. Who counts: :mod:`.transition_counting`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from psycopg import errors

from ..flow_instances import GAP_SECONDS, LONGEST_SECONDS, SLICE_SECONDS
from ..observation import SeriesKey
from .connection import Connection
from .named_queries import named_query
from .store import Store
from .transition_counting import GRACE_SECONDS, UNDER_WAY_SECONDS, count_instances

__all__ = ["Customers", "InstanceRow", "Instances", "TransitionRow", "read_customers", "read_instances"]

_HOUR = 3_600
_DAY = 86_400
_READING_SECONDS = 30
_RECENT_SECONDS = 600
"""A count of the tail that is older is not good enough: whoever counts stands still, and it is done on the spot."""


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """Instances that began in an hour or slice: all of the flow if ``step`` is empty, else those that passed it."""

    hour: int
    step: str
    origin: int
    reached: int
    given_up: int
    hit: int


@dataclass(frozen=True, slots=True)
class TransitionRow:
    """Consecutive steps; ``from_step`` empty: the instance began, ``to_step`` empty: it ended."""

    from_step: str
    to_step: str
    origin: int
    passings: int


@dataclass(frozen=True, slots=True)
class Instances:
    """Flow instances that began in a span.

    Attributes:
        rows: Counts by step and of the flow as a whole; ``hour`` is the start of the hour, or of five minutes.
        transitions: Passings of the span; several rows of the same two steps add up.
        start: From when they began: the period's start, at the full five minutes before.
        end: Before when: the period's end, at the full five minutes before, or the moment up to which was counted.
        under_way: Instances left out because they may still go on.
        missing: Spans of which nothing can be told: observations are not kept that long, or counting took too long, or
            they have not been counted yet and were not to be counted on the spot.
    """

    rows: tuple[InstanceRow, ...]
    transitions: tuple[TransitionRow, ...]
    start: float
    end: float
    under_way: int = 0
    missing: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Customers:
    """Distinct customers of a flow in a span, and those with an answer that was not good."""

    seen: int
    hit: int


def read_instances(
    store: Store, flow: str, ends: Sequence[str], start: float, end: float, now: float, *, on_the_spot: bool = True
) -> Instances:
    """Instances of a flow that began in the period, which is taken by full five minutes.

    Args:
        store: The store.
        flow: The flow.
        ends: Steps at which it may end.
        start: From; rounded down.
        end: Before; rounded down, unless that is now.
        now: Seconds since 1970 UTC.
        on_the_spot: Whether what was not counted is counted from observations, which may take seconds.
    """
    start = start // SLICE_SECONDS * SLICE_SECONDS
    end = now if end >= now else max(start, end // SLICE_SECONDS * SLICE_SECONDS)
    reading = _Reading(store, flow, ends, now, on_the_spot)
    with store.connection() as connection:
        hours = reading.counted_hours(connection, start, end)
        through = reading.counted_slices(connection, start, end, hours)
        end = end if through is None else min(end, through)
        for left, right in _between(hours, reading.slices, start, end):
            reading.directly(connection, left, right)
    rows, transitions = tuple(reading.rows), tuple(reading.transitions)
    return Instances(rows, transitions, start, end, reading.under_way, tuple(reading.missing))


class _Reading:
    """What was found so far of one flow."""

    def __init__(self, store: Store, flow: str, ends: Sequence[str], now: float, on_the_spot: bool) -> None:
        self._flow, self._ends, self._now, self._on_the_spot = flow, ends, now, on_the_spot
        self._oldest = now - store.settings.retention.observations_days * _DAY + GAP_SECONDS
        self._keys: dict[int, SeriesKey] = {number: key for number, key in store.series().items() if key.flow == flow}
        self.rows: list[InstanceRow] = []
        self.transitions: list[TransitionRow] = []
        self.slices: list[int] = []
        self.missing: list[tuple[float, float]] = []
        self.under_way = 0

    def counted_hours(self, connection: Connection, start: float, end: float) -> list[int]:
        """Take what was counted by the hour; which hours these are."""
        span = {"flow": self._flow, "start": -(-start // _HOUR) * _HOUR, "end": end // _HOUR * _HOUR}
        hours = [int(row[0]) for row in connection.execute(named_query("transitions.counted_hours"), span)]
        if hours:
            span["hours"] = hours
            found = connection.execute(named_query("transitions.instances"), span)
            self.rows += [InstanceRow(*row) for row in found]
            found = connection.execute(named_query("transitions.transitions"), span)
            self.transitions += [TransitionRow(*row) for row in found]
        return hours

    def counted_slices(self, connection: Connection, start: float, end: float, hours: Sequence[int]) -> float | None:
        """Take what was counted by five minutes besides; until when, if the last of them was not over then."""
        known = set(hours)
        over = SLICE_SECONDS + LONGEST_SECONDS + GRACE_SECONDS
        span = {"start": start, "end": end, "over": over, "since": self._now - _RECENT_SECONDS}
        found = connection.execute(named_query("transitions.counted_slices"), span).fetchall()
        self.slices = [at for at, _ in found if at // _HOUR * _HOUR not in known]
        if self.slices:
            chosen = {"flow": self._flow, "slices": self.slices}
            for *row, under_way in connection.execute(named_query("transitions.instance_slices"), chosen):
                self.under_way += under_way
                self._add(InstanceRow(*row))
            rows = connection.execute(named_query("transitions.transition_slices"), chosen)
            self.transitions += [TransitionRow(*row) for row in rows]
        if not found or found[-1][1] > found[-1][0] + SLICE_SECONDS:
            return None
        return float(found[-1][1])

    def directly(self, connection: Connection, start: float, end: float) -> None:
        """Count a span that was not counted, as far as observations are kept and there is time."""
        if not self._has_data(connection, start, end):
            return
        if start < self._oldest and self._has_data(connection, start, min(end, self._oldest)):
            self.missing.append((start, min(end, self._oldest)))
        start = max(start, self._oldest)
        if end <= start:
            return
        if not self._on_the_spot:
            self.missing.append((start, end))
            return
        try:
            with connection.transaction():
                connection.execute(
                    named_query("transitions.limit_time"), {"milliseconds": str(_READING_SECONDS * 1_000)}
                )
                instances, passings = count_instances(
                    connection, self._keys, {self._flow: self._ends}, start, end, self._now - UNDER_WAY_SECONDS,
                    within_seconds=_READING_SECONDS,
                )  # fmt: skip
        except (errors.QueryCanceled, TimeoutError):
            self.missing.append((start, end))
            return
        for one in instances:
            self.under_way += one.under_way
            self._add(InstanceRow(one.slice_start, one.step, one.origin, one.reached, one.given_up, one.hit))
        self.transitions += [TransitionRow(one.from_step, one.to_step, one.origin, one.passings) for one in passings]

    def _add(self, row: InstanceRow) -> None:
        if row.reached:
            self.rows.append(row)

    def _has_data(self, connection: Connection, start: float, end: float) -> bool:
        parameters = {"series": list(self._keys), "start": start, "end": end}
        row = connection.execute(named_query("transitions.has_data"), parameters).fetchone()
        return row is not None and bool(row[0])


def _between(hours: Sequence[int], slices: Sequence[int], start: float, end: float) -> list[tuple[float, float]]:
    """What of a span the counted hours and slices leave."""
    counted = sorted([(at, at + _HOUR) for at in hours] + [(at, at + SLICE_SECONDS) for at in slices])
    edges = [(start, start), *counted, (end, end)]
    return [(float(left), float(right)) for (_, left), (right, _) in pairwise(edges) if right > left]


def read_customers(store: Store, flow: str, start: float, end: float, now: float) -> Customers | None:
    """Distinct customers of a flow in a span; ``None`` when their observations are not (all) kept, or not in time."""
    if start < now - store.settings.retention.observations_days * _DAY:
        return None
    series = [number for number, key in store.series().items() if key.flow == flow]
    try:
        with store.connection() as connection, connection.transaction():
            connection.execute(named_query("transitions.limit_time"), {"milliseconds": str(_READING_SECONDS * 1_000)})
            parameters = {"start": start, "end": end, "series": series}
            row = connection.execute(named_query("transitions.customers"), parameters).fetchone()
    except errors.QueryCanceled:
        return None
    return None if row is None else Customers(*row)
