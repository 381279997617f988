"""Every page in a real browser: no fault that axe-core calls serious, nothing on the console, all by keyboard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cxgauge.alerts.alert import Alert
from cxgauge.alerts.records import save_lifecycle
from cxgauge.dashboards.exposition.health import HealthFigures
from cxgauge.dashboards.http import HttpParts, application
from cxgauge.dashboards.server import HttpServer
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.observation import ObservationBatch
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

START, DAY = 1_773_417_600.0, 86_400.0
PAGES = (
    "",
    "flows/bill_inquiry",
    "flows/bill_inquiry/way",
    "flows/bill_inquiry/steps/bill_total",
    "flows/bill_inquiry/steps/bill_total?from=2026-03-14&to=2026-03-15",
    "alerts",
    "alerts/0123456789ab",
    "search",
    "search?q=bill",
    "search?q=nothing-like-it",
    "data",
    "reports",
    "audit",
    "accounts",
    "improvements",
    "improvements/new?alert=0123456789ab",
    "silences",
    "flows/none",
)
HEALTH = HealthFigures(dropped={"torn": 2}, received={"accepted": 10}, writer_lag_seconds=0.5, evaluation_lag_seconds=1)


class _Lifecycle:
    """As much of a lifecycle as saving asks for."""

    def __init__(self, alert: Alert) -> None:
        self.alerts = {alert.id: alert}


@pytest.fixture
def address(
    migrated_embedded_dsn: str, flow: FlowSpec, alert: Alert, make_day: Callable[..., ObservationBatch], tmp_path: Path
) -> Iterator[str]:
    config = Config.parse("timezone: Asia/Shanghai", "cxgauge.yml", tmp_path)
    with Store.open(migrated_embedded_dsn) as store:
        store.migrate()
        batches = [make_day(START - DAY, seed=1), make_day(START, seed=2, factor=1.2, failures=0.02)]
        store.write(batches, "test", StoredPosition(), StoredPosition(0, 1))
        with store.connection() as connection:
            save_lifecycle(connection, {}, _Lifecycle(alert), [])  # type: ignore[arg-type]
        parts = HttpParts(
            store, lambda: config, lambda: {flow.name: flow}, health=lambda: HEALTH, clock=lambda: START + DAY - 1
        )
        server = HttpServer(application(parts), "127.0.0.1", 0)
        server.start()
        try:
            yield server.url
        finally:
            server.stop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_axe_finds_no_serious_fault(chromium: Any, axe: str, address: str, scheme: str, language: str) -> None:
    # The content policy lets no foreign script in: this browser is told to leave it out, for the checker alone.
    context = chromium.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    faults = []
    for path in PAGES:
        page.goto(f"{address}{path}{'&' if '?' in path else '?'}lang={language}")
        for details in page.locator("details").all():
            details.evaluate("one => { one.open = true }")
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        faults += [
            f"{path}: {one['id']} ({one['impact']}): {one['nodes'][0]['html'][:160]}"
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]
    assert not faults, "\n".join(faults)
    assert complaints == []


def test_nothing_is_on_the_console_of_any_page(chromium: Any, address: str) -> None:
    page = chromium.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    for path in PAGES[:-1]:
        page.goto(address + path)
    assert complaints == []


def test_by_keyboard_alone(chromium: Any, address: str) -> None:
    page = chromium.new_page()
    page.goto(address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.url.endswith("#content")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("总额/")  # in a field a slash is a slash
    assert page.locator("#search").input_value() == "总额/"
    page.keyboard.press("Backspace")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=*span=24h")
    assert page.locator("main").get_by_role("link", name="Bill inquiry › Bill total", exact=True).count() == 1
    page.locator(".scroll").first.focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_a_live_page_brings_itself_up_to_date_and_keeps_the_place(chromium: Any, address: str) -> None:
    page = chromium.new_page()
    page.clock.install()
    page.goto(address)
    page.evaluate("document.querySelector('h1').textContent = 'old'; document.querySelector('details').open = true")
    page.locator("table.t-flows a").first.focus()
    held = page.evaluate("document.activeElement.textContent")
    page.clock.run_for(31_000)
    deadline = time.monotonic() + 20
    while page.locator("h1").inner_text() == "old" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert page.locator("h1").inner_text() == "How customers are doing"
    assert page.evaluate("document.querySelector('details').open")
    assert page.evaluate("document.activeElement.textContent") == held


def test_without_a_script_the_pages_work_too(chromium: Any, address: str) -> None:
    page = chromium.new_context(java_script_enabled=False).new_page()
    page.goto(address + "alerts/0123456789ab")
    page.get_by_label("Your name").fill("li.wei")
    page.get_by_role("button", name="Acknowledge").click()
    deadline = time.monotonic() + 20
    while (
        not page.get_by_role("listitem").filter(has_text="acknowledged · li.wei").count()
        and time.monotonic() < deadline
    ):
        page.wait_for_timeout(50)
    assert page.get_by_role("listitem").filter(has_text="acknowledged · li.wei").count() == 1
    page.goto(address + "flows/bill_inquiry")
    page.get_by_text("Other period").click()
    page.get_by_role("navigation", name="Period").get_by_label("From").fill("2026-03-14T06:00")
    page.get_by_role("button", name="Show").click()
    assert "2026-03-14 06:00 – 2026-03-15 00:00" in page.inner_text(".when")


def test_it_prints_without_what_is_for_clicking(chromium: Any, address: str) -> None:
    page = chromium.new_page()
    page.goto(address)
    page.emulate_media(media="print")
    assert not page.locator("header.top").is_visible()
    assert page.locator("footer .print").is_visible()
    assert len(page.pdf()) > 10_000


def test_a_live_page_waits_while_somebody_fills_in_a_form(chromium: Any, address: str) -> None:
    page = chromium.new_page()
    page.clock.install()
    page.goto(address + "flows/bill_inquiry?lang=en")
    page.get_by_label("MD", exact=True).check()
    page.locator("select[name=compare]").select_option("week")
    page.locator("h1").click()  # out of the form
    page.evaluate("document.querySelector('h1').textContent = 'old'")
    page.clock.run_for(31_000)
    page.wait_for_timeout(500)
    assert page.locator("h1").inner_text() == "old"
    page.get_by_label("MD", exact=True).uncheck()
    page.locator("select[name=compare]").select_option("previous")
    page.evaluate("document.activeElement.blur()")
    page.clock.run_for(31_000)
    page.get_by_role("heading", level=1, name="Bill inquiry").wait_for()
