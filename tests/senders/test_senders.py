"""Real OpenTelemetry SDKs feed a flow whose application was never told of cxgauge."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cxgauge.metrics.verdict import Verdict

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "senders"
COUNT = 1000


def assert_all_arrived(receiving: Any) -> None:
    """Of a thousand: every tenth slow, every 25th (from the second) failed, two channels, seven customers."""
    rows = receiving.rows(COUNT)
    assert {(series.flow, series.step) for series, _ in rows} == {("bill_inquiry", "bill_total")}
    assert Counter(Verdict(row["verdict"]).label for _, row in rows) == {"good": 860, "slow": 100, "error": 40}
    assert Counter(dict(series.dimensions)["channel"] for series, _ in rows) == {"app": 500, "web": 500}
    durations = Counter(round(float(row["duration_seconds"]), 3) for _, row in rows)
    assert durations == {0.2: 900, 1.5: 100}
    assert len({row["customer"].tobytes() for _, row in rows}) == 7
    assert len({row["span_id"] for _, row in rows}) == COUNT


def test_python(receiving: Any, python: list[str]) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    output = receiving.run([*python, str(EXAMPLES / "python" / "bill.py"), str(COUNT)], EXAMPLES)
    assert output == "1000 spans sent as proto"
    assert_all_arrived(receiving)


@pytest.mark.parametrize("encoding", ["proto", "json"])
def test_javascript(receiving: Any, javascript: Path, encoding: str) -> None:
    output = receiving.run(["node", "bill.js", str(COUNT), encoding], javascript)
    assert output == f"1000 spans sent as {'http' if encoding == 'json' else 'proto'}"
    assert_all_arrived(receiving)


def test_java(receiving: Any, java: Path) -> None:
    output = receiving.run(["java", "-cp", "lib/*", "Bill.java", str(COUNT)], java)
    assert output == "1000 spans sent as proto"
    assert_all_arrived(receiving)


@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_telemetrygen(receiving: Any, telemetrygen: Path, transport: str) -> None:
    """Its traces have a client and a server span each; the server spans are the step."""
    server = receiving.server
    address = server.url.removeprefix("http://") if transport == "http" else f"127.0.0.1:{server.grpc_port}"
    command = [str(telemetrygen), "traces", "--otlp-insecure", f"--otlp-endpoint={address}", "--traces=100", "--rate=0"]
    command += ["--otlp-http"] if transport == "http" else []
    command += ["--service=bill-service", '--telemetry-attributes=http.route="/v1/bills/{bill_id}/total"']
    receiving.run(command, EXAMPLES)
    rows = receiving.rows(100)
    assert Counter((series.step, Verdict(row["verdict"]).label) for series, row in rows) == {
        ("bill_total", "good"): 100
    }
    assert server.receiver.counters.ignored == 100


@pytest.fixture
def full_at_first(receiving: Any) -> Iterator[None]:
    """The receiver's spool is full until two requests have been refused for it."""
    limits, replies = receiving.server.spool._limits, receiving.server.receiver.replies
    room, limits._maximum_bytes = limits._maximum_bytes, 1
    done = threading.Event()

    def make_room() -> None:
        while replies.get(429, 0) < 2 and not done.wait(0.01):
            pass
        limits._maximum_bytes = room

    thread = threading.Thread(target=make_room)
    thread.start()
    yield
    done.set()
    thread.join()
    assert replies[429] >= 2
    assert set(replies) == {200, 429}


@pytest.mark.usefixtures("full_at_first")
class TestAFullSpoolIsWaitedFor:
    """429 with Retry-After: each exporter keeps what it has and sends it again."""

    def test_python(self, receiving: Any, python: list[str]) -> None:
        pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
        receiving.run([*python, str(EXAMPLES / "python" / "bill.py"), str(COUNT)], EXAMPLES)
        assert_all_arrived(receiving)

    def test_javascript(self, receiving: Any, javascript: Path) -> None:
        receiving.run(["node", "bill.js", str(COUNT), "proto"], javascript)
        assert_all_arrived(receiving)

    def test_java(self, receiving: Any, java: Path) -> None:
        receiving.run(["java", "-cp", "lib/*", "Bill.java", str(COUNT)], java)
        assert_all_arrived(receiving)
