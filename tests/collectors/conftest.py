"""OTLP requests as senders make them, and a receiver that answers on a real socket."""

from __future__ import annotations

import http.client
import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from cxgauge.collectors.receiver import receiver as receiver_module
from cxgauge.collectors.receiver.app import receiver_app
from cxgauge.collectors.receiver.receiver import Receiver
from cxgauge.collectors.spool import ResumePoint, SpoolReader, SpoolWriter
from cxgauge.metrics.configuration.receiver import ReceiverConfig
from cxgauge.metrics.observation import RECORD, SeriesKey
from cxgauge.metrics.specification.flow import FlowSpec, load_flows

NOW = 1_767_225_600.0  # the fake clock's start
BILL_FLOW = """
name: bill
title: {en: Bill, zh: 账单}
owner: cards
dimensions:
  - {name: channel, values: [app, web]}
  - {name: app_version, limit: 3}
steps:
  - name: total
    title: {en: Total, zh: 总额}
    timeliness: {target: 1.0s, objective: 0.95, timeout: 10s}
    checks:
      - {name: shown, kind: present, value: $.total}
      - {name: euros, kind: matches, value: $.currency, pattern: EUR}
    match:
      - {service: bill-service, route: "/bills/{month}", kind: server}
  - name: details
    title: {en: Details, zh: 明细}
    timeliness: {target: 2.0s, objective: 0.95}
    match:
      - {span: {pattern: "details.{0,20}"}, attributes: {page: 1, cached: false}}
"""


@pytest.fixture
def bill_flows(tmp_path: Path) -> dict[str, FlowSpec]:
    """A flow of two steps, recognised by route and by name with attributes."""
    path = tmp_path / "bill.yml"
    path.write_text(BILL_FLOW, encoding="utf-8")
    return load_flows(path)


@pytest.fixture(scope="session")
def shared_bill_flows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FlowSpec]:
    """The same for properties; the values of its dimensions fill up."""
    path = tmp_path_factory.mktemp("flows") / "bill.yml"
    path.write_text(BILL_FLOW, encoding="utf-8")
    return load_flows(path)


@pytest.fixture(scope="session", autouse=True)
def patient() -> Iterator[None]:
    """A disk that others keep busy may take longer to confirm than a sender would wait; here that is no failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(receiver_module, "_CONFIRM_SECONDS", 60.0)
        yield


@pytest.fixture(scope="session")
def bill_flow_text() -> str:
    """Its specification, for those who change or reload it."""
    return BILL_FLOW


def _value(value: object) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=str(value))


@dataclass
class TraceBuilder:
    """Builds an ``ExportTraceServiceRequest`` with the full, generated classes."""

    service: str = "bill-service"
    resource: Mapping[str, object] = field(default_factory=dict)
    message: ExportTraceServiceRequest = field(default_factory=ExportTraceServiceRequest)

    def __post_init__(self) -> None:
        group = self.message.resource_spans.add()
        for key, value in {"service.name": self.service, **self.resource}.items():
            group.resource.attributes.append(KeyValue(key=key, value=_value(value)))
        self.scope = group.scope_spans.add()

    def span(
        self,
        name: str = "GET /bills/{month}",
        *,
        seconds: float = 0.5,
        end: float = NOW - 1.0,
        kind: int = 2,
        error: bool = False,
        **fields: Any,
    ) -> Any:
        """Add a span; attributes are given as ``attributes={…}``."""
        end_nanoseconds = round(end * 1000) * 1_000_000
        span = self.scope.spans.add(
            trace_id=fields.get("trace_id", secrets.token_bytes(16)),
            span_id=fields.get("span_id", secrets.token_bytes(8)),
            parent_span_id=secrets.token_bytes(8),
            name=name,
            kind=kind,
            start_time_unix_nano=end_nanoseconds - round(seconds * 1e9),
            end_time_unix_nano=end_nanoseconds,
        )
        if error:
            span.status.code = 2
        for key, value in fields.get("attributes", {"http.route": "/bills/{month}"}).items():
            span.attributes.append(KeyValue(key=key, value=_value(value)))
        return span

    def to_bytes(self) -> bytes:
        """The request as protobuf."""
        return bytes(self.message.SerializeToString())


@pytest.fixture(scope="session")
def trace() -> Callable[..., TraceBuilder]:
    """Makes trace requests: ``trace(service=…, resource={…})``, then ``.span(…)``."""
    return TraceBuilder


@dataclass(frozen=True)
class Reply:
    """A reply as it came over the socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class RunningReceiver:
    """A receiver that listens on loopback, and what is in its spool."""

    port: int
    receiver: Receiver
    spool: SpoolWriter

    def post(self, path: str, body: bytes, content_type: str = "application/x-protobuf", **headers: str) -> Reply:
        """POST and read the reply; header names are written with underscores."""
        return self.request("POST", path, body, {"content-type": content_type, **_dashed(headers)})

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Any request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def stored(self) -> list[tuple[SeriesKey, dict[str, Any]]]:
        """Every observation in the spool, in order, with its series."""
        chunk = SpoolReader(self.spool.directory).read(self.spool.source, ResumePoint())
        rows = []
        for batch in chunk.batches:
            for record in batch.records:
                row = {name: record[name].item() for name in RECORD.names or ()}
                rows.append((batch.series[row["series"]], row))
        return rows


def _dashed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


class _Server(uvicorn.Server):
    """A server that says when it listens and leaves signals to the test run."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listening.set()


Start = Callable[..., RunningReceiver]


def _starter(stack: ExitStack, directory: Path, clock: Callable[[], float], flows: Mapping[str, FlowSpec]) -> Start:
    def start(
        flows: Mapping[str, FlowSpec] = flows,
        spool: Mapping[str, Any] | None = None,
        app_arguments: Mapping[str, Any] | None = None,
        **config: Any,
    ) -> RunningReceiver:
        place = directory / f"spool-{secrets.token_hex(3)}"
        writer = stack.enter_context(SpoolWriter(place, minimum_free_bytes=1, **(spool or {})))
        app = receiver_app(ReceiverConfig(port=0, **config), flows, writer, clock, **(app_arguments or {}))
        server = _Server(uvicorn.Config(app, port=0, log_level="critical", access_log=False))
        thread = threading.Thread(target=server.run)
        thread.start()
        stack.callback(thread.join)
        stack.callback(setattr, server, "should_exit", True)
        assert server.listening.wait(20)
        port = server.servers[0].sockets[0].getsockname()[1]
        return RunningReceiver(port, app.state.receiver, writer)

    return start


@pytest.fixture
def start_receiver(tmp_path: Path, clock: Any, bill_flows: dict[str, FlowSpec]) -> Iterator[Start]:
    """Start receivers: ``start_receiver(flows=…, spool={…}, app_arguments={…}, body_bytes_limit=…)``."""
    with ExitStack() as stack:
        yield _starter(stack, tmp_path, clock, bill_flows)


@pytest.fixture
def receiver(start_receiver: Start) -> RunningReceiver:
    """A receiver of the bill flow with default bounds."""
    return start_receiver()


@pytest.fixture(scope="session")
def shared_receiver(
    tmp_path_factory: pytest.TempPathFactory, shared_bill_flows: dict[str, FlowSpec]
) -> Iterator[RunningReceiver]:
    """A receiver that many examples of a property share."""
    with ExitStack() as stack:
        yield _starter(stack, tmp_path_factory.mktemp("spool"), lambda: NOW, shared_bill_flows)()
