"""Whether, and when, a level changed for good between two periods that are laid side by side.

A change in the middle of a week makes its days differ, and days that differ pass for noise: the step would hide
itself. A step that stands out from what the longest blocks differ otherwise is found here, so that the noise before
and after it can be told apart from it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["level_step"]

_LONG_BLOCKS = 8
_FEWEST_BLOCKS = 48
_STANDS_OUT = 10.0
"""How much larger the variance of the eight longest blocks is with the step than without it.

Calibrated: of normal noise without any step, alike or wandering from day to day, about one series in two hundred
exceeds it; bench/verdicts.py prints how many.
"""


def level_step(before: NDArray[np.number], after: NDArray[np.number]) -> int | None:
    """The block that a lasting change begins with; ``None`` when no step stands out.

    Args:
        before: ``(blocks, columns)`` counts of the compared period; the columns in the order of what they count.
        after: As many blocks of the period of interest.

    The place is that of the largest cumulative sum (Page 1954, doi:10.1093/biomet/41.1-2.100); what is summed are mean
    ranks (Wilcoxon scores), which a few slow answers do not move.
    """
    blocks = after.shape[0]
    if before.shape[0] != blocks or blocks < _FEWEST_BLOCKS or not before.sum() or not after.sum():
        return None
    pooled = (before.sum(axis=0) + after.sum(axis=0)).astype(np.float64)
    ranks = (np.cumsum(pooled) - pooled / 2) / pooled.sum()
    sides = [_Side(counts.sum(axis=1).astype(np.float64), counts @ ranks) for counts in (before, after)]
    whole = sides[1].around_mean() - sides[0].around_mean()
    edge = -(-blocks // _LONG_BLOCKS)
    places = np.arange(edge, blocks - edge + 1)
    step = int(places[np.argmax(np.abs(np.cumsum(whole))[places - 1] / np.sqrt(places * (blocks - places)))])
    apart = sides[1].around_means(step) - sides[0].around_means(step)
    remaining = _long_variance(apart)
    return step if _long_variance(whole) > _STANDS_OUT * remaining else None


class _Side:
    """Number and sum of ranks of each block of a period."""

    def __init__(self, counts: NDArray[np.float64], sums: NDArray[np.float64]) -> None:
        self._counts, self._sums = counts, sums

    def around_mean(self) -> NDArray[np.float64]:
        """What each block adds to the period's mean rank, less what it would add if all blocks were alike."""
        total = self._counts.sum()
        return np.asarray((self._sums - self._counts * (self._sums.sum() / total)) / total)

    def around_means(self, step: int) -> NDArray[np.float64]:
        """The same, if those before and those from ``step`` were alike among themselves."""
        total = self._counts.sum()
        expected = np.empty_like(self._counts)
        for part in (slice(None, step), slice(step, None)):
            counts = self._counts[part]
            expected[part] = counts * (self._sums[part].sum() / max(counts.sum(), 1.0))
        return np.asarray((self._sums - expected) / total)


def _long_variance(values: NDArray[np.float64]) -> float:
    starts = np.arange(_LONG_BLOCKS) * len(values) // _LONG_BLOCKS
    return float((np.add.reduceat(values, starts) ** 2).sum())
