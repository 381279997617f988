"""The verdict of one passage of a step: how long it took, and what its checks say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .observation import check_bits
from .specification.check_evaluation import evaluate_checks
from .specification.check_reason import CheckOutcome, Reason
from .specification.flow_spec import StepSpec
from .verdict import CheckResult, Verdict, worst

__all__ = ["CheckOutcome", "Judgement", "judge", "judge_results"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one passage of a step is worth.

    Attributes:
        verdict: The worst of timeliness and checks.
        check_bits: Two bits a check in the order of ``StepSpec.check_names``, as in ``observation``.
        outcomes: Result and reason of each check, in the same order. Holds no value of the answer.
    """

    verdict: Verdict
    check_bits: int
    outcomes: tuple[CheckOutcome, ...] = ()


_GOOD, _SLOW, _TIMEOUT = Verdict.GOOD, Verdict.SLOW, Verdict.TIMEOUT  # a member costs more to look up on its class
_WITHOUT_CHECKS = tuple(Judgement(verdict, 0) for verdict in Verdict)


def judge(
    step: StepSpec, duration_seconds: float, answer: object | None, at: float, *, at_least: Verdict = Verdict.GOOD
) -> Judgement:
    """Judge an answer; never raises.

    Args:
        step: The step.
        duration_seconds: How long the customer waited.
        answer: What the customer got: mappings, lists, pydantic models, dataclasses or JSON text. None
            when it is not at hand: the checks are then not evaluated.
        at: When the answer arrived, seconds since 1970 UTC.
        at_least: A verdict known already, such as ``ERROR``.
    """
    verdict = timeliness_verdict(step, duration_seconds)
    if verdict < at_least:  # noqa: PLR1730 - max() would double the cost of a step without checks
        verdict = at_least
    if not step.checks:
        return _WITHOUT_CHECKS[verdict]
    if answer is None:
        outcomes = tuple(CheckOutcome(name, CheckResult.NOT_EVALUATED, Reason.NO_ANSWER) for name in step.check_names)
        return Judgement(verdict, 0, outcomes)
    return _judgement(step, verdict, evaluate_checks(step.evaluators, answer, at))


def judge_results(
    step: StepSpec,
    duration_seconds: float,
    results: Mapping[str, CheckResult],
    *,
    at_least: Verdict = Verdict.GOOD,
) -> Judgement:
    """Judge by check results that the sender gives by name; never raises.

    Names the step does not have are ignored; checks without a result are not evaluated.

    Args:
        step: The step.
        duration_seconds: How long the customer waited.
        results: Result by check name.
        at_least: A verdict known already, such as ``ERROR``.
    """
    verdict = timeliness_verdict(step, duration_seconds)
    if verdict < at_least:  # noqa: PLR1730 - max() would double the cost of a step without checks
        verdict = at_least
    if not step.checks:
        return _WITHOUT_CHECKS[verdict]
    outcomes = tuple(
        CheckOutcome(name, results[name], Reason.GIVEN)
        if name in results
        else CheckOutcome(name, CheckResult.NOT_EVALUATED, Reason.NOT_GIVEN)
        for name in step.check_names
    )
    return _judgement(step, verdict, outcomes)


def timeliness_verdict(step: StepSpec, duration_seconds: float) -> Verdict:
    """``GOOD`` up to the target, ``SLOW`` above it, ``TIMEOUT`` from the timeout on."""
    timeliness = step.timeliness
    if duration_seconds <= timeliness.target_seconds:
        return _GOOD
    return _SLOW if duration_seconds < timeliness.timeout_seconds else _TIMEOUT


def _judgement(step: StepSpec, verdict: Verdict, outcomes: tuple[CheckOutcome, ...]) -> Judgement:
    failed = (
        check.failure_verdict
        for check, outcome in zip(step.checks, outcomes, strict=True)
        if outcome.result is CheckResult.FAIL
    )
    return Judgement(worst((verdict, *failed)), check_bits([outcome.result for outcome in outcomes]), outcomes)
