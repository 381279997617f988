"""OTLP request bodies, protobuf and JSON, as the narrow messages of :mod:`otlp_schema`.

Both encodings end in the same messages, so that everything after this module is written once. The JSON
encoding of OTLP is not the JSON mapping of protobuf (ids are hexadecimal, enums are integers, see
https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding), which is why ``json_format`` is not used here.
"""

from __future__ import annotations

import binascii
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from google.protobuf.message import DecodeError

from .otlp_schema import AnyValue, KeyValue, LogsRequest, Resource, Scope, SpanStatus, TraceEnvelope, TraceRequest

__all__ = ["MalformedBodyError", "Refusals", "decode_envelope", "decode_logs", "decode_trace"]

_UINT64_LIMIT = 1 << 64
_INT64_LIMIT = 1 << 63
_INT32_LIMIT = 1 << 31
_SHORT = 125  # bytes whose length, and that of what holds them, is written in one byte
_SHOWN = 60  # characters of a bad value that an error repeats


class MalformedBodyError(ValueError):
    """A request body that is not the OTLP message it claims to be; its text is meant for the sender."""


@dataclass(slots=True)
class Refusals:
    """Records of a request that were not taken, by reason (English, for ``partialSuccess``), and of which step.

    Attributes:
        reasons: How many, by reason.
        places: How many, by flow and step where these are known; step may be empty.
        forbidden: How many of them the sender may not send, by flow.
    """

    reasons: Counter[str] = field(default_factory=Counter)
    places: Counter[tuple[str, str]] = field(default_factory=Counter)
    forbidden: Counter[str] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """How many records were refused."""
        return self.reasons.total()

    def add(self, reason: str, count: int = 1, *, flow: str = "", step: str = "") -> None:
        """Count ``count`` records as refused for ``reason``."""
        self.reasons[reason] += count
        if flow:
            self.places[flow, step] += count

    def message(self, limit: int = 5) -> str:
        """The most frequent reasons in one line, empty when nothing was refused."""
        parts = [f"{count} × {reason}" for reason, count in self.reasons.most_common(limit)]
        if len(self.reasons) > limit:
            parts.append(f"{len(self.reasons) - limit} more reasons")
        return "; ".join(parts)


def decode_envelope(body: bytes) -> Any:
    """Decode a protobuf ``ExportTraceServiceRequest`` down to its spans, which stay serialised and unchecked.

    Returns:
        A ``TraceEnvelope``.

    Raises:
        MalformedBodyError: the body cannot be read.
    """
    return _parse_protobuf(TraceEnvelope, body, "ExportTraceServiceRequest")


def decode_trace(body: bytes, *, is_json: bool, refusals: Refusals) -> Any:
    """Decode an ``ExportTraceServiceRequest``.

    Args:
        body: The uncompressed request body; empty bytes are an empty request in protobuf.
        is_json: Whether the body is JSON rather than protobuf.
        refusals: Receives the JSON spans whose fields are of the wrong form; the others are kept.

    Returns:
        A narrow ``TraceRequest``.

    Raises:
        MalformedBodyError: the body as a whole cannot be read.
    """
    if not is_json:
        return _parse_protobuf(TraceRequest, body, "ExportTraceServiceRequest")
    request = TraceRequest()
    for group in _objects(_load_json(body), "resourceSpans"):
        target = request.resource_spans.add(resource=_resource(group))
        for scope in _objects(group, "scopeSpans"):
            spans = target.scope_spans.add(scope=_scope(scope)).spans
            _each(_array(scope, "spans"), "span", refusals, _span_fields, spans.add)
    return request


def decode_logs(body: bytes, *, is_json: bool, refusals: Refusals) -> Any:
    """Decode an ``ExportLogsServiceRequest`` into a narrow ``LogsRequest``; see :func:`decode_trace`."""
    if not is_json:
        return _parse_protobuf(LogsRequest, body, "ExportLogsServiceRequest")
    request = LogsRequest()
    for group in _objects(_load_json(body), "resourceLogs"):
        target = request.resource_logs.add(resource=_resource(group))
        for scope in _objects(group, "scopeLogs"):
            logs = target.scope_logs.add().log_records
            _each(_array(scope, "logRecords"), "log record", refusals, _log_fields, logs.add)
    return request


def _parse_protobuf(message: Any, body: bytes, name: str) -> Any:
    try:
        return message.FromString(body)
    except DecodeError:
        raise MalformedBodyError(
            f"the body of {len(body)} bytes is not a protobuf {name}; check Content-Type"
        ) from None


def _load_json(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise MalformedBodyError("the JSON body is nested too deeply") from None
    except ValueError as error:  # also JSONDecodeError and UnicodeDecodeError
        raise MalformedBodyError(f"the body of {len(body)} bytes is not JSON: {str(error)[:100]}") from None
    if not isinstance(document, dict):
        raise MalformedBodyError(f"the JSON body is {_kind(document)}, not an object")
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _each(
    rows: Iterable[Any],
    what: str,
    refusals: Refusals,
    read: Callable[[dict[str, Any]], dict[str, Any]],
    add: Callable[..., object],
) -> None:
    for row in rows:
        try:
            if not isinstance(row, dict):
                raise ValueError(f"it is {_kind(row)}, not an object")
            add(**read(row))
        except ValueError as error:
            refusals.add(f"{what} refused: {error}")


def _span_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    status = row.get("status")
    if status is not None and not isinstance(status, dict):
        raise ValueError(f"status is {_kind(status)}, not an object")
    code = _int32((status or {}).get("code"), "status.code")
    return {
        "trace_id": _hex(row.get("traceId"), "traceId"),
        "span_id": _hex(row.get("spanId"), "spanId"),
        "name": _text(row.get("name"), "name"),
        "kind": _int32(row.get("kind"), "kind"),
        "start": _uint64(row.get("startTimeUnixNano"), "startTimeUnixNano"),
        "end": _uint64(row.get("endTimeUnixNano"), "endTimeUnixNano"),
        "attributes": _attributes(row),
        "status": SpanStatus(code=code).SerializeToString() if code else b"",
    }


def _log_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "time": _uint64(row.get("timeUnixNano"), "timeUnixNano"),
        "observed": _uint64(row.get("observedTimeUnixNano"), "observedTimeUnixNano"),
        "trace_id": _hex(row.get("traceId"), "traceId"),
        "span_id": _hex(row.get("spanId"), "spanId"),
        "name": _text(row.get("eventName"), "eventName"),
        "attributes": _attributes(row),
    }


def _resource(group: Mapping[str, Any]) -> bytes:
    resource = group.get("resource")
    if resource is None:
        return b""
    if not isinstance(resource, dict):
        raise MalformedBodyError(f"resource is {_kind(resource)}, not an object")
    try:
        return bytes(Resource(attributes=_attributes(resource)).SerializeToString())
    except ValueError as error:
        raise MalformedBodyError(f"resource: {error}") from None


def _scope(group: Mapping[str, Any]) -> bytes:
    scope = group.get("scope")
    name = scope.get("name") if isinstance(scope, dict) else None
    return bytes(Scope(name=name.encode("utf-8", "replace")).SerializeToString()) if isinstance(name, str) else b""


def _attributes(row: Mapping[str, Any]) -> list[bytes]:
    raw = row.get("attributes")
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise ValueError(f"attributes is {_kind(raw)}, not an array")
    return [_attribute(entry) for entry in raw]


def _attribute(entry: Any) -> bytes:
    """An attribute as a serialised ``KeyValue``; short strings, which most are, without a message for it."""
    if type(entry) is dict:
        key, value = entry.get("key"), entry.get("value")
        if type(key) is str and key and type(value) is dict and len(value) == 1:
            text = value.get("stringValue")
            if type(text) is str:
                name, given = key.encode("utf-8", "replace"), text.encode("utf-8", "replace")
                if len(name) <= _SHORT and len(given) <= _SHORT:
                    return b"\x0a%c%b\x12%c\x0a%c%b" % (len(name), name, len(given) + 2, len(given), given)
    return _whole_attribute(entry)


def _whole_attribute(entry: Any) -> bytes:
    if not isinstance(entry, dict):
        raise ValueError(f"an attribute is {_kind(entry)}, not an object")
    value = entry.get("value")
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"the value of an attribute is {_kind(value)}, not an object")
    key = _text(entry.get("key"), "key")
    return bytes(KeyValue(key=key, value=AnyValue(**_any_value(value or {}))).SerializeToString())


def _any_value(value: Mapping[str, Any]) -> dict[str, Any]:
    """The scalar that an OTLP/JSON AnyValue holds; arrays, maps and bytes are only noted as such."""
    for name, given in value.items():
        if given is not None and name in _SCALARS:
            field_name, read = _SCALARS[name]
            return {field_name: read(given)}
    return {}


def _objects(row: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    rows = _array(row, name)
    for entry in rows:
        if not isinstance(entry, dict):
            raise MalformedBodyError(f"{name} holds {_kind(entry)}, not objects")
    return rows


def _array(row: Mapping[str, Any], name: str) -> list[Any]:
    rows = row.get(name)
    if rows is None:
        return []
    if not isinstance(rows, list):
        raise MalformedBodyError(f"{name} is {_kind(rows)}, not an array")
    return rows


def _hex(value: Any, name: str) -> bytes:
    if value is None:
        return b""
    try:
        return binascii.unhexlify(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is not a hexadecimal string") from None


def _text(value: Any, name: str) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str):
        raise ValueError(f"{name} is {_kind(value)}, not a string")
    return value.encode("utf-8", "replace")


def _int32(value: Any, name: str) -> int:
    return 0 if value is None else _integer(value, name, -_INT32_LIMIT, _INT32_LIMIT)


def _uint64(value: Any, name: str) -> int:
    return 0 if value is None else _integer(value, name, 0, _UINT64_LIMIT)


def _integer(value: Any, name: str, low: int, high: int) -> int:
    """An integer given as a JSON number or, as OTLP writes 64-bit ones, as a decimal string."""
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and value.removeprefix("-").isdecimal() and value.isascii() and len(value) <= 20
    ):
        number = int(value)
    if number is None or not low <= number < high:
        raise ValueError(f"{name} is {str(value)[:_SHOWN]!r}, not an integer from {low} to {high - 1}")
    return number


def _double(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    elif value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    raise ValueError(f"doubleValue is {str(value)[:_SHOWN]!r}, not a number")


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"boolValue is {_kind(value)}, not true or false")
    return value


def _composite(_value: Any) -> bytes:
    return b""


_SCALARS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "stringValue": ("string_value", lambda value: _text(value, "stringValue")),
    "boolValue": ("bool_value", _boolean),
    "intValue": ("int_value", lambda value: _integer(value, "intValue", -_INT64_LIMIT, _INT64_LIMIT)),
    "doubleValue": ("double_value", _double),
    "bytesValue": ("bytes_value", _composite),
    "arrayValue": ("array_value", _composite),
    "kvlistValue": ("kvlist_value", _composite),
}
_KINDS = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array", dict: "an object"}


def _kind(value: Any) -> str:
    """The JSON type of ``value`` with its article, for errors."""
    if value is None:
        return "null"
    return _KINDS.get(type(value), type(value).__name__)
