"""In how much of a period there is data of each step, and what its figures leave out; of all steps at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..metrics.rollup import Origin
from ..metrics.specification.flow import FlowSpec
from ..metrics.store.copy_binary import read_array, read_array_column
from ..metrics.store.named_queries import named_query
from ..metrics.store.store import Store
from .figure_types import Period

__all__ = ["StepCoverage", "read_coverage"]

_HOUR = 3_600
_EPOCH_2000 = 946_684_800
_START_BITS = 40  # of seconds since 1970


@dataclass(frozen=True, slots=True)
class StepCoverage:
    """One step in a period.

    Attributes:
        covered: Share of the period's windows, or hours, with any observation.
        longest_gap: Longest span without any, seconds.
        last: End of the last window with one, seconds since 1970 UTC; ``None`` without any.
        observations: All of them but probes'.
        simulated: Demonstration data among them.
        probes: Observations of probes.
        unusable: Answers without a usable duration.
        checks_unknown: Results that could not be told, of all checks of the step.
        checks_skipped: Checks that were not evaluated, of those declared for the step.
    """

    covered: float = 0.0
    longest_gap: float = 0.0
    last: float | None = None
    observations: int = 0
    simulated: int = 0
    probes: int = 0
    unusable: int = 0
    checks_unknown: int = 0
    checks_skipped: int = 0


def read_coverage(
    store: Store, flows: Mapping[str, FlowSpec], period: Period, now: float
) -> tuple[dict[tuple[str, str], StepCoverage], bool]:
    """Coverage of every declared step, and whether it is of hours: of a period of a day or more that begins with one.

    What of the period is not over at ``now`` does not count.
    """
    hours = period.seconds >= 86_400 and not period.start % _HOUR
    seconds = _HOUR if hours else store.settings.window_seconds
    over = Period(period.start, min(period.end, max(now, period.start)))
    keys = store.series()
    places = [(flow.name, step.name) for flow in flows.values() for step in flow.steps]
    number = {place: at for at, place in enumerate(places)}
    wanted = {series: number[key.flow, key.step] for series, key in keys.items() if (key.flow, key.step) in number}
    query = named_query("pages.coverage_hours" if hours else "pages.coverage_windows")
    with store.connection() as connection:
        parameters = {"start": period.start, "end": period.end, "series": list(wanted)}
        row = connection.cursor(binary=True).execute(query, parameters).fetchone() or [None] * 8
    series, start, length, origin, every, unusable, widths = (
        read_array(data, kind).astype(np.int64)
        for data, kind in zip(row[:7], (">i4", ">i8", ">i4", ">i2", ">i4", ">i4", ">i4"), strict=True)
    )
    place_of = np.zeros(max(wanted, default=0) + 1, dtype=np.int64)
    for one, at in wanted.items():
        place_of[one] = at
    place, start = place_of[series], start // 1_000_000 + _EPOCH_2000
    mine = origin != Origin.PROBE
    size = len(places)

    def sums(values: NDArray[np.int64], chosen: NDArray[np.bool_]) -> list[int]:
        return [int(total) for total in np.bincount(place[chosen], values[chosen], size)]

    last = np.full(size, -1, dtype=np.int64)
    np.maximum.at(last, place[mine], (start + length)[mine])
    covered, gaps = _spans(place[mine], start[mine] // seconds * seconds, size, over, seconds)
    observations, unknown, evaluated = sums(every, mine), [0] * size, [0] * size
    names = {at: keys[one].checks for one, at in wanted.items()}
    for check, (of_place, unknown_here, evaluated_here) in enumerate(_checks(row[7], widths, place, mine, size)):
        for at in of_place:
            flow, step = places[at]
            unknown[at] += unknown_here[at]
            if check < len(names[at]) and names[at][check] in flows[flow].step(step).check_names:
                evaluated[at] += evaluated_here[at]
    rows = zip(
        places, covered, gaps, last.tolist(), observations, sums(every, origin == Origin.SIMULATED),
        sums(every, ~mine), sums(np.maximum(unusable, 0), mine), unknown, evaluated, strict=True,
    )  # fmt: skip
    return {
        (flow, step): StepCoverage(
            share, gap, None if end < 0 else float(end), count, simulated, probes, without, not_known,
            max(0, count * len(flows[flow].step(step).check_names) - done),
        )
        for (flow, step), share, gap, end, count, simulated, probes, without, not_known, done in rows
    }, hours  # fmt: skip


def _spans(
    place: NDArray[np.int64], start: NDArray[np.int64], size: int, period: Period, seconds: int
) -> tuple[list[float], list[float]]:
    """Share of spans with data, and the longest gap, by place."""
    windows = max(1, -(-int(period.end - period.start) // seconds))
    keys = np.unique(place << _START_BITS | start)
    pairs = keys >> _START_BITS, keys & ((1 << _START_BITS) - 1)
    counts = np.bincount(pairs[0], minlength=size)
    gaps = np.full(size, period.seconds)
    has = counts > 0
    first = (np.cumsum(counts) - counts)[has]
    ends = np.cumsum(counts)[has] - 1
    gaps[has] = np.maximum(pairs[1][first] - period.start, period.end - (pairs[1][ends] + seconds))
    between = np.diff(pairs[1]) - seconds
    same = pairs[0][1:] == pairs[0][:-1]
    np.maximum.at(gaps, pairs[0][1:][same], between[same].astype(np.float64))
    return (counts / windows).tolist(), np.maximum(gaps, 0.0).tolist()


def _checks(
    data: bytes | None, widths: NDArray[np.int64], place: NDArray[np.int64], mine: NDArray[np.bool_], size: int
) -> list[tuple[list[int], list[int], list[int]]]:
    """By check position: places that have results, and of each place unknown results and all of them."""
    most = int(widths.max(initial=0)) // 3
    if not most:
        return []
    kept = widths > 0
    table = np.zeros((int(kept.sum()), most * 3), dtype=np.int64)
    table[np.arange(most * 3) < widths[kept][:, None]] = read_array_column(data, widths[kept], ">i4")
    results = table.reshape(-1, most, 3)[mine[kept]]
    where = place[kept][mine[kept]]
    found = []
    for check in range(most):
        unknown = np.bincount(where, results[:, check, 2], size).astype(int)
        every = np.bincount(where, results[:, check].sum(axis=1), size).astype(int)
        found.append((np.flatnonzero(every).tolist(), unknown.tolist(), every.tolist()))
    return found
