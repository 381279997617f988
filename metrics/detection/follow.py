"""Follows scopes and channels by window: evidence, alarms, recovery, acceptance of new levels, silence, creep."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baseline.baseline import Profile
from ..baseline.budget import TAILS
from ..baseline.location import undo_clip
from .channels import Drift
from .clock import Alternatives, ClockState, explain
from .count import CountState, advance_count
from .events import Event, EventKind
from .interval import corrected_interval
from .settings import DetectionSettings
from .shift import ShiftState, advance_shift, excursion_effect

__all__ = ["Follower", "Inputs"]

Floats = NDArray[Any]  # float64

_Z95 = 1.959964
_DISPERSION_LIMIT = 1.0  # for intervals only: a rate that wanders by its own size from window to window
_SILENCE_SECONDS = 300.0  # silence is not called before this, however many observations are missing
_CREEP = float(np.log(1.03))
_CREEP_DEVIATIONS = 4.0
_DAY = 86_400.0
_FEWEST_FAILURES = 4.0
_REFINE_WINDOWS = 60.0
_HELD_TAIL = 1.5  # times the threshold that a tail needs while a shift is about to be reported


@dataclass(frozen=True, slots=True)
class Inputs:
    """One window: quantities ``[3S]`` (locations, volumes, mixes), count tests ``[J]``, expected traffic ``[S]``."""

    residual: Floats
    variance: Floats
    seen: Floats
    failed: Floats
    mean: Floats
    tried: Floats
    expected: Floats
    other: Alternatives


@dataclass(slots=True)
class _Raised:
    """Deviations that have been reported and are not over; ``effect`` 0 = none."""

    effect: Floats
    started: Floats
    detected: Floats
    recovery: Floats
    told: Floats
    weight: Floats  # information about ``effect``, 1 / variance

    @classmethod
    def new(cls, size: int) -> _Raised:
        return cls(*(np.zeros(size) for _ in range(6)))


@dataclass(slots=True)
class _Day:
    """The day so far of each scope, for creep: Σ r/v, Σ 1/v, the day's number, and the level last reported."""

    score: Floats
    weight: Floats
    number: Floats
    told: Floats

    @classmethod
    def new(cls, size: int) -> _Day:
        return cls(*(np.zeros(size) for _ in range(4)))


class Follower:
    """The state of a fleet and how one window changes it.

    ``now`` may be one time or each scope's own, so that recordings of different times can be followed together.
    """

    def __init__(self, profile: Profile, settings: DetectionSettings) -> None:
        self._profile, self._settings = profile, settings
        scopes, tests = len(profile.fleet.scopes), len(profile.count.rate)
        self._scopes = scopes
        long_enough = profile.span_seconds >= settings.minimum_history_seconds
        tested = np.array([reason == "" for reason in profile.reasons], dtype=bool)
        self._tested = np.concatenate([tested, np.full(scopes, long_enough), tested])
        channel_scope = np.array([channel.scope for channel in profile.fleet.channels], dtype=np.int64)
        self._count_scope = np.concatenate([np.repeat(np.arange(scopes), len(TAILS)), channel_scope])
        self._is_tail = np.arange(tests) < scopes * len(TAILS)
        self._count_tested = np.where(self._is_tail, tested[self._count_scope], long_enough)
        self._scale = np.array([float(np.median(profile.scale[inside])) for inside in profile.fleet.members])
        noise = profile.shift.noise
        self._common = noise.white_variance + noise.fast_variance * (1 + noise.fast_correlation) / (
            1 - noise.fast_correlation
        )
        self._shift = ShiftState.new(noise, len(profile.shift.shifts))
        self._count = CountState.new(len(profile.count.ratios), tests)
        self._raised = _Raised.new(3 * scopes)
        self._failing = _Raised.new(tests)
        self._silent = _Raised.new(scopes)
        self._day = _Day.new(scopes)
        self._drift = Drift.new(scopes)
        self._clock = ClockState.new(scopes)
        self._offset = np.zeros(3 * scopes)  # levels accepted since the profile was learnt
        self._accepted = np.zeros(tests)  # rates accepted since then, as log-ratios

    @property
    def offset(self) -> Floats:
        """Levels of scopes accepted as the new normal since the profile was learnt, ``[S]`` (log-ratios)."""
        return self._offset[: self._scopes]

    def begin_anew(self, scopes: Floats, channels: Floats) -> None:
        """Forget reports and evidence about locations and tails of ``scopes`` and about ``channels``; reports nothing.

        Tails that are reported keep their present rate as the usual one.
        """
        self._settle(scopes)
        self._reset(scopes)
        tails = (scopes[:, None] * len(TAILS) + np.arange(len(TAILS))).ravel()
        self._accepted[tails] += self._failing.effect[tails]
        tests = np.concatenate([tails, channels + len(TAILS) * self._scopes]).astype(np.int64)
        self._failing.effect[tests] = self._failing.recovery[tests] = self._failing.told[tests] = 0.0
        for item in fields(CountState):
            getattr(self._count, item.name)[:, tests] = 0.0

    def nothing(self) -> Inputs:
        """A window without any data."""
        scopes, tests = self._scopes, len(self._profile.count.rate)
        return Inputs(
            np.zeros(3 * scopes),
            np.full(3 * scopes, np.inf),
            np.zeros(3 * scopes),
            np.zeros(tests),
            np.zeros(tests),
            np.zeros(tests),
            np.zeros(scopes),
            Alternatives.none(scopes),
        )

    def forget(self) -> None:
        """After a long gap: evidence starts anew; what was reported stays reported."""
        self._shift = ShiftState.new(self._profile.shift.noise, len(self._profile.shift.shifts))
        self._count = CountState.new(*self._count.evidence.shape)

    def step(self, now: float | Floats, inputs: Inputs) -> list[Event]:
        """Take in one window; events in the order recoveries, shifts, rates, silence, creep."""
        clock = np.broadcast_to(np.asarray(now, dtype=np.float64), (self._scopes,))
        clock3 = np.tile(clock, 3)
        variance = np.where(self._tested, inputs.variance, np.inf)
        residual = inputs.residual - self._offset - self._raised.effect
        explained = self._explain(inputs.other, residual, variance)
        events = self._shift_recoveries(clock3, residual, variance)
        test = self._profile.shift
        advance_shift(self._shift, test.noise, test.shifts, test.limit, clock3, residual, variance, inputs.seen)
        events += self._shift_alarms(clock3)
        moved = inputs.residual[: self._scopes] - self._offset[: self._scopes] - explained
        drift = self._drift.advance(moved, variance[: self._scopes]) + explained
        events += self._count_step(clock[self._count_scope], inputs, drift)
        events += self._silence(clock, inputs)
        events += self._creep(clock, inputs.residual, variance)
        return events

    def _explain(self, other: Alternatives, residual: Floats, variance: Floats) -> Floats:
        """Take off what a moved clock or job explains, in place; returns it for locations, ``[S]``."""
        scopes = self._scopes
        location, volume = slice(0, scopes), slice(scopes, 2 * scopes)
        bare = residual - self._shift.slow
        long_run = variance + self._common
        parts = (bare[location], bare[volume]), (long_run[location], long_run[volume])
        window = self._settings.window_seconds
        shift, traffic, anew = explain(self._clock, other, parts[0], parts[1], window)
        residual[location] -= shift
        residual[volume] -= traffic
        again = np.flatnonzero(anew)
        if len(again):
            quantities = np.concatenate([again, again + scopes])
            self._shift.evidence[:, quantities] = 0.0
        return shift

    def to_bytes(self, extra: dict[str, Any]) -> bytes:
        """The state and ``extra`` (plain values)."""
        arrays: dict[str, Any] = {"offset": self._offset, "accepted": self._accepted}
        for name, part in self._parts().items():
            arrays |= {f"{name}.{item.name}": getattr(part, item.name) for item in fields(part)}
        arrays["extra"] = np.frombuffer(json.dumps({"version": 1} | extra).encode(), dtype=np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    def restore(self, data: bytes) -> dict[str, Any]:
        """Take over a state that :meth:`to_bytes` wrote; returns what was given as ``extra``.

        Raises:
            ValueError: the state was made on a profile with other scopes or channels.
        """
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            if (
                arrays["offset"].shape != self._offset.shape
                or arrays["failing.effect"].shape != self._failing.effect.shape
            ):
                raise ValueError(
                    f"detector state of {arrays['offset'].size // 3} scopes does not fit a profile of {self._scopes}; "
                    "learn the profile and start the detector anew"
                )
            self._offset, self._accepted = arrays["offset"], arrays["accepted"]
            for name, part in self._parts().items():
                for item in fields(part):
                    setattr(part, item.name, arrays[f"{name}.{item.name}"])
            extra: dict[str, Any] = json.loads(arrays["extra"].tobytes())
        return extra

    def _parts(self) -> dict[str, Any]:
        return {
            "shift": self._shift,
            "count": self._count,
            "raised": self._raised,
            "failing": self._failing,
            "silent": self._silent,
            "day": self._day,
            "drift": self._drift,
            "clock": self._clock,
        }

    # -- shifts ------------------------------------------------------------------------------------------------------

    def _shift_recoveries(self, now: Floats, residual: Floats, variance: Floats) -> list[Event]:
        """Whether raised quantities are back at their old level; adjusts ``residual`` in place where they are."""
        raised, evidence = self._raised, self._settings.resolve_evidence
        on = raised.effect != 0
        if not on.any():
            return []
        active = on & np.isfinite(variance)
        long_run = np.where(active, variance, 1.0) + self._common
        step = np.where(active, -raised.effect * (residual + 0.5 * raised.effect) / long_run, 0.0)
        step = np.minimum(step, evidence / (self._settings.spike_windows + 1))
        raised.recovery = np.where(active, np.maximum(raised.recovery + step, 0.0), raised.recovery)
        self._refine(active & (raised.recovery <= 0), now, residual, long_run)
        over = np.flatnonzero(on & (raised.recovery >= evidence))
        stale = np.flatnonzero(on & (now - raised.detected >= self._settings.rebase_seconds))
        events = [self._resolved(int(q), now) for q in over if raised.told[q]]
        residual[over] += raised.effect[over]
        self._offset[stale] += raised.effect[stale]
        self._settle(np.union1d(over, stale))
        self._reset(over)
        return events

    def _refine(self, active: Floats, now: Floats, residual: Floats, long_run: Floats) -> None:
        """An effect seen at the alarm is selected to be large: the windows after it correct it."""
        raised = self._raised
        young = active & (now - raised.detected <= _REFINE_WINDOWS * self._settings.window_seconds)
        if not young.any():
            return
        raised.weight = np.where(young, raised.weight + 1 / long_run, raised.weight)
        change = np.where(young, residual / long_run / np.maximum(raised.weight, 1e-300), 0.0)
        raised.effect += change
        residual -= change

    def _resolved(self, quantity: int, now: Floats) -> Event:
        scope = quantity % self._scopes
        kind = self._kind(quantity, self._raised.effect[quantity])
        since = float(self._raised.started[quantity])
        moment = float(now[quantity])
        return Event(EventKind.RESOLVE, scope, -1, moment, since, since, since, 0.0, 0.0, 0.0, np.nan, 0.0, {}, kind)

    def _settle(self, quantities: Floats) -> None:
        self._raised.effect[quantities] = 0.0
        self._raised.recovery[quantities] = 0.0
        self._raised.told[quantities] = 0.0

    def _reset(self, quantities: Floats) -> None:
        if len(quantities):
            fresh = ShiftState.new(self._profile.shift.noise.take(quantities), len(self._profile.shift.shifts))
            for item in fields(ShiftState):
                getattr(self._shift, item.name)[..., quantities] = getattr(fresh, item.name)

    def _kind(self, quantity: int, effect: float) -> EventKind:
        if quantity < self._scopes:
            return EventKind.UP if effect > 0 else EventKind.DOWN
        return EventKind.VOLUME if quantity < 2 * self._scopes else EventKind.MIX

    def _shift_alarms(self, now: Floats) -> list[Event]:
        state = self._shift
        over = state.evidence - self._profile.shift.threshold
        # a disturbance that has just ended is not reported: the last window must still show half of the shift
        mean = state.score / np.maximum(state.weight, 1e-300)
        lasting = state.last * np.sign(mean) >= 0.5 * np.abs(mean)
        candidates = np.flatnonzero(((over >= 0) & lasting).any(axis=0))
        events: list[Event] = []
        for quantity in candidates:
            events += self._raise(int(quantity), now)
        self._reset(candidates)
        return events

    def _raise(self, quantity: int, now: Floats) -> list[Event]:
        """Note a shift, and report it unless it only corrects one that is reported already."""
        raised, state, test = self._raised, self._shift, self._profile.shift
        best, raw, error = excursion_effect(state, test.noise, quantity)
        clipped = corrected_interval(raw, error)[0]
        if quantity < self._scopes:
            raw = float(undo_clip(raw, self._scale[quantity]))
        effect, low, high = corrected_interval(raw, error)
        was, moment = float(raised.effect[quantity]), float(now[quantity])
        now_effect = was + clipped  # in the units of residuals
        if was != 0 and (now_effect * was <= 0 or abs(now_effect) < 0.25 * abs(was)):
            events = [self._resolved(quantity, now)] if raised.told[quantity] else []
            self._settle(np.array([quantity]))
            return events
        raised.effect[quantity] = now_effect
        raised.weight[quantity], raised.recovery[quantity] = 1 / error**2, 0.0
        if was != 0:
            return []
        scope = quantity % self._scopes
        started, windows = float(state.start[best, quantity]), float(state.windows[best, quantity])
        raised.started[quantity], raised.detected[quantity] = started, moment
        if quantity < self._scopes and self._parent_raised(scope):
            return []
        raised.told[quantity] = 1.0
        information = max((raw / error) ** 2 / 2 / max(windows, 1.0), 1e-6)
        doubt = min(3.0 / information, windows) * self._settings.window_seconds
        told = int((state.evidence[:, quantity] - test.threshold[:, quantity]).argmax())
        evidence = {
            "statistic": float(state.evidence[told, quantity]),
            "threshold": float(test.threshold[told, quantity]),
            "tested_effect": float(test.shifts[told, quantity]),
            "windows": windows,
        }
        ends = (started - doubt, min(started + doubt, moment))
        figures = (effect, low, high, np.nan, float(state.count[best, quantity]))
        return [Event(self._kind(quantity, effect), scope, -1, moment, started, *ends, *figures, evidence)]

    def _parent_raised(self, scope: int) -> bool:
        parent = int(self._profile.fleet.parent[scope])
        while parent >= 0:
            if self._raised.effect[parent] > 0:
                return True
            parent = int(self._profile.fleet.parent[parent])
        return False

    # -- rates -------------------------------------------------------------------------------------------------------

    def _count_step(self, now: Floats, inputs: Inputs, drift: Floats) -> list[Event]:
        test, state, failing = self._profile.count, self._count, self._failing
        if not len(test.rate):
            return []
        mean = inputs.mean * np.exp(failing.effect + self._accepted)
        tails = self._profile.tail_slope.size
        mean[:tails] *= np.exp(self._profile.tail_slope * drift[:, None]).ravel()
        moved = self._raised.effect[: self._scopes][self._count_scope] != 0
        counted = self._count_tested & ~(self._is_tail & moved)
        failed, mean = np.where(counted, inputs.failed, 0.0), np.where(counted, mean, 0.0)
        events = self._count_recoveries(now, failed, mean)
        advance_count(state, test.ratios, test.dispersion, test.limit, now, failed, mean, inputs.tried)
        state.evidence[:, self._is_tail & moved] = 0.0
        height = np.where(self._held_tails(), _HELD_TAIL, 1.0) * test.threshold
        over = np.where(state.failed >= _FEWEST_FAILURES, state.evidence - height, -np.inf)
        for channel in np.flatnonzero(over.max(axis=0) >= 0):
            events += self._raise_count(int(channel), int(over[:, channel].argmax()), now)
            for item in fields(CountState):
                getattr(state, item.name)[:, channel] = 0.0
        return events

    def _held_tails(self) -> Floats:
        """Tails whose scope is about to be reported as shifted: the shift has the first word."""
        half = len(self._profile.shift.shifts) // 2
        share = (self._shift.evidence / self._profile.shift.threshold)[:half, : self._scopes].max(axis=0)
        return np.asarray(self._is_tail & (share > 0.5)[self._count_scope])

    def _count_recoveries(self, now: Floats, failed: Floats, mean: Floats) -> list[Event]:
        failing, test, evidence = self._failing, self._profile.count, self._settings.resolve_evidence
        on = failing.effect != 0
        if not on.any():
            return []
        # mean is at the raised rate: back at the old one it is smaller by the ratio
        usual = mean * np.exp(-failing.effect)
        step = np.where(on, (mean - usual - failed * failing.effect) / (1 + test.dispersion * usual), 0.0)
        failing.recovery = np.maximum(failing.recovery + np.minimum(step, evidence / 4), 0.0) * on
        over = np.flatnonzero(on & (failing.recovery >= evidence))
        events = []
        for channel in over:
            since, moment = float(failing.started[channel]), float(now[channel])
            kind = EventKind.TAIL if self._is_tail[channel] else EventKind.FAIL
            scope, number = int(self._count_scope[channel]), self._channel_number(int(channel))
            if failing.told[channel]:
                resolve = (moment, since, since, since, 0.0, 0.0, 0.0, np.nan, 0.0)
                events.append(Event(EventKind.RESOLVE, scope, number, *resolve, {}, kind))
        failing.effect[over] = failing.recovery[over] = failing.told[over] = 0.0
        return events

    def _channel_number(self, channel: int) -> int:
        return -1 if self._is_tail[channel] else channel - len(TAILS) * self._scopes

    def _raise_count(self, channel: int, best: int, now: Floats) -> list[Event]:
        state, test, failing = self._count, self._profile.count, self._failing
        failed, expected = float(state.failed[best, channel]), max(float(state.expected[best, channel]), 1e-12)
        windows, tried = max(float(state.windows[best, channel]), 1.0), float(state.tried[best, channel])
        raw = float(np.log((failed + 0.25) / (expected + 0.25)))
        # Learnt from next to no failures, the dispersion is anybody's guess: more than this it cannot say of the rest.
        dispersion = min(float(test.dispersion[channel]), _DISPERSION_LIMIT)
        error = float(np.sqrt(1 / (failed + 0.25) + dispersion / windows))
        effect, low, high = corrected_interval(raw, error)
        was, moment = float(failing.effect[channel]), float(now[channel])
        failing.effect[channel] = was + effect
        failing.recovery[channel] = 0.0
        if was != 0:
            return []
        started = float(state.start[best, channel])
        failing.started[channel], failing.detected[channel] = started, moment
        scope, tail = int(self._count_scope[channel]), bool(self._is_tail[channel])
        twin = channel ^ 1  # the other tail of the same scope: one cause, one deviation
        if tail and (failing.effect[twin] != 0 or self._parent_raised(scope)):
            return []
        failing.told[channel] = 1.0
        information = max(expected / windows * (np.exp(effect) * (effect - 1) + 1), 1e-6)
        doubt = min(3.0 / information, windows) * self._settings.window_seconds
        usual = expected / max(tried, 1.0)
        evidence = {
            "statistic": float(state.evidence[best, channel]),
            "threshold": float(test.threshold[best, channel]),
            "failed": failed,
            "expected": expected,
            "windows": windows,
        }
        if tail:
            evidence["quantile"] = TAILS[channel % len(TAILS)]
        return [
            Event(
                EventKind.TAIL if tail else EventKind.FAIL,
                scope,
                self._channel_number(channel),
                moment,
                started,
                started - doubt,
                min(started + doubt, moment),
                effect,
                low,
                high,
                usual,
                tried,
                evidence,
            )
        ]

    # -- silence and creep -------------------------------------------------------------------------------------------

    def _silence(self, now: Floats, inputs: Inputs) -> list[Event]:
        """Windows without observations where the season expects some."""
        silent, enough = self._silent, self._settings.silent_evidence
        seen = inputs.seen[: self._scopes]
        cap = enough * self._settings.window_seconds / _SILENCE_SECONDS
        quiet = seen <= 0
        fresh = quiet & (silent.recovery <= 0) & (inputs.expected > 0)
        silent.started = np.where(fresh, now, silent.started)
        silent.recovery = np.where(quiet, silent.recovery + np.minimum(inputs.expected, cap), 0.0)
        events = []
        for scope in np.flatnonzero((silent.recovery >= enough) & (silent.effect == 0)):
            silent.effect[scope], silent.detected[scope] = -1.0, now[scope]
            if not self._parent_silent(int(scope)):
                silent.told[scope] = 1.0
                events.append(self._silence_event(EventKind.SILENT, int(scope), now, inputs, None))
        for scope in np.flatnonzero(~quiet & (silent.effect != 0)):
            if silent.told[scope]:
                events.append(self._silence_event(EventKind.RESOLVE, int(scope), now, inputs, EventKind.SILENT))
            silent.effect[scope] = silent.told[scope] = 0.0
        return events

    def _parent_silent(self, scope: int) -> bool:
        parent = int(self._profile.fleet.parent[scope])
        return parent >= 0 and (self._silent.effect[parent] != 0 or self._parent_silent(parent))

    def _silence_event(self, kind: EventKind, scope: int, now: Floats, inputs: Inputs, ends: EventKind | None) -> Event:
        since, missing = float(self._silent.started[scope]), float(self._silent.recovery[scope])
        effect = -float(np.log1p(2 * missing)) if ends is None else 0.0
        evidence = {"missing": missing} if ends is None else {}
        times = (float(now[scope]), since, since, since)
        return Event(
            kind, scope, -1, *times, effect, effect, effect, float(inputs.expected[scope]), 0.0, evidence, ends
        )

    def _creep(self, now: Floats, residual: Floats, variance: Floats) -> list[Event]:
        """Once a day: whether the level has moved away from the frozen profile by steps too small to be reported."""
        day, scopes = self._day, self._scopes
        number = now // _DAY
        events = []
        noise = self._profile.shift.noise
        for scope in np.flatnonzero((number != day.number) & (day.weight > 0)):
            mean, weight = day.score[scope] / day.weight[scope], day.weight[scope]
            error = float(np.sqrt(1 / weight + noise.slow_variance[scope]))
            moved = float(mean - day.told[scope])
            quiet = self._raised.effect[scope] == 0 and self._tested[scope]
            if quiet and abs(moved) >= _CREEP and moved > _CREEP_DEVIATIONS * error:
                day.told[scope] = mean
                since = float(now[scope]) - _DAY
                times = (float(now[scope]), since, since - _DAY, float(now[scope]))
                interval = (float(mean), float(mean - _Z95 * error), float(mean + _Z95 * error))
                events.append(Event(EventKind.CREEP, int(scope), -1, *times, *interval, np.nan, 0.0, {"day": moved}))
        new_day = number != day.number
        day.number = np.where(new_day, number, day.number)
        use = np.isfinite(variance[:scopes]) & (self._raised.effect[:scopes] == 0)
        one = np.where(use, 1.0 / (np.where(use, variance[:scopes], 1.0) + self._common[:scopes]), 0.0)
        day.weight = np.where(new_day, 0.0, day.weight) + one
        day.score = np.where(new_day, 0.0, day.score) + one * residual[:scopes]
        return events
