"""JSON Schema (draft-07, which editors understand) of flow files and of the configuration."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic.json_schema import GenerateJsonSchema

from ..configuration.config import Config
from .flow_spec import FlowSpec
from .scalar_types import DURATION_PATTERN, StrictModel

__all__ = ["SCHEMA_KINDS", "SchemaKind", "specification_schema"]

SchemaKind = Literal["flow", "config"]
SCHEMA_KINDS: tuple[SchemaKind, ...] = get_args(SchemaKind)
_MODELS: dict[SchemaKind, type[StrictModel]] = {"flow": FlowSpec, "config": Config}
_TITLES = {"flow": "cxgauge flow", "config": "cxgauge configuration"}


def specification_schema(kind: SchemaKind) -> dict[str, Any]:
    """The JSON Schema of a kind of file.

    It sees what concerns one value; rules between values (names that refer to each other, an order of
    limits) are seen by ``cxgauge check`` only.
    """
    schema = _MODELS[kind].model_json_schema(schema_generator=GenerateJsonSchema)
    definitions = {name: _draft_07(value) for name, value in schema.pop("$defs", {}).items()}
    result: dict[str, Any] = {"$schema": "http://json-schema.org/draft-07/schema#"}
    result.update(_draft_07(schema))
    result["title"] = _TITLES[kind]
    result["definitions"] = dict(sorted(definitions.items()))
    return result


def _draft_07(value: Any) -> Any:
    """Rewrite references, and drop OpenAPI's discriminator, null (never taken from a file) and null defaults."""
    if isinstance(value, list):
        return [_draft_07(entry) for entry in value]
    if not isinstance(value, dict):
        return value.replace("#/$defs/", "#/definitions/") if isinstance(value, str) else value
    value = {key: entry for key, entry in value.items() if key != "discriminator"}
    if "default" in value and not isinstance(value["default"], (str, int, float, bool)):
        del value["default"]
    if value.get("pattern") == DURATION_PATTERN and isinstance(value.get("default"), (int, float)):
        value["default"] = f"{value['default']:g}s"  # seconds inside, a text in files
    if "patternProperties" in value:
        value.setdefault("additionalProperties", False)  # else any name that does not match would do
    alternatives = value.get("anyOf")
    if isinstance(alternatives, list) and {"type": "null"} in alternatives:
        rest = [entry for entry in alternatives if entry != {"type": "null"}]
        del value["anyOf"]
        value = {**(rest[0] if len(rest) == 1 else {"anyOf": rest}), **value}
    if "$ref" in value and len(value) > 1:
        value["allOf"] = [{"$ref": value.pop("$ref")}, *value.get("allOf", [])]  # draft-07 ignores siblings of $ref
    return {key: _draft_07(entry) for key, entry in value.items()}
