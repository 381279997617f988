"""The test for a lasting shift of location under noise that is common to a window and correlated over windows.

Model of a scope's stratified residual ``r_t`` (ln seconds): ``r_t = δ·1(t ≥ k) + fast_t + slow_t + e_t``
with two stationary first-order autoregressions and white noise of variance ``1/Σ w + white``. A Kalman
filter turns it into independent innovations; the log-likelihood ratio of "a shift δ began at k" against
"no shift" is then exact, and Page's CUSUM of it is the minimax rule (Moustakides 1986,
doi:10.1214/aos/1176350164). The response of the innovations to a unit step is carried along with
each hypothesis. One increment is limited so that a disturbance of a few windows cannot alarm.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "EVIDENCE_CLIP",
    "FILTER_CLIP",
    "Noise",
    "ShiftState",
    "advance_shift",
    "excursion_effect",
    "steady_information",
]

Floats = NDArray[Any]  # float64, the state float32
Integers = NDArray[Any]  # int64

FILTER_CLIP = 3.0  # innovations beyond this many deviations are pulled in before they move the filter
EVIDENCE_CLIP = 2.5  # evidence for δ counts a residual at most this many deviations beyond δ
_AT_ONCE = 4_096  # scopes whose arithmetic stays within a core's cache
_UNSEEN = 1e15  # the variance of a window without data, as a number: it says nothing


@dataclass(slots=True)
class Noise:
    """Noise of scopes ``[S]``: variances in (ln seconds)², correlations from one window to the next."""

    fast_variance: Floats
    fast_correlation: Floats
    slow_variance: Floats
    slow_correlation: Floats
    white_variance: Floats

    def take(self, scopes: Integers | slice) -> Noise:
        """The noise of some scopes."""
        return Noise(*(getattr(self, item.name)[scopes] for item in fields(self)))


@dataclass(slots=True)
class ShiftState:
    """Everything the test remembers: the filter ``[S]`` and each hypothesis ``[J, S]``; 408 bytes for eight of them.

    In single precision but for times: rounding is far below the noise of a window, and half the bytes are half the
    time, since a fleet's state does not fit into a processor's cache.
    """

    fast: Floats
    slow: Floats
    p_fast: Floats
    p_cross: Floats
    p_slow: Floats
    residual: Floats  # the last window's, 0 without data
    evidence: Floats
    echo_fast: Floats
    echo_slow: Floats
    start: Floats  # window_start of the first window of the excursion
    score: Floats  # Σ w (r − what the filter foretold at the start), w = 1 / variance of a single window
    weight: Floats  # Σ w
    square: Floats  # Σ w²
    from_fast: Floats  # the filter's prediction from before the excursion, fading
    from_slow: Floats
    count: Floats  # observations over the excursion
    windows: Floats

    @classmethod
    def new(cls, noise: Noise, hypotheses: int) -> ShiftState:
        """Before the first window: the filter at its stationary distribution."""
        scopes = noise.fast_variance.shape[0]
        single: dict[str, Any] = {
            item.name: np.zeros((hypotheses, scopes), dtype=np.float64 if item.name == "start" else np.float32)
            for item in fields(cls)
        }
        for name in ("fast", "slow", "p_fast", "p_cross", "p_slow", "residual"):
            single[name] = np.zeros(scopes, dtype=np.float32)
        single["p_fast"] += noise.fast_variance
        single["p_slow"] += noise.slow_variance
        return cls(**single)

    @property
    def last(self) -> Floats:
        """The last window's residual less what was foretold for it when the excursion began, ``[J, S]``."""
        return np.asarray(self.residual - self.from_fast - self.from_slow)

    def part(self, scopes: slice) -> ShiftState:
        """Some scopes; a view, so that what is done to it is done to the whole."""
        return ShiftState(*(getattr(self, name)[..., scopes] for name in _NAMES))


_NAMES = tuple(item.name for item in fields(ShiftState))


def advance_shift(
    state: ShiftState,
    noise: Noise,
    shifts: Floats,
    limit: Floats,
    now: float | Floats,
    residual: Floats,
    variance: Floats,
    count: Floats,
) -> None:
    """Take one window into ``state`` (in place).

    Args:
        state: The state of ``S`` scopes.
        noise: Their noise.
        shifts: The shifts tested for ``[J, S]`` (log-ratios), the first half up, the second half down.
        limit: The most evidence one window may add, ``[J, S]``.
        now: Start of the window (seconds), one or each scope's own.
        residual: Stratified residual ``[S]``; anything where ``variance`` is infinite.
        variance: Sampling variance of the residual ``[S]``, ``inf`` for no data in this window.
        count: Observations ``[S]``.
    """
    clock = np.asarray(now, dtype=np.float64)
    for begin in range(0, len(residual), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        at = clock if clock.ndim == 0 else clock[part]
        seen = np.isfinite(variance[part])
        single = (
            np.where(seen, residual[part], 0.0).astype(np.float32),
            np.where(seen, variance[part], _UNSEEN).astype(np.float32),
            np.where(seen, count[part], 0.0).astype(np.float32),
            seen.astype(np.float32),
        )
        _advance(state.part(part), noise.take(part), shifts[:, part], limit[:, part], at, *single)


def _advance(
    state: ShiftState, noise: Noise, shifts: Floats, limit: Floats, now: Floats,
    residual: Floats, variance: Floats, count: Floats, seen: Floats,
) -> None:  # fmt: skip
    """:func:`advance_shift` for as many scopes as fit into the cache, single precision throughout."""
    f, s, fast_variance, slow_variance, white = (
        np.asarray(each, dtype=np.float32)
        for each in (
            noise.fast_correlation,
            noise.slow_correlation,
            noise.fast_variance,
            noise.slow_variance,
            noise.white_variance,
        )
    )
    np.copyto(state.residual, residual)
    for fading, factor in ((state.fast, f), (state.slow, s), (state.p_fast, f * f), (state.p_cross, f * s)):
        np.multiply(fading, factor, out=fading)
    state.p_fast += fast_variance * (1 - f * f)
    state.p_slow *= s * s
    state.p_slow += slow_variance * (1 - s * s)
    if not seen.any() and not state.evidence.any():
        return  # a window that says nothing (no mix of a single cell, no data) of what nothing is known about
    for fading, factor in (
        (state.echo_fast, f),
        (state.echo_slow, s),
        (state.from_fast, f),
        (state.from_slow, s),
    ):
        np.multiply(fading, factor, out=fading)
    spread = state.p_fast + 2 * state.p_cross + state.p_slow + variance + white
    innovation = (residual - state.fast - state.slow) * seen
    root = np.sqrt(spread)
    gain = 1 - (state.echo_fast + state.echo_slow)
    idle = state.evidence <= 0
    _weigh(state.evidence, gain, shifts, limit, innovation, spread, root)
    running = state.evidence > 0
    idle &= running
    np.copyto(state.start, now, where=idle)
    np.copyto(state.from_fast, state.fast, where=idle)
    np.copyto(state.from_slow, state.slow, where=idle)
    on = running.astype(np.float32)
    weight = seen / (variance + white + fast_variance)
    state.score += state.last * weight
    for total, value in (
        (state.weight, weight),
        (state.square, weight * weight),
        (state.count, count),
        (state.windows, seen),
    ):
        np.add(total, value, out=total)
        np.multiply(total, on, out=total)
    state.score *= on
    fast, cross = state.p_fast + state.p_cross, state.p_cross + state.p_slow
    k_fast, k_slow = fast / spread, cross / spread
    for echo, k in ((state.echo_fast, k_fast), (state.echo_slow, k_slow)):
        np.add(echo, k * gain, out=echo)
        np.multiply(echo, on, out=echo)
    root *= FILTER_CLIP
    pulled = np.minimum(np.maximum(innovation, -root), root)
    state.fast += k_fast * pulled
    state.slow += k_slow * pulled
    state.p_fast -= k_fast * fast
    state.p_slow -= k_slow * cross
    state.p_cross -= k_fast * cross


def _weigh(
    evidence: Floats, gain: Floats, shifts: Floats, limit: Floats, innovation: Floats, spread: Floats, root: Floats
) -> None:
    """Add a window's log-likelihood ratio ``g(min(r, g + 2.5σ) − g/2)/σ²``, ``g`` = gain · |shift|, not below 0."""
    size = np.abs(shifts, dtype=np.float32)
    size *= gain
    step = size + EVIDENCE_CLIP * root
    half = len(step) // 2
    np.minimum(step[:half], innovation, out=step[:half])
    np.minimum(step[half:], -innovation, out=step[half:])
    step *= size
    size *= size
    size *= 0.5
    step -= size
    step /= spread
    np.minimum(step, limit, out=step, casting="same_kind")
    evidence += step
    np.maximum(evidence, np.zeros(evidence.shape[1], dtype=np.float32), out=evidence)


def excursion_effect(state: ShiftState, noise: Noise, quantity: int) -> tuple[int, float, float]:
    """The hypothesis that explains a quantity's excursions best, the shift since its start, and its standard error.

    The mean of what the filter did not foretell when the excursion began; its error knows that
    neighbouring windows share noise and that the slow level may have moved meanwhile.
    """
    total, square, score, evidence = (
        each[:, quantity].astype(np.float64) for each in (state.weight, state.square, state.score, state.evidence)
    )
    weight = np.maximum(total, 1e-300)
    effect = score / weight
    effective = np.maximum(weight**2 / np.maximum(square, 1e-300), 1.0)  # windows
    f = noise.fast_correlation[quantity]
    inflation = (1 + f) / (1 - f) - 2 * f * (1 - f**effective) / (effective * (1 - f) ** 2)
    common = noise.fast_variance[quantity] / effective
    slow = noise.slow_variance[quantity] * (1 - noise.slow_correlation[quantity] ** effective)
    level = state.p_slow[quantity]  # how surely the level before the excursion is known
    error = np.sqrt(1.0 / weight + common * (inflation - 1.0) + slow + level)
    worth = np.where(evidence > 0, effect**2 / error**2, -1.0)
    best = int(worth.argmax())
    return best, float(effect[best]), float(error[best])


def steady_information(noise: Noise, variance: Floats, shifts: Floats) -> Floats:
    """Information (nats) a window for each shift ``[J, S]``, once the noise has been averaged: δ² / 2v.

    ``v = variance + white + fast·(1+ρ)/(1−ρ)`` is the long-run variance; the slow wander is left out (over the
    hours in which a shift is to be found it is a level, not noise).
    """
    f = noise.fast_correlation
    long_run = variance + noise.white_variance + noise.fast_variance * (1 + f) / (1 - f)
    return np.asarray(shifts**2 / (2 * long_run))
