from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cxgauge.__main__ import application
from cxgauge.metrics.store.migrations import migrations


def run(*arguments: str) -> Result:
    return CliRunner().invoke(application(), ["migrate", *arguments])


@pytest.fixture
def config(embedded_dsn: str, tmp_path: Path) -> str:
    path = tmp_path / "cxgauge.yml"
    path.write_text(f"database: {{dsn: {embedded_dsn!r}}}\n", encoding="utf-8")
    return str(path)


def test_plan_then_migrate_then_nothing_is_left(config: str) -> None:
    lines = [f"{one.name} (SHA-256 {one.checksum[:12]}…)" for one in migrations()]
    planned = run("--plan", "--config", config)
    assert (planned.exit_code, planned.stdout.splitlines()) == (0, [f"would apply {line}" for line in lines])
    assert run("--plan", "--config", config).stdout == planned.stdout
    applied = run("--config", config)
    assert (applied.exit_code, applied.stdout.splitlines()) == (0, [f"applied {line}" for line in lines])
    again = run("--config", config)
    assert again.stdout == f"schema 'cxgauge' is up to date at version {len(lines)}\n"


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "cxgauge.yml"
    path.write_text("database: {dsn: 'host=127.0.0.1 port=1 connect_timeout=2'}\n", encoding="utf-8")
    result = run("--config", str(path))
    assert result.exit_code == 1
    assert result.stderr.startswith("the database cannot be reached: ")
