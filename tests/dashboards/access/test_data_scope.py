"""What a restricted person sees, by every address there is: the figures of its own part and not a word of the rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape

import httpx2 as httpx
import numpy as np
import pytest
from pydantic import TypeAdapter

from cxgauge.alerts.alert import Alert, Member, Silence, to_json
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
ENTRY, HIDDEN_ENTRY = "aaaaaaaa", "bbbbbbbb"
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
        for entry, flow, step in ((ENTRY, "bill_inquiry", "bill_total"), (HIDDEN_ENTRY, "secret_loan", "ask_loan")):
            connection.execute(
                "INSERT INTO improvements (improvement_id, flow, step, measure, action, planned_at, done_at, note) "
                "VALUES (%s, %s, %s, 'p50', 'about ' || %s, to_timestamp(%s), to_timestamp(%s), 'noted')",
                (entry, flow, step, flow, START, START + DAY / 2),
            )
            connection.execute(
                "INSERT INTO improvement_trail VALUES (%s, 1, to_timestamp(%s), 'li.wei', 'planned', %s)",
                (entry, START, f'{{"owner": "{flow}"}}'),
            )
            connection.execute(
                "INSERT INTO silences (silence_id, starts_at, ends_at, author, document) "
                "VALUES (%(id)s, to_timestamp(%(at)s), to_timestamp(%(at)s + 200000), 'li.wei', %(document)s)",
                {"id": entry, "at": START, "document": _silence(entry, flow)},
            )
            connection.execute(
                "INSERT INTO events (at, kind, flow, title, identity) "
                "VALUES (to_timestamp(%s), 'incident', %s, %s, %s)",
                (START + DAY / 2, flow, f"core of {flow} down", entry),
            )
    return site


def _silence(identity: str, flow: str) -> str:
    silence = Silence(identity, START, START + 200_000, "li.wei", f"upgrade of {flow}", flow)
    return TypeAdapter(Silence).dump_json(silence).decode()


def _everything(client: httpx.Client) -> list[tuple[str, httpx.Response]]:
    """Every page that can be read, as page and as each of its tables, and every kind of report."""
    values = {"flow": "bill_inquiry", "step": "bill_total", "alert": "0123456789ab", "format": "json", "run": RUN}
    values["improvement"] = ENTRY
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
     f"/reports/{HIDDEN_RUN}/report.json", f"/improvements/{HIDDEN_ENTRY}", "/flows/bill_inquiry%2F..%2Fsecret_loan"],
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


def test_nobody_changes_what_is_hidden(crowded: Site) -> None:
    client = crowded.signed_in("li.wei", "engineer", DataScope.of(["bill_inquiry"]))
    token = token_of(client.get("/account").text)
    base = {"token": token, "why": "x", "kind": "silence", "step": "ask_loan", "measure": "p50", "action": "drop"}
    for path, fields, status in (
        (f"/improvements/{HIDDEN_ENTRY}", {}, 404),
        ("/improvements", {"flow": "secret_loan"}, 404),
        (f"/silences/{HIDDEN_ENTRY}/end", {}, 404),
        (f"/incidents/{HIDDEN_ENTRY}/end", {}, 404),
        ("/silences", {"where": "secret_loan"}, 404),
        ("/silences", {"where": ""}, 403),
        ("/silences", {"where": "", "kind": "incident"}, 403),
        ("/flows/secret_loan/reports", {"from": "2026-03-14T00:00", "to": "2026-03-14T06:00", "as_json": "1"}, 404),
    ):
        answer = client.post(path, data=base | fields)
        assert answer.status_code == status, (path, answer.text)
        said = answer.text.replace("secret_loan", "") if "secret_loan" in f"{path} {fields}" else answer.text
        assert not any(word in said for word in FORBIDDEN_WORDS), path
    assert crowded.audited()[1:] == []
    assert client.post(f"/silences/{ENTRY}/end", data=base).status_code == 303
    assert client.post(f"/incidents/{ENTRY}/end", data=base).status_code == 303
    assert client.post(f"/improvements/{ENTRY}", data=base).status_code == 303


def test_who_sees_a_part_reads_the_ledger_by_its_own_figures_and_writes_of_its_part_only(crowded: Site) -> None:
    client = crowded.signed_in("li.wei", "engineer", DataScope.of(["bill_inquiry"], {"channel": ["app"]}))
    token = token_of(client.get("/account").text)
    page = client.get(f"/improvements/{ENTRY}").text
    assert "about bill_inquiry" in page
    assert "noted" not in page
    plan = {"token": token, "flow": "bill_inquiry", "step": "bill_total", "measure": "p50", "action": "cache it"}
    for of in ("", "channel=web"):
        answer = client.post("/improvements", data=plan | {"of": of})
        assert answer.status_code == 403
        assert "you see a part of the customers; an entry of yours is for one of channel=app" in answer.text
        answer = client.post("/silences", data={"token": token, "kind": "silence", "why": "x", "of": of,
                                                "where": "bill_inquiry"})  # fmt: skip
        assert answer.status_code == 403
    assert client.post("/improvements", data=plan | {"of": "channel=app"}).status_code == 303
    assert client.post(f"/improvements/{ENTRY}", data={"token": token, "action": "drop"}).status_code == 403
    silence = {"token": token, "why": "x", "of": "channel=app", "where": "bill_inquiry"}
    assert client.post("/silences", data=silence | {"kind": "maintenance"}).status_code == 403
    assert client.post("/silences", data=silence | {"kind": "incident"}).status_code == 403
    assert client.post("/silences", data=silence | {"kind": "silence"}).status_code == 303
    other = crowded.signed_in("wang.fang", "engineer", DataScope.of(["bill_inquiry"], {"channel": ["web"]}))
    assert "channel=app" not in other.get("/silences").text
    assert "cache it" not in other.get("/improvements").text
    assert "cache it" in client.get("/improvements").text


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
