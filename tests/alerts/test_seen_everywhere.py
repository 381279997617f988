"""A regression is seen wherever the team looks: in Prometheus, in Alertmanager and in the chat; and so is its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from cxgauge.alerts.alert import TransitionKind, alert_from_json
from cxgauge.alerts.installation import Alerting, alerting
from cxgauge.alerts.prometheus.rule_files import rule_files
from cxgauge.dashboards.exposition.exposition import Exposition
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.store.alerts import read_current_alerts

EVALUATION_SECONDS = 5.0
FLOW = """
name: bill_inquiry
title: {en: Bill inquiry, zh: 账单查询}
owner: cards
dimensions: [{name: app_version}, {name: channel}]
steps:
  - {name: total, title: {en: Total, zh: 账单总额}, timeliness: {target: 3s}}
  - name: details
    title: {en: Details, zh: 账单明细}
    timeliness: {target: 3s}
    checks: [{name: details_present, kind: present, value: $.details}]
"""
CONFIG = """
language: zh
detection: {minimum_history_days: 0.1, history_days: 1, grace_seconds: 5}
notifiers:
  - {name: chat, type: wecom, url: env:CXGAUGE_TEST_CHAT}
  - {name: alertmanager, type: alertmanager, url: %s, resend: 20m}
"""
PROMETHEUS = """
global: {scrape_interval: 1s, evaluation_interval: %gs}
rule_files: ['*.rules.yml']
scrape_configs: [{job_name: cxgauge, static_configs: [{targets: ['127.0.0.1:%d']}]}]
alerting: {alertmanagers: [{static_configs: [{targets: ['%s']}]}]}
"""
ALERTMANAGER = "route: {receiver: nobody, group_wait: 0s}\nreceivers: [{name: nobody}]\n"


class Ruler:
    """What ``cxgauge up`` does after each window, with the bank's clock; the servers have the real one."""

    def __init__(self, bank: Any, config: Config, flows: Mapping[str, FlowSpec]) -> None:
        self.bank = bank
        self.exposition = Exposition(flows, process_metrics=False)
        self.parts: Alerting = alerting(config, flows, bank.store, lambda: bank.now + 6, lambda: bank.now)
        self.parts.evaluator.tick()

    def after(self, minutes: int, **what: Any) -> list[str]:
        """Let minutes pass one by one; the kinds of transitions there were."""
        found: list[str] = []
        for _ in range(minutes):
            self.bank.write(1, **what)
            found += [each.kind for each in self.parts.evaluator.tick().transitions]
            with self.bank.store.connection() as connection:
                documents = read_current_alerts(connection, self.bank.now)
            self.exposition.set_alerts(map(alert_from_json, documents))
            self.parts.dispatcher.step()
            for sender in self.parts.alertmanagers:
                sender.step()
        return found

    def until(self, kind: TransitionKind, limit: int, **what: Any) -> int:
        """Minutes until such a transition."""
        for minute in range(1, limit + 1):
            if kind in self.after(1, **what):
                return minute
        raise AssertionError(f"{kind} did not come within {limit} minutes")


@pytest.fixture
def metrics(recent_bank: Any) -> Iterator[tuple[list[Exposition], int]]:
    """A list to put the exposition into, and the port where it is served."""
    del recent_bank
    shown: list[Exposition] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, content_type = shown[0].render(self.headers.get("Accept", "")) if shown else (b"", "text/plain")
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield shown, server.server_port
        server.shutdown()


def where_it_shows(prometheus: Any, alertmanager: Any, service: Any) -> dict[str, set[str]]:
    """What each place shows just now: alerts that fire by name, and the titles of chat messages."""
    rules = prometheus.get("/api/v1/alerts")["data"]["alerts"]
    active = alertmanager.get("/api/v2/alerts?active=true")
    return {
        "prometheus": {one["labels"]["alertname"] for one in rules if one["state"] == "firing"},
        "alertmanager": {one["labels"]["alertname"] for one in active},
        "chat": {request.json()["markdown"]["content"].splitlines()[0] for request in service.requests},
    }


def wait_for(shows: Callable[[], dict[str, set[str]]], wanted: Callable[[dict[str, set[str]]], bool]) -> float:
    """Seconds until it shows; fails after a minute."""
    started = time.monotonic()
    while not wanted(found := shows()):
        assert time.monotonic() - started < 60, found
        time.sleep(0.1)
    return time.monotonic() - started


@pytest.mark.prometheus
@pytest.mark.alertmanager
def test_a_regression_is_seen_everywhere_within_two_evaluations_and_so_is_its_end(
    recent_bank: Any,
    metrics: tuple[list[Exposition], int],
    service: Any,
    prometheus: Callable[..., Any],
    alertmanager: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flow = parse_flow(FLOW)
    files = {name: text for name, text in rule_files({flow.name: flow}, tests=False).items() if "ruler" not in name}
    manager = alertmanager(ALERTMANAGER)
    shown, port = metrics
    address = manager.url.removeprefix("http://")
    server = prometheus(PROMETHEUS % (EVALUATION_SECONDS, port, address), files=files)
    monkeypatch.setenv("CXGAUGE_TEST_CHAT", f"{service.url}/cgi-bin/webhook/send?key=k")
    ruler = Ruler(recent_bank, Config.parse(CONFIG % manager.url), {flow.name: flow})
    shown.append(ruler.exposition)
    service.answers = [(200, {}, b'{"errcode": 0, "errmsg": "ok"}')] * 100

    def shows() -> dict[str, set[str]]:
        return where_it_shows(server, manager, service)

    with ExitStack() as stack:
        stack.callback(ruler.parts.dispatcher.notifiers[0].close)
        stack.callback(ruler.parts.alertmanagers[0].close)
        assert ruler.after(6) == []
        assert shows() == {"prometheus": set(), "alertmanager": set(), "chat": set()}

        detected_after = ruler.until(TransitionKind.FIRED, 15, slow=1.25)
        seconds = wait_for(
            shows,
            lambda found: (
                found["prometheus"] == {"CxgaugeBaselineDeviation"}
                and found["alertmanager"] == {"CxgaugeBaselineDeviation", "CxgaugeStepSlower"}
                and len(found["chat"]) == 1
            ),
        )
        assert seconds <= 2 * EVALUATION_SECONDS
        (message,) = shows()["chat"]
        assert "账单查询" in message

        ruler.after(20 - detected_after, slow=1.25)
        assert shows()["prometheus"] == {"CxgaugeBaselineDeviation"}
        ruler.until(TransitionKind.RESOLVED, 25)
        ruler.after(5)
        wait_for(shows, lambda found: not found["prometheus"] and not found["alertmanager"])
        told = [request.json()["markdown"]["content"].splitlines()[0] for request in service.requests]
        assert (told[0], "恢复" in told[-1], len(set(told))) == (message, True, len(told))
