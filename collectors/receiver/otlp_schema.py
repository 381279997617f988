"""The narrow view of OTLP: only the fields that observations are made of, as protobuf messages built at start.

Parsing with the full ``opentelemetry-proto`` classes costs a Python object for every attribute. Here attributes
stay serialised ``KeyValue`` bytes, so that equal attributes can be recognised by their bytes and decoded once.
Field numbers are those of https://github.com/open-telemetry/opentelemetry-proto (v1.11, wire-stable); all other
fields are unknown to these messages and therefore ignored, as the protocol asks.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = [
    "AnyValue",
    "ExportResponse",
    "KeyValue",
    "LogRecord",
    "LogsRequest",
    "PartialSuccess",
    "Resource",
    "ResourceLogs",
    "ResourceSpans",
    "RetryInfo",
    "RpcStatus",
    "Scope",
    "ScopeLogs",
    "ScopeSpans",
    "Span",
    "SpanStatus",
    "TraceEnvelope",
    "TraceRequest",
]

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "cxgauge.narrow"
_BYTES, _FIXED64, _INT32, _INT64 = _Field.TYPE_BYTES, _Field.TYPE_FIXED64, _Field.TYPE_INT32, _Field.TYPE_INT64
_BOOL, _DOUBLE = _Field.TYPE_BOOL, _Field.TYPE_DOUBLE

# message -> (field, number, type or message name, repeated)
_MESSAGES: dict[str, tuple[tuple[str, int, int | str, bool], ...]] = {
    "TraceRequest": (("resource_spans", 1, "ResourceSpans", True),),
    "ResourceSpans": (("resource", 1, _BYTES, False), ("scope_spans", 2, "ScopeSpans", True)),
    "ScopeSpans": (("scope", 1, _BYTES, False), ("spans", 2, "Span", True)),
    "Scope": (("name", 1, _BYTES, False),),
    # The same request down to the spans, which stay serialised.
    "TraceEnvelope": (("resource_spans", 1, "ResourceEnvelope", True),),
    "ResourceEnvelope": (("resource", 1, _BYTES, False), ("scope_spans", 2, "ScopeEnvelope", True)),
    "ScopeEnvelope": (("scope", 1, _BYTES, False), ("spans", 2, _BYTES, True)),
    "Span": (
        ("trace_id", 1, _BYTES, False),
        ("span_id", 2, _BYTES, False),
        ("name", 5, _BYTES, False),
        ("kind", 6, _INT32, False),
        ("start", 7, _FIXED64, False),
        ("end", 8, _FIXED64, False),
        ("attributes", 9, _BYTES, True),
        ("status", 15, _BYTES, False),
    ),
    "SpanStatus": (("code", 3, _INT32, False),),
    "LogsRequest": (("resource_logs", 1, "ResourceLogs", True),),
    "ResourceLogs": (("resource", 1, _BYTES, False), ("scope_logs", 2, "ScopeLogs", True)),
    "ScopeLogs": (("log_records", 2, "LogRecord", True),),
    "LogRecord": (
        ("time", 1, _FIXED64, False),
        ("attributes", 6, _BYTES, True),
        ("trace_id", 9, _BYTES, False),
        ("span_id", 10, _BYTES, False),
        ("observed", 11, _FIXED64, False),
        ("name", 12, _BYTES, False),
    ),
    "Resource": (("attributes", 1, _BYTES, True),),
    # google.rpc.Status and what gRPC senders look for in it
    "RpcStatus": (("code", 1, _INT32, False), ("message", 2, _BYTES, False), ("details", 3, "Any", True)),
    "Any": (("type_url", 1, _BYTES, False), ("value", 2, _BYTES, False)),
    "RetryInfo": (("retry_delay", 1, "Duration", False),),
    "Duration": (("seconds", 1, _INT64, False),),
    "ExportResponse": (("partial_success", 1, "PartialSuccess", False),),
    "PartialSuccess": (("rejected", 1, _INT64, False), ("error_message", 2, _BYTES, False)),
    "KeyValue": (("key", 1, _BYTES, False), ("value", 2, "AnyValue", False)),
    "AnyValue": (
        ("string_value", 1, _BYTES, False),
        ("bool_value", 2, _BOOL, False),
        ("int_value", 3, _INT64, False),
        ("double_value", 4, _DOUBLE, False),
        ("array_value", 5, _BYTES, False),
        ("kvlist_value", 6, _BYTES, False),
        ("bytes_value", 7, _BYTES, False),
    ),
}


def _build() -> dict[str, Any]:
    """Make the message classes in a descriptor pool of their own, so that no other OTLP classes collide."""
    file = descriptor_pb2.FileDescriptorProto(name="cxgauge/narrow_otlp.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if name == "AnyValue":
            message.oneof_decl.add(name="value")
        for field_name, number, kind, repeated in fields:
            field = message.field.add(name=field_name, number=number)
            field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            if isinstance(kind, str):
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = kind
            if name == "AnyValue":
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"{_PACKAGE}.{name}")) for name in _MESSAGES}


_CLASSES = _build()
TraceRequest: Any = _CLASSES["TraceRequest"]
TraceEnvelope: Any = _CLASSES["TraceEnvelope"]
ResourceSpans: Any = _CLASSES["ResourceSpans"]
ScopeSpans: Any = _CLASSES["ScopeSpans"]
Span: Any = _CLASSES["Span"]
SpanStatus: Any = _CLASSES["SpanStatus"]
LogsRequest: Any = _CLASSES["LogsRequest"]
ResourceLogs: Any = _CLASSES["ResourceLogs"]
Scope: Any = _CLASSES["Scope"]
ScopeLogs: Any = _CLASSES["ScopeLogs"]
LogRecord: Any = _CLASSES["LogRecord"]
Resource: Any = _CLASSES["Resource"]
RpcStatus: Any = _CLASSES["RpcStatus"]
RetryInfo: Any = _CLASSES["RetryInfo"]
ExportResponse: Any = _CLASSES["ExportResponse"]
PartialSuccess: Any = _CLASSES["PartialSuccess"]
KeyValue: Any = _CLASSES["KeyValue"]
AnyValue: Any = _CLASSES["AnyValue"]
