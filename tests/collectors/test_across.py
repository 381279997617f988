"""Checks between steps on keyed tokens: any order, any process, no amount kept anywhere."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxgauge.collectors.across import AcrossJudge, Side, canonical, tokens_of_answer, value_token
from cxgauge.collectors.customer_token import CustomerKey, CustomerTokens
from cxgauge.collectors.receiver.span_shape import ShapeSettings
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.specification.template import template_spec
from cxgauge.metrics.verdict import CheckResult, Verdict

NOW = 1_767_225_600.0
KEY = CustomerKey(1, b"0123456789abcdef")
INSTANCE = bytes(range(16))
FLOW = """
name: bill
title: {en: Bill, zh: 账单}
owner: cards
steps:
  - name: total
    title: {en: Total, zh: 总额}
    timeliness: {target: 1.0s, objective: 0.95}
    values: {total: {path: $.total, privacy: C2, tokenise: true}}
  - name: details
    title: {en: Details, zh: 明细}
    timeliness: {target: 1.0s, objective: 0.95}
    values:
      amounts: {path: "$.items[*].amount", privacy: C2, tokenise: true}
      ids: {path: "$.items[*].id", privacy: C2, tokenise: true}
  - name: dispute
    title: {en: Dispute, zh: 争议}
    timeliness: {target: 1.0s, objective: 0.95}
    values:
      id: {path: $.id, privacy: C2, tokenise: true}
      total: {path: $.total, privacy: C2, tokenise: true}
across:
  - {name: sum, kind: sum_equals, value: total.total, of: details.amounts, within: 30m}
  - {name: shown, kind: contains, value: dispute.id, of: details.ids, within: 2h}
  - {name: same, kind: equals, value: total.total, of: dispute.total, within: 30m, verdict: stale}
"""
PASS, FAIL, UNKNOWN = CheckResult.PASS, CheckResult.FAIL, CheckResult.UNKNOWN


@pytest.fixture(scope="module")
def flow() -> FlowSpec:
    return parse_flow(FLOW, "bill.yml")


@pytest.fixture
def judge(flow: FlowSpec, tmp_path: Path) -> Any:
    judge = AcrossJudge({"bill": flow}, tmp_path / "across.sqlite3")
    yield judge
    judge.close()


def show(
    judge: AcrossJudge, flow: FlowSpec, step: str, answer: Any, at: float = NOW, key: CustomerKey = KEY
) -> dict[str, CheckResult]:
    results = judge.judge("bill", INSTANCE, tokens_of_answer(flow, step, INSTANCE, answer, key), at)
    return {result.name: result.result for result in results}


TOTAL = {"total": "3.30"}
DETAILS = {"items": [{"id": "a", "amount": "1.10"}, {"id": "b", "amount": 2.2}]}


def test_the_later_side_is_judged_in_either_order(judge: Any, flow: FlowSpec, tmp_path: Path) -> None:
    assert show(judge, flow, "total", TOTAL) == {}
    assert show(judge, flow, "details", DETAILS) == {"sum": PASS}
    other = AcrossJudge({"bill": flow}, tmp_path / "other.sqlite3")
    assert show(other, flow, "details", DETAILS) == {}
    assert show(other, flow, "total", {"total": "3.31"}) == {"sum": FAIL}
    other.close()


def test_saying_it_again_changes_nothing(judge: Any, flow: FlowSpec) -> None:
    for _ in range(3):
        show(judge, flow, "total", TOTAL)
    assert [show(judge, flow, "details", DETAILS) for _ in range(3)] == [{"sum": PASS}] * 3


def test_the_latest_answer_counts(judge: Any, flow: FlowSpec) -> None:
    show(judge, flow, "total", {"total": 1})
    show(judge, flow, "total", TOTAL)
    assert show(judge, flow, "details", DETAILS) == {"sum": PASS}


def test_a_disputed_item_may_be_on_any_page(judge: Any, flow: FlowSpec) -> None:
    show(judge, flow, "details", {"items": [{"id": "x", "amount": 1}]})
    show(judge, flow, "details", DETAILS)
    assert show(judge, flow, "dispute", {"id": "x"}) == {"shown": PASS}
    assert show(judge, flow, "dispute", {"id": "y"}) == {"shown": FAIL}


def test_only_the_total_was_shown_is_incomplete(judge: Any, flow: FlowSpec) -> None:
    show(judge, flow, "total", TOTAL)
    tokens = tokens_of_answer(flow, "details", INSTANCE, {"items": []}, KEY)
    [result] = judge.judge("bill", INSTANCE, tokens, NOW)
    assert (result.name, result.result, result.verdict) == ("sum", FAIL, Verdict.INCOMPLETE)


def test_the_specification_says_what_a_failure_means(judge: Any, flow: FlowSpec) -> None:
    judge.judge("bill", INSTANCE, tokens_of_answer(flow, "total", INSTANCE, TOTAL, KEY), NOW)
    results = judge.judge("bill", INSTANCE, tokens_of_answer(flow, "dispute", INSTANCE, {"total": 4}, KEY), NOW)
    assert [(result.name, result.result, result.verdict) for result in results] == [("same", FAIL, Verdict.STALE)]


def test_other_instances_and_late_answers_have_nothing_to_do_with_it(judge: Any, flow: FlowSpec) -> None:
    show(judge, flow, "total", TOTAL)
    tokens = tokens_of_answer(flow, "details", bytes(16), DETAILS, KEY)
    assert judge.judge("bill", bytes(16), tokens, NOW) == []
    assert show(judge, flow, "details", DETAILS, at=NOW + 1801) == {}
    assert show(judge, flow, "details", DETAILS, at=NOW + 1800) == {"sum": PASS}


def test_a_rotated_key_is_unknown_not_wrong(judge: Any, flow: FlowSpec) -> None:
    show(judge, flow, "total", TOTAL)
    assert show(judge, flow, "details", DETAILS, key=CustomerKey(2, b"another key of 16")) == {"sum": UNKNOWN}


def test_what_waits_survives_a_restart_once_committed(judge: Any, flow: FlowSpec, tmp_path: Path) -> None:
    show(judge, flow, "total", TOTAL)
    judge.commit()
    again = AcrossJudge({"bill": flow}, tmp_path / "across.sqlite3")
    assert show(again, flow, "details", DETAILS) == {"sum": PASS}
    again.close()


def test_one_side_that_stays_alone_is_unknown_and_counted(judge: Any, flow: FlowSpec) -> None:
    show(judge, flow, "total", TOTAL)  # two checks wait
    judge.expire(NOW + 1799)
    assert judge.unknown == Counter({})
    show(judge, flow, "details", DETAILS)  # one is judged, and one of the details' starts to wait for two hours
    judge.expire(NOW + 1801)
    assert judge.unknown == Counter({("bill", "same"): 1})
    judge.expire(NOW + 7201)
    assert judge.unknown == Counter({("bill", "same"): 1, ("bill", "shown"): 1})
    assert judge.judged == {("bill", "sum", PASS): 1}


def test_what_waits_is_bounded(flow: FlowSpec, tmp_path: Path) -> None:
    judge = AcrossJudge({"bill": flow}, tmp_path / "small.sqlite3", waiting_limit=10)
    for number in range(50):
        judge.judge("bill", number.to_bytes(16, "big"), {("sum", Side.VALUE): [bytes(16)]}, NOW + number)
    judge.expire(NOW)
    assert judge.unknown == Counter({("bill", "sum"): 40})
    judge.close()


def test_no_value_is_in_the_file(judge: Any, flow: FlowSpec, tmp_path: Path) -> None:
    show(judge, flow, "total", {"total": "48151623.42"})
    show(judge, flow, "details", {"items": [{"id": "item-4815162342", "amount": "48151623.42"}]})
    judge.close()
    for file in tmp_path.iterdir():
        data = file.read_bytes()
        assert b"4815162342" not in data
        assert b"48151623" not in data
    AcrossJudge({"bill": flow}, tmp_path / "across.sqlite3").close()


@pytest.mark.parametrize(
    ("answer", "sides"),
    [
        ({"items": [{"amount": "1.1"}, {"amount": "one"}]}, {"shown"}),
        ({"items": [{"id": "a", "amount": None}]}, {"shown"}),
        ("not json", set()),
        ('{"items": [{"id": "a", "amount": 1.10}]}', {"sum", "shown"}),
    ],
)
def test_values_that_cannot_be_read_send_no_side(flow: FlowSpec, answer: Any, sides: set[str]) -> None:
    assert {name for name, _ in tokens_of_answer(flow, "details", INSTANCE, answer, KEY)} == sides


@settings(deadline=None)
@given(st.decimals(-(10**12), 10**12, places=6), st.integers(0, 6))
def test_equal_numbers_have_one_text_however_they_are_written(number: Decimal, zeros: int) -> None:
    padded = f"{number:f}" + "0" * zeros
    assert canonical(padded, "equals") == canonical(number, "equals") == canonical(str(number), "sum_equals")


def test_canonical_texts() -> None:
    given = ["1E+2", Decimal("1E+2"), "-0.00", "0010.50", 7, "T-1 ", True, None, "  ", "7"]
    assert [canonical(value, "equals") for value in given] == [
        "t:1E+2", "d:100", "d:0", "d:10.5", "d:7", "t:T-1", None, None, None, "d:7"
    ]  # fmt: skip
    assert canonical("007", "contains") == "t:007"
    assert canonical("x", "sum_equals") is None


def test_the_token_format_is_fixed() -> None:
    key = CustomerKey(7, bytes(range(32)))
    assert value_token(key, bytes(range(16)), "d:100").hex() == "07213ac6509bf38a29a3c3e68ca44722"


def test_a_template_flow_with_a_wrong_total_once_in_a_thousand_yields_exactly_that_rate(
    start_receiver: Any, tmp_path: Path
) -> None:
    """Both sides come over HTTP, in any order, in requests of their own: by verdict and by check the rate is exact."""
    flow = template_spec("bill_inquiry")
    judge = AcrossJudge({flow.name: flow}, tmp_path / "across.sqlite3")
    shape = ShapeSettings(tokens=CustomerTokens([KEY]), across=judge)
    receiver = start_receiver(flows={flow.name: flow}, app_arguments={"settings": shape})
    chance = random.Random(5)
    wrong = set(chance.sample(range(2000), 2))
    sent = []
    for number in range(2000):
        amounts = [Decimal(chance.randrange(1, 10**6)) / 100 for _ in range(3)]
        total = sum(amounts) + (Decimal("0.01") if number in wrong else 0)
        common = {"flow": flow.name, "duration_seconds": 0.1, "instance": f"customer way {number}"}
        items = [{"id": f"{number}-{index}", "amount": str(amount)} for index, amount in enumerate(amounts)]
        bill = {"total": str(sum(amounts)), "items": items, "item_count": 3}
        first = {"total": str(total), "currency": "CNY", "as_of": "2026-01-01T00:00:00Z"}
        sent.append({**common, "step": "bill_total", "answer": {"bill": first}})
        sent.append({**common, "step": "bill_details", "answer": {"bill": bill}})
    chance.shuffle(sent)
    for start in range(0, len(sent), 500):
        body = json.dumps(sent[start : start + 500]).encode()
        assert receiver.post("/v1/observations", body, "application/json").json["accepted"] == 500
    rows = receiver.stored()
    assert len(rows) == 4000
    assert Counter(Verdict(row["verdict"]) for _, row in rows) == {Verdict.GOOD: 3998, Verdict.WRONG: 2}
    counted: Counter[CheckResult] = Counter()
    for series, row in rows:
        position = series.checks.index("total_equals_details")
        counted[CheckResult((row["checks"] >> (2 * position)) & 3)] += 1
    assert counted == {CheckResult.NOT_EVALUATED: 2000, PASS: 1998, FAIL: 2}
    judge.close()


def test_what_waits_is_not_for_everybody_to_read(flow: FlowSpec, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        judge = AcrossJudge({flow.name: flow}, tmp_path / "data" / "across.sqlite3")
    finally:
        os.umask(before)
    try:
        modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "data").iterdir()}
    finally:
        judge.close()
    assert modes == dict.fromkeys(("across.sqlite3", "across.sqlite3-shm", "across.sqlite3-wal"), "0o640")
