"""Shown values against the system of record, from a database, an endpoint and a file."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from cxgauge.__main__ import application
from cxgauge.collectors.across import AcrossJudge, tokens_of_answer
from cxgauge.collectors.customer_token import CustomerKey, CustomerTokens
from cxgauge.collectors.reconcile import (
    Shown,
    UnreadableReferenceError,
    reconcile,
    reference_from_file,
    reference_from_http,
    reference_from_sql,
    shown_tokens,
    wilson_interval,
)
from cxgauge.metrics.configuration.secret import Secret
from cxgauge.metrics.specification.template import template_spec, template_text

NOW = 1_767_225_600.0
SECRET = "5a" * 32
KEY = CustomerKey(1, bytes.fromhex(SECRET))
TOKENS = CustomerTokens([KEY])
TRUTH = {f"statement {number}": f"{number}.50" for number in range(1000)}
WRONG = {"statement 7": "7.51", "statement 500": "5.00"}


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration and what a thousand customers were shown, two of them wrongly and one without reference."""
    monkeypatch.setenv("CXGAUGE_CUSTOMER_KEYS", f"1:{SECRET}")
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "bill_inquiry.yml").write_text(template_text("bill_inquiry"), encoding="utf-8")
    (tmp_path / "cxgauge.yml").write_text("language: en\n", encoding="utf-8")
    flow = template_spec("bill_inquiry")
    judge = AcrossJudge({flow.name: flow}, tmp_path / "data" / "across.sqlite3")
    for statement, amount in {**TRUTH, **WRONG, "unknown to the bank": "1"}.items():
        instance = TOKENS.flow_instance(statement)
        answer = {"bill": {"total": amount}}
        judge.judge(flow.name, instance, tokens_of_answer(flow, "bill_total", instance, answer, KEY), NOW)
    judge.close()
    return tmp_path


def compare(installation: Path, reference: Any, **options: Any) -> Any:
    flow = template_spec("bill_inquiry")
    check, shown = shown_tokens(installation / "data" / "across.sqlite3", flow, "bill_total.total")
    return reconcile(shown, reference, check, TOKENS, **options)


def test_counts_and_interval(installation: Path) -> None:
    found = compare(installation, [*TRUTH.items(), ("x", "not a number"), (None, 1)])
    assert (found.shown, found.sampled, found.matched, found.differing) == (1001, 1001, 998, 2)
    assert (found.missing, found.unreadable, found.other_key) == (1, 2, 0)
    assert found.error_rate == 0.002
    low, high = found.interval
    assert 0.0005 < low < 0.002 < high < 0.008


def test_a_sample_is_drawn_at_random_and_repeatable(installation: Path) -> None:
    found = [compare(installation, TRUTH.items(), sample=100, seed=seed) for seed in (1, 1, 2)]
    assert found[0] == found[1]
    assert found[0].sampled == found[0].matched + found[0].differing + found[0].missing == 100


def test_nothing_to_compare_has_no_rate(installation: Path) -> None:
    found = compare(installation, [])
    assert (found.missing, found.error_rate, found.interval) == (1001, None, None)


def test_a_key_that_is_gone_is_told(installation: Path) -> None:
    flow = template_spec("bill_inquiry")
    check, shown = shown_tokens(installation / "data" / "across.sqlite3", flow, "bill_total.total")
    others = CustomerTokens([CustomerKey(2, b"another key of 16")])
    assert reconcile(shown, TRUTH.items(), check, others).other_key == 1001


def test_the_other_operand_is_reconciled_by_its_sum(tmp_path: Path) -> None:
    flow = template_spec("bill_inquiry")
    judge = AcrossJudge({flow.name: flow}, tmp_path / "a")
    instance = TOKENS.flow_instance("s")
    answer = {"bill": {"items": [{"id": "a", "amount": "1.10"}, {"id": "b", "amount": "2.20"}]}}
    judge.judge(flow.name, instance, tokens_of_answer(flow, "bill_details", instance, answer, KEY), NOW)
    judge.close()
    check, shown = shown_tokens(tmp_path / "a", flow, "bill_details.amounts")
    assert len(shown) == 1
    assert reconcile(shown, [("s", "3.3")], check, TOKENS).matched == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "bill_total.amount",
            (
                "bill_total.amount is used by no check between steps of bill_inquiry; tokens are kept of "
                "bill_details.amounts, bill_details.item_ids, bill_dispute.item_id, bill_total.total"
            ),
        ),
        (
            "bill_details.item_ids",
            (
                "bill_details.item_ids is a list in disputed_item_was_shown; reconcile the single value that it is "
                "compared with"
            ),
        ),
    ],
)
def test_values_without_tokens(tmp_path: Path, value: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        shown_tokens(tmp_path / "a", template_spec("bill_inquiry"), value)
    assert str(caught.value) == message


def test_wilson() -> None:
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def run(installation: Path, *options: str) -> Any:
    config = str(installation / "cxgauge.yml")
    arguments = ["reconcile", "bill_inquiry", "bill_total.total", *options, "--config", config]
    return CliRunner().invoke(application(), arguments)


SHOWN = [
    "shown            1001",
    "sampled          1001",
    "matched           998",
    "differing           2",
    "missing             1   not in the reference",
    "error rate 0.2000% (95 % interval 0.0549% to 0.7263%)",
]


def test_against_a_database_that_is_only_read(
    installation: Path, embedded_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORE_DSN", embedded_dsn)
    with psycopg.connect(embedded_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE statements (id text, total numeric); CREATE SEQUENCE numbers")
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO statements VALUES (%s, %s)", list(TRUTH.items()))
    result = run(installation, "--dsn", "env:CORE_DSN", "--sql", "SELECT id, total FROM statements")
    assert (result.exit_code, result.stdout.splitlines()) == (1, SHOWN)
    core = Secret(variable="CORE_DSN")
    with pytest.raises(UnreadableReferenceError) as caught:
        list(reference_from_sql(core, "SELECT nextval('numbers'), 1"))
    assert str(caught.value) == ("the reference cannot be read: cannot execute nextval() in a read-only transaction")
    with pytest.raises(UnreadableReferenceError) as caught:
        list(reference_from_sql(core, "SELECT 1"))
    assert str(caught.value) == "the query does not give two columns; select flow instance and value"


@pytest.fixture
def endpoint() -> Iterator[Any]:
    """An HTTP endpoint of the bank: ``endpoint.lines = […]``; ``endpoint.url``."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            good = self.headers.get("authorization") == "Bearer x"
            self.send_response(200 if good else 401)
            self.end_headers()
            self.wfile.write("\n".join(server.lines).encode() if good else b"")

        def log_message(self, *_: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        lines: list[str]

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_against_an_endpoint(installation: Path, endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORE_TOKEN", "Bearer x")
    endpoint.lines = [json.dumps({"instance": name, "value": float(value)}) for name, value in TRUTH.items()]
    url = f"http://127.0.0.1:{endpoint.server_address[1]}/"
    result = run(installation, "--url", url, "--authorization", "env:CORE_TOKEN")
    assert (result.exit_code, result.stdout.splitlines()) == (1, SHOWN)
    refused = run(installation, "--url", url)
    assert (refused.exit_code, refused.stderr) == (1, "the reference answers with status 401\n")
    endpoint.lines = ['{"instance": 1}']
    broken = run(installation, "--url", url, "--authorization", "env:CORE_TOKEN")
    assert broken.stderr == 'line 1 of the reference is not {"instance": …, "value": …}\n'
    with pytest.raises(UnreadableReferenceError, match=r"^the reference cannot be reached: ConnectError$"):
        list(reference_from_http(Secret(plain="http://127.0.0.1:1/")))


def test_against_a_file(installation: Path, tmp_path: Path) -> None:
    file = tmp_path / "reference.csv"
    rows = [f"{name},{value}" for name, value in (TRUTH | WRONG).items()]
    file.write_text("\n".join(["instance,value", *rows]), encoding="utf-8")
    result = run(installation, "--file", str(file), "--sample", "500", "--seed", "1", "--format", "json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["sampled"], found["differing"]) == (0, 500, 0)
    assert found["error_rate_high"] < 0.01
    file.write_text("id,value\n", encoding="utf-8")
    with pytest.raises(
        UnreadableReferenceError, match=r"has no columns instance and value; name them in its first line$"
    ):
        list(reference_from_file(file))


def test_options_that_make_no_reference(installation: Path) -> None:
    for options in ([], ["--sql", "x"], ["--file", "a", "--url", "http://b"]):
        result = run(installation, *options)
        assert (result.exit_code, result.stderr) == (1, "give one reference: --sql with --dsn, --url, or --file\n")
    plain = run(installation, "--dsn", "postgresql://user:secret@host/db", "--sql", "x")
    assert plain.stderr == "--dsn is a secret; write env:NAME or file:PATH, not the secret itself\n"


def test_equal_instances_are_compared_each(installation: Path) -> None:
    flow = template_spec("bill_inquiry")
    check, shown = shown_tokens(installation / "data" / "across.sqlite3", flow, "bill_total.total")
    twice = [*shown, Shown(shown[0].instance, bytes([1]) + bytes(15))]
    found = reconcile(twice, TRUTH.items(), check, TOKENS)
    assert (found.differing, found.matched) == (3, 998)
