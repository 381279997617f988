"""What receiving OTLP costs: parsing alone, parsing and mapping, and the whole way from socket to disk.

    .venv/bin/python bench/otlp.py [--requests 400] [--spans 512] [--connections 8] [--rounds 5] [--customers]
        [--dsn DSN]

A request holds spans of about ten attributes, of which two differ from span to span. `parse` is protobuf's own parser
(upb) with the generated classes: the floor that any Python receiver stands on. The end-to-end figures are of a
receiver in a process of its own, fed over loopback by this process; every span has ids of its own, and a request is
answered after fsync. To rows: with the writer in the receiver's process, as `cxgauge up` runs them, until the last
span is committed. The stages are CPU time, best of the rounds; spans a second are of the clock. Figures of one run are
comparable with each other; absolute ones depend on the machine and on what else it does.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import platform
import random
import resource
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from psycopg.conninfo import make_conninfo

from cxgauge.collectors.customer_token import CustomerKey, CustomerTokens
from cxgauge.collectors.receiver.duplicate_window import DuplicateWindow
from cxgauge.collectors.receiver.otlp_decode import Refusals, decode_trace
from cxgauge.collectors.receiver.otlp_mapping import OtlpMapper
from cxgauge.collectors.receiver.otlp_schema import TraceRequest
from cxgauge.collectors.receiver.server import ReceiverServer
from cxgauge.collectors.receiver.span_shape import ShapeSettings
from cxgauge.collectors.spool import SpoolReader, SpoolWriter
from cxgauge.collectors.writer import Writer
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.store.embedded import EmbeddedPostgres
from cxgauge.metrics.store.store import Store

FLOW = """
name: bill
title: {en: Bill, zh: 账单}
owner: cards
dimensions:
  - {name: channel, values: [app, web, wechat]}
  - {name: app_version, limit: 20}
steps:
  - name: total
    title: {en: Total, zh: 总额}
    timeliness: {target: 1.0s, objective: 0.95}
    match: [{service: bill-service, route: "/v1/bills/{bill_id}/total", kind: server}]
  - name: details
    title: {en: Details, zh: 明细}
    timeliness: {target: 1.5s, objective: 0.95}
    match: [{service: bill-service, route: "/v1/bills/{bill_id}/items", kind: server}]
"""


def flows() -> dict[str, FlowSpec]:
    """The flow that the spans belong to."""
    spec = parse_flow(FLOW, "bill.yml")
    return {spec.name: spec}


def template(spans: int, customers: bool) -> tuple[bytes, Any, Any]:
    """A request, and where in it the trace and span ids are."""
    chance = random.Random(1)
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    group.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value="bill-service")))
    scope = group.scope_spans.add()
    now = time.time_ns() - 60 * 10**9
    for index in range(spans):
        route = chance.choice(("/v1/bills/{bill_id}/total", "/v1/bills/{bill_id}/items"))
        span = scope.spans.add(
            trace_id=b"\xee\xee\xee\xee" + index.to_bytes(12, "big"),
            span_id=b"\xdd\xdd\xdd\xdd" + index.to_bytes(4, "big"),
            parent_span_id=os.urandom(8),
            name=f"GET {route}",
            kind=2,
            start_time_unix_nano=now + index * 1000,
            end_time_unix_nano=now + index * 1000 + int(chance.lognormvariate(0, 0.3) * 1e9),
        )
        values: dict[str, Any] = {
            "http.request.method": "GET",
            "http.route": route,
            "url.path": route.replace("{bill_id}", str(chance.randrange(10**9))),
            "url.scheme": "https",
            "server.address": "bills.bank.example",
            "server.port": 443,
            "http.response.status_code": 200,
            "channel": chance.choice(("app", "web", "wechat")),
            "app_version": chance.choice(("8.0.0", "8.1.0")),
            "client.address": f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}",
        }
        if customers:
            values["enduser.id"] = f"C{chance.randrange(10**9):09d}"
        for key, value in values.items():
            shown = AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
            span.attributes.append(KeyValue(key=key, value=shown))
    body = message.SerializeToString()
    traces = [body.index(b"\xee\xee\xee\xee" + index.to_bytes(12, "big")) for index in range(spans)]
    span_ids = [body.index(b"\xdd\xdd\xdd\xdd" + index.to_bytes(4, "big")) for index in range(spans)]
    return body, np.array(traces)[:, None] + np.arange(16), np.array(span_ids)[:, None] + np.arange(8)


def requests(count: int, spans: int, customers: bool) -> list[bytes]:
    """Requests that are alike but for their ids."""
    body, traces, span_ids = template(spans, customers)
    base = np.frombuffer(body, dtype=np.uint8)
    found = []
    for _ in range(count):
        copy = base.copy()
        copy[traces] = np.frombuffer(os.urandom(traces.size), dtype=np.uint8).reshape(traces.shape)
        copy[span_ids] = np.frombuffer(os.urandom(span_ids.size), dtype=np.uint8).reshape(span_ids.shape)
        found.append(copy.tobytes())
    return found


def nanoseconds_a_span(work: Callable[[bytes], object], bodies: list[bytes], spans: int, rounds: int) -> float:
    """CPU time, the best of the rounds: what else the machine does only ever adds to it."""
    times = []
    for _ in range(rounds):
        start = time.process_time_ns()
        for body in bodies:
            work(body)
        times.append((time.process_time_ns() - start) / len(bodies) / spans)
    return min(times)


def stages(arguments: argparse.Namespace) -> dict[str, float]:
    """Nanoseconds a span of each stage, of one thread."""
    bodies = requests(40, arguments.spans, arguments.customers)
    tokens = CustomerTokens([CustomerKey(1, os.urandom(32))])

    def mapper() -> OtlpMapper:
        return OtlpMapper(flows(), ShapeSettings(tokens=tokens), time.time)

    def measure(work: Callable[[bytes], object], given: list[bytes] | None = None) -> float:
        return nanoseconds_a_span(work, given or bodies, arguments.spans, arguments.rounds)

    def map_with(mapper: OtlpMapper, body: bytes, *, is_json: bool = False) -> Any:
        refusals = Refusals()
        if not is_json:
            return mapper.map_trace_body(body, refusals)
        return mapper.map_trace(decode_trace(body, is_json=is_json, refusals=refusals), refusals)

    one, two, three, four = mapper(), mapper(), mapper(), mapper()
    figures = {
        "parse, generated classes": measure(ExportTraceServiceRequest.FromString),
        "parse, narrow classes": measure(TraceRequest.FromString),
        "parse and map": measure(lambda body: map_with(one, body)),
        "gunzip, parse and map": measure(
            lambda body: map_with(two, gzip.decompress(body)), [gzip.compress(body, 6) for body in bodies]
        ),
        "JSON, parse and map": measure(
            lambda body: map_with(three, body, is_json=True), [as_json(body) for body in bodies[:5]]
        ),
    }
    window = DuplicateWindow()
    with tempfile.TemporaryDirectory() as directory, SpoolWriter(Path(directory) / "spool") as spool:

        def whole(body: bytes) -> None:
            batch = map_with(four, body).batch
            window.admit(batch.records["trace_id"], batch.records["span_id"])
            spool.append(batch)

        figures["parse, map, drop duplicates, append, fsync"] = measure(whole)
    return figures


def as_json(body: bytes) -> bytes:
    """The request in OTLP's JSON encoding."""
    spans = []
    message = ExportTraceServiceRequest.FromString(body)
    for span in message.resource_spans[0].scope_spans[0].spans:
        attributes: list[dict[str, Any]] = []
        for pair in span.attributes:
            whole = pair.value.WhichOneof("value") == "int_value"
            value = {"intValue": str(pair.value.int_value)} if whole else {"stringValue": pair.value.string_value}
            attributes.append({"key": pair.key, "value": value})
        spans.append(
            {
                "traceId": span.trace_id.hex(),
                "spanId": span.span_id.hex(),
                "parentSpanId": span.parent_span_id.hex(),
                "name": span.name,
                "kind": span.kind,
                "startTimeUnixNano": str(span.start_time_unix_nano),
                "endTimeUnixNano": str(span.end_time_unix_nano),
                "attributes": attributes,
            }
        )
    service = [{"key": "service.name", "value": {"stringValue": "bill-service"}}]
    groups = [{"resource": {"attributes": service}, "scopeSpans": [{"spans": spans}]}]
    return json.dumps({"resourceSpans": groups}).encode()


def serve(directory: str, dsn: str | None, ready: Any, finish: Any) -> None:
    """Run a receiver, and with a database the writer beside it as in ``cxgauge up``, until told to finish.

    Says its URL; when asked for ``used`` its CPU seconds and largest memory, for ``kept`` how many observations it has
    kept, in the database if there is one.
    """
    config = Config.parse("receiver: {port: 0, duplicate_window: 4194304}", directory=Path(directory))
    with ExitStack() as stack:
        server = stack.enter_context(ReceiverServer(config, flows(), time.time))
        writer: Writer | None = None
        if dsn is not None:
            store = stack.enter_context(Store.open(dsn))
            store.migrate()
            writer = Writer(store, SpoolReader(config.spool.directory))
            stop = threading.Event()
            thread = threading.Thread(target=writer.run, args=(stop,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(stop.set)
        ready.send(server.url)
        while (asked := finish.recv()) != "end":
            if asked == "used":
                usage = resource.getrusage(resource.RUSAGE_SELF)
                ready.send((usage.ru_utime + usage.ru_stime, usage.ru_maxrss))
            else:
                ready.send(server.receiver.counters.observations if writer is None else writer.progress.observations)


def send_all(port: int, bodies: list[bytes], connections: int) -> tuple[float, list[float]]:
    """Send every request once over ``connections`` connections; seconds, and the time of each reply."""
    latencies: list[float] = []
    waiting = iter(bodies)
    lock = threading.Lock()

    def run() -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                with lock:
                    body = next(waiting, None)
                if body is None:
                    return
                head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: {len(body)}\r\n\r\n"  # noqa: E501
                began = time.perf_counter()
                connection.sendall(head.encode())
                connection.sendall(body)
                reply = connection.recv(4096)
                if not reply.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(reply.decode())
                latencies.append(time.perf_counter() - began)

    threads = [threading.Thread(target=run) for _ in range(connections)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start, latencies


def end_to_end(arguments: argparse.Namespace, dsn: str | None = None) -> dict[str, float]:
    """Spans a second from socket to disk, or to rows in a database, and what the receiver used."""
    context = multiprocessing.get_context("spawn")
    ready, told = context.Pipe()
    finish, finished = context.Pipe()
    rates, latencies, cpu = [], [], []

    def ask(what: str) -> Any:
        finish.send(what)
        return ready.recv()

    def send(bodies: list[bytes], before: int) -> tuple[float, list[float]]:
        began = time.perf_counter()
        _, times = send_all(port, bodies, arguments.connections)
        while ask("kept") < before + len(bodies) * arguments.spans:
            time.sleep(0.005)
        return time.perf_counter() - began, times

    with tempfile.TemporaryDirectory() as directory:
        process = context.Process(target=serve, args=(directory, dsn, told, finished))
        process.start()
        port = int(ready.recv().rsplit(":", 1)[1])
        send(requests(20, arguments.spans, arguments.customers), 0)
        sent = 20 * arguments.spans
        for _ in range(arguments.rounds):
            bodies = requests(arguments.requests, arguments.spans, arguments.customers)
            before, _ = ask("used")
            seconds, times = send(bodies, sent)
            after, memory = ask("used")
            here = len(bodies) * arguments.spans
            sent += here
            rates.append(here / seconds)
            cpu.append((after - before) / here * 1e9)
            latencies += times
        stored = ask("kept")
        finish.send("end")
        process.join()
    if stored != sent:
        raise RuntimeError(f"{sent} spans were sent, {stored} kept")
    where = "disk" if dsn is None else "rows"
    return {
        f"spans a second, socket to {where}, median": statistics.median(rates),
        f"spans a second, socket to {where}, best": max(rates),
        "CPU of the process, ns a span, median": statistics.median(cpu),
        "CPU of the process, ns a span, best": min(cpu),
        "reply p50, ms": statistics.median(latencies) * 1e3,
        "reply p99, ms": float(np.quantile(latencies, 0.99)) * 1e3,
        "largest memory, MiB": memory / 1024,
    }


def databases(dsn: str | None) -> Iterator[tuple[str, str]]:
    """Name and address of each database to write to: an embedded one, and a scratch one on the server of ``dsn``."""
    server = EmbeddedPostgres(Path(tempfile.mkdtemp(prefix="cxgauge-bench-")) / "data")
    try:
        yield "embedded PostgreSQL", server.start()
    finally:
        server.remove()
    if dsn is None:
        return
    name = f"cxgauge_bench_{os.getpid()}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            scratch = make_conninfo(dsn, dbname=name)
            with psycopg.connect(scratch, autocommit=True) as inside:
                row = inside.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'").fetchone()
                if row is not None:
                    inside.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
            yield "TimescaleDB" if row is not None else "PostgreSQL", scratch
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--spans", type=int, default=512)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--customers", action="store_true", help="give every span a customer id, to be hashed")
    parser.add_argument("--dsn", help="a server on which a scratch database is made, such as that of the services")
    arguments = parser.parse_args()
    body, _, _ = template(arguments.spans, arguments.customers)
    print(
        f"Python {platform.python_version()} on {platform.machine()}, {os.cpu_count()} CPUs; "
        f"{arguments.spans} spans in {len(body)} bytes a request"
    )
    figures = stages(arguments)
    floor = figures["parse, generated classes"]
    print(f"{'stage (one thread, CPU time)':<44}{'ns a span':>10}{'spans/CPU-s':>12}{'of parse':>10}")
    for name, nanoseconds in figures.items():
        print(f"{name:<44}{nanoseconds:10.0f}{1e9 / nanoseconds:12,.0f}{floor / nanoseconds:10.2f}")
    for name, figure in end_to_end(arguments).items():
        print(f"{name:<44}{figure:10,.1f}")
    for database, dsn in databases(arguments.dsn):
        print(database)
        for name, figure in end_to_end(arguments, dsn).items():
            print(f"  {name:<42}{figure:10,.1f}")
    print(f"load of the machine: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
