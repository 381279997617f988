"""Improvements, silences and tokens in a real browser: who may does, who may not cannot, all can use the pages."""

from __future__ import annotations

from typing import Any

import pytest

from cxgauge.dashboards.access.service_tokens import make_token
from cxgauge.dashboards.improvements import Actor, add_improvement, finish_improvement
from cxgauge.metrics.store.scope import EVERYTHING, DataScope

from .conftest import DAY, START, Site
from .test_access_in_chromium import _new_page, _sign_in

ALERT = "alerts/0123456789ab"


def test_from_an_alert_to_an_action_to_the_verdict_of_the_next_report(chromium: Any, site: Site) -> None:
    site.account("li.wei", "analyst")
    page, complaints = _new_page(chromium)
    _sign_in(page, site, "li.wei")
    page.goto(site.url + ALERT)
    page.get_by_role("link", name="Plan an improvement").click()
    page.get_by_label("What is done").fill("Cache the statement")
    page.get_by_label("Due").fill("2026-03-20")
    page.get_by_role("button", name="Write it down").click()
    page.get_by_role("heading", name="Cache the statement", level=1).wait_for()
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Improvements").click()
    row = page.get_by_role("row", name="Cache the statement")
    assert "planned" in row.inner_text()
    row.get_by_role("link", name="Cache the statement").click()
    page.get_by_label("In effect since").fill("2026-03-14T18:00")
    page.get_by_role("button", name="It is in effect").click()
    page.get_by_text("in effect", exact=False).first.wait_for()
    page.get_by_role("row", name="in effect li.wei").wait_for()

    page.goto(f"{site.url}flows/bill_inquiry?from=2026-03-14T18:00&to=2026-03-15")
    page.get_by_label("PDF", exact=True).uncheck()
    page.get_by_label("MD", exact=True).check()
    page.get_by_role("button", name="Make the report").click()
    link = page.get_by_role("link", name="MD", exact=True)
    link.wait_for(timeout=60_000)  # the page shows it by itself
    with page.expect_download() as download:
        link.click()
    text = download.value.path().read_text(encoding="utf-8")
    assert "Bill total, Median: “Cache the statement” (Cards | bills), done 2026-03-14 18:00" in text.replace("\\", "")
    assert complaints == []
    assert [row[1] for row in site.audited()][1:] == ["improvement planned", "improvement done", "report asked for"]


def test_an_engineer_silences_and_a_viewer_looks(chromium: Any, site: Site) -> None:
    site.account("wang.fang", "viewer")
    site.account("li.wei", "engineer")
    engineer, complaints = _new_page(chromium)
    _sign_in(engineer, site, "li.wei")
    engineer.goto(site.url + "alerts")
    engineer.get_by_role("link", name="Silences and incidents").click()
    engineer.locator("select[name=where]").select_option("bill_inquiry/bill_total")
    engineer.get_by_label("Why").fill("core upgrade")
    engineer.get_by_role("button", name="Begin", exact=True).click()
    going = engineer.get_by_role("region", name="Now and to come")
    going.get_by_text("core upgrade").wait_for()

    viewer, viewer_complaints = _new_page(chromium)
    _sign_in(viewer, site, "wang.fang")
    viewer.goto(site.url + "silences")
    assert viewer.get_by_text("core upgrade").count() == 2  # among what goes on, and in the table
    assert viewer.get_by_role("button", name="Begin").count() == 0
    assert viewer.get_by_role("button", name="End now").count() == 0
    viewer.goto(site.url + ALERT)
    assert viewer.get_by_role("link", name="Plan an improvement").count() == 0
    viewer.goto(site.url + "flows/bill_inquiry")
    assert viewer.get_by_role("button", name="Make the report").count() == 0
    token = viewer.locator('form[action="/sign-out"] input[name=token]').get_attribute("value")
    for path in ("/silences", "/improvements", "/flows/bill_inquiry/reports", "/accounts/tokens"):
        status = viewer.evaluate(
            """async ([path, token]) => (await fetch(path, {method: "POST", redirect: "manual",
                body: new URLSearchParams({token, kind: "silence", why: "x"})})).status""",
            [path, token],
        )
        assert status == 403, path
    assert [text for text in viewer_complaints if "403" not in text] == []

    engineer.get_by_role("button", name="End now: core upgrade").click()
    engineer.get_by_text("Nothing is held back").wait_for()
    assert complaints == []


def test_a_token_is_shown_once_and_revoked(chromium: Any, site: Site) -> None:
    site.account("boss", "admin")
    page, complaints = _new_page(chromium)
    _sign_in(page, site, "boss")
    page.goto(site.url + "accounts")
    page.get_by_label("Name of the program").fill("export")
    page.get_by_role("button", name="Make the token").click()
    field = page.get_by_role("textbox", name="The token of export")
    assert field.input_value().startswith("cxs_")
    page.get_by_role("link", name="It is copied").click()
    page.get_by_text("Revoke a token").click()
    assert page.get_by_role("textbox", name="The token of export").count() == 0
    page.get_by_role("button", name="Revoke the token of export").click()
    page.get_by_text("revoked on").wait_for()
    assert complaints == []


@pytest.fixture
def furnished(site: Site) -> Site:
    """Something to see on every page."""
    flow = site.flows["bill_inquiry"]
    for action, due, done in (("Cache it", "2026-03-01", None), ("Cache more", "", START + DAY / 2)):
        entry = add_improvement(
            site.store, flow, "bill_total", "p50", action, owner="cards", due=due, finding="0123456789ab", now=START,
            dimensions={"channel": "app"}, by=Actor("li.wei"),
        )  # fmt: skip
        if done is not None:
            finish_improvement(site.store, entry.id, done, now=site.now)
        site.entry = entry.id
    with site.store.connection() as connection, connection.transaction():
        make_token(connection, "export", "viewer", EVERYTHING, 30, by="boss", at=site.now, address="here")
    site.account("boss", "admin")
    site.account("north", "engineer", DataScope.of(["bill_inquiry"], {"channel": ["app"]}))
    return site


@pytest.mark.parametrize(("language", "scheme"), [("en", "dark"), ("zh", "light")])
def test_axe_finds_no_serious_fault_and_pages_fit_narrow_windows(
    chromium: Any, axe: str, furnished: Site, language: str, scheme: str
) -> None:
    context = chromium.new_context(color_scheme=scheme, bypass_csp=True, viewport={"width": 320, "height": 800})
    page = context.new_page()
    faults: list[str] = []

    def look(path: str) -> None:
        page.goto(f"{furnished.url}{path}{'&' if '?' in path else '?'}lang={language}")
        for details in page.locator("details").all():
            details.evaluate("one => { one.open = true }")
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        faults.extend(
            f"{path}: {one['id']} ({one['impact']}): {one['nodes'][0]['html'][:160]}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        )
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 320:
            faults.append(f"{path}: {width} pixels wide")

    look("sign-in")
    for name, paths in (
        ("boss", ("improvements", f"improvements/{furnished.entry}", f"improvements/new?alert={ALERT[7:]}",
                  "improvements/new", "silences", "accounts", "account", "audit", ALERT, "flows/bill_inquiry")),
        ("north", ("improvements", f"improvements/{furnished.entry}", "silences", "flows/bill_inquiry/way",
                   "flows/bill_inquiry/steps/bill_total")),
    ):  # fmt: skip
        context.clear_cookies()
        page.goto(furnished.url + "sign-in?lang=en")
        _sign_in(page, furnished, name)
        for path in paths:
            look(path)
        if name == "boss":
            page.goto(furnished.url + "silences?lang=en")
            page.get_by_label("Why").fill("upgrade")
            page.get_by_role("button", name="Begin", exact=True).click()
            look("silences")
    assert not faults, "\n".join(faults)
