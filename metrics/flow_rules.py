"""Rules of a flow specification that concern more than one value.

They read the plain data, before and beside the model: so a file with a misspelt key still gets all its
other faults told at once. What has the wrong type is left to the model and skipped here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from pydantic_core import PydanticCustomError

from .answer_path import AnswerPath
from .observation import CHECKS_PER_STEP_LIMIT
from .scalar_types import exact_number, parse_duration
from .strict_yaml import Location

__all__ = ["broken_rules"]

Broken = tuple[Location, str]
_OPERANDS = ("value", "of", "to")
_RESERVED_DIMENSIONS = ("flow", "step", "verdict", "check", "le", "quantile", "instance", "job")


def broken_rules(data: Mapping[str, Any]) -> Iterator[Broken]:
    """Everything that is wrong between the values of a flow, as place and ``rule; remedy``."""
    steps = _mappings(data.get("steps"))
    if data.get("steps") == []:
        yield ("steps",), "is empty; add the first step"
    yield from _same_names("steps", steps)
    yield from _dimensions(data)
    yield from _transitions(steps)
    for index, step in steps:
        for location, rule in _step(step):
            yield ("steps", index, *location), rule
    yield from _same_matches(steps)
    yield from _across(data, steps)


def _dimensions(data: Mapping[str, Any]) -> Iterator[Broken]:
    dimensions = _mappings(data.get("dimensions"))
    yield from _same_names("dimensions", dimensions)
    for index, dimension in dimensions:
        place = ("dimensions", index)
        if dimension.get("name") in _RESERVED_DIMENSIONS:
            yield (*place, "name"), "is a label of its own already; choose another name"
        if dimension.get("privacy") in ("C2", "C3"):
            yield (*place, "privacy"), "is of customers' data, and dimensions are kept in clear; remove the dimension"
        values = dimension.get("values")
        if isinstance(values, list):
            if "limit" in dimension:
                yield (*place, "limit"), "has no use beside 'values'; keep one of the two"
            if not values:
                yield (*place, "values"), "is empty, so every value would be 'other'; list the values, or give a limit"
            for position, value in enumerate(values):
                if isinstance(value, str) and value in ("other", "unknown"):
                    yield (*place, "values", position), "is what other values become; remove it"
                elif value in values[:position]:
                    yield (*place, "values", position), "is given twice; keep one"
                elif isinstance(value, str) and len(value) > 64:
                    yield (*place, "values", position), "is longer than 64 characters; shorten it"
        limit = dimension.get("limit")
        if isinstance(limit, int) and limit > 1000:
            yield (
                (*place, "limit"),
                "is more than 1000 distinct values, too many to compare; choose a coarser one",
            )


def _step(step: Mapping[str, Any]) -> Iterator[Broken]:
    yield from _times(step.get("timeliness"))
    yield from _objectives(step)
    yield from _values(step.get("values"))
    checks = _mappings(step.get("checks"))
    yield from _same_names("checks", checks)
    entries = step.get("checks")
    if isinstance(entries, list) and len(entries) > CHECKS_PER_STEP_LIMIT:
        yield ("checks",), f"has {len(entries)} checks, at most {CHECKS_PER_STEP_LIMIT}; split the step"
    values = step.get("values")
    names = [str(name) for name in values] if isinstance(values, dict) else []
    for index, check in checks:
        for location, rule in _check(check, names):
            yield ("checks", index, *location), rule
    for index, match in _mappings(step.get("match")):
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
        remedy = _suggestion(operand, names, "declare it under values, or write a JSONPath")
        return f"is not a value of this step; {remedy}"
    try:
        AnswerPath(operand)
    except ValueError as error:
        return f"is not a JSONPath ({error}); write e.g. $.bill.total"
    return None


def _transitions(steps: list[tuple[int, Mapping[str, Any]]]) -> Iterator[Broken]:
    names = [step.get("name") for _, step in steps]
    known = [name for name in names if isinstance(name, str)]
    if len(known) < len(names) or not names:
        return
    after: list[set[int]] = []
    certain = True  # a misspelt name would reach something, so nothing is called unreachable then
    for position, (index, step) in enumerate(steps):
        following = step.get("next")
        if not isinstance(following, list):
            after.append(_default_following(steps, position))
            continue
        after.append({known.index(name) for name in following if name in known})
        for place, name in enumerate(following):
            if name not in known:
                certain = False
                remedy = _suggestion(str(name), known, f"known are {', '.join(known)}")
                yield ("steps", index, "next", place), f"is not a step of this flow; {remedy}"
            elif name == known[position]:
                yield ("steps", index, "next", place), "is the step itself; write repeated: true instead"
    for position in sorted(set(range(len(steps))) - _reached(after)) if certain else ():
        yield (
            ("steps", steps[position][0], "name"),
            "cannot be reached from the first step; name it in a 'next', or remove it",
        )


def _reached(after: Sequence[set[int]]) -> set[int]:
    reached, waiting = {0}, [0]
    while waiting:
        new = after[waiting.pop()] - reached
        reached |= new
        waiting.extend(new)
    return reached


def _default_following(steps: list[tuple[int, Mapping[str, Any]]], position: int) -> set[int]:
    result: set[int] = set()
    for later in range(position + 1, len(steps)):
        result.add(later)
        if steps[later][1].get("optional") is not True:
            break
    return result


def _same_matches(steps: list[tuple[int, Mapping[str, Any]]]) -> Iterator[Broken]:
    seen: list[tuple[Mapping[str, Any], str]] = []
    for index, step in steps:
        for position, match in _mappings(step.get("match")):
            place = f"steps[{index}].match[{position}]"
            for other, where in seen:
                if other == match:
                    yield ("steps", index, "match", position), f"takes the same spans as {where}; tell them apart"
                    break
            seen.append((match, place))


def _across(data: Mapping[str, Any], steps: list[tuple[int, Mapping[str, Any]]]) -> Iterator[Broken]:
    across = _mappings(data.get("across"))
    yield from _same_names("across", across)
    by_name = {step["name"]: step for _, step in steps if isinstance(step.get("name"), str)}
    counted: dict[str, int] = {}
    for index, check in across:
        place = ("across", index)
        for key in ("value", "of"):
            rule = _across_operand(check.get(key), by_name)
            if rule is not None:
                yield (*place, key), rule
        sides = [str(check.get(key)).partition(".")[0] for key in ("value", "of")]
        if sides[0] == sides[1] and sides[0] in by_name:
            yield (*place, "of"), "is of the same step as 'value'; move the check to the step's own checks"
        target = check.get("step", sides[1])
        if "step" in check and isinstance(target, str) and target not in sides:
            yield (*place, "step"), f"is neither step of the check; write {sides[0]} or {sides[1]}"
        step = by_name.get(target) if isinstance(target, str) else None
        if step is None:
            continue
        own = [other.get("name") for _, other in _mappings(step.get("checks"))]
        if check.get("name") in own:
            yield (*place, "name"), f"is a check of step {target} already; choose another name"
        counted[target] = counted.get(target, len(own)) + 1
        if counted[target] == CHECKS_PER_STEP_LIMIT + 1 and len(own) <= CHECKS_PER_STEP_LIMIT:
            yield (
                place,
                f"is check {CHECKS_PER_STEP_LIMIT + 1} of step {target}, at most {CHECKS_PER_STEP_LIMIT}; remove some",
            )


def _across_operand(operand: Any, by_name: Mapping[str, Mapping[str, Any]]) -> str | None:
    if not isinstance(operand, str) or operand.count(".") != 1:
        return None
    step_name, _, value_name = operand.partition(".")
    if step_name not in by_name:
        return f"names no step of this flow; {_suggestion(step_name, list(by_name), 'known are ' + ', '.join(by_name))}"
    values = by_name[step_name].get("values")
    names = [str(name) for name in values] if isinstance(values, dict) else []
    if value_name in names:
        return None
    return f"names no value of step {step_name}; {_suggestion(value_name, names, 'declare it under its values')}"


def _same_names(key: str, entries: list[tuple[int, Mapping[str, Any]]]) -> Iterator[Broken]:
    first: dict[str, int] = {}
    for index, entry in entries:
        name = entry.get("name")
        if not isinstance(name, str):
            continue
        if name in first:
            yield (key, index, "name"), f"is the name of {key}[{first[name]}] already; choose another"
        first.setdefault(name, index)


def _suggestion(word: str, known: Sequence[str], otherwise: str) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else otherwise


def _mappings(value: Any) -> list[tuple[int, Mapping[str, Any]]]:
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
