from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.specification import template
from cxgauge.metrics.specification.flow_schema import SCHEMA_KINDS, SchemaKind, specification_schema
from cxgauge.metrics.specification.template import template_names, template_text

CONFIG_TEMPLATE = Path(template.__file__).parent / "templates" / "_cxgauge.yml"


@pytest.mark.parametrize("kind", SCHEMA_KINDS)
def test_it_is_a_draft_07_schema_for_editors(kind: SchemaKind) -> None:
    schema = specification_schema(kind)
    Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    text = json.dumps(schema)
    assert "$defs" not in text
    assert '"null"' not in text
    assert '"discriminator"' not in text


@pytest.mark.parametrize("name", template_names())
def test_it_takes_every_template(name: str) -> None:
    assert list(Draft7Validator(specification_schema("flow")).iter_errors(yaml.safe_load(template_text(name)))) == []


def test_it_takes_the_configuration_template_with_everything_commented_in() -> None:
    validator = Draft7Validator(specification_schema("config"))
    text = CONFIG_TEMPLATE.read_text(encoding="utf-8")
    assert list(validator.iter_errors(yaml.safe_load(text))) == []
    # a server of one's own takes the place of the embedded one
    own_server = "\n".join(line for line in uncommented(text).splitlines() if "embedded_directory" not in line)
    everything = yaml.safe_load(own_server)
    assert {"database", "recorder", "http", "retention"} <= set(everything)
    assert len(everything["notifiers"]) == 2
    assert list(validator.iter_errors(everything)) == []
    assert Config.parse(own_server).notifiers[1].name == "operations"


def uncommented(text: str) -> str:
    """The template with the settings in its comments put in force; its prose comments stay."""
    lines = text.splitlines()
    head = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(lines[:head] + [line.replace("# ", "", 1) if "# " in line[:5] else line for line in lines[head:]])


@pytest.mark.parametrize("kind", SCHEMA_KINDS)
def test_every_key_is_described(kind: SchemaKind) -> None:
    schema = specification_schema(kind)
    missing = [
        f"{name}.{key}"
        for name, definition in {"": schema, **schema["definitions"]}.items()
        for key, value in definition.get("properties", {}).items()
        if not described(value, schema) and key not in ("kind", "type")
    ]
    assert missing == []


def described(value: dict[str, Any], schema: dict[str, Any]) -> bool:
    if "$ref" in value:
        return "description" in schema["definitions"][value["$ref"].rsplit("/", 1)[1]]
    return "description" in value


def test_a_secret_may_be_given_by_its_file_instead() -> None:
    validator = Draft7Validator(specification_schema("config"))
    hook = {"name": "ops", "type": "webhook"}
    assert validator.is_valid({"notifiers": [hook | {"url": "env:URL"}]})
    assert validator.is_valid({"notifiers": [hook | {"url_file": "/run/url"}]})
    assert not validator.is_valid({"notifiers": [hook]})
    assert not validator.is_valid({"notifiers": [hook | {"url": "env:URL", "url_file": "/run/url"}]})
