"""The baseline of a fleet as pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ..detection.input import Fleet
from ..detection.settings import DetectionSettings
from ..detection.special_days import SpecialDays
from .count import CountTest
from .season import Season
from .shift import ShiftTest

__all__ = ["Profile"]

Floats = NDArray[Any]  # float64


@dataclass(frozen=True, slots=True)
class Profile:
    """The baseline of a fleet: pure data, made by :func:`learn`.

    ``C`` cells, ``S`` scopes, ``P`` pairs of cell and outcome column, ``J = 2S + channels`` count tests.

    Attributes:
        fleet: What is monitored.
        settings: The settings it was learnt with.
        learnt_until: End of the last window of history (seconds).
        span_seconds: Length of the history.
        season: Levels of cells (ln seconds).
        scale: Standard deviation of log duration of each cell, ``[C]``.
        slope: Share of observations inside the clip, ``[C]``.
        spread: Variance of one observation's contribution to the location, ``[C]``.
        known: Which cells have a level, ``[C]``.
        traffic: Mean observations a window, ``[C]``.
        tail_edge: Where tails begin, in deviations above the level, ``[C, 2]``.
        tail_rate: Share of observations beyond, ``[C, 2]``.
        tail_slope: By how much its logarithm grows with the location of scopes, ``[S, 2]``.
        pair_rate: Failure rate of each pair of :class:`~.detection_channels.ChannelMap`, ``[P]``.
        volume: Expected observations of scopes a window.
        mix: Expected level of scopes at their usual mix (ln seconds).
        shift: Test of shifts; quantities are locations, volumes, mixes of all scopes, ``3S``.
        count: Test of rates.
        reasons: Why a scope's latency is not tested, or "", ``[S]``.
        special: What the bank's special days are like, against ordinary ones.
        history_seconds: Length of each scope's own history: from its first observation on, ``[S]``.
    """

    fleet: Fleet
    settings: DetectionSettings
    learnt_until: float
    span_seconds: float
    season: Season
    scale: Floats
    slope: Floats
    spread: Floats
    known: Floats
    traffic: Floats
    tail_edge: Floats
    tail_rate: Floats
    tail_slope: Floats
    pair_rate: Floats
    volume: Season
    mix: Season
    shift: ShiftTest
    count: CountTest
    reasons: tuple[str, ...]
    special: SpecialDays
    history_seconds: Floats
