"""Intervals for what a report says: rates, percentiles, and changes between two periods.

Three sources of doubt are told apart. *Sampling*: other customers would have given other figures; Wilson's
interval and order statistics answer that for one period. *Common noise*: customers of the same minute share
a server, so observations are not independent and a change between periods looks surer than it is; resampling
blocks of time answers that. *Resolution*: the sketch keeps durations to within 1 %, which every reader is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import hypot, isfinite, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from .level_step import level_step

__all__ = [
    "CONFIDENCE",
    "Change",
    "Interval",
    "Resamples",
    "Statistic",
    "rank_interval",
    "student_quantile",
    "wilson_interval",
]

CONFIDENCE = 0.95
_RESAMPLES = 400
_FEWEST_BLOCKS = 8  # fewer say nothing about how blocks differ
_MANY = 1_000_000  # degrees of freedom of a standard error that needs no estimating
_SEED = 20_260_314  # figures must be the same in every format and on every run


@dataclass(frozen=True, slots=True)
class Interval:
    """``low`` to ``high`` around ``value``, all in the same unit."""

    value: float
    low: float
    high: float


def wilson_interval(successes: int, total: int, confidence: float = CONFIDENCE) -> Interval | None:
    """Wilson's score interval of a rate; ``None`` without observations.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953. Unlike the textbook interval it is never empty at
    0 or 1. It takes the observations as independent.
    """
    if total <= 0:
        return None
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = successes / total
    centre = (rate + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == total else min(1.0, centre + half)
    return Interval(rate, low, high)


def rank_interval(total: int, quantile: float, confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """Ranks (from 1) of the order statistics that enclose a quantile; ``None`` when ``total`` is too small.

    The number of observations below the true quantile is binomial, so the probability that it lies between
    the two order statistics needs no assumption about durations. Source: David & Nagaraja, Order Statistics,
    3rd ed., section 7.1, doi:10.1002/0471722162. It takes the observations as independent.
    """
    if total <= 0:
        return None
    first, weights = _binomial(total, quantile)
    cumulative = np.cumsum(weights)
    tail = (1 - confidence) / 2
    below = int(np.searchsorted(cumulative, tail, side="right"))  # largest k with P(X < k) <= tail
    above = int(np.searchsorted(cumulative, 1 - tail, side="left"))
    low, high = first + below, first + above + 1
    return None if low < 1 or high > total else (low, high)


def _binomial(total: int, probability: float) -> tuple[int, NDArray[np.float64]]:
    """First count and weights of a binomial distribution, ten standard deviations to each side of its mode."""
    mode = int((total + 1) * probability)
    reach = int(10 * sqrt(total * probability * (1 - probability))) + 10
    first, last = max(0, mode - reach), min(total, mode + reach)
    counts = np.arange(first, last, dtype=np.float64)
    steps = np.log((total - counts) / (counts + 1) * (probability / (1 - probability)))
    logs = np.concatenate(([0.0], np.cumsum(steps)))
    weights = np.exp(logs - logs.max())
    return first, weights / weights.sum()


def student_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t: Hill's expansion, Algorithm 396, doi:10.1145/355598.355600; within 0.1 % from 5 on."""
    z = NormalDist().inv_cdf(probability)
    n = float(freedom)
    z2 = z * z
    return z * (
        1
        + (z2 + 1) / (4 * n)
        + ((5 * z2 + 16) * z2 + 3) / (96 * n**2)
        + (((3 * z2 + 19) * z2 + 17) * z2 - 15) / (384 * n**3)
        + ((((79 * z2 + 776) * z2 + 1482) * z2 - 1920) * z2 - 945) / (92160 * n**4)
    )


@dataclass(frozen=True, slots=True)
class Change:
    """How a figure differs between two periods.

    Attributes:
        value: The difference of the statistic (``after - before``); a log-ratio when the statistic is a logarithm.
        low: Lower end of the 95 % interval.
        high: Upper end.
        surely: Half width of the interval at the confidence that allows for all comparisons made together;
            ``|value| > surely`` is evidence of a change.
        detectable: Smallest change that would have been called evidence in four of five such comparisons.
        blocks: Independent blocks of time behind the widest standard error; 0 when only sampling was counted.
    """

    value: float
    low: float
    high: float
    surely: float
    detectable: float
    blocks: int


Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Resamples:
    """Two periods' counts, whole and resampled by blocks of time, from which any number of changes is told.

    Blocks of time are resampled as wholes (Künsch 1989, doi:10.1214/aos/1176347265), so that noise common to the
    customers of a minute widens the interval. Equal places of both periods are drawn together, which takes the time
    of day out of it. Blocks are also joined into longer ones, up to where eight remain, and the widest standard
    error counts: wander from day to day is not averaged away. Where the level changed for good within a period,
    see :mod:`.level_step`, the blocks before and after that moment are resampled apart: a step is what is to be
    told, and must not pass for noise.

    Attributes:
        before: ``(1, columns)`` counts of the compared period.
        after: ``(1, columns)`` counts of the period of interest.
        levels: ``(degrees of freedom, resampled before, resampled after)``, from the shortest blocks to the longest.
    """

    before: NDArray[np.float64]
    after: NDArray[np.float64]
    levels: tuple[tuple[int, NDArray[np.float64], NDArray[np.float64]], ...]

    @classmethod
    def of(cls, before: NDArray[np.number], after: NDArray[np.number]) -> Resamples:
        """Resample ``(blocks, columns)`` counts in order of time; pairs them when there are as many in both.

        Columns are in the order of what they count: buckets from the fastest, or one outcome and the other.
        """
        levels = []
        most = min(before.shape[0], after.shape[0]) // _FEWEST_BLOCKS
        step = level_step(before, after) if most else None
        if step is not None:
            most = max(1, min(most, step // 2, (after.shape[0] - step) // 2))
        for joined in sorted({1, round(sqrt(most)), most} if most else ()):
            if step is not None:
                left, right = _drawn_apart(before, after, joined, step)
                blocks = step // joined + (after.shape[0] - step) // joined
                levels.append((blocks - 2, left, right))
                continue
            left, right = _joined(before, joined), _joined(after, joined)
            weights = _weights(left.shape[0])
            other = weights if left.shape[0] == right.shape[0] else _weights(right.shape[0], 1)
            levels.append((min(left.shape[0], right.shape[0]) - 1, weights @ left, other @ right))
        return cls(_total(before), _total(after), tuple(levels))

    def change(
        self,
        statistic: Statistic,
        *,
        sampling_error: float,
        wander: float = 0.0,
        comparisons: int = 1,
        factors: tuple[float, float] = (1.0, 1.0),
    ) -> Change | None:
        """The change of a statistic, with Student's t interval of the blocks' degrees of freedom.

        Args:
            statistic: Maps ``(rows, columns)`` of counts to one number a row; ``nan`` where it has none.
            sampling_error: Standard error of the change if observations were independent: the least there is.
            wander: Standard deviation of the change between periods in which nothing happened, as far as the blocks
                cannot show it: days differ from each other, and a day has no eight days in it.
            comparisons: How many comparisons are judged together (Bonferroni).
            factors: What the statistic of the compared period and of this one is multiplied by: a contrast such as
                ``after - 1.25 * before`` tells whether a ratio is exceeded.

        Returns:
            The change, or ``None`` when the statistic has no value in one of the periods.
        """

        def difference(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
            return factors[1] * statistic(after) - factors[0] * statistic(before)

        value = float(difference(self.before, self.after)[0])
        if not isfinite(value) or not isfinite(sampling_error):
            return None
        error, freedom, blocks = hypot(sampling_error, wander), _MANY, 0
        for free, before, after in self.levels:
            found = hypot(_standard_error(difference(before, after), free + 1), wander)
            if found * student_quantile(0.975, free) > error * student_quantile(0.975, freedom):
                error, freedom, blocks = found, free, free + 1
        half = error * student_quantile(0.5 + CONFIDENCE / 2, freedom)
        surely = error * student_quantile(1 - (1 - CONFIDENCE) / 2 / max(1, comparisons), freedom)
        detectable = surely + error * student_quantile(0.8, freedom)
        return Change(value, value - half, value + half, surely, detectable, blocks)


def _drawn_apart(
    before: NDArray[np.number], after: NDArray[np.number], joined: int, step: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Resamples whose blocks before and after a step are drawn apart; as many blocks in both periods."""
    sums = [np.zeros((_RESAMPLES, counts.shape[1])) for counts in (before, after)]
    for place, part in enumerate((slice(None, step), slice(step, None))):
        left, right = (_joined(counts[part], joined) for counts in (before, after))
        weights = _weights(left.shape[0], place)
        sums = [sums[0] + weights @ left, sums[1] + weights @ right]
    return sums[0], sums[1]


def _total(blocks: NDArray[np.number]) -> NDArray[np.float64]:
    return np.asarray(blocks.sum(axis=0, keepdims=True), dtype=np.float64)


def _joined(blocks: NDArray[np.number], size: int) -> NDArray[np.float64]:
    """Sums of ``size`` consecutive blocks; a shorter rest at the end joins the last one."""
    if size == 1:
        return blocks.astype(np.float64)
    starts = np.arange(0, max(1, blocks.shape[0] - size + 1), size)
    return np.asarray(np.add.reduceat(blocks, starts, axis=0), dtype=np.float64)


@lru_cache(maxsize=16)
def _weights(blocks: int, draw: int = 0) -> NDArray[np.float64]:
    """How often each block is drawn, ``(resamples, blocks)``; the same at every call, so that figures are."""
    random = np.random.default_rng((_SEED, draw) if draw else _SEED)
    return random.multinomial(blocks, np.full(blocks, 1 / blocks), size=_RESAMPLES).astype(np.float64)


def _standard_error(changes: NDArray[np.float64], blocks: int) -> float:
    """Standard error of a change over resamples; 0 when too few of them have a value."""
    finite = changes[np.isfinite(changes)]
    if finite.size < _RESAMPLES // 2:
        return 0.0
    return float(finite.std(ddof=1) * sqrt(blocks / (blocks - 1)))
