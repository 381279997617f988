"""The detector: one window after the other against a profile, deviations out; its state survives restarts exactly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baseline.baseline import Profile
from ..deviation import Deviation, DeviationKind, Scope
from .acceptance import moved_levels, moved_rates
from .channels import ChannelMap
from .follow import Follower
from .input import Measurements
from .settings import DetectionSettings
from .telling import deviation_of, scope_level
from .window_reader import WindowReader

__all__ = ["Band", "Detector", "deviations"]

Floats = NDArray[Any]  # float64

_LONGEST_GAP = 240  # windows without data that are stepped through one by one; after longer gaps evidence starts anew
_Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Band:
    """The expected level of a scope at one time, in seconds, and where 95 % of windows should lie.

    ``reason`` says why there is no band (not monitored, too little history); then the levels are NaN.
    """

    level: float
    low: float
    high: float
    reason: str = ""


class Detector:
    """Follows a fleet window by window.

    The same windows in the same order give the same deviations, whether or not the detector was
    stored and restored between any two of them.

    Args:
        profile: What is normal.
        settings: Defaults to the profile's.
    """

    def __init__(self, profile: Profile, settings: DetectionSettings | None = None) -> None:
        self.profile = profile
        self.settings = settings or profile.settings
        self.late_windows = 0
        self._last = -np.inf
        self._channels = ChannelMap.of(profile.fleet)
        self._reader = WindowReader(profile, self.settings, self._channels)
        self._follower = Follower(profile, self.settings)

    @property
    def unknown_cells(self) -> int:
        """Rows of cells that the profile does not know, so far."""
        return self._reader.unknown_cells

    def advance(self, window_start: float, window: Measurements) -> list[Deviation]:
        """Take in one closed window and say what deviates.

        A window that is not later than the last one is counted in :attr:`late_windows` and otherwise ignored; windows
        that were skipped count as windows without data.

        Args:
            window_start: Start of the window, seconds since 1970 UTC.
            window: Its measurements (their own ``window_start`` is not looked at).
        """
        if window_start <= self._last:
            self.late_windows += 1
            return []
        self._skip(window_start)
        self._last = window_start
        events = self._follower.step(window_start, self._reader.inputs(window_start, window))
        if not events:
            return []
        levels = self._reader.levels(window_start)
        return [deviation_of(event, window_start, self.profile, self.settings, levels) for event in events]

    def accept(self, scope: Scope, kind: DeviationKind, since: Iterable[tuple[float, Measurements]]) -> None:
        """A person declared what is reported of ``scope`` normal: the level it has now counts as the usual one.

        For failures the rate that :attr:`Scope.check` names, else durations. What overlaps with the scope is judged
        anew from here on. What is not monitored is ignored.

        Args:
            scope: What the report spoke of.
            kind: What it said.
            since: The windows since the change began: how far each cell has moved is taken from them.
        """
        plain = Scope(scope.flow, scope.step, scope.dimensions)
        fleet, none = self.profile.fleet, np.zeros(0, dtype=np.int64)
        if plain not in fleet.scopes:
            return
        index = fleet.scopes.index(plain)
        if kind is DeviationKind.FAILING:
            for number, channel in enumerate(fleet.channels):
                if channel.scope == index and channel.check == scope.check:
                    pairs, moved = moved_rates(self._reader, self.profile, self._channels, number, since)
                    self._reader.accepted_rate[pairs] += moved
                    self._reader.rates_changed()
                    touched = np.unique(self._channels.member_channel[np.isin(self._channels.member_pair, pairs)])
                    self._follower.begin_anew(none, touched)
            return
        cells = fleet.members[index]
        self._reader.accepted_level[cells] += moved_levels(self._reader, self.profile, cells, since)
        overlap = np.array([bool(np.isin(inside, cells).any()) for inside in fleet.members])
        self._follower.begin_anew(np.flatnonzero(overlap), none)

    @property
    def follower(self) -> Follower:
        """What follows the scopes; for modules of this package."""
        return self._follower

    @property
    def channels(self) -> ChannelMap:
        """Which pairs of cell and outcome column each failure channel adds up."""
        return self._channels

    @property
    def accepted_level(self) -> Floats:
        """Levels of cells that people accepted since the profile was learnt, log-ratios ``[C]``."""
        return self._reader.accepted_level

    @property
    def accepted_rate(self) -> Floats:
        """Rates of pairs of cell and outcome column likewise, ``[P]``."""
        return self._reader.accepted_rate

    def take_position(self, old: Detector) -> None:
        """Go on behind the last window of another detector, with its counters."""
        self._last, self.late_windows = old._last, old.late_windows
        self._reader.unknown_cells = old.unknown_cells

    def take_accepted(
        self, old: Detector, cell: NDArray[Any], pair: NDArray[Any], level_moved: Floats, rate_moved: Floats
    ) -> None:
        """Take over what people accepted, less what this profile has learnt of it meanwhile.

        Args:
            old: The detector on the former profile.
            cell: Position of each cell there, -1 = it is new.
            pair: The same for pairs of cell and outcome.
            level_moved: By how much levels of cells are above the former ones, log-ratios.
            rate_moved: The same for rates of pairs.
        """
        for target, source, place, moved in (
            (self.accepted_level, old.accepted_level, cell, level_moved),
            (self.accepted_rate, old.accepted_rate, pair, rate_moved),
        ):
            here = np.flatnonzero(place >= 0)
            before = source[place[here]]
            target[here] = np.where(before != 0, before - moved[here], 0.0)
        self._reader.rates_changed()

    def baseline_band(self, scope: Scope, at: float) -> Band:
        """The expected level of a scope at a time, and where 95 % of its windows should lie (seconds)."""
        profile = self.profile
        reason = "not monitored"
        if scope in profile.fleet.scopes:
            index = profile.fleet.scopes.index(scope)
            reason = profile.reasons[index]
        if reason:
            return Band(np.nan, np.nan, np.nan, reason)
        inside = profile.fleet.members[index]
        level = scope_level(profile, index, self._reader.levels(at)) + float(self._follower.offset[index])
        noise = profile.shift.noise
        variance = noise.fast_variance[index] + noise.slow_variance[index] + noise.white_variance[index]
        half = _Z95 * float(np.sqrt(variance + 1 / (profile.traffic[inside] / profile.spread[inside]).sum()))
        return Band(float(np.exp(level)), float(np.exp(level - half)), float(np.exp(level + half)))

    def to_bytes(self) -> bytes:
        """The state, without the profile."""
        extra = {"last": self._last, "late": self.late_windows, "unknown": self.unknown_cells}
        accepted = {"level": _sparse(self.accepted_level), "rate": _sparse(self.accepted_rate)}
        return self._follower.to_bytes({**extra, "accepted": accepted})

    @classmethod
    def from_bytes(cls, data: bytes, profile: Profile, settings: DetectionSettings | None = None) -> Detector:
        """The detector that :meth:`to_bytes` described, on the same profile.

        Raises:
            ValueError: the state was made on a profile with other scopes.
        """
        detector = cls(profile, settings)
        meta = detector._follower.restore(data)
        detector._last = meta["last"]
        detector.late_windows, detector._reader.unknown_cells = meta["late"], meta["unknown"]
        for place, value in meta["accepted"]["level"]:
            detector.accepted_level[place] = value
        for place, value in meta["accepted"]["rate"]:
            detector.accepted_rate[place] = value
        detector._reader.rates_changed()
        return detector

    def _skip(self, window_start: float) -> None:
        """Step through windows without data, so that correlation fades and clocks stay right."""
        if not np.isfinite(self._last):
            return
        window = self.settings.window_seconds
        missing = round((window_start - self._last) / window) - 1
        if missing > _LONGEST_GAP:
            self._follower.forget()
            return
        for index in range(missing):
            self._follower.step(self._last + window * (index + 1), self._follower.nothing())


def _sparse(values: Floats) -> list[tuple[int, float]]:
    """What is not zero, by place."""
    return [(int(place), float(values[place])) for place in np.flatnonzero(values)]


def deviations(profile: Profile, stream: Iterable[tuple[float, Measurements]]) -> list[Deviation]:
    """Every deviation of a stream of windows in order of time: :class:`Detector` as a pure function."""
    detector = Detector(profile)
    return [deviation for start, window in stream for deviation in detector.advance(start, window)]
