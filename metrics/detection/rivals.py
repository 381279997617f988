"""Rival explanations: an alarm must beat them, not only "no change".

What a moved clock, a job at another time or a job that did not run would do to the location of a scope is known from
its season: a path of offsets, one a window. While evidence for a shift runs, the likelihood of each path is followed
with the same filter (Page's CUSUM with an offset that changes with time), and so is that of the best constant shift,
``A²/2B`` with ``A = Σ g·ν/s``, ``B = Σ g²/s`` over innovations ``ν`` of variance ``s`` to which a unit shift adds
``g``. A shift is reported only when it explains the windows since its start better than every rival by
:data:`MARGIN`. A real shift does not have the shape of the season an hour away, does not end when the job would, and a
moved clock moves traffic too: a shift is held back for as long as it looks the same and no longer.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .clock import Alternatives
from .shift import Noise, ShiftState

__all__ = ["MARGIN", "PART_MARGIN", "RivalState", "Rivals"]

Floats = NDArray[Any]  # float64

MARGIN = 3.0  # nats
PART_MARGIN = 8.0  # the same for a sub-population while a rival explains its step
_CLOCKS = 2  # the first rows of paths; then the job at another time, then the job that did not run
_JOB = 2
_AGAINST, _FOR = 2.0, 0.25  # nats that the traffic of one window may say against and for a moved clock
_TRAFFIC = 0.5  # traffic has bursts that its noise model does not know: it counts half
_DOUBT = 0.2  # share by which a job or the season of another hour may differ from what was learnt
_OVERTIME_SECONDS = 300.0  # by which a job may be longer or shorter than usual
_AT_ONCE = 4_096  # scopes whose arithmetic stays within a core's cache
_UNSEEN = 1e30  # the variance of a window without data, as a number
_TINY = 1e-30
_RUNNING = 0.1  # share of the threshold below which no shift is in question


@dataclass(slots=True)
class RivalState:
    """Of each path ``[4, S]`` A, B and its echo in the filter; of each hypothesis of the test ``[J, S]`` A and B."""

    path_score: Floats
    path_information: Floats
    echo_fast: Floats
    echo_slow: Floats
    traffic: Floats  # what traffic says of moved clocks (nats), [2, S]
    traffic_fast: Floats
    traffic_slow: Floats
    age: Floats  # windows that a job elsewhere would have been running, [S]
    score: Floats
    information: Floats

    @classmethod
    def new(cls, scopes: int, hypotheses: int) -> RivalState:
        """Nothing is in question."""
        paths, clocks, tests = ((each, scopes) for each in (4, _CLOCKS, hypotheses))
        shapes = (*[paths] * 4, *[clocks] * 3, (scopes,), tests, tests)
        return cls(*(np.zeros(shape, dtype=np.float32) for shape in shapes))

    def part(self, scopes: slice) -> RivalState:
        """Some scopes; a view."""
        return RivalState(*(getattr(self, item.name)[..., scopes] for item in fields(self)))

    @property
    def evidence(self) -> Floats:
        """Log-likelihood ratio of each path against no change, at the height within its range that fits best."""
        height = np.clip(self.path_score / np.maximum(self.path_information, _TINY), 1 - _DOUBT, 1 + _DOUBT)
        out = height * self.path_score - 0.5 * height**2 * self.path_information
        out[:_CLOCKS] += self.traffic
        return np.asarray(out)


@dataclass(frozen=True, slots=True)
class _Foretold:
    """What the filter of the shift test foretells of a window, before the window is taken in."""

    f: Floats
    s: Floats
    innovation: Floats
    spread: Floats
    k_fast: Floats
    k_slow: Floats

    def faded(self, fast: Floats, slow: Floats) -> Floats:
        """What is left of an echo a window later."""
        return np.asarray(self.f * fast + self.s * slow)

    def echo(self, fast: Floats, slow: Floats, path: Floats, running: Floats) -> None:
        """Let the filter follow a path, in place; what does not run leaves no echo."""
        fast[...] = running * (self.f * fast + self.k_fast * path)
        slow[...] = running * (self.s * slow + self.k_slow * path)


class Rivals:
    """Follows rival explanations of the locations of ``S`` scopes; call :meth:`before` and :meth:`after` the test."""

    def __init__(self, noise: Noise, scopes: int, hypotheses: int, window_seconds: float) -> None:
        self._noise = noise.take(slice(0, scopes)), noise.take(slice(scopes, 2 * scopes))
        self._scopes = scopes
        self._overtime = _OVERTIME_SECONDS / window_seconds
        self.state = RivalState.new(scopes, hypotheses)

    def before(
        self,
        shift: ShiftState,
        other: Alternatives,
        taken: tuple[Floats, Floats],
        missed: Floats,
        residual: Floats,
        variance: Floats,
    ) -> None:
        """Weigh a window, before :func:`~.shift.advance_shift` takes it in.

        Args:
            shift: The test's state, ``[3S]``.
            other: What the rivals would add.
            taken: What has been taken off the residuals of locations and volumes already, ``[S]`` each.
            missed: Whether a job that did not run at its time may still come, ``[S]``.
            residual: Residuals as the test gets them, ``[3S]``.
            variance: Their variances.
        """
        for begin in range(0, self._scopes, _AT_ONCE):
            place = slice(begin, min(begin + _AT_ONCE, self._scopes))
            traffic = slice(self._scopes + begin, self._scopes + place.stop)
            here = Alternatives(*(getattr(other, item.name)[..., place] for item in fields(Alternatives)))
            location = _foretell(shift.part(place), self._noise[0].take(place), residual[place], variance[place])
            volume = _foretell(shift.part(traffic), self._noise[1].take(place), residual[traffic], variance[traffic])
            gain = 1.0 - location.faded(shift.echo_fast[:, place], shift.echo_slow[:, place])
            part = taken[0][place], taken[1][place]
            self._weigh(self.state.part(place), here, part, missed[place], gain, location, volume)

    def _weigh(
        self,
        state: RivalState,
        other: Alternatives,
        taken: tuple[Floats, Floats],
        missed: Floats,
        gain: Floats,
        location: _Foretold,
        volume: _Foretold,
    ) -> None:
        """:meth:`before` for as many scopes as fit into the cache."""
        told = location.innovation / location.spread
        state.score += gain * told
        state.information += gain**2 / location.spread
        faded = location.faded(state.echo_fast, state.echo_slow)
        least, middle, most = (
            np.subtract(each, taken[0], dtype=np.float32) for each in self._offsets(state.age, other, missed)
        )
        # jobs are known to some minutes: at their edges the offset that fits best speaks for a rival
        path = np.where(most > least, np.clip(location.innovation + faded, least, most), middle) - faded
        state.path_score += path * told
        state.path_information += path**2 / location.spread
        moved = np.subtract(other.volume, taken[1], dtype=np.float32)
        moved -= volume.faded(state.traffic_fast, state.traffic_slow)
        heard = _TRAFFIC * moved * (volume.innovation - 0.5 * moved) / volume.spread
        state.traffic += np.clip(heard, -_AGAINST, _FOR)
        running = state.evidence > 0
        state.age += 1
        state.age *= running[_JOB]
        state.path_score *= running
        state.path_information *= running
        state.traffic *= running[:_CLOCKS]
        location.echo(state.echo_fast, state.echo_slow, path, running)
        volume.echo(state.traffic_fast, state.traffic_slow, moved, running[:_CLOCKS])

    def after(self, shift: ShiftState, threshold: Floats) -> None:
        """Forget the rivals of what is no longer in question, after the test took the window in."""
        evidence = shift.evidence[:, : self._scopes]
        running = evidence > 0
        self.state.score *= running
        self.state.information *= running
        self.begin_anew(np.flatnonzero((evidence < _RUNNING * threshold[:, : self._scopes]).all(axis=0)))

    def begin_anew(self, scopes: Floats) -> None:
        """Forget the rivals of some scopes."""
        state = self.state
        for item in fields(RivalState):
            if item.name not in ("score", "information"):
                getattr(state, item.name)[..., scopes] = 0.0

    def restart(self, scopes: Floats) -> None:
        """Forget the rivals of some scopes, and the shifts in question too."""
        self.begin_anew(scopes)
        self.state.score[:, scopes] = self.state.information[:, scopes] = 0.0

    def doubtful(self) -> Floats:
        """Scopes of which a rival explains the last windows, and some upward shift in question not better, ``[S]``."""
        half = len(self.state.score) // 2
        score, information = np.maximum(self.state.score[:half], 0.0), self.state.information[:half]
        likelihood = np.where(score > 0, score**2 / (2 * np.maximum(information, _TINY)), np.inf)
        strength = self.state.evidence.max(axis=0)
        return np.asarray((strength >= MARGIN) & ((likelihood - strength < MARGIN).any(axis=0)))

    def strength(self, scope: int) -> float:
        """Evidence (nats) of the best rival of a scope."""
        return float(self.state.evidence[:, scope].max())

    def beaten(self, scope: int, reaching: Floats, margin: float = MARGIN) -> bool:
        """Whether shifts of a scope explain the windows since they began better than every rival, by ``margin``.

        Args:
            scope: The scope.
            reaching: Hypotheses that have come to their threshold, ``[J]``; each of them must be better.
            margin: By how much (nats).
        """
        score, information = self.state.score[reaching, scope], self.state.information[reaching, scope]
        likelihood = score**2 / (2 * np.maximum(information, _TINY))
        return bool((likelihood - self.strength(scope) >= margin).all())

    def _offsets(self, age: Floats, other: Alternatives, missed: Floats) -> tuple[Floats, Floats, Floats]:
        """Least, middle and most offset of each rival, ``[4, S]``."""
        spare = self._overtime
        elsewhere = np.maximum(np.maximum(other.earlier, other.again), np.where(missed, other.later, 0.0))
        elsewhere = elsewhere * (age <= other.duration + spare)
        middle = np.concatenate([other.location, np.stack([elsewhere, np.minimum(-other.job, 0.0)])])
        least, most = (np.concatenate([each, middle[_CLOCKS:]]) for each in (other.least, other.most))
        over = age >= np.maximum(other.duration - spare, 1.0)
        least[_JOB] = np.where(over, 0.0, least[_JOB])
        return least, middle, most


def _foretell(shift: ShiftState, noise: Noise, residual: Floats, variance: Floats) -> _Foretold:
    f, s, fast, slow, white = (
        np.asarray(each, dtype=np.float32)
        for each in (
            noise.fast_correlation,
            noise.slow_correlation,
            noise.fast_variance,
            noise.slow_variance,
            noise.white_variance,
        )
    )
    p_fast = shift.p_fast * f * f + fast * (1 - f * f)
    p_cross = shift.p_cross * f * s
    p_slow = shift.p_slow * s * s + slow * (1 - s * s)
    seen = np.isfinite(variance)
    sampling = np.where(seen, variance, _UNSEEN).astype(np.float32)
    spread = p_fast + 2 * p_cross + p_slow + sampling + white
    innovation = np.where(seen, residual, 0.0).astype(np.float32) - f * shift.fast - s * shift.slow
    return _Foretold(f, s, innovation * seen, spread, (p_fast + p_cross) / spread, (p_cross + p_slow) / spread)
