"""The pages as people and programs walk them: every link, every table as CSV, hostile names, filters, search."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2 as httpx
import pytest

from cxgauge.alerts.alert import Alert, AlertState, Resolution, Severity
from cxgauge.alerts.records import save_lifecycle
from cxgauge.dashboards.exposition.health import HealthFigures
from cxgauge.dashboards.http import HttpParts, application
from cxgauge.dashboards.server import HttpServer
from cxgauge.metrics.change_event import ChangeEvent
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.observation import ObservationBatch, SeriesKey
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.store.events import put_events
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

MakeDay = Callable[..., ObservationBatch]
START, DAY = 1_773_417_600.0, 86_400.0
HEALTH = HealthFigures(
    dropped={"torn": 2}, received={"accepted": 10, "refused": 1}, replies={"200": 7}, dimension_other={"a.b": 3},
    written=10, writer_failures=0, writer_lag_seconds=0.5, spool_bytes=10, spool_limit_bytes=1000,
    evaluation_lag_seconds=400.0, evaluation_duration_seconds=0.1, clock_ahead=1,
)  # fmt: skip
PAGES = (
    "/",
    "/flows/bill_inquiry",
    "/flows/bill_inquiry/way",
    "/flows/bill_inquiry/steps/bill_total",
    "/alerts",
    "/alerts/0123456789ab",
    "/search?q=bill",
    "/data",
)


@dataclass
class Site:
    """A served application."""

    store: Store
    flows: dict[str, FlowSpec]
    client: httpx.Client

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(path, headers=headers)


class Lifecycle:
    """As much of a lifecycle as saving asks for."""

    def __init__(self, *alerts: Alert) -> None:
        self.alerts = {alert.id: alert for alert in alerts}


def keep(store: Store, *alerts: Alert) -> None:
    with store.connection() as connection:
        save_lifecycle(connection, {}, Lifecycle(*alerts), [])  # type: ignore[arg-type]


@pytest.fixture
def site(migrated_embedded_dsn: str, flow: FlowSpec, make_day: MakeDay, alert: Alert, tmp_path: Path) -> Iterator[Site]:
    config = Config.parse("timezone: Asia/Shanghai", "cxgauge.yml", tmp_path)
    flows = {flow.name: flow}
    with Store.open(migrated_embedded_dsn) as store:
        store.migrate()
        days = [make_day(START - DAY, seed=1), make_day(START, seed=2, factor=1.2, failures=0.01)]
        store.write(days, "test", StoredPosition(), StoredPosition(0, 1))
        keep(store, alert)
        event = {"kind": "deployment", "title": "bill-service 8.3", "flow": flow.name, "version": "8.3.0", "id": "one"}
        with store.connection() as connection, connection.transaction():
            put_events(connection, [ChangeEvent.model_validate({**event, "at": "2026-03-14T10:40:00+08:00"})])
        parts = HttpParts(
            store, lambda: config, lambda: flows, health=lambda: HEALTH, clock=lambda: START + DAY - 1
        )  # fmt: skip
        server = HttpServer(application(parts), "127.0.0.1", 0)
        server.start()
        try:
            with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
                yield Site(store, flows, client)
        finally:
            server.stop()


class Tables(HTMLParser):
    """The tables of a page: headings, and of each cell its text and the value it carries."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[tuple[str, str | None]]]] = {}
        self._rows: list[list[tuple[str, str | None]]] | None = None
        self._value: str | None = None
        self._text, self._inside, self._small = "", False, False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "section" and "table" in (given.get("class") or "").split():
            self._rows = self.tables.setdefault(given["id"] or "", [])
        elif self._rows is not None and tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._text, self._value, self._inside = "", None, True
        elif tag == "data":
            self._value = given["value"]
        elif tag == "small":
            self._small = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._rows:
            self._rows[-1].append((self._text.strip(), self._value))
            self._inside = False
        elif tag == "section":
            self._rows = None
        elif tag == "small":
            self._small = False

    def handle_data(self, data: str) -> None:
        if self._inside and not self._small:
            self._text += data


def csv_links(text: str) -> dict[str, str]:
    links = [html.unescape(link) for link in re.findall(r'class="csv" href="([^"]+)"', text)]
    return {parse_qs(urlsplit(link).query)["table"][0]: link for link in links}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_table_has_its_figures_as_csv_to_the_last_digit(site: Site, language: str) -> None:
    for path in PAGES:
        compare_with_csv(site, path, language)


def compare_with_csv(site: Site, path: str, language: str) -> None:
    text = site.get(f"{path}{'&' if '?' in path else '?'}from=2026-03-14&to=2026-03-15&lang={language}").text
    tables, links = Tables(text).tables, csv_links(text)
    assert set(links) == {name for name, rows in tables.items() if rows}
    assert links or path.endswith("/way")  # the observations of the test carry no flow instance
    for name, link in links.items():
        answer = site.get(link)
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert answer.content.startswith(b"\xef\xbb\xbf")
        header, *rows = csv.reader(io.StringIO(answer.text.removeprefix("\ufeff")))
        shown = tables[name]
        assert len(rows) == len(shown) - 1
        plain = [re.sub(r" \(.*|（.*", "", heading) for heading in header]
        for position, (heading, _) in enumerate(shown[0]):
            values = [row[position] for row in shown[1:] if len(row) > position]
            if not any(value is not None for _, value in values) or (heading not in header and heading not in plain):
                continue
            column = header.index(heading) if heading in header else plain.index(heading)
            assert [row[column] for row in rows] == [value for _, value in values], (name, heading)


def test_headers_of_a_csv_have_units_and_values_are_those_of_the_report(site: Site) -> None:
    query = "?from=2026-03-14&to=2026-03-15&compare=none&format="
    header, total, *_ = list(csv.reader(io.StringIO(site.get("/flows/bill_inquiry" + query + "csv&table=steps").text)))[
        0:3
    ]
    assert header == [
        "\ufeffStep", "Observations (count)", "Median (s)", "Median (s), lower end", "Median (s), upper end",
        "95th percentile (s)", "95th percentile (s), lower end", "95th percentile (s), upper end",
        "99th percentile (s)", "99th percentile (s), lower end", "99th percentile (s), upper end", "Target (s)",
        "Good answers (ratio)", "Good answers (ratio), lower end", "Good answers (ratio), upper end",
        "Error budget left (ratio)",
    ]  # fmt: skip
    report = site.get("/flows/bill_inquiry/report.csv" + query.replace("&format=", "")).text
    figures = {(row["step"], row["figure"]): row for row in csv.DictReader(io.StringIO(report))}
    log_in = total
    assert log_in[0] == "Log-in"
    assert log_in[1] == figures["log_in", "observations"]["value"]
    for column, figure in ((2, "duration_p50"), (5, "duration_p95"), (8, "duration_p99"), (12, "good_answer_rate")):
        row = figures["log_in", figure]
        assert log_in[column : column + 3] == [row["value"], row["low_95"], row["high_95"]]


def test_csv_agrees_with_sql(site: Site) -> None:
    rows = list(csv.reader(io.StringIO(site.get("/?format=csv&table=steps&from=2026-03-14&to=2026-03-15").text)))
    with site.store.connection() as connection:
        sql = (
            "SELECT observations, good_answer_ratio FROM step_summary('bill_inquiry', %s, "
            "to_timestamp(%s), to_timestamp(%s))"
        )
        for row, step in zip(rows[1:], ("log_in", "bill_total"), strict=True):
            found = connection.execute(sql, [step, START, START + DAY]).fetchone()
            assert found is not None
            assert (row[7], row[3]) == (str(found[0]), repr(found[1]))


def test_a_table_that_is_not_there_is_not_found(site: Site) -> None:
    for table in ("nothing", "../../etc"):
        assert site.get(f"/?format=csv&table={table}").status_code == 404


def test_every_link_of_every_page_leads_somewhere(site: Site) -> None:
    wanted, seen = ["/"], set[str]()
    fetched = 0
    while wanted:
        path = wanted.pop()
        parts = urlsplit(path)
        query = parse_qs(parts.query)
        # one visit for each page and kind of change: not every combination of parameters
        key = (parts.path, frozenset(name for name in query if name not in ("from", "to", "lang", "live")))
        if str(key) in seen or parts.path.endswith(".pdf"):
            continue
        seen.add(str(key))
        answer = site.get(path, accept="text/html")
        fetched += 1
        assert answer.status_code == 200, path
        if "text/html" not in answer.headers["content-type"] or "report." in parts.path:
            continue
        text = answer.text
        assert re.search(r'<html lang="(en|zh-CN)">', text), path
        assert re.search(r"<title>[^<]+ · cxgauge</title>", text), path
        assert len(re.findall(r"<h1[ >]", text)) == 1, path
        bookmark = re.search(r'<link rel="bookmark" href="([^"]+)">', text)
        assert bookmark, path
        assert {"from", "to", "lang"} <= set(parse_qs(urlsplit(html.unescape(bookmark[1])).query)), path
        ids = re.findall(r' id="([^"]+)"', text)
        assert len(ids) == len(set(ids)), path
        for link in re.findall(r'(?:href|src)="([^"]+)"', text):
            target = urljoin(path, html.unescape(link))
            assert target.startswith("/"), (path, target)
            wanted.append(target)
    assert fetched > 40


HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "\u202eevil\u202c مرحبا שלום",
    "=HYPERLINK(1)",
    "长" * 110,
    "{{ 7*7 }} %(x)s ' OR 1=1 --",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text_on_every_page(site: Site, make_day: MakeDay, alert: Alert, name: str) -> None:
    spec = site.flows["bill_inquiry"]
    title = spec.title.model_copy(update={"en": name, "zh": name})
    steps = tuple(
        step.model_copy(
            update={
                "title": title,
                "checks": tuple(check.model_copy(update={"title": title}) for check in step.checks),
            }
        )
        for step in spec.steps
    )
    site.flows["bill_inquiry"] = spec.model_copy(update={"title": title, "owner": name, "steps": steps})
    batch = make_day(START, seed=3)
    keys = tuple(SeriesKey(key.flow, key.step, (("channel", name),), key.checks) for key in batch.series)
    site.store.write([ObservationBatch(keys, batch.records)], "hostile", StoredPosition(), StoredPosition(0, 1))
    scope = replace(alert.lead.scope, dimensions=(("channel", name),))
    member = replace(alert.members[0], deviation=replace(alert.lead, scope=scope))
    keep(site.store, replace(alert, id="ba9876543210", members=(member,), assignee=name, acknowledged_by=name))
    with site.store.connection() as connection, connection.transaction():
        event = {"kind": "deployment", "title": name, "flow": "bill_inquiry", "version": "8", "id": "two"}
        put_events(connection, [ChangeEvent.model_validate({**event, "at": "2026-03-14T10:40:00+08:00"})])
    found = False
    for path in (*PAGES, "/alerts/ba9876543210"):
        query = httpx.QueryParams({"q": name[:100]}) if path.startswith("/search") else ""
        answer = site.client.get(path.split("?")[0] + (f"?{query}" if query else ""))
        assert answer.status_code == 200, path
        text = answer.text
        found = found or name in html.unescape(text)
        for mark in ("<script>", "<img src=x", "onerror='"):
            assert mark not in text, path
        assert "49 %(x)s" not in text
        for tag in re.findall(r"<script[^>]*>", text):  # data and files of our own, nothing that is run in place
            assert re.fullmatch(r'<script (src="/static/[a-z.]+" defer|type="application/json"[^>]*)>', tag), path
        for link in csv_links(text).values():
            for row in csv.reader(io.StringIO(site.get(link).text.removeprefix("\ufeff"))):
                assert not any(cell.startswith(("=", "@", "\t")) for cell in row)
    assert found


def test_the_list_of_alerts_is_filtered_and_paged(site: Site, alert: Alert) -> None:
    over = replace(
        alert, id="aaaaaaaaaaaa", state=AlertState.RESOLVED, resolution=Resolution.RECOVERED,
        resolved_at=alert.opened_at + 600, severity=Severity.CRITICAL,
    )  # fmt: skip
    taken = replace(alert, id="bbbbbbbbbbbb", acknowledged_by="li.wei", acknowledged_at=alert.opened_at + 60)
    more = [replace(over, id=f"c{number:011d}", opened_at=alert.opened_at - number) for number in range(60)]
    keep(site.store, over, taken, *more)

    def ids(query: str) -> list[str]:
        text = site.get(f"/alerts?from=2026-03-14&to=2026-03-15&{query}").text
        return re.findall(r'href="/alerts/([0-9a-c]{12})', text)

    assert ids("state=open") == ["0123456789ab", "bbbbbbbbbbbb"]
    assert ids("state=new") == ["0123456789ab"]
    assert ids("state=acknowledged") == ["bbbbbbbbbbbb"]
    assert ids("severity=warning&state=over") == []
    assert len(ids("severity=critical")) == 50
    assert len(ids("page=2")) == 13
    assert set(ids("")) | set(ids("page=2")) == {"0123456789ab", over.id, taken.id, *(one.id for one in more)}
    assert len(ids("owner=Cards+%7C+bills")) == 50
    assert ids("owner=nobody") == []
    assert ids("flow=nothing") == []
    assert "2 of 2; 63 alerts" in site.get("/alerts?from=2026-03-14&to=2026-03-15&page=2").text
    rows = site.get("/alerts?from=2026-03-14&to=2026-03-15&format=csv").text.splitlines()
    assert len(rows) == 64


REFUSED = (
    ("state=gone", "state='gone' is not known; write one of open, new, acknowledged, over\n"),
    ("severity=loud", "severity='loud' is not known; write one of info, warning, critical\n"),
    ("page=0", "page='0' is not a number from 1 to 1000\n"),
    ("page=٣", "page='٣' is not a number from 1 to 1000\n"),
)


def test_filters_that_cannot_be_used_are_refused(site: Site) -> None:
    for query, message in REFUSED:
        answer = site.get(f"/alerts?{query}")
        assert (answer.status_code, answer.text) == (400, message)
        page = site.get(f"/alerts?{query}", accept="text/html")
        assert page.status_code == 400
        assert "This address cannot be understood" in page.text


FOUND = (
    ("bill inquiry", "/flows/bill_inquiry"),
    ("账单", "/flows/bill_inquiry"),
    ("TOTAL", "/flows/bill_inquiry/steps/bill_total"),
    ("总额", "/flows/bill_inquiry/steps/bill_total"),
    ("有明细", "/flows/bill_inquiry/steps/bill_total"),
    ("cards", "/alerts?owner=Cards+%7C+bills"),
    ("web", "/flows/bill_inquiry"),
    ("8.3.0", "/flows/bill_inquiry"),
    ("bill-service", "/flows/bill_inquiry"),
    ("0123", "/alerts/0123456789ab"),
    ("slower", "/alerts/0123456789ab"),
    ("登录", "/flows/bill_inquiry/steps/log_in"),
)
NOT_FOUND = ("%", "__", "\\", "nothing like it", "'; DROP TABLE alerts; --", "\x00", "bill nothing")


def test_the_search_finds(site: Site) -> None:
    for words, link in FOUND:
        text = site.client.get("/search", params={"q": words}).text
        assert f'href="{html.escape(link)}"' in text[text.index("<main") :], words


def test_the_search_finds_nothing_where_nothing_is(site: Site) -> None:
    for words in NOT_FOUND:
        answer = site.client.get("/search", params={"q": words})
        assert answer.status_code == 200
        assert "href" not in answer.text[answer.text.index("<h1") : answer.text.index("</main>")], words


def test_alerts_of_flows_that_are_not_shown_are_not_shown(site: Site, alert: Alert) -> None:
    site.flows.clear()
    site.flows["other"] = parse_flow("name: other\ntitle: {en: Other, zh: 其他}\nowner: me\nsteps: [{name: one, "
                                     "title: {en: One, zh: 一}, timeliness: {target: 1s}}]\n")  # fmt: skip
    for path in ("/", "/alerts?span=30d", "/search?q=bill", "/data"):
        text = site.get(path).text
        assert alert.id not in text, path
        assert "bill_inquiry" not in text, path


def test_data_quality_names_what_needs_a_look(site: Site) -> None:
    text = site.get("/data?from=2026-03-14&to=2026-03-15").text
    assert "3 things need a look." in text  # lost, refused, and judging is late
    rows = list(csv.reader(io.StringIO(site.get("/data?format=csv&from=2026-03-14&to=2026-03-15").text)))
    assert rows[0][2:6] == ["Covered (ratio)", "Longest gap (s)", "Last data", "Observations (count)"]
    assert rows[1][2:6] == ["1.0", "0.0", "2026-03-15T00:00:00+08:00", rows[1][5]]
    counted = sum(int(row[5]) for row in rows[1:])
    assert counted == 8_640


def test_a_live_page_is_held_by_a_link_and_a_fixed_period_is_not_live(site: Site) -> None:
    assert 'data-live="30"' in site.get("/").text
    assert 'data-live="10"' in site.get("/?span=1h").text
    held = site.get("/?live=off").text
    assert "data-live" not in held
    assert 'href="/flows/bill_inquiry?live=off"' in held
    for path in ("/?from=2026-03-14&to=2026-03-15", "/search?q=bill", "/alerts/0123456789ab"):
        assert "data-live" not in site.get(path).text


def test_the_alert_shows_before_and_after(site: Site) -> None:
    text = site.get("/alerts/0123456789ab").text
    assert text.count('<figure class="chart">') == 3
    assert "since it began" in text
    assert "bill-service 8.3" in text
    assert '<g class="mark"><title>2026-03-14 10:40 deployment: bill-service 8.3</title>' in text


def test_the_step_page_draws_what_is_usual(site: Site, make_day: MakeDay) -> None:
    earlier = [make_day(START - number * DAY, seed=10 + number) for number in (2, 3)]
    site.store.write(earlier, "earlier", StoredPosition(), StoredPosition(0, 1))
    text = site.get("/flows/bill_inquiry/steps/bill_total?from=2026-03-14&to=2026-03-15").text
    assert "usual (same hours, 3 days)" in text
    assert text.count('<path class="band usual"') == 1
    assert "since the alert began" in text
    assert "this period" not in re.findall(r'<span class="key [a-z]+">([^<]+)</span>', text)

    with site.store.connection() as connection:
        connection.execute("DELETE FROM alerts")
    quiet = site.get("/flows/bill_inquiry/steps/bill_total?from=2026-03-14&to=2026-03-15").text
    assert "since the alert began" not in quiet
    assert "this period" in re.findall(r'<span class="key [a-z]+">([^<]+)</span>', quiet)
