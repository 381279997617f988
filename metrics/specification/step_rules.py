"""Rules within one step of a flow that concern more than one value, on the plain data; see :mod:`.flow_rules`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from pydantic_core import PydanticCustomError

from ..fault import Location
from ..observation import CHECKS_PER_STEP_LIMIT
from .answer_path import AnswerPath
from .scalar_types import exact_number, parse_duration

__all__ = ["Broken", "broken_step_rules", "mappings", "same_names", "suggestion"]

Broken = tuple[Location, str]
"""Place, and ``rule; remedy``."""

_OPERANDS = ("value", "of", "to")


def broken_step_rules(step: Mapping[str, Any]) -> Iterator[Broken]:
    """Everything that is wrong between the values of a step, placed from the step on."""
    yield from _times(step.get("timeliness"))
    yield from _objectives(step)
    yield from _values(step.get("values"))
    checks = mappings(step.get("checks"))
    yield from same_names("checks", checks)
    entries = step.get("checks")
    if isinstance(entries, list) and len(entries) > CHECKS_PER_STEP_LIMIT:
        yield ("checks",), f"has {len(entries)} checks, at most {CHECKS_PER_STEP_LIMIT}; split the step"
    values = step.get("values")
    names = [str(name) for name in values] if isinstance(values, dict) else []
    for index, check in checks:
        for location, rule in _check(check, names):
            yield ("checks", index, *location), rule
    for index, match in mappings(step.get("match")):
        if not set(match) - {"kind"}:
            yield ("match", index), "would take every span; name a service, span, route or attribute"


def _times(timeliness: Any) -> Iterator[Broken]:
    if not isinstance(timeliness, dict):
        return
    bands = timeliness.get("bands")
    bands = bands if isinstance(bands, dict) else {}
    target, timeout = _seconds(timeliness.get("target")), _seconds(timeliness.get("timeout"))
    good, slow = _seconds(bands.get("good")), _seconds(bands.get("slow"))
    if target is not None and slow is not None and target > slow:
        yield (
            ("timeliness", "target"),
            f"is above the end of band slow ({bands['slow']}); lower it or raise the band",
        )
    if good is not None and slow is not None and good > slow:
        yield ("timeliness", "bands", "good"), f"is above the end of band slow ({bands['slow']}); swap them"
    if timeout is None:
        return
    if target is not None and target >= timeout:
        yield ("timeliness", "target"), f"is not below the timeout ({timeliness['timeout']}); raise the timeout"
    if slow is not None and slow > timeout:
        yield ("timeliness", "bands", "slow"), f"is above the timeout ({timeliness['timeout']}); lower it"


def _objectives(step: Mapping[str, Any]) -> Iterator[Broken]:
    timeliness = step.get("timeliness")
    good = _ratio(step.get("good_objective"))
    if good is None or not isinstance(timeliness, dict):
        return
    bounds = (
        ("timeliness.objective", _ratio(timeliness.get("objective", 0.95))),
        ("accuracy_objective", _ratio(step.get("accuracy_objective", 0.999))),
    )
    for name, bound in bounds:
        if bound is not None and good > bound:
            yield ("good_objective",), f"is above {name} ({bound:g}), yet a good answer meets that too; lower it"
            return


def _values(values: Any) -> Iterator[Broken]:
    if not isinstance(values, dict):
        return
    for name, value in values.items():
        if not isinstance(value, dict):
            continue
        privacy = value.get("privacy")
        if privacy == "C3":
            yield (
                ("values", name, "privacy"),
                "is authentication data (JR/T 0171), which must not be read at all; remove the value",
            )
        elif privacy == "C2" and value.get("tokenise") is False:
            yield ("values", name, "tokenise"), "would let a value of class C2 out in clear; write tokenise: true"
        elif privacy == "C2" and "tokenise" not in value:
            yield ("values", name), "is of class C2 and must not leave the process in clear; add tokenise: true"


def _check(check: Mapping[str, Any], names: Sequence[str]) -> Iterator[Broken]:
    when = check.get("when")
    operands: list[tuple[Location, Any]] = [((key,), check.get(key)) for key in _OPERANDS]
    if isinstance(when, dict):
        operands.append((("when", "value"), when.get("value")))
        if sum(key in when for key in ("present", "equals", "not_equals")) != 1:
            yield ("when",), "needs exactly one of present, equals, not_equals; keep one"
    for location, operand in operands:
        rule = _operand(operand, names) if isinstance(operand, str) else None
        if rule is not None:
            yield location, rule
    kind = check.get("kind")
    if kind == "equals" and ("to" in check) == ("expected" in check):
        yield (), "needs either 'to' or 'expected'; keep one"
    if kind == "count_equals" and ("value" in check) == ("expected" in check):
        yield (), "needs either 'value' or 'expected'; keep one"
    if kind == "in_range":
        if "minimum" not in check and "maximum" not in check:
            yield (), "needs a limit; add minimum or maximum"
        low, high = _exact(check.get("minimum")), _exact(check.get("maximum"))
        if low is not None and high is not None and low > high:
            yield ("minimum",), f"is above the maximum ({check['maximum']}); swap them"


def _operand(operand: str, names: Sequence[str]) -> str | None:
    if not operand.startswith("$"):
        if operand in names:
            return None
        remedy = suggestion(operand, names, "declare it under values, or write a JSONPath")
        return f"is not a value of this step; {remedy}"
    try:
        AnswerPath(operand)
    except ValueError as error:
        return f"is not a JSONPath ({error}); write e.g. $.bill.total"
    return None


def same_names(key: str, entries: list[tuple[int, Mapping[str, Any]]]) -> Iterator[Broken]:
    """Entries of the list ``key`` that have the name of an earlier one."""
    first: dict[str, int] = {}
    for index, entry in entries:
        name = entry.get("name")
        if not isinstance(name, str):
            continue
        if name in first:
            yield (key, index, "name"), f"is the name of {key}[{first[name]}] already; choose another"
        first.setdefault(name, index)


def suggestion(word: str, known: Sequence[str], otherwise: str) -> str:
    """The remedy for a misspelt word: the nearest known one, else ``otherwise``."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else otherwise


def mappings(value: Any) -> list[tuple[int, Mapping[str, Any]]]:
    """Position and value of the mappings in a list; what is none is left to the model."""
    if not isinstance(value, (list, tuple)):
        return []
    return [(index, entry) for index, entry in enumerate(value) if isinstance(entry, dict)]


def _seconds(value: Any) -> float | None:
    try:
        return parse_duration(value)
    except PydanticCustomError:
        return None


def _exact(value: Any) -> Decimal | None:
    try:
        return exact_number(value)
    except PydanticCustomError:
        return None


def _ratio(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1 else None
