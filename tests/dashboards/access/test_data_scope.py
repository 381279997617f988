"""What a restricted person sees, by every address there is: the figures of its own part and not a word of the rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape

import httpx2 as httpx
import numpy as np
import pytest

from cxgauge.alerts.alert import Alert, Member, to_json
from cxgauge.dashboards.access.permissions import ROUTES
from cxgauge.metrics.deviation import Scope
from cxgauge.metrics.observation import ObservationBatch
from cxgauge.metrics.specification.flow import parse_flow
from cxgauge.metrics.store.scope import DataScope
from cxgauge.metrics.store.write import StoredPosition

from .conftest import DAY, START, Site, token_of

OTHER = """
name: secret_loan
title: {en: Secret loan, zh: 秘密贷款}
owner: Hidden team
dimensions: [{name: channel, values: [app, web]}]
steps: [{name: ask_loan, title: {en: Ask for the loan, zh: 申请}, timeliness: {target: 2s, objective: 0.9}}]
"""
FORBIDDEN_WORDS = ("secret_loan", "Secret loan", "秘密贷款", "ask_loan", "Hidden team", "fedcba987654")
RUN, HIDDEN_RUN = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
PERIOD = "from=2026-03-14&to=2026-03-15"


@pytest.fixture
def crowded(site: Site, alert: Alert, make_day: Callable[..., ObservationBatch]) -> Site:
    """The site, with another flow and an alert of it."""
    site.flows["secret_loan"] = parse_flow(OTHER)
    batch = make_day(START, seed=9)
    keys = tuple(replace(key, flow="secret_loan", step="ask_loan", checks=()) for key in batch.series[:2])
    records = batch.records[batch.records["series"] < 2]
    site.store.write([ObservationBatch(keys, records)], "other", StoredPosition(), StoredPosition(0, 1))
    deviation = replace(alert.lead, scope=Scope("secret_loan", "ask_loan"))
    hidden = replace(alert, id="fedcba987654", members=(Member(deviation, deviation.detected_at, deviation.effect),))
    with site.store.connection() as connection:
        connection.execute(
            "INSERT INTO alerts (alert_id, state, severity, kind, flow, step, opened_at, started_at, document) "
            "VALUES (%s, 'firing', 'warning', 'slower', 'secret_loan', 'ask_loan', now(), now(), %s)",
            (hidden.id, to_json(hidden)),
        )
        connection.execute(
            "INSERT INTO events (at, kind, title) VALUES (to_timestamp(%s), 'configuration', 'secret_loan')",
            (START + DAY / 2,),
        )
        for run, flow in ((RUN, "bill_inquiry"), (HIDDEN_RUN, "secret_loan")):
            connection.execute(
                "INSERT INTO report_runs (run_id, schedule, flow, period_start, period_end, due_at, state, "
                "next_attempt_at, made_at, language, title, status, headline) "
                "VALUES (%(run)s, 'daily', %(flow)s, to_timestamp(%(at)s), to_timestamp(%(at)s) + interval '1 day', "
                "now(), 'made', now(), now(), 'en', %(flow)s, 'level', %(flow)s)",
                {"run": run, "flow": flow, "at": START},
            )
            connection.execute("INSERT INTO report_files VALUES (%s, 'json', '{}')", (run,))
    return site


def _everything(client: httpx.Client) -> list[tuple[str, httpx.Response]]:
    """Every page that can be read, as page and as each of its tables, and every kind of report."""
    values = {"flow": "bill_inquiry", "step": "bill_total", "alert": "0123456789ab", "format": "json", "run": RUN}
    apart = ("/sign-in", "/static", "/-/", "/metrics", "/audit", "/accounts")
    paths = [
        re.sub(r"{(\w+)}", lambda found: values[found[1]], path)
        for method, path in ROUTES
        if method == "GET" and not path.startswith(apart)
    ]
    paths += [f"/flows/bill_inquiry/report.{kind}" for kind in ("md", "html", "csv", "xlsx")]
    paths += ["/search?q=loan", "/search?q=secret", "/search?q=fedc", "/alerts?flow=secret_loan"]
    links = [f"{path}{'&' if '?' in path else '?'}{PERIOD}&compare=none" for path in paths]
    found = [(link, client.get(link)) for link in links]
    tables = {unescape(link) for _, page in found for link in re.findall(r'href="([^"]*format=csv[^"]*)"', page.text)}
    return [*found, *((link, client.get(link)) for link in sorted(tables))]


def test_who_may_see_one_flow_finds_no_word_of_another_anywhere(crowded: Site) -> None:
    everyone = crowded.signed_in("boss", "engineer")
    seen = " ".join(answer.text for _, answer in _everything(everyone))
    assert all(word in seen for word in FORBIDDEN_WORDS if word != "秘密贷款"), "the test looks where nothing is"

    client = crowded.signed_in("li.wei", "engineer", DataScope.of(["bill_inquiry"]))
    asked = _everything(client)
    assert len(asked) > 20
    for link, answer in asked:
        assert answer.status_code == 200, link
        for word in FORBIDDEN_WORDS:
            assert word not in answer.text or word in link, (link, word)


@pytest.mark.parametrize(
    "path",
    ["/flows/secret_loan", "/flows/secret_loan/steps/ask_loan", "/flows/secret_loan/report.json",
     "/flows/secret_loan/way", "/flows/secret_loan?format=csv", "/alerts/fedcba987654", f"/reports/{HIDDEN_RUN}",
     f"/reports/{HIDDEN_RUN}/report.json", "/flows/bill_inquiry%2F..%2Fsecret_loan"],
)  # fmt: skip
def test_an_address_is_no_way_round(crowded: Site, path: str) -> None:
    client = crowded.signed_in("li.wei", "admin", DataScope.of(["bill_inquiry"]))
    answer = client.get(path)
    assert answer.status_code == 404
    assert not any(word in answer.text for word in FORBIDDEN_WORDS)


def test_nobody_acts_on_an_alert_that_is_hidden(crowded: Site) -> None:
    client = crowded.signed_in("li.wei", "engineer", DataScope.of(["bill_inquiry"]))
    token = token_of(client.get("/account").text)
    for identity in ("fedcba987654", "fedc", "%"):
        answer = client.post(f"/alerts/{identity}/actions", data={"token": token, "action": "acknowledge"})
        assert answer.status_code == 404
    assert (
        client.post("/alerts/0123456789ab/actions", data={"token": token, "action": "acknowledge"}).status_code == 303
    )
    assert [row[1:3] for row in crowded.audited()[1:]] == [("acknowledge", "0123456789ab")]


def _json_figures(client: httpx.Client) -> tuple[int, dict[str, int]]:
    report = client.get(f"/flows/bill_inquiry/report.json?{PERIOD}&compare=none").json()
    steps = report["figures"]["steps"] if "figures" in report else report["steps"]
    return sum(step["observations"] for step in steps), {step["step"]: step["observations"] for step in steps}


def test_who_may_see_one_channel_gets_figures_of_that_channel_only(
    site: Site, make_day: Callable[..., ObservationBatch]
) -> None:
    batch = make_day(START, seed=2)  # what the site holds
    app = [number for number, key in enumerate(batch.series) if ("channel", "app") in key.dimensions]
    mine = batch.records[np.isin(batch.records["series"], app)]
    client = site.signed_in("li.wei", "viewer", DataScope.of(None, {"channel": ["app"]}))
    assert _json_figures(client)[0] == len(mine)
    assert _json_figures(site.signed_in("boss"))[0] == len(batch.records)

    good = int((mine["verdict"] == 0).sum())
    overview = client.get(f"/?{PERIOD}&format=csv").text
    assert f",{len(mine)}," in overview
    step = client.get(f"/flows/bill_inquiry/steps/bill_total?{PERIOD}").text
    assert "web" not in re.sub(r"<[^>]+>", " ", step).split()
    report = client.get(f"/flows/bill_inquiry/report.json?{PERIOD}&compare=none").text
    assert '"web"' not in report
    assert str(good) in report
    assert client.get("/alerts/0123456789ab").status_code == 404  # speaks of all channels


def test_pages_of_two_people_never_mix(crowded: Site) -> None:
    clients = {
        name: crowded.signed_in(name, "viewer", DataScope.of([name])) for name in ("bill_inquiry", "secret_loan")
    }
    for _ in range(10):
        for name, client in clients.items():
            page = client.get("/").text
            other = "secret_loan" if name == "bill_inquiry" else "bill_inquiry"
            assert (f"/flows/{name}" in page, f"/flows/{other}" in page) == (True, False)


def test_a_new_scope_counts_at_the_next_request(crowded: Site) -> None:
    from cxgauge.metrics.store.accounts import read_account, set_access

    client = crowded.signed_in("li.wei")
    assert client.get("/flows/secret_loan").status_code == 200
    with crowded.store.connection() as connection:
        account = read_account(connection, "li.wei")
        assert account is not None
        set_access(connection, account.id, "viewer", DataScope.of(["bill_inquiry"]))
    assert client.get("/flows/secret_loan").status_code == 404
