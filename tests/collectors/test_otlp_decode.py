"""OTLP bodies: JSON and protobuf agree, and nothing that is sent makes the decoder fall over."""

from __future__ import annotations

import binascii
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cxgauge.collectors.receiver.otlp_decode import MalformedBodyError, Refusals, decode_logs, decode_trace


def decode(body: bytes, *, is_json: bool = True) -> tuple[Any, Refusals]:
    refusals = Refusals()
    return decode_trace(body, is_json=is_json, refusals=refusals), refusals


def one_span(**fields: Any) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [fields]}]}]}).encode()


_VALUES = st.one_of(st.text(max_size=20), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
_SPANS = st.lists(
    st.fixed_dictionaries(
        {
            "trace_id": st.binary(min_size=16, max_size=16),
            "span_id": st.binary(min_size=8, max_size=8),
            "name": st.text(max_size=20),
            "kind": st.integers(0, 5),
            "start": st.integers(0, 2**64 - 1),
            "end": st.integers(0, 2**64 - 1),
            "error": st.booleans(),
            "attributes": st.dictionaries(st.text(max_size=10), _VALUES, max_size=4),
        }
    ),
    max_size=4,
)


@settings(deadline=None)
@given(_SPANS)
def test_json_and_protobuf_of_the_same_spans_decode_to_the_same_message(spans: list[dict[str, Any]]) -> None:
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    rows = []
    for given_span in spans:
        span = scope.spans.add(
            trace_id=given_span["trace_id"],
            span_id=given_span["span_id"],
            name=given_span["name"],
            kind=given_span["kind"],
            start_time_unix_nano=given_span["start"],
            end_time_unix_nano=given_span["end"],
        )
        row: dict[str, Any] = {
            "traceId": binascii.hexlify(given_span["trace_id"]).decode().upper(),
            "spanId": binascii.hexlify(given_span["span_id"]).decode(),
            "name": given_span["name"],
            "kind": given_span["kind"],
            "startTimeUnixNano": str(given_span["start"]),
            "endTimeUnixNano": given_span["end"],
            "attributes": [],
            "unknownField": {"nested": [1]},
        }
        if given_span["error"]:
            span.status.code = 2
            row["status"] = {"code": 2}
        for key, value in given_span["attributes"].items():
            attribute = span.attributes.add(key=key)
            field, name, shown = _any_value(value)
            setattr(attribute.value, field, value)
            row["attributes"].append({"key": key, "value": {name: shown}})
        rows.append(row)
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": rows}]}]}).encode()
    from_json, refusals = decode(body)
    from_protobuf, _ = decode(message.SerializeToString(), is_json=False)
    assert refusals.count == 0
    assert from_json == from_protobuf


def _any_value(value: object) -> tuple[str, str, object]:
    if isinstance(value, bool):
        return "bool_value", "boolValue", value
    if isinstance(value, int):
        return "int_value", "intValue", str(value)
    if isinstance(value, float):
        shown = value if abs(value) != float("inf") else ("Infinity" if value > 0 else "-Infinity")
        return "double_value", "doubleValue", shown
    return "string_value", "stringValue", value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body of 0 bytes is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (
            b"\xff{}",
            "the body of 3 bytes is not JSON: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        ),
        (b'"x"', "the JSON body is a string, not an object"),
        (b'{"resourceSpans": NaN}', "the body of 22 bytes is not JSON: NaN is not a JSON number"),
        (b'{"resourceSpans": [null]}', "resourceSpans holds null, not objects"),
        (b'{"resourceSpans": [{"resource": []}]}', "resource is an array, not an object"),
        (
            b'{"resourceSpans": [{"resource": {"attributes": [1]}}]}',
            "resource: an attribute is a number, not an object",
        ),
        (b'{"resourceSpans": [{"scopeSpans": {}}]}', "scopeSpans is an object, not an array"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": true}]}]}', "spans is a boolean, not an array"),
        (b"[" * 100_000, "the JSON body is nested too deeply"),
    ],
)
def test_a_body_that_is_no_request_says_why(body: bytes, message: str) -> None:
    with pytest.raises(MalformedBodyError) as caught:
        decode(body)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"traceId": 7}, "traceId is not a hexadecimal string"),
        ({"spanId": "abc"}, "spanId is not a hexadecimal string"),
        ({"name": 7}, "name is a number, not a string"),
        ({"kind": "SPAN_KIND_SERVER"}, "kind is 'SPAN_KIND_SERVER', not an integer from -2147483648 to 2147483647"),
        ({"endTimeUnixNano": "-1"}, "endTimeUnixNano is '-1', not an integer from 0 to 18446744073709551615"),
        ({"endTimeUnixNano": 1.5}, "endTimeUnixNano is '1.5', not an integer from 0 to 18446744073709551615"),
        ({"endTimeUnixNano": "٣"}, "endTimeUnixNano is '٣', not an integer from 0 to 18446744073709551615"),
        ({"status": 2}, "status is a number, not an object"),
        ({"attributes": {}}, "attributes is an object, not an array"),
        ({"attributes": [{"key": "a", "value": {"boolValue": 1}}]}, "boolValue is a number, not true or false"),
        ({"attributes": [{"key": "a", "value": {"doubleValue": "1"}}]}, "doubleValue is '1', not a number"),
        ({"attributes": [{"key": "a", "value": 1}]}, "the value of an attribute is a number, not an object"),
    ],
)
def test_a_span_that_cannot_be_read_is_refused_alone(fields: dict[str, Any], reason: str) -> None:
    request, refusals = decode(one_span(**fields))
    assert refusals.message() == f"1 × span refused: {reason}"
    assert len(request.resource_spans[0].scope_spans[0].spans) == 0


def test_only_the_most_frequent_reasons_are_told() -> None:
    refusals = Refusals()
    for number in range(7):
        refusals.add(f"reason {number}", 10 - number)
    assert refusals.count == 49
    assert refusals.message(limit=2) == "10 × reason 0; 9 × reason 1; 5 more reasons"


_NAMES = st.sampled_from(
    [
        "resourceSpans",
        "resourceLogs",
        "resource",
        "scopeSpans",
        "scopeLogs",
        "spans",
        "logRecords",
        "attributes",
        "key",
        "value",
        "stringValue",
        "intValue",
        "traceId",
        "status",
        "code",
        "kind",
        "endTimeUnixNano",
    ]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(_NAMES, _JSON, max_size=4) | _JSON)
def test_any_json_is_decoded_or_refused(document: Any) -> None:
    for decoder in (decode_trace, decode_logs):
        with contextlib.suppress(MalformedBodyError):
            decoder(json.dumps(document).encode(), is_json=True, refusals=Refusals())


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_decoded_or_refused(body: bytes, is_json: bool) -> None:
    for decoder in (decode_trace, decode_logs):
        with contextlib.suppress(MalformedBodyError):
            decoder(body, is_json=is_json, refusals=Refusals())
