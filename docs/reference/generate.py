"""Fills the key tables of the reference from the specification's own models.

Between ``<!-- keys: NAME -->`` and ``<!-- end -->`` stands the table of one model; ``flow`` and ``config`` are the
files themselves. Run: python docs/reference/generate.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from cxgauge.metrics.specification.flow_schema import SCHEMA_KINDS, specification_schema

FOLDER = Path(__file__).parent
FILES = ("flow-specification.md", "checks.md", "configuration.md")
_BLOCK = re.compile(r"(<!-- keys: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

_BELOW = "mapping, see below"

# What a pattern of the schema is called; anything else with a pattern is "text".
_KINDS = (
    ("duration", r"(ms|s|m|h|d)$"),
    ("name", "^[a-z][a-z0-9_]*$"),
    ("`step.value`", r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$"),
    ("value name or JSONPath", r"^(\$.*|"),
    ("JSONPath", r"^\$"),
    ("database address or [secret](configuration.md#secrets)", "postgres(ql)?"),
    ("address or [secret](configuration.md#secrets)", "https?://[^?@]+)$"),
    ("[secret](configuration.md#secrets)", "^(env:"),
    ("date in quotes", "^[0-9]{4}-"),
    ("time zone", "^[A-Za-z0-9_+/-]+$"),
    ("country code", "^[A-Z]{2}$"),
    ("origin", "^https?://[^/"),
)


@cache
def definitions() -> dict[str, dict[str, Any]]:
    """Every model by name."""
    found: dict[str, dict[str, Any]] = {}
    for kind in SCHEMA_KINDS:
        schema = specification_schema(kind)
        found |= schema["definitions"]
        found[kind] = schema
    return found


def notifier_types() -> list[str]:
    """The models of notifiers, in the order of the union."""
    ways = definitions()["config"]["properties"]["notifiers"]["items"]["oneOf"]
    return [way["$ref"].rsplit("/", 1)[1] for way in ways]


def notifiers() -> str:
    """The keys that all notifiers have, then each type with its own."""
    types = notifier_types()
    common = set.intersection(*(set(definitions()[name]["properties"]) for name in types)) - {"type"}
    parts = [table(types[0], only=common)]
    for name in types:
        schema = definitions()[name]
        kind = schema["properties"]["type"]["const"]
        own = set(schema["properties"]) - common - {"type"}
        parts.append(f"**`type: {kind}`** {_flat(schema['description'])}\n")
        parts += [table(name, only=own)] if own else []
    return "\n".join(parts)


def table(name: str, only: set[str] | None = None) -> str:
    """The key table of a model, or of some of its keys."""
    if name == "notifiers":
        return notifiers()
    schema = definitions()[name]
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    either = {key for part in schema.get("allOf", []) for way in part.get("oneOf", []) for key in way["required"]}
    for key, value in schema["properties"].items():
        if key.endswith("_file") and key.removesuffix("_file") in schema["properties"]:
            continue  # said beside the key itself
        if only is not None and key not in only:
            continue
        required = key in schema.get("required", []) or key in either
        default = "**required**" if required else f"`{_default(value)}`" if "default" in value else ""
        description = _flat(value.get("description") or _target(value).get("description", ""))
        keys = f"`{key}` or `{key}_file`" if f"{key}_file" in schema["properties"] else f"`{key}`"
        lines.append(f"| {keys} | {_cell(_type(value))} | {default} | {_cell(description)} |")
    return "\n".join(lines) + "\n"


def filled(text: str) -> str:
    """``text`` with every table as it should be."""
    return _BLOCK.sub(lambda block: block[1] + table(block[2]) + block[3], text)


def mentioned(text: str) -> Iterator[str]:
    """Names of the models whose tables ``text`` has."""
    for block in _BLOCK.finditer(text):
        yield from notifier_types() if block[2] == "notifiers" else (block[2],)


def _target(value: dict[str, Any]) -> dict[str, Any]:
    reference = value.get("$ref") or next((part["$ref"] for part in value.get("allOf", []) if "$ref" in part), None)
    return definitions()[reference.rsplit("/", 1)[1]] if reference else {}


def _type(value: dict[str, Any]) -> str:
    if "const" in value or "enum" in value:
        return " · ".join(f"`{entry}`" for entry in value.get("enum", [value.get("const")]))
    if _target(value):
        return _BELOW
    if "anyOf" in value:
        return _alternatives(value["anyOf"])
    container = value.get("type") if value.get("type") in ("array", "object") else None
    return _container(value) if container else _plain(value)


def _container(value: dict[str, Any]) -> str:
    if value["type"] == "array":
        inner, kind = value["items"], "list"
    else:
        named = list(value.get("patternProperties", {}).values())
        inner, kind = named[0] if named else value["additionalProperties"], "mapping"
    return f"{kind}, see below" if "$ref" in str(inner) else f"{kind} of {_plural(_type(inner))}"


def _alternatives(ways: list[dict[str, Any]]) -> str:
    text = json.dumps(ways)
    if "iB" in text:
        return "size"
    if '"object"' in text:
        return "text, or `{pattern: …}`"
    return "number"


def _plain(value: dict[str, Any]) -> str:
    pattern = value.get("pattern", "")
    for kind, part in _KINDS:
        if part in pattern:
            return kind
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` · `false`"}
    if value.get("format") == "path":
        return "path"
    if "exclusiveMaximum" in value:
        return "ratio 0–1"
    kind = value["type"]
    return names[kind] if isinstance(kind, str) else "text, number, `true` or `false`"


def _plural(kind: str) -> str:
    words = {"text": "texts", "name": "names", "whole number": "whole numbers", "origin": "origins"}
    return words.get(kind, kind)


def _default(value: dict[str, Any]) -> str:
    default = value["default"]
    if isinstance(default, bool):
        return str(default).lower()
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if "iB" in str(value.get("anyOf")) and default % size == 0:
            return f"{default // size}{unit}"
    return str(default)


def _flat(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    for name in FILES:
        path = FOLDER / name
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
