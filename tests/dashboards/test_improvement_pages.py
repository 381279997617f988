"""The ledger on pages: from an alert to an entry, to its verdict there and in the next report."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import httpx2 as httpx
import pytest

from cxgauge.alerts.alert import Alert
from cxgauge.alerts.records import save_lifecycle
from cxgauge.dashboards.http import HttpParts, application
from cxgauge.dashboards.improvement_words import STANDINGS
from cxgauge.dashboards.improvements import Actor, add_improvement, close_improvement, finish_improvement
from cxgauge.dashboards.server import HttpServer
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.observation import ObservationBatch
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

START, DAY = 1_773_417_600.0, 86_400.0
NOW = START + DAY - 1


class _Lifecycle:
    """As much of a lifecycle as saving asks for."""

    def __init__(self, alert: Alert) -> None:
        self.alerts = {alert.id: alert}


@pytest.fixture
def store(embedded_dsn: str, alert: Alert, make_day: Callable[..., ObservationBatch]) -> Iterator[Store]:
    """A week ago slow, today fast: the bill only; and an alert."""
    with Store.open(embedded_dsn) as opened:
        opened.migrate()
        batches = [make_day(START - 7 * DAY, seed=1, factor=1.3), make_day(START, seed=2)]
        opened.write(batches, "test", StoredPosition(), StoredPosition(0, 1))
        with opened.connection() as connection:
            save_lifecycle(connection, {}, _Lifecycle(alert), [])  # type: ignore[arg-type]
        yield opened


@pytest.fixture
def client(store: Store, flow: FlowSpec, tmp_path: Path) -> Iterator[httpx.Client]:
    config = Config.parse("timezone: Asia/Shanghai", "cxgauge.yml", tmp_path)
    parts = HttpParts(store, lambda: config, lambda: {flow.name: flow}, clock=lambda: NOW)
    server = HttpServer(application(parts), "127.0.0.1", 0)
    server.start()
    try:
        with httpx.Client(base_url=server.url, trust_env=False, headers={"accept": "text/html"}) as opened:
            yield opened
    finally:
        server.stop()


def _token(client: httpx.Client) -> str:
    return re.findall(r'name="token" value="([^"]+)"', client.get("/improvements/new?flow=bill_inquiry").text)[0]


def _rows(client: httpx.Client, path: str) -> list[dict[str, str]]:
    link = f"{path}{'&' if '?' in path else '?'}format=csv&table=improvements"
    return list(csv.DictReader(io.StringIO(client.get(link).text.lstrip("\ufeff"))))


def _text(page: httpx.Response) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text)))


def _entry(
    store: Store, flow: FlowSpec, step: str, action: str, due: str = "", done: float | None = None, **more: str
) -> str:
    entry = add_improvement(
        store, flow, step, more.get("measure", "p50"), action, owner=more.get("owner", "cards"), due=due, finding="",
        now=START - DAY,
    )  # fmt: skip
    if done is not None:
        assert finish_improvement(store, entry.id, done, now=NOW)
    return entry.id


def test_from_an_alert_to_an_entry_to_its_verdict(client: httpx.Client) -> None:
    link = unescape(re.findall(r'href="(/improvements/new\?[^"]+)"', client.get("/alerts/0123456789ab").text)[0])
    form = client.get(link).text
    assert '<option value="p50" selected>' in form  # the alert is about the median
    assert 'name="step" value="bill_total"' in form
    fields = {"token": _token(client), "by": "li.wei", "flow": "bill_inquiry", "step": "bill_total", "measure": "p50",
              "action": "cache <the> statement", "due": "2026-03-20", "finding": "0123456789ab", "of": ""}  # fmt: skip
    made = client.post("/improvements", data=fields)
    assert made.status_code == 303
    path = made.headers["location"]
    page = client.get(path)
    assert "cache &lt;the&gt; statement" in page.text
    assert 'href="/alerts/0123456789ab"' in page.text
    assert "Cards | bills" in page.text  # who owns the flow, unless somebody else is named
    assert re.search(r"planned li\.wei", _text(page))

    done = {"token": _token(client), "by": "li.wei", "action": "done", "at": "2026-03-14T00:00"}
    assert client.post(path, data=done).status_code == 303
    (row,) = _rows(client, "/improvements")
    assert (row["State"], row["In effect since"]) == ("better", "2026-03-14T00:00:00+08:00")
    change = "Change (95 % interval) (ratio, of rates a difference)"
    assert float(row[change]) < 0
    assert float(row[f"{change}, lower end"]) < float(row[change]) < float(row[f"{change}, upper end"]) < 0
    assert "Median faster: 1.28 → 1.01 s" in _text(client.get(path))
    report = client.get("/flows/bill_inquiry/report.md?from=2026-03-14&to=2026-03-15&compare=none").text
    assert re.search(r"“cache .?<the> statement” \(Cards .?\| bills\), done 2026-03-14 00:00: faster", report)
    for where in ("/flows/bill_inquiry", "/flows/bill_inquiry/steps/bill_total"):
        (row,) = _rows(client, where)
        assert row["State"] == "better"
        assert client.get(where).text.count(path) == 1
    assert _rows(client, "/flows/bill_inquiry/steps/log_in") == []


def test_the_list_is_ordered_and_filtered(client: httpx.Client, store: Store, flow: FlowSpec) -> None:
    better = _entry(store, flow, "bill_total", "helped", done=START)
    idle = _entry(store, flow, "log_in", "idle", done=START, owner="web")
    new = _entry(store, flow, "log_in", "new", done=NOW - 30)
    later = _entry(store, flow, "log_in", "later", "2026-04-01")
    overdue = _entry(store, flow, "log_in", "overdue", "2026-03-01")
    dropped = _entry(store, flow, "log_in", "dropped")
    close_improvement(store, dropped, by=Actor(), now=NOW)

    def names(query: str) -> list[str]:
        return [row["Name"] for row in _rows(client, f"/improvements{query}")]

    every = names("")
    assert every[:2] == [overdue, later]
    assert every[2] == new
    assert set(every[3:5]) == {better, idle}
    assert every[5:] == [dropped]
    assert names("?state=planned") == [overdue, later]
    assert names("?state=overdue") == [overdue]
    assert names("?state=better") == [better]
    assert names("?state=same") + names("?state=too_few") in ([idle, new], [new, idle])
    assert names("?state=dropped") == [dropped]
    assert names("?owner=web") == [idle]
    assert names("?flow=bill_inquiry&state=done") == [new, *every[3:5]]
    page = client.get("/improvements")
    assert re.search(r"overdue 1 .*planned 1 .*in effect 3 ", _text(page))
    for query, said in (
        ("state=fine", f"state='fine' is not known; write one of {', '.join(STANDINGS)}"),
        ("flow=loan", "flow='loan' is not declared; write one of bill_inquiry"),
        ("page=0", "page='0' is not a number from 1 to 1000"),
    ):  # fmt: skip
        answer = client.get(f"/improvements?{query}", headers={"accept": "text/plain"})
        assert (answer.status_code, answer.text) == (400, f"{said}\n")


def test_a_long_ledger_has_pages(client: httpx.Client, store: Store, flow: FlowSpec) -> None:
    for number in range(27):
        _entry(store, flow, "log_in", f"number {number}")
    page = client.get("/improvements?page=2")
    assert len(re.findall(r'href="/improvements/[0-9a-f]{8}"', page.text)) == 2
    assert 'rel="prev"' in page.text
    assert 'rel="next"' not in page.text
    assert len(_rows(client, "/improvements")) == 27  # the file has all


def test_an_entry_is_changed_and_given_up_and_taken_up_again(
    client: httpx.Client, store: Store, flow: FlowSpec
) -> None:
    path = f"/improvements/{_entry(store, flow, 'log_in', 'first')}"

    def post(**fields: str) -> int:
        return client.post(path, data={"token": _token(client), "by": "li.wei", **fields}).status_code

    assert post(action="change", what="second", owner="web", due="2026-05-01", note="why") == 303
    page = _text(client.get(path))
    assert all(word in page for word in ("second", "web", "2026-05-01", "why"))
    assert "Owner: web" in page
    assert post(action="drop") == 303
    assert "given up" in _text(client.get(path))
    still = "still to come; say it when it is in effect"
    assert post(action="reopen") == 303
    for fields, said in (
        ({"action": "change", "what": ""}, "what='' is empty; go back and fill it in"),
        ({"action": "change", "what": "x", "due": "soon"}, "due='soon' is not a day; write e.g. 2026-04-30"),
        ({"action": "done", "at": "2026-03-15T01:00"}, f"done at 2026-03-14T17:00:00Z is {still}"),
        ({"action": "done", "at": "noon"}, "at='noon' is not a time; write e.g. 2026-03-14T10:42"),
        ({"action": "burn"}, "action='burn' is not known; write change, done, drop or reopen"),
        ({"action": "drop", "by": ""}, "by='' is empty; say who you are"),
    ):  # fmt: skip
        answer = client.post(
            path, data={"token": _token(client), "by": "li.wei", **fields}, headers={"accept": "text/plain"}
        )
        assert (answer.status_code, answer.text) == (400, f"{said}\n")
    refused = client.post(path, data={"token": _token(client), "by": "li.wei", "action": "burn"})
    assert "This cannot be done" in refused.text
    assert client.get("/improvements/ffffffff").status_code == 404
    assert client.post("/improvements/ffffffff", data={"token": _token(client), "by": "x"}).status_code == 404


def test_what_has_just_been_done_is_not_judged_yet(client: httpx.Client, store: Store, flow: FlowSpec) -> None:
    path = f"/improvements/{_entry(store, flow, 'log_in', 'new', done=NOW - 30)}"
    assert "Not enough data yet to say whether it helped." in _text(client.get(path))
    assert "数据尚不足" in client.get(f"{path}?lang=zh").text


def test_a_name_once_said_is_known_the_next_time(client: httpx.Client, store: Store, flow: FlowSpec) -> None:
    path = f"/improvements/{_entry(store, flow, 'log_in', 'x')}"
    client.post(path, data={"token": _token(client), "by": "li.wei", "action": "drop"})
    assert 'name="by" required maxlength="64" value="li.wei"' in client.get(path).text
