"""The pages of scheduled reports: the list, one report, its files at addresses that stay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cxgauge.dashboards.figure_types import Period
from cxgauge.dashboards.http import HttpParts, application
from cxgauge.dashboards.scheduled.reporter import Reporter
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.observation import ObservationBatch
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

DAY, HOUR = 86_400.0, 3_600.0
RUN = "daily-bill_inquiry-2026-03-15"
CONFIG = (
    "timezone: Asia/Shanghai\nreports:\n"
    "  - {name: daily, every: day, formats: [html, csv], notifiers: [log], folder: out}\n"
)


@pytest.fixture
def client(
    migrated_embedded_dsn: str,
    flow: FlowSpec,
    today: Period,
    make_day: Callable[..., ObservationBatch],
    clock: Any,
    tmp_path: Path,
) -> Iterator[TestClient]:
    config, flows = Config.parse(CONFIG, directory=tmp_path), {flow.name: flow}
    with Store.open(migrated_embedded_dsn) as store:
        store.migrate()
        batches = [make_day(today.start - DAY, seed=1), make_day(today.start, seed=2, factor=1.2)]
        store.write(batches, "test", StoredPosition(), StoredPosition(0, 1))
        reporter = Reporter(store, lambda: config, lambda: flows, clock)
        for moment in (today.end, today.end + 8 * HOUR):
            clock.now = moment
            reporter.step()
        parts = HttpParts(store, lambda: config, lambda: flows, clock=clock)
        yield TestClient(application(parts), base_url="http://127.0.0.1", client=("127.0.0.1", 50_000))


def test_the_list_says_what_each_report_says(client: TestClient) -> None:
    text = client.get("/reports").text
    assert f'href="/reports/{RUN}"' in text
    assert "Bill inquiry got slower at <em>Bill total</em>" in text
    assert f'href="/reports/{RUN}/report.csv"' in text
    assert "2026-03-16 07:00" in text
    assert "log, folder" in text
    assert "“账单查询”" not in text
    assert "结论" in client.get("/reports?lang=zh").text


def test_the_list_can_be_narrowed_and_a_wrong_filter_is_said(client: TestClient) -> None:
    assert RUN in client.get("/reports?flow=bill_inquiry").text
    answer = client.get("/reports?flow=nothing")
    assert (answer.status_code, answer.text) == (400, "flow='nothing' is not declared; write one of bill_inquiry\n")
    assert client.get("/reports?page=x").status_code == 400


def test_a_report_has_an_address_that_stays(client: TestClient) -> None:
    text = client.get(f"/reports/{RUN}").text
    assert f'href="/reports/{RUN}/report.html"' in text
    assert "/flows/bill_inquiry?from=2026-03-13T16%3A00%3A00Z&amp;to=2026-03-14T16%3A00%3A00Z" in text
    assert "delivered" in text
    assert client.get("/reports/nothing").status_code == 404


def test_a_file_is_given_as_it_was_made_in_a_sandbox(client: TestClient) -> None:
    answer = client.get(f"/reports/{RUN}/report.html")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "<svg" in answer.text
    table = client.get(f"/reports/{RUN}/report.csv")
    assert table.headers["content-disposition"] == f'attachment; filename="{RUN}.csv"'
    assert table.text.startswith("flow,step,figure,unit,value")
    for wrong in ("pdf", "mail", "exe"):
        assert client.get(f"/reports/{RUN}/report.{wrong}").status_code == 404
