"""What the ruler says of a series: a deviation from its baseline, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Deviation", "DeviationKind", "Scope"]


class DeviationKind(StrEnum):
    """What changed. ``SLOWER``, ``TAIL``, ``FAILING`` and ``SILENT`` alert; the rest is reported."""

    SLOWER = "slower"
    TAIL = "tail"
    FAILING = "failing"
    SILENT = "silent"  # no data where the baseline expects some
    FASTER = "faster"
    IMPROVING = "improving"  # failures went down
    VOLUME = "volume"
    MIX = "mix"
    CREEP = "creep"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a deviation speaks of: a flow, a step of it over all dimensions, or some of its series.

    ``check`` names one check, or a verdict as ``verdict:wrong``, when the kind is ``FAILING``;
    ``dimensions`` narrows to a sub-population; empty means everyone.
    """

    flow: str
    step: str | None = None
    dimensions: tuple[tuple[str, str], ...] = ()
    check: str | None = None


@dataclass(frozen=True, slots=True)
class Deviation:
    """One event of the detector.

    Times are seconds since 1970 UTC. For latency kinds ``effect`` is a log-ratio of durations
    (``ln 1.2`` for +20 %), for ``FAILING`` a log-ratio of failure rates; ``effect_low`` and
    ``effect_high`` bound it at 95 %. ``before`` and ``after`` are the levels in their own unit
    (seconds, or failure rate 0–1), with ``observations_before`` and ``observations`` behind them.
    The interval speaks of the effect since ``started_at`` given that an alarm was raised; it does not
    promise that the effect goes on.
    """

    kind: DeviationKind
    scope: Scope
    detected_at: float
    started_at: float
    started_low: float
    started_high: float
    effect: float
    effect_low: float
    effect_high: float
    before: float
    after: float
    observations: int
    observations_before: int
    evidence: dict[str, float] = field(default_factory=dict)  # statistic, threshold, channel-specific figures
    ends: DeviationKind | None = None  # RECOVERED only: the kind that is over; None = every kind of this very scope
