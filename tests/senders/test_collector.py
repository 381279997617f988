"""SDK, Collector, cxgauge: what the Collector sends again is counted once."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cxgauge.collectors.receiver.server import ReceiverServer
from cxgauge.collectors.spool import ResumePoint, SpoolReader
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.specification.template import template_spec
from cxgauge.metrics.verdict import Verdict

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "senders"
COUNT = 1000
pytestmark = pytest.mark.timeout(600)  # the Collector is built when it is not there yet


class Forgetful:
    """Hands bytes on to a port; the first replies are lost on the way back, after the request has arrived."""

    def __init__(self, port: int, lost_replies: int) -> None:
        self._to = port
        self._left = lost_replies
        self.lost = 0
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._ends: list[socket.socket] = [self._server]
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def close(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()

    def _run(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                upstream = socket.create_connection(("127.0.0.1", self._to))
                self._ends += [client, upstream]
                self._run(self._copy, client, upstream, False)
                self._run(self._copy, upstream, client, True)

    def _copy(self, source: socket.socket, target: socket.socket, is_reply: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if is_reply and self._loses():
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _loses(self) -> bool:
        with self._lock:
            loses = self._left > 0
            self._left -= loses
            self.lost += loses
            return loses


Start = Callable[..., str]


@pytest.fixture
def collector(collector_binary: Path, spare_port: Callable[[], int], tmp_path: Path) -> Iterator[Start]:
    """Starts a Collector that exports to cxgauge, and returns its address."""
    with contextlib.ExitStack() as stack:

        def start(**environment: str) -> str:
            port = spare_port()
            log = stack.enter_context((tmp_path / "collector.log").open("wb"))
            process = subprocess.Popen(
                [str(collector_binary), "--config", str(EXAMPLES / "collector" / "collector.yaml")],
                env={
                    "CXGAUGE_URL": "http://127.0.0.1:1",
                    "CXGAUGE_GRPC": "127.0.0.1:1",
                    **os.environ,
                    "COLLECTOR_LISTEN": f"127.0.0.1:{port}",
                }
                | environment,
                stderr=log,
            )
            stack.callback(process.wait, 20)
            stack.callback(process.terminate)
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and process.poll() is None:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    return f"http://127.0.0.1:{port}"
                time.sleep(0.05)
            raise AssertionError((tmp_path / "collector.log").read_text())

        yield start


def send(python: list[str], address: str, count: int) -> None:
    result = subprocess.run(
        [*python, str(EXAMPLES / "python" / "bill.py"), str(count)],
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": address, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout.strip()) == (0, f"{count} spans sent as proto"), result.stderr


def kept(directory: Path) -> list[tuple[Any, Any]]:
    """Series and record of everything in the spool, of all sources."""
    reader = SpoolReader(directory / "data" / "spool")
    chunks = [reader.read(source, ResumePoint()) for source in reader.sources()]
    return [(batch.series[row["series"]], row) for one in chunks for batch in one.batches for row in batch.records]


def wait_for(count: int, found: Callable[[], int]) -> None:
    deadline = time.monotonic() + 60
    while found() < count and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.0)  # what is too much would come now
    assert found() == count


@pytest.fixture
def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ReceiverServer]:
    """Makes a receiver of the bill inquiry flow, each time over the same data."""
    monkeypatch.setenv("CXGAUGE_CUSTOMER_KEYS", "1:" + "5a" * 32)
    flow = template_spec("bill_inquiry")

    def make(port: int, grpc_port: int = 0) -> ReceiverServer:
        text = f"receiver: {{port: {port}, grpc_port: {grpc_port}}}\nspool: {{minimum_free_bytes: 1}}"
        return ReceiverServer(Config.parse(text, directory=tmp_path), {flow.name: flow}, time.time)

    return make


@pytest.mark.parametrize("exporter", ["otlp_http/cxgauge", "otlp_grpc/cxgauge"])
def test_what_the_collector_repeats_because_a_reply_was_lost_is_counted_once(
    collector: Start, receiver: Callable[..., ReceiverServer], python: list[str], tmp_path: Path, exporter: str
) -> None:
    with receiver(0) as server:
        port = server.grpc_port if "grpc" in exporter else int(server.url.rsplit(":", 1)[1])
        assert port is not None
        # gRPC greets before anything is asked, HTTP does not
        proxy = Forgetful(port, lost_replies=3)
        addresses = {"CXGAUGE_URL": f"http://127.0.0.1:{proxy.port}", "CXGAUGE_GRPC": f"127.0.0.1:{proxy.port}"}
        send(python, collector(COLLECTOR_EXPORTER=exporter, **addresses), COUNT)
        wait_for(COUNT, lambda: len(kept(tmp_path)))
        assert proxy.lost == 3
        if "http" in exporter:
            assert server.receiver.counters.duplicates >= 500  # whole requests came twice
        proxy.close()
    rows = kept(tmp_path)
    assert Counter(Verdict(row["verdict"]).label for _, row in rows) == {"good": 860, "slow": 100, "error": 40}
    assert len({row["span_id"] for _, row in rows}) == COUNT


def test_while_the_receiver_is_down_the_collector_holds_the_spans(
    collector: Start,
    receiver: Callable[..., ReceiverServer],
    spare_port: Callable[[], int],
    python: list[str],
    tmp_path: Path,
) -> None:
    port = spare_port()
    with receiver(port) as server:
        address = collector(CXGAUGE_URL=server.url)
        send(python, address, COUNT)
        wait_for(COUNT, lambda: len(kept(tmp_path)))
    send(python, address, COUNT)  # the Collector takes them although nobody is there
    time.sleep(1.5)
    assert len(kept(tmp_path)) == COUNT
    with receiver(port):
        wait_for(2 * COUNT, lambda: len(kept(tmp_path)))
    assert len({row["span_id"] for _, row in kept(tmp_path)}) == 2 * COUNT
