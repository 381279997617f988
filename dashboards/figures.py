"""The one place where figures are computed: reports, pages and exports show these and compute nothing.

What is counted: observations of customers, and simulated ones when there are any (counted apart, and always said);
probes are left out. Percentiles describe *answered* observations (see ``metrics.rollup``), rates describe all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..metrics.observation import SeriesKey
from ..metrics.rollup import Rollup
from ..metrics.specification.flow import FlowSpec, StepSpec
from ..metrics.verdict import Verdict
from .conclusions import correctness_of, latency_of
from .data_quality import data_quality
from .figure_types import Budget, CheckFigures, Comparison, FlowFigures, Period, StepFigures
from .judged import Judged
from .release_split import RELEASE, split_releases
from .step_data import QUANTILES, StepData, quantile_estimate, rate_estimate

__all__ = ["QUANTILES", "StepData", "comparison_count", "flow_figures", "quantile_estimate", "rate_estimate"]


def flow_figures(
    flow: FlowSpec,
    rollup: Rollup,
    keys: Mapping[int, SeriesKey],
    period: Period,
    compared: Comparison | None = None,
    earlier: Rollup | None = None,
    *,
    now: float,
    comparisons: int | None = None,
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
        comparisons: How many changes are judged together; by default those of this function.
    """
    before = earlier if compared is not None and earlier is not None else None
    weights, newer = None, rollup
    if compared is not None and compared.kind.startswith(RELEASE):
        split = split_releases(rollup, keys, compared.kind)
        newer, before, weights = split.newer, split.older, split.weights
    together = comparison_count(flow) if comparisons is None else comparisons
    judged = Judged(period, compared, rollup.window_seconds, together, flow.same_within)
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
        simulated_before=whole_before.simulated if whole_before is not None else 0,
    )


def comparison_count(flow: FlowSpec, *, funnel: bool = False) -> int:
    """How many changes are judged of a flow: the whole, each step's percentiles and rates, each check, the funnel."""
    checks = sum(len(step.checks) for step in flow.steps) + sum(len(flow.across_of(step.name)) for step in flow.steps)
    plain = 1 + len(flow.steps) * (len(QUANTILES) + 2) + checks
    return plain + 2 + 2 * len(flow.steps) if funnel else plain


def _step_figures(
    step: StepSpec, data: StepData, before: StepData | None, judged: Judged, flow: FlowSpec
) -> StepFigures:
    p50, p95, p99 = (quantile_estimate(data, q) for q in QUANTILES)
    p50_change, p95_change, p99_change = judged.durations(data, before)
    names = [check.name for check in step.checks]
    names += [check.name for check in flow.across_of(step.name)]  # recorded with the later answer, of either step
    own = step.check_names
    checks = tuple(_check_figures(name, data, before, judged, own=name in own) for name in names)
    failed = data.failure_columns()
    failures_change = judged.rate(
        data, before, failed, before.failure_columns() if before is not None else None, worse_is_more=True
    )
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
        checks=checks,
        volume_before=before.observations if before is not None else None,
        p50_change=p50_change,
        p95_change=p95_change,
        p99_change=p99_change,
        good_rate_change=judged.rate(
            data, before, data.good_columns(), before.good_columns() if before is not None else None
        ),
        failures=rate_estimate(int(failed[:, 0].sum()), data.observations),
        failures_change=failures_change,
        latency=latency_of(p50_change, p95_change, p99_change),
        correctness=correctness_of(failures_change, checks),
        split=data.split_from(before) if before is not None else None,
    )


def _check_figures(name: str, data: StepData, before: StepData | None, judged: Judged, *, own: bool) -> CheckFigures:
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
        skipped=max(0, data.observations - failed - passed - unknown) if own else None,
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
    objective = 1 - allowed / observations if observations else _mean([step.budget.objective for step in steps])
    return Budget(objective, allowed, used, 1 - used / allowed if allowed > 0 else None)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 1.0


def _by_label(verdicts: NDArray[np.int64]) -> dict[str, int]:
    return {verdict.label: int(verdicts[verdict]) for verdict in Verdict}
