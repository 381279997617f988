"""Following flow instances through their steps: who reached which, gave up where, and went on to which.

An instance is followed from its first answer until it pauses for longer than :data:`GAP_SECONDS`, or until
:data:`LONGEST_SECONDS` after it began; what comes after that without such a pause is left out. So what is told of the
instances that began in a span depends on the observations from a pause before it to two hours after it only, and any
way of cutting a period into pieces gives the same counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .verdict import Verdict

__all__ = ["GAP_SECONDS", "LONGEST_SECONDS", "SLICE_SECONDS", "InstanceCount", "Passages", "PassingCount", "follow"]

GAP_SECONDS = 1_800
"""A longer pause ends an instance: the session timeout that web analytics agree on."""
LONGEST_SECONDS = 7_200
"""An instance is not followed for longer."""
SLICE_SECONDS = 300
"""How finely instances are counted by when they began; every zone's day begins with a slice."""

_MICROSECONDS = 1_000_000
_ANSWERED = int(Verdict.WRONG)  # this and all better ones are verdicts on an answer


@dataclass(frozen=True, slots=True)
class Passages:
    """Observations that carry a flow instance, in columns and in any order.

    Attributes:
        place: Number of flow and step: an index into ``places``.
        high: First half of the flow instance.
        low: Second half.
        verdict: As stored.
        origin: As in ``rollup.Origin``.
        answered_us: When the answer had arrived, microseconds since 1970 UTC.
        asked_us: When the question was asked.
        places: ``(flow, step, whether the flow may end there)``; sorted, so that places of a flow stand together.
    """

    place: NDArray[np.int64]
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    verdict: NDArray[np.int64]
    origin: NDArray[np.int64]
    answered_us: NDArray[np.int64]
    asked_us: NDArray[np.int64]
    places: tuple[tuple[str, str, bool], ...]


@dataclass(frozen=True, slots=True)
class InstanceCount:
    """Instances of a flow that began in a slice of time: all of them if ``step`` is empty, else those that passed it.

    Attributes:
        flow: The flow.
        slice_start: Where the slice begins, seconds since 1970 UTC.
        step: The step; empty for the flow as a whole.
        origin: As in ``rollup.Origin``.
        reached: Instances that passed the step, once or often.
        given_up: Of them, those whose last step this was and that reached no step at which the flow may end.
        hit: Of them, those with an answer here that was not good.
        under_way: Instances left out because they may go on; of the flow as a whole.
    """

    flow: str
    slice_start: int
    step: str
    origin: int
    reached: int
    given_up: int
    hit: int
    under_way: int = 0


@dataclass(frozen=True, slots=True)
class PassingCount:
    """Consecutive steps; ``from_step`` empty: the instance began, ``to_step`` empty: it ended."""

    flow: str
    slice_start: int
    from_step: str
    to_step: str
    origin: int
    passings: int


def follow(
    passages: Passages, start: float, end: float, open_since: float | None = None
) -> tuple[list[InstanceCount], list[PassingCount]]:
    """Count the instances that began in [start, end).

    Args:
        passages: All observations with a flow instance from :data:`GAP_SECONDS` before ``start`` to
            :data:`LONGEST_SECONDS` after ``end``, as far as there are any yet.
        start: Seconds since 1970 UTC.
        end: Seconds since 1970 UTC.
        open_since: Whoever had an answer at this time or later may still go on and is left out; ``None``: nobody is.
    """
    rows = _Rows.of(passages, round(start * _MICROSECONDS), round(end * _MICROSECONDS))
    if not len(rows.place):
        return [], []
    limit = None if open_since is None else round(open_since * _MICROSECONDS)
    return _counts(rows, passages.places, limit)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Passages of the instances of a span, in order of instance and asking; ``visit`` numbers the instances."""

    visit: NDArray[np.int64]
    place: NDArray[np.int64]
    bad: NDArray[np.bool_]
    answered: NDArray[np.bool_]
    answered_us: NDArray[np.int64]
    slice_start: NDArray[np.int64]
    origin: NDArray[np.int64]

    @classmethod
    def of(cls, p: Passages, start_us: int, end_us: int) -> _Rows:
        number = {flow: place for place, flow in enumerate(dict.fromkeys(flow for flow, _, _ in p.places))}
        flows = np.array([number[flow] for flow, _, _ in p.places] or [0], dtype=np.int64)[p.place]
        order = np.lexsort((p.answered_us, p.low, p.high, flows))
        flow, high, low, at = flows[order], p.high[order], p.low[order], p.answered_us[order]
        begins = np.ones(len(order), dtype=bool)
        same = (flow[1:] == flow[:-1]) & (high[1:] == high[:-1]) & (low[1:] == low[:-1])
        begins[1:] = ~same | (np.diff(at) > GAP_SECONDS * _MICROSECONDS)
        visit = np.cumsum(begins) - 1
        first = np.flatnonzero(begins)
        began = at[first][visit]
        origin = np.maximum.reduceat(p.origin[order], first)[visit] if len(first) else p.origin[order]
        kept = (began >= start_us) & (began < end_us) & (at < began + LONGEST_SECONDS * _MICROSECONDS)
        chosen, visit = order[kept], visit[kept]
        asked = np.lexsort((p.place[chosen], p.answered_us[chosen], p.asked_us[chosen], visit))
        chosen = chosen[asked]
        seconds = began[kept][asked] // _MICROSECONDS
        return cls(
            _renumbered(visit[asked]),
            p.place[chosen],
            p.verdict[chosen] != Verdict.GOOD,
            p.verdict[chosen] <= _ANSWERED,
            p.answered_us[chosen],
            seconds // SLICE_SECONDS * SLICE_SECONDS,
            origin[kept][asked],
        )


def _renumbered(ascending: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers from 0 without gaps."""
    steps = np.zeros(len(ascending), dtype=np.int64)
    steps[1:] = ascending[1:] != ascending[:-1]
    return np.asarray(np.cumsum(steps))


def _counts(
    rows: _Rows, places: Sequence[tuple[str, str, bool]], open_since_us: int | None
) -> tuple[list[InstanceCount], list[PassingCount]]:
    first = np.flatnonzero(np.diff(rows.visit, prepend=-1))
    last = np.append(first[1:], len(rows.visit)) - 1
    ends = np.array([is_end for _, _, is_end in places], dtype=bool)[rows.place]
    completed = np.logical_or.reduceat(rows.answered & ends, first)
    hit = np.logical_or.reduceat(rows.bad, first)
    still = np.zeros(len(first), dtype=bool)
    if open_since_us is not None:
        still = np.maximum.reduceat(rows.answered_us, first) >= open_since_us

    # Visits: (flow by its first place, slice, origin).
    first_of_flow: dict[str, int] = {}
    for number, (flow, _, _) in enumerate(places):
        first_of_flow.setdefault(flow, number)
    flow_place = np.array([first_of_flow[flow] for flow, _, _ in places], dtype=np.int64)
    where = flow_place[rows.place[first]], rows.slice_start[first], rows.origin[first]
    instances = [
        InstanceCount(places[place][0], at, "", origin, reached, given_up, bad, under_way)
        for (place, at, origin), (reached, given_up, bad, under_way) in _grouped(
            where, (~still, ~completed & ~still, hit & ~still, still)
        )
    ]

    settled = ~still[rows.visit]
    is_last = np.zeros(len(rows.visit), dtype=bool)
    is_last[last] = True
    instances += _by_step(rows, places, settled, is_last, completed)
    return instances, _passings(rows, places, settled, is_last)


def _by_step(
    rows: _Rows,
    places: Sequence[tuple[str, str, bool]],
    settled: NDArray[np.bool_],
    is_last: NDArray[np.bool_],
    completed: NDArray[np.bool_],
) -> list[InstanceCount]:
    """Each step of each instance once, however often it was passed."""
    chosen = np.flatnonzero(settled)
    if not len(chosen):
        return []
    keys, inverse = np.unique(rows.visit[chosen] * len(places) + rows.place[chosen], return_inverse=True)
    visit, place = keys // len(places), keys % len(places)
    hit = np.bincount(inverse, rows.bad[chosen], len(keys)) > 0
    ended = np.bincount(inverse, is_last[chosen], len(keys)) > 0
    first = np.flatnonzero(np.diff(rows.visit, prepend=-1))
    where = place, rows.slice_start[first][visit], rows.origin[first][visit]
    return [
        InstanceCount(places[number][0], at, places[number][1], origin, reached, given_up, bad)
        for (number, at, origin), (reached, given_up, bad) in _grouped(
            where, (np.ones(len(keys), dtype=bool), ended & ~completed[visit], hit)
        )
    ]


def _passings(
    rows: _Rows, places: Sequence[tuple[str, str, bool]], settled: NDArray[np.bool_], is_last: NDArray[np.bool_]
) -> list[PassingCount]:
    before = np.full(len(rows.visit), -1, dtype=np.int64)
    before[1:] = np.where(rows.visit[1:] == rows.visit[:-1], rows.place[:-1], -1)
    ending = settled & is_last
    came = np.concatenate([before[settled], rows.place[ending]])
    went = np.concatenate([rows.place[settled], np.full(int(ending.sum()), -1, dtype=np.int64)])
    at = np.concatenate([rows.slice_start[settled], rows.slice_start[ending]])
    origin = np.concatenate([rows.origin[settled], rows.origin[ending]])
    found = []
    for (one, other, start, of), (count,) in _grouped((came, went, at, origin), (np.ones(len(at), dtype=bool),)):
        flow = places[max(one, other)][0]
        names = ["" if number < 0 else places[number][1] for number in (one, other)]
        found.append(PassingCount(flow, start, names[0], names[1], of, count))
    return found


def _grouped(
    keys: tuple[NDArray[np.int64], ...], flags: tuple[NDArray[np.bool_], ...]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """For each combination of ``keys``, in order: how many of its rows have each flag."""
    if not len(keys[0]):
        return []
    order = np.lexsort(keys[::-1])
    changed = np.zeros(len(order), dtype=bool)
    changed[0] = True
    columns: list[Any] = [key[order] for key in keys]
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    first = np.flatnonzero(changed)
    groups = zip(*(column[first].tolist() for column in columns), strict=True)
    counts = zip(*(np.add.reduceat(flag[order].astype(np.int64), first).tolist() for flag in flags), strict=True)
    return list(zip(groups, counts, strict=True))
