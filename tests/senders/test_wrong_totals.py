"""A wrong total shown once in a thousand times is exactly that rate, from two services to the figures."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cxgauge.collectors.receiver.server import ReceiverServer
from cxgauge.collectors.spool import SpoolReader
from cxgauge.collectors.writer import Writer
from cxgauge.dashboards.figure_types import Period
from cxgauge.dashboards.figures import flow_figures
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.specification.flow import parse_flow
from cxgauge.metrics.store.store import Store

SERVICE = Path(__file__).with_name("shows_bills.py")
COUNT = 3000
WRONG = 3
FLOW = """
name: bill
title: {en: Bill, zh: 账单}
owner: cards
steps:
  - name: total
    title: {en: Total, zh: 总额}
    timeliness: {target: 5s, objective: 0.95}
    values: {total: {path: $.total, privacy: C2, tokenise: true}}
    match: [{service: bill-total-service, route: /total, kind: server}]
  - name: details
    title: {en: Details, zh: 明细}
    timeliness: {target: 5s, objective: 0.95}
    values:
      total: {path: $.total, privacy: C2, tokenise: true}
      amounts: {path: "$.items[*]", privacy: C2, tokenise: true}
    checks: [{name: adds_up, kind: sum_equals, value: total, of: amounts, tolerance: 0.00}]
    match: [{service: bill-details-service, route: /details, kind: server}]
across:
  - {name: total_equals_details, kind: sum_equals, value: total.total, of: details.amounts}
"""


def test_a_wrong_total_once_in_a_thousand_is_exactly_that_by_verdict_and_between_steps(
    tmp_path: Path, migrated_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    monkeypatch.setenv("CXGAUGE_CUSTOMER_KEYS", "1:" + "5a" * 32)
    flow = parse_flow(FLOW, "bill.yml")
    config = Config.parse("receiver: {port: 0}\nspool: {minimum_free_bytes: 1}", directory=tmp_path)
    began = time.time()
    with ReceiverServer(config, {"bill": flow}, time.time) as server, Store.open(migrated_dsn) as store:
        store.migrate()
        writer = Writer(store, SpoolReader(config.spool.directory))
        stop = threading.Event()
        thread = threading.Thread(target=writer.run, args=(stop,))
        thread.start()
        services = [show(step, server.url) for step in ("total", "details")]
        for service in services:
            assert service.wait(120) == 0
        stop.set()
        thread.join()
        assert writer.progress.observations == 2 * COUNT
        assert server.across.unknown == {("bill", "total_equals_details"): 0}
        figures = figures_of(store, flow, began)
    total, details = figures.steps
    assert (total.observations, details.observations) == (COUNT, COUNT)
    # Within one answer: the details add up to another total than is shown beside them.
    [adds_up] = [check for check in details.checks if check.check == "adds_up"]
    assert (adds_up.failed, adds_up.passed, adds_up.unknown) == (WRONG, COUNT - WRONG, 0)
    assert details.verdicts["wrong"] == WRONG
    assert adds_up.failure_rate.value == 1 / 1000
    # Between the services: every pair once, with whichever answer came later, shown at both steps.
    pairs = [check for step in figures.steps for check in step.checks if check.check == "total_equals_details"]
    assert [sum(counts) for counts in zip(*((one.failed, one.passed, one.unknown) for one in pairs), strict=True)] == [
        WRONG,
        COUNT - WRONG,
        0,
    ]
    assert all(one.failed + one.passed > 0 for one in pairs)
    assert total.verdicts["wrong"] == pairs[0].failed
    assert total.verdicts["good"] == COUNT - pairs[0].failed
    assert details.verdicts["good"] == COUNT - WRONG


def show(step: str, url: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": url, "PYTHONPATH": ""}
    return subprocess.Popen([sys.executable, str(SERVICE), step, str(COUNT), "11"], env=environment)


def figures_of(store: Store, flow: Any, began: float) -> Any:
    start, end = began // 60 * 60, time.time() // 60 * 60 + 60
    rollup, keys = store.read_rollups(start, end)
    return flow_figures(flow, rollup, keys, Period(start, end), now=end)
