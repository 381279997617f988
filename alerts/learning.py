"""Learning baselines from the store: what counts as history, and when it is time to learn anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from ..metrics.baseline.baseline import Profile, learn
from ..metrics.detection.input import SKETCH_GRID, Fleet, Measurements
from ..metrics.detection.settings import DetectionSettings
from ..metrics.store.alerts import untaught_spans
from ..metrics.store.store import Store

__all__ = ["LearningSchedule", "learn_from_store"]

_SHORTEST_SECONDS = 600.0
_GROWTH = 0.5


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
    that flow; what other flows did meanwhile counts.
    """
    start = through - schedule.history_seconds
    rollup, keys = store.read_rollups(start, through, flow)
    if not len(rollup):
        return None
    numbers = sorted(keys, key=lambda number: (keys[number].flow, keys[number].step, keys[number].dimensions))
    cells = [keys[number] for number in numbers]
    fleet = Fleet.build(cells, SKETCH_GRID)
    history = Measurements.from_rollup(rollup, {number: cell for cell, number in enumerate(numbers)})
    with store.connection() as connection:
        spans = untaught_spans(connection, start)
    return learn(_without(history, fleet, spans), fleet, settings)


def _without(history: Measurements, fleet: Fleet, spans: Sequence[tuple[float, float, str]]) -> Measurements:
    """The history without the spans in which a flow (or pattern of flows) must not teach."""
    keep = np.ones(len(history), dtype=np.bool_)
    for first, last, pattern in spans:
        of_flow = np.array([fnmatchcase(cell.flow, pattern) for cell in fleet.cells], dtype=np.bool_)
        keep &= ~(of_flow[history.cell] & (history.window_start >= first) & (history.window_start < last))
    return history if keep.all() else history.take(np.flatnonzero(keep))
