from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.metrics.judge import Judgement, judge, judge_results
from cxgauge.metrics.observation import check_results
from cxgauge.metrics.specification.check_reason import Reason
from cxgauge.metrics.specification.flow import StepSpec
from cxgauge.metrics.specification.template import template_spec
from cxgauge.metrics.verdict import CheckResult, Verdict

PASS, FAIL, UNKNOWN, SKIPPED = CheckResult.PASS, CheckResult.FAIL, CheckResult.UNKNOWN, CheckResult.NOT_EVALUATED
DETAILS = template_spec("bill_inquiry").step("bill_details")  # target 1.5 s, timeout 15 s
BARE = template_spec("log_in").step("app_start")  # no checks; target 1.5 s, timeout 15 s
GOOD_ANSWER = {"bill": {"total": "30.00", "item_count": 2, "items": [{"amount": "10.00"}, {"amount": "20.00"}]}}
WRONG_ANSWER = {"bill": {"total": "30.01", "item_count": 2, "items": [{"amount": "10.00"}, {"amount": "20.00"}]}}
NO_DETAILS = {"bill": {"total": "30.00", "item_count": 0, "items": []}}


@pytest.mark.parametrize(
    ("duration", "answer", "verdict"),
    [
        (1.5, GOOD_ANSWER, Verdict.GOOD),
        (1.51, GOOD_ANSWER, Verdict.SLOW),
        (15.0, GOOD_ANSWER, Verdict.TIMEOUT),
        (0.1, WRONG_ANSWER, Verdict.WRONG),
        (2.0, WRONG_ANSWER, Verdict.WRONG),
        (20.0, WRONG_ANSWER, Verdict.TIMEOUT),
        (0.1, NO_DETAILS, Verdict.INCOMPLETE),
        (0.1, "not json", Verdict.GOOD),
        (2.0, "not json", Verdict.SLOW),
        (float("nan"), GOOD_ANSWER, Verdict.TIMEOUT),
    ],
)
def test_the_worst_of_timeliness_and_checks(duration: float, answer: object, verdict: Verdict) -> None:
    assert judge(DETAILS, duration, answer, 0.0).verdict is verdict


def test_outcomes_and_bits_follow_the_checks() -> None:
    found = judge(DETAILS, 0.1, WRONG_ANSWER, 0.0)
    assert [(entry.name, entry.result) for entry in found.outcomes] == [
        ("details_shown", PASS),
        ("total_is_sum_of_details", FAIL),
        ("all_details_shown", PASS),
    ]
    assert check_results(found.check_bits, 3) == (PASS, FAIL, PASS)
    assert found.outcomes[1].text == "the total is not the sum of its parts"


def test_without_an_answer_checks_are_not_evaluated() -> None:
    found = judge(DETAILS, 2.0, None, 0.0)
    assert (found.verdict, found.check_bits) == (Verdict.SLOW, 0)
    assert {(entry.result, entry.code) for entry in found.outcomes} == {(SKIPPED, Reason.NO_ANSWER)}


def test_a_step_without_checks() -> None:
    assert judge(BARE, 1.0, GOOD_ANSWER, 0.0) == Judgement(Verdict.GOOD, 0)
    assert judge(BARE, 1.6, None, 0.0) == Judgement(Verdict.SLOW, 0)
    assert judge_results(BARE, 1.6, {"any": FAIL}) == Judgement(Verdict.SLOW, 0)


def test_a_verdict_known_already_is_kept_unless_worse_is_found() -> None:
    assert judge(DETAILS, 0.1, GOOD_ANSWER, 0.0, at_least=Verdict.ERROR).verdict is Verdict.ERROR
    assert judge(DETAILS, 0.1, WRONG_ANSWER, 0.0, at_least=Verdict.SLOW).verdict is Verdict.WRONG
    assert judge(BARE, 0.1, None, 0.0, at_least=Verdict.ABANDONED).verdict is Verdict.ABANDONED


def test_results_given_from_outside() -> None:
    found = judge_results(DETAILS, 0.1, {"all_details_shown": FAIL, "details_shown": PASS, "unheard_of": FAIL})
    assert found.verdict is Verdict.INCOMPLETE
    assert check_results(found.check_bits, 3) == (PASS, SKIPPED, FAIL)
    assert [entry.code for entry in found.outcomes] == [Reason.GIVEN, Reason.NOT_GIVEN, Reason.GIVEN]


@given(st.dictionaries(st.sampled_from(DETAILS.check_names), st.sampled_from(CheckResult)), st.floats(0, 30))
def test_only_failures_make_a_verdict_worse(results: dict[str, CheckResult], duration: float) -> None:
    found = judge_results(DETAILS, duration, results)
    meanings = {check.name: check.failure_verdict for check in DETAILS.checks}
    failed = [meanings[name] for name, result in results.items() if result is FAIL]
    assert found.verdict == max([judge(BARE, duration, None, 0.0).verdict, *failed])
    assert check_results(found.check_bits, 3) == tuple(results.get(name, SKIPPED) for name in DETAILS.check_names)


def test_the_verdict_of_a_failure_can_be_stated() -> None:
    check = DETAILS.checks[0].model_copy(update={"verdict": "stale"})
    step: StepSpec = DETAILS.model_copy(update={"checks": (check,)})
    assert judge_results(step, 0.1, {"details_shown": FAIL}).verdict is Verdict.STALE


def test_a_judgement_is_a_value() -> None:
    found = judge(DETAILS, 0.1, GOOD_ANSWER, 0.0)
    assert found == judge(DETAILS, 0.2, GOOD_ANSWER, 5.0)
    assert replace(found, verdict=Verdict.SLOW) != found
