"""From a strict YAML document to a model, with everything that is wrong said at its line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails

from .specification.scalar_types import refuse
from .strict_yaml import Document, Location

__all__ = ["raise_together", "validate"]

_OWN = ("cxgauge", "cxgauge_secret")  # errors whose message is the rule, see scalar_types.refuse
_NOT_A_LIST = "is not a list; write [a, b], or start each line of it with '- '"
_NOT_A_MAPPING = "is not a mapping; write 'key: value' lines below it"
_RULES = {
    "list_type": _NOT_A_LIST,
    "tuple_type": _NOT_A_LIST,
    "dict_type": _NOT_A_MAPPING,
    "model_type": _NOT_A_MAPPING,
    "model_attributes_type": _NOT_A_MAPPING,
    "mapping_type": _NOT_A_MAPPING,
    "string_type": "is not text; put it in quotes",
}

Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], document: Document, context: Any = None) -> Model | None:
    """Validate ``document`` as ``model``; what is wrong is added to ``document.faults`` and None returned.

    Values the YAML reader refused already are not refused a second time.
    """
    if not document.readable:
        return None
    try:
        found = model.model_validate(document.value, context=context)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            _add(model, document, details)
        document.faults.sort(key=lambda fault: fault.line)
        return None
    return None if document.faults else found


def raise_together(title: str, handler: Callable[[], Model], broken: Sequence[tuple[Location, str]]) -> Model:
    """Run a model's own validation and raise its errors together with ``broken`` rules between values.

    Args:
        title: Name of the model, for the exception.
        handler: The validation of the model itself.
        broken: Place and ``rule; remedy`` of each broken rule.

    Raises:
        ValidationError: there is any error.
    """
    errors: list[InitErrorDetails] = []
    try:
        found = handler()
    except ValidationError as error:
        errors.extend(_again(details) for details in error.errors(include_url=False))
    else:
        if not broken:
            return found
    told = {location for location, _ in broken}
    errors = [entry for entry in errors if entry["loc"] not in told]
    errors.extend(InitErrorDetails(type=refuse(rule), loc=location, input=None) for location, rule in broken)
    raise ValidationError.from_exception_data(title, errors)


def _again(details: ErrorDetails) -> InitErrorDetails:
    """An error in the form it can be raised again in."""
    own = details["type"] in _OWN
    kind = refuse(details["msg"], secret=details["type"] == _OWN[1]) if own else details["type"]
    return InitErrorDetails(type=kind, loc=details["loc"], input=details["input"], ctx=details.get("ctx", {}))


def _add(model: type[BaseModel], document: Document, details: ErrorDetails) -> None:
    location, missing = _location(document.value, details)
    if document.spoils(location):
        return
    if details["type"] == "missing":
        keys = tuple(key for key, _ in _fields(_type_at(model, details["loc"][:-1])))
        misspelt = _nearest(str(missing), [key for key in _mapping_at(document, location) if key not in keys])
        if misspelt is None:  # else the unknown key says it
            document.fault((*location, str(missing)), "is missing; add it", line=document.line(location))
        return
    if details["type"] == "extra_forbidden":
        known = [key for key, _ in _fields(_type_at(model, details["loc"][:-1]))]
        near = _nearest(str(location[-1]), known)
        remedy = f"did you mean '{near}'?" if near else f"known are {', '.join(sorted(known))}"
        document.fault(location, f"is an unknown key; {remedy}")
        return
    rule = _rule(details, _value_at(document.value, location))
    source = document.source(location)
    document.fault(location, rule, source="***" if source and details["type"] == _OWN[1] else source)


def _rule(details: ErrorDetails, value: Any) -> str:
    """The rule and remedy of an error; own errors carry them as their message."""
    context = details.get("ctx", {})
    kind = details["type"]
    if value is None and kind not in _OWN:
        return "has no value; write one or delete the key"
    if kind == "union_tag_not_found":
        return f"has no {context.get('discriminator', 'kind')}; add it"
    if kind in ("union_tag_invalid", "literal_error", "enum"):
        expected = str(context.get("expected_tags") or context.get("expected", ""))
        return _not_one_of(str(context.get("tag", value)), expected.replace("'", "").replace(" or ", ", "))
    if kind in ("too_long", "too_short"):
        bound, remedy = ("at most", "remove") if kind == "too_long" else ("at least", "add")
        limit = context.get("max_length", context.get("min_length"))
        return f"has {context.get('actual_length')} entries, {bound} {limit}; {remedy} some"
    message = details["msg"]
    return _RULES.get(kind) or (message if kind in _OWN else f"{message[:1].lower()}{message[1:]}; correct it")


def _not_one_of(value: str, expected: str) -> str:
    near = _nearest(value, expected.split(", "))
    return f"is not one of {expected}; " + (f"did you mean '{near}'?" if near else "choose one")


def _nearest(word: str, known: list[str]) -> str | None:
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return found[0] if found else None


def _location(value: Any, details: ErrorDetails) -> tuple[Location, str | int | None]:
    """The error's place in the document, without the union tags pydantic puts in, and a missing key if that is it."""
    parts = list(details["loc"])
    missing = parts.pop() if details["type"] == "missing" else None
    found: list[str | int] = []
    for part in parts:
        if part in value if isinstance(value, dict) else _is_entry(value, part):
            value = value[part]
            found.append(part)
        elif isinstance(value, dict) and f"{part}_file" in value:
            value = value[f"{part}_file"]
            found.append(f"{part}_file")
    if details["type"] == "union_tag_invalid" and isinstance(value, dict):
        discriminator = str(details.get("ctx", {}).get("discriminator", "")).strip("'")
        if discriminator in value:
            found.append(discriminator)
    return tuple(found), missing


def _is_entry(value: Any, part: str | int) -> bool:
    return isinstance(value, list) and isinstance(part, int) and part < len(value)


def _value_at(value: Any, location: Location) -> Any:
    for part in location:
        value = value[part]
    return value


def _mapping_at(document: Document, location: Location) -> list[str]:
    value = _value_at(document.value, location)
    return [str(key) for key in value] if isinstance(value, dict) else []


def _fields(annotation: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, info in annotation.model_fields.items():
            yield info.alias or name, info.annotation


def _type_at(annotation: Any, location: tuple[str | int, ...]) -> Any:
    """The model type at a pydantic error location, union tags included; None when it cannot be told."""
    for part in location:
        members = list(_members(annotation))
        step = None
        for member in members:
            step = step or _step_into(member, part, alone=len(members) == 1)
        annotation = step
    return next(iter(_members(annotation)), None)


def _step_into(member: Any, part: str | int, *, alone: bool) -> Any:
    origin = get_origin(member)
    if origin in (list, tuple):
        return get_args(member)[0] if isinstance(part, int) else None
    if origin is dict:
        return get_args(member)[1]
    fields = dict(_fields(member))
    if not alone:
        tagged = any(get_origin(kind) is Literal and part in get_args(kind) for kind in fields.values())
        return member if tagged else fields.get(str(part))
    return fields.get(str(part))


def _members(annotation: Any) -> Iterator[Any]:
    """The alternatives of a union without None, through Annotated."""
    if get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    elif annotation is not None and annotation is not type(None):
        yield annotation
