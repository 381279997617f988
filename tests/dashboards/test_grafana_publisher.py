# ruff: noqa: E501 - requests read better on one line
"""The publisher against exchanges recorded from a real Grafana 7.5.5.

Each test has a file of exchanges in ``grafana_exchanges``. CXGAUGE_RECORD_GRAFANA=http://user:password@host:port records
them anew, on a Grafana that has nothing of cxgauge yet; what the test leaves there it removes.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cxgauge.dashboards.grafana.datasources import DatabaseAddress, datasources
from cxgauge.dashboards.grafana.publisher import Action, Note, Publisher, PublishError, Result, connect

EXCHANGES = Path(__file__).parent / "grafana_exchanges"
RECORD = os.environ.get("CXGAUGE_RECORD_GRAFANA")
PASSWORD = "not-to-be-seen-again"
SOURCES = datasources(DatabaseAddress("db:5432", "cxgauge", "grafana"), "http://prometheus:9090")


class Replay(ThreadingHTTPServer):
    """Answers as the real one did, and only to the same requests in the same order; or asks the real one and notes it."""

    def __init__(self, file: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.file = file
        self.exchanges: list[dict[str, Any]] = [] if RECORD else json.loads(file.read_text())
        self.wrong: list[str] = []
        self.next = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Replay
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = {"method": self.command, "path": self.path, "sent": json.loads(sent) if sent else None}
        status, answer = self._ask(asked) if RECORD else self._recall(asked)
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - names of the base class

    def _recall(self, asked: dict[str, Any]) -> tuple[int, Any]:
        server = self.server
        expected = server.exchanges[server.next] if server.next < len(server.exchanges) else {}
        if {key: expected.get(key) for key in asked} != asked:
            server.wrong.append(f"asked {asked}, recorded {expected}")
            return 500, {"message": "not as recorded"}
        server.next += 1
        return expected["status"], expected["answer"]

    def _ask(self, asked: dict[str, Any]) -> tuple[int, Any]:
        parts = urlsplit(RECORD or "")
        body = json.dumps(asked["sent"]).encode() if asked["sent"] is not None else None
        request = urllib.request.Request(
            f"http://{parts.hostname}:{parts.port}{asked['path']}",
            body,
            {"Content-Type": "application/json"},
            method=asked["method"],
        )
        own = self.headers.get("Authorization", "")
        login = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
        request.add_header("Authorization", own if own == "Bearer wrong" else f"Basic {login}")
        try:
            with urllib.request.urlopen(request) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        self.server.exchanges.append({**asked, "status": status, "answer": json.loads(text)})
        return status, json.loads(text)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        pass


@pytest.fixture
def grafana(request: pytest.FixtureRequest) -> Iterator[Replay]:
    """Grafana as it answered to this test."""
    server = Replay(EXCHANGES / f"{request.node.name.removeprefix('test_')}.json")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
    if RECORD:
        EXCHANGES.mkdir(exist_ok=True)
        server.file.write_text(json.dumps(server.exchanges, indent=1, ensure_ascii=False) + "\n")
        _clear()
    else:
        assert server.wrong == []
        assert server.next == len(server.exchanges), "fewer requests than recorded"


def _clear() -> None:
    client = connect((RECORD or "").replace("admin:admin@", ""), "admin:admin")
    for source in SOURCES:
        if any(found["name"] == source["name"] for found in client.datasource.list_datasources()):
            client.datasource.delete_datasource_by_name(source["name"])
    if any(folder["uid"] == "cxgauge" for folder in client.folder.get_all_folders()):
        client.folder.delete_folder("cxgauge")
    for note in client.annotations.get_annotation(tags=["cxgauge"]):
        client.annotations.delete_annotations_by_id(note["id"])


def board(title: str = "Bills", text: str = "hello") -> dict[str, dict[str, Any]]:
    panel = {
        "id": 1,
        "type": "text",
        "title": "",
        "gridPos": {"x": 0, "y": 0, "w": 24, "h": 3},
        "options": {"content": text},
    }
    return {
        "cxgauge-bills": {"id": None, "uid": "cxgauge-bills", "title": title, "tags": ["cxgauge"], "panels": [panel]}
    }


def publish(server: Replay, *, force: bool = False, dry_run: bool = False, **what: Any) -> list[Result]:
    publisher = Publisher(connect(server.url, "token"), force=force, dry_run=dry_run)
    return list(publisher.publish(what.pop("boards", board()), **what))


def actions(results: list[Result]) -> list[tuple[str, str]]:
    return [(result.kind, result.action.value) for result in results]


def edit(server: Replay, text: str) -> None:
    """A person changes the dashboard in Grafana and saves it."""
    client = connect(server.url, "token")
    found = client.dashboard.get_dashboard("cxgauge-bills")
    found["dashboard"]["panels"][0]["options"]["content"] = text
    body = {"dashboard": found["dashboard"], "folderId": found["meta"]["folderId"], "overwrite": False}
    client.dashboard.update_dashboard(body)


def shown(server: Replay) -> str:
    found = connect(server.url, "token").dashboard.get_dashboard("cxgauge-bills")
    text: str = found["dashboard"]["panels"][0]["options"]["content"]
    return text


def test_publishing_again_changes_nothing(grafana: Replay) -> None:
    first = publish(grafana, datasources=SOURCES, password=PASSWORD)
    assert actions(first) == [
        ("datasource", "created"),
        ("datasource", "created"),
        ("folder", "created"),
        ("dashboard", "created"),
    ]
    again = publish(grafana, datasources=SOURCES, password=PASSWORD)
    assert {result.action for result in again} == {Action.UNCHANGED}
    assert len(again) == 4


def test_a_new_specification_updates(grafana: Replay) -> None:
    publish(grafana)
    assert actions(publish(grafana, boards=board(text="more"))) == [("folder", "unchanged"), ("dashboard", "updated")]
    assert shown(grafana) == "more"
    assert actions(publish(grafana, boards=board(text="more")))[-1] == ("dashboard", "unchanged")


def test_what_a_person_changed_is_kept_and_named_until_forced(grafana: Replay) -> None:
    publish(grafana)
    edit(grafana, "by a person")
    for boards in (board(), board(text="more")):
        kept = publish(grafana, boards=boards)[-1]
        assert kept.action is Action.KEPT
        assert kept.note.startswith("admin saved it at 20")
    assert shown(grafana) == "by a person"
    assert publish(grafana, boards=board(text="more"), force=True)[-1].action is Action.OVERWRITTEN
    assert shown(grafana) == "more"
    assert publish(grafana, boards=board(text="more"))[-1].action is Action.UNCHANGED


def test_a_dashboard_of_somebody_else_is_kept(grafana: Replay) -> None:
    client = connect(grafana.url, "token")
    client.folder.create_folder("Mine", "cxgauge")
    client.dashboard.update_dashboard(
        {
            "dashboard": board(text="mine")["cxgauge-bills"],
            "folderUid": "cxgauge",
            "folderId": client.folder.get_folder("cxgauge")["id"],
        }
    )
    found = publish(grafana)
    assert found[0] == Result("folder", "Mine", Action.UNCHANGED)
    assert found[1].note.startswith("it is not of cxgauge's making; admin saved it at 20")
    assert shown(grafana) == "mine"


def test_a_datasource_that_differs_is_kept_until_forced(grafana: Replay) -> None:
    publish(grafana, datasources=SOURCES, password=PASSWORD)
    moved = datasources(DatabaseAddress("elsewhere:5432", "cxgauge", "grafana", "verify-full"), None)
    kept = publish(grafana, datasources=moved, password=PASSWORD)[0]
    assert kept == Result("datasource", "cxgauge-timescaledb", Action.KEPT, "url, sslmode differ")
    assert publish(grafana, datasources=moved, password=PASSWORD, force=True)[0].action is Action.OVERWRITTEN
    assert publish(grafana, datasources=moved, password=PASSWORD)[0].action is Action.UNCHANGED


def test_a_dry_run_only_reads(grafana: Replay) -> None:
    notes = [Note("cxgauge-event-1", 1_767_225_600.0, 1_767_225_660.0, "release")]
    said = publish(grafana, datasources=SOURCES, password=PASSWORD, notes=notes, dry_run=True)
    assert {result.action for result in said} == {Action.CREATED}
    assert {exchange["method"] for exchange in grafana.exchanges} == {"GET"}


def test_annotations_are_added_once(grafana: Replay) -> None:
    first = Note("cxgauge-event-1", 1_767_225_600.0, 1_767_225_660.0, "release 8.2.0", ("event", "bill_inquiry"))
    second = Note("cxgauge-alert-2", 1_767_225_700.0, 1_767_225_800.0, "slower", ("alert",))
    assert publish(grafana, notes=[first])[-1] == Result("annotations", "1", Action.CREATED, "1 new")
    assert publish(grafana, notes=[first, second])[-1] == Result("annotations", "2", Action.CREATED, "1 new")
    assert publish(grafana, notes=[first, second])[-1] == Result("annotations", "2", Action.UNCHANGED)


def test_a_wrong_token_is_said(grafana: Replay) -> None:
    with pytest.raises(PublishError) as caught:
        list(Publisher(connect(grafana.url, "wrong")).publish(board()))
    assert str(caught.value) == (
        "Grafana does not take the token (401); make one: Administration, Service accounts, role Editor or Admin"
    )


def test_no_password_is_in_any_result(grafana: Replay) -> None:
    assert PASSWORD not in repr(publish(grafana, datasources=SOURCES, password=PASSWORD))
