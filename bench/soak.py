"""Does the cost stay flat? Spans at a bounded rate from socket to database, with memory, lag and spool size over time.

    .venv/bin/python bench/soak.py [--minutes 3] [--rate 5000] [--dsn postgresql://…]

The receiver and the writer each run in a process of their own; without --dsn the writer's database is an embedded
server that is removed afterwards. Memory is the resident set of each process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import otlp  # the script beside this one

from cxgauge.collectors.receiver.server import ReceiverServer
from cxgauge.collectors.spool import SpoolReader
from cxgauge.collectors.writer import Writer
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.store.embedded import EmbeddedPostgres
from cxgauge.metrics.store.store import Store

SPANS = 250
EVERY_SECONDS = 10.0


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def receive(directory: str, pipe: Any) -> None:
    """The receiver's process."""
    config = Config.parse("receiver: {port: 0}", directory=Path(directory))
    with ReceiverServer(config, otlp.flows(), time.time) as server:
        pipe.send(server.url)
        pipe.recv()


def write(directory: str, dsn: str, pipe: Any) -> None:
    """The writer's process."""
    stop = threading.Event()
    with Store.open(dsn) as store:
        store.migrate()
        writer = Writer(store, SpoolReader(Path(directory) / "data" / "spool"))
        thread = threading.Thread(target=writer.run, args=(stop,))
        thread.start()
        pipe.send("writing")
        while pipe.recv() == "progress":
            pipe.send((writer.progress.observations, writer.progress.lag_seconds, writer.progress.lag_bytes))
        stop.set()
        thread.join()


def post(connection: socket.socket, body: bytes) -> None:
    """One request, confirmed."""
    head = "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    reply = connection.recv(4096)
    if not reply.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(reply.decode())


def main() -> None:
    """Send and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--rate", type=int, default=5_000, help="spans a second")
    parser.add_argument("--dsn")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        dsn = arguments.dsn
        if dsn is None:
            server = EmbeddedPostgres(Path(tempfile.mkdtemp(prefix="cxgauge-soak-")) / "data")
            stack.callback(server.remove)
            dsn = server.start()
        ends = [context.Pipe(), context.Pipe()]
        processes = [
            context.Process(target=receive, args=(directory, ends[0][1])),
            context.Process(target=write, args=(directory, dsn, ends[1][1])),
        ]
        for process in processes:
            process.start()
        url, _ = ends[0][0].recv(), ends[1][0].recv()
        print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {arguments.rate} spans a second")
        print(f"{'s':>6}{'sent':>12}{'written':>12}{'lag s':>8}{'spool MiB':>11}{'receiver MiB':>14}{'writer MiB':>12}")
        connection = socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])))
        began = time.monotonic()
        sent, shown = 0, 0.0
        bodies: Iterator[bytes] = iter(())
        while (elapsed := time.monotonic() - began) < arguments.minutes * 60:
            body = next(bodies, None)
            if body is None:
                bodies = iter(otlp.requests(20, SPANS, customers=True))
                continue
            post(connection, body)
            sent += SPANS
            if elapsed - shown >= EVERY_SECONDS:
                shown = elapsed
                ends[1][0].send("progress")
                written, lag, backlog = ends[1][0].recv()
                memory = [resident_mib(process.pid or 0) for process in processes]
                figures = f"{lag:8.2f}{backlog / 2**20:11.2f}{memory[0]:14.1f}{memory[1]:12.1f}"
                print(f"{elapsed:6.0f}{sent:12,}{written:12,}{figures}", flush=True)
            time.sleep(max(0.0, sent / arguments.rate - (time.monotonic() - began)))
        for ours, _ in ends:
            ours.send("end")
        for process in processes:
            process.join()


if __name__ == "__main__":
    main()
