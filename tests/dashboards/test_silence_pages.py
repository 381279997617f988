"""Silences, maintenance and incidents on their page: begun, seen, ended early, noted; and what they do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx2 as httpx
import pytest

from cxgauge.alerts.actions import Actions, UnknownSilenceError
from cxgauge.alerts.alert import Alert
from cxgauge.alerts.evaluation_settings import EvaluationSettings
from cxgauge.alerts.installation import make_announcer
from cxgauge.alerts.records import load_silences
from cxgauge.dashboards.http import HttpParts, application
from cxgauge.dashboards.server import HttpServer
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.store.evaluation import untaught_spans
from cxgauge.metrics.store.events import StoredEvent, events_within
from cxgauge.metrics.store.store import Store

START = 1_773_417_600.0  # 2026-03-14 00:00 in Shanghai
NOW = START + 12 * 3_600


class Clock:
    """Time that the test moves."""

    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(embedded_dsn: str) -> Iterator[Store]:
    with Store.open(embedded_dsn) as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def client(store: Store, flow: FlowSpec, clock: Clock, tmp_path: Path) -> Iterator[httpx.Client]:
    config = Config.parse("timezone: Asia/Shanghai", "cxgauge.yml", tmp_path)
    parts = HttpParts(store, lambda: config, lambda: {flow.name: flow}, clock=clock)
    server = HttpServer(application(parts), "127.0.0.1", 0)
    server.start()
    try:
        with httpx.Client(base_url=server.url, trust_env=False, headers={"accept": "text/plain"}) as opened:
            yield opened
    finally:
        server.stop()


def _post(client: httpx.Client, path: str = "/silences", **fields: str) -> httpx.Response:
    token = re.findall(r'name="token" value="([^"]+)"', client.get("/silences").text)[0]
    return client.post(path, data={"token": token, "by": "li.wei", "why": "upgrade", **fields})


def _text(client: httpx.Client, path: str = "/silences") -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", client.get(path).text)))


def _audited(store: Store) -> list[tuple[str, str]]:
    with store.connection() as connection:
        rows = connection.execute("SELECT actor, action FROM audit ORDER BY audit_id").fetchall()
    return [(row[0], row[1]) for row in rows]


def test_a_silence_holds_what_it_names_and_no_more(
    client: httpx.Client, store: Store, clock: Clock, alert: Alert
) -> None:
    answer = _post(
        client, kind="silence", where="bill_inquiry/bill_total", of="", to="2026-03-14T14:00", **{"from": ""}
    )
    assert answer.status_code == 303
    _post(client, kind="silence", where="bill_inquiry/bill_total", of="channel=app", to="2026-03-14T14:00")
    with store.connection() as connection:
        whole, part = sorted(load_silences(connection, NOW), key=lambda one: one.dimensions)
    assert (whole.flow, whole.step, whole.author, whole.comment) == ("bill_inquiry", "bill_total", "li.wei", "upgrade")
    assert (whole.starts_at, whole.ends_at) == (NOW, START + 14 * 3_600)
    assert whole.matches(alert, NOW + 60)
    assert not whole.matches(alert, START + 14 * 3_600)
    assert not part.matches(alert, NOW + 60)  # the alert speaks of everybody
    page = _text(client)
    assert "silence · Bill inquiry › Bill total 2026-03-14 12:00 to 2026-03-14 14:00 · upgrade · li.wei" in page
    assert "in force" in page
    clock.now = START + 15 * 3_600
    assert "Nothing is held back" in _text(client)
    assert _audited(store) == [("li.wei", "silence")] * 2


def test_maintenance_teaches_nothing_and_is_planned_ahead(client: httpx.Client, store: Store) -> None:
    fields = {"from": "2026-03-15T01:00", "to": "2026-03-15T04:00"}
    assert _post(client, kind="maintenance", where="", **fields).status_code == 303
    assert "maintenance planned · all flows 2026-03-15 01:00 to 2026-03-15 04:00" in _text(client)
    with store.connection() as connection:
        (silence,) = load_silences(connection, NOW)
        spans = untaught_spans(connection, START)
    assert silence.maintenance
    assert [tuple(span)[:2] for span in spans] == [(START + 25 * 3_600, START + 28 * 3_600)]


def test_an_incident_is_marked_and_ended_when_it_is_over(client: httpx.Client, store: Store, clock: Clock) -> None:
    fields = {"from": "2026-03-14T11:00", "to": ""}
    assert _post(client, kind="incident", where="bill_inquiry", why="core down", **fields).status_code == 303
    assert "incident · Bill inquiry since 2026-03-14 11:00, until it is ended · core down · li.wei" in _text(client)

    def stored() -> StoredEvent:
        with store.connection() as connection:
            (event,) = events_within(connection, START, START + 86_400)
        return event

    event = stored()
    assert (event.kind, event.flow, event.at, event.ended_at) == ("incident", "bill_inquiry", START + 11 * 3_600, None)
    clock.now = NOW + 600
    assert _post(client, f"/incidents/{event.identity}/end").status_code == 303
    assert stored().ended_at == NOW + 600
    assert "Nothing is held back" in _text(client)
    again = _post(client, f"/incidents/{event.identity}/end")
    assert (again.status_code, again.text) == (404, f"incident '{event.identity}' is over already\n")
    assert _audited(store) == [("li.wei", "incident"), ("li.wei", "incident ended")]


def test_a_silence_is_ended_early_and_says_by_whom(client: httpx.Client, store: Store, clock: Clock) -> None:
    _post(client, kind="silence", where="", to="2026-03-14T18:00")
    with store.connection() as connection:
        (silence,) = load_silences(connection, NOW)
    clock.now = NOW + 900
    assert _post(client, f"/silences/{silence.id}/end", by="wang.fang").status_code == 303
    with store.connection() as connection:
        (ended,) = load_silences(connection, NOW)
    assert (ended.ends_at, ended.ended_by) == (NOW + 900, "wang.fang")
    assert "ended early by wang.fang" in _text(client)
    again = _post(client, f"/silences/{silence.id}/end")
    assert (again.status_code, again.text) == (404, f"no silence that is not over has the id '{silence.id}'\n")
    assert _audited(store)[-1] == ("wang.fang", "silence ended")


def test_the_command_line_ends_it_by_the_beginning_of_its_id(store: Store, flow: FlowSpec, clock: Clock) -> None:
    config, flows = Config.parse("{}"), {flow.name: flow}
    settings = EvaluationSettings.of(config).lifecycle
    actions = Actions(store, flows, settings, make_announcer(config, flows), clock)
    silence = actions.silence(3_600, "li.wei", "upgrade", starts_at=NOW + 600)
    assert actions.end_silence(silence.id[:4], "li.wei").starts_at == NOW  # it never begins
    with pytest.raises(UnknownSilenceError):
        actions.end_silence("", "li.wei")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "silence", "why": ""}, "why='' is empty; go back and fill it in"),
        ({"kind": "party"}, "kind='party' is not known; write silence, maintenance or incident"),
        ({"kind": "silence", "to": "2026-03-14T10:00"}, "to is not after from, or is over; write a later time"),
        ({"kind": "silence", "to": "soon"}, "to='soon' is not a time; write e.g. 2026-03-14T10:42"),
        (
            {"kind": "silence", "to": "2027-03-14T10:00"},
            "a silence of 31528800 s is not between 1 s and 90 days; choose another length",
        ),
        ({"kind": "silence", "of": "branch=north"}, "dimension 'branch' is not declared"),
        ({"kind": "silence", "by": ""}, "by='' is empty; say who you are"),
    ],
)
def test_what_makes_no_sense_is_refused(client: httpx.Client, store: Store, fields: dict[str, str], said: str) -> None:
    answer = _post(client, **fields)
    assert (answer.status_code, answer.text) == (400, f"{said}\n")
    assert _audited(store) == []


def test_tables_are_given_as_files(client: httpx.Client) -> None:
    _post(client, kind="silence", where="bill_inquiry", of="channel=web", to="2026-03-14T14:00")
    text = client.get("/silences?format=csv&table=silences").text
    span = "2026-03-14T12:00:00+08:00,2026-03-14T14:00:00+08:00"
    assert text.splitlines()[1].startswith(f'{span},in force,silence,"Bill inquiry, channel=web",upgrade,li.wei,')
    made = client.get("/silences?format=json&table=silences").json()
    assert [column["heading"] for column in made["columns"]][:3] == ["From", "To", "State"]
    assert made["rows"][0][5:7] == ["upgrade", "li.wei"]
