"""Which dimension values carry a change: pure arithmetic on cells before and after.

**Mix and within.** With after-weights ``p1`` (today's customers) the change of the mean of log durations splits
exactly into ``within = Σ p1 (m1 - m0)`` and ``mix = Σ (p1 - p0) m0`` (E. Kitagawa, "Components of a difference
between two rates", JASA 50, 1955, doi:10.1080/01621459.1955.10501299, in the weighting that asks what
*today's* customers would have got before). For failure rates the same split is taken in logarithms:
``ln Q1/Q0 = ln Q1/Q* + ln Q*/Q0`` with ``Q* = Σ p1 q0``.

**Who.** Every dimension value, and every pair of values of two dimensions, is a candidate. The squared
standardised difference between its change and that of the rest must pass a threshold that allows for the number of
candidates (Bonferroni), with every cell allowed to move by 2 % on its own; and the value must have changed by
a quarter of the whole change more than the rest. Found values are set aside and the rest is searched again. When
no candidate passes, the answer is *everyone alike, as far as the data can tell*.

What it does not say: that the value is the cause. Customers of one version may differ in other ways.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .attribution_search import Pairs, name_values

__all__ = ["Attribution", "CellCounts", "Concentration", "Contribution", "attribute_failures", "attribute_latency"]

Floats = NDArray[Any]  # float64

_Z95 = 1.959964
_WANDER = 0.02  # log-ratio by which levels of cells move on their own


class Concentration(StrEnum):
    """Where a change is."""

    SOME = "some"  # some dimension values changed differently from the rest
    EVERYONE = "everyone"  # all values changed alike, as far as the data can tell
    UNKNOWN = "unknown"  # not enough data to say either


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one dimension value (or a pair) contributes to a change.

    ``effect`` is its own log-ratio, after against before; ``share`` is the part of the whole change
    it explains (it may exceed 1 when the rest improved). Bounds are at 95 %. ``is_new`` means there
    was no such value before: its effect is against comparable customers.
    """

    dimensions: tuple[tuple[str, str], ...]
    effect: float
    effect_low: float
    effect_high: float
    share: float
    share_low: float
    share_high: float
    observations: int
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Attribution:
    """Where a change is, ranked by explained share; ``within + mix = total``, all log-ratios.

    ``within`` is what the groups changed themselves, ``mix`` what their changed proportions did.
    ``reason`` says why when the concentration is unknown.
    """

    concentration: Concentration
    total: float
    within: float
    mix: float
    contributions: tuple[Contribution, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CellCounts:
    """One span of time, by cell ``[C]``: observations, and either durations or failures.

    ``sum_log`` and ``sum_log_sq`` are Σ ln d and Σ (ln d)² of ``count`` answers, d in seconds; ``failed`` of
    ``tried`` observations failed.
    """

    count: Floats
    sum_log: Floats
    sum_log_sq: Floats
    tried: Floats
    failed: Floats


def attribute_latency(cells: Sequence[Mapping[str, str]], before: CellCounts, after: CellCounts) -> Attribution:
    """Attribute a change of log duration to dimension values.

    Args:
        cells: Dimension values of each cell; a whole flow's cells have their step among them.
        before: The span to compare with.
        after: The span since the change began.
    """
    n0, n1 = before.count, after.count
    if n0.sum() < 2 or n1.sum() < 2:
        return _unknown("too few answers before or after")
    mean0, spread0 = _moments(before)
    mean1, spread1 = _moments(after)
    mean0, spread0, borrowed = _borrow(cells, mean0, spread0, n0)
    y = np.where(n1 > 0, mean1 - mean0, 0.0)
    shares1, shares0 = n1 / n1.sum(), n0 / n0.sum()
    within, mix = float((shares1 * y).sum()), float(((shares1 - shares0) * mean0).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = spread1 / n1 + spread0 / np.where(n0 > 0, n0, borrowed) + _WANDER**2
    present = n1 > 0
    variance = np.where(present, variance, 0.0)
    weight = np.divide(1.0, variance, out=np.zeros_like(variance), where=present)
    error = float(np.sqrt((shares1**2 * variance).sum()))
    total = within + mix
    if abs(within) < 2 * error or error == 0.0:
        return Attribution(Concentration.UNKNOWN, total, within, mix, (), "the change is within its own uncertainty")

    def gain(member: Floats, open_: Floats) -> tuple[Floats, Floats]:
        w = weight * open_
        inside, outside = member @ w, w.sum() - member @ w
        with np.errstate(divide="ignore", invalid="ignore"):
            first, rest = (member @ (w * y)) / inside, ((w * y).sum() - member @ (w * y)) / outside
            found = inside * outside / (inside + outside) * (first - rest) ** 2
        return np.where((inside > 0) & (outside > 0), found, 0.0), first - rest

    def describe(dimensions: Pairs, chosen: NDArray[np.bool_]) -> Contribution:
        w = weight * chosen
        effect, half = float((w * y).sum() / w.sum()), _Z95 / float(np.sqrt(w.sum()))
        part, rest = float((shares1 * y)[chosen].sum()), float((shares1 * y)[~chosen].sum())
        noise = shares1**2 * variance
        share, doubt = _share(part, rest, float(noise[chosen].sum()), float(noise[~chosen].sum()))
        return Contribution(
            dimensions, effect, effect - half, effect + half, share, share - doubt, share + doubt,
            round(float(n1[chosen].sum())), is_new=not n0[chosen].any(),
        )  # fmt: skip

    return _attribution(name_values(cells, present, gain, within), describe, (total, within, mix))


def attribute_failures(cells: Sequence[Mapping[str, str]], before: CellCounts, after: CellCounts) -> Attribution:
    """Attribute a change of the failure rate to dimension values; arguments as for :func:`attribute_latency`."""
    if not before.tried.sum() or not after.tried.sum():
        return _unknown("nothing was tried before or after")
    overall = (before.failed.sum() + 0.5) / (before.tried.sum() + 1.0)
    # Rates of cells are drawn towards the overall rate by as much as one expected failure's worth of trials.
    usual = (before.failed + 1.0) / (before.tried + 1.0 / overall)
    shares1, shares0 = after.tried / after.tried.sum(), before.tried / before.tried.sum()
    expected = after.tried * usual
    rate1 = (after.failed.sum() + 0.5) / (after.tried.sum() + 1.0)
    standard, base = float((shares1 * usual).sum()), float((shares0 * usual).sum())
    within, mix = float(np.log(rate1 / standard)), float(np.log(standard / base))
    excess = after.failed - expected
    noise = after.failed + expected**2 / (before.failed + 1.0)
    if excess.sum() ** 2 < 4 * noise.sum():
        reason = "the change is within its own uncertainty"
        return Attribution(Concentration.UNKNOWN, within + mix, within, mix, (), reason)

    def gain(member: Floats, open_: Floats) -> tuple[Floats, Floats]:
        ratio, variance = [], []
        for chosen in (member * open_, (1.0 - member) * open_):
            k, mu, k0 = chosen @ after.failed + 0.5, chosen @ expected + 0.5, chosen @ before.failed + 0.5
            ratio.append(np.log(k / mu))
            variance.append(1 / k + 1 / k0)
        usable = (member @ (after.tried * open_) > 0) & ((1.0 - member) @ (after.tried * open_) > 0)
        difference = ratio[0] - ratio[1]
        return np.where(usable, difference**2 / (variance[0] + variance[1]), 0.0), difference

    def describe(dimensions: Pairs, chosen: NDArray[np.bool_]) -> Contribution:
        k, mu = float(after.failed[chosen].sum()), float(expected[chosen].sum())
        effect = float(np.log((k + 0.5) / (mu + 0.5)))
        half = _Z95 * float(np.sqrt(1 / (k + 0.5) + 1 / (before.failed[chosen].sum() + 1.0)))
        share, doubt = _share(
            float(excess[chosen].sum()), float(excess[~chosen].sum()),
            float(noise[chosen].sum()), float(noise[~chosen].sum()),
        )  # fmt: skip
        return Contribution(
            dimensions, effect, effect - half, effect + half, share, share - doubt, share + doubt,
            round(float(after.tried[chosen].sum())), is_new=not before.tried[chosen].any(),
        )  # fmt: skip

    return _attribution(name_values(cells, after.tried > 0, gain, within), describe, (within + mix, within, mix))


def _attribution(
    named: list[tuple[Pairs, NDArray[np.bool_]]],
    describe: Callable[[Pairs, NDArray[np.bool_]], Contribution],
    effects: tuple[float, float, float],
) -> Attribution:
    found = sorted((describe(*each) for each in named), key=lambda each: -each.share)
    concentration = Concentration.SOME if found else Concentration.EVERYONE
    return Attribution(concentration, *effects, tuple(found))


def _unknown(reason: str) -> Attribution:
    return Attribution(Concentration.UNKNOWN, 0.0, 0.0, 0.0, (), reason)


def _moments(counts: CellCounts) -> tuple[Floats, Floats]:
    """Mean and variance of log duration by cell; variances of small cells lean on the pooled one."""
    n = np.maximum(counts.count, 1e-12)
    mean = np.where(counts.count > 0, counts.sum_log / n, 0.0)
    squares = np.where(counts.count > 0, np.maximum(counts.sum_log_sq - n * mean**2, 0.0), 0.0)
    degrees = np.maximum(counts.count - 1, 0.0)
    pooled = (squares.sum() + 1e-9) / max(degrees.sum(), 1.0)
    return mean, (squares + 10 * pooled) / (degrees + 10)


def _borrow(
    cells: Sequence[Mapping[str, str]], mean: Floats, spread: Floats, count: Floats
) -> tuple[Floats, Floats, Floats]:
    """Levels of cells without a past, from the cells most like them; with how many observations stand behind."""
    mean, spread, borrowed = mean.copy(), spread.copy(), count.copy()
    known = np.flatnonzero(count > 0)
    for cell in np.flatnonzero(count <= 0).tolist():
        alike = np.array([len(cells[cell].items() & cells[other].items()) for other in known.tolist()])
        nearest = known[alike == alike.max()]
        mean[cell] = np.average(mean[nearest], weights=count[nearest])
        spread[cell] = np.average(spread[nearest], weights=count[nearest]) + np.var(mean[nearest])
        borrowed[cell] = count[nearest].sum()
    return mean, spread, borrowed


def _share(part: float, rest: float, part_variance: float, rest_variance: float) -> tuple[float, float]:
    """``part / (part + rest)`` and half its 95 % interval (delta method)."""
    whole = part + rest
    variance = (rest**2 * part_variance + part**2 * rest_variance) / whole**4
    return part / whole, _Z95 * float(np.sqrt(variance))
