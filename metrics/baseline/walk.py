"""Running the tests over history, many series and many stretches of time at once.

What :func:`~..detection.shift.advance_shift` and :func:`~..detection.count.advance_count` do window by window is done
here for the evidence alone, in single precision and in place. A history is cut into stretches that
are run side by side: each begins some blocks early, so that at its own first window the test knows nearly what it would
know in one go (evidence returns to zero many times in a day).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.count import EXCESS_CLIP
from ..detection.shift import EVIDENCE_CLIP, FILTER_CLIP, Noise

__all__ = ["ABSENT", "count_peaks", "shift_peaks"]

Floats = NDArray[Any]  # float32 or float64
Integers = NDArray[Any]  # int64

ABSENT = 1e15  # the variance of a window without data: it says nothing, and its inverse is still a normal number
_WIDTH = 6_144  # series times stretches that are run side by side


@dataclass(frozen=True, slots=True)
class _Stretches:
    """How a history of ``blocks`` blocks is cut: ``number`` stretches of ``length`` windows after ``lead`` more."""

    number: int
    length: int
    lead: int
    block: int
    blocks: int

    @classmethod
    def of(cls, windows: int, series: int, block: int, lead: int) -> _Stretches:
        blocks = -(-windows // block)
        number = int(np.clip(_WIDTH // max(series, 1), 1, max(blocks // (4 * lead), 1)))
        each = -(-blocks // number)
        number = -(-blocks // each)
        return cls(number, each * block, lead * block if number > 1 else 0, block, blocks)

    def rows(self, values: Floats, absent: float) -> Callable[[int], Floats]:
        """The windows of all stretches at a step of ``values [T, Q]``: ``[number * Q]``, overwritten by the next call.

        Before the beginning and after the end of the history there is ``absent``.
        """
        windows, series = values.shape
        padded = np.full((self.lead + self.number * self.length, series), absent, dtype=np.float32)
        padded[self.lead : self.lead + windows] = values
        rows, columns = padded.strides
        shape = (self.lead + self.length, self.number, series)
        steps = np.lib.stride_tricks.as_strided(padded, shape, (rows, self.length * rows, columns), writeable=False)
        out = np.empty((self.number, series), dtype=np.float32)
        flat = out.reshape(-1)

        def at(step: int) -> Floats:
            np.copyto(out, steps[step])
            return flat

        return at

    def joined(self, peaks: Floats, series: int) -> Floats:
        """``[…, blocks of a stretch, number * Q]`` as ``[…, blocks, Q]``."""
        *front, each, _ = peaks.shape
        apart = peaks.reshape(*front, each, self.number, series)
        return np.moveaxis(apart, -2, -3).reshape(*front, each * self.number, series)[..., : self.blocks, :]

    def tiled(self, values: Floats) -> Floats:
        return np.tile(values.astype(np.float32), self.number)


def shift_peaks(
    residual: Floats, variance: Floats, noise: Noise, shifts: Floats, threshold: Floats, limit: Floats, block: int
) -> Floats:
    """Block maxima of evidence over threshold, up and down, ``[2, B, Q]``: as :func:`advance_shift` would find them.

    Args:
        residual: Residuals ``[T, Q]`` on consecutive windows, 0 without data.
        variance: Sampling variances ``[T, Q]``, ``inf`` or :data:`ABSENT` without data.
        noise: Noise of the quantities.
        shifts: Shifts tested for ``[J, Q]``, the first half up, the second half down, of the same sizes.
        threshold: Thresholds ``[J, Q]``.
        limit: The most evidence of one window ``[J, Q]``.
        block: Windows of a block.
    """
    windows, series = residual.shape
    hypotheses = len(shifts)
    cut = _Stretches.of(windows, series, block, 2)
    if not (variance <= ABSENT).all():
        variance = np.minimum(variance, ABSENT)
    r, v = cut.rows(residual, 0.0), cut.rows(variance, ABSENT)
    evidence = _Walk(cut, noise, shifts, limit)
    top = np.zeros((hypotheses, cut.number * series), dtype=np.float32)
    most = np.zeros((cut.length // block, *top.shape), dtype=np.float32)
    for t in range(cut.lead + cut.length):
        np.maximum(top, evidence.advance(r(t), v(t)), out=top)
        if (t + 1) % block == 0:
            if t >= cut.lead:
                most[(t - cut.lead) // block] = top
            top[:] = 0.0
    most -= cut.tiled(threshold)
    half = hypotheses // 2
    sides = np.stack([most[:, :half].max(axis=1), most[:, half:].max(axis=1)])
    return cut.joined(sides, series)


class _Walk:
    """The evidence of the shift test, and what it needs: the filter and the echo of each hypothesis."""

    def __init__(self, cut: _Stretches, noise: Noise, shifts: Floats, limit: Floats) -> None:
        f, s = cut.tiled(noise.fast_correlation), cut.tiled(noise.slow_correlation)
        fast, slow = cut.tiled(noise.fast_variance), cut.tiled(noise.slow_variance)
        self._f, self._s, self._ff, self._fs, self._ss = f, s, f * f, f * s, s * s
        self._add_fast, self._add_slow = fast * (1 - f * f), slow * (1 - s * s)
        self._white = cut.tiled(noise.white_variance)
        self._half_size, self._limit = cut.tiled(np.abs(shifts) / 2), cut.tiled(limit)
        self._level_fast, self._level_slow = np.zeros_like(f), np.zeros_like(f)
        self._p_fast, self._p_cross, self._p_slow = fast.copy(), np.zeros_like(f), slow.copy()
        shape = self._half_size.shape
        self._evidence, self._echo_fast, self._echo_slow, self._gain, self._step, self._half = (
            np.zeros(shape, dtype=np.float32) for _ in range(6)
        )
        self._running, self._zero = (np.zeros(shape, dtype=np.float32) for _ in range(2))

    def advance(self, residual: Floats, variance: Floats) -> Floats:
        """Take one window; returns the evidence ``[J, W]``, which the next call overwrites."""
        innovation, spread = self._predict(residual, variance)
        inverse, root = 1.0 / spread, np.sqrt(spread)
        k_fast, k_slow = (self._p_fast + self._p_cross) * inverse, (self._p_cross + self._p_slow) * inverse
        root_of_clip = root * EVIDENCE_CLIP
        self._weigh(innovation, inverse + inverse, root_of_clip, (k_fast, k_slow))
        root *= FILTER_CLIP
        np.minimum(np.maximum(innovation, -root), root, out=innovation)
        self._level_fast += k_fast * innovation
        self._level_slow += k_slow * innovation
        fast, cross = self._p_fast + self._p_cross, self._p_cross + self._p_slow
        self._p_fast -= k_fast * fast
        self._p_slow -= k_slow * cross
        self._p_cross -= k_fast * cross
        return self._evidence

    def _predict(self, residual: Floats, variance: Floats) -> tuple[Floats, Floats]:
        self._level_fast *= self._f
        self._level_slow *= self._s
        self._p_fast *= self._ff
        self._p_fast += self._add_fast
        self._p_cross *= self._fs
        self._p_slow *= self._ss
        self._p_slow += self._add_slow
        spread = self._p_cross * 2.0
        spread += self._p_fast
        spread += self._p_slow
        spread += variance
        spread += self._white
        innovation = residual - self._level_fast
        innovation -= self._level_slow
        return innovation, spread

    def _weigh(self, innovation: Floats, double_inverse: Floats, clip: Floats, gains: tuple[Floats, Floats]) -> None:
        """The step of every hypothesis, in place; see :func:`~..detection.shift.advance_shift` for the formulas.

        With ``h`` half of what the filter leaves of the shift, a step is ``2h · min(r − h, h + clip) / v``.
        """
        gain, step, half, running = self._gain, self._step, self._half, self._running
        self._echo_fast *= self._f
        self._echo_slow *= self._s
        np.add(self._echo_fast, self._echo_slow, out=gain)
        np.subtract(1.0, gain, out=gain)
        np.multiply(gain, self._half_size, out=half)
        middle = len(step) // 2
        np.subtract(innovation, half[:middle], out=step[:middle])
        np.subtract(-innovation, half[middle:], out=step[middle:])
        np.add(half, clip, out=running)
        np.minimum(step, running, out=step)
        step *= half
        step *= double_inverse
        np.minimum(step, self._limit, out=step)
        self._evidence += step
        np.maximum(self._evidence, self._zero, out=self._evidence)  # an array: with a scalar it is three times slower
        np.greater(self._evidence, 0.0, out=running)
        for echo, k in zip((self._echo_fast, self._echo_slow), gains, strict=True):
            np.multiply(gain, k, out=step)
            np.add(echo, step, out=echo)
            np.multiply(echo, running, out=echo)


def count_peaks(
    failed: Floats,
    mean: Floats,
    season: tuple[Floats, Integers],
    ratios: Floats,
    dispersion: Floats,
    threshold: Floats,
    limit: Floats,
    block: int,
) -> Floats:
    """Block maxima of evidence over threshold, ``[B, J]``: as :func:`advance_count` would find them.

    Args:
        failed: Counts ``[T, J]`` on consecutive windows.
        mean: Expected counts ``[T, J]`` but for their season.
        season: Shape of the rates by hour ``[24, J]`` and the hour of each window ``[T]``.
        ratios: Ratios tested for ``[K]``.
        dispersion: Over-dispersion of a window ``[J]``.
        threshold: Thresholds ``[K, J]``.
        limit: The most evidence of one window ``[K, J]``.
        block: Windows of a block.
    """
    windows, channels = failed.shape
    cut = _Stretches.of(windows, channels, block, 4)
    y, mu = cut.rows(failed, 0.0), cut.rows(mean, 0.0)
    shape, hour = season[0].astype(np.float32), cut.rows(season[1][:, None].astype(np.float32), 0.0)
    size = cut.number * channels
    ratio = ratios.astype(np.float32)[:, None]
    gain, loss, spread_ratio = np.log(ratio), ratio - 1, EXCESS_CLIP * np.sqrt(ratio)
    spread, most_step = cut.tiled(dispersion), cut.tiled(limit)
    evidence, step, cost, top, zero = (np.zeros((len(ratios), size), dtype=np.float32) for _ in range(5))
    most = np.zeros((cut.length // block, *evidence.shape), dtype=np.float32)
    for t in range(cut.lead + cut.length):
        expected = mu(t) * shape[hour(t).astype(np.int64)].reshape(-1)
        scale = 1.0 / (1.0 + spread * expected)
        np.multiply(ratio, expected, out=cost)
        np.multiply(spread_ratio, np.sqrt(expected / scale), out=step)
        step += cost
        step += 1.0
        np.minimum(step, y(t), out=step)
        step *= scale
        step *= gain
        expected *= scale
        np.multiply(loss, expected, out=cost)
        step -= cost
        np.minimum(step, most_step, out=step)
        evidence += step
        np.maximum(evidence, zero, out=evidence)
        np.maximum(top, evidence, out=top)
        if (t + 1) % block == 0:
            if t >= cut.lead:
                most[(t - cut.lead) // block] = top
            top[:] = 0.0
    most -= cut.tiled(threshold)
    return cut.joined(most.max(axis=1), channels)
