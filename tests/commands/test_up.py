"""``cxgauge up`` as a process: takes, judges, serves; reloads, keeps the last good configuration; drains."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cxgauge.collectors.recorder.recorder import Recorder
from cxgauge.examples.bank import FLOWS_DIRECTORY
from cxgauge.metrics.specification.template import template_text
from cxgauge.metrics.store.store import Store

LIMIT_SECONDS = 60.0
SparePort = Callable[[], int]


class Ruler:
    """A running ``cxgauge up`` with a configuration of its own."""

    def __init__(
        self, directory: Path, dsn: str, spare_port: SparePort, ready: Callable[[Ruler], bool] | None = None
    ) -> None:
        self.directory = directory
        self.ready = ready or (lambda ruler: ruler.answers("/-/healthy"))
        self.dsn = dsn
        self.config = directory / "cxgauge.yml"
        self.flows = directory / "flows"
        self.flows.mkdir()
        for name in ("log_in", "transfer"):
            text = (FLOWS_DIRECTORY / f"{name}.yml").read_text(encoding="utf-8")
            (self.flows / f"{name}.yml").write_text(text, encoding="utf-8")
        port, receiver = spare_port(), spare_port()
        self.receiver_url = f"http://127.0.0.1:{receiver}"
        self.url = f"http://127.0.0.1:{port}"
        parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
        password = parts.pop("password", "")
        secret = "password: env:CXGAUGE_TEST_PASSWORD, " if password else ""
        self.environment = {**os.environ, "CXGAUGE_TEST_PASSWORD": password}
        self.config.write_text(
            f"window_seconds: 1\ndatabase: {{{secret}dsn: {json.dumps(make_conninfo(**parts))}}}\n"
            f"http: {{port: {port}}}\nreceiver: {{port: {receiver}}}\nspool: {{directory: spool}}\n",
            encoding="utf-8",
        )
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the process and wait until it is ready."""
        log = (self.directory / "log").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", "cxgauge", "up", "--config", str(self.config)],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=self.environment,
        )
        log.close()
        try:
            until(lambda: process.poll() is not None or self.ready(self), self.log)
            assert process.poll() is None, self.log()
        except AssertionError:
            process.kill()
            process.wait()
            raise
        return process

    def answers(self, path: str) -> bool:
        try:
            return httpx2.get(self.url + path, trust_env=False).status_code == httpx2.codes.OK
        except httpx2.HTTPError:
            return False

    def text(self, path: str) -> str:
        return httpx2.get(self.url + path, trust_env=False).text

    def log(self) -> str:
        return (self.directory / "log").read_text(encoding="utf-8")

    def record(self, flow: str, step: str, count: int) -> None:
        with Recorder.from_config(self.config, strict=True) as recorder:
            for _ in range(count):
                recorder.observe(recorder.flow(flow, channel="app"), step, 0.1)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def until(condition: Callable[[], bool], why: Callable[[], str]) -> None:
    """Wait for a condition; fail with ``why()`` when it does not come true."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)


@pytest.fixture
def ruler(tmp_path: Path, database_dsn: str, spare_port: SparePort) -> Iterator[Ruler]:
    running = Ruler(tmp_path, database_dsn, spare_port)
    yield running
    running.stop()


def test_observations_reach_the_store_and_the_metrics(ruler: Ruler) -> None:
    ruler.record("log_in", "authenticate", 25)
    counted = 'cxgauge_observations_total{flow="log_in",step="authenticate",verdict="good"} 25.0'
    until(lambda: counted in ruler.text("/metrics"), lambda: ruler.text("/metrics"))
    until(lambda: ruler.answers("/-/ready"), ruler.log)
    with Store.open(ruler.dsn) as store:
        rollup, _ = store.read_rollups(time.time() - 60, time.time() + 60)
    assert int(rollup.observations.sum()) == 25
    assert "Log-in" in ruler.text("/")


def test_a_reload_takes_new_flows_and_refuses_faulty_ones(ruler: Ruler) -> None:
    flow = (FLOWS_DIRECTORY / "bill_inquiry.yml").read_text(encoding="utf-8")
    (ruler.flows / "bill_inquiry.yml").write_text(flow, encoding="utf-8")
    ruler.process.send_signal(signal.SIGHUP)
    until(lambda: 'flow="bill_inquiry"' in ruler.text("/metrics"), ruler.log)

    with Store.open(ruler.dsn) as store, store.connection() as connection:
        noted = "SELECT kind, title FROM events"
        until(lambda: connection.execute(noted).fetchall() == [("configuration", "bill_inquiry")], ruler.log)

    (ruler.flows / "bill_inquiry.yml").write_text(flow.replace("target: 2s", "target: fast"), encoding="utf-8")
    ruler.process.send_signal(signal.SIGHUP)
    until(lambda: "reload refused, the last good configuration stays" in ruler.log(), ruler.log)
    assert "bill_inquiry.yml:10: steps[0].timeliness.target='fast' is not a duration" in ruler.log()
    assert 'flow="bill_inquiry"' in ruler.text("/metrics")
    assert ruler.answers("/-/healthy")


def test_checks_between_steps_that_have_no_key_are_said(ruler: Ruler) -> None:
    assert "warning" not in ruler.log()
    (ruler.flows / "bill_inquiry.yml").write_text(template_text("bill_inquiry"), encoding="utf-8")
    ruler.process.send_signal(signal.SIGHUP)
    said = (
        "warning: checks between steps are not made of answers, as neither recorder.customer_key nor "
        "CXGAUGE_CUSTOMER_KEYS is set: bill_inquiry.total_equals_details, bill_inquiry.disputed_item_was_shown; write "
        'a key (umask 077; echo "1:$(openssl rand -hex 32)" > FILE) and set recorder.customer_key: file:FILE, the same '
        "for all who send\n"
    )
    until(lambda: said in ruler.log(), ruler.log)
    for name in ("total_equals_details", "disputed_item_was_shown"):
        assert f'cxgauge_across_unknown_total{{check="{name}",flow="bill_inquiry"}} 0.0' in ruler.text("/metrics")


def test_what_was_accepted_is_written_before_the_end_and_once(ruler: Ruler) -> None:
    ruler.record("transfer", "confirm", 5_000)
    assert ruler.stop() == 0, ruler.log()
    with Store.open(ruler.dsn) as store:
        assert sum(source.observations for source in store.progress()) == 5_000
    ruler.process = ruler.start()
    ruler.record("transfer", "confirm", 10)
    assert ruler.stop() == 0, ruler.log()
    with Store.open(ruler.dsn) as store:
        rollup, _ = store.read_rollups(time.time() - 120, time.time() + 60)
        assert sum(source.observations for source in store.progress()) == 5_010
    assert int(rollup.observations.sum()) == 5_010


def test_faults_of_the_configuration_are_printed_and_nothing_starts(tmp_path: Path) -> None:
    config = tmp_path / "cxgauge.yml"
    config.write_text("window_seconds: 7\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "cxgauge", "up", "--config", str(config)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"{config}:1: window_seconds='7' does not divide a minute; "
        "write one of 60, 30, 20, 15, 12, 10, 6, 5, 4, 3, 2, 1\n"
    )


class Relay:
    """A TCP port that leads to a database; nobody answers there before :meth:`open`."""

    def __init__(self, dsn: str, port: int) -> None:
        self.port = port
        parts = conninfo_to_dict(dsn)
        host, there = str(parts["host"]), int(parts.get("port") or 5432)
        self.dsn = make_conninfo(dsn, host="127.0.0.1", hostaddr=None, port=self.port)
        self._unix = host.startswith("/")
        self._listener = socket.socket()
        self._connections: list[socket.socket] = []
        self._target: str | tuple[str, int] = f"{host}/.s.PGSQL.{there}" if self._unix else (host, there)

    def open(self) -> None:
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in (self._listener, *self._connections):
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX if self._unix else socket.AF_INET)
                server.connect(self._target)
                self._connections += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):  # either side may end
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def relay(database_dsn: str, spare_port: SparePort) -> Iterator[Relay]:
    made = Relay(database_dsn, spare_port())
    yield made
    made.close()


def test_a_database_that_is_away_at_the_start_is_waited_for_while_requests_are_taken(
    tmp_path: Path, relay: Relay, spare_port: SparePort
) -> None:
    ruler = Ruler(tmp_path, relay.dsn, spare_port, lambda ruler: "waiting for the database" in ruler.log())
    span = {"flow": "transfer", "step": "confirm", "duration_seconds": 0.1}
    try:
        reply = httpx2.post(f"{ruler.receiver_url}/v1/observations", json=span, trust_env=False)
        assert reply.status_code == httpx2.codes.OK, reply.text
        relay.open()
        until(lambda: ruler.answers("/-/ready"), ruler.log)
        counted = 'cxgauge_observations_total{flow="transfer",step="confirm",verdict="good"} 1.0'
        until(lambda: counted in ruler.text("/metrics"), lambda: ruler.text("/metrics"))
    finally:
        assert ruler.stop() == 0, ruler.log()


def test_the_wait_for_a_database_ends_when_told_to(tmp_path: Path, relay: Relay, spare_port: SparePort) -> None:
    ruler = Ruler(tmp_path, relay.dsn, spare_port, lambda ruler: "waiting for the database" in ruler.log())
    assert ruler.stop() == 0, ruler.log()


def test_a_database_that_refuses_is_not_waited_for(tmp_path: Path, database_dsn: str, spare_port: SparePort) -> None:
    dsn = make_conninfo(database_dsn, dbname="nowhere")
    with pytest.raises(AssertionError, match=r'the database cannot be reached: .*database "nowhere" does not exist'):
        Ruler(tmp_path, dsn, spare_port)
