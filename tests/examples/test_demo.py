"""The demonstration itself, as a stranger runs it: exactly the injected faults are found, within three minutes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from math import log
from pathlib import Path

import pytest

CONTROLS = ["log_in/authenticate", "bill_inquiry/dispute", "transfer/payee", "transfer/confirm"]


@pytest.mark.lengthy
@pytest.mark.timeout(400)
def test_exactly_the_injected_faults_are_found(tmp_path: Path) -> None:
    before = time.time()
    # It measures real durations, which other tests must not lengthen; only root may ask for that.
    done = subprocess.run(
        ["nice", "-n", "-5", sys.executable, "-m", "cxgauge", "demo", "--exit", "--format", "json"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=380,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert set(result) == {"alerts", "silent_steps", "observations", "seconds"}
    assert result["silent_steps"] == CONTROLS
    assert result["observations"] > 1_000
    slower, failing = sorted(result["alerts"], key=lambda alert: alert["kind"], reverse=True)
    assert (slower["flow"], slower["step"], slower["kind"]) == ("bill_inquiry", "bill_total", "slower")
    assert slower["effect_low"] <= slower["effect"] <= slower["effect_high"]
    assert log(1.1) < log(1 + slower["effect"]) < log(1.35)
    assert (failing["flow"], failing["step"], failing["kind"]) == ("bill_inquiry", "bill_details", "failing")
    assert failing["effect_low"] > 1  # failures more than doubled
    for alert in result["alerts"]:
        assert before < alert["started_at"] < alert["detected_at"] < time.time()
