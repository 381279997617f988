"""From cells to what is tested: stratified residuals, volumes and mixes of scopes, counts of channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .input import Fleet

__all__ = [
    "VOLUME_FLOOR",
    "ChannelMap",
    "Drift",
    "Grid",
    "ShiftInputs",
    "faded_drift",
    "inputs_of_sums",
    "shift_inputs",
    "volume_terms",
]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64

_DRIFT_MEMORY = 1 - 1 / 15
_DRIFT_PRIOR = 1 / 0.1**2
_DRIFT_INFORMATION = 1 / 0.02**2  # of one window: its common noise is not known better

VOLUME_FLOOR = 5.0  # expected observations a window below which volume is not tested window by window


@dataclass(frozen=True, slots=True)
class Grid:
    """Where each row lies in a dense array of windows and cells."""

    windows: int
    cells: int
    position: Integers

    def add(self, values: Floats) -> Floats:
        """Sums of ``values`` by window and cell, ``[T, C]``."""
        flat = np.bincount(self.position, values, minlength=self.windows * self.cells)
        return flat.reshape(self.windows, self.cells)


@dataclass(frozen=True, slots=True)
class ShiftInputs:
    """What the shift test reads of each window and scope, ``[T, S]``.

    Attributes:
        residual: Stratified deviation of location (ln seconds).
        variance: Its sampling variance, ``inf`` without data.
        count: Observations.
        level: Expected location at the mix as it was (ln seconds), 0 without data.
        mix_variance: Sampling variance of ``level``, ``inf`` where there is but one cell or no data.
    """

    residual: Floats
    variance: Floats
    count: Floats
    level: Floats
    mix_variance: Floats


def shift_inputs(deviation: Floats, level: Floats, count: Floats, spread: Floats, fleet: Fleet) -> ShiftInputs:
    """Add cells up to scopes, each cell weighted by its information: a change of mix moves no residual.

    Args:
        deviation: Location minus level of each cell ``[T, C]``.
        level: Level of each cell ``[T, C]`` (ln seconds).
        count: Observations ``[T, C]``.
        spread: Variance of one observation ``[C]``.
        fleet: The scopes.
    """
    weight = count / spread
    weighted = deviation * weight
    leveled, squared = count * level, count * level**2
    shape = (count.shape[0], len(fleet.scopes))
    top, bottom, seen, first, second = (np.zeros(shape) for _ in range(5))
    several = np.zeros(shape[1], dtype=bool)
    for index, inside in enumerate(fleet.members):
        several[index] = len(inside) > 1
        for target, source in ((top, weighted), (bottom, weight), (seen, count), (first, leveled), (second, squared)):
            target[:, index] = source[:, inside].sum(axis=1)
    return inputs_of_sums(top, bottom, seen, first, second, several)


def inputs_of_sums(
    top: Floats, bottom: Floats, seen: Floats, first: Floats, second: Floats, several: Floats
) -> ShiftInputs:
    """From sums over the cells of scopes.

    Args:
        top: Σ of deviations by weight.
        bottom: Σ of weights.
        seen: Observations.
        first: Σ of levels by observations.
        second: Σ of squared levels by observations.
        several: Scopes of more than one cell.
    """
    some = seen > 0
    total = np.where(some, seen, 1.0)
    mean = np.where(some, first / total, 0.0)
    between = np.maximum(second / total - mean**2, 1e-6)
    with np.errstate(divide="ignore", invalid="ignore"):
        residual = np.where(bottom > 0, top / bottom, 0.0)
        variance = np.where(bottom > 0, 1.0 / bottom, np.inf)
    return ShiftInputs(residual, variance, seen, mean, np.where(some & several, between / total, np.inf))


def volume_terms(count: Floats, expected: Floats) -> tuple[Floats, Floats]:
    """Log-ratio of observations to their expectation, and its Poisson variance (``inf`` where too few are expected)."""
    safe = np.maximum(expected, 1e-9)
    variance = np.where(expected >= VOLUME_FLOOR, 1.0 / np.maximum(safe, VOLUME_FLOOR), np.inf)
    return np.log((count + 0.5) / (safe + 0.5)), variance


@dataclass(slots=True)
class Drift:
    """Where the location of each scope has been lately: a mean of residuals that forgets, ``[S]``.

    Tails are judged beside it, so that a shift of everything is not called a tail.
    """

    score: Floats
    weight: Floats

    @classmethod
    def new(cls, scopes: int) -> Drift:
        """Before the first window."""
        return cls(np.zeros(scopes), np.zeros(scopes))

    def advance(self, residual: Floats, variance: Floats) -> Floats:
        """Take in a window; returns the recent shift of each scope, shrunk to 0 while little is known."""
        seen = np.isfinite(variance)
        self.score *= _DRIFT_MEMORY
        self.weight *= _DRIFT_MEMORY
        information = np.where(seen, 1.0 / np.where(seen, variance, 1.0), 0.0)
        information = np.minimum(information, _DRIFT_INFORMATION)
        self.score += information * np.where(seen, np.clip(residual, -1.0, 1.0), 0.0)
        self.weight += information
        return np.asarray(self.score / (self.weight + _DRIFT_PRIOR))


def faded_drift(residual: Floats, variance: Floats) -> Floats:
    """:meth:`Drift.advance` of every window ``[T, S]`` at once, up to a thousandth of what it remembers.

    The sums that forget are built by doubling: what reaches back 2k windows is what reaches back k windows, now and
    k windows ago.
    """
    information = np.minimum(1.0 / variance, np.float32(_DRIFT_INFORMATION))
    score = information * np.clip(residual, -1.0, 1.0)
    for values in (information, score):
        lag, memory = 1, _DRIFT_MEMORY
        while memory > 1e-3 and lag < len(values):
            values[lag:] += values[:-lag] * np.float32(memory)
            lag, memory = 2 * lag, memory * memory
    information += np.float32(_DRIFT_PRIOR)
    score /= information
    return np.asarray(score)


@dataclass(frozen=True, slots=True)
class ChannelMap:
    """Pairs of cell and outcome column, and which channel each belongs to.

    Attributes:
        pairs: The distinct pairs, ``[P, 2]``.
        group: Pairs that share a prior rate (same family and column), ``[P]``.
        member_pair: Pair of each membership.
        member_channel: Channel of each membership.
        member_share: One over the number of pairs of the same cell in the channel: its trials count once.
    """

    pairs: Integers
    group: Integers
    member_pair: Integers
    member_channel: Integers
    member_share: Floats

    @classmethod
    def of(cls, fleet: Fleet) -> ChannelMap:
        """The map of a fleet's failure channels."""
        sizes = [len(channel.pairs) for channel in fleet.channels]
        flat = chain.from_iterable(chain.from_iterable(channel.pairs for channel in fleet.channels))
        cell, column = np.fromiter(flat, dtype=np.int64, count=2 * sum(sizes)).reshape(-1, 2).T
        member_channel = np.repeat(np.arange(len(sizes)), sizes)
        # numbers stand for pairs of numbers: they are found several times as fast
        width = int(column.max(initial=0)) + 1
        keys, member_pair = np.unique(cell * width + column, return_inverse=True)
        pairs = np.stack(np.divmod(keys, width), axis=1)
        group = np.unique(fleet.family[pairs[:, 0]] * width + pairs[:, 1], return_inverse=True)[1]
        alike = np.unique(cell * max(len(sizes), 1) + member_channel, return_inverse=True)[1]
        share = 1.0 / np.bincount(alike)[alike] if len(cell) else np.zeros(0)
        return cls(pairs, group, member_pair, member_channel, share)

    def over_time(
        self,
        fleet: Fleet,
        tails: Sequence[Floats],
        tail_rate: Floats,
        trials: Floats,
        failed: Sequence[Floats],
        tried: Sequence[Floats],
        rate: Floats,
    ) -> tuple[Floats, Floats, Floats]:
        """Counts, expectations and trials ``[T, J]``: tails of every scope, then the failure channels.

        Args:
            fleet: Scopes and channels.
            tails: Observations beyond each tail edge, ``[T, C]`` each.
            tail_rate: Usual share beyond, ``[C, len(tails)]``.
            trials: Observations with a histogram, ``[T, C]``.
            failed: Failures by outcome column, ``[T, C]`` each.
            tried: Trials by outcome column, ``[T, C]`` each.
            rate: Usual failure rate of each pair, ``[P]``.
        """
        windows, kinds, scopes = len(trials), len(tails), len(fleet.scopes)
        shape = (windows, kinds * scopes + len(fleet.channels))
        y, mean, total = (np.zeros(shape) for _ in range(3))
        for index, inside in enumerate(fleet.members):
            for k in range(kinds):
                y[:, kinds * index + k] = tails[k][:, inside].sum(axis=1)
                mean[:, kinds * index + k] = trials[:, inside] @ tail_rate[inside, k]
                total[:, kinds * index + k] = trials[:, inside].sum(axis=1)
        for member in range(len(self.member_pair)):
            pair, channel = self.member_pair[member], kinds * scopes + self.member_channel[member]
            cell, column = self.pairs[pair]
            if column < len(failed):
                y[:, channel] += failed[column][:, cell]
                mean[:, channel] += rate[pair] * tried[column][:, cell]
                total[:, channel] += self.member_share[member] * tried[column][:, cell]
        return y, mean, total
