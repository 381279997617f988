"""``POST /v1/events``: what happened around the flows, as JSON, one event or many, acknowledged once on disk."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...metrics.change_event import ChangeEvent
from ...metrics.specification.flow import FlowSpec
from .json_body import headers_of, media_type_error, objects_of, reason_of
from .otlp_reply import RETRY_AFTER_SECONDS
from .receiver import Receiver
from .sender_tokens import Sender

__all__ = ["EVENTS_LIMIT", "event_routes", "events_path", "events_schemas", "read_events"]

EVENTS_LIMIT = 1_000
_MEDIA_TYPE = "application/json"
_REFUSALS_SHOWN = 100
_EVENT = TypeAdapter(ChangeEvent)


def read_events(
    body: bytes, flows: Mapping[str, FlowSpec], now: float, sender: Sender | None = None
) -> tuple[list[ChangeEvent], list[tuple[int, str]]]:
    """Events of a request, each with time and id, and which were refused, by position, and why.

    Args:
        body: JSON: an event, or a list of at most 1,000.
        flows: The specifications by name.
        now: For events without a time, seconds since 1970.
        sender: Who sends; it may be limited to some flows.

    Raises:
        MalformedBodyError: the body is something else.
    """
    taken: list[ChangeEvent] = []
    refused: list[tuple[int, str]] = []
    for index, given in enumerate(objects_of(body, "an event", EVENTS_LIMIT)):
        try:
            event = _EVENT.validate_json(json.dumps(given))
            _check_place(event, flows, sender or Sender())
        except ValidationError as error:
            refused.append((index, reason_of(error)))
        except ValueError as error:
            refused.append((index, str(error)))
        else:
            taken.append(_completed(event, now))
    return taken, refused


def _check_place(event: ChangeEvent, flows: Mapping[str, FlowSpec], sender: Sender) -> None:
    if event.flow is not None:
        flow = flows.get(event.flow)
        if flow is None:
            raise ValueError(f"flow={event.flow!r} is not a flow; known are {', '.join(sorted(flows)) or 'none'}")
        if event.step is not None and event.step not in (names := [step.name for step in flow.steps]):
            raise ValueError(f"step={event.step!r} is not a step of {flow.name}; known are {', '.join(names)}")
    if sender.flows is not None and event.flow not in sender.flows:
        what = "events of all flows" if event.flow is None else f"flow {event.flow}"
        raise ValueError(f"token {sender.id} ({sender.name}) may not send for {what}")


def _completed(event: ChangeEvent, now: float) -> ChangeEvent:
    return event.model_copy(
        update={"at": event.at or datetime.fromtimestamp(now, UTC), "id": event.id or uuid.uuid4().hex}
    )


def event_routes(receiver: Receiver) -> list[Route]:
    """The endpoint."""

    async def post(request: Request) -> Response:
        message = media_type_error(request.headers.get("content-type", ""), (_MEDIA_TYPE,), _MEDIA_TYPE)
        if message is not None:
            return receiver.note(JSONResponse({"error": message}, 415))
        try:
            async with receiver.body(request) as (sender, expanded):

                def work() -> tuple[list[ChangeEvent], list[tuple[int, str]]]:
                    taken, refused = read_events(expanded(), receiver.flows, receiver.now(), sender)
                    if taken:
                        receiver.journal.append(taken)
                    return taken, refused

                taken, refused = await asyncio.to_thread(work)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            status, message = receiver.refusal(error)
            return receiver.note(JSONResponse({"error": message}, status, headers_of(status)))
        document = {
            "accepted": len(taken),
            "ids": [event.id for event in taken],
            "refused": len(refused),
            "refusals": [{"index": index, "reason": reason} for index, reason in refused[:_REFUSALS_SHOWN]],
        }
        return receiver.note(JSONResponse(document, 422 if refused and not taken else 200))

    return [Route("/v1/events", post, methods=["POST"])]


def events_schemas() -> dict[str, Any]:
    """Components of the description."""
    return {"Event": _EVENT.json_schema(ref_template="#/components/schemas/{model}")}


def events_path(error: dict[str, Any]) -> dict[str, Any]:
    """The endpoint in OpenAPI 3.1; ``error`` is the schema of errors."""
    one = {"$ref": "#/components/schemas/Event"}
    count = {"type": "integer", "minimum": 0}
    refusal = {
        "type": "object",
        "required": ["index", "reason"],
        "properties": {"index": count, "reason": {"type": "string"}},
    }
    result = {
        "type": "object",
        "required": ["accepted", "ids", "refused", "refusals"],
        "properties": {
            "accepted": count,
            "ids": {"type": "array", "maxItems": EVENTS_LIMIT, "items": {"type": "string"}},
            "refused": count,
            "refusals": {"type": "array", "maxItems": _REFUSALS_SHOWN, "items": refusal},
        },
    }
    again = {"Retry-After": {"schema": {"type": "integer"}, "description": f"Seconds to wait: {RETRY_AFTER_SECONDS}."}}
    answers = {
        "200": ("Taken, but for those listed as refused.", result),
        "400": ("Not JSON, or neither an object nor a list.", error),
        "401": ("No good token.", error),
        "403": ("A page of an origin that may not send.", error),
        "408": ("The body did not arrive in time.", error),
        "413": ("The body is too large.", error),
        "415": ("Another content type or encoding.", error),
        "422": ("Nothing was taken; the reasons are listed.", result),
        "429": ("Too many events wait already, or this sender sends too much; nothing was kept.", error),
        "503": ("Not accepted for now; nothing is known to be kept.", error),
    }
    return {
        "post": {
            "operationId": "postEvents",
            "summary": "Send one event or a list; acknowledged once they are on disk.",
            "security": [{}, {"token": []}, {"page_token": []}],
            "requestBody": {
                "required": True,
                "content": {
                    _MEDIA_TYPE: {"schema": {"anyOf": [one, {"type": "array", "items": one, "maxItems": EVENTS_LIMIT}]}}
                },
            },
            "responses": {
                status: {
                    "description": words,
                    "content": {"application/json": {"schema": schema}},
                    **({"headers": again} if status in ("429", "503") else {}),
                }
                for status, (words, schema) in answers.items()
            },
        }
    }
