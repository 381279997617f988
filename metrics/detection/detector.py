"""The detector: one window after the other against a profile, deviations out; its state survives restarts exactly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baseline.baseline import Profile
from ..baseline.budget import TAILS
from ..baseline.location import pulled_in_sum, tail_count, undo_clip
from ..deviation import Deviation, DeviationKind, Scope
from .calendar import LocalTime, local_time
from .channels import ChannelMap, shift_inputs_of_window, volume_terms
from .clock import Clock
from .events import Event, EventKind
from .follow import Follower, Inputs
from .input import Measurements
from .settings import DetectionSettings
from .special_days import SpecialTime

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
        self.unknown_cells = 0
        self._last = -np.inf
        self._channels = ChannelMap.of(profile.fleet)
        scopes = profile.fleet.members
        cells = np.concatenate([*scopes, np.zeros(0, dtype=np.int64)])
        self._member = (cells, np.repeat(np.arange(len(scopes)), [len(inside) for inside in scopes]))
        self._follower = Follower(profile, self.settings)
        self._accepted_level = np.zeros(len(profile.fleet.cells))  # by people, log-ratios, of cells
        self._accepted_rate = np.zeros(len(self._channels.pairs))  # and of pairs of cell and outcome column
        self._clock = Clock(profile, self.settings)

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
        inputs = self._inputs(window_start, window)
        return [self._deviation(event, window_start) for event in self._follower.step(window_start, inputs)]

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
                    pairs = self._accept_rate(number, since)
                    touched = np.unique(self._channels.member_channel[np.isin(self._channels.member_pair, pairs)])
                    self._follower.begin_anew(none, touched)
            return
        cells = fleet.members[index]
        self._accept_level(cells, since)
        overlap = np.array([bool(np.isin(inside, cells).any()) for inside in fleet.members])
        self._follower.begin_anew(np.flatnonzero(overlap), none)

    def _accept_level(self, cells: Floats, since: Iterable[tuple[float, Measurements]]) -> None:
        """Move the levels of cells to where they have been, as far as that is beyond chance."""
        size = len(self.profile.fleet.cells)
        total, count = np.zeros(size), np.zeros(size)
        for at, window in since:
            deviation, seen = self._cell_deviations(window, self._levels(at))
            total += deviation * seen
            count += seen
        mean = np.divide(total, count, out=np.zeros(size), where=count > 0)
        moved = np.array([float(undo_clip(mean[cell], self.profile.scale[cell])) for cell in cells])
        sure = np.abs(mean[cells]) > 2 * np.sqrt(self.profile.spread[cells] / np.maximum(count[cells], 1e-9))
        self._accepted_level[cells] += np.where(sure, moved, 0.0)

    def _accept_rate(self, channel: int, since: Iterable[tuple[float, Measurements]]) -> Floats:
        """Move the rates of a channel's pairs to what they have been, leaning on the channel's; returns the pairs."""
        map_, profile = self._channels, self.profile
        pairs = map_.member_pair[map_.member_channel == channel]
        failed, expected = np.zeros(len(pairs)), np.zeros(len(pairs))
        for _, window in since:
            columns = window.failed.shape[1]
            for place, (cell, column) in enumerate(map_.pairs[pairs]):
                rows = window.cell == cell
                if column < columns:
                    failed[place] += window.failed[rows, column].sum()
                    usual = profile.pair_rate[pairs[place]] * np.exp(self._accepted_rate[pairs[place]])
                    expected[place] += window.tried[rows, column].sum() * usual
        whole = (failed.sum() + 0.5) / (expected.sum() + 0.5)
        self._accepted_rate[pairs] += np.log((failed + whole) / (expected + 1.0))
        return np.asarray(pairs)

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
        return self._accepted_level

    @property
    def accepted_rate(self) -> Floats:
        """Rates of pairs of cell and outcome column likewise, ``[P]``."""
        return self._accepted_rate

    def take_position(self, old: Detector) -> None:
        """Go on behind the last window of another detector, with its counters."""
        self._last, self.late_windows, self.unknown_cells = old._last, old.late_windows, old.unknown_cells

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
            (self._accepted_level, old._accepted_level, cell, level_moved),
            (self._accepted_rate, old._accepted_rate, pair, rate_moved),
        ):
            here = np.flatnonzero(place >= 0)
            before = source[place[here]]
            target[here] = np.where(before != 0, before - moved[here], 0.0)

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
        level = self._scope_level(index, at) + float(self._follower.offset[index])
        noise = profile.shift.noise
        variance = noise.fast_variance[index] + noise.slow_variance[index] + noise.white_variance[index]
        half = _Z95 * float(np.sqrt(variance + 1 / (profile.traffic[inside] / profile.spread[inside]).sum()))
        return Band(float(np.exp(level)), float(np.exp(level - half)), float(np.exp(level + half)))

    def to_bytes(self) -> bytes:
        """The state, without the profile."""
        extra = {"last": self._last, "late": self.late_windows, "unknown": self.unknown_cells}
        accepted = {"level": _sparse(self._accepted_level), "rate": _sparse(self._accepted_rate)}
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
        detector.late_windows, detector.unknown_cells = meta["late"], meta["unknown"]
        for place, value in meta["accepted"]["level"]:
            detector._accepted_level[place] = value
        for place, value in meta["accepted"]["rate"]:
            detector._accepted_rate[place] = value
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

    def _levels(self, at: float) -> Floats:
        local = local_time(np.array([at]), self.settings)
        special = self.profile.special.at(local, self.settings)
        return np.asarray(self._season(local, special) + self._accepted_level)

    def _season(self, local: LocalTime, special: SpecialTime | None) -> Floats:
        season = self.profile.season.at(local)[0]
        return season if special is None else np.asarray(season + special.level)

    def _scope_level(self, index: int, at: float) -> float:
        inside = self.profile.fleet.members[index]
        weight = self.profile.traffic[inside]
        return float(np.average(self._levels(at)[inside], weights=weight if weight.any() else None))

    def _inputs(self, at: float, window: Measurements) -> Inputs:
        """What the follower reads of one window."""
        profile, fleet = self.profile, self.profile.fleet
        cells = len(fleet.cells)
        known = (window.cell >= 0) & (window.cell < cells)
        self.unknown_cells += int((~known).sum())
        rows = window if known.all() else window.take(np.flatnonzero(known))
        local = local_time(np.array([at]), self.settings)
        special = profile.special.at(local, self.settings)
        season = self._season(local, special)
        level = season + self._accepted_level
        deviation, count = self._cell_deviations(rows, level)
        shift = shift_inputs_of_window(deviation, season, count, profile.spread, fleet, self._member)
        expected = profile.volume.at(local)[0] * np.exp(0.0 if special is None else special.volume)
        volume, volume_variance = volume_terms(shift.count, expected)
        if len(rows) == 0:
            volume_variance = np.full_like(volume_variance, np.inf)
        failed, mean, tried = self._counts(rows, level)
        hour = int(min(local.second[0] // 3600, 23))
        inputs = Inputs(
            np.concatenate([shift.residual, volume, shift.level - profile.mix.at(local)[0]]),
            np.concatenate([shift.variance, volume_variance, shift.mix_variance]),
            np.tile(shift.count, 3),
            failed,
            mean * profile.count.shape[hour],
            tried,
            expected,
            self._clock.now(at),
        )
        return inputs if special is None else self._on_special_day(inputs, special)

    def _on_special_day(self, inputs: Inputs, special: SpecialTime) -> Inputs:
        """Take off what the day may account for; mixes are not judged, nor volume and tails of an unknown kind."""
        fleet = self.profile.fleet
        scopes, tails = len(fleet.scopes), len(fleet.scopes) * len(TAILS)
        level = np.broadcast_to(special.level, len(fleet.cells))
        of_scope = np.array([float(level[inside].mean()) for inside in fleet.members])
        residual, variance = inputs.residual.copy(), inputs.variance.copy()
        location, volume = slice(0, scopes), slice(scopes, 2 * scopes)
        taken = special.within_margin(residual[location], of_scope)
        residual[location] -= taken
        residual[volume] -= special.within_margin(residual[volume], special.volume)
        variance[2 * scopes :] = np.inf
        failed, mean = inputs.failed, inputs.mean
        if not special.seen:
            variance[volume] = np.inf
            failed, mean = failed.copy(), mean.copy()
            failed[:tails], mean[:tails] = 0.0, 0.0
        return replace(inputs, residual=residual, variance=variance, failed=failed, mean=mean, special=taken)

    def _cell_deviations(self, rows: Measurements, level: Floats) -> tuple[Floats, Floats]:
        """How far each cell is from its level (log-ratio, clipped), and from how many observations, ``[C]``."""
        profile, cells, cell = self.profile, len(self.profile.fleet.cells), rows.cell
        pulled = pulled_in_sum(rows, profile.fleet.grid, level[cell], profile.scale[cell])
        usable = np.isfinite(pulled) & profile.known[cell]
        count = np.bincount(cell, np.where(usable, rows.count, 0.0), minlength=cells)
        total = np.bincount(cell, np.where(usable, pulled, 0.0), minlength=cells)
        return np.divide(total, count * profile.slope, out=np.zeros(cells), where=count > 0), count

    def _counts(self, rows: Measurements, level: Floats) -> tuple[Floats, Floats, Floats]:
        profile, fleet, map_ = self.profile, self.profile.fleet, self._channels
        cells, scopes, cell = len(fleet.cells), len(fleet.scopes), rows.cell
        member, scope = self._member
        row = np.repeat(np.arange(len(rows)), np.diff(rows.offsets))
        trials = np.bincount(cell[row], rows.bucket_counts, minlength=cells) * profile.known
        parts = []
        for k in range(len(TAILS)):
            edge = (level + profile.tail_edge[:, k] * profile.scale)[cell]
            beyond = np.bincount(cell, tail_count(rows, fleet.grid, edge), minlength=cells) * profile.known
            usual = trials * profile.tail_rate[:, k]
            parts.append([np.bincount(scope, values[member], minlength=scopes) for values in (beyond, usual, trials)])
        y, mean, total = (np.stack([part[i] for part in parts], axis=1).ravel() for i in range(3))
        columns = rows.failed.shape[1]
        if not len(map_.pairs):
            return y, mean, total
        failed, tried = np.zeros((cells, columns + 1)), np.zeros((cells, columns + 1))
        np.add.at(failed[:, :columns], cell, rows.failed)
        np.add.at(tried[:, :columns], cell, rows.tried)
        where, column = map_.pairs[:, 0], np.minimum(map_.pairs[:, 1], columns)
        pair_failed, pair_tried = failed[where, column], tried[where, column]
        pair, channel, size = map_.member_pair, map_.member_channel, len(fleet.channels)
        rate = profile.pair_rate * np.exp(self._accepted_rate)
        return (
            np.concatenate([y, np.bincount(channel, pair_failed[pair], minlength=size)]),
            np.concatenate(
                [
                    mean,
                    np.bincount(channel, (pair_tried * rate)[pair], minlength=size),
                ]
            ),
            np.concatenate([total, np.bincount(channel, map_.member_share * pair_tried[pair], minlength=size)]),
        )

    def _deviation(self, event: Event, now: float) -> Deviation:
        """An event in the words and units of the product."""
        profile, fleet = self.profile, self.profile.fleet
        scope = fleet.scopes[event.scope]
        if event.channel >= 0:
            check = fleet.channels[event.channel].check
            scope = Scope(scope.flow, scope.step, scope.dimensions, check)
        before = event.before
        if np.isnan(before):
            before = float(np.exp(self._scope_level(event.scope, now)))
        window = self.settings.window_seconds
        inside = fleet.members[event.scope]
        return Deviation(
            kind=_KINDS[event.kind],
            scope=scope,
            detected_at=now + window,
            started_at=event.started,
            started_low=event.started_low,
            started_high=event.started_high,
            effect=event.effect,
            effect_low=event.low,
            effect_high=event.high,
            before=before,
            after=_level_after(event, before),
            observations=round(event.count),
            observations_before=round(float(profile.traffic[inside].sum() * profile.span_seconds / window)),
            evidence=event.evidence,
            ends=_KINDS[event.ends] if event.ends is not None else None,
        )


def _level_after(event: Event, before: float) -> float:
    """The level since the start: for rates what was counted, since a ratio to a rate of almost nothing says little."""
    if event.kind in (EventKind.FAIL, EventKind.FEWER) and event.count > 0 and "failed" in event.evidence:
        return event.evidence["failed"] / event.count
    return before * float(np.exp(event.effect))


_KINDS = {
    EventKind.UP: DeviationKind.SLOWER,
    EventKind.DOWN: DeviationKind.FASTER,
    EventKind.TAIL: DeviationKind.TAIL,
    EventKind.FAIL: DeviationKind.FAILING,
    EventKind.FEWER: DeviationKind.IMPROVING,
    EventKind.VOLUME: DeviationKind.VOLUME,
    EventKind.SILENT: DeviationKind.SILENT,
    EventKind.MIX: DeviationKind.MIX,
    EventKind.CREEP: DeviationKind.CREEP,
    EventKind.RESOLVE: DeviationKind.RECOVERED,
}


def _sparse(values: Floats) -> list[tuple[int, float]]:
    """What is not zero, by place."""
    return [(int(place), float(values[place])) for place in np.flatnonzero(values)]


def deviations(profile: Profile, stream: Iterable[tuple[float, Measurements]]) -> list[Deviation]:
    """Every deviation of a stream of windows in order of time: :class:`Detector` as a pure function."""
    detector = Detector(profile)
    return [deviation for start, window in stream for deviation in detector.advance(start, window)]
