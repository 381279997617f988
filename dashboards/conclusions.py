"""What the comparison of a step comes to: better, worse, the same, or not enough data, for latency and correctness."""

from __future__ import annotations

from collections.abc import Sequence

from .figure_types import ChangeFigure, ChangeStatus, CheckFigures, Conclusion, StepConclusion

__all__ = ["correctness_of", "latency_of"]

_ABSENT = (ChangeStatus.TOO_FEW, ChangeStatus.NOT_COMPARED)
Named = tuple[str, ChangeFigure]


def latency_of(p50: ChangeFigure, p95: ChangeFigure, p99: ChangeFigure) -> StepConclusion:
    """From the percentiles: one that got worse decides before one that got better.

    The same are a median and a 95th percentile that both are, with no evidence of a change of the 99th, whose interval
    is too wide at most steps to lie within any margin of use.
    """
    return _concluded((("p50", p50), ("p95", p95), ("p99", p99)), (("p50", p50), ("p95", p95)))


def correctness_of(failures: ChangeFigure, checks: Sequence[CheckFigures]) -> StepConclusion:
    """From the share of answers that were not right, and from each check: a rare one may fail unseen among the rest."""
    every = (("failures", failures), *((f"check:{check.check}", check.change) for check in checks))
    return _concluded(every, (("failures", failures),))


def _concluded(every: Sequence[Named], must_be_same: Sequence[Named]) -> StepConclusion:
    for status, conclusion in ((ChangeStatus.WORSE, Conclusion.WORSE), (ChangeStatus.BETTER, Conclusion.BETTER)):
        found = [one for one in every if one[1].status is status]
        if found:  # a change that matters speaks before one within the margin; the first figure for the most customers
            return StepConclusion(conclusion, min(found, key=lambda one: one[1].within_margin)[0])
    if all(change.status in _ABSENT for _, change in every):
        absent = every[0][1].status is ChangeStatus.NOT_COMPARED
        return StepConclusion(Conclusion.NOT_COMPARED if absent else Conclusion.NOT_ENOUGH_DATA, every[0][0])
    unclear = [one for one in every if one[1].status is ChangeStatus.UNCLEAR]
    if not unclear and all(change.status is ChangeStatus.SAME for _, change in must_be_same):
        return StepConclusion(Conclusion.SAME, max(must_be_same, key=_width)[0])
    return StepConclusion(Conclusion.NOT_ENOUGH_DATA, (unclear or [max(must_be_same, key=_width)])[0][0])


def _width(named: Named) -> float:
    change = named[1]
    return float("inf") if change.low is None or change.high is None else change.high - change.low
