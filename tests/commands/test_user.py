# ruff: noqa: E501 - whole messages are asserted
"""`cxgauge user`: accounts made, changed and ended on the command line; every change audited, no password in sight."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from cxgauge.__main__ import application
from cxgauge.commands._access import access, accounts
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.specification.template import template_text
from cxgauge.metrics.store.connection import DatabaseSettings

PASSWORD = "correct horse battery"
ANOTHER = "staple horse correct"


@pytest.fixture
def run(tmp_path: Path, embedded_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CXGAUGE_TEST_DSN", embedded_dsn)
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "bill_inquiry.yml").write_text(template_text("bill_inquiry"), encoding="utf-8")
    config = tmp_path / "cxgauge.yml"
    config.write_text("database: {dsn: 'env:CXGAUGE_TEST_DSN'}\nsign_in: {accounts: true}\n", encoding="utf-8")

    def invoke(*arguments: str, typed: str = "") -> Any:
        return CliRunner().invoke(application(), ["user", *arguments, "--config", str(config)], input=typed)

    return invoke


def _rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, options="-c search_path=cxgauge") as connection:
        return connection.execute(query).fetchall()


def test_the_life_of_an_account(run: Any, embedded_dsn: str) -> None:
    added = run("add", "li.wei", "--role", "engineer", typed=f"{PASSWORD}\n")
    assert (added.exit_code, added.stdout, added.stderr) == (0, "", "li.wei may sign in as engineer.\n")
    assert run("list").stdout.split() == ["li.wei", "engineer", "in", "use", "everything", "never", "password"]
    assert run("role", "li.wei", "analyst").stderr == "li.wei is analyst now.\n"
    scoped = run(
        "scope", "li.wei", "--flow", "bill_inquiry", "--dimension", "channel=app", "--dimension", "channel=web"
    )
    assert scoped.stderr == "li.wei may see: bill_inquiry; channel=app|web.\n"
    assert run("scope", "li.wei", "--all").stderr == "li.wei may see: everything.\n"
    before = _rows(embedded_dsn, "SELECT password FROM accounts")
    changed = run("password", "li.wei", typed=f"{ANOTHER}\n")
    assert changed.stderr == "The password of li.wei is changed; 0 sessions ended.\n"
    assert _rows(embedded_dsn, "SELECT password FROM accounts") != before
    assert run("disable", "li.wei").stderr == "li.wei is disabled; 0 sessions ended.\n"
    assert "disabled" in run("list").stdout
    assert run("enable", "li.wei").stderr == "li.wei may sign in again.\n"

    audit = _rows(embedded_dsn, "SELECT actor, action, subject, address FROM audit ORDER BY audit_id")
    assert {(row[0], row[2], row[3]) for row in audit} == {(getpass.getuser(), "li.wei", "command line")}
    assert [row[1] for row in audit] == [
        "account added", "access changed", "access changed", "access changed", "password changed", "account disabled",
        "account enabled",
    ]  # fmt: skip
    everything = str(
        _rows(embedded_dsn, "SELECT a::text FROM audit AS a") + _rows(embedded_dsn, "SELECT a::text FROM accounts AS a")
    )
    assert PASSWORD not in everything
    assert ANOTHER not in everything


def test_what_cannot_be_done_says_why(run: Any, tmp_path: Path, embedded_dsn: str) -> None:
    def said(*arguments: str, typed: str = f"{PASSWORD}\n") -> str:
        result = run(*arguments, typed=typed)
        assert result.exit_code == 1, result.stdout
        return str(result.stderr)

    assert said("add", "Li Wei") == (
        "name 'Li Wei' cannot be one; use up to 64 lower-case letters, digits, . _ @ -, a letter or digit first\n"
    )
    assert said("add", "li.wei", typed="short\n") == "The password has 5 characters; choose one of at least 12.\n"
    assert said("add", "li.wei", typed="") == "The password has 0 characters; choose one of at least 12.\n"
    flows = tmp_path / "flows"
    assert said("add", "li.wei", "--flow", "bil") == f"--flow bil is not a flow of {flows}; known are bill_inquiry\n"
    assert said("add", "li.wei", "--dimension", "chanel=app").startswith(
        "--dimension chanel=app is not NAME=VALUE with a dimension of the flows: "
    )
    assert run("add", "li.wei", typed=f"{PASSWORD}\n").exit_code == 0
    assert said("add", "li.wei") == "there is an account li.wei already; cxgauge user list shows them\n"
    assert said("role", "wang", "admin") == "there is no account 'wang'; cxgauge user list shows them\n"
    assert said("scope", "li.wei") == "say what may be seen: --flow NAME, --dimension NAME=VALUE, or --all alone\n"
    assert len(_rows(embedded_dsn, "SELECT FROM audit")) == 1

    with psycopg.connect(embedded_dsn, options="-c search_path=cxgauge") as connection:
        connection.execute(
            "INSERT INTO accounts (name, role, issuer, subject, created_at) VALUES ('o', 'viewer', 'https://i', 's', now())"
        )
    assert said("password", "o") == "o signs in at https://i; its password is kept there\n"
    assert (
        said("role", "o", "admin") == "o signs in at https://i; sign_in.openid.grants decides what it may do and see\n"
    )


def test_the_audit_only_grows(run: Any, embedded_dsn: str) -> None:
    run("add", "li.wei", typed=f"{PASSWORD}\n")
    for statement in ("DELETE FROM audit", "UPDATE audit SET actor = 'x'", "TRUNCATE audit"):
        with (
            psycopg.connect(embedded_dsn, options="-c search_path=cxgauge") as connection,
            pytest.raises(
                psycopg.errors.RaiseException, match="table audit only grows: rows are neither changed nor deleted"
            ),
        ):
            connection.execute(statement)


def test_doctor_says_who_reaches_the_pages(run: Any, embedded_dsn: str) -> None:
    def said(text: str) -> tuple[str, str, str]:
        found = access(Config.parse(text))
        return str(found.health), found.detail, found.remedy or ""

    assert said("{}") == ("ok", "pages on 127.0.0.1 are open to whoever uses this machine, without sign-in", "")
    assert said("http: {host: 0.0.0.0}") == (
        "fail",
        "http.host=0.0.0.0 can be reached from the network, but nobody has to sign in",
        "set sign_in.accounts: true and run cxgauge user add NAME --role admin, or set sign_in.openid, or listen on 127.0.0.1",
    )
    assert said("http: {host: 0.0.0.0, unencrypted: true}\nsign_in: {accounts: true}") == (
        "warn",
        "passwords for the pages on 0.0.0.0 can be read on the way",
        "set http.tls, or http.public_url: https://… behind a proxy that ends TLS",
    )
    assert said("sign_in: {accounts: true}")[:2] == ("ok", "pages on 127.0.0.1 ask for sign-in by name and password")

    config, database = Config.parse("sign_in: {accounts: true}"), DatabaseSettings(embedded_dsn)
    assert list(accounts(config, database)) == []  # there is no schema yet
    run("add", "li.wei", typed=f"{PASSWORD}\n")
    (found,) = accounts(config, database)
    assert (found.detail, found.remedy) == (
        "1 in use, none of an administrator", "run cxgauge user add NAME --role admin",
    )  # fmt: skip
    run("role", "li.wei", "admin")
    (found,) = accounts(config, database)
    assert found.detail == "1 in use, 1 of them administrators"
