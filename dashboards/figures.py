"""The one place where figures are computed: reports, pages and exports show these and compute nothing.

What is counted: observations of customers, and simulated ones when there are any (counted apart, and always said);
probes are left out. Percentiles describe *answered* observations (see ``metrics.rollup``), rates describe all.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import expm1, sqrt

import numpy as np
from numpy.typing import NDArray

from ..metrics.observation import SeriesKey
from ..metrics.rollup import Origin, Rollup
from ..metrics.sketch import LOG_GAMMA, bucket_upper_seconds, merge_sketches, quantile
from ..metrics.specification.flow import FlowSpec, StepSpec
from ..metrics.verdict import Verdict
from .data_quality import data_quality
from .figure_types import (
    Budget,
    ChangeFigure,
    ChangeStatus,
    CheckFigures,
    Comparison,
    Estimate,
    FlowFigures,
    MixSplit,
    Period,
    StepFigures,
)
from .histograms import Blocks, block_seconds, blocks_of, columns_by_block, log_quantile, shares
from .intervals import CONFIDENCE, Interval, Resamples, rank_interval, student_quantile, wilson_interval
from .mix import mix_split
from .release_split import RELEASE, split_releases

__all__ = ["QUANTILES", "StepData", "flow_figures", "quantile_estimate", "rate_estimate"]

QUANTILES = (0.5, 0.95, 0.99)
_RESOLUTION = LOG_GAMMA / sqrt(12)  # standard deviation of a logarithm rounded to a bucket
_DAY_SECONDS = 86_400
_WANDER_KNOWN_DAYS = 7  # from here on the blocks of a comparison are days, and show how days differ
_DURATION_WANDER = 0.01  # log-sd of a day's level when nothing happened
_RATE_WANDER = 0.05  # the same for a rate, relative to the rarer outcome
_NOT_COMPARED = ChangeFigure(ChangeStatus.NOT_COMPARED)
_Z = student_quantile(0.5 + CONFIDENCE / 2, 1_000_000)


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


def flow_figures(
    flow: FlowSpec,
    rollup: Rollup,
    keys: Mapping[int, SeriesKey],
    period: Period,
    compared: Comparison | None = None,
    earlier: Rollup | None = None,
    *,
    now: float,
) -> FlowFigures:
    """Compute every figure of a flow.

    Args:
        flow: Its specification; steps without data appear with zero observations.
        rollup: Its rows in the period; ``Rollup.series`` are numbers of ``keys``.
        keys: What each series is.
        period: The period, aligned to windows.
        compared: With which period it is compared; ``None`` for none. Of ``release:…`` both sides are in ``rollup``:
            the newer release's figures are told, compared with the older's at the newer's mix of customers.
        earlier: The rows of the compared period.
        now: Where the period ends if it is not over yet, seconds since 1970 UTC.
    """
    before = earlier if compared is not None and earlier is not None else None
    weights, newer = None, rollup
    if compared is not None and compared.kind.startswith(RELEASE):
        split = split_releases(rollup, keys, compared.kind)
        newer, before, weights = split.newer, split.older, split.weights
    judged = _Judged(period, compared, rollup.window_seconds, flow)
    steps = tuple(
        _step_figures(
            step,
            StepData(newer, keys, frozenset([step.name])),
            StepData(before, keys, frozenset([step.name]), weights) if before is not None else None,
            judged,
            flow,
        )
        for step in flow.steps
    )
    whole = StepData(newer, keys)
    whole_before = StepData(before, keys, None, weights) if before is not None else None
    return FlowFigures(
        flow=flow.name,
        period=period,
        compared=compared,
        observations=whole.observations,
        good=whole.good,
        good_rate=rate_estimate(whole.good, whole.observations),
        budget=_joint_budget(steps),
        good_rate_change=judged.rate(
            whole, whole_before, whole.good_columns(), whole_before.good_columns() if whole_before else None
        ),
        verdicts=_by_label(whole.verdicts),
        steps=steps,
        quality=data_quality(newer, period, now),
        comparisons=judged.comparisons if before is not None else 0,
    )


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


class _Judged:
    """Judges changes against another period, all of them together."""

    def __init__(self, period: Period, compared: Comparison | None, window_seconds: int, flow: FlowSpec) -> None:
        self._period, self._compared = period, compared.period if compared else period
        self._seconds = block_seconds(period, window_seconds)
        days = max(1.0, period.seconds / _DAY_SECONDS)
        same_time = compared is not None and compared.kind.startswith(RELEASE)  # what wanders, wanders for both
        self._wander = 0.0 if same_time or days >= _WANDER_KNOWN_DAYS else sqrt(2 / days)
        checks = sum(len(step.checks) for step in flow.steps) + len(flow.across)
        self.comparisons = 1 + len(flow.steps) * (len(QUANTILES) + 1) + checks

    def durations(self, after: StepData, before: StepData | None) -> tuple[ChangeFigure, ...]:
        """Changes of the percentiles of :data:`QUANTILES`."""
        if before is None:
            return (_NOT_COMPARED,) * len(QUANTILES)
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
        return ChangeFigure(
            _status(change.value, change.low, change.high, change.surely, worse_is_more=True),
            before.quantile(q),
            after.quantile(q),
            expm1(change.value),
            expm1(change.low),
            expm1(change.high),
            expm1(change.detectable),
            before.answered,
            after.answered,
            change.blocks,
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
            return _NOT_COMPARED
        columns, columns_before = columns[:, :2], columns_before[:, :2]
        total, total_before = int(columns.sum()), int(columns_before.sum())
        now, then = after.rate(columns), before.rate(columns_before)
        if now is None or then is None:
            return self._too_few(total, total_before)
        sampling = sqrt(_rate_error(now) ** 2 + _rate_error(then) ** 2)
        resamples = Resamples.of(
            columns_by_block(columns_before, self._blocks(before, self._compared), before.weights),
            columns_by_block(columns, self._blocks(after, self._period), after.weights),
        )
        change = resamples.change(
            shares,
            sampling_error=sampling,
            wander=self._wander * _RATE_WANDER * min(then.value, 1 - then.value),
            comparisons=self.comparisons,
        )
        if change is None:
            return self._too_few(total, total_before)
        return ChangeFigure(
            _status(change.value, change.low, change.high, change.surely, worse_is_more=worse_is_more),
            then.value,
            now.value,
            change.value,
            change.low,
            change.high,
            change.detectable,
            total_before,
            total,
            change.blocks,
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


def _status(value: float, low: float, high: float, surely: float, *, worse_is_more: bool) -> ChangeStatus:
    if abs(value) > surely:
        return ChangeStatus.WORSE if (value > 0) == worse_is_more else ChangeStatus.BETTER
    return ChangeStatus.UNCLEAR if low > 0 or high < 0 else ChangeStatus.NO_EVIDENCE


def _step_figures(
    step: StepSpec, data: StepData, before: StepData | None, judged: _Judged, flow: FlowSpec
) -> StepFigures:
    p50, p95, p99 = (quantile_estimate(data, q) for q in QUANTILES)
    p50_change, p95_change, p99_change = judged.durations(data, before)
    names = [check.name for check in step.checks]
    names += [check.name for check in flow.across if check.counted_step == step.name]
    return StepFigures(
        step=step.name,
        observations=data.observations,
        answered=data.answered,
        simulated=data.simulated,
        p50=p50,
        p95=p95,
        p99=p99,
        mean_seconds=data.mean_seconds(),
        good=data.good,
        good_rate=rate_estimate(data.good, data.observations),
        budget=_budget(step.good_objective, data.observations, data.good),
        target_seconds=step.timeliness.target_seconds,
        verdicts=_by_label(data.verdicts),
        checks=tuple(_check_figures(name, data, before, judged) for name in names),
        volume_before=before.observations if before is not None else None,
        p50_change=p50_change,
        p95_change=p95_change,
        p99_change=p99_change,
        good_rate_change=judged.rate(
            data, before, data.good_columns(), before.good_columns() if before is not None else None
        ),
        split=data.split_from(before) if before is not None else None,
    )


def _check_figures(name: str, data: StepData, before: StepData | None, judged: _Judged) -> CheckFigures:
    columns = data.check_columns(name)
    failed, passed, unknown = (int(total) for total in columns.sum(axis=0))
    columns_before = before.check_columns(name) if before is not None else None
    return CheckFigures(
        check=name,
        passed=passed,
        failed=failed,
        unknown=unknown,
        failure_rate=rate_estimate(failed, failed + passed),
        change=judged.rate(data, before, columns, columns_before, worse_is_more=True),
    )


def _budget(objective: float, observations: int, good: int) -> Budget:
    allowed = (1 - objective) * observations
    used = observations - good
    return Budget(objective, allowed, used, 1 - used / allowed if allowed > 0 else None)


def _joint_budget(steps: tuple[StepFigures, ...]) -> Budget:
    """The budgets of all steps together; the objective is their mean weighted by observations."""
    observations = sum(step.observations for step in steps)
    allowed = sum(step.budget.allowed for step in steps)
    used = sum(step.budget.used for step in steps)
    objective = 1 - allowed / observations if observations else 1.0
    return Budget(objective, allowed, used, 1 - used / allowed if allowed > 0 else None)


def _by_label(verdicts: NDArray[np.int64]) -> dict[str, int]:
    return {verdict.label: int(verdicts[verdict]) for verdict in Verdict}
