"""Follows locations, volumes and mixes: alarms of the shift test, recovery, acceptance of what has lasted."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baseline.baseline import Profile
from ..baseline.location import pulled_in_shift, undo_clip
from ..baseline.shift import evidence_limit
from .clock import Alternatives
from .events import REBASED, Event, EventKind
from .interval import corrected_interval
from .raised import Meanwhile, Raised
from .rivals import MARGIN, PART_MARGIN, Rivals
from .settings import DetectionSettings
from .shift import ShiftState, advance_shift, excursion_effect, steady_information

__all__ = ["ShiftFollower"]

Floats = NDArray[Any]  # float64

_REFINE_WINDOWS = 60.0
_SPIKE = 0.99  # of the evidence that would alarm after one window more than a spike's
_SPIKE_DOUBT = 1.2  # standard deviations of a window's noise by which a spike may look smaller than it is,
_SPIKE_LEAST = 0.8  # but not smaller than this share of its size
_LASTING, _LASTING_SPIKE = 0.5, 0.75  # share of the mean shift that the last window must show; of one like a spike
_CORRECTION_DOUBT = 0.25  # standard error of what undoing the clip adds, as a share: tails are not quite as assumed
_SAME_HEIGHT = 1e-6  # log-ratios that rounding apart are the same
_EXPLAINED = 0.03  # log-ratio of location taken off for another reason, from which on tails are not judged


class ShiftFollower:
    """Quantities ``[3S]``: locations, volumes and mixes of all scopes.

    Attributes:
        state: The shift test.
        raised: What is reported.
        rivals: What an alarm must beat.
        offset: Levels accepted since the profile was learnt, log-ratios.
        otherwise: Scopes whose location is off for another reason in this window, ``[S]``.
        meanwhile: Where they are while they are reported.
        rebased: Scopes whose location was taken for normal in the last window.
        common: Long-run variance of what a window's observations share.
    """

    def __init__(self, profile: Profile, settings: DetectionSettings) -> None:
        self._profile, self._settings = profile, settings
        self._scopes = len(profile.fleet.scopes)
        self._scale = np.array([float(np.median(profile.scale[inside])) for inside in profile.fleet.members])
        noise = profile.shift.noise
        self.common = noise.white_variance + noise.fast_variance * (1 + noise.fast_correlation) / (
            1 - noise.fast_correlation
        )
        self.state = ShiftState.new(noise, len(profile.shift.shifts))
        self.raised = Raised.new(3 * self._scopes)
        self.rivals = Rivals(noise, self._scopes, len(profile.shift.shifts), settings.window_seconds)
        self.offset = np.zeros(3 * self._scopes)
        self.otherwise = np.zeros(self._scopes, dtype=bool)
        test = profile.shift
        information = steady_information(noise, test.variance, test.shifts)
        self._spike_limit = _SPIKE * evidence_limit(test.threshold, information, settings)
        self._spike = np.full(3 * self._scopes, np.log(settings.spike_effect))
        self._spike[: self._scopes] = pulled_in_shift(self._spike[: self._scopes], self._scale)
        self._single = noise.white_variance + noise.fast_variance
        self.meanwhile = Meanwhile.new(3 * self._scopes)
        self.rebased = np.zeros(0, dtype=np.int64)
        self._other, self._taken = Alternatives.none(self._scopes), np.zeros(self._scopes)

    def forget(self) -> None:
        """Evidence starts anew; what was reported stays reported."""
        self.state = ShiftState.new(self._profile.shift.noise, len(self._profile.shift.shifts))

    def begin_anew(self, quantities: Floats) -> None:
        """Forget reports and evidence; reports nothing."""
        self.raised.settle(quantities)
        self._reset(quantities)

    def step(
        self,
        now: Floats,
        residual: Floats,
        variance: Floats,
        seen: Floats,
        other: Alternatives,
        taken: tuple[Floats, Floats],
        missed: Floats,
    ) -> list[Event]:
        """Take in a window: recoveries, then alarms.

        Args:
            now: Start of the window, each quantity's own.
            residual: Deviations from what is expected now, reported effects included; changed in place.
            variance: Sampling variances, ``inf`` without data.
            seen: Observations.
            other: What other explanations would add.
            taken: What they have been given already of locations and volumes, ``[S]`` each.
            missed: Whether a job that did not run at its time may still come, ``[S]``.
        """
        events = self._recoveries(now, residual, variance)
        test = self._profile.shift
        self._other, self._taken = other, taken[0]
        self.rivals.before(self.state, other, taken, missed, residual, variance)
        limit = self._limit(residual, variance, taken[0])
        advance_shift(self.state, test.noise, test.shifts, limit, now, residual, variance, seen)
        self.rivals.after(self.state, test.threshold)
        doubtful = self.rivals.doubtful() | (np.abs(taken[0]) > _EXPLAINED)
        parent = self._profile.fleet.parent
        self.otherwise = doubtful | (doubtful[parent] & (parent >= 0))
        return events + self._alarms(now)

    def _limit(self, residual: Floats, variance: Floats, taken: Floats) -> Floats:
        """The most evidence of this window: less where it may be as large as a spike, which must not alarm."""
        here, size = slice(0, self._scopes), self._spike
        edge = size.copy()
        noise = np.sqrt(self._single[here] + np.where(np.isfinite(variance[here]), variance[here], 0.0))
        edge[here] = np.maximum(size[here] - _SPIKE_DOUBT * noise, _SPIKE_LEAST * size[here])
        spike = np.abs(residual) >= edge
        spike[here] |= np.abs(residual[here] + taken) >= edge[here]
        spiked = np.flatnonzero(spike)
        if not len(spiked):
            return self._profile.shift.limit
        limit = self._profile.shift.limit.copy()
        limit[:, spiked] = np.minimum(limit[:, spiked], self._spike_limit[:, spiked])
        return np.asarray(limit)

    def nearly_reported(self) -> Floats:
        """Scopes whose evidence for an upward shift has come half the way to an alarm."""
        half = len(self._profile.shift.shifts) // 2
        share = (self.state.evidence / self._profile.shift.threshold)[:half, : self._scopes].max(axis=0)
        return np.asarray(share > 0.5)

    def parent_raised(self, scope: int) -> bool:
        """Whether the step that this sub-population belongs to is reported as slower.

        A flow does not speak for its steps: which step it is, and another one later, is news.
        """
        fleet = self._profile.fleet
        parent = int(fleet.parent[scope])
        while parent >= 0 and fleet.scopes[parent].step is not None:
            if self.raised.effect[parent] > 0:
                return True
            parent = int(fleet.parent[parent])
        return False

    def _recoveries(self, now: Floats, residual: Floats, variance: Floats) -> list[Event]:
        """Whether raised quantities are back at their old level; adjusts ``residual`` in place where they are."""
        raised, evidence = self.raised, self._settings.resolve_evidence
        on = raised.effect != 0
        self.rebased = np.zeros(0, dtype=np.int64)
        if not on.any():
            return []
        active = on & np.isfinite(variance)
        long_run = np.where(active, variance, 1.0) + self.common
        step = np.where(active, -raised.effect * (residual + 0.5 * raised.effect) / long_run, 0.0)
        step = np.minimum(step, evidence / (self._settings.spike_windows + 1))
        raised.recovery = np.where(active, np.maximum(raised.recovery + step, 0.0), raised.recovery)
        information = np.where(active, 1.0 / long_run, 0.0)
        self.meanwhile.add(on, information * (residual + raised.effect), information)
        self._refine(active & (raised.recovery <= 0), now, residual, long_run)
        over = np.flatnonzero(on & (raised.recovery >= evidence))
        stale = np.flatnonzero(on & (now - raised.detected >= self._settings.rebase_seconds))
        events = [self._resolved(int(q), now) for q in over if raised.told[q]]
        stale = np.setdiff1d(stale, over)
        events += [self._resolved(int(q), now, {REBASED: 1.0}) for q in stale if raised.told[q]]
        residual[over] += raised.effect[over]
        here = self.meanwhile.weight[stale] > 0
        lately = self.meanwhile.score[stale] / np.maximum(self.meanwhile.weight[stale], 1e-300)
        taken = np.where(here, lately, raised.effect[stale])
        self.offset[stale] += taken
        residual[stale] += raised.effect[stale] - taken
        self.rebased = stale[stale < self._scopes]
        self.raised.settle(np.union1d(over, stale))
        self._reset(over)
        return events

    def _refine(self, active: Floats, now: Floats, residual: Floats, long_run: Floats) -> None:
        """An effect seen at the alarm is selected to be large: the windows after it correct it."""
        raised = self.raised
        young = active & (now - raised.detected <= _REFINE_WINDOWS * self._settings.window_seconds)
        if not young.any():
            return
        raised.weight = np.where(young, raised.weight + 1 / long_run, raised.weight)
        change = np.where(young, residual / long_run / np.maximum(raised.weight, 1e-300), 0.0)
        raised.effect += change
        residual -= change

    def _resolved(self, quantity: int, now: Floats, evidence: dict[str, float] | None = None) -> Event:
        scope = quantity % self._scopes
        kind = self._kind(quantity, self.raised.effect[quantity])
        since = float(self.raised.started[quantity])
        moment = float(now[quantity])
        figures = (moment, since, since, since, 0.0, 0.0, 0.0, np.nan, 0.0)
        return Event(EventKind.RESOLVE, scope, -1, *figures, evidence or {}, kind)

    def _reset(self, quantities: Floats) -> None:
        if len(quantities):
            fresh = ShiftState.new(self._profile.shift.noise.take(quantities), len(self._profile.shift.shifts))
            for item in fields(ShiftState):
                getattr(self.state, item.name)[..., quantities] = getattr(fresh, item.name)
            self.rivals.begin_anew(quantities[quantities < self._scopes])

    def _kind(self, quantity: int, effect: float) -> EventKind:
        if quantity < self._scopes:
            return EventKind.UP if effect > 0 else EventKind.DOWN
        return EventKind.VOLUME if quantity < 2 * self._scopes else EventKind.MIX

    def _alarms(self, now: Floats) -> list[Event]:
        state = self.state
        over = state.evidence >= self._profile.shift.threshold
        near = np.flatnonzero(over.any(axis=0))
        if not len(near):
            return []
        # a disturbance that has just ended is not reported: the last window must still show much of the shift
        mean = state.score[:, near] / np.maximum(state.weight[:, near], 1e-30)
        share = np.where(np.abs(mean) >= np.log(self._settings.spike_effect), _LASTING_SPIKE, _LASTING)
        last = state.residual[near] - state.from_fast[:, near] - state.from_slow[:, near]
        lasting = last * np.sign(mean) >= share * np.abs(mean)
        reaching = np.zeros(over.shape, dtype=bool)
        reaching[:, near] = over[:, near] & lasting
        candidates = near[reaching[:, near].any(axis=0)]
        held = [q for q in candidates[candidates < self._scopes] if not self._beats_rivals(int(q), reaching[:, q])]
        candidates = np.setdiff1d(candidates, held)
        events: list[Event] = []
        for quantity in candidates:
            events += self._raise(int(quantity), now)
        self._reset(candidates)
        return events

    def _beats_rivals(self, scope: int, reaching: Floats) -> bool:
        """Whether no other explanation will do; while one will for the step, a sub-population needs more."""
        parent = int(self._profile.fleet.parent[scope]) if self._profile.fleet.scopes[scope].dimensions else -1
        running = self.state.evidence[:, parent] > 0
        doubtful = parent >= 0 and self.rivals.strength(parent) >= MARGIN and not self.rivals.beaten(parent, running)
        return self.rivals.beaten(scope, reaching, PART_MARGIN if doubtful else MARGIN)

    def _job_taken_off(self, quantity: int) -> float:
        """The height of a job that was taken for running at another time when a shift is found on top of it.

        One cause is likelier than two at once: the job did not run, and what was taken for it is part of the shift.
        """
        if quantity >= self._scopes or self._taken[quantity] <= 0:
            return 0.0
        heights = [values[quantity] for values in (self._other.earlier, self._other.later, self._other.again)]
        height = float(self._taken[quantity])
        return height if any(abs(height - float(each)) < _SAME_HEIGHT for each in heights) else 0.0

    def _raise(self, quantity: int, now: Floats) -> list[Event]:
        """Note a shift, and report it unless it only corrects one that is reported already."""
        raised, state, test = self.raised, self.state, self._profile.shift
        best, raw, error = excursion_effect(state, test.noise, quantity)
        clipped = corrected_interval(raw, error)[0]
        if quantity < self._scopes:
            raw, error = _unclipped(raw, error, float(self._scale[quantity]))
        effect, low, high = corrected_interval(raw, error)
        job = self._job_taken_off(quantity) if effect > 0 else 0.0
        effect, high = effect + job, high + job
        was, moment = float(raised.effect[quantity]), float(now[quantity])
        now_effect = was + clipped  # in the units of residuals
        if was != 0 and (now_effect * was <= 0 or abs(now_effect) < 0.25 * abs(was)):
            events = [self._resolved(quantity, now)] if raised.told[quantity] else []
            self.raised.settle(np.array([quantity]))
            return events
        raised.effect[quantity] = now_effect
        raised.weight[quantity], raised.recovery[quantity] = 1 / error**2, 0.0
        if was != 0:
            return []
        scope = quantity % self._scopes
        started, windows = float(state.start[best, quantity]), float(state.windows[best, quantity])
        raised.started[quantity], raised.detected[quantity] = started, moment
        if quantity < self._scopes and self.parent_raised(scope):
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


def _unclipped(effect: float, error: float, scale: float) -> tuple[float, float]:
    """The shift that a pulled-in one stands for, and its error: stretched likewise, and the correction is not sure."""
    true = float(undo_clip(effect, scale))
    further = float(undo_clip(effect + np.copysign(error, effect), scale))
    return true, float(np.hypot(abs(further - true), _CORRECTION_DOUBT * (true - effect)))
