"""``POST /v1/traces`` and ``POST /v1/logs``: OTLP spans and log records, acknowledged once they are on disk.

Semantics of OTLP/HTTP by https://opentelemetry.io/docs/specs/otlp/ (1.11): the reply is of the request's type,
refused records come back as ``partialSuccess``, errors carry a ``google.rpc.Status``, and a sender that shall try
again is told when.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from .intake import Mapped
from .otlp_decode import Refusals, decode_logs, decode_trace
from .otlp_mapping import OtlpMapper
from .otlp_reply import JSON_TYPE, PROTOBUF_TYPE, export_reply, status_reply
from .receiver import Receiver

__all__ = ["otlp_routes"]

_Decode = Callable[[OtlpMapper, bytes, bool, Refusals], Mapped]


def otlp_routes(receiver: Receiver) -> list[Route]:
    """The endpoints."""
    return [
        Route("/v1/traces", _endpoint(receiver, _map_trace, "rejectedSpans"), methods=["POST"]),
        Route("/v1/logs", _endpoint(receiver, _map_logs, "rejectedLogRecords"), methods=["POST"]),
    ]


def _map_trace(mapper: OtlpMapper, body: bytes, is_json: bool, refusals: Refusals) -> Mapped:
    if is_json:
        return mapper.map_trace(decode_trace(body, is_json=True, refusals=refusals), refusals)
    return mapper.map_trace_body(body, refusals)


def _map_logs(mapper: OtlpMapper, body: bytes, is_json: bool, refusals: Refusals) -> Mapped:
    return mapper.map_logs(decode_logs(body, is_json=is_json, refusals=refusals), refusals)


def _endpoint(receiver: Receiver, decode: _Decode, rejected_field: str) -> Any:
    async def handle(request: Request) -> Response:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in (PROTOBUF_TYPE, JSON_TYPE):
            message = f"Content-Type {media_type[:60]!r} is not OTLP; send {PROTOBUF_TYPE} or {JSON_TYPE}"
            return receiver.note(PlainTextResponse(message, 415))
        is_json = media_type == JSON_TYPE
        try:
            mapped = await receiver.take(request, lambda body: decode(receiver.mapper, body, is_json, Refusals()))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception as error:
            status, message = receiver.refusal(error)
            return receiver.note(status_reply(status, message, is_json=is_json))
        return receiver.note(export_reply(mapped.refusals, is_json=is_json, rejected_field=rejected_field))

    return handle
