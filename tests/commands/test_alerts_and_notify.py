"""The commands about alerts and notifiers, as people call them, on a real database."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from cxgauge.__main__ import application
from cxgauge.alerts.alert import alert_from_json
from cxgauge.alerts.lifecycle import Lifecycle, LifecycleSettings
from cxgauge.alerts.records import save_lifecycle
from cxgauge.metrics.deviation import Deviation, DeviationKind, Scope
from cxgauge.metrics.store.alerts import read_alerts
from cxgauge.metrics.store.store import Store

CONFIG = """
timezone: Asia/Shanghai
database: {dsn: 'env:TEST_DSN'}
notifiers:
  - {name: log, type: log}
  - {name: group, type: wecom, url: 'env:TEST_URL', language: zh}
  - {name: am, type: alertmanager, url: 'env:TEST_URL'}
  - {name: nowhere, type: slack, url: 'env:TEST_NOT_SET'}
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(application(), list(arguments))


@pytest.fixture
def posts() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a local service, and what it was sent."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"errcode": 0}')

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


@pytest.fixture
def folder(tmp_path: Path, migrated_embedded_dsn: str, posts: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cxgauge.yml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.setenv("TEST_DSN", migrated_embedded_dsn)
    monkeypatch.setenv("TEST_URL", posts[0])
    monkeypatch.delenv("TEST_NOT_SET", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def alert_id(folder: Path, migrated_embedded_dsn: str) -> str:
    """A firing alert in the store."""
    now = time.time()
    times = (now, now - 180, now - 240, now - 120)
    deviation = Deviation(
        DeviationKind.SLOWER, Scope("bill_inquiry", "total"), *times, 0.17, 0.16, 0.18, 1.0, 1.19, 3412, 41200
    )
    with Store.open(migrated_embedded_dsn) as store:
        store.migrate()
        lifecycle = Lifecycle(LifecycleSettings(settle_seconds=0), {})
        transitions = lifecycle.apply([deviation], now)
        with store.connection() as connection, connection.transaction():
            save_lifecycle(connection, {}, lifecycle, transitions)
    return next(iter(lifecycle.alerts))


def test_no_alerts(folder: Path) -> None:
    assert run("alerts", "list").stdout == "no open alerts\n"


def test_list_and_show(alert_id: str) -> None:
    listed = run("alerts", "list")
    assert listed.exit_code == 0, listed.output
    assert listed.stdout.startswith(f"{alert_id}  [WARNING] bill_inquiry › total: slower, +19 %\n")
    as_json = json.loads(run("alerts", "list", "--format", "json").stdout)
    assert [(each["id"], each["change"]["unit"]) for each in as_json] == [(alert_id, "seconds")]
    shown = run("alerts", "show", alert_id[:6])
    assert "1.00 → 1.19 s, +19 % (95 % interval 17–20 %)" in shown.stdout
    assert re.findall(r"^\S+ \S+  (.*)$", shown.stdout, re.MULTILINE)[-2:] == ["found", "reported"]
    trail = json.loads(run("alerts", "show", alert_id, "--format", "json").stdout)["trail"]
    assert [step["kind"] for step in trail] == ["opened", "fired"]


def test_what_people_do_is_kept(alert_id: str) -> None:
    assert run("alerts", "acknowledge", alert_id[:4], "--by", "wang", "--note", "looking").stdout == (
        f"{alert_id} acknowledged\n"
    )
    assert run("alerts", "assign", alert_id, "cards", "--by", "wang").exit_code == 0
    assert run("alerts", "comment", alert_id, "release 8.2.0?", "--by", "li").exit_code == 0
    assert run("alerts", "accept", alert_id, "--by", "wang", "--note", "agreed").stdout == (
        f"{alert_id} accepted as the new normal\n"
    )
    assert "  acknowledged · wang · looking\n" in run("alerts", "show", alert_id).stdout
    trail = json.loads(run("alerts", "show", alert_id, "--format", "json").stdout)["trail"]
    assert [(step["kind"], step["by"], step["note"]) for step in trail[2:]] == [
        ("acknowledged", "wang", "looking"),
        ("assigned", "wang", "cards"),
        ("commented", "li", "release 8.2.0?"),
        ("accepted", "wang", "agreed"),
        ("resolved", "", "accepted"),
    ]
    refused = run("alerts", "acknowledge", alert_id, "--by", "wang")
    assert (refused.exit_code, refused.stderr) == (1, f"alert '{alert_id}' is not open; open alerts: none\n")


def test_an_id_that_is_none(alert_id: str) -> None:
    wrong = run("alerts", "comment", "zzz", "hm")
    assert (wrong.exit_code, wrong.stderr) == (
        1, "no single alert's id begins with 'zzz'; see the ids with: cxgauge alerts list\n",
    )  # fmt: skip


def test_a_silence_is_stored(folder: Path, migrated_embedded_dsn: str) -> None:
    made = run("alerts", "silence", "upgrade", "--for", "3h", "--flow", "transfer*", "--maintenance", "--by", "wang")
    assert made.exit_code == 0, made.output
    with Store.open(migrated_embedded_dsn) as store, store.connection() as connection:
        (row,) = connection.execute(
            "SELECT author, comment, extract(epoch FROM ends_at - starts_at)::int, document ->> 'flow' FROM silences"
        ).fetchall()
        assert row == ("wang", "upgrade", 10800, "transfer*")
        assert [alert_from_json(document) for document in read_alerts(connection)] == []
    assert (
        run("alerts", "silence", " ", "--for", "1h").stderr
        == "a silence needs a comment; say why nobody is to be told\n"
    )
    assert "is not a length of time; write e.g. 30m, 2h or 1d" in run("alerts", "silence", "x", "--for", "soon").stderr


def test_trying_a_notifier(folder: Path, posts: Any) -> None:
    assert run("notify", "test", "group").stdout == "group: delivered, 127.0.0.1 answered 200\n"
    assert posts[1][0]["markdown"]["content"].startswith("### 【测试】来自 cxgauge 的消息")
    assert run("notify", "test", "am").stdout == "am: delivered, 127.0.0.1 answered 200\n"
    assert posts[1][1][0]["labels"] == {"alertname": "CxgaugeTest", "severity": "info"}
    broken = run("notify", "test", "nowhere")
    assert (broken.exit_code, broken.stderr) == (
        1, "nowhere: not delivered, environment variable TEST_NOT_SET is not set; set it to the secret\n",
    )  # fmt: skip
    unknown = run("notify", "test", "chat")
    assert unknown.stderr == "no notifier is called 'chat'; the configuration has log, group, am, nowhere\n"


def test_nothing_waits(folder: Path) -> None:
    assert run("notify", "status").stdout == "nothing waits to be sent\n"
    assert json.loads(run("notify", "status", "--format", "json").stdout) == {"waiting": [], "given_up": []}


def test_what_was_given_up_is_said_with_its_reason(alert_id: str, migrated_embedded_dsn: str) -> None:
    with psycopg.connect(migrated_embedded_dsn) as connection:
        connection.execute(
            "UPDATE cxgauge.deliveries SET state = 'failed', next_attempt_at = NULL, created_at = now(), "
            "last_error = 'host answered 200 with errcode 40058: too long'"
        )
        connection.execute(
            "INSERT INTO cxgauge.deliveries (alert_id, sequence, notifier, state, last_error, created_at) "
            "SELECT alert_id, min(sequence), notifier, 'failed', 'host answered 413', now() - age "
            "FROM cxgauge.alert_transitions, (VALUES ('chat', interval '1 day'), ('old', interval '8 days')) "
            "AS given_up (notifier, age) GROUP BY alert_id, notifier, age"
        )
    status = run("notify", "status").stdout
    assert re.search(r"^chat: 1 given up, the newest of [\d: -]{16}: host answered 413$", status, re.MULTILINE)
    assert "old" not in status
    lost = json.loads(run("notify", "status", "--format", "json").stdout)["given_up"]
    assert ("chat", 1, "host answered 413") in {(one["notifier"], one["given_up"], one["reason"]) for one in lost}
