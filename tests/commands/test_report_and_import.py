"""The commands import, report and status as a new user calls them, one after the other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cxgauge.__main__ import application

PATTERN = r"(?P<observed_at>\S+) (?P<step>[A-Z]+ \S+) (?P<status>\d+) (?P<duration_ms>[\d.]+)"


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(application(), list(arguments))


@pytest.fixture
def folder(tmp_path: Path, migrated_embedded_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cxgauge.yml").write_text(
        "timezone: Asia/Shanghai\ndatabase: {dsn: 'env:TEST_DSN'}\n", encoding="utf-8"
    )
    monkeypatch.setenv("TEST_DSN", migrated_embedded_dsn)
    monkeypatch.chdir(tmp_path)
    lines = [f"2026-03-14T10:{n // 60:02d}:{n % 60:02d}+08:00 GET /bills/{n} 200 {200 + n}" for n in range(600)]
    lines.insert(300, "not such a line")
    (tmp_path / "access.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_import_report_status(folder: Path) -> None:
    imported = _run("import", "access.log", "--flow", "web", "--pattern", PATTERN, "--write-flow", "flows/web.yml")
    assert imported.exit_code == 0, imported.output
    assert imported.stdout == (
        "wrote flows/web.yml; correct titles, owner and targets, then: cxgauge check flows/web.yml\n"
        "imported 600 observations from 2026-03-14 02:00:00 to 2026-03-14 02:09:59 UTC\n"
        "        600  get_bills_id\n"
        "not imported: 1 lines, kept in access.log.rejected\n"
        "          1  does not match the pattern\n"
    )
    assert (folder / "access.log.rejected").read_text() == "301\tdoes not match the pattern\tnot such a line\n"

    again = _run("import", "access.log", "--flow", "web", "--pattern", PATTERN, "--output", "json")
    assert json.loads(again.stdout)["accepted"] == 0

    report = _run("report", "web", "--from", "2026-03-14", "--to", "2026-03-15", "--format", "json")
    assert report.exit_code == 0, report.output
    figures = json.loads(report.stdout)["figures"]
    assert figures["observations"] == 600
    assert figures["steps"][0]["p95"]["value"] == pytest.approx(0.200 + 0.95 * 0.599, rel=0.01)

    written = _run("report", "web", "--from", "2026-03-14", "--to", "2026-03-15", "--language", "zh", "-o", "web.md")
    assert written.exit_code == 0, written.output
    assert (folder / "web.md").read_text("utf-8").startswith("# web：客户体验报告\n")

    state = _run("status", "--from", "2026-03-14", "--format", "json")
    assert state.exit_code == 0, state.output
    assert json.loads(state.stdout)["flows"][0]["state"] == "learning"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "nothing.csv"], "nothing.csv is not a file; give a file, or - for standard input\n"),
        (["report", "web"], "flow 'web' is not declared in {flows}; declared are bill_inquiry\n"),
        (
            ["report", "bill_inquiry", "--from", "soon"],
            (
                "'soon' is not a time; write a day (2026-03-14), a time (2026-03-14T10:42), now, today, or 7d for "
                "seven days ago\n"
            ),
        ),
        (
            ["report", "bill_inquiry", "--compare", "ever"],
            "--compare 'ever' is not known; write one of previous, week, year, before, none, or release:8.1.0..8.2.0\n",
        ),
    ],
)
def test_what_cannot_be_done_says_why(folder: Path, arguments: list[str], message: str) -> None:
    initialised = _run("init", "--template", "bill_inquiry")
    assert initialised.exit_code == 0, initialised.output
    result = _run(*arguments)
    assert result.exit_code == 1
    assert result.stderr == message.format(flows="flows")
