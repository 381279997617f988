"""What real senders need: their SDKs, installed once into `.services/senders`, and a receiver."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxgauge.collectors.receiver.server import ReceiverServer
from cxgauge.collectors.spool import ResumePoint, SpoolReader
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.specification.template import template_spec

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "senders"
CACHE = Path(os.environ.get("CXGAUGE_SERVICES_DIR", ROOT / ".services")).resolve() / "senders"
INSTALL_SECONDS = 540
TELEMETRYGEN = "v0.161.0"
COLLECTOR_BUILDER = "go.opentelemetry.io/collector/cmd/builder@v0.161.0"


def _needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not there")


def _installed(name: str, files: list[Path], done: str, command: list[str], registry: str) -> Path:
    """A directory with the sender's files and its dependencies; made again when files or command change."""
    directory = CACHE / name
    stamp = directory / ".stamp"
    wanted = " ".join([*command, *(file.read_text(encoding="utf-8") for file in files)])
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes of tests may want it at once
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted or not (directory / done).exists():
            _install(directory, files, done, command, registry)
            stamp.write_text(wanted, encoding="utf-8")
    return directory


def _install(directory: Path, files: list[Path], done: str, command: list[str], registry: str) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for file in files:
        shutil.copy(file, directory)
    result = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "GOBIN": str(directory)},
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if result.returncode or not (directory / done).exists():
        pytest.skip(f"{registry} cannot be reached: {(result.stderr or result.stdout)[-300:]}")


@pytest.fixture(scope="session")
def javascript() -> Path:
    """A directory with the JavaScript sender and its packages."""
    _needs("node", "npm")
    folder = EXAMPLES / "javascript"
    files = [folder / "package.json", folder / "bill.js"]
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    return _installed("javascript", files, "node_modules/@opentelemetry/sdk-trace-node", command, "the npm registry")


@pytest.fixture(scope="session")
def java() -> Path:
    """A directory with the Java sender and its libraries."""
    _needs("java", "mvn")
    folder = EXAMPLES / "java"
    files = [folder / "pom.xml", folder / "src" / "main" / "java" / "Bill.java"]
    command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]
    return _installed("java", files, "lib", command, "the Maven repository")


@pytest.fixture(scope="session")
def telemetrygen() -> Path:
    """The OpenTelemetry Collector project's load generator, built from source."""
    _needs("go")
    module = "github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen"
    command = ["go", "install", f"{module}@{TELEMETRYGEN}"]
    return _installed("telemetrygen", [], "telemetrygen", command, "the Go module proxy") / "telemetrygen"


@pytest.fixture(scope="session")
def collector_binary() -> Path:
    """An OpenTelemetry Collector of few parts, built from source; minutes the first time."""
    _needs("go")
    script = f"go install {COLLECTOR_BUILDER} && ./builder --config builder.yaml"
    files = [EXAMPLES / "collector" / "builder.yaml"]
    return (
        _installed("collector", files, "dist/collector", ["sh", "-c", script], "the Go module proxy") / "dist/collector"
    )


class Receiving:
    """A receiver of the bill inquiry flow, which nobody has told the senders of."""

    def __init__(self, server: ReceiverServer) -> None:
        self.server = server

    def run(self, command: list[str], directory: Path) -> str:
        """Run a sender to its end and return what it printed."""
        environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": self.server.url, "PYTHONPATH": ""}
        result = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def rows(self, count: int) -> list[tuple[Any, Any]]:
        """Series and record of every observation, once there are ``count``."""
        deadline = time.monotonic() + 20
        found: list[tuple[Any, Any]] = []
        while len(found) < count and time.monotonic() < deadline:
            chunk = SpoolReader(self.server.spool.directory).read(self.server.spool.source, ResumePoint())
            found = [(batch.series[row["series"]], row) for batch in chunk.batches for row in batch.records]
            time.sleep(0.05)
        return found


@pytest.fixture
def receiving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiving]:
    """A receiver on loopback, with a customer key."""
    monkeypatch.setenv("CXGAUGE_CUSTOMER_KEYS", "1:" + "5a" * 32)
    flow = template_spec("bill_inquiry")
    config = Config.parse("receiver: {port: 0, grpc_port: 0}\nspool: {minimum_free_bytes: 1}", directory=tmp_path)
    with ReceiverServer(config, {flow.name: flow}, time.time) as server:
        yield Receiving(server)


@pytest.fixture
def python() -> list[str]:
    """The interpreter of the tests."""
    return [sys.executable]
