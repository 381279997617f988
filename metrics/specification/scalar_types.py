"""Scalar types of specification and configuration: names, durations, ratios, sizes, exact numbers.

Each refuses with the rule and the remedy as its message, so that every file says the same thing in the
same words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

__all__ = [
    "DURATION_PATTERN",
    "Bytes",
    "Duration",
    "DurationOrZero",
    "ExactNumber",
    "FilePath",
    "Name",
    "PositiveInt",
    "Ratio",
    "Seconds",
    "StrictModel",
    "Text",
    "Title",
    "Truth",
    "exact_number",
    "parse_duration",
    "refuse",
]

NAME_LIMIT = 63  # a PostgreSQL identifier, a Prometheus label value people still read
TEXT_LIMIT = 2_000


def refuse(rule: str, *, secret: bool = False) -> PydanticCustomError:
    """An error whose message is ``rule; remedy``; the place and value are put before it.

    Args:
        rule: What is wrong, and what to do about it.
        secret: The value may be a secret: the message must not repeat it.
    """
    return PydanticCustomError("cxgauge_secret" if secret else "cxgauge", "{rule}", {"rule": rule})


class StrictModel(BaseModel):
    """Base of everything read from a file: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with ``update`` (not validated); what was derived from the old values is not copied."""
        copied = super().model_copy(update=update, deep=deep)
        for name in set(copied.__dict__) - set(type(self).model_fields):
            del copied.__dict__[name]  # a cached property
        copied.model_post_init(None)
        return copied

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        fields = type(self).model_fields
        return {**state, "__dict__": {name: value for name, value in state["__dict__"].items() if name in fields}}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self.model_post_init(None)


_UNIT_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600), "d": Decimal(86400)}
DURATION_PATTERN = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
DURATION_LIMIT_SECONDS = 10 * 366 * 86400


def parse_duration(value: object) -> float:
    """Seconds of a text such as ``250ms``, ``1.0s``, ``5m``, ``2h`` or ``30d``.

    Raises:
        PydanticCustomError: not a text of that form, zero, or longer than ten years.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise refuse(f"is a number without a unit; write seconds, e.g. {value}s")
    found = _DURATION.fullmatch(value) if isinstance(value, str) and len(value) <= 32 else None
    if found is None:
        raise refuse("is not a duration; write seconds, e.g. 1.0s")
    seconds = float(Decimal(found[1]) * _UNIT_SECONDS[found[2]])
    if not 0 < seconds <= DURATION_LIMIT_SECONDS:
        raise refuse("is not between 1ms and ten years; write seconds, e.g. 1.0s")
    return seconds


def _duration_or_zero(value: object) -> float:
    return 0.0 if value == "0s" else parse_duration(value)


def _number_in(low: float, high: float, rule: str, *, closed: bool = True) -> Callable[[object], float]:
    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise refuse(rule)
        inside = low <= value <= high if closed else low < value < high
        if not inside:
            raise refuse(rule)
        return float(value)

    return check


_NAME = re.compile(r"[a-z][a-z0-9_]*")


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value) or len(value) > NAME_LIMIT:
        raise refuse(f"is not a name; write lower-case letters, digits and _ (at most {NAME_LIMIT}), e.g. bill_total")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise refuse("is not text; put it in quotes")
    if not value.strip():
        raise refuse("is empty; write some text or delete the key")
    if len(value) > TEXT_LIMIT:
        raise refuse(f"is longer than {TEXT_LIMIT} characters; shorten it")
    return value


def exact_number(value: object) -> Decimal:
    """A number exactly as it is written.

    Raises:
        PydanticCustomError: not a finite number of at most 30 digits.
    """
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise refuse("is not a number; write it plainly, e.g. 0.01")
    else:
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            raise refuse("is not a number; write it plainly, e.g. 0.01") from None
    if not number.is_finite() or abs(number.adjusted()) > 30:
        raise refuse("is not a number of at most 30 digits; write it plainly, e.g. 0.01")
    return number


_SIZE = re.compile(r"([0-9]+)(KiB|MiB|GiB|TiB)?")
_SIZE_UNIT = {None: 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def _bytes(value: object) -> int:
    found = _SIZE.fullmatch(str(value)) if isinstance(value, (int, str)) and not isinstance(value, bool) else None
    if found is None or len(found[1]) > 15 or int(found[1]) == 0:
        raise refuse("is not a size; write bytes or a unit, e.g. 64MiB")
    return int(found[1]) * _SIZE_UNIT[found[2]]


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise refuse("is not a truth value; write true or false")
    return value


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise refuse("is not a whole number; write digits only, e.g. 10")
    return value


def _positive(value: object) -> int:
    number = _whole(value)
    if not 0 < number <= 10**12:
        raise refuse("is not a positive whole number; write digits only, e.g. 10")
    return number


Name = Annotated[
    str,
    BeforeValidator(_name),
    WithJsonSchema({"type": "string", "pattern": "^[a-z][a-z0-9_]*$", "maxLength": NAME_LIMIT}),
]
"""A name that goes into tables, labels and links: lower-case letters, digits, underscore."""

Text = Annotated[
    str, BeforeValidator(_text), WithJsonSchema({"type": "string", "pattern": r"\S", "maxLength": TEXT_LIMIT})
]
"""Text that is not blank."""

Truth = Annotated[StrictBool, BeforeValidator(_truth)]
"""``true`` or ``false`` and nothing else."""

PositiveInt = Annotated[
    StrictInt, BeforeValidator(_positive), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 10**12})
]
"""A whole number from 1."""

Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN}),
]
"""A length of time with its unit, ``1.0s``; seconds inside."""

DurationOrZero = Annotated[
    float,
    BeforeValidator(_duration_or_zero),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN}),
]
"""A length of time with its unit, or ``0s``."""

Seconds = Annotated[
    float,
    BeforeValidator(_number_in(0.001, DURATION_LIMIT_SECONDS, "is not a number of seconds above 0; write e.g. 60")),
    WithJsonSchema({"type": "number", "minimum": 0.001, "maximum": DURATION_LIMIT_SECONDS}),
]
"""A plain number of seconds, for keys that end in ``_seconds``."""

Ratio = Annotated[
    float,
    BeforeValidator(_number_in(0.0, 1.0, "is not a ratio between 0 and 1; write e.g. 0.99", closed=False)),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
]
"""A share strictly between 0 and 1."""

ExactNumber = Annotated[
    Decimal,
    BeforeValidator(exact_number),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[-+]?[0-9]+(\.[0-9]+)?$"}]}),
]
"""A decimal number, kept exactly as written; quote it when it has more than 15 digits."""

Bytes = Annotated[
    int,
    BeforeValidator(_bytes),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9]+([KMGT]iB)?$"}]}
    ),
]
"""A size in bytes, ``64MiB``."""


def _file_path(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        text = str(value)
    elif isinstance(value, str) and value.strip() and "\x00" not in value:
        text = value
    else:
        raise refuse("is not a path; write e.g. data/spool")
    directory = info.context.get("directory") if isinstance(info.context, dict) else None
    path = Path(text).expanduser()
    return path if directory is None else Path(directory) / path


FilePath = Annotated[Path, BeforeValidator(_file_path), WithJsonSchema({"type": "string", "format": "path"})]
"""A path in a file; a relative one counts from the folder of that file, when ``context["directory"]`` tells it."""


class Title(StrictModel):
    """What people read, in both languages of the product."""

    en: Text = Field(description="English title.")
    zh: Text = Field(description="Chinese title.")

    def in_language(self, language: str) -> str:
        """The Chinese title for ``zh`` (and ``zh-CN``, ``zh_CN``), the English one otherwise."""
        return self.zh if language.lower().startswith("zh") else self.en
