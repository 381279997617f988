"""The reference says what the code does: its tables are those of the models, its examples have no fault."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.specification.check_reason import Reason
from cxgauge.metrics.specification.flow import parse_flow

FOLDER = Path(__file__).parents[1] / "docs" / "reference"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_generator", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = generator()


def text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def example(name: str, start: str) -> str:
    (found,) = [block for block in re.findall(r"```yaml\n(.*?)```", text(name), re.DOTALL) if block.startswith(start)]
    return str(found)


@pytest.mark.parametrize("name", GENERATOR.FILES)
def test_tables_are_current(name: str) -> None:
    assert GENERATOR.filled(text(name)) == text(name), "run: python docs/reference/generate.py"


def test_every_model_has_its_table() -> None:
    mentioned = {model for name in GENERATOR.FILES for model in GENERATOR.mentioned(text(name))}
    assert mentioned == set(GENERATOR.definitions())


def test_a_stale_table_is_seen() -> None:
    stale = text("configuration.md").replace("| `9464` |", "| `9465` |")
    assert stale != text("configuration.md")
    assert GENERATOR.filled(stale) == text("configuration.md")


def test_the_examples_have_no_fault() -> None:
    assert parse_flow(example("flow-specification.md", "name:")).name == "bill_inquiry"
    assert Config.parse(example("configuration.md", "language:")).notifiers[1].name == "operations"


def test_every_reason_is_explained() -> None:
    explained = set(re.findall(r"`([a-z_]+)`", text("checks.md").split("## Reasons")[1]))
    assert {reason.value for reason in Reason} <= explained
