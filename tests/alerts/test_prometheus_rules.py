"""Rules: promtool finds them right, their tests can fail, and a real Prometheus loads and fires them."""

from __future__ import annotations

import http.server
import math
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cxgauge.alerts.alert import Alert, AlertState, Member, Severity
from cxgauge.alerts.prometheus.rule_files import rule_files, write_rule_files
from cxgauge.alerts.prometheus.rules import BURN_PAIRS, flow_rules, objectives, ruler_rules
from cxgauge.dashboards.exposition.exposition import Exposition, HealthFigures
from cxgauge.metrics.deviation import Deviation, DeviationKind, Scope
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.verdict import Verdict

FLOW = """
name: bill_inquiry
title: {en: "Bill {{inquiry}}", zh: 账单查询}
owner: cards
steps:
  - name: bill_total
    title: {en: Total, zh: 账单总额}
    timeliness: {target: 1s, objective: 0.9}
    accuracy_objective: 0.999
    alerts: {owner: core, runbook: "https://runbooks.example.org/total"}
    checks:
      - {name: total_shown, kind: present, value: $.total}
"""
Services = dict[str, dict[str, str]]


@pytest.fixture
def flow() -> FlowSpec:
    return parse_flow(FLOW)


@pytest.fixture
def promtool(services: Services) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [services["prometheus"]["promtool"], *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def written(flow: FlowSpec, tmp_path: Path) -> Path:
    write_rule_files(rule_files({flow.name: flow}), tmp_path / "rules")
    return tmp_path / "rules"


def test_burn_rates_are_those_of_the_workbook() -> None:
    """A burn rate b over a window w uses b·w/30 d of the budget: 2, 5, 10 and 10 %."""
    hours = {"1h": 1, "6h": 6, "1d": 24, "3d": 72}
    used = [pair.burn_rate * hours[pair.long] / (30 * 24) for pair in BURN_PAIRS]
    assert used == pytest.approx([0.02, 0.05, 0.1, 0.1])


def test_a_pair_that_cannot_be_exceeded_is_left_out(flow: FlowSpec) -> None:
    timeliness, accuracy, _ = objectives(flow.steps[0])
    assert [pair.burn_rate for pair in timeliness.pairs] == [6.0, 3.0, 1.0]
    assert [pair.burn_rate for pair in accuracy.pairs] == [14.4, 6.0, 3.0, 1.0]


def test_recorded_names_have_level_metric_and_operations(flow: FlowSpec) -> None:
    names = [rule["record"] for group in flow_rules(flow)["groups"] for rule in group["rules"] if "record" in rule]
    assert len(names) == len(set(names)) == 28
    assert all(re.fullmatch(r"flow_step:cxgauge_[a-z_]+:(ratio_)?rate\d+[mhd]", name) for name in names)


def test_every_alert_says_who_is_responsible_and_speaks_both_languages(flow: FlowSpec) -> None:
    rules = [rule for file in (flow_rules(flow), ruler_rules()) for group in file["groups"] for rule in group["rules"]]
    for rule in rules:
        if "alert" in rule:
            assert {"severity", "owner"} <= set(rule["labels"]) or rule["labels"]["kind"] == "ruler"
            assert re.search("[\u4e00-\u9fff]", rule["annotations"]["summary_zh"])
            assert not re.search("[\u4e00-\u9fff]", rule["annotations"]["summary"])
    (budget, *_) = [rule for rule in rules if rule.get("alert") == "CxgaugeAccuracyBudgetBurn"]
    assert budget["labels"]["owner"] == "core"
    assert budget["annotations"] == {
        "summary": 'Bill {{ "{{" }}inquiry}} / Total: {{ $value | humanizePercentage }} inaccurate answers; '
        "0.1 % are allowed",
        "summary_zh": "账单查询 / 账单总额:不准确回答占 {{ $value | humanizePercentage }},允许 0.1 %",
        "runbook_url": "https://runbooks.example.org/total",
    }


def test_every_metric_in_a_rule_is_one_that_is_exposed(flow: FlowSpec) -> None:
    exposition = Exposition({flow.name: flow}, health=_healthy, process_metrics=False)
    exposition.observe(_batch(Verdict.GOOD, 1))
    exposed = set(re.findall(r"^(cxgauge_\w+)[ {]", exposition.render()[0].decode(), re.MULTILINE))
    exposed |= {"cxgauge_alert_state", "cxgauge_deviation_effect_ratio"}  # only while there are alerts
    files = rule_files({flow.name: flow}, tests=False).values()
    expressions = [
        rule["expr"] for text in files for group in yaml.safe_load(text)["groups"] for rule in group["rules"]
    ]
    used = {name for expression in expressions for name in re.findall(r"(?<![:\w])cxgauge_\w+", expression)}
    assert used <= exposed
    assert {"cxgauge_observations_total", "cxgauge_alert_state", "cxgauge_spool_bytes"} <= used


@pytest.mark.prometheus
def test_promtool_finds_the_rules_right(written: Path, promtool: Callable[..., Any]) -> None:
    done = promtool("check", "rules", *sorted(written.glob("*.rules.yml")))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("SUCCESS") == 2


@pytest.mark.prometheus
def test_the_tests_that_come_with_the_rules_pass(written: Path, promtool: Callable[..., Any]) -> None:
    done = promtool("test", "rules", *sorted(written.glob("tests/*.test.yml")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("SUCCESS") == 3


@pytest.mark.prometheus
def test_tests_may_begin_at_another_time_where_promtool_knows_how(
    flow: FlowSpec, tmp_path: Path, promtool: Callable[..., Any]
) -> None:
    """3.9 and newer pass them; older ones say which field they do not know, in each case and not in the file."""
    write_rule_files(rule_files({flow.name: flow}, tests_start=1_767_571_200), tmp_path)
    done = promtool("test", "rules", *sorted(tmp_path.glob("tests/*.test.yml")))
    said, version = done.stdout + done.stderr, promtool("--version")
    newer = [int(part) for part in re.findall(r"\d+", version.stdout + version.stderr)[:2]] >= [3, 9]
    assert done.returncode == 0 or (not newer and "field start_timestamp not found in type main.testGroup" in said)


@pytest.mark.prometheus
@pytest.mark.parametrize(
    ("good", "spoilt"), [("_lag_seconds > 120", "_lag_seconds > 1200"), ("[10m])) > 0", "[10m])) >= 0")]
)
def test_the_tests_that_come_with_the_rules_can_fail(
    written: Path, promtool: Callable[..., Any], good: str, spoilt: str
) -> None:
    file = written / "cxgauge.ruler.rules.yml"
    text = file.read_text(encoding="utf-8")
    assert good in text
    file.write_text(text.replace(good, spoilt), encoding="utf-8")
    assert promtool("test", "rules", written / "tests" / "cxgauge.ruler.test.yml").returncode == 1


def test_a_real_prometheus_loads_and_fires_them(
    flow: FlowSpec, written: Path, prometheus: Any, exported: tuple[Exposition, int]
) -> None:
    exposition, port = exported
    exposition.set_alerts([_alert()])
    server = prometheus(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: ['{written}/*.rules.yml']\n"
        f"scrape_configs: [{{job_name: cxgauge, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n",
        flags=["--enable-feature=exemplar-storage"],
    )
    expected = {
        ("CxgaugeTimelinessBudgetBurn", "critical", "bill_total"),
        ("CxgaugeTimelinessBudgetBurn", "warning", "bill_total"),
        ("CxgaugeGoodAnswerBudgetBurn", "critical", "bill_total"),
        ("CxgaugeGoodAnswerBudgetBurn", "warning", "bill_total"),
        ("CxgaugeBaselineDeviation", "warning", "bill_total"),
    }

    def keep_burning() -> None:
        exposition.observe(_batch(Verdict.SLOW, 20))

    _until(lambda: _firing(server) == expected, lambda: f"firing: {_firing(server)}", meanwhile=keep_burning)
    (deviation,) = [alert for alert in _alerts(server) if alert["labels"]["alertname"] == "CxgaugeBaselineDeviation"]
    assert deviation["annotations"]["summary"] == "Bill {{inquiry}} / bill_total: slower, 1.20 times the baseline"
    assert deviation["annotations"]["summary_zh"] == "账单查询 / bill_total:slower,为基线的 1.20 倍"
    assert _exemplar_traces(server) == {f"{0xABC:032x}"}

    exposition.set_alerts([])  # the deviation is over
    gone = expected - {("CxgaugeBaselineDeviation", "warning", "bill_total")}
    _until(lambda: _firing(server) == gone, lambda: f"still firing: {_firing(server)}", meanwhile=keep_burning)


@pytest.fixture
def exported(flow: FlowSpec) -> Iterator[tuple[Exposition, int]]:
    """An exposition, served on the port given."""
    exposition = Exposition({flow.name: flow}, health=_healthy, process_metrics=False)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, content_type = exposition.render(self.headers.get("Accept", ""))
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield exposition, server.server_address[1]
        server.shutdown()
        thread.join()


def _healthy() -> HealthFigures:
    return HealthFigures(
        dropped={"buffer_full": 0},
        dimension_other={"bill_inquiry.app_version": 0},
        written=1,
        writer_failures=0,
        writer_lag_seconds=0.0,
        spool_bytes=100,
        spool_limit_bytes=1000,
        messages={("chat", "delivered"): 1, ("chat", "put_off"): 0, ("chat", "given_up"): 0},
        push_failures=0,
        push_lag_seconds=0.0,
        evaluation_lag_seconds=60.0,
        evaluation_duration_seconds=0.1,
    )


def _batch(verdict: Verdict, size: int) -> ObservationBatch:
    records = np.zeros(size, dtype=RECORD)
    records["verdict"] = verdict
    records["duration_seconds"] = 0.5 if verdict is Verdict.GOOD else 1.2
    records["observed_at_us"] = time.time_ns() // 1000
    records["trace_id"] = np.void((0xABC).to_bytes(16, "big"))
    return ObservationBatch((SeriesKey("bill_inquiry", "bill_total", (), ("total_shown",)),), records)


def _alert() -> Alert:
    now, effect = time.time(), math.log(1.2)
    scope = Scope("bill_inquiry", "bill_total")
    deviation = Deviation(DeviationKind.SLOWER, scope, now, now, now, now, effect, effect, effect, 1.0, 1.2, 300, 4000)
    return Alert("a", AlertState.FIRING, Severity.WARNING, (Member(deviation, now, effect),), now, now)


def _alerts(server: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.get("/api/v1/alerts")["data"]["alerts"]
    return found


def _firing(server: Any) -> set[tuple[str, str, str]]:
    return {
        (alert["labels"]["alertname"], alert["labels"]["severity"], alert["labels"].get("step", ""))
        for alert in _alerts(server)
        if alert["state"] == "firing"
    }


def _exemplar_traces(server: Any) -> set[str]:
    now = time.time()
    path = f"/api/v1/query_exemplars?query=cxgauge_step_duration_seconds_bucket&start={now - 600}&end={now + 60}"
    series = server.get(path)["data"]
    return {exemplar["labels"]["trace_id"] for one in series for exemplar in one["exemplars"]}


def _until(condition: Callable[[], bool], explain: Callable[[], str], meanwhile: Callable[[], None]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, explain()
        meanwhile()
        time.sleep(0.2)
