"""Full disks, broken networks, wrong clocks, hostile and clumsy senders: the rest goes on, the figures stay right."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

PROTOBUF = {"content-type": "application/x-protobuf"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Any]:
    """Make a disk of three MiB in a mount namespace of its own: ``prefix = small_disk(directory)``."""
    holders = []

    def make(directory: Path) -> list[str]:
        directory.mkdir(parents=True, exist_ok=True)
        script = f"mount -t tmpfs -o size=3m tmpfs '{directory}' && echo mounted && exec sleep 600"
        holder = subprocess.Popen(["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
        holders.append(holder)
        assert holder.stdout is not None
        if holder.stdout.readline().strip() != "mounted":
            pytest.skip("a mount namespace cannot be made here; run as root")
        return ["nsenter", "-t", str(holder.pid), "-m", "--"]

    yield make
    for holder in holders:
        holder.kill()
        holder.communicate()


def test_the_disk_is_full_then_there_is_room_again(start_pipeline: Any, small_disk: Any, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    pipeline = start_pipeline(prefix=small_disk(disk))
    config = pipeline.directory / "cxgauge.yml"
    config.write_text(config.read_text().replace("spool:\n", f"spool:\n  directory: {disk}/spool\n"))
    pipeline.start()
    pipeline.writer.kill()
    senders = pipeline.send(2)
    deadline = time.monotonic() + 30
    while not all(429 in sender.statuses for sender in senders) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [sender.statuses for sender in senders] == [{200, 429}] * 2
    held = len(pipeline.confirmed())
    pipeline.writer.start()
    deadline = time.monotonic() + 30
    while len(pipeline.confirmed()) < 2 * held and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(pipeline.confirmed()) >= 2 * held  # the disk is used again and again, not once
    pipeline.settle()


class Proxy:
    """A TCP proxy that can cut what goes through it, or hold it up."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._pairs.append((client, server))
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Reset every connection."""
        pairs, self._pairs = self._pairs, []
        for one in (one for pair in pairs for one in pair):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def hold(self, seconds: float) -> None:
        """Let nothing through for a while."""
        self._open.clear()
        time.sleep(seconds)
        self._open.set()

    def close(self) -> None:
        self._open.set()
        self._listener.close()
        self.cut()


def test_the_network_to_the_database_breaks_and_stalls(start_pipeline: Any, moments: Any) -> None:
    pipeline = start_pipeline()
    given = psycopg.conninfo.conninfo_to_dict(pipeline.dsn)
    proxy = Proxy(str(given["host"]), int(str(given["port"])))
    pipeline.writer.arguments[1] = psycopg.conninfo.make_conninfo(pipeline.dsn, port=proxy.port)
    pipeline.start()
    pipeline.send(2)
    for _ in moments(0.05, 0.3):
        for _ in range(3):
            time.sleep(0.1)
            proxy.cut()
        proxy.hold(0.5)
        proxy.cut()
    pipeline.settle()
    pipeline.writer.stop()
    proxy.close()


def test_every_request_is_delivered_twice(pipeline: Any) -> None:
    pipeline.send(2, twice=True)
    time.sleep(0.8)
    pipeline.settle()


def test_every_request_is_delivered_twice_with_a_restart_in_between(pipeline: Any) -> None:
    [sender] = pipeline.send(1)
    time.sleep(0.3)
    sender.finish()
    body, spans = sender.request()
    sender._deliver(body)
    sender.confirmed |= spans
    deadline = time.monotonic() + 20
    while pipeline.figures()[0] < len(sender.confirmed) and time.monotonic() < deadline:
        time.sleep(0.05)  # the writer has it and may delete the segment
    pipeline.receiver.kill()
    time.sleep(0.5)
    pipeline.receiver.start()
    sender._deliver(body)
    pipeline.settle()


@pytest.mark.parametrize("offset", [3600.0, -3600.0, -86_400.0])
def test_clocks_are_an_hour_off_or_spans_a_day_late(pipeline: Any, offset: float) -> None:
    pipeline.send(1, end_offset_seconds=offset)
    pipeline.send(1)
    time.sleep(0.5)
    pipeline.settle()
    with psycopg.connect(pipeline.dsn, options="-c search_path=cxgauge,public") as connection:
        row = connection.execute("SELECT max(observed_at) <= now(), min(observed_at) FROM observations").fetchone()
    assert row is not None
    assert row[0] is True
    assert time.time() - row[1].timestamp() == pytest.approx(-min(offset, 0.0), abs=120)


def _mangle(port: int, chance: random.Random, body: bytes) -> int:
    """Send something that is not a request, or not a whole one; returns the status, 0 where there is none."""
    kind = chance.randrange(4)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        if kind == 0:
            connection.request("POST", "/v1/traces", chance.randbytes(chance.randrange(1, 2000)), PROTOBUF)
        elif kind == 1:
            connection.request("POST", "/v1/traces", body[: chance.randrange(1, len(body))], PROTOBUF)
        elif kind == 2:
            connection.request("POST", "/v1/traces", bytes(70_000), PROTOBUF)
        else:
            connection.putrequest("POST", "/v1/traces")
            connection.putheader("content-length", str(len(body)))
            connection.endheaders()
            connection.send(body[: len(body) // 2])
            return 0
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def test_malformed_truncated_and_oversized_bodies(start_pipeline: Any) -> None:
    pipeline = start_pipeline(options="  body_bytes_limit: 64KiB\n").start()
    [sender] = pipeline.send(1)
    chance = random.Random(7)
    body, spans = sender.request()
    statuses = {_mangle(pipeline.port, chance, body) for _ in range(150)}
    assert statuses <= {0, 200, 400, 413}
    assert {400, 413} <= statuses
    for one in [sender]:
        one.finish()
    # What a cut left whole is kept, and is right: spans of this body, each once.
    expected = pipeline.confirmed()
    deadline = time.monotonic() + 20
    while pipeline.figures()[0] < len(expected) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    with psycopg.connect(pipeline.dsn, options="-c search_path=cxgauge,public") as connection:
        rows = connection.execute("SELECT span_id, duration_seconds FROM observations").fetchall()
    assert len(rows) == len({span for span, _ in rows})
    assert expected.items() <= {span: round(seconds, 6) for span, seconds in rows}.items() | expected.items()
    assert {span for span, _ in rows} <= expected.keys() | spans.keys()


def test_slow_clients_do_not_hold_up_the_others(start_pipeline: Any) -> None:
    pipeline = start_pipeline(options="  header_timeout: 500ms\n  body_timeout: 500ms\n").start()
    slow = [socket.create_connection(("127.0.0.1", pipeline.port)) for _ in range(200)]
    for index, connection in enumerate(slow):
        head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n"
        whole = head + b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
        connection.sendall(whole if index % 2 else head)
    pipeline.send(2)
    time.sleep(1.0)
    for connection in slow:
        connection.settimeout(10)
        while connection.recv(4096):  # a reply or none, then the end
            pass
        connection.close()
    pipeline.settle()


def _memory(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024


def test_ten_thousand_values_of_a_label(pipeline: Any) -> None:
    """They become `other`, the figures stay whole, and memory levels off."""
    senders = pipeline.send(2, attributes={"app_version": lambda chance: str(chance.randrange(10**9))})
    pid = pipeline.receiver.process.pid
    sizes = []
    for goal in (10_000, 20_000, 30_000):
        deadline = time.monotonic() + 40
        while len(pipeline.confirmed()) < goal and time.monotonic() < deadline:
            time.sleep(0.05)
        sizes.append(_memory(pid))
    for sender in senders:
        sender.finish()
    assert len(pipeline.confirmed()) >= 20_000
    assert sizes[-1] - sizes[0] < 24 << 20
    pipeline.settle()
    with psycopg.connect(pipeline.dsn, options="-c search_path=cxgauge,public") as connection:
        row = connection.execute(
            "SELECT count(DISTINCT dimensions ->> 'app_version'), "
            "bool_or(dimensions ->> 'app_version' = 'other') FROM series"
        ).fetchone()
    assert row == (51, True)  # the template's limit of fifty, and `other`


def test_values_are_nowhere_once_they_are_judged(start_pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Amounts and names go in through every door, also in requests that fail, and are in no file, table or log."""
    monkeypatch.setenv("CXGAUGE_CUSTOMER_KEYS", "1:" + "5a" * 32)
    pipeline = start_pipeline().start()
    secrets = ["48151623.42", "zhang-san-815", "item-1516-2342"]
    amount, customer, item = secrets
    answer = json.dumps({"bill": {"total": amount, "items": [{"id": item, "amount": amount}], "item_count": 1}})
    attributes: Any = {
        "cxgauge.answer": lambda _: answer,
        "enduser.id": lambda _: customer,
        "session.id": lambda _: customer,
    }
    pipeline.send(1, attributes=attributes, pause_seconds=0.05)
    one = {"flow": "bill_inquiry", "step": "bill_details", "duration_seconds": 1, "customer": customer}
    bodies: list[Any] = [
        {**one, "answer": json.loads(answer), "instance": customer},
        {**one, "flow": amount[:5], "answer": answer},
        {**one, "duration_seconds": -1, "customer": customer},
        {**one, "unknown": amount},
        [amount],
    ]
    for path, document in [("/v1/observations", body) for body in bodies] + [("/v1/traces", {"resourceSpans": amount})]:
        connection = http.client.HTTPConnection("127.0.0.1", pipeline.port, timeout=10)
        connection.request("POST", path, json.dumps(document), {"content-type": "application/json"})
        reply = connection.getresponse().read().decode()
        connection.close()
        assert not any(secret in reply for secret in secrets)
    time.sleep(0.5)
    for sender in pipeline._senders:
        sender.finish()
    for _ in range(100):
        if pipeline.figures()[0] > len(pipeline.confirmed()):
            break
        time.sleep(0.05)
    pipeline.receiver.terminate()
    pipeline.writer.terminate()
    searched = 0
    for folder, _, names in os.walk(pipeline.directory):
        for name in names:
            data = (Path(folder) / name).read_bytes()
            searched += len(data)
            assert not any(secret.encode() in data for secret in secrets), name
    assert searched > 1000
    with psycopg.connect(pipeline.dsn) as store:
        tables = store.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'cxgauge'").fetchall()
        assert len(tables) > 5
        for (table,) in tables:
            text = str(store.execute(f'SELECT t::text FROM cxgauge."{table}" t').fetchall())
            assert not any(secret in text for secret in secrets), table
