"""What a rollup has of some steps, and the figures of one period that can be told of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..metrics.observation import SeriesKey
from ..metrics.rollup import Origin, Rollup
from ..metrics.sketch import bucket_upper_seconds, merge_sketches, quantile
from ..metrics.verdict import Verdict
from .figure_types import Estimate, MixSplit
from .histograms import Blocks, blocks_of, log_quantile
from .intervals import Interval, rank_interval, wilson_interval
from .mix import mix_split

__all__ = ["QUANTILES", "StepData", "quantile_estimate", "rate_estimate"]

QUANTILES = (0.5, 0.95, 0.99)


class StepData:
    """What a rollup has of some series: total sketch, verdicts and checks, and the rows to split by time.

    With ``weights`` of its rows the figures are those of other proportions; ``answered`` is then the effective number
    of answers, (Σ w n)² / Σ w² n (Kish 1965), and ``observations`` and ``verdicts`` stay what was counted.
    """

    def __init__(
        self,
        rollup: Rollup,
        keys: Mapping[int, SeriesKey],
        steps: frozenset[str] | None = None,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        wanted = [number for number, key in keys.items() if steps is None or key.step in steps]
        mask = np.isin(rollup.series, wanted) & (rollup.origin != Origin.PROBE)
        self.rows = rollup.select(mask)
        self.weights = None if weights is None else weights[mask]
        self.buckets, self.counts = merge_sketches(self.rows.buckets, self.rows.bucket_counts)
        self.verdicts: NDArray[np.int64] = self.rows.verdicts.sum(axis=0)
        self.observations = int(self.verdicts.sum())
        self.good = int(self.verdicts[Verdict.GOOD])
        self.answered = int(self.effective(self.rows.count))
        simulated = self.rows.origin == Origin.SIMULATED
        self.simulated = int(self.rows.verdicts[simulated].sum())
        self._keys = keys

    def effective(self, counts: NDArray[np.int64]) -> float:
        """Effective number of observations of ``[R]`` counts."""
        if self.weights is None:
            return float(counts.sum())
        squares = float((self.weights**2 * counts).sum())
        return float((self.weights * counts).sum()) ** 2 / squares if squares else 0.0

    def dense(self, low: int, high: int) -> NDArray[np.float64]:
        """``[1, high - low + 1]`` answers by bucket."""
        whole = Blocks.one(self.rows)
        return blocks_of(self.rows, whole, low, high, self.weights)

    def quantile(self, q: float) -> float:
        """A quantile in seconds, within 1 %; nan without answers."""
        if self.weights is None or not self.answered:
            return quantile(self.buckets, self.counts, q)
        low, high = int(self.buckets[0]), int(self.buckets[-1])
        return float(np.exp(log_quantile(low, high, q)(self.dense(low, high))[0]))

    def order_statistics(self, q: float) -> tuple[int, int] | None:
        """Buckets of the order statistics that enclose a quantile; ``None`` for too few answers."""
        ranks = rank_interval(self.answered, q)
        if ranks is None:
            return None
        low = int(self.buckets[0])
        ends = np.cumsum(self.dense(low, int(self.buckets[-1]))[0])
        first, last = (int(np.searchsorted(ends, (rank - 1e-6) * ends[-1] / self.answered)) for rank in ranks)
        return low + first, low + last

    def rate(self, columns: NDArray[np.int64]) -> Interval | None:
        """The share of the first of two columns ``[R, 2]``, with Wilson's interval."""
        total = round(self.effective(columns.sum(axis=1)))
        if self.weights is None or not total:
            return wilson_interval(int(columns[:, 0].sum()), int(columns.sum()))
        weighted = (columns * self.weights[:, None]).sum(axis=0)
        share = float(weighted[0] / weighted.sum())
        interval = wilson_interval(round(share * total), total)
        return interval and Interval(share, min(share, interval.low), max(share, interval.high))

    def check_columns(self, check: str) -> NDArray[np.int64]:
        """``[R, 3]`` failed, passed and unknown results of one check, by row."""
        result = np.zeros((len(self.rows), 3), dtype=np.int64)
        width = self.rows.checks.shape[1]
        for number, key in self._keys.items():
            if check in key.checks and key.checks.index(check) < width:
                mine = self.rows.series == number
                result[mine] = self.rows.checks[mine, key.checks.index(check)][:, [1, 0, 2]]
        return result

    def good_columns(self) -> NDArray[np.int64]:
        """``[R, 2]`` good and other observations by row."""
        good = self.rows.good
        return np.stack([good, self.rows.observations - good], axis=1)

    def failure_columns(self) -> NDArray[np.int64]:
        """``[R, 2]`` observations by row that were not right, and those that were: good or merely slow."""
        right = self.rows.verdicts[:, [Verdict.GOOD, Verdict.SLOW]].sum(axis=1)
        return np.stack([self.rows.observations - right, right], axis=1)

    def split_from(self, before: StepData) -> MixSplit | None:
        """The change since ``before`` split into mix and the rest; not for figures that are weighted already."""
        if before.weights is not None or not self.answered or not before.answered:
            return None
        present = set(self.rows.series.tolist()) | set(before.rows.series.tolist())
        keys = {number: key for number, key in self._keys.items() if number in present}
        return mix_split(before.rows, self.rows, keys)

    def mean_seconds(self) -> float | None:
        """Mean duration of answered observations."""
        count = int(self.rows.count.sum())
        return float(self.rows.sum_seconds.sum()) / count if count else None


def quantile_estimate(data: StepData, q: float) -> Estimate:
    """A percentile with the interval of its order statistics, widened to the edges of the sketch's buckets."""
    n = data.answered
    if n == 0:
        return Estimate(None, None, None, 0, "no answered observation")
    value, around = data.quantile(q), data.order_statistics(q)
    if around is None:
        return Estimate(value, None, None, n, f"too few observations for an interval of p{q * 100:g}")
    low, high = around
    return Estimate(value, float(bucket_upper_seconds(low - 1)), float(bucket_upper_seconds(high)), n)


def rate_estimate(successes: int, total: int) -> Estimate:
    """A rate with Wilson's interval."""
    interval = wilson_interval(successes, total)
    if interval is None:
        return Estimate(None, None, None, 0, "no observation")
    return Estimate(interval.value, interval.low, interval.high, total)
