"""Follows failure rates and tails: alarms of the count test and recovery."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baseline.baseline import Profile
from ..baseline.budget import TAILS
from .count import CountState, advance_count, at_ratio
from .events import REBASED, Event, EventKind
from .follow_shifts import ShiftFollower
from .interval import rate_interval
from .raised import Meanwhile, Raised
from .settings import DetectionSettings

__all__ = ["RateFollower"]

Floats = NDArray[Any]  # float64

_DISPERSION_LIMIT = 1.0  # for intervals only: a rate that wanders by its own size from window to window
_FEWEST_FAILURES = 4.0
_HELD_TAIL = 1.5  # times the threshold that a tail needs while a shift is about to be reported


class RateFollower:
    """Count tests ``[J]``: two tails of every scope, then the failure channels.

    Attributes:
        state: The count test.
        failing: What is reported.
        meanwhile: Failures, and failures expected, of what is reported and of tails of what is shifted.
        accepted: Rates accepted since the profile was learnt, log-ratios.
        scope: Scope of each test.
    """

    def __init__(self, profile: Profile, settings: DetectionSettings, tested: Floats, *, long_enough: bool) -> None:
        self._profile, self._settings = profile, settings
        self._scopes, tests = len(profile.fleet.scopes), len(profile.count.rate)
        channel_scope = np.array([channel.scope for channel in profile.fleet.channels], dtype=np.int64)
        self.scope = np.concatenate([np.repeat(np.arange(self._scopes), len(TAILS)), channel_scope])
        self._is_tail = np.arange(tests) < self._scopes * len(TAILS)
        self._tested = np.where(self._is_tail, tested[self.scope], long_enough)
        self.state = CountState.new(len(profile.count.ratios), tests)
        self.failing = Raised.new(tests)
        self.accepted = np.zeros(tests)
        self.meanwhile = Meanwhile.new(tests)

    def forget(self) -> None:
        """Evidence starts anew; what was reported stays reported."""
        self.state = CountState.new(*self.state.evidence.shape)

    def begin_anew(self, scopes: Floats, channels: Floats) -> None:
        """Forget reports and evidence of the tails of ``scopes`` and of ``channels``; reports nothing.

        Tails that are reported keep their present rate as the usual one.
        """
        tails = (scopes[:, None] * len(TAILS) + np.arange(len(TAILS))).ravel()
        self.accepted[tails] += self.failing.effect[tails]
        tests = np.concatenate([tails, channels + len(TAILS) * self._scopes]).astype(np.int64)
        self.failing.settle(tests)
        self.state.clear(tests)

    def step(
        self, now: Floats, failed: Floats, mean: Floats, tried: Floats, drift: Floats, shifts: ShiftFollower
    ) -> list[Event]:
        """Take in a window: recoveries, then alarms.

        Args:
            now: Start of the window, each test's own.
            failed: Counts.
            mean: Expected counts as learnt.
            tried: Trials.
            drift: Where the location of each scope has been lately, ``[S]``.
            shifts: What is said of locations: a shift of everything is not called a tail.
        """
        test, state, failing = self._profile.count, self.state, self.failing
        if not len(test.rate):
            return []
        self._take_for_normal(shifts)
        usual = at_ratio(mean, self.accepted)
        mean = at_ratio(usual, failing.effect)
        if mean is usual:
            mean = usual.copy()
        tails = slice(0, self._profile.tail_slope.size)
        mean[tails] *= np.exp(self._profile.tail_slope * drift[:, None]).ravel()
        moved = np.repeat(shifts.raised.effect[: self._scopes] != 0, len(TAILS))
        reported = failing.effect != 0
        reported[tails] |= moved
        self.meanwhile.add(reported, failed, usual)
        # a tail that comes with what else would explain a shift is no news either
        moved |= np.repeat(shifts.otherwise, len(TAILS))
        left_out = ~self._tested
        left_out[tails] |= moved
        out = np.flatnonzero(left_out)
        if len(out):
            failed = failed.copy()
            failed[out], mean[out] = 0.0, 0.0
        events = self._recoveries(now, failed, mean)
        advance_count(state, test.ratios, test.dispersion, test.limit, now, failed, mean, tried)
        state.evidence[:, np.flatnonzero(moved)] = 0.0
        for channel, best in self._over(shifts):
            events += self._raise(channel, best, now, shifts)
            state.clear(channel)
        return events

    def _over(self, shifts: ShiftFollower) -> list[tuple[int, int]]:
        """Tests over their threshold, and the ratio that is most so."""
        state = self.state
        near = np.flatnonzero((state.evidence >= self._profile.count.threshold).any(axis=0))
        if not len(near):
            return []
        held = np.zeros(len(near), dtype=bool)
        tail = self._is_tail[near]
        held[tail] = shifts.nearly_reported()[self.scope[near[tail]]]
        height = np.where(held, _HELD_TAIL, 1.0) * self._profile.count.threshold[:, near]
        over = np.where(state.failed[:, near] >= _FEWEST_FAILURES, state.evidence[:, near] - height, -np.inf)
        return [(int(near[place]), int(over[:, place].argmax())) for place in np.flatnonzero(over.max(axis=0) >= 0)]

    def _take_for_normal(self, shifts: ShiftFollower) -> None:
        """Where a shift was taken for normal, so is what it did to the tails."""
        if len(shifts.rebased):
            tails = (shifts.rebased[:, None] * len(TAILS) + np.arange(len(TAILS))).ravel()
            self.accepted[tails] += self._lately(tails)

    def _lately(self, tests: Floats) -> Floats:
        """By how much rates have moved of late, log-ratios."""
        return np.asarray(np.log((self.meanwhile.score[tests] + 0.5) / (self.meanwhile.weight[tests] + 0.5)))

    def _recoveries(self, now: Floats, failed: Floats, mean: Floats) -> list[Event]:
        failing, test, evidence = self.failing, self._profile.count, self._settings.resolve_evidence
        on = failing.effect != 0
        if not on.any():
            return []
        # mean is at the raised rate: back at the old one it is smaller by the ratio
        usual = mean * np.exp(-failing.effect)
        step = np.where(on, (mean - usual - failed * failing.effect) / (1 + test.dispersion * usual), 0.0)
        failing.recovery = np.maximum(failing.recovery + np.minimum(step, evidence / 4), 0.0) * on
        back = on & (failing.recovery >= evidence)
        over = np.flatnonzero(back)
        stale = np.flatnonzero(on & ~back & (now - failing.detected >= self._settings.rebase_seconds))
        events = []
        for channel in [*over, *stale]:
            since, moment = float(failing.started[channel]), float(now[channel])
            kind = EventKind.TAIL if self._is_tail[channel] else EventKind.FAIL
            scope, number = int(self.scope[channel]), self._channel_number(int(channel))
            if failing.told[channel]:
                resolve = (moment, since, since, since, 0.0, 0.0, 0.0, np.nan, 0.0)
                why = {} if back[channel] else {REBASED: 1.0}
                events.append(Event(EventKind.RESOLVE, scope, number, *resolve, why, kind))
        self.accepted[stale] += self._lately(stale)
        failing.settle(np.concatenate([over, stale]))
        return events

    def _channel_number(self, channel: int) -> int:
        return -1 if self._is_tail[channel] else channel - len(TAILS) * self._scopes

    def _raise(self, channel: int, best: int, now: Floats, shifts: ShiftFollower) -> list[Event]:
        state, test, failing = self.state, self._profile.count, self.failing
        failed, expected = float(state.failed[best, channel]), max(float(state.expected[best, channel]), 1e-12)
        windows, tried = max(float(state.windows[best, channel]), 1.0), float(state.tried[best, channel])
        # Learnt from next to no failures, the dispersion is anybody's guess: more than this it cannot say of the rest.
        dispersion = min(float(test.dispersion[channel]), _DISPERSION_LIMIT)
        on = state.evidence[:, channel] > 0
        since = state.failed[on, channel], state.expected[on, channel], state.windows[on, channel]
        effect, low, high = rate_interval(*since, dispersion)
        was, moment = float(failing.effect[channel]), float(now[channel])
        failing.effect[channel] = was + effect
        failing.recovery[channel] = 0.0
        if was != 0:
            return []
        started = float(state.start[best, channel])
        failing.started[channel], failing.detected[channel] = started, moment
        scope, tail = int(self.scope[channel]), bool(self._is_tail[channel])
        twin = channel ^ 1  # the other tail of the same scope: one cause, one deviation
        if tail and (failing.effect[twin] != 0 or shifts.parent_raised(scope)):
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
