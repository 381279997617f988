from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from cxgauge.__main__ import application
from cxgauge.metrics.specification.template import template_names


def run(*arguments: str) -> Result:
    return CliRunner().invoke(application(), list(arguments))


def test_a_project_is_written_and_has_no_fault(tmp_path: Path) -> None:
    result = run("init", "-t", "bill_inquiry", "-t", "transfer", "-d", str(tmp_path))
    assert result.exit_code == 0
    assert result.stdout == (
        f"wrote  {tmp_path}/cxgauge.yml\nwrote  {tmp_path}/flows/bill_inquiry.yml\n"
        f"wrote  {tmp_path}/flows/transfer.yml\nAdapt them, then: cxgauge check {tmp_path}\n"
    )
    assert run("check", str(tmp_path)).exit_code == 0


def test_all_templates_together_have_no_fault(tmp_path: Path) -> None:
    options = [text for name in template_names() for text in ("--template", name)]
    assert run("init", *options, "--directory", str(tmp_path)).exit_code == 0
    assert run("check", str(tmp_path)).stdout.startswith("No fault in 7 files: 6 flows ")


def test_a_second_time_nothing_is_overwritten(tmp_path: Path) -> None:
    run("init", "-t", "log_in", "-d", str(tmp_path))
    result = run("init", "-t", "log_in", "-d", str(tmp_path))
    assert result.exit_code == 1
    assert result.stderr == (
        f"{tmp_path}/flows/log_in.yml exists already; choose another --directory, or overwrite with --force\n"
    )
    assert run("init", "-t", "log_in", "-d", str(tmp_path), "--force").exit_code == 0
    assert run("init", "-t", "transfer", "-d", str(tmp_path)).stdout.startswith(f"kept   {tmp_path}/cxgauge.yml\n")


def test_the_list() -> None:
    result = run("init", "--list")
    assert result.exit_code == 0
    assert (
        "bill_inquiry         Bill inquiry · 账单查询\n                     bill_total → bill_details" in result.stdout
    )
    assert run("init").exit_code == 2


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = run("init", "-t", "log_in", "-d", str(tmp_path / "file"))
    assert result.exit_code == 1
    assert result.stderr == f"{tmp_path}/file cannot be written (File exists); choose another --directory\n"
