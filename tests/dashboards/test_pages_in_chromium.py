"""The pages in a real browser: a regression is found from the overview in two clicks, nothing complains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cxgauge.alerts.alert import Alert
from cxgauge.alerts.records import save_lifecycle
from cxgauge.dashboards.http import HttpParts, application
from cxgauge.dashboards.server import HttpServer
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.observation import ObservationBatch
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

START, DAY = 1_773_417_600.0, 86_400.0
HEADLINE = "Bill inquiry got slower at Bill total since 14 March 10:42"
TITLE = "Bill inquiry got slower at Bill total since 2026-03-14 10:42"  # of the alert: exact, for engineers
PATHS = (
    "",
    "flows/bill_inquiry",
    "flows/bill_inquiry/way",
    "flows/bill_inquiry/steps/bill_total",
    "alerts",
    "alerts/0123456789ab?lang=zh",
    "search?q=bill",
    "data",
)


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
        batches = [make_day(START - DAY, seed=1), make_day(START, seed=2, factor=1.2)]
        store.write(batches, "test", StoredPosition(), StoredPosition(0, 1))
        with store.connection() as connection:
            save_lifecycle(connection, {}, _Lifecycle(alert), [])  # type: ignore[arg-type]
        parts = HttpParts(store, lambda: config, lambda: {flow.name: flow}, clock=lambda: START + DAY - 1)
        server = HttpServer(application(parts), "127.0.0.1", 0)
        server.start()
        try:
            yield server.url
        finally:
            server.stop()


def test_two_clicks_to_the_cause_and_one_to_acknowledge(chromium: Any, address: str) -> None:
    page = chromium.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    page.goto(address)
    page.get_by_role("link", name="Bill inquiry", exact=True).click()
    assert page.locator(".headline").inner_text().startswith(HEADLINE)
    page.locator(".headline a").click()
    assert page.get_by_role("heading", level=1).inner_text() == TITLE
    assert page.locator("svg .shade").count() == 2

    page.get_by_label("Your name").fill("li.wei")
    page.get_by_label("Note").fill("looking")
    page.get_by_role("button", name="Acknowledge").click()
    deadline = time.monotonic() + 20
    while (
        not page.get_by_role("listitem").filter(has_text="acknowledged · li.wei").count()
        and time.monotonic() < deadline
    ):
        page.wait_for_timeout(50)
    assert page.get_by_role("listitem").filter(has_text="acknowledged · li.wei").count() == 1
    assert complaints == []


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_its_window(chromium: Any, address: str, width: int) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 800})
    for path in PATHS:
        page.goto(address + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
