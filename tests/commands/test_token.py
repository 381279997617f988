"""`cxgauge token`: made, listed, revoked, audited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from cxgauge.__main__ import application
from cxgauge.collectors.receiver.sender_tokens import SenderTokens
from cxgauge.metrics.specification.template import template_text


@pytest.fixture
def run(tmp_path: Path, migrated_embedded_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CXGAUGE_TEST_DSN", migrated_embedded_dsn)
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "bill_inquiry.yml").write_text(template_text("bill_inquiry"), encoding="utf-8")
    config = tmp_path / "cxgauge.yml"
    config.write_text("database: {dsn: 'env:CXGAUGE_TEST_DSN'}\n", encoding="utf-8")

    def invoke(*arguments: str) -> Any:
        return CliRunner().invoke(application(), ["token", *arguments, "--config", str(config)])

    return invoke


def test_the_life_of_a_token(run: Any, tmp_path: Path, migrated_embedded_dsn: str) -> None:
    added = run("add", "bill service", "--flow", "bill_inquiry")
    assert added.exit_code == 0, added.stderr
    token = added.stdout.strip()
    tokens = SenderTokens(tmp_path / "data" / "sender-tokens.json")
    sender = tokens.sender(token)
    assert sender is not None
    assert (sender.name, sender.flows) == ("bill service", frozenset({"bill_inquiry"}))
    assert token not in added.stderr
    listed = run("list").stdout
    assert listed.split()[:2] == [sender.id, "good"]
    assert listed.endswith("bill_inquiry  bill service\n")
    assert run("revoke", sender.id).stderr == f"Token {sender.id} of bill service is revoked.\n"
    assert run("list").stdout.split()[:2] == [sender.id, "revoked"]
    with psycopg.connect(migrated_embedded_dsn) as connection:
        audit = connection.execute("SELECT action, subject, details FROM cxgauge.audit ORDER BY audit_id").fetchall()
    assert audit == [
        ("token added", sender.id, {"name": "bill service", "flows": ["bill_inquiry"]}),
        ("token revoked", sender.id, {"name": "bill service"}),
    ]


def test_what_cannot_be_done_says_why(run: Any, tmp_path: Path) -> None:
    unknown = run("add", "a", "--flow", "bil")
    flows = tmp_path / "flows"
    assert (unknown.exit_code, unknown.stderr) == (1, f"--flow bil is not a flow of {flows}; known are bill_inquiry\n")
    missing = run("revoke", "00000000")
    assert (missing.exit_code, missing.stderr) == (1, "there is no token 00000000; `cxgauge token list` shows them\n")


def test_a_token_that_cannot_be_audited_is_not_made(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXGAUGE_TEST_DSN", "postgresql://127.0.0.1:1/none")
    refused = run("add", "a")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("the database cannot be reached: ")
    assert not (tmp_path / "data" / "sender-tokens.json").exists()
