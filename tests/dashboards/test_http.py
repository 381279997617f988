from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import log
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from cxgauge.alerts.alert import Alert, SizeAt, Transition, TransitionKind, to_json
from cxgauge.dashboards.figure_types import Period
from cxgauge.dashboards.http import HttpParts, application
from cxgauge.dashboards.server import HttpServer
from cxgauge.dashboards.wording import Wording
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.deviation import Deviation, DeviationKind
from cxgauge.metrics.observation import ObservationBatch, Source
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.store.alerts import save_deviation
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

MakeDay = Callable[..., ObservationBatch]
START = 1_773_417_600.0
DAY = 86_400.0


@dataclass
class Site:
    """A served application, and what the test may change about it."""

    store: Store
    flows: dict[str, FlowSpec]
    client: httpx.Client
    reasons: list[str]

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(path, headers=headers)


@pytest.fixture
def site(migrated_embedded_dsn: str, flow: FlowSpec, tmp_path: Path) -> Iterator[Site]:
    config = Config.parse("timezone: Asia/Shanghai", "cxgauge.yml", tmp_path)
    flows, reasons = {flow.name: flow}, list[str]()
    with Store.open(migrated_embedded_dsn) as store:
        store.migrate()
        parts = HttpParts(
            store,
            lambda: config,
            lambda: flows,
            metrics=lambda accept: (b"cxgauge_up 1\n", "text/plain; version=0.0.4" if "text" in accept else "other"),
            not_ready=lambda: reasons,
            unhealthy=lambda: reasons,
            clock=lambda: START + DAY - 1,
        )
        server = HttpServer(application(parts), "127.0.0.1", 0)
        server.start()
        try:
            with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
                yield Site(store, flows, client, reasons)
        finally:
            server.stop()


def _write(site: Site, *batches: ObservationBatch) -> None:
    site.store.write(list(batches), "test", StoredPosition(), StoredPosition(0, 1))


def _keep_alert(site: Site, alert: Alert, *transitions: Transition) -> None:
    with site.store.connection() as connection:
        connection.execute(
            "INSERT INTO alerts (alert_id, state, severity, kind, flow, step, opened_at, started_at, document) "
            "VALUES (%s, %s, %s, %s, %s, %s, to_timestamp(%s), to_timestamp(%s), %s)",
            (
                alert.id, alert.state.value, alert.severity.value, alert.lead.kind.value, alert.flow, alert.scope.step,
                alert.opened_at, alert.lead.started_at, to_json(alert),
            ),
        )  # fmt: skip
        for each in transitions:
            connection.execute(
                "INSERT INTO alert_transitions (alert_id, sequence, kind, at, actor, note) "
                "VALUES (%s, %s, %s, to_timestamp(%s), %s, %s)",
                (each.alert_id, each.sequence, each.kind.value, each.at, each.by, each.note),
            )


def _text(response: httpx.Response) -> str:
    """The page's text without tags, spaces joined."""
    import html

    assert response.status_code == 200, response.text
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", response.text).split()))


def test_health_readiness_and_metrics(site: Site) -> None:
    assert (site.get("/-/healthy").status_code, site.get("/-/healthy").text) == (200, "healthy\n")
    assert site.get("/-/ready").text == "ready\n"
    metrics = site.get("/metrics", accept="text/plain")
    assert (metrics.text, metrics.headers["content-type"]) == (
        "cxgauge_up 1\n",
        "text/plain; version=0.0.4; charset=utf-8",
    )

    site.reasons.append("writer: away")
    assert (site.get("/-/ready").status_code, site.get("/-/ready").text) == (503, "not ready: writer: away\n")
    assert site.get("/-/healthy").status_code == 503


def test_every_answer_has_the_security_headers(site: Site) -> None:
    for path in ("/", "/-/healthy", "/static/pages.css", "/no-such-page"):
        headers = site.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"


def test_pages_have_no_inline_script_and_nothing_from_elsewhere(site: Site, make_day: MakeDay) -> None:
    _write(site, make_day(START))
    for path in ("/", "/flows/bill_inquiry", "/flows/bill_inquiry/steps/bill_total", "/alerts"):
        page = site.get(path).text
        for tag in re.findall(r"<script[^>]*>", page):
            assert re.fullmatch(r'<script (src="/static/[a-z.]+" defer|type="application/json"[^>]*)>', tag), path
        assert " style=" not in page
        assert re.findall(r" on[a-z]+=", page) == []
        assert re.findall(r'(?:src|href)="(?!/|#)[^"]*"', page) == []


def test_from_the_overview_to_the_alert(site: Site, make_day: MakeDay, alert: Alert) -> None:
    _write(site, make_day(START - DAY, seed=1), make_day(START, seed=2, factor=1.2))
    _keep_alert(
        site,
        alert,
        Transition(alert.id, 1, TransitionKind.FIRED, alert.opened_at),
        Transition(alert.id, 2, TransitionKind.ACKNOWLEDGED, alert.opened_at + 60, "li.wei", "looking <b>at</b> it"),
    )

    overview = site.get("/").text
    assert "1 open alert" in overview
    link = re.findall(r'href="(/alerts/[^"]+)"', overview)[0]
    page = site.get(link)
    said = _text(page)
    assert "Bill inquiry got slower at Bill total since 2026-03-14 10:42" in said
    assert "1.00 → 1.19 s, +19 % (95 % interval 18–20 %)" in said
    assert "acknowledged · li.wei looking <b>at</b> it" in said
    assert "looking &lt;b&gt;at&lt;/b&gt; it" in page.text
    assert '<rect class="shade"' in page.text


def test_flow_and_step_pages_show_the_report_s_figures(
    site: Site, make_day: MakeDay, flow: FlowSpec, english: Wording
) -> None:
    from cxgauge.dashboards.report.report import build_report

    _write(site, make_day(START, seed=2))
    report = build_report(site.store, flow, Period(START, START + DAY), None, english, now=START + DAY - 1)
    bill = report.figures.steps[1]
    query = "?from=2026-03-14&to=2026-03-15&compare=none"

    page = _text(site.get("/flows/bill_inquiry" + query))
    step = _text(site.get("/flows/bill_inquiry/steps/bill_total" + query))
    for text in (page, step):
        assert english.seconds(bill.p50.value) in text
        assert english.duration_interval(bill.p50) in text
        assert english.percent(bill.good_rate.value) in text
    assert english.rate_interval(bill.good_rate) in page
    assert "Compared with" not in page.replace("Compared with:", "")
    assert "channel app" in step


def test_language_by_link_cookie_and_configuration(site: Site) -> None:
    assert '<html lang="en">' in site.get("/").text
    chosen = site.get("/?lang=zh")
    assert '<html lang="zh-CN">' in chosen.text
    assert "客户旅程" in chosen.text
    assert "HttpOnly" in chosen.headers["set-cookie"]
    assert '<html lang="zh-CN">' in site.get("/").text  # the client kept the cookie


def test_empty_states_say_what_to_do(site: Site) -> None:
    assert "Nothing was measured in this period" in _text(site.get("/"))
    assert "cxgauge import FILE --flow bill_inquiry" in _text(site.get("/"))
    assert "No alert in this period." in _text(site.get("/alerts"))
    assert "No observation of Bill inquiry in this period" in _text(site.get("/flows/bill_inquiry"))
    assert "Nothing was measured in this period" in _text(site.get("/flows/bill_inquiry/steps/log_in"))
    site.flows.clear()
    assert "cxgauge init --template bill_inquiry" in _text(site.get("/"))


@pytest.mark.parametrize("path", ["/flows/none", "/flows/bill_inquiry/steps/none", "/alerts/none", "/none"])
def test_what_is_not_known_is_a_page_of_its_own(site: Site, path: str) -> None:
    answer = site.get(path)
    assert answer.status_code == 404
    assert "There is no such page" in answer.text


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("span=1y", "span='1y' is not known; write one of 1h, 6h, 24h, 7d, 30d\n"),
        ("compare=ever", "compare='ever' is not known; write one of previous, week, year, before, none\n"),
        ("from=2020-01-01&to=2026-01-01", "the period is longer than 400 days; choose a shorter one\n"),
    ],
)
def test_parameters_that_cannot_be_used_are_refused(site: Site, query: str, message: str) -> None:
    answer = site.get(f"/?{query}")
    assert (answer.status_code, answer.text) == (400, message)
    assert answer.headers["content-type"].startswith("text/plain")


def test_permalink_fixes_the_period(site: Site, make_day: MakeDay) -> None:
    _write(site, make_day(START))
    page = site.get("/flows/bill_inquiry?span=7d").text
    link = re.findall(r'<a class="permalink" href="([^"]+)">Link to exactly this period', page)[0].replace("&amp;", "&")
    assert link == ("/flows/bill_inquiry?from=2026-03-07T16%3A00%3A00Z&to=2026-03-14T16%3A00%3A00Z&lang=en")
    assert _text(site.get(link)).count("2026-03-08 00:00 – 2026-03-15 00:00") >= 1


def test_titles_are_escaped(site: Site) -> None:
    text = "name: hostile\ntitle: {en: '<img src=x onerror=alert(1)>', zh: 恶意}\nowner: '\"><script>'\n"
    site.flows["hostile"] = parse_flow(
        text + "steps: [{name: one, title: {en: '<i>', zh: 一}, timeliness: {target: 1s}}]\n"
    )
    for path in ("/", "/flows/hostile", "/flows/hostile/steps/one"):
        page = site.get(path).text
        assert "<img src=x" not in page
        assert "<script>" not in page
        assert "<i>" not in page


def test_simulated_data_are_marked_on_every_page(site: Site, make_day: MakeDay) -> None:
    _write(site, make_day(START, source=Source.SIMULATED))
    for path in ("/", "/flows/bill_inquiry", "/flows/bill_inquiry/steps/bill_total"):
        assert "Simulated" in _text(site.get(path))


def test_overview_counts_agree_between_windows_and_hours(site: Site, make_day: MakeDay) -> None:
    from cxgauge.dashboards.overview import read_overview

    _write(site, make_day(START - DAY, seed=1), make_day(START, seed=2))
    period = Period(START - DAY, START + DAY)
    hours = read_overview(site.store, site.flows, period)[0]
    windows = read_overview(site.store, site.flows, replace(period, start=period.start - 60))[0]
    assert (hours.good, hours.observations) == (windows.good, windows.observations)
    site.store.compact()
    assert read_overview(site.store, site.flows, period)[0].steps == hours.steps


def test_pages_without_database_say_that_measuring_goes_on(site: Site) -> None:
    with site.store.connection() as connection:
        connection.execute("ALTER TABLE alerts RENAME TO gone")
    answer = site.get("/alerts")
    assert answer.status_code == 503
    assert "Measuring goes on meanwhile" in answer.text


def _form(site: Site, identity: str) -> dict[str, str]:
    page = site.get(f"/alerts/{identity}").text
    return {"token": re.findall(r'name="token" value="([^"]+)"', page)[0], "by": "li.wei"}


def test_acknowledging_on_the_page(site: Site, alert: Alert) -> None:
    _keep_alert(site, alert)
    form = _form(site, alert.id)

    answer = site.client.post(f"/alerts/{alert.id}/actions", data={**form, "action": "acknowledge", "note": "on it"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/alerts/{alert.id}")
    page = site.get(f"/alerts/{alert.id}").text
    assert "acknowledged · li.wei on it" in _text(site.get(f"/alerts/{alert.id}"))
    assert 'value="li.wei"' in page
    assert 'value="acknowledge"' not in page

    site.client.post(f"/alerts/{alert.id}/actions", data={**form, "action": "assign", "to": "cards"})
    site.client.post(f"/alerts/{alert.id}/actions", data={**form, "action": "accept", "note": "agreed"})
    said = _text(site.get(f"/alerts/{alert.id}"))
    assert "accepted as the new normal · li.wei agreed" in said
    assert "What you do about it" not in said


@pytest.mark.parametrize(
    ("headers", "change", "status", "message"),
    [
        ({"origin": "https://evil.example"}, {}, 403, "the form is not from this site\n"),
        ({"sec-fetch-site": "cross-site"}, {}, 403, "the form is not from this site\n"),
        ({"host": "rebound.example"}, {}, 403, "open this page by 127.0.0.1 or localhost\n"),
        ({}, {"token": "x"}, 403, "the form is out of date: load the page again\n"),
        ({}, {"note": "x" * 40_000}, 413, "the form is larger than 32768 bytes\n"),
        ({}, {"by": " "}, 400, "by='' is empty; say who you are\n"),
        ({}, {"action": "comment"}, 400, "action='comment' lacks what it needs; go back and fill it in\n"),
        (
            {},
            {"action": "delete"},
            400,
            "action='delete' is not known; write one of acknowledge, assign, comment, accept\n",
        ),
    ],
)
def test_forms_from_elsewhere_or_incomplete_change_nothing(
    site: Site, alert: Alert, headers: dict[str, str], change: dict[str, str], status: int, message: str
) -> None:
    _keep_alert(site, alert)
    data = {**_form(site, alert.id), "action": "acknowledge", **change}
    answer = site.client.post(f"/alerts/{alert.id}/actions", data=data, headers=headers)
    assert (answer.status_code, answer.text) == (status, message)
    assert "nobody has acknowledged" in site.get("/flows/bill_inquiry?from=2026-03-14&to=2026-03-15").text


@pytest.mark.parametrize("kind", ["md", "html", "csv", "xlsx", "json"])
def test_reports_are_downloaded_for_the_page_s_period(site: Site, make_day: MakeDay, kind: str) -> None:
    _write(site, make_day(START, seed=2))
    page = site.get("/flows/bill_inquiry?from=2026-03-14&to=2026-03-15&compare=none").text
    link = re.findall(rf'href="([^"]+report\.{kind}[^"]*)"', page)[0].replace("&amp;", "&")
    answer = site.get(link)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="bill_inquiry-2026-03-14.{kind}"'
    assert len(answer.content) > 500
    assert site.get("/flows/bill_inquiry/report.exe").status_code == 404


def test_metrics_are_optional(migrated_embedded_dsn: str, tmp_path: Path) -> None:
    config: Any = Config.parse("{}", "cxgauge.yml", tmp_path)
    with Store.open(migrated_embedded_dsn) as store:
        server = HttpServer(application(HttpParts(store, lambda: config, dict)), "127.0.0.1", 0)
        server.start()
        try:
            assert httpx.get(server.url + "metrics", trust_env=False).status_code == 404
        finally:
            server.stop()


def test_an_alert_s_timeline_tells_who_did_what_and_how_large_it_was_meanwhile(
    site: Site, make_day: MakeDay, alert: Alert
) -> None:
    _write(site, make_day(START, seed=2))
    sizes = tuple(SizeAt(alert.opened_at + after, *alert_size, 3_500) for after, alert_size in SIZES.items())
    _keep_alert(
        site,
        replace(alert, history=sizes),
        Transition(alert.id, 1, TransitionKind.OPENED, alert.opened_at),
        Transition(alert.id, 2, TransitionKind.COMMENTED, alert.opened_at + 600, "li.wei", "rolled back"),
    )
    page = site.get(f"/alerts/{alert.id}").text
    timeline = page.partition('<ol class="timeline"')[2].partition("</ol>")[0]
    entries = [
        re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", entry)).strip()
        for entry in re.findall(r"<li[^>]*>(.*?)</li>", timeline, re.S)
    ]
    assert [entry[17:] for entry in entries] == [
        "found",
        "its size as far as known then : +19 % (+18 % to +20 %), 3,500 observations",
        "comment · li.wei rolled back",
        "its size as far as known then : +22 % (+20 % to +25 %), 3,500 observations",
    ]
    text = site.get(f"/alerts/{alert.id}?format=csv&table=history").text
    assert "its size as far as known then,,,0.18999999999999995,0.17999999999999994," in text


SIZES = {0.0: (log(1.19), log(1.18), log(1.20)), 3_600.0: (log(1.22), log(1.20), log(1.25))}


def test_what_got_better_is_told_on_pages_and_in_the_report(site: Site, make_day: MakeDay, slower: Deviation) -> None:
    _write(site, make_day(START, seed=2))
    faster = replace(
        slower, kind=DeviationKind.FASTER, effect=log(0.8), effect_low=log(0.78), effect_high=log(0.82), before=1.25,
        after=1.0,
    )  # fmt: skip
    with site.store.connection() as connection:
        save_deviation(connection, faster, None)
    for path in ("/flows/bill_inquiry", "/flows/bill_inquiry/steps/bill_total"):
        said = _text(site.get(f"{path}?compare=none"))
        assert "Bill inquiry got faster at Bill total since 2026-03-14 10:42" in said
        assert "−20 % −22 % to −18 %" in said
        row = site.get(f"{path}?compare=none&format=csv&table=deviations").text.splitlines()[1].split(",")
        assert [round(float(value), 6) for value in row[2:5]] == [-0.2, -0.22, -0.18]
    assert "got faster" not in _text(site.get("/flows/bill_inquiry/steps/log_in?compare=none"))
    report = site.get("/flows/bill_inquiry/report.md?compare=none").text
    assert "got faster at *Bill total* since 2026-03-14 10:42: 1.25 → 1.00 s (−20 %, −22 to −18 %)" in report
