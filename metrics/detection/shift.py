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

__all__ = ["Noise", "ShiftState", "advance_shift", "excursion_effect", "steady_information"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64

_FILTER_CLIP = 3.0  # innovations beyond this many deviations are pulled in before they move the filter
_EVIDENCE_CLIP = 2.5  # evidence for δ counts a residual at most this many deviations beyond δ


@dataclass(slots=True)
class Noise:
    """Noise of scopes ``[S]``: variances in (ln seconds)², correlations from one window to the next."""

    fast_variance: Floats
    fast_correlation: Floats
    slow_variance: Floats
    slow_correlation: Floats
    white_variance: Floats

    def take(self, scopes: Integers) -> Noise:
        """The noise of some scopes."""
        return Noise(*(getattr(self, item.name)[scopes] for item in fields(self)))


@dataclass(slots=True)
class ShiftState:
    """Everything the test remembers: the filter ``[S]`` and each hypothesis ``[J, S]``."""

    fast: Floats
    slow: Floats
    p_fast: Floats
    p_cross: Floats
    p_slow: Floats
    evidence: Floats
    echo_fast: Floats
    echo_slow: Floats
    start: Floats  # window_start of the first window of the excursion
    score: Floats  # Σ w (r − what the filter foretold at the start), w = 1 / variance of a single window
    weight: Floats  # Σ w
    square: Floats  # Σ w²
    from_fast: Floats  # the filter's prediction from before the excursion, fading
    from_slow: Floats
    last: Floats  # the last window's r − what was foretold
    count: Floats  # observations over the excursion
    windows: Floats

    @classmethod
    def new(cls, noise: Noise, hypotheses: int) -> ShiftState:
        """Before the first window: the filter at its stationary distribution."""
        scopes = noise.fast_variance.shape[0]
        zero = np.zeros(scopes)
        grid = [np.zeros((hypotheses, scopes)) for _ in range(12)]
        return cls(
            zero.copy(),
            zero.copy(),
            noise.fast_variance.copy(),
            zero.copy(),
            noise.slow_variance.copy(),
            *grid,
        )


def advance_shift(
    state: ShiftState,
    noise: Noise,
    shifts: Floats,
    limit: Floats,
    now: float | Floats,
    residual: Floats,
    variance: Floats,
    count: Floats,
) -> tuple[Floats, Floats]:
    """Take one window into ``state`` (in place).

    Args:
        state: The state of ``S`` scopes.
        noise: Their noise.
        shifts: The shifts tested for, positive and negative, ``[J, S]`` (log-ratios).
        limit: The most evidence one window may add, ``[J, S]``.
        now: Start of the window (seconds), one or each scope's own.
        residual: Stratified residual ``[S]``; anything where ``variance`` is infinite.
        variance: Sampling variance of the residual ``[S]``, ``inf`` for no data in this window.
        count: Observations ``[S]``.

    Returns:
        Innovations and their variances ``[S]`` (NaN and inf without data).
    """
    f, s = noise.fast_correlation, noise.slow_correlation
    state.fast *= f
    state.slow *= s
    state.p_fast *= f * f
    state.p_fast += noise.fast_variance * (1 - f * f)
    state.p_cross *= f * s
    state.p_slow *= s * s
    state.p_slow += noise.slow_variance * (1 - s * s)
    state.echo_fast *= f
    state.echo_slow *= s
    state.from_fast *= f
    state.from_slow *= s
    seen = np.isfinite(variance)
    spread = np.where(seen, state.p_fast + 2 * state.p_cross + state.p_slow + variance + noise.white_variance, np.inf)
    innovation = np.where(seen, residual - state.fast - state.slow, 0.0)
    root = np.sqrt(np.where(seen, spread, 1.0))
    gain = 1.0 - state.echo_fast - state.echo_slow
    size = gain * np.abs(shifts)
    signed = np.sign(shifts) * innovation
    step = size * (np.minimum(signed, size + _EVIDENCE_CLIP * root) - 0.5 * size) / spread
    np.minimum(step, limit, out=step)
    before = state.evidence
    evidence = np.maximum(before + step, 0.0)
    fresh = (before <= 0) & (evidence > 0)
    running = evidence > 0
    state.start = np.where(fresh, now, state.start)
    state.from_fast = np.where(fresh, state.fast, state.from_fast)
    state.from_slow = np.where(fresh, state.slow, state.from_slow)
    single = 1.0 / (variance + noise.white_variance + noise.fast_variance)
    moved = np.where(seen, residual, 0.0) - state.from_fast - state.from_slow
    state.last = moved
    state.score = np.where(running, state.score + single * moved, 0.0)
    state.weight = np.where(running, state.weight + single, 0.0)
    state.square = np.where(running, state.square + single * single, 0.0)
    state.count = np.where(running, state.count + np.where(seen, count, 0.0), 0.0)
    state.windows = np.where(running, state.windows + seen, 0.0)
    state.evidence = evidence
    k_fast = (state.p_fast + state.p_cross) / spread
    k_slow = (state.p_cross + state.p_slow) / spread
    state.echo_fast = np.where(running, state.echo_fast + k_fast * gain, 0.0)
    state.echo_slow = np.where(running, state.echo_slow + k_slow * gain, 0.0)
    pulled = np.clip(innovation, -_FILTER_CLIP * root, _FILTER_CLIP * root)
    state.fast += k_fast * pulled
    state.slow += k_slow * pulled
    fast, cross = state.p_fast + state.p_cross, state.p_cross + state.p_slow
    state.p_fast = state.p_fast - k_fast * fast
    state.p_slow = state.p_slow - k_slow * cross
    state.p_cross = state.p_cross - k_fast * cross
    return np.where(seen, innovation, np.nan), spread


def excursion_effect(state: ShiftState, noise: Noise, quantity: int) -> tuple[int, float, float]:
    """The hypothesis that explains a quantity's excursions best, the shift since its start, and its standard error.

    The mean of what the filter did not foretell when the excursion began; its error knows that
    neighbouring windows share noise and that the slow level may have moved meanwhile.
    """
    weight = np.maximum(state.weight[:, quantity], 1e-300)
    effect = state.score[:, quantity] / weight
    effective = np.maximum(weight**2 / np.maximum(state.square[:, quantity], 1e-300), 1.0)  # windows
    f = noise.fast_correlation[quantity]
    inflation = (1 + f) / (1 - f) - 2 * f * (1 - f**effective) / (effective * (1 - f) ** 2)
    common = noise.fast_variance[quantity] / effective
    slow = noise.slow_variance[quantity] * (1 - noise.slow_correlation[quantity] ** effective)
    error = np.sqrt(1.0 / weight + common * (inflation - 1.0) + slow)
    worth = np.where(state.evidence[:, quantity] > 0, effect**2 / error**2, -1.0)
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
