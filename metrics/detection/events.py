"""What the follower of a fleet reports, in scopes and channels by number; the detector puts it into words."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

__all__ = ["REBASED", "Event", "EventKind"]

REBASED = "rebased"
"""Evidence of an end that is no recovery: the new level is taken for the usual one."""


class EventKind(Enum):
    """Kinds of events; the values are those of ``cxgauge backtest``."""

    UP = "up"
    TAIL = "tail"
    FAIL = "fail"
    SILENT = "silent"
    DOWN = "down"
    FEWER = "fewer"
    VOLUME = "volume"
    MIX = "mix"
    CREEP = "creep"
    RESOLVE = "resolve"


@dataclass(frozen=True, slots=True)
class Event:
    """One event: scope by index, failure channel by index or -1, times in seconds, effects as log-ratios.

    ``before`` is the level before (a failure rate, a count of observations), NaN for a latency, which the detector
    looks up.
    """

    kind: EventKind
    scope: int
    channel: int
    now: float
    started: float
    started_low: float
    started_high: float
    effect: float
    low: float
    high: float
    before: float
    count: float
    evidence: dict[str, float] = field(default_factory=dict)
    ends: EventKind | None = None
