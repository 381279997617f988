"""Old against new release at equal mix: is the new one better, worse, the same, or is there not enough data to say?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .detection.input import Measurements

__all__ = ["Comparison", "ReleaseVerdict", "compare_failures", "compare_latency"]

Floats = NDArray[Any]  # float64

_Z95 = 1.959964
_FEWEST_BLOCKS = 8
_FEWEST_FAILURES = 5.0


class ReleaseVerdict(StrEnum):
    """What a comparison concludes."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    UNDECIDED = "not enough data"


@dataclass(frozen=True, slots=True)
class Comparison:
    """New against old: log-ratio (of durations, or of failure rates) with its 95 % interval.

    ``SAME`` means that the whole interval lies within the margin, not that no difference was seen.
    """

    verdict: ReleaseVerdict
    effect: float
    low: float
    high: float
    observations_old: float
    observations_new: float
    blocks: int
    reason: str = ""


def compare_latency(
    old: Measurements, new: Measurements, *, margin: float = float(np.log(1.02)), block_seconds: float = 900.0
) -> Comparison:
    """Compare log durations of two releases that ran at the same time.

    ``cell`` numbers the strata (all dimensions but the release), the same in both. Differences are taken within
    stratum and block of time, so that mix, season and common noise cancel; their spread over blocks,
    not the number of observations, gives the interval (a t interval, blocks as units).

    Args:
        old: Measurements of the old release.
        new: Measurements of the new release.
        margin: Log-ratio that is still the same.
        block_seconds: Length of a block.
    """
    (n_old, x_old), (n_new, x_new) = (_blocks(rows, block_seconds) for rows in (old, new))
    keys = sorted(set(n_old) & set(n_new))
    totals = float(old.count.sum()), float(new.count.sum())
    times = sorted({key[0] for key in keys})
    if len(times) < _FEWEST_BLOCKS:
        reason = f"both releases ran together in {len(times)} blocks; {_FEWEST_BLOCKS} are needed"
        return Comparison(ReleaseVerdict.UNDECIDED, np.nan, np.nan, np.nan, *totals, len(times), reason)
    place = {time: index for index, time in enumerate(times)}
    top, bottom = np.zeros(len(times)), np.zeros(len(times))
    for key in keys:
        weight = 1.0 / (1.0 / n_old[key] + 1.0 / n_new[key])
        top[place[key[0]]] += weight * (x_new[key] / n_new[key] - x_old[key] / n_old[key])
        bottom[place[key[0]]] += weight
    effect = float(top.sum() / bottom.sum())
    left_out = (top.sum() - top) / (bottom.sum() - bottom)
    error = float(np.sqrt((len(times) - 1) / len(times) * ((left_out - left_out.mean()) ** 2).sum()))
    return _concluded(effect, error * (1 + 2.5 / len(times)), margin, totals, len(times))


def compare_failures(
    old: Measurements, new: Measurements, columns: tuple[int, ...], *, margin: float = float(np.log(1.1))
) -> Comparison:
    """Compare failure rates at equal mix: the Mantel–Haenszel rate ratio over strata (``cell``).

    Variance of its logarithm: Greenland & Robins 1985, doi:10.2307/2530643, times the over-dispersion is not
    taken in; several releases of one day are one comparison, not several.

    Args:
        old: Measurements of the old release.
        new: Measurements of the new release.
        columns: Outcome columns that count as failures.
        margin: Log-ratio that is still the same.
    """
    strata = int(max(old.cell.max(initial=-1), new.cell.max(initial=-1))) + 1
    chosen = list(columns)

    def sums(rows: Measurements) -> tuple[Floats, Floats]:
        failed = np.bincount(rows.cell, rows.failed[:, chosen].sum(axis=1), minlength=strata)
        return failed, np.bincount(rows.cell, rows.tried[:, chosen].max(axis=1, initial=0.0), minlength=strata)

    (a, n1), (b, n0) = sums(new), sums(old)
    both = (n1 > 0) & (n0 > 0)
    a, n1, b, n0 = a[both], n1[both], b[both], n0[both]
    totals = float(n0.sum()), float(n1.sum())
    if a.sum() + b.sum() < _FEWEST_FAILURES:
        reason = f"{a.sum() + b.sum():g} failures are fewer than the {_FEWEST_FAILURES:g} needed"
        return Comparison(ReleaseVerdict.UNDECIDED, np.nan, np.nan, np.nan, *totals, int(both.sum()), reason)
    r, s = (a + 0.25) * n0 / (n1 + n0), (b + 0.25) * n1 / (n1 + n0)
    effect = float(np.log(r.sum() / s.sum()))
    spread = ((a + b + 0.5) * n1 * n0 / (n1 + n0) ** 2).sum() / (r.sum() * s.sum())
    return _concluded(effect, float(np.sqrt(spread)), margin, totals, int(both.sum()))


def _blocks(rows: Measurements, seconds: float) -> tuple[dict[tuple[int, int], float], dict[tuple[int, int], float]]:
    """Observations and Σ ln s by block of time and stratum."""
    usable = np.flatnonzero((rows.count > 0) & np.isfinite(rows.sum_log))
    block = (rows.window_start[usable] // seconds).astype(np.int64)
    keys, inverse = np.unique(np.stack([block, rows.cell[usable]]), axis=1, return_inverse=True)
    count = np.bincount(inverse.ravel(), rows.count[usable])
    total = np.bincount(inverse.ravel(), rows.sum_log[usable])
    names = [(int(time), int(cell)) for time, cell in keys.T]
    return dict(zip(names, count, strict=True)), dict(zip(names, total, strict=True))


def _concluded(effect: float, error: float, margin: float, totals: tuple[float, float], blocks: int) -> Comparison:
    low, high = effect - _Z95 * error, effect + _Z95 * error
    reason = ""
    if low > 0 and effect > margin:
        verdict = ReleaseVerdict.WORSE
    elif high < 0 and effect < -margin:
        verdict = ReleaseVerdict.BETTER
    elif -margin < low and high < margin:
        verdict = ReleaseVerdict.SAME
    else:
        verdict, reason = ReleaseVerdict.UNDECIDED, f"the interval reaches beyond the margin of {np.expm1(margin):.0%}"
    return Comparison(verdict, effect, low, high, *totals, blocks, reason)
