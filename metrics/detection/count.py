"""The test for a lasting change of a rate of counts: failed checks, bad verdicts, observations in the tail.

Page's CUSUM of the Poisson log-likelihood ratio ``y ln R − μ(R − 1)`` for several ratios ``R``. Counts that vary
more than Poisson's (bursts, common causes) divide the evidence of a window by ``1 + ωμ``, so that a larger expectation,
from more traffic or another mix, does not by itself make evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXCESS_CLIP", "CountState", "advance_count", "at_ratio", "count_information"]

Floats = NDArray[Any]  # float64, the state float32

_AT_ONCE = 8_192  # channels whose arithmetic stays within a core's cache

EXCESS_CLIP = 2.5  # evidence for a ratio counts at most this many deviations, and one, beyond what it foretells


@dataclass(slots=True)
class CountState:
    """Evidence for each ratio and channel, and sums since it last left zero, ``[K, J]``; single precision but times."""

    evidence: Floats
    start: Floats
    failed: Floats
    expected: Floats
    tried: Floats
    windows: Floats

    @classmethod
    def new(cls, ratios: int, channels: int) -> CountState:
        """Before the first window."""
        shape = ratios, channels
        return cls(
            **{
                item.name: np.zeros(shape, dtype=np.float64 if item.name == "start" else np.float32)
                for item in fields(cls)
            }
        )

    def part(self, channels: slice) -> CountState:
        """Some channels; a view."""
        parts = (self.evidence, self.start, self.failed, self.expected, self.tried, self.windows)
        return CountState(*(each[:, channels] for each in parts))

    def clear(self, channels: Any) -> None:
        """Forget the evidence of some channels, by number."""
        for item in fields(self):
            getattr(self, item.name)[:, channels] = 0.0


def advance_count(
    state: CountState,
    ratios: Floats,
    dispersion: Floats,
    limit: Floats,
    now: float | Floats,
    failed: Floats,
    expected: Floats,
    tried: Floats,
) -> None:
    """Take one window into ``state`` (in place).

    Args:
        state: The state of ``J`` channels.
        ratios: Ratios of the rate tested for, ``[K]``.
        dispersion: Variance of a window's count is ``μ(1 + dispersion·μ)``, ``[J]``.
        limit: The most evidence one window may add, ``[K, J]``.
        now: Start of the window, one or each channel's own.
        failed: Counts ``[J]``.
        expected: Expected counts ``[J]``.
        tried: Trials ``[J]``.
    """
    clock = np.asarray(now, dtype=np.float64)
    one_time = clock.ndim == 0
    for begin in range(0, len(failed), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        at = clock if one_time else clock[part]
        single = (np.asarray(each[part], dtype=np.float32) for each in (dispersion, failed, expected, tried))
        _advance(state.part(part), ratios, limit[:, part], at, *single)


def _advance(
    state: CountState, ratios: Floats, limit: Floats, now: Floats,
    dispersion: Floats, failed: Floats, expected: Floats, tried: Floats,
) -> None:  # fmt: skip
    """:func:`advance_count` for as many channels as fit into the cache; failures are few, and looked at alone."""
    ratio = ratios.astype(np.float32)[:, None]
    scale = 1 + dispersion * expected
    step = (1 - ratio) * (expected / scale)
    hit = np.flatnonzero(failed)
    if len(hit):
        usual, wide, seen = expected[hit], scale[hit], failed[hit]
        most = ratio * usual + EXCESS_CLIP * np.sqrt(ratio) * np.sqrt(usual * wide) + 1
        step[:, hit] += np.minimum(seen, most) * np.log(ratio) / wide
    np.minimum(step, limit, out=step, casting="same_kind")
    was = state.evidence > 0
    state.evidence += step
    np.maximum(state.evidence, np.float32(0), out=state.evidence)
    running = state.evidence > 0
    on = running.astype(np.float32)
    if len(hit):
        state.failed[:, hit] += seen * on[:, hit]
    state.expected += np.multiply(on, expected, out=step)
    state.tried += np.multiply(on, tried, out=step)
    state.windows += on
    changed = np.flatnonzero(was != running)
    if not len(changed):
        return
    row, channel = np.divmod(changed, len(expected))
    begun = running[row, channel]
    row_begun, at = row[begun], channel[begun]
    state.start[row_begun, at] = now if now.ndim == 0 else now[at]
    row, channel = row[~begun], channel[~begun]
    for total in (state.failed, state.expected, state.tried, state.windows):
        total[row, channel] = 0.0


def at_ratio(mean: Floats, ratio: Floats) -> Floats:
    """Expected counts at other rates: ``ratio`` is a logarithm, 0 for nearly all; ``mean`` itself if for all."""
    place = np.flatnonzero(ratio)
    if not len(place):
        return mean
    out = mean.copy()
    out[place] *= np.exp(ratio[place])
    return np.asarray(out)


def count_information(expected: Floats, dispersion: Floats, ratios: Floats) -> Floats:
    """Information (nats) a window for each ratio, ``[K, J]``: ``μ(R ln R − R + 1)/(1 + ωμ)``."""
    ratio = ratios[:, None]
    return np.asarray(expected * (ratio * np.log(ratio) - ratio + 1) / (1 + dispersion * expected))
