"""How spans that already exist are recognised as steps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema

from .bounded_pattern import PatternText
from .scalar_types import StrictModel, refuse

__all__ = ["SpanMatch", "TextMatch"]


class TextMatch(StrictModel):
    """An exact text, or a pattern for the whole text."""

    exact: str | None = Field(default=None, description="The text itself.")
    pattern: PatternText | None = Field(default=None, description="Regular expression for the whole text.")

    def matches(self, text: str) -> bool:
        """Whether ``text`` is the exact text, or wholly matches the pattern."""
        if self.pattern is None:
            return text == self.exact
        return self.pattern.matches(text) is True


def _text_match(value: object) -> object:
    if isinstance(value, bool):
        return {"exact": "true" if value else "false"}
    if isinstance(value, (str, int, float)):
        return {"exact": str(value)}
    if not isinstance(value, (dict, TextMatch)):
        raise refuse("is neither a text nor a pattern; write the text itself, or {pattern: '…'}")
    if isinstance(value, dict) and len(value) != 1:
        raise refuse("needs either 'exact' or 'pattern'; write the text itself, or {pattern: '…'}")
    return value


_TEXT_MATCH_SCHEMA = {
    "anyOf": [
        {"type": ["string", "number", "boolean"]},
        {
            "type": "object",
            "properties": {"exact": {"type": "string"}, "pattern": {"type": "string", "maxLength": 500}},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
        },
    ]
}
AnyTextMatch = Annotated[TextMatch, BeforeValidator(_text_match), WithJsonSchema(_TEXT_MATCH_SCHEMA)]


_SOME_CONDITION: list[JsonValue] = [{"required": [key]} for key in ("service", "span", "route", "attributes")]


class SpanMatch(StrictModel):
    """Conditions under which an OpenTelemetry span is this step; all that are given must hold.

    Attribute values are compared as text: ``200`` and ``true`` match the number and the boolean too.
    """

    model_config = ConfigDict(json_schema_extra={"anyOf": _SOME_CONDITION})

    service: AnyTextMatch | None = Field(default=None, description="Resource attribute `service.name`.")
    span: AnyTextMatch | None = Field(default=None, description="Span name.")
    route: AnyTextMatch | None = Field(default=None, description="Attribute `http.route`.")
    kind: Literal["internal", "server", "client", "producer", "consumer"] | None = Field(
        default=None, description="Span kind."
    )
    attributes: dict[str, AnyTextMatch] = Field(default={}, description="Span attributes by name.")
