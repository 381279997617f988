from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.metrics.specification.check_evaluation import evaluate_checks
from cxgauge.metrics.specification.check_reason import REASON_TEXT, Reason, reason_text
from cxgauge.metrics.specification.flow import StepSpec, parse_flow
from cxgauge.metrics.verdict import CheckResult

PASS, FAIL, UNKNOWN, SKIPPED = CheckResult.PASS, CheckResult.FAIL, CheckResult.UNKNOWN, CheckResult.NOT_EVALUATED
AT = datetime(2026, 1, 31, 1, 30, tzinfo=UTC).timestamp()
VALUES = """
    values:
      total: {path: $.total, privacy: C1}
      fen: {path: $.fen, privacy: C1, number: hundredths}
      shown: {path: $.shown, privacy: C1, number: currency}
      amounts: {path: '$.items[*].amount', privacy: C1}
      day: {path: $.day, privacy: C1, time: date, timezone: Asia/Shanghai}
"""


def step(*checks: str) -> StepSpec:
    entries = "".join(f"      - {{name: check_{index}, {text}}}\n" for index, text in enumerate(checks))
    text = f"""
name: bill
title: {{en: Bill, zh: 账单}}
owner: cards
steps:
  - name: total
    title: {{en: Total, zh: 总额}}
    timeliness: {{target: 1s}}
    checks:
{entries}{VALUES}"""
    return parse_flow(text).steps[0]


def outcome(check: str, answer: object, at: float = AT) -> tuple[CheckResult, Reason]:
    (found,) = evaluate_checks(step(check).evaluators, answer, at)
    assert found.name == "check_0"
    return found.result, found.code


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"a": "x"}, (PASS, Reason.HOLDS)),
        ({"a": 0}, (PASS, Reason.HOLDS)),
        ({"a": False}, (PASS, Reason.HOLDS)),
        ({"a": [1]}, (PASS, Reason.HOLDS)),
        ({"a": {"b": 1}}, (PASS, Reason.HOLDS)),
        ({}, (FAIL, Reason.ABSENT)),
        ({"a": None}, (FAIL, Reason.ABSENT)),
        ({"a": "  "}, (FAIL, Reason.ABSENT)),
        ({"a": []}, (FAIL, Reason.ABSENT)),
        ({"a": [None, ""]}, (FAIL, Reason.ABSENT)),
        ({"a": {}}, (FAIL, Reason.ABSENT)),
        ([], (FAIL, Reason.ABSENT)),
    ],
)
def test_present(answer: object, expected: object) -> None:
    assert outcome("kind: present, value: $.a", answer) == expected


def test_only_the_list_at_the_end_of_a_path_to_one_value_is_taken_as_entries() -> None:
    answer = {"rows": [[1, 2]], "n": 1}
    assert outcome("kind: count_equals, value: $.n, of: $.rows", answer) == (PASS, Reason.HOLDS)
    assert outcome("kind: count_equals, value: $.n, of: '$.rows[*]'", answer) == (PASS, Reason.HOLDS)
    assert outcome("kind: count_equals, expected: 2, of: '$.rows[0]'", answer) == (PASS, Reason.HOLDS)


def test_present_counts() -> None:
    check = "kind: present, value: '$.items[*]', at_least: 2"
    assert outcome(check, {"items": [1, 2]}) == (PASS, Reason.HOLDS)
    assert outcome(check, {"items": [1, None]}) == (FAIL, Reason.TOO_FEW)
    assert outcome("kind: present, value: $.items, at_least: 2", {"items": [1, 2]}) == (PASS, Reason.HOLDS)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1, 1.0, (PASS, Reason.HOLDS)),
        ("1.10", Decimal("1.1"), (PASS, Reason.HOLDS)),
        ("1.10", 1.1, (PASS, Reason.HOLDS)),
        ("1.10", "1.1", (FAIL, Reason.DIFFERS)),
        ("a", "a", (PASS, Reason.HOLDS)),
        (1, 2, (FAIL, Reason.DIFFERS)),
        (0.1 + 0.2, "0.3", (FAIL, Reason.DIFFERS)),
        (True, True, (PASS, Reason.HOLDS)),
        (True, False, (FAIL, Reason.DIFFERS)),
        (True, 1, (UNKNOWN, Reason.NOT_COMPARABLE)),
        ("a", 1, (UNKNOWN, Reason.NOT_A_NUMBER)),
        ("1,234", 1234, (UNKNOWN, Reason.NOT_A_NUMBER)),
        ([1], [1], (UNKNOWN, Reason.NOT_COMPARABLE)),
        (None, 1, (UNKNOWN, Reason.VALUE_MISSING)),
        (1, None, (UNKNOWN, Reason.VALUE_MISSING)),
    ],
)
def test_equals(one: object, other: object, expected: object) -> None:
    assert outcome("kind: equals, value: $.one, to: $.other", {"one": one, "other": other}) == expected


def test_equals_with_tolerance_compares_numbers() -> None:
    check = "kind: equals, value: $.one, to: $.other, tolerance: 0.01"
    assert outcome(check, {"one": "1.10", "other": "1.1"}) == (PASS, Reason.HOLDS)
    assert outcome(check, {"one": "1.11", "other": "1.10"}) == (PASS, Reason.HOLDS)
    assert outcome(check, {"one": "1.12", "other": "1.10"}) == (FAIL, Reason.DIFFERS)
    assert outcome(check, {"one": "a", "other": "a"}) == (UNKNOWN, Reason.NOT_A_NUMBER)


def test_equals_in_declared_forms() -> None:
    check = "kind: equals, value: shown, to: fen"
    assert outcome(check, {"shown": "￥1,234.50", "fen": 123450}) == (PASS, Reason.HOLDS)
    assert outcome(check, {"shown": "￥1,234.51", "fen": 123450}) == (FAIL, Reason.DIFFERS)
    assert outcome(check, {"shown": "about 1,234", "fen": 123450}) == (UNKNOWN, Reason.NOT_A_NUMBER)


def test_equals_a_fixed_value() -> None:
    assert outcome("kind: equals, value: $.a, expected: true", {"a": True}) == (PASS, Reason.HOLDS)
    assert outcome("kind: equals, value: $.a, expected: CNY", {"a": "USD"}) == (FAIL, Reason.DIFFERS)
    assert outcome("kind: equals, value: $.a, expected: 0", {"a": "0.00"}) == (PASS, Reason.HOLDS)
    assert outcome("kind: equals, value: '$.a[*]', expected: 0", {"a": [0, 0]}) == (UNKNOWN, Reason.SEVERAL_VALUES)


SUM = "kind: sum_equals, value: total, of: amounts"


@given(st.lists(st.decimals(min_value=-(10**9), max_value=10**9, places=2), min_size=1, max_size=20), st.booleans())
def test_a_sum_holds_exactly_and_fails_by_the_smallest_unit(amounts: list[Decimal], as_text: bool) -> None:
    cents = sum(int(amount * 100) for amount in amounts)
    items = [{"amount": f"{amount:f}" if as_text else amount} for amount in amounts]
    assert outcome(SUM, {"total": Decimal(cents).scaleb(-2), "items": items}) == (PASS, Reason.HOLDS)
    assert outcome(SUM, {"total": Decimal(cents + 1).scaleb(-2), "items": items}) == (FAIL, Reason.SUM_DIFFERS)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"total": 0.3, "items": [{"amount": 0.1}, {"amount": 0.2}]}, (PASS, Reason.HOLDS)),
        ({"total": 0, "items": []}, (PASS, Reason.HOLDS)),
        ({"total": 5, "items": []}, (UNKNOWN, Reason.VALUE_MISSING)),
        ({"total": 5}, (UNKNOWN, Reason.VALUE_MISSING)),
        ({"items": [{"amount": 1}]}, (UNKNOWN, Reason.VALUE_MISSING)),
        ({"total": 1, "items": [{"amount": 1}, {"amount": None}]}, (UNKNOWN, Reason.NOT_A_NUMBER)),
        ({"total": 1, "items": [{"amount": True}]}, (UNKNOWN, Reason.NOT_A_NUMBER)),
        ({"total": "1.00", "items": [{"amount": "￥1.00"}]}, (UNKNOWN, Reason.NOT_A_NUMBER)),
        ({"total": float("nan"), "items": [{"amount": 1}]}, (UNKNOWN, Reason.NOT_A_NUMBER)),
    ],
)
def test_sum_equals(answer: object, expected: object) -> None:
    assert outcome(SUM, answer) == expected


def test_sum_within_tolerance() -> None:
    check = "kind: sum_equals, value: total, of: $.parts, tolerance: 0.05"
    assert outcome(check, {"total": "1.05", "parts": ["0.50", "0.50"]}) == (PASS, Reason.HOLDS)
    assert outcome(check, {"total": "1.06", "parts": ["0.50", "0.50"]}) == (FAIL, Reason.SUM_DIFFERS)


@pytest.mark.parametrize(
    ("check", "answer", "expected"),
    [
        ("value: $.n, of: '$.items[*]'", {"n": 2, "items": [1, 2]}, (PASS, Reason.HOLDS)),
        ("value: $.n, of: $.items", {"n": "2", "items": [1, 2]}, (PASS, Reason.HOLDS)),
        ("value: $.n, of: '$.items[*]'", {"n": 3, "items": [1, 2]}, (FAIL, Reason.COUNT_DIFFERS)),
        ("value: $.n, of: '$.items[*]'", {"n": 0}, (PASS, Reason.HOLDS)),
        ("value: $.n, of: '$.items[*]'", {"n": 1}, (FAIL, Reason.COUNT_DIFFERS)),
        ("value: $.n, of: '$.items[*]'", {"items": [1]}, (UNKNOWN, Reason.VALUE_MISSING)),
        ("value: $.n, of: '$.items[*]'", {"n": "many", "items": [1]}, (UNKNOWN, Reason.NOT_A_NUMBER)),
        ("expected: 1, of: '$.items[*]'", {"items": [1]}, (PASS, Reason.HOLDS)),
        ("expected: 0, of: '$.items[*]'", {"items": [1]}, (FAIL, Reason.COUNT_DIFFERS)),
    ],
)
def test_count_equals(check: str, answer: object, expected: object) -> None:
    assert outcome(f"kind: count_equals, {check}", answer) == expected


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["2026-01-31T01:29:00Z"], (PASS, Reason.HOLDS)),
        (["2026-01-31T01:29:00Z", "2026-01-31T01:15:00Z"], (PASS, Reason.HOLDS)),
        (["2026-01-31T01:29:00Z", "2026-01-31T01:14:59Z"], (FAIL, Reason.TOO_OLD)),
        (["2026-01-31T01:30:05Z"], (PASS, Reason.HOLDS)),
        (["2026-01-31T01:30:06Z"], (UNKNOWN, Reason.IN_THE_FUTURE)),
        (["2026-01-31T09:29:00"], (UNKNOWN, Reason.NOT_A_TIME)),
        ([], (UNKNOWN, Reason.VALUE_MISSING)),
        (["never", "2026-01-01T00:00:00Z"], (FAIL, Reason.TOO_OLD)),
    ],
)
def test_fresh_within(times: list[str], expected: object) -> None:
    assert outcome("kind: fresh_within, value: '$.at[*]', within: 15m", {"at": times}) == expected


def test_fresh_within_days_of_the_bank() -> None:
    check = "kind: fresh_within, value: day, within: 1d"
    assert outcome(check, {"day": "20260131"}) == (PASS, Reason.HOLDS)
    assert outcome(check, {"day": "2026-01-30"}) == (FAIL, Reason.TOO_OLD)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["CNY", "USD"], (PASS, Reason.HOLDS)),
        (["CNY", "RMB!"], (FAIL, Reason.NO_MATCH)),
        (["CNY "], (FAIL, Reason.NO_MATCH)),
        ([123], (FAIL, Reason.NO_MATCH)),
        ([], (UNKNOWN, Reason.VALUE_MISSING)),
        ([None], (UNKNOWN, Reason.NOT_TEXT)),
        ([True], (UNKNOWN, Reason.NOT_TEXT)),
        (["C" * 257], (UNKNOWN, Reason.TEXT_TOO_LONG)),
    ],
)
def test_matches(codes: list[object], expected: object) -> None:
    assert outcome("kind: matches, value: '$.codes[*]', pattern: '[A-Z]{3}'", {"codes": codes}) == expected


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([0, 100, "50.5"], (PASS, Reason.HOLDS)),
        ([-0.01], (FAIL, Reason.OUT_OF_RANGE)),
        ([1, "x", 101], (FAIL, Reason.OUT_OF_RANGE)),
        ([1, "x"], (UNKNOWN, Reason.NOT_A_NUMBER)),
        ([], (UNKNOWN, Reason.VALUE_MISSING)),
    ],
)
def test_in_range(numbers: list[object], expected: object) -> None:
    assert outcome("kind: in_range, value: '$.n[*]', minimum: 0, maximum: 100", {"n": numbers}) == expected


@pytest.mark.parametrize(
    ("when", "answer", "result"),
    [
        ("value: total, not_equals: 0", {"total": "12.00"}, FAIL),
        ("value: total, not_equals: 0", {"total": "0.00"}, SKIPPED),
        ("value: total, not_equals: 0", {}, SKIPPED),
        ("value: $.state, equals: approved", {"state": "approved"}, FAIL),
        ("value: $.state, equals: approved", {"state": "declined"}, SKIPPED),
        ("value: $.state, present: true", {"state": "x"}, FAIL),
        ("value: $.state, present: true", {}, SKIPPED),
        ("value: $.state, present: false", {}, FAIL),
        ("value: $.flag, equals: false", {"flag": False}, FAIL),
        ("value: $.flag, equals: false", {"flag": True}, SKIPPED),
    ],
)
def test_when(when: str, answer: object, result: CheckResult) -> None:
    found, code = outcome(f"kind: present, value: $.details, when: {{{when}}}", answer)
    assert found is result
    assert (code is Reason.CONDITION_NOT_MET) == (result is SKIPPED)


def test_json_text_keeps_numbers_exactly() -> None:
    text = '{"total": 0.3, "items": [{"amount": 0.10}, {"amount": 0.20}]}'
    assert outcome(SUM, text) == (PASS, Reason.HOLDS)
    assert outcome(SUM, text.encode()) == (PASS, Reason.HOLDS)
    assert outcome(SUM, '{"total": 12345678901234567.89, "items": [{"amount": 12345678901234567.88}]}')[0] is FAIL


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("{", Reason.ANSWER_NOT_JSON),
        ("<html>", Reason.ANSWER_NOT_JSON),
        (b"\xff", Reason.ANSWER_NOT_JSON),
        ("[" * 100_000, Reason.ANSWER_NOT_JSON),
        (" " * (1 << 21), Reason.ANSWER_TOO_LARGE),
        ('{"total": NaN, "items": [{"amount": 1}]}', Reason.NOT_A_NUMBER),
        ('{"total": 1e999999999, "items": [{"amount": 1}]}', Reason.NOT_A_NUMBER),
        (json.dumps({"total": 1, "items": [{"amount": 1}] * 10_001}), Reason.TOO_MANY_VALUES),
        (object(), Reason.VALUE_MISSING),
        (7, Reason.VALUE_MISSING),
    ],
)
def test_unusable_answers_are_unknown(answer: object, code: Reason) -> None:
    assert outcome(SUM, answer) == (UNKNOWN, code)


class Hostile(dict[str, Any]):
    def __contains__(self, key: object) -> bool:
        raise RuntimeError("boom")

    def get(self, key: str, default: object = None) -> object:
        raise RuntimeError("boom")


@dataclass
class HostileProperty:
    total: Any = None

    def __getattribute__(self, name: str) -> Any:
        if name == "total":
            raise KeyError("boom")
        return super().__getattribute__(name)


@pytest.mark.parametrize("answer", [Hostile(), HostileProperty.__new__(HostileProperty)])
def test_an_answer_that_raises_is_unknown(answer: object) -> None:
    assert outcome(SUM, answer) == (UNKNOWN, Reason.CHECK_FAILED)


ALL_KINDS = step(
    "kind: present, value: $.a",
    "kind: equals, value: $.a, to: $.b",
    "kind: equals, value: $.a, expected: 1, when: {value: $.b, equals: 2}",
    "kind: sum_equals, value: $.a, of: '$.b[*]'",
    "kind: count_equals, value: $.a, of: $.b",
    "kind: fresh_within, value: $.a, within: 1m",
    "kind: matches, value: $.a, pattern: '[a-z]+'",
    "kind: in_range, value: $..b, minimum: 0",
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.decimals() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=10,
)


@given(ANYTHING, st.floats())
def test_nothing_raises_and_reasons_hold_no_value(answer: object, at: float) -> None:
    found = evaluate_checks(ALL_KINDS.evaluators, answer, at)
    assert [entry.name for entry in found] == list(ALL_KINDS.check_names)
    assert all(entry.text == REASON_TEXT[entry.code] for entry in found)


def test_every_reason_has_its_sentence() -> None:
    assert set(REASON_TEXT) == set(Reason)
    for reason in Reason:
        assert reason_text(reason, "en") == REASON_TEXT[reason]
        assert any("\u4e00" <= letter <= "\u9fff" for letter in reason_text(reason, "zh"))
