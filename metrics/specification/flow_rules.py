"""Rules of a flow specification that concern more than one value.

They read the plain data, before and beside the model: so a file with a misspelt key still gets all its
other faults told at once. What has the wrong type is left to the model and skipped here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..observation import CHECKS_PER_STEP_LIMIT
from .step_rules import Broken, broken_step_rules, mappings, same_names, suggestion

__all__ = ["broken_rules"]

_RESERVED_DIMENSIONS = ("flow", "step", "verdict", "check", "le", "quantile", "instance", "job")


def broken_rules(data: Mapping[str, Any]) -> Iterator[Broken]:
    """Everything that is wrong between the values of a flow, as place and ``rule; remedy``."""
    steps = mappings(data.get("steps"))
    if data.get("steps") == []:
        yield ("steps",), "is empty; add the first step"
    yield from same_names("steps", steps)
    yield from _dimensions(data)
    yield from _transitions(steps)
    for index, step in steps:
        for location, rule in broken_step_rules(step):
            yield ("steps", index, *location), rule
    yield from _same_matches(steps)
    yield from _across(data, steps)


def _dimensions(data: Mapping[str, Any]) -> Iterator[Broken]:
    dimensions = mappings(data.get("dimensions"))
    yield from same_names("dimensions", dimensions)
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
                remedy = suggestion(str(name), known, f"known are {', '.join(known)}")
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
        for position, match in mappings(step.get("match")):
            place = f"steps[{index}].match[{position}]"
            for other, where in seen:
                if other == match:
                    yield ("steps", index, "match", position), f"takes the same spans as {where}; tell them apart"
                    break
            seen.append((match, place))


def _across(data: Mapping[str, Any], steps: list[tuple[int, Mapping[str, Any]]]) -> Iterator[Broken]:
    across = mappings(data.get("across"))
    yield from same_names("across", across)
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
        own = [other.get("name") for _, other in mappings(step.get("checks"))]
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
        return f"names no step of this flow; {suggestion(step_name, list(by_name), 'known are ' + ', '.join(by_name))}"
    values = by_name[step_name].get("values")
    names = [str(name) for name in values] if isinstance(values, dict) else []
    if value_name in names:
        return None
    return f"names no value of step {step_name}; {suggestion(value_name, names, 'declare it under its values')}"
