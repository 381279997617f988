"""The whole service, killed again and again while it judges: the same alerts, messages and trails as without."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cxgauge.alerts.announcer import Announcer
from cxgauge.alerts.evaluation_settings import EvaluationSettings
from cxgauge.alerts.evaluator import Evaluator
from cxgauge.metrics.configuration.config import Config

LIMIT_SECONDS = 60.0
Start = Callable[[], subprocess.Popen[bytes]]
FLOW = """
name: bill_inquiry
title: {en: Bill inquiry, zh: 账单查询}
owner: cards
dimensions: [{name: app_version, limit: 20}, {name: channel, values: [app, web]}]
steps:
  - {name: total, title: {en: Total, zh: 总额}, timeliness: {target: 3s, objective: 0.95}}
  - {name: details, title: {en: Details, zh: 明细}, timeliness: {target: 3s, objective: 0.95}}
"""
WRITTEN = {  # of the flow, up to the end of the story; the ruler's own alerts go by the clock on the wall
    "alerts": "SELECT document FROM alerts WHERE flow = 'bill_inquiry' AND opened_at <= to_timestamp(%(end)s)",
    "trail": "SELECT t.alert_id, t.sequence, t.kind, t.at, t.note FROM alert_transitions t "
    "JOIN alerts USING (alert_id) WHERE flow = 'bill_inquiry' AND t.at <= to_timestamp(%(end)s)",
    "deviations": "SELECT kind, flow, step, dimensions, check_name, detected_at, started_at, effect, effect_low, "
    "effect_high, before, after, observations, evidence, alert_id FROM deviations "
    "WHERE detected_at <= to_timestamp(%(end)s)",
    "messages": "SELECT d.alert_id, d.sequence, d.notifier, d.message FROM deliveries d JOIN alerts a USING (alert_id) "
    "WHERE a.flow = 'bill_inquiry' AND (d.message ->> 'event') IN ('firing', 'updated', 'resolved')",
}
TABLES = ("deviations", "alerts", "alert_transitions", "deliveries", "detector_state", "evaluation_progress")
# However fast windows are judged and however late this process gets its turn to kill, nothing beyond the gate is kept.
GATE = """
CREATE TABLE gate AS SELECT 'epoch'::timestamptz AS through;
CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    WHILE NEW.through > (SELECT gate.through FROM gate) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN NEW;
END $$;
CREATE TRIGGER gate BEFORE INSERT OR UPDATE ON detector_state FOR EACH ROW EXECUTE FUNCTION wait_at_gate();
"""


@pytest.fixture
def configuration(
    recent_bank: Any, spare_port: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    parts = {name: str(value) for name, value in conninfo_to_dict(recent_bank.store.settings.database.dsn).items()}
    password = parts.pop("password", "")
    monkeypatch.setenv("CXGAUGE_TEST_PASSWORD", password)
    secret = "password: env:CXGAUGE_TEST_PASSWORD, " if password else ""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/bill_inquiry.yml").write_text(FLOW, encoding="utf-8")
    path = tmp_path / "cxgauge.yml"
    path.write_text(
        f"timezone: Asia/Shanghai\ndatabase: {{{secret}dsn: {json.dumps(make_conninfo(**parts))}}}\n"
        f"http: {{port: {spare_port()}}}\nreceiver: {{port: {spare_port()}}}\nspool: {{directory: spool}}\n"
        "notifiers: [{name: log, type: log}]\ndetection: {minimum_history_days: 0.1}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def start(configuration: Path) -> Iterator[Start]:
    """Starts the service; whatever happens, none is left."""
    with ExitStack() as stack:

        def service() -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "cxgauge", "up", "--config", str(configuration)]
            with (configuration.parent / "log").open("ab") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield service


def judged(bank: Any) -> float:
    """Up to when windows have been judged."""
    rows = bank.rows("SELECT extract(epoch FROM through)::float8 FROM detector_state")
    return rows[0][0] if rows else 0.0


def until_judged(bank: Any, process: subprocess.Popen[bytes], through: float, log: Path) -> None:
    limit = time.monotonic() + LIMIT_SECONDS
    while judged(bank) < through:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < limit, log.read_text()
        time.sleep(0.01)


def written(bank: Any, end: float) -> dict[str, list[str]]:
    with bank.store.connection() as connection:
        return {
            name: sorted(repr(row) for row in connection.execute(query.encode(), {"end": end}))
            for name, query in WRITTEN.items()
        }


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(LIMIT_SECONDS)


def test_killing_the_service_between_any_windows_changes_no_alert(
    recent_bank: Any, configuration: Path, start: Start
) -> None:
    bank = recent_bank
    # As the service itself would learn: with other settings it would learn anew, and not judge what it learnt from.
    settings = EvaluationSettings.of(Config.load(configuration))
    moment = bank.now + settings.grace_seconds + 1
    Evaluator(bank.store, {}, settings, Announcer({}, [], ZoneInfo("UTC")), lambda: moment).learn()
    began = bank.now
    bank.write(6)
    bank.write(20, slow_version=1.5, failing=0.06)
    bank.write(24)
    log = configuration.parent / "log"
    process = start()
    until_judged(bank, process, bank.now, log)
    end(process)
    expected = written(bank, bank.now)
    assert {len(expected["alerts"]), len(expected["messages"])} == {2, 4}

    with bank.store.connection() as connection:
        connection.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")
        connection.execute(GATE)
    random, kills = np.random.default_rng(5), 0
    through = began
    while through < bank.now:
        goal = min(through + 60 * int(random.integers(4, 12)), bank.now) if kills < 6 else bank.now
        with bank.store.connection() as connection:
            connection.execute("UPDATE gate SET through = to_timestamp(%s)", [goal + 60 * int(random.integers(0, 3))])
        process = start()
        until_judged(bank, process, goal, log)
        time.sleep(float(random.uniform(0.0, 0.05)))  # within a window or between two
        process.kill()
        process.wait()
        kills += 1
        through = judged(bank)
    assert kills >= 4
    assert written(bank, bank.now) == expected
