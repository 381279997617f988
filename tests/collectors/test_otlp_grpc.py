"""OTLP over gRPC: the same answers as over HTTP, in gRPC's words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from cxgauge.collectors.receiver.server import ReceiverServer, sender_tokens
from cxgauge.collectors.spool import ResumePoint, SpoolReader
from cxgauge.metrics.configuration.config import Config

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture
def config(tmp_path: Path) -> Any:
    def make(extra: str = "") -> Config:
        text = f"receiver:\n  port: 0\n  grpc_port: 0\n{extra}spool:\n  minimum_free_bytes: 1\n"
        return Config.parse(text, directory=tmp_path)

    return make


@pytest.fixture
def server(config: Any, bill_flows: Any) -> Iterator[ReceiverServer]:
    with ReceiverServer(config(), bill_flows, time.time) as running:
        yield running


def export(server: ReceiverServer, body: bytes, path: str = TRACES, metadata: Any = ()) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        return channel.unary_unary(path)(body, timeout=20, metadata=metadata, wait_for_ready=True)


def stored(server: ReceiverServer) -> int:
    chunk = SpoolReader(server.spool.directory).read(server.spool.source, ResumePoint())
    return sum(map(len, chunk.batches))


def test_spans_are_on_disk_when_the_reply_comes_and_retries_do_not_count(server: ReceiverServer, trace: Any) -> None:
    builder = trace()
    builder.span()
    builder.span(seconds=-1)
    for _ in range(2):
        reply = ExportTraceServiceResponse.FromString(export(server, builder.to_bytes()))
        assert reply.partial_success.rejected_spans == 1
        assert reply.partial_success.error_message == "1 × end time is before start time"
    assert stored(server) == 1
    assert export(server, b"") == b""


@pytest.mark.parametrize(
    ("path", "body", "code", "message"),
    [
        (
            TRACES,
            b"\x0a\xff",
            grpc.StatusCode.INVALID_ARGUMENT,
            "the body of 2 bytes is not a protobuf ExportTraceServiceRequest; check Content-Type",
        ),
        (TRACES.replace("Trace", "Metrics"), b"", grpc.StatusCode.UNIMPLEMENTED, "Method not found!"),
    ],
)
def test_errors(server: ReceiverServer, path: str, body: bytes, code: Any, message: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        export(server, body, path)
    assert (caught.value.code(), caught.value.details()) == (code, message)


def test_nothing_is_kept_when_the_spool_is_closed(server: ReceiverServer, trace: Any) -> None:
    builder = trace()
    builder.span()
    server.receiver.close()
    with pytest.raises(grpc.RpcError) as caught:
        export(server, builder.to_bytes())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_tokens_are_needed_here_too(config: Any, bill_flows: Any) -> None:
    settings = config("  tokens_required: true\n")
    token, _ = sender_tokens(settings).add("a")
    with ReceiverServer(settings, bill_flows, time.time) as running:
        with pytest.raises(grpc.RpcError) as caught:
            export(running, b"")
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert export(running, b"", metadata=(("authorization", f"Bearer {token}"),)) == b""


def test_a_full_spool_is_exhausted_and_says_when_to_try_again(config: Any, bill_flows: Any, trace: Any) -> None:
    builder = trace()
    builder.span()
    with ReceiverServer(config(), bill_flows, time.time) as running:
        running.spool._limits._maximum_bytes = 1
        with pytest.raises(grpc.RpcError) as caught:
            export(running, builder.to_bytes())
        assert stored(running) == 0
    error: Any = caught.value
    assert (error.code(), error.details()) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "not accepted, try again: the spool is full",
    )
    [details] = [value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"]
    status = status_pb2.Status.FromString(details)
    assert (status.code, status.message) == (8, "not accepted, try again: the spool is full")
    retry = error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.seconds == 1
