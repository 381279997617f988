"""`make services-stop` ends exactly what was started: known by process id and start time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def services(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.services", *arguments]
    environment = {**os.environ, "CXGAUGE_SERVICES_DIR": str(directory)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as running:
        yield running
        running.kill()


def record(directory: Path, pid: int, *, late_by: int = 0, boot: str | None = None) -> None:
    """Write down ``pid`` as the process of Prometheus."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    boot = boot or Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    row = {"pid": pid, "start_ticks": ticks - late_by, "boot": boot, "stop_signal": 15}
    (directory / "processes.json").write_text(json.dumps({"prometheus": row}))


def test_what_was_started_is_ended_and_forgotten(tmp_path: Path, process: subprocess.Popen[bytes]) -> None:
    record(tmp_path, process.pid)
    assert services(tmp_path, "stop").stdout == "prometheus     stopped\n"
    assert process.wait(10) == -15
    assert services(tmp_path, "stop").stdout == ""


@pytest.mark.parametrize("other", [{"late_by": 1}, {"boot": "another-boot"}])
def test_somebody_elses_process_with_the_same_number_lives(
    tmp_path: Path, process: subprocess.Popen[bytes], other: dict[str, int | str]
) -> None:
    record(tmp_path, process.pid, **other)  # type: ignore[arg-type]
    assert services(tmp_path, "stop").stdout == "prometheus     had ended already\n"
    assert process.poll() is None


def test_the_status_of_nothing_names_everything_that_is_lacking(tmp_path: Path) -> None:
    result = services(tmp_path, "status")
    names = ("timescaledb", "prometheus", "alertmanager", "chromium", "axe")
    assert (result.returncode, result.stdout) == (
        1,
        "".join(f"{name:14} not there; `make services` starts it\n" for name in names),
    )


def test_an_unknown_service_is_refused(tmp_path: Path) -> None:
    result = services(tmp_path, "start", "mysql")
    assert result.returncode == 2
    there_are = "timescaledb, prometheus, alertmanager, chromium, axe"
    expected = f"services: error: there is no service mysql; there are {there_are}"
    assert result.stderr.splitlines()[-1] == expected
