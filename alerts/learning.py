"""Learning baselines from the store: what counts as history, and when it is time to learn anew.

Digests of days are read (``metrics/digest/day.py``), and windows only of hours that are not digested yet. Flows are
learnt some at a time, so memory is bounded by the largest; many are learnt by several processes at a low priority,
while other threads go on judging windows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..metrics.baseline.baseline import Profile
from ..metrics.baseline.budget import count_families
from ..metrics.baseline.digest_learning import CELLS_IN_MEMORY, DigestedCells, learn_digests
from ..metrics.baseline.parts import join
from ..metrics.baseline.pooling import pool_young
from ..metrics.baseline.workspace import Workspace
from ..metrics.detection.input import SKETCH_GRID, Fleet
from ..metrics.detection.settings import DetectionSettings
from ..metrics.digest.day import DayDigests
from ..metrics.observation import SeriesKey
from ..metrics.store.connection import Connection
from ..metrics.store.digests import digested_hours, history_span, read_history
from ..metrics.store.evaluation import untaught_spans
from ..metrics.store.store import Store
from .learning_processes import learn_in_processes

__all__ = ["LearningSchedule", "learn_from_store"]

_SHORTEST_SECONDS = 600.0
_GROWTH = 0.5
_HOUR, _DAY = 3_600, 86_400
_LONG_SECONDS = 2 * 86_400.0  # of digests: what came since does without
_TRAILING_SECONDS = 3 * 3_600.0
_PORTION_CELLS = 64  # that are learnt together
_PORTIONS_ALONE = 3  # so many are learnt without processes of their own
_PROCESSES = 2


@dataclass(frozen=True, slots=True)
class LearningSchedule:
    """When to learn anew: daily, and more often while there is little history.

    It goes by the clock on the wall, not by the history that arrives: catching up or importing a year of history does
    not make one learning after the other. A young installation learns again after half the length of its history (at
    least ten minutes), so that seasons and noise are known as soon as the data allow.

    Attributes:
        history_seconds: How much past is read at most.
        interval_seconds: Time between learnings once the history is long.
    """

    history_seconds: float = 28 * 86400.0
    interval_seconds: float = 86400.0

    def due(self, learned_at: float, span_seconds: float, now: float) -> bool:
        """Whether a profile learnt at that time, from a history of that length, is due to be replaced."""
        growth = max(_GROWTH * span_seconds, _SHORTEST_SECONDS)
        return now - learned_at >= min(self.interval_seconds, growth)


@dataclass(frozen=True, slots=True)
class _Work:
    """What all portions have in common; goes to other processes.

    Attributes:
        settings: How windows are judged.
        span: Start of the first and end of the last window of the history.
        missing: Hours of it that are not digested.
        untaught: Spans and flows, or patterns of flows, that must not teach.
        families: Over how many families the budget is divided.
    """

    settings: DetectionSettings
    span: tuple[float, float]
    missing: tuple[int, ...]
    untaught: tuple[tuple[float, float, str], ...]
    families: int

    def learn(self, connection: Connection, series: Mapping[int, SeriesKey], space: Workspace) -> Profile | None:
        """The profile of some whole flows; ``None`` without any data."""
        numbers = sorted(series, key=lambda one: (series[one].flow, series[one].step, series[one].dimensions))
        window = int(self.settings.window_seconds)
        held: dict[tuple[int, ...], DayDigests] = {}

        def read(chosen: Sequence[int]) -> DayDigests:
            """Digests of some series; the last ones are held."""
            key = tuple(chosen)
            if key not in held:
                held.clear()
                found = read_history(connection, key, *self.span, self.missing, window_seconds=window)
                held[key] = found.rows
            return held[key]

        there: list[int] = []
        for begin in range(0, len(numbers), CELLS_IN_MEMORY):
            some = numbers[begin : begin + CELLS_IN_MEMORY]
            seen = read(some).verdicts.reshape(len(some), -1).max(axis=1, initial=0).tolist()
            there += [number for number, most in zip(some, seen, strict=True) if most]
        if not there:
            return None
        fleet = Fleet.build([series[number] for number in there], SKETCH_GRID)
        first_day = self.span[0] // _DAY * _DAY
        history = DigestedCells(lambda cells: read([there[cell] for cell in cells.tolist()]), first_day)
        return learn_digests(
            history, fleet, self.settings, self.span, families=self.families, excluded=self.untaught, space=space
        )


def learn_from_store(
    store: Store,
    through: float,
    schedule: LearningSchedule,
    settings: DetectionSettings,
    *,
    flow: str | None = None,
    processes: int | None = None,
) -> Profile | None:
    """Learn the baseline of everything stored up to ``through``, or of one flow; ``None`` without any data.

    Time in which a flow had an alert that nobody accepted, incidents and maintenance windows teach nothing about
    that flow; what other flows did meanwhile counts. Once there are two days of digests, the last hours, which are not
    digested yet, wait for the next learning.

    Args:
        store: Where the history is.
        through: End of the last window that may count.
        schedule: How long a history is read.
        settings: How windows are judged.
        flow: Only this one.
        processes: How many to use at most; by default one for each processor, two at most, and none of their own
            for a small fleet.
    """
    start = through - schedule.history_seconds
    with store.connection() as connection:
        untaught = tuple(untaught_spans(connection, start))
        span = history_span(connection, start, through, settings.window_seconds)
        done = digested_hours(connection, start - _HOUR, through)
    if span is None:
        return None
    span, missing = _without_the_last_hours(span, done)
    known = store.series()
    families = count_families(Fleet.build(list(known.values()), SKETCH_GRID))
    work = _Work(settings, span, missing, untaught, families)
    wanted = {number: key for number, key in known.items() if flow is None or key.flow == flow}
    portions = list(_portions(wanted))
    if processes is None:
        processes = min(os.cpu_count() or 1, _PROCESSES) if len(portions) > _PORTIONS_ALONE else 1
    if processes > 1:
        found = learn_in_processes(store.settings, work.learn, portions, processes)
    else:
        space = Workspace()
        with store.connection() as connection:
            found = [work.learn(connection, portion, space) for portion in portions]
    profiles = [profile for profile in found if profile is not None]
    return pool_young(join(profiles), families) if profiles else None


def _without_the_last_hours(
    span: tuple[float, float], done: Sequence[int]
) -> tuple[tuple[float, float], tuple[int, ...]]:
    """The span that is learnt from, and its hours that are not digested."""
    begin, end = span
    if done:
        digested = done[-1] + _HOUR
        if digested - begin >= _LONG_SECONDS and end - digested <= _TRAILING_SECONDS:
            end = min(end, float(digested))
    hours = range(int(begin // _HOUR) * _HOUR, int(-(-end // _HOUR)) * _HOUR, _HOUR)
    return (begin, end), tuple(sorted(set(hours) - set(done)))


def _portions(series: Mapping[int, SeriesKey]) -> Iterator[dict[int, SeriesKey]]:
    """Series of whole flows, some dozens at a time."""
    by_flow: dict[str, dict[int, SeriesKey]] = {}
    for number, key in series.items():
        by_flow.setdefault(key.flow, {})[number] = key
    portion: dict[int, SeriesKey] = {}
    for _, own in sorted(by_flow.items()):
        if portion and len(portion) + len(own) > _PORTION_CELLS:
            yield portion
            portion = {}
        portion |= own
    if portion:
        yield portion
