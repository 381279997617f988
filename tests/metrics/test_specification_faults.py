"""Every fault file is refused with exactly the messages beside it, and the JSON Schema sees what it can."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.specification.flow_schema import SchemaKind, specification_schema
from cxgauge.metrics.strict_yaml import read_document
from cxgauge.metrics.validation import validate

FOLDER = Path(__file__).parent / "faults"
FLOW_FAULTS = sorted(FOLDER.glob("*.yml"))
CONFIG_FAULTS = sorted((FOLDER / "config").glob("*.yml"))

# What JSON Schema cannot say: rules of YAML itself, and rules between values or about the meaning of one.
BEYOND_SCHEMA = {
    # YAML: the schema sees what a lenient reader made of it
    "anchor_and_alias", "duplicate_key", "duplicate_key_far_apart", "full_width_colon",
    "invisible_character", "merge_key", "not_a_number", "not_utf_8", "syntax", "tab",
    "two_documents", "underscore_number", "yaml_1_1_boolean", "yaml_directive", "yaml_tag",
    # between values
    "across_counted_elsewhere", "across_duplicate", "across_named_like_a_check", "across_same_step",
    "across_unknown_step", "across_unknown_value", "bands_swapped", "dimension_reserved", "dimension_too_many_values",
    "dimension_value_other", "dimension_value_twice", "dimension_values_and_limit", "duplicate_check",
    "duplicate_dimension", "duplicate_step", "good_objective_above_timeliness", "match_twice", "next_itself",
    "next_unknown_step", "range_swapped", "slow_band_above_timeout", "target_above_slow_band", "target_above_timeout",
    "unknown_value", "unreachable_step", "dsn_and_embedded", "notifier_twice", "password_without_dsn",
    "retention_swapped",
    # the meaning of a text
    "calendar_date_that_is_none", "duration_zero", "json_path", "json_path_that_can_take_long",
    "json_path_with_expression", "regular_expression", "regular_expression_can_run_long",
    "regular_expression_with_reference", "dsn_keywords_with_password", "dsn_with_password", "time_zone",
}  # fmt: skip


@cache
def validator(kind: SchemaKind) -> Draft7Validator:
    return Draft7Validator(specification_schema(kind))


def faults(path: Path, model: type[FlowSpec] | type[Config]) -> str:
    document = read_document(path, path.name)
    assert validate(model, document) is None
    return "".join(f"{fault}\n" for fault in document.faults)


@pytest.mark.parametrize("path", FLOW_FAULTS, ids=lambda path: path.stem)
def test_flow_fault(path: Path) -> None:
    assert faults(path, FlowSpec) == path.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", CONFIG_FAULTS, ids=lambda path: path.stem)
def test_config_fault(path: Path) -> None:
    assert faults(path, Config) == path.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FLOW_FAULTS + CONFIG_FAULTS, ids=lambda path: path.stem)
def test_messages_name_value_rule_and_remedy(path: Path) -> None:
    for line in path.with_suffix(".txt").read_text(encoding="utf-8").splitlines():
        place, rule = line.split(": ", 1)
        assert place.startswith(f"{path.name}:")
        assert "; " in rule
        assert "hunter2" not in line
        assert "0123456" not in line


@pytest.mark.parametrize(
    ("kind", "path"),
    [("flow", path) for path in FLOW_FAULTS] + [("config", path) for path in CONFIG_FAULTS],
    ids=lambda value: value.stem if isinstance(value, Path) else value,
)
def test_the_schema_refuses_what_it_can_see(kind: SchemaKind, path: Path) -> None:
    refused = False
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
        refused = not validator(kind).is_valid(value)
    except (yaml.YAMLError, UnicodeDecodeError):
        pass  # an editor would not come as far as the schema
    assert refused == (path.stem not in BEYOND_SCHEMA)
