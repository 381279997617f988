from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from cxgauge.__main__ import application
from cxgauge.metrics.specification.flow_schema import specification_schema


def test_the_schema_is_printed() -> None:
    result = CliRunner().invoke(application(), ["schema"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == specification_schema("flow")


def test_the_schema_is_written(tmp_path: Path) -> None:
    path = tmp_path / "config.schema.json"
    result = CliRunner().invoke(application(), ["schema", "--of", "config", "-o", str(path)])
    assert (result.exit_code, result.stdout) == (0, "")
    assert json.loads(path.read_text(encoding="utf-8")) == specification_schema("config")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "flow.schema.json"
    result = CliRunner().invoke(application(), ["schema", "-o", str(path)])
    assert result.exit_code == 1
    assert result.stderr == f"{path} cannot be written (No such file or directory); choose another --output\n"
