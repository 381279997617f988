"""The whole way from sender to database as separate real processes, and the means to hurt each of them."""

from __future__ import annotations

import http.client
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from cxgauge.metrics.specification.template import template_text
from cxgauge.metrics.store.embedded import EmbeddedPostgres
from cxgauge.metrics.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = Path(__file__).resolve().parent / "processes"
SERVICES = Path(os.environ.get("CXGAUGE_SERVICES_DIR", ROOT / ".services")).resolve()
POSTGRES = "/usr/lib/postgresql/17/bin"
# Random moments a fault; each costs some seconds. A nightly run sets more.
REPEATS = int(os.environ.get("CXGAUGE_FAULT_REPEATS", "2"))
SPANS = 40
ROUTES = ("/v1/bills/{bill_id}/total", "/v1/bills/{bill_id}/items")


class PrivateTimescale:
    """A TimescaleDB of these tests alone, in the Debian root that `make services` makes."""

    def __init__(self, port: int) -> None:
        self.root = SERVICES / "root"
        self.data = f"/tmp/cxgauge-faults-{secrets.token_hex(4)}"
        self.port = port
        self.dsn = f"postgresql://cxgauge@127.0.0.1:{self.port}/postgres"
        self._process: subprocess.Popen[bytes] | None = None
        inside = ["chroot", "--userspec=postgres:postgres", str(self.root)]
        initdb = [f"{POSTGRES}/initdb", "-D", self.data, "-U", "cxgauge", "--auth=trust", "--no-sync"]
        subprocess.run([*inside, *initdb], check=True, capture_output=True)
        settings = "shared_preload_libraries = 'timescaledb'\nunix_socket_directories = '/tmp'\n"
        # Processes are killed here, not power: the kernel keeps what was written, and recovery need not sync the disk.
        settings += "fsync = off\nmax_wal_size = 64MB\ncheckpoint_timeout = 30s\n"
        settings += "listen_addresses = '127.0.0.1'\ntimescaledb.telemetry_level = off\nmax_connections = 30\n"
        with (self.root / self.data.lstrip("/") / "postgresql.conf").open("a") as file:
            file.write(settings)
        self._command = [*inside, f"{POSTGRES}/postgres", "-D", self.data, "-p", str(self.port)]

    def start(self) -> None:
        log = self.root / f"{self.data.lstrip('/')}.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output, start_new_session=True)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                with psycopg.connect(self.dsn, autocommit=True) as connection:
                    connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
                    return
            except psycopg.OperationalError:
                time.sleep(0.05)
        pytest.fail(f"TimescaleDB did not start:\n{log.read_text()[-2000:]}")

    def kill(self) -> None:
        """SIGKILL the postmaster and all its backends at once."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        (self.root / self.data.lstrip("/") / "postmaster.pid").unlink(missing_ok=True)

    def remove(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.root / self.data.lstrip("/"), ignore_errors=True)
        (self.root / f"{self.data.lstrip('/')}.log").unlink(missing_ok=True)


class PrivateEmbedded:
    """The embedded PostgreSQL, of these tests alone."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="cxgauge-faults-"))
        self._server = EmbeddedPostgres(self.directory / "data")
        self.dsn = self._server.dsn()

    def start(self) -> None:
        self.dsn = self._server.start()

    def kill(self) -> None:
        self._server.kill()

    def remove(self) -> None:
        self._server.remove()
        shutil.rmtree(self.directory, ignore_errors=True)


Database = PrivateTimescale | PrivateEmbedded


def _make(kind: str, port: int) -> Database:
    if kind == "embedded":
        return PrivateEmbedded()
    if os.geteuid() != 0 or not (SERVICES / "root" / POSTGRES.lstrip("/")).is_dir():
        pytest.skip("timescaledb is not there; `make services` installs and starts it")
    return PrivateTimescale(port)


@pytest.fixture(scope="session", params=["timescaledb"])
def database(request: pytest.FixtureRequest, spare_port: Callable[[], int]) -> Iterator[Database]:
    """A private database server; tests may kill it, and leave it running."""
    server = _make(request.param, spare_port())
    server.start()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def embedded_database() -> Iterator[Database]:
    """The same as the embedded server."""
    server = PrivateEmbedded()
    server.start()
    try:
        yield server
    finally:
        server.remove()


@dataclass
class Program:
    """A process of ours that can be killed and started again."""

    script: str
    arguments: list[str]
    log: Path
    prefix: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    said: str = ""

    def start(self) -> str:
        """Start it and return its first line."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, str(PROCESSES / self.script), *self.arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()
        assert self.said, self.log.read_text()[-3000:]
        return self.said

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate(timeout=10)

    def terminate(self) -> str:
        """SIGTERM; the rest of what it printed."""
        assert self.process is not None
        self.process.terminate()
        output, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, self.log.read_text()[-3000:]
        return output

    def stop(self) -> None:
        """End it in any case."""
        if self.process is not None and self.process.poll() is None:
            self.kill()


class Sender:
    """Sends requests one after the other, each again until it is confirmed, as the SDKs' exporters do."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.confirmed: dict[int, float] = {}  # span id -> duration
        self.retries = 0
        self.statuses: set[int] = set()
        self.twice = False
        self.attributes: dict[str, Callable[[random.Random], str]] = {}
        self.end_offset_seconds = 0.0
        self.pause_seconds = 0.0
        self._chance = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._failure: BaseException | None = None

    def start(self) -> Sender:
        self._thread.start()
        return self

    def finish(self) -> None:
        """Send no further request, but bring the last one home."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                body, spans = self.request()
                self._deliver(body)
                if self.twice:
                    self._deliver(body)
                self.confirmed |= spans
                time.sleep(self.pause_seconds)
        except BaseException as error:
            self._failure = error

    def request(self) -> tuple[bytes, dict[int, float]]:
        """A request of spans with fresh ids, and their durations by span id."""
        message = ExportTraceServiceRequest()
        group = message.resource_spans.add()
        group.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value="bill-service")))
        scope = group.scope_spans.add()
        spans = {}
        end = time.time_ns() + int(self.end_offset_seconds * 1e9)
        for _ in range(SPANS):
            number = self._chance.getrandbits(62) + 1
            duration = self._chance.randrange(1, 2_000_000) * 1000
            route = self._chance.choice(ROUTES)
            span = scope.spans.add(
                trace_id=self._chance.randbytes(16),
                span_id=number.to_bytes(8, "big"),
                name="GET",
                kind=2,
                start_time_unix_nano=end - duration,
                end_time_unix_nano=end,
            )
            span.attributes.append(KeyValue(key="http.route", value=AnyValue(string_value=route)))
            for key, value in self.attributes.items():
                span.attributes.append(KeyValue(key=key, value=AnyValue(string_value=value(self._chance))))
            spans[number] = duration / 1e9
        return message.SerializeToString(), spans

    def _deliver(self, body: bytes) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
                reply = connection.getresponse()
                reply.read()
                connection.close()
                self.statuses.add(reply.status)
                if reply.status == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            self.retries += 1
            time.sleep(0.02)
        raise TimeoutError("a request was not confirmed within a minute")


class Pipeline:
    """Senders, a receiver process, a spool, a writer process, and a fresh database."""

    def __init__(
        self, directory: Path, dsn: str, port: int, stack: ExitStack, receiver_options: str, prefix: Sequence[str]
    ) -> None:
        self.directory = directory
        self.dsn = dsn
        self.port = port
        (directory / "flows").mkdir(parents=True)
        (directory / "flows" / "bill_inquiry.yml").write_text(template_text("bill_inquiry"), encoding="utf-8")
        config = directory / "cxgauge.yml"
        config.write_text(
            f"receiver:\n  port: {self.port}\n{receiver_options}"
            "spool:\n  minimum_free_bytes: 1\n  segment_bytes: 256KiB\n  segment_age_seconds: 1\n",
            encoding="utf-8",
        )
        self.receiver = Program("receiver.py", [str(config)], directory / "receiver.log", list(prefix))
        self.writer = Program("writer.py", [str(config), dsn], directory / "writer.log", list(prefix))
        stack.callback(self.receiver.stop)
        stack.callback(self.writer.stop)
        self._senders: list[Sender] = []

    def start(self) -> Pipeline:
        with Store.open(self.dsn) as store:
            store.migrate()
        self.receiver.start()
        self.writer.start()
        return self

    def send(self, senders: int = 2, **options: Any) -> list[Sender]:
        """Start senders."""
        new = [Sender(self.port, seed) for seed in range(len(self._senders), len(self._senders) + senders)]
        for sender in new:
            for name, value in options.items():
                setattr(sender, name, value)
        self._senders += [sender.start() for sender in new]
        return new

    def confirmed(self) -> dict[int, float]:
        """Durations by span id of everything that was confirmed."""
        return {span: duration for sender in self._senders for span, duration in sender.confirmed.copy().items()}

    def figures(self) -> tuple[int, int, float, int]:
        """Of the database: observations, distinct spans, sum of durations, and observations in rollups."""
        with psycopg.connect(self.dsn, options="-c search_path=cxgauge,public") as connection:
            row = connection.execute(
                "SELECT count(*), count(DISTINCT span_id), coalesce(sum(duration_seconds), 0) FROM observations"
            ).fetchone()
            rolled = connection.execute(
                "SELECT coalesce(sum(good + slow + stale + incomplete + wrong + abandoned + timeout + error), 0) "
                "FROM window_rollups"
            ).fetchone()
        assert row is not None
        assert rolled is not None
        return row[0], row[1], row[2], rolled[0]

    def settle(self) -> None:
        """Finish the senders, wait for the writer, and hold the database against what was confirmed."""
        for sender in self._senders:
            sender.finish()
        expected = self.confirmed()
        assert expected
        deadline = time.monotonic() + 40
        found: Any = None
        while time.monotonic() < deadline:
            try:
                found = self.figures()
            except psycopg.Error:
                found = None
            if found is not None and found[0] >= len(expected):
                break
            time.sleep(0.05)
        assert found is not None
        count, distinct, total, rolled = found
        assert (count, distinct, rolled) == (len(expected),) * 3
        assert total == pytest.approx(sum(expected.values()), rel=1e-9)
        time.sleep(0.3)
        assert self.figures()[0] == count


Start = Callable[..., Pipeline]


def _database(server: Database) -> str:
    name = f"faults_{secrets.token_hex(4)}"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    dsn = psycopg.conninfo.make_conninfo(server.dsn, dbname=name)
    if isinstance(server, PrivateTimescale):
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    return dsn


@pytest.fixture
def start_pipeline(database: Database, spare_port: Callable[[], int], tmp_path: Path) -> Iterator[Start]:
    """Start pipelines: ``start_pipeline(receiver_options=…)``."""
    with ExitStack() as stack:

        def start(server: Database = database, options: str = "", prefix: Sequence[str] = ()) -> Pipeline:
            directory = tmp_path / secrets.token_hex(3)
            return Pipeline(directory, _database(server), spare_port(), stack, options, prefix)

        yield start


@pytest.fixture
def pipeline(start_pipeline: Start) -> Pipeline:
    """A running pipeline on the private database."""
    return start_pipeline().start()


@pytest.fixture
def moments() -> Callable[[float, float], Iterator[None]]:
    """Random moments: ``for _ in moments(least, most):`` waits a random time before each round."""
    chance = random.Random(os.environ.get("CXGAUGE_FAULT_SEED"))

    def wait(least: float, most: float) -> Iterator[None]:
        for _ in range(REPEATS):
            time.sleep(chance.uniform(least, most))
            yield

    return wait
