"""Failures that became fewer: the count test the other way round. It is reported, never paged.

Thresholds are those of theory (:func:`~.threshold.solve_threshold`) for one false report in ten months over all
channels together; they are not corrected by history, as nobody is woken by them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baseline.baseline import Profile
from ..baseline.budget import TAILS
from .count import CountState, advance_count, count_information
from .events import REBASED, Event, EventKind
from .raised import Raised
from .settings import MONTH_SECONDS, DetectionSettings
from .threshold import solve_threshold

__all__ = ["ImprovementFollower"]

Floats = NDArray[Any]  # float64

_RATIOS = np.array([1 / 1.5, 1 / 2.0, 1 / 4.0])
_MONTHS = 10.0
_DISPERSION_LIMIT = 1.0
_WIDTH = 2.3  # as in :mod:`.interval`
_LEAST = 0.01  # failures: a rate of nothing has no logarithm


class ImprovementFollower:
    """Count tests ``[J]`` as in :class:`~.follow_rates.RateFollower`; tails are left out.

    Attributes:
        state: The count test.
        improved: What is reported.
    """

    def __init__(self, profile: Profile, settings: DetectionSettings, scope: Floats) -> None:
        self._profile, self._settings, self._scope = profile, settings, scope
        test, tests = profile.count, len(profile.count.rate)
        self._tails = len(profile.fleet.scopes) * len(TAILS)
        information = count_information(test.expected, test.dispersion, _RATIOS)
        rate = settings.window_seconds / MONTH_SECONDS / _MONTHS / max(tests - self._tails, 1) / len(_RATIOS)
        self._threshold = solve_threshold(information[None], np.ones(1), np.asarray(rate))
        watched = np.isfinite(test.threshold).any(axis=0) & (np.arange(tests) >= self._tails) & (test.expected > 0)
        self._threshold = np.where(watched, self._threshold, np.inf)
        self._limit = np.where(watched, self._threshold, 1.0) / (2.0 * settings.spike_windows)
        self._whole = {
            channel.scope: self._tails + number
            for number, channel in enumerate(profile.fleet.channels)
            if channel.check is None
        }
        self.state = CountState.new(len(_RATIOS), tests)
        self.improved = Raised.new(tests)

    def forget(self) -> None:
        """Evidence starts anew; what was reported stays reported."""
        self.state = CountState.new(*self.state.evidence.shape)

    def begin_anew(self, channels: Floats) -> None:
        """Forget reports and evidence of failure channels; reports nothing."""
        tests = (channels + self._tails).astype(np.int64)
        self.improved.settle(tests)
        self._clear(tests)

    def step(
        self, now: Floats, failed: Floats, mean: Floats, tried: Floats, failing: Floats, accepted: Floats
    ) -> list[Event]:
        """Take in a window: ends of improvements, then new ones.

        Args:
            now: Start of the window, each test's own.
            failed: Counts.
            mean: Expected counts at the usual rate.
            tried: Trials.
            failing: Whether more failures are reported: their end is a recovery, no improvement.
            accepted: Rates accepted since the profile was learnt, log-ratios; changed in place where an improvement
                has lasted so long that it is the usual rate now.
        """
        test, state, improved = self._profile.count, self.state, self.improved
        worse = np.flatnonzero(failing)
        if len(worse):
            mean, failed = mean.copy(), failed.copy()
            mean[worse], failed[worse] = 0.0, 0.0
        events = self._ends(now, failed, mean, accepted)
        on = np.flatnonzero(improved.effect)
        if len(on):
            mean = mean.copy()
            mean[on] = 0.0
        advance_count(state, _RATIOS, test.dispersion, self._limit, now, failed, mean, tried)
        self._clear(np.concatenate([on, worse]))
        found = np.flatnonzero((state.evidence >= self._threshold).any(axis=0))
        if not len(found):
            return events
        found = found[np.argsort(~np.isin(found, list(self._whole.values())), kind="stable")]  # wider ones first
        for test_number in found:
            over = state.evidence[:, test_number] - self._threshold[:, test_number]
            events += self._raise(int(test_number), int(over.argmax()), now)
        self._clear(found)
        return events

    def _clear(self, tests: Floats) -> None:
        self.state.clear(tests)

    def _ends(self, now: Floats, failed: Floats, mean: Floats, accepted: Floats) -> list[Event]:
        """Rates that are back at their old level, or have kept the new one."""
        improved, enough = self.improved, self._settings.resolve_evidence
        on = improved.effect != 0
        if not on.any():
            return []
        lower = mean * np.exp(improved.effect)
        step = np.where(
            on, (lower - mean - failed * improved.effect) / (1 + self._profile.count.dispersion * mean), 0.0
        )
        improved.recovery = np.maximum(improved.recovery + np.minimum(step, enough / 4), 0.0) * on
        back = on & (improved.recovery >= enough)
        kept = on & ~back & (now - improved.detected >= self._settings.rebase_seconds)
        events = [self._end(int(number), now, {}) for number in np.flatnonzero(back & (improved.told > 0))]
        events += [
            self._end(int(number), now, {REBASED: 1.0}) for number in np.flatnonzero(kept & (improved.told > 0))
        ]  # fmt: skip
        accepted[kept] += improved.effect[kept]
        improved.settle(np.flatnonzero(back | kept))
        return events

    def _end(self, number: int, now: Floats, evidence: dict[str, float]) -> Event:
        since = float(self.improved.started[number])
        figures = (float(now[number]), since, since, since, 0.0, 0.0, 0.0, np.nan, 0.0)
        return Event(
            EventKind.RESOLVE, int(self._scope[number]), number - self._tails, *figures, evidence, EventKind.FEWER
        )  # fmt: skip

    def _raise(self, number: int, best: int, now: Floats) -> list[Event]:
        state, improved = self.state, self.improved
        failed, expected = float(state.failed[best, number]), max(float(state.expected[best, number]), 1e-12)
        windows, tried = max(float(state.windows[best, number]), 1.0), float(state.tried[best, number])
        dispersion = min(float(self._profile.count.dispersion[number]), _DISPERSION_LIMIT)
        effect, low, high = _fewer(failed, expected, dispersion / windows)
        started, moment = float(state.start[best, number]), float(now[number])
        improved.effect[number], improved.started[number], improved.detected[number] = effect, started, moment
        improved.recovery[number] = 0.0
        scope = int(self._scope[number])
        if self._spoken_for(number, scope):
            return []
        improved.told[number] = 1.0
        information = max(expected / windows * (np.exp(effect) * (effect - 1) + 1), 1e-6)
        doubt = min(3.0 / information, windows) * self._settings.window_seconds
        evidence = {
            "statistic": float(state.evidence[best, number]),
            "threshold": float(self._threshold[best, number]),
            "failed": failed,
            "expected": expected,
            "windows": windows,
        }
        ends = (started - doubt, min(started + doubt, moment))
        figures = (effect, low, high, expected / max(tried, 1.0), tried)
        return [Event(EventKind.FEWER, scope, number - self._tails, moment, started, *ends, *figures, evidence)]

    def _spoken_for(self, number: int, scope: int) -> bool:
        """Whether a report about the whole scope, or about the step it belongs to, says it already."""
        fleet = self._profile.fleet
        while scope >= 0:
            whole = self._whole.get(scope, -1)
            if whole not in {-1, number} and self.improved.effect[whole] != 0:
                return True
            scope = int(fleet.parent[scope]) if fleet.scopes[scope].dimensions else -1
        return False


def _fewer(failed: float, expected: float, variance: float) -> tuple[float, float, float]:
    """The log-ratio of failures to what was expected of them, and its interval, which allows for selection.

    Byar's approximation to the exact Poisson limits (Breslow & Day 1987, IARC 82, page 69), as a symmetric interval of
    the logarithm says nothing when next to nothing failed; ``variance`` is that of rates from window to window.
    """
    more = failed + 1.0
    high = more * (1 - 1 / (9 * more) + _WIDTH / (3 * more**0.5)) ** 3
    low = failed * max(1 - 1 / (9 * failed) - _WIDTH / (3 * failed**0.5), 0.0) ** 3 if failed else 0.0
    wider = _WIDTH * variance**0.5
    effect = min(float(np.log((failed + 0.25) / (expected + 0.25))), -1e-3)
    bounds = np.log(np.maximum([low, high], _LEAST) / expected)
    return effect, min(float(bounds[0]) - wider, effect), max(float(bounds[1]) + wider, effect)
