"""A calendar that is changed in the configuration reaches judging and learning of the running ruler with SIGHUP."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cxgauge.metrics.baseline.bytes import profile_from_bytes
from cxgauge.metrics.store.evaluation import newest_baseline

LIMIT_SECONDS = 60.0
FLOW = """
name: bill_inquiry
title: {en: Bill inquiry, zh: 账单查询}
owner: cards
dimensions: [{name: app_version, limit: 20}, {name: channel, values: [app, web]}]
steps:
  - {name: total, title: {en: Total, zh: 总额}, timeliness: {target: 3s, objective: 0.95}}
  - {name: details, title: {en: Details, zh: 明细}, timeliness: {target: 3s, objective: 0.95}}
"""


@pytest.fixture
def configuration(
    recent_bank: Any, spare_port: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    parts = {name: str(value) for name, value in conninfo_to_dict(recent_bank.store.settings.database.dsn).items()}
    monkeypatch.setenv("CXGAUGE_TEST_PASSWORD", parts.pop("password", ""))
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/bill_inquiry.yml").write_text(FLOW, encoding="utf-8")
    path = tmp_path / "cxgauge.yml"
    path.write_text(
        f"timezone: Asia/Shanghai\ndatabase: {{dsn: {json.dumps(make_conninfo(**parts))}}}\n"
        f"http: {{port: {spare_port()}}}\nreceiver: {{port: {spare_port()}}}\nspool: {{directory: spool}}\n"
        "detection: {minimum_history_days: 0.1}\n",
        encoding="utf-8",
    )
    return path


def test_a_calendar_changed_by_sighup_is_learnt_at_once(recent_bank: Any, configuration: Path) -> None:
    log = configuration.parent / "log"

    def special_days() -> dict[str, str] | None:
        with recent_bank.store.connection() as connection:
            found = newest_baseline(connection, "fleet")
        return None if found is None else profile_from_bytes(found.profile).settings.special_days

    def until(condition: Callable[[], bool]) -> None:
        limit = time.monotonic() + LIMIT_SECONDS
        while not condition():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < limit, log.read_text()
            time.sleep(0.1)

    command = [sys.executable, "-m", "cxgauge", "up", "--config", str(configuration)]
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=dict(os.environ))
    try:
        until(lambda: special_days() == {})
        today = dt.datetime.fromtimestamp(recent_bank.now, ZoneInfo("Asia/Shanghai")).date().isoformat()
        text = configuration.read_text(encoding="utf-8")
        day = f'calendar: {{days: [{{date: "{today}", kind: campaign, name: anniversary}}]}}\n'
        configuration.write_text(text + day, encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        until(lambda: special_days() == {today: "anniversary"})
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(LIMIT_SECONDS)
    assert recent_bank.rows("SELECT count(*) FROM baselines") == [(2,)]
