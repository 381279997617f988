"""Accuracy checks as the flow specification declares them: what is compared, and what a failure means.

A check reads values of one answer and says pass, fail or unknown; :mod:`.check_evaluation` does that. The
kind decides which verdict a failure means: a ``present`` or ``count_equals`` that fails is an incomplete
answer, a ``fresh_within`` a stale one, every other a wrong one. ``verdict`` overrides it.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from ..verdict import Verdict
from .answer_path import PathText
from .bounded_pattern import PatternText
from .scalar_types import Duration, ExactNumber, Name, PositiveInt, StrictModel, Text, Title, Truth, refuse

__all__ = [
    "AnyCheck",
    "CheckSpec",
    "CountEquals",
    "Equals",
    "FreshWithin",
    "InRange",
    "Matches",
    "NumberFormat",
    "Operand",
    "Present",
    "SumEquals",
    "TimeFormat",
    "ValueSpec",
    "When",
]

NumberFormat = Literal["plain", "grouped", "currency", "hundredths"]
"""How a number is written: ``plain`` 1234.50, ``grouped`` 1,234.50, ``currency`` ￥1,234.50, ``hundredths`` 123450."""

TimeFormat = Literal["iso8601", "epoch_seconds", "epoch_milliseconds", "compact", "date"]
"""How a time is written; ``compact`` is 20260131093000, ``date`` is 2026-01-31 or 20260131 and means its start."""


def _operand(value: object) -> str:
    if not isinstance(value, str):
        raise refuse("is not a value; write the name of one of the step's values, or a JSONPath such as $.total")
    return value


Operand = Annotated[
    str,
    BeforeValidator(_operand),
    WithJsonSchema({"type": "string", "pattern": r"^(\$.*|[a-z][a-z0-9_]*)$", "maxLength": 500}),
]
"""The name of one of the step's declared values, or a JSONPath (starting with ``$``) into the answer."""


def _zone(value: object) -> ZoneInfo:
    if isinstance(value, ZoneInfo):
        return value
    try:
        return ZoneInfo(value) if isinstance(value, str) else _no_zone()
    except (OSError, ValueError, KeyError):
        return _no_zone()


def _no_zone() -> ZoneInfo:
    raise refuse("is not an IANA time zone; write e.g. Asia/Shanghai")


Zone = Annotated[
    ZoneInfo,
    BeforeValidator(_zone),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9_+/-]+$"}),
]
"""An IANA time zone such as ``Asia/Shanghai``, as :class:`zoneinfo.ZoneInfo`."""


def utc() -> ZoneInfo:
    """The zone UTC, by its IANA name."""
    return ZoneInfo("UTC")


def _literal(value: object) -> object:
    if value is None or isinstance(value, (list, dict)):
        raise refuse("is not a single value; write text, a number, true or false")
    return value


LiteralValue = Annotated[
    str | bool | int | float,
    BeforeValidator(_literal),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]


def _either(*keys: str) -> ConfigDict:
    """Let editors see that exactly one of ``keys`` must be given."""
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [key]} for key in keys]})


def _tolerance(value: object) -> object:
    try:
        negative = Decimal(str(value)) < 0
    except InvalidOperation:
        return value  # ExactNumber says what is wrong with it
    if negative:
        raise refuse("is below 0; write 0 or more")
    return value


Tolerance = Annotated[
    ExactNumber,
    BeforeValidator(_tolerance),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\+?[0-9]+(\.[0-9]+)?$"}]}
    ),
]


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise refuse("is not a number of entries; write 0 or more, in digits")
    return value


Count = Annotated[int, BeforeValidator(_count), WithJsonSchema({"type": "integer", "minimum": 0})]


class When(StrictModel):
    """A condition: the check is not evaluated unless it holds (``not_evaluated``, which is no verdict)."""

    model_config = _either("present", "equals", "not_equals")

    value: Operand = Field(description="Value or path the condition looks at.")
    present: Truth | None = Field(default=None, description="Holds when the value is there and not empty (or is not).")
    equals: LiteralValue | None = Field(
        default=None, description="Holds when the value equals this; numbers as numbers."
    )
    not_equals: LiteralValue | None = Field(
        default=None, description="Holds when the value is there and differs from this."
    )


class CheckSpec(StrictModel):
    """What all checks have in common."""

    default_verdict: ClassVar[Verdict] = Verdict.WRONG

    name: Name = Field(description="Unique within the step; figures are kept under it, so keep it when rewording.")
    title: Title | None = Field(default=None, description="What people read; the name by default.")
    verdict: Literal["wrong", "incomplete", "stale"] | None = Field(
        default=None, description="What a failure means; by default decided by the kind."
    )
    when: When | None = Field(default=None, description="Evaluate only when this holds.")

    @property
    def failure_verdict(self) -> Verdict:
        """The verdict that a failure of this check means."""
        return self.default_verdict if self.verdict is None else Verdict[self.verdict.upper()]


class Present(CheckSpec):
    """The value is really there: found, and neither null, blank text nor an empty list."""

    default_verdict = Verdict.INCOMPLETE
    kind: Literal["present"]
    value: Operand = Field(description="Value that must be there.")
    at_least: PositiveInt = Field(
        default=1, description="How many non-empty values must be found; a list counts its entries."
    )


class Equals(CheckSpec):
    """The value equals another value of the answer, or a fixed one."""

    model_config = _either("to", "expected")

    kind: Literal["equals"]
    value: Operand = Field(description="Value to compare.")
    to: Operand | None = Field(default=None, description="The other value. Give this or `expected`.")
    expected: LiteralValue | None = Field(default=None, description="The fixed value. Give this or `to`.")
    tolerance: Tolerance | None = Field(
        default=None, description="Largest difference that still passes; makes both numbers."
    )


class SumEquals(CheckSpec):
    """The value equals the sum of others, such as the total of a bill and its details."""

    kind: Literal["sum_equals"]
    value: Operand = Field(description="The total.")
    of: Operand = Field(description="The values added up; without any, a total of 0 passes, any other is unknown.")
    tolerance: Tolerance = Field(
        default="0", validate_default=True, description="Largest difference that still passes."
    )


class CountEquals(CheckSpec):
    """The number of entries equals a number in the answer, or a fixed one."""

    model_config = _either("value", "expected")

    default_verdict = Verdict.INCOMPLETE
    kind: Literal["count_equals"]
    of: Operand = Field(description="The entries counted.")
    value: Operand | None = Field(default=None, description="The value that tells the number. Give this or `expected`.")
    expected: Count | None = Field(default=None, description="The fixed number. Give this or `value`.")


class FreshWithin(CheckSpec):
    """The time in the answer is not older than allowed when the answer arrived."""

    default_verdict = Verdict.STALE
    kind: Literal["fresh_within"]
    value: Operand = Field(description="The time the data is of; of several, the oldest counts.")
    within: Duration = Field(description="Greatest age that still passes.")
    clock_skew: Duration = Field(
        default="5s", validate_default=True, description="A time further in the future than this is unknown, not fresh."
    )


class Matches(CheckSpec):
    """The whole text of every value found matches a regular expression."""

    kind: Literal["matches"]
    value: Operand = Field(description="Text to look at.")
    pattern: PatternText = Field(description="Regular expression for the whole text (at most 256 characters).")


class InRange(CheckSpec):
    """Every number found lies between the limits, limits included."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["minimum"]}, {"required": ["maximum"]}]})

    kind: Literal["in_range"]
    value: Operand = Field(description="Number to look at.")
    minimum: ExactNumber | None = Field(default=None, description="Smallest number that passes.")
    maximum: ExactNumber | None = Field(default=None, description="Largest number that passes.")


AnyCheck = Annotated[
    Present | Equals | SumEquals | CountEquals | FreshWithin | Matches | InRange, Field(discriminator="kind")
]


def _tokenise_c2(schema: dict[str, Any]) -> None:
    """Let editors see that C2 needs ``tokenise: true``."""
    schema["if"] = {"properties": {"privacy": {"const": "C2"}}, "required": ["privacy"]}
    schema["then"] = {"properties": {"tokenise": {"const": True}}, "required": ["tokenise"]}


class ValueSpec(StrictModel):
    """A value of a step's answer under a name: where it is, how it is written, how private it is."""

    model_config = ConfigDict(json_schema_extra=_tokenise_c2)

    path: PathText = Field(description="JSONPath into the answer.")
    privacy: Literal["C1", "C2"] = Field(
        description=(
            "Class of JR/T 0171-2020. C1: internal. C2: identifies or describes a customer, must be tokenised. "
            "C3 (passwords, biometrics, magnetic-stripe data) is refused."
        )
    )
    tokenise: Truth = Field(
        default=False, description="Let only a keyed HMAC of the value leave the process; required for C2."
    )
    number: NumberFormat = Field(default="plain", description="How numbers are written.")
    time: TimeFormat = Field(default="iso8601", description="How times are written.")
    timezone: Zone | None = Field(
        default=None, description="Zone of times that carry none; without it they are unknown."
    )
    description: Text | None = Field(default=None, description="What the value is.")
