"""Answers to OTLP/HTTP senders, in the encoding they asked in (https://opentelemetry.io/docs/specs/otlp/#otlphttp)."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

from .otlp_decode import Refusals
from .otlp_schema import ExportResponse, PartialSuccess, RpcStatus

__all__ = ["JSON_TYPE", "PROTOBUF_TYPE", "RETRY_AFTER_SECONDS", "export_reply", "status_reply"]

JSON_TYPE = "application/json"
PROTOBUF_TYPE = "application/x-protobuf"
# The OpenTelemetry exporters give up 10 s after the first attempt, and at once when they are told to wait longer
# than what is left of it.
RETRY_AFTER_SECONDS = 1

# google.rpc.Code of an HTTP status, https://cloud.google.com/apis/design/errors#handling_errors
_RPC_CODES = {
    400: 3,  # INVALID_ARGUMENT
    401: 16,  # UNAUTHENTICATED
    403: 7,  # PERMISSION_DENIED
    408: 4,  # DEADLINE_EXCEEDED
    413: 8,  # RESOURCE_EXHAUSTED
    415: 3,
    429: 8,
    500: 13,  # INTERNAL
    503: 14,  # UNAVAILABLE
}


def export_reply(refusals: Refusals, *, is_json: bool, rejected_field: str) -> Response:
    """The 200 answer: empty when everything was taken, else ``partialSuccess``.

    Args:
        refusals: What was not taken, and why.
        is_json: Whether the request was JSON.
        rejected_field: ``rejectedSpans`` or ``rejectedLogRecords``; both are field 1 in protobuf.
    """
    if is_json:
        document: dict[str, Any] = {}
        if refusals.count:
            # 64-bit integers are strings in this mapping.
            document = {"partialSuccess": {rejected_field: str(refusals.count), "errorMessage": refusals.message()}}
        return Response(json.dumps(document, ensure_ascii=False), media_type=JSON_TYPE)
    body = b""
    if refusals.count:
        partial = PartialSuccess(rejected=refusals.count, error_message=refusals.message().encode())
        body = ExportResponse(partial_success=partial).SerializeToString()
    return Response(body, media_type=PROTOBUF_TYPE)


def status_reply(status: int, message: str, *, is_json: bool, headers: dict[str, str] | None = None) -> Response:
    """An error answer with a ``google.rpc.Status`` body, and ``Retry-After`` where trying again helps."""
    headers = dict(headers or {})
    if status in (429, 503):
        headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (401, 408, 413, 429):
        headers["Connection"] = "close"  # the rest of the body is still to come; do not wait for it
    code = _RPC_CODES.get(status, 2)
    if is_json:
        body = json.dumps({"code": code, "message": message}, ensure_ascii=False).encode()
    else:
        body = RpcStatus(code=code, message=message.encode()).SerializeToString()
    return Response(body, status, headers, JSON_TYPE if is_json else PROTOBUF_TYPE)
