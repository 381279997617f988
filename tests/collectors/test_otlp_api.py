"""The receiver over a real socket, held against the OTLP/HTTP specification."""

from __future__ import annotations

import gzip
import json
import resource
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from cxgauge.collectors.receiver.app import receiver_app
from cxgauge.collectors.receiver.intake import IntakeFull
from cxgauge.collectors.receiver.otlp_schema import RpcStatus
from cxgauge.collectors.spool import SpoolWriter
from cxgauge.metrics.configuration.receiver import ReceiverConfig
from cxgauge.metrics.verdict import Verdict

NOW = 1_767_225_600.0
NOT_PROTOBUF = "the body of 2 bytes is not a protobuf ExportTraceServiceRequest; check Content-Type"
NOT_GZIP = "the body is not valid gzip: Error -3 while decompressing data: incorrect header check"
UNKNOWN_ENCODING = "Content-Encoding 'br' is not supported; send gzip, zstd or identity"
PROTOBUF, JSON = "application/x-protobuf", "application/json"


def json_span(**changes: Any) -> dict[str, Any]:
    return {
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "EEE19B7EC3C1B174",
        "name": "GET",
        "kind": 2,
        "startTimeUnixNano": str(int(NOW - 3) * 10**9),
        "endTimeUnixNano": str(int(NOW - 1) * 10**9),
        "attributes": [{"key": "http.route", "value": {"stringValue": "/bills/{month}"}}],
        **changes,
    }


def json_trace(*spans: Any) -> bytes:
    resource_ = {"attributes": [{"key": "service.name", "value": {"stringValue": "bill-service"}}]}
    return json.dumps({"resourceSpans": [{"resource": resource_, "scopeSpans": [{"spans": spans}]}]}).encode()


def test_span_of_a_step_is_on_disk_when_the_reply_comes(receiver: Any, trace: Callable[..., Any]) -> None:
    builder = trace()
    builder.span(seconds=0.25, trace_id=bytes(range(16)), span_id=bytes(range(1, 9)))
    reply = receiver.post("/v1/traces", builder.to_bytes())
    assert (reply.status, reply.headers["content-type"], reply.body) == (200, PROTOBUF, b"")
    [(series, row)] = receiver.stored()
    assert (series.flow, series.step) == ("bill", "total")
    assert row["observed_at_us"] == int((NOW - 1) * 1e6)
    assert row["duration_seconds"] == 0.25
    assert row["trace_id"] == row["flow_instance"] == bytes(range(16))
    assert row["span_id"] == int.from_bytes(range(1, 9), "big")


def test_json_on_the_same_path_gives_the_same_observation_as_protobuf(start_receiver: Any, trace: Any) -> None:
    builder = trace()
    ids = {"trace_id": bytes.fromhex("5B8EFFF798038103D269B633813FC60C"), "span_id": bytes.fromhex("EEE19B7EC3C1B174")}
    builder.span("GET", seconds=2, **ids)
    first, second = start_receiver(), start_receiver()
    reply = first.post("/v1/traces", json_trace(json_span()), JSON)
    assert (reply.status, reply.headers["content-type"], reply.json) == (200, JSON, {})
    second.post("/v1/traces", builder.to_bytes())
    assert first.stored() == second.stored()
    assert first.stored()[0][1]["verdict"] == Verdict.SLOW


@pytest.mark.parametrize(("content_type", "body"), [(PROTOBUF, b""), (JSON, b"{}"), (JSON, b'{"resourceSpans":[]}')])
def test_an_empty_request_succeeds(receiver: Any, content_type: str, body: bytes) -> None:
    reply = receiver.post("/v1/traces", body, content_type)
    assert (reply.status, reply.headers["content-type"]) == (200, content_type)
    assert receiver.stored() == []


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_compressed_requests(receiver: Any, trace: Any, encoding: str) -> None:
    builder = trace()
    for _ in range(50):
        builder.span()
    compress = gzip.compress if encoding == "gzip" else zstandard.compress
    assert receiver.post("/v1/traces", compress(builder.to_bytes()), content_encoding=encoding).status == 200
    assert len(receiver.stored()) == 50


def test_refused_spans_come_back_as_partial_success_and_the_rest_is_kept(receiver: Any, trace: Any) -> None:
    builder = trace()
    builder.span()
    builder.span(seconds=-1)
    builder.span(span_id=b"short")
    builder.span(attributes={"cxgauge.flow.name": "bill", "cxgauge.step.name": "totl"})
    reply = receiver.post("/v1/traces", builder.to_bytes())
    partial = ExportTraceServiceResponse.FromString(reply.body).partial_success
    assert (reply.status, partial.rejected_spans) == (200, 3)
    assert partial.error_message == (
        "1 × cxgauge.step.name='totl' is not a step of bill; known are details, total; "
        "1 × trace id of 16 and span id of 5 bytes; they have 16 and 8; "
        "1 × end time is before start time"
    )
    assert len(receiver.stored()) == 1


def test_refused_json_spans_come_back_as_json(receiver: Any) -> None:
    reply = receiver.post("/v1/traces", json_trace(json_span(), json_span(traceId="xyz"), 7), JSON)
    assert reply.json == {
        "partialSuccess": {
            "rejectedSpans": "2",
            "errorMessage": "1 × span refused: traceId is not a hexadecimal string; "
            "1 × span refused: it is a number, not an object",
        }
    }
    assert len(receiver.stored()) == 1


@pytest.mark.parametrize(
    ("content_type", "body", "headers", "status", "code", "message"),
    [
        (PROTOBUF, b"\x0a\xff", {}, 400, 3, NOT_PROTOBUF),
        (JSON, b"[]", {}, 400, 3, "the JSON body is an array, not an object"),
        (JSON, b'{"resourceSpans": 1}', {}, 400, 3, "resourceSpans is a number, not an array"),
        (PROTOBUF, b"junk", {"content_encoding": "gzip"}, 400, 3, NOT_GZIP),
        (JSON, b"junk", {"content_encoding": "br"}, 415, 3, UNKNOWN_ENCODING),
    ],
)
def test_bad_data_is_answered_with_a_status_of_the_requests_type(
    receiver: Any, content_type: str, body: bytes, headers: dict[str, str], status: int, code: int, message: str
) -> None:
    reply = receiver.post("/v1/traces", body, content_type, **headers)
    assert (reply.status, reply.headers["content-type"]) == (status, content_type)
    if content_type == JSON:
        assert reply.json == {"code": code, "message": message}
    else:
        parsed = RpcStatus.FromString(reply.body)
        assert (parsed.code, parsed.message.decode()) == (code, message)
    assert "retry-after" not in reply.headers


def test_other_content_types_and_methods_are_refused(receiver: Any) -> None:
    reply = receiver.post("/v1/traces", b"", "text/plain")
    assert (reply.status, reply.body.decode()) == (
        415,
        "Content-Type 'text/plain' is not OTLP; send application/x-protobuf or application/json",
    )
    assert receiver.request("GET", "/v1/traces").status == 405
    assert receiver.request("POST", "/v1/metrics", b"").status == 404


def test_a_body_beyond_the_limit_is_refused_however_it_is_sent(start_receiver: Any) -> None:
    receiver = start_receiver(body_bytes_limit=1000, in_flight_bytes_limit=5000)
    assert receiver.post("/v1/traces", bytes(1001)).status == 413
    chunked = receiver.request("POST", "/v1/traces", iter([bytes(600)] * 2), {"content-type": PROTOBUF})
    assert chunked.status == 413
    assert receiver.post("/v1/traces", gzip.compress(bytes(1001)), content_encoding="gzip").status == 413
    assert receiver.receiver.in_flight.used == 0


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_decompression_bomb_does_not_allocate_what_it_announces(start_receiver: Any, encoding: str) -> None:
    compress = gzip.compress if encoding == "gzip" else zstandard.compress
    bomb = compress(bytes(1 << 20)) * 1024  # both formats let whole files follow each other
    receiver = start_receiver(body_bytes_limit=8 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reply = receiver.post("/v1/traces", bomb, content_encoding=encoding)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert reply.status == 413
    assert (
        RpcStatus.FromString(reply.body).message == b"the decompressed body is larger than the limit of 8388608 bytes"
    )
    assert (after - before) * 1024 < 64 << 20


def test_a_full_spool_is_said_with_a_time_to_try_again_and_nothing_is_kept(start_receiver: Any, trace: Any) -> None:
    receiver = start_receiver(spool={"maximum_bytes": 1})
    builder = trace()
    builder.span()
    reply = receiver.post("/v1/traces", builder.to_bytes())
    assert (reply.status, reply.headers["retry-after"]) == (429, "1")
    status = RpcStatus.FromString(reply.body)
    assert (status.code, status.message) == (8, b"not accepted, try again: the spool is full")
    assert receiver.stored() == []
    observation = b'{"flow": "bill", "step": "total", "duration_seconds": 0.5}'
    reply = receiver.post("/v1/observations", observation, JSON)
    assert (reply.status, reply.headers["retry-after"]) == (429, "1")
    assert reply.json == {"error": "not accepted, try again: the spool is full"}
    assert receiver.stored() == []


def test_a_disk_that_fails_is_no_full_spool(start_receiver: Any, trace: Any) -> None:
    receiver = start_receiver()
    builder = trace()
    builder.span()
    receiver.spool.close()
    reply = receiver.post("/v1/traces", builder.to_bytes())
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    status = RpcStatus.FromString(reply.body)
    assert (status.code, status.message) == (14, b"not accepted, try again: the disk failed")


def test_a_refused_request_is_taken_when_it_is_sent_again(start_receiver: Any, trace: Any) -> None:
    receiver = start_receiver(spool={"maximum_bytes": 1})
    builder = trace()
    builder.span()
    assert receiver.post("/v1/traces", builder.to_bytes()).status == 429
    receiver.spool._limits._maximum_bytes = 1 << 30
    assert receiver.post("/v1/traces", builder.to_bytes()).status == 200
    assert len(receiver.stored()) == 1


def test_a_retry_does_not_count_twice(receiver: Any, trace: Any) -> None:
    builder = trace()
    for _ in range(10):
        builder.span()
    first = receiver.post("/v1/traces", builder.to_bytes())
    builder.span()
    second = receiver.post("/v1/traces", builder.to_bytes())
    assert (first.status, second.status, second.body) == (200, 200, b"")
    assert len(receiver.stored()) == 11
    assert receiver.receiver.counters.duplicates == 10


def test_spans_of_no_step_are_accepted_and_counted_but_not_kept(receiver: Any, trace: Any) -> None:
    builder = trace(service="other-service")
    builder.span()
    reply = receiver.post("/v1/traces", builder.to_bytes())
    assert (reply.status, reply.body, receiver.stored()) == (200, b"", [])
    assert receiver.receiver.counters.ignored == 1


def test_concurrent_senders_lose_nothing(receiver: Any, trace: Any) -> None:
    def send() -> None:
        for _ in range(20):
            builder = trace()
            for _ in range(25):
                builder.span()
            statuses.append(receiver.post("/v1/traces", builder.to_bytes()).status)

    statuses: list[int] = []
    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 160
    assert len(receiver.stored()) == 4000
    assert len({row["span_id"] for _, row in receiver.stored()}) == 4000


def test_an_event_that_names_flow_and_step_is_an_observation(receiver: Any) -> None:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()

    def event(**attributes: Any) -> None:
        record = scope.log_records.add(time_unix_nano=int(NOW - 1) * 10**9)
        for key, value in attributes.items():
            shown = AnyValue(double_value=value) if isinstance(value, float) else AnyValue(string_value=value)
            record.attributes.append(KeyValue(key=key, value=shown))

    names = {"cxgauge.flow.name": "bill", "cxgauge.step.name": "details"}
    event(**names, **{"cxgauge.duration_seconds": 2.5, "cxgauge.flow.instance": "0" * 31 + "1"})
    event(**names)
    event(message="not a step")
    reply = receiver.post("/v1/logs", request.SerializeToString())
    partial = ExportLogsServiceResponse.FromString(reply.body).partial_success
    assert (reply.status, partial.rejected_log_records) == (200, 1)
    assert (
        partial.error_message
        == "1 × event of a step without a usable cxgauge.duration_seconds; send seconds as a number"
    )
    [(series, row)] = receiver.stored()
    assert (series.step, row["duration_seconds"], row["verdict"]) == ("details", 2.5, Verdict.SLOW)
    assert row["flow_instance"] == bytes(15) + b"\x01"


def test_a_body_that_trickles_is_cut_off(start_receiver: Any) -> None:
    receiver = start_receiver(body_timeout="200ms")
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        reply = b"".join(iter(lambda: connection.recv(4096), b""))  # until the receiver closes
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert b'{"code": 4, "message": "the body did not arrive within 0.2 s"}' in reply
    assert receiver.receiver.in_flight.used == 0


def test_memory_for_bodies_is_bounded_over_all_senders(start_receiver: Any) -> None:
    receiver = start_receiver(body_bytes_limit=1000, in_flight_bytes_limit=1500)
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=20) as connection:
        head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head + bytes(900))
        deadline = time.monotonic() + 20
        while receiver.receiver.in_flight.used < 900 and time.monotonic() < deadline:
            time.sleep(0.01)
        reply = receiver.post("/v1/traces", b" " * 700, JSON)
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert reply.json["message"] == "not accepted, try again: too much is being received at once"


def test_the_intake_refuses_when_it_is_closed(receiver: Any) -> None:
    receiver.receiver.close()
    with pytest.raises(IntakeFull, match=r"^the receiver is shutting down$"):
        receiver.receiver._intake.submit(lambda: None)
    assert receiver.post("/v1/traces", b"").status == 503


def test_a_spool_that_does_not_sync_is_refused(tmp_path: Any, bill_flows: Any, clock: Any) -> None:
    with (
        SpoolWriter(tmp_path / "spool", sync="interval") as spool,
        pytest.raises(
            ValueError, match=r"^the receiver's spool has sync='interval'; accepted means on disk, use 'always'$"
        ),
    ):
        receiver_app(ReceiverConfig(), bill_flows, spool, clock)


def test_reload_changes_what_the_next_request_means(receiver: Any, trace: Any, bill_flows: Any) -> None:
    receiver.receiver.reload({})
    builder = trace()
    builder.span()
    receiver.post("/v1/traces", builder.to_bytes())
    assert receiver.stored() == []
    receiver.receiver.reload(bill_flows)
    receiver.post("/v1/traces", builder.to_bytes())
    assert len(receiver.stored()) == 1
