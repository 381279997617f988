"""Learning baselines from the store: what counts as history, and when it is time to learn anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

from ..metrics.baseline.baseline import Profile, learn
from ..metrics.baseline.budget import count_families
from ..metrics.baseline.parts import join
from ..metrics.baseline.pooling import pool_young
from ..metrics.detection.input import SKETCH_GRID, Fleet, Measurements, concatenate
from ..metrics.detection.settings import DetectionSettings
from ..metrics.observation import SeriesKey
from ..metrics.store.alerts import untaught_spans
from ..metrics.store.store import Store

__all__ = ["LearningSchedule", "learn_from_store"]

_SHORTEST_SECONDS = 600.0
_GROWTH = 0.5
_READ_SECONDS = 2 * 86_400.0  # of history that is read at one time


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


def learn_from_store(
    store: Store, through: float, schedule: LearningSchedule, settings: DetectionSettings, *, flow: str | None = None
) -> Profile | None:
    """Learn the baseline of everything stored up to ``through``, or of one flow; ``None`` without any data.

    Time in which a flow had an alert that nobody accepted, incidents and maintenance windows teach nothing about
    that flow; what other flows did meanwhile counts. Flows are read and learnt one after the other, so that memory
    holds the history of one; the windows of other threads are judged meanwhile.
    """
    start = through - schedule.history_seconds
    with store.connection() as connection:
        spans = untaught_spans(connection, start)
    known = store.series()
    there = store.span()
    if there is None or there[1] < start:
        return None
    window = settings.window_seconds
    span = (max(start, there[0]), min(through, there[1] + window))
    families = count_families(Fleet.build(list(known.values()), SKETCH_GRID))
    profiles = []
    for name in sorted({key.flow for key in known.values()} if flow is None else {flow}):
        history, fleet = _read_flow(store, name, span)
        if fleet is not None:
            taught = _without(history, fleet, spans)
            profiles.append(learn(taught, fleet, settings, families=families, span=span))
    return pool_young(join(profiles), families) if profiles else None


def _read_flow(store: Store, flow: str, span: tuple[float, float]) -> tuple[Measurements, Fleet | None]:
    """The stored windows of a flow, read a few days at a time: memory holds one flow, its histograms in few bytes."""
    parts: list[Measurements] = []
    found: dict[int, SeriesKey] = {}
    begin = span[0]
    while begin < span[1]:
        end = min(begin + _READ_SECONDS, span[1])
        rollup, keys = store.read_rollups(begin, end, flow)
        if len(rollup):
            parts.append(Measurements.from_rollup(rollup, {number: number for number in keys}).narrow())
        for number, key in keys.items():
            if number not in found or len(key.checks) > len(found[number].checks):
                found[number] = key
        begin = end
    if not parts:
        return Measurements.empty(), None
    numbers = sorted(found, key=lambda number: (found[number].flow, found[number].step, found[number].dimensions))
    cell = np.zeros(max(numbers) + 1, dtype=np.int64)
    cell[numbers] = np.arange(len(numbers))
    history = concatenate(parts)
    fleet = Fleet.build([found[number] for number in numbers], SKETCH_GRID)
    return replace(history, cell=cell[history.cell]), fleet


def _without(history: Measurements, fleet: Fleet, spans: Sequence[tuple[float, float, str]]) -> Measurements:
    """The history without the spans in which a flow (or pattern of flows) must not teach."""
    keep = np.ones(len(history), dtype=np.bool_)
    for first, last, pattern in spans:
        of_flow = np.array([fnmatchcase(cell.flow, pattern) for cell in fleet.cells], dtype=np.bool_)
        keep &= ~(of_flow[history.cell] & (history.window_start >= first) & (history.window_start < last))
    return history if keep.all() else history.take(np.flatnonzero(keep))
