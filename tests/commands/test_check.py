from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cxgauge.__main__ import application
from cxgauge.metrics.specification.template import template_text, write_project


def run(*arguments: str) -> Result:
    return CliRunner().invoke(application(), ["check", *arguments])


def test_a_project_without_fault(tmp_path: Path) -> None:
    write_project(tmp_path, ("bill_inquiry", "transfer"))
    result = run(str(tmp_path))
    assert (result.exit_code, result.stdout) == (0, "No fault in 3 files: 2 flows with 7 steps and 21 checks.\n")


def test_checks_between_steps_without_a_key_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(tmp_path, ("bill_inquiry",))
    result = run(str(tmp_path))
    assert (result.exit_code, result.stdout) == (0, "No fault in 2 files: 1 flow with 3 steps and 10 checks.\n")
    assert result.stderr == (
        "warning: checks between steps are not made of answers, as neither recorder.customer_key nor "
        "CXGAUGE_CUSTOMER_KEYS is set: bill_inquiry.total_equals_details, bill_inquiry.disputed_item_was_shown; write "
        'a key (umask 077; echo "1:$(openssl rand -hex 32)" > FILE) and set recorder.customer_key: file:FILE, the same '
        "for all who send\n"
    )
    monkeypatch.setenv("CXGAUGE_CUSTOMER_KEYS", "1:" + "5a" * 32)
    assert run(str(tmp_path)).stderr == ""
    monkeypatch.delenv("CXGAUGE_CUSTOMER_KEYS")
    config = tmp_path / "cxgauge.yml"
    config.write_text(f"{config.read_text()}\nrecorder: {{customer_key: env:ELSEWHERE}}\n", encoding="utf-8")
    assert run(str(tmp_path)).stderr == ""


def test_the_present_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(tmp_path, ("log_in",))
    monkeypatch.chdir(tmp_path)
    assert run().stdout == "No fault in 2 files: 1 flow with 4 steps and 5 checks.\n"


def test_every_fault_is_printed_and_the_exit_code_is_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path, ("transfer",))
    flow = Path("flows/transfer.yml")
    text = template_text("transfer")
    flow.write_text(text.replace("target: 800ms", "target: fast").replace("owner: payments\n", ""), encoding="utf-8")
    Path("cxgauge.yml").write_text("language: fr\n", encoding="utf-8")
    result = run(".", "flows", "missing.yml")
    target = text.splitlines().index("    timeliness: {target: 800ms, objective: 0.95, timeout: 8s}")  # one line less
    assert result.exit_code == 1
    assert result.stdout == (
        "cxgauge.yml:1: language='fr' is not one of en, zh; choose one\n"
        "flows/transfer.yml:5: owner is missing; add it\n"
        f"flows/transfer.yml:{target}: steps[0].timeliness.target='fast' is not a duration; write seconds, e.g. 1.0s\n"
        "missing.yml: cannot be read (No such file or directory); check the path and its permissions\n"
    )
    assert result.stderr == "4 faults in 3 of 3 files\n"


def test_faults_as_json(tmp_path: Path) -> None:
    path = tmp_path / "bill.yml"
    path.write_text("name: 账单\n", encoding="utf-8")
    result = run("--format", "json", str(path))
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found[0] == {
        "path": str(path),
        "line": 1,
        "place": "name",
        "text": "name='账单' is not a name; write lower-case letters, digits and _ (at most 63), e.g. bill_total",
    }
    assert json.loads(run("--format", "json", str(tmp_path / "none")).stdout)[0]["line"] == 0


def test_notifiers_must_be_configured(tmp_path: Path) -> None:
    write_project(tmp_path, ("transfer",))
    flow = tmp_path / "flows/transfer.yml"
    flow.write_text(
        flow.read_text(encoding="utf-8").replace("  severity: critical", "  notifiers: [log, pager]"), encoding="utf-8"
    )
    line = flow.read_text(encoding="utf-8").splitlines().index("  notifiers: [log, pager]") + 1
    assert run(str(tmp_path)).stdout == (
        f"{flow}:{line}: alerts.notifiers[1]='pager' is no notifier of the configuration; known are log\n"
    )


def test_a_configuration_without_flows(tmp_path: Path) -> None:
    path = tmp_path / "cxgauge.yml"
    path.write_text("language: zh\nflows:\n  directory: specification\n", encoding="utf-8")
    assert run(str(tmp_path)).stdout == (
        f"{path}:3: flows.directory='specification' has no *.yml file (there is no such folder); "
        "write one, e.g. cxgauge init --template bill_inquiry\n"
    )


def test_pages_that_up_would_refuse_are_a_fault(tmp_path: Path) -> None:
    write_project(tmp_path, ("log_in",))
    path = tmp_path / "cxgauge.yml"
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}http:\n  port: 9464\n  host: 0.0.0.0\n", encoding="utf-8")
    line = path.read_text(encoding="utf-8").splitlines().index("  host: 0.0.0.0") + 1
    result = run(str(tmp_path))
    assert result.exit_code == 1
    assert result.stdout == (
        f"{path}:{line}: http.host=0.0.0.0 can be reached from the network, but nobody has to sign in; set "
        "sign_in.accounts: true and run cxgauge user add NAME --role admin, or set sign_in.openid, or listen on "
        "127.0.0.1\n"
    )
    path.write_text(f"{text}http: {{host: 0.0.0.0, unencrypted: true}}\nsign_in: {{accounts: true}}\n", "utf-8")
    assert run(str(tmp_path)).exit_code == 0


def test_a_configuration_of_another_name(tmp_path: Path) -> None:
    write_project(tmp_path, ("log_in",))
    (tmp_path / "cxgauge.yml").rename(tmp_path / "production.yml")
    assert run(str(tmp_path / "production.yml")).exit_code == 0


def test_an_empty_folder(tmp_path: Path) -> None:
    assert run(str(tmp_path)).stdout == (
        f"{tmp_path}: has no *.yml file; write one, e.g. cxgauge init --template bill_inquiry\n"
    )
