"""Evaluating a step's checks on one answer: pass, fail or unknown, each with its reason.

Nothing here raises: whatever goes wrong in a check, in the answer's own code included, is ``unknown``. A
reason is one of a fixed list of sentences and never holds a value of the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from decimal import Decimal
from typing import Any

from ..verdict import CheckResult
from .answer_path import AnswerPath, TooManyNodesError
from .answer_values import as_decimal, as_timestamp, difference, total
from .check import (
    CheckSpec,
    CountEquals,
    Equals,
    FreshWithin,
    InRange,
    Matches,
    NumberFormat,
    Present,
    SumEquals,
    TimeFormat,
    ValueSpec,
    When,
)
from .check_reason import CheckOutcome, Reason

__all__ = [
    "Answer",
    "CheckOutcome",
    "Evaluate",
    "Reason",
    "compile_check",
    "evaluate_checks",
    "structured",
]

ANSWER_TEXT_LIMIT = 1 << 20  # characters of an answer given as JSON text

PASS, FAIL, UNKNOWN = CheckResult.PASS, CheckResult.FAIL, CheckResult.UNKNOWN


Finding = tuple[CheckResult, Reason]

_HOLDS: Finding = (PASS, Reason.HOLDS)
_MISSING: Finding = (UNKNOWN, Reason.VALUE_MISSING)
_NOT_A_NUMBER: Finding = (UNKNOWN, Reason.NOT_A_NUMBER)


class Answer:
    """An answer under evaluation; what a path finds is remembered for the step's other checks."""

    __slots__ = ("_found", "_value")

    def __init__(self, value: object) -> None:
        self._value = value
        self._found: dict[str, list[Any]] = {}

    def find(self, path: AnswerPath) -> list[Any]:
        """The values ``path`` finds."""
        found = self._found.get(path.text)
        if found is None:
            found = self._found[path.text] = path.find(self._value)
        return found


Evaluate = Callable[[Answer, float], CheckOutcome]
"""``(answer, at) -> outcome`` of one compiled check; ``at`` is when the answer arrived, seconds since 1970."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """An operand: where it is and how it is written."""

    path: AnswerPath
    number: NumberFormat = "plain"
    time: TimeFormat = "iso8601"
    zone: tzinfo | None = None
    single: bool = False

    def nodes(self, answer: Answer) -> Sequence[Any]:
        """The values found; the list that a path to one value finds is taken as its entries."""
        found = answer.find(self.path)
        if self.single and found and isinstance(found[0], (list, tuple)):
            return found[0]
        return found

    def numbers(self, answer: Answer) -> list[Decimal | None]:
        return [as_decimal(node, self.number) for node in self.nodes(answer)]


class _UnreadableError(Exception):
    def __init__(self, finding: Finding) -> None:
        super().__init__()
        self.finding = finding


def compile_check(check: CheckSpec, values: Mapping[str, ValueSpec]) -> Evaluate:
    """Prepare a check for evaluation; the result never raises.

    Args:
        check: The check.
        values: The declared values of its step.
    """
    find = _COMPILERS[type(check)](check, values)
    condition = None if check.when is None else _condition(check.when, values)
    name = check.name
    outcomes: dict[Finding, CheckOutcome] = {}

    def evaluate(answer: Answer, at: float) -> CheckOutcome:
        try:
            if condition is not None and not condition(answer):
                finding = (CheckResult.NOT_EVALUATED, Reason.CONDITION_NOT_MET)
            else:
                finding = find(answer, at)
        except _UnreadableError as error:
            finding = error.finding
        except TooManyNodesError:
            finding = (UNKNOWN, Reason.TOO_MANY_VALUES)
        except Exception:
            finding = (UNKNOWN, Reason.CHECK_FAILED)
        outcome = outcomes.get(finding)
        if outcome is None:
            outcome = outcomes[finding] = CheckOutcome(name, *finding)
        return outcome

    return evaluate


def evaluate_checks(evaluators: Iterable[tuple[str, Evaluate]], answer: object, at: float) -> tuple[CheckOutcome, ...]:
    """Evaluate compiled checks ``(name, evaluate)`` on an answer, JSON text included."""
    try:
        view = Answer(structured(answer))
    except _UnreadableError as error:
        return tuple(CheckOutcome(name, *error.finding) for name, _ in evaluators)
    return tuple(evaluate(view, at) for _, evaluate in evaluators)


def structured(answer: object) -> object:
    """JSON text as its value, numbers exactly; anything else as it is."""
    if not isinstance(answer, (str, bytes, bytearray)):
        return answer
    if len(answer) > ANSWER_TEXT_LIMIT:
        raise _UnreadableError((UNKNOWN, Reason.ANSWER_TOO_LARGE))
    try:
        return json.loads(answer, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise _UnreadableError((UNKNOWN, Reason.ANSWER_NOT_JSON)) from None


def _reading(operand: str, values: Mapping[str, ValueSpec]) -> _Reading:
    if operand.startswith("$"):
        path = AnswerPath(operand)
        return _Reading(path, single=path.singular)
    value = values[operand]
    return _Reading(value.path, value.number, value.time, value.timezone, value.path.singular)


def _single(reading: _Reading, answer: Answer) -> Any:
    found = answer.find(reading.path)
    if not found or found[0] is None:
        raise _UnreadableError(_MISSING)
    if len(found) > 1:
        raise _UnreadableError((UNKNOWN, Reason.SEVERAL_VALUES))
    return found[0]


def _empty(node: Any) -> bool:
    if node is None:
        return True
    if isinstance(node, str):
        return not node.strip()
    return isinstance(node, (list, tuple, dict)) and not node


def _present(check: Present, values: Mapping[str, ValueSpec]) -> Callable[[Answer, float], Finding]:
    reading, at_least = _reading(check.value, values), check.at_least

    def find(answer: Answer, at: float) -> Finding:
        del at
        filled = sum(not _empty(node) for node in reading.nodes(answer))
        if filled >= at_least:
            return _HOLDS
        return FAIL, Reason.TOO_FEW if filled else Reason.ABSENT

    return find


def _equal(one: Any, form: NumberFormat, other: Any, other_form: NumberFormat, tolerance: Decimal | None) -> Finding:
    if isinstance(one, bool) or isinstance(other, bool):
        if not (isinstance(one, bool) and isinstance(other, bool)):
            return UNKNOWN, Reason.NOT_COMPARABLE
        return _HOLDS if one == other else (FAIL, Reason.DIFFERS)
    texts = isinstance(one, str) and isinstance(other, str)
    if texts and tolerance is None and form == other_form == "plain":
        return _HOLDS if one == other else (FAIL, Reason.DIFFERS)
    if isinstance(one, (list, tuple, dict)) or isinstance(other, (list, tuple, dict)):
        return UNKNOWN, Reason.NOT_COMPARABLE
    number, other_number = as_decimal(one, form), as_decimal(other, other_form)
    if number is None or other_number is None:
        return _NOT_A_NUMBER
    apart = difference(number, other_number)
    return _HOLDS if apart <= (tolerance or 0) else (FAIL, Reason.DIFFERS)


def _equals(check: Equals, values: Mapping[str, ValueSpec]) -> Callable[[Answer, float], Finding]:
    reading = _reading(check.value, values)
    other = None if check.to is None else _reading(check.to, values)
    expected, tolerance = check.expected, check.tolerance

    def find(answer: Answer, at: float) -> Finding:
        del at
        one = _single(reading, answer)
        if other is None:
            return _equal(one, reading.number, expected, "plain", tolerance)
        return _equal(one, reading.number, _single(other, answer), other.number, tolerance)

    return find


def _sum_equals(check: SumEquals, values: Mapping[str, ValueSpec]) -> Callable[[Answer, float], Finding]:
    reading, parts, tolerance = _reading(check.value, values), _reading(check.of, values), check.tolerance

    def find(answer: Answer, at: float) -> Finding:
        del at
        whole = as_decimal(_single(reading, answer), reading.number)
        numbers = parts.numbers(answer)
        known = [number for number in numbers if number is not None]
        if whole is None or len(known) < len(numbers):
            return _NOT_A_NUMBER
        if difference(whole, total(known)) <= tolerance:
            return _HOLDS
        return (FAIL, Reason.SUM_DIFFERS) if known else _MISSING

    return find


def _count_equals(check: CountEquals, values: Mapping[str, ValueSpec]) -> Callable[[Answer, float], Finding]:
    entries = _reading(check.of, values)
    reading = None if check.value is None else _reading(check.value, values)
    fixed = check.expected

    def find(answer: Answer, at: float) -> Finding:
        del at
        expected = fixed if reading is None else as_decimal(_single(reading, answer), reading.number)
        if expected is None:
            return _NOT_A_NUMBER
        return _HOLDS if len(entries.nodes(answer)) == expected else (FAIL, Reason.COUNT_DIFFERS)

    return find


def _fresh_within(check: FreshWithin, values: Mapping[str, ValueSpec]) -> Callable[[Answer, float], Finding]:
    reading, within, skew = _reading(check.value, values), check.within, check.clock_skew

    def find(answer: Answer, at: float) -> Finding:
        times = [as_timestamp(node, reading.time, reading.zone) for node in reading.nodes(answer)]
        known = [time for time in times if time is not None]
        if not times:
            return _MISSING
        if known and at - min(known) > within:
            return FAIL, Reason.TOO_OLD
        if len(known) < len(times):
            return UNKNOWN, Reason.NOT_A_TIME
        return (UNKNOWN, Reason.IN_THE_FUTURE) if max(known) - at > skew else _HOLDS

    return find


def _matches(check: Matches, values: Mapping[str, ValueSpec]) -> Callable[[Answer, float], Finding]:
    reading, pattern = _reading(check.value, values), check.pattern

    def find(answer: Answer, at: float) -> Finding:
        del at
        finding = _MISSING
        for node in reading.nodes(answer):
            if not isinstance(node, (str, int)) or isinstance(node, bool):
                return UNKNOWN, Reason.NOT_TEXT
            matched = pattern.matches(str(node))
            if matched is False:
                return FAIL, Reason.NO_MATCH
            if matched is None:
                return UNKNOWN, Reason.TEXT_TOO_LONG
            finding = _HOLDS
        return finding

    return find


def _in_range(check: InRange, values: Mapping[str, ValueSpec]) -> Callable[[Answer, float], Finding]:
    reading, low, high = _reading(check.value, values), check.minimum, check.maximum

    def find(answer: Answer, at: float) -> Finding:
        del at
        finding = _MISSING
        for number in reading.numbers(answer):
            if number is None:
                finding = _NOT_A_NUMBER
            elif (low is not None and number < low) or (high is not None and number > high):
                return FAIL, Reason.OUT_OF_RANGE
            elif finding is _MISSING:
                finding = _HOLDS
        return finding

    return find


_COMPILERS: Mapping[type[CheckSpec], Callable[[Any, Mapping[str, ValueSpec]], Callable[[Answer, float], Finding]]] = {
    Present: _present,
    Equals: _equals,
    SumEquals: _sum_equals,
    CountEquals: _count_equals,
    FreshWithin: _fresh_within,
    Matches: _matches,
    InRange: _in_range,
}


def _condition(when: When, values: Mapping[str, ValueSpec]) -> Callable[[Answer], bool]:
    reading = _reading(when.value, values)

    def holds(answer: Answer) -> bool:
        nodes = reading.nodes(answer)
        filled = [node for node in nodes if not _empty(node)]
        if when.present is not None:
            return bool(filled) == when.present
        if len(filled) != 1:
            return False
        expected = when.not_equals if when.equals is None else when.equals
        result, _ = _equal(filled[0], reading.number, expected, "plain", None)
        return result is (FAIL if when.equals is None else PASS)

    return holds
