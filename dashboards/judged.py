"""Changes between two periods, judged all together: better, worse, the same, or not enough data to say.

A change is *proven* when it is beyond what all comparisons together allow. A figure is *the same* when the whole 95 %
interval of its change lies within the margin of the flow: two one-sided tests of 2.5 % each (Schuirmann 1987,
doi:10.1007/BF01068419). For failures the margin is a ratio, and what is tested are the contrasts after − (1 + margin) ·
before and its reverse (Farrington and Manning 1990, doi:10.1002/sim.4780091208), so that the doubt about the compared
period counts too. Steps need no further allowance to be called the same together (Berger 1982,
doi:10.1080/00401706.1982.10487790).
"""

from __future__ import annotations

from math import expm1, hypot, log1p, sqrt

import numpy as np
from numpy.typing import NDArray

from ..metrics.sketch import LOG_GAMMA
from ..metrics.specification.flow import SameWithin
from .figure_types import ChangeFigure, ChangeStatus, Comparison, Period
from .histograms import Blocks, block_seconds, blocks_of, columns_by_block, log_quantile, other_shares, shares
from .intervals import CONFIDENCE, Change, Interval, Resamples, Statistic, student_quantile, wilson_interval
from .release_split import RELEASE
from .step_data import QUANTILES, StepData

__all__ = ["NOT_COMPARED", "Judged"]

NOT_COMPARED = ChangeFigure(ChangeStatus.NOT_COMPARED)
_RESOLUTION = LOG_GAMMA / sqrt(12)  # standard deviation of a logarithm rounded to a bucket
_DAY_SECONDS = 86_400
_WANDER_KNOWN_DAYS = 7  # from here on the blocks of a comparison are days, and show how days differ
_DURATION_WANDER = 0.01  # log-sd of a day's level when nothing happened
_RATE_WANDER = 0.05  # the same for a rate, relative to the rarer outcome
_Z = student_quantile(0.5 + CONFIDENCE / 2, 1_000_000)


class Judged:
    """Judges changes against another period, all of them together."""

    def __init__(
        self,
        period: Period,
        compared: Comparison | None,
        window_seconds: int,
        comparisons: int,
        same_within: SameWithin | None = None,
    ) -> None:
        self._period, self._compared = period, compared.period if compared else period
        self._seconds = block_seconds(period, window_seconds)
        days = max(1.0, period.seconds / _DAY_SECONDS)
        same_time = compared is not None and compared.kind.startswith(RELEASE)  # what wanders, wanders for both
        self._wander = 0.0 if same_time or days >= _WANDER_KNOWN_DAYS else sqrt(2 / days)
        self.comparisons = comparisons
        self._same = same_within or SameWithin()

    def durations(self, after: StepData, before: StepData | None) -> tuple[ChangeFigure, ...]:
        """Changes of the percentiles of :data:`QUANTILES`."""
        if before is None:
            return (NOT_COMPARED,) * len(QUANTILES)
        if not after.answered or not before.answered:
            return (self._too_few(after.answered, before.answered),) * len(QUANTILES)
        low = int(min(after.buckets[0], before.buckets[0]))
        high = int(max(after.buckets[-1], before.buckets[-1]))
        resamples = Resamples.of(
            blocks_of(before.rows, self._blocks(before, self._compared), low, high, before.weights),
            blocks_of(after.rows, self._blocks(after, self._period), low, high, after.weights),
        )
        return tuple(self._quantile(resamples, after, before, q, low, high) for q in QUANTILES)

    def _blocks(self, data: StepData, period: Period) -> Blocks:
        return Blocks(data.rows, period, self._seconds)

    def _quantile(
        self, resamples: Resamples, after: StepData, before: StepData, q: float, low: int, high: int
    ) -> ChangeFigure:
        errors = [_log_error(data, q) for data in (after, before)]
        if None in errors:
            return self._too_few(after.answered, before.answered)
        sampling = sqrt(sum(float(error or 0) ** 2 + _RESOLUTION**2 for error in errors))
        change = resamples.change(
            log_quantile(low, high, q),
            sampling_error=sampling,
            wander=self._wander * _DURATION_WANDER,
            comparisons=self.comparisons,
        )
        if change is None:
            return self._too_few(after.answered, before.answered)
        within = max(-change.low, change.high) < log1p(self._same.durations)
        return ChangeFigure(
            _status(change, within=within, worse_is_more=True),
            before.quantile(q),
            after.quantile(q),
            expm1(change.value),
            expm1(change.low),
            expm1(change.high),
            expm1(change.detectable),
            before.answered,
            after.answered,
            change.blocks,
            margin=self._same.durations,
            within_margin=within,
        )

    def rate(
        self,
        after: StepData,
        before: StepData | None,
        columns: NDArray[np.int64],
        columns_before: NDArray[np.int64] | None,
        *,
        worse_is_more: bool = False,
    ) -> ChangeFigure:
        """Change of a rate: the first column's share of the first two."""
        if before is None or columns_before is None:
            return NOT_COMPARED
        columns, columns_before = columns[:, :2], columns_before[:, :2]
        total, total_before = int(columns.sum()), int(columns_before.sum())
        now, then = after.rate(columns), before.rate(columns_before)
        if now is None or then is None:
            return self._too_few(total, total_before)
        resamples = Resamples.of(
            columns_by_block(columns_before, self._blocks(before, self._compared), before.weights),
            columns_by_block(columns, self._blocks(after, self._period), after.weights),
        )
        return self._rate(resamples, now, then, total, total_before, worse_is_more=worse_is_more)

    def share(self, after: NDArray[np.float64], before: NDArray[np.float64], *, worse_is_more: bool) -> ChangeFigure:
        """Change of a share given as ``[blocks, 2]`` counts in order of time: the first column's of both."""
        total, total_before = int(after.sum()), int(before.sum())
        now, then = (wilson_interval(int(counts[:, 0].sum()), int(counts.sum())) for counts in (after, before))
        if now is None or then is None:
            return self._too_few(total, total_before)
        resamples = Resamples.of(before, after)
        return self._rate(resamples, now, then, total, total_before, worse_is_more=worse_is_more)

    def _rate(
        self,
        resamples: Resamples,
        now: Interval,
        then: Interval,
        total: int,
        total_before: int,
        *,
        worse_is_more: bool,
    ) -> ChangeFigure:
        errors = (_rate_error(then), _rate_error(now))
        wander = self._wander * _RATE_WANDER * min(then.value, 1 - then.value)

        def contrast(comparisons: int, before: float, after: float, statistic: Statistic = shares) -> Change | None:
            return resamples.change(
                statistic,
                sampling_error=hypot(before * errors[0], after * errors[1]),
                wander=wander,
                comparisons=comparisons,
                factors=(before, after),
            )

        change = contrast(self.comparisons, 1.0, 1.0)
        if change is None:
            return self._too_few(total, total_before)
        ratio = 1 + self._same.failures
        failures = shares if worse_is_more else other_shares
        more, fewer = contrast(1, ratio, 1.0, failures), contrast(1, 1.0, ratio, failures)
        within = (
            more is not None
            and fewer is not None
            and more.high < self._same.failure_share
            and fewer.low > -self._same.failure_share
        )
        return ChangeFigure(
            _status(change, within=within, worse_is_more=worse_is_more),
            then.value,
            now.value,
            change.value,
            change.low,
            change.high,
            change.detectable,
            total_before,
            total,
            change.blocks,
            margin=self._same.failures,
            within_margin=within,
        )

    @staticmethod
    def _too_few(after: int, before: int) -> ChangeFigure:
        reason = "too few observations in the compared period" if before <= after else "too few observations"
        return ChangeFigure(ChangeStatus.TOO_FEW, observations_before=before, observations=after, reason=reason)


def _log_error(data: StepData, q: float) -> float | None:
    """Standard error of the logarithm of a percentile, from its order statistics; ``None`` for too few of them."""
    around = data.order_statistics(q)
    if around is None:
        return None
    return (around[1] - around[0]) * LOG_GAMMA / (2 * _Z)


def _rate_error(interval: Interval) -> float:
    return (interval.high - interval.low) / (2 * _Z)


def _status(change: Change, *, within: bool, worse_is_more: bool) -> ChangeStatus:
    if abs(change.value) > change.surely:
        return ChangeStatus.WORSE if (change.value > 0) == worse_is_more else ChangeStatus.BETTER
    if within:
        return ChangeStatus.SAME
    return ChangeStatus.UNCLEAR if change.low > 0 or change.high < 0 else ChangeStatus.NO_EVIDENCE
