"""``POST /v1/observations``: observations as JSON, one or many, from programs and from web pages.

A web page sends them with ``navigator.sendBeacon`` as ``text/plain``, which needs no CORS preflight and survives the
page; the receiver refuses origins that are not on its allow-list.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .intake import Mapped
from .json_body import headers_of, media_type_error
from .observation_mapper import BATCH_LIMIT, OBSERVATION
from .receiver import Receiver

__all__ = ["beacon_routes", "observation_routes", "observations_path", "observations_schemas"]

_REFUSALS_SHOWN = 100
_MEDIA_TYPES = ("application/json", "text/plain")


def observation_routes(receiver: Receiver) -> list[Route]:
    """The endpoint."""

    async def post(request: Request) -> Response:
        message = media_type_error(
            request.headers.get("content-type", ""), _MEDIA_TYPES, "application/json, or text/plain from a page"
        )
        if message is not None:
            return receiver.note(JSONResponse({"error": message}, 415))
        refused: list[tuple[int, str]] = []

        def work(body: bytes) -> Mapped:
            mapped, found = receiver.observations.map(body)
            refused.extend(found)
            return mapped

        try:
            mapped = await receiver.take(request, work)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            status, message = receiver.refusal(error)
            return receiver.note(JSONResponse({"error": message}, status, headers_of(status)))
        return receiver.note(_reply(mapped, refused))

    return [Route("/v1/observations", post, methods=["POST"])]


def beacon_routes() -> list[Route]:
    """The script for web pages that sends to the endpoint, at ``/cxgauge.js``."""
    script = files(__package__).joinpath("beacon/cxgauge.js").read_text(encoding="utf-8")

    async def beacon(_request: Request) -> Response:
        headers = {"Cache-Control": "public, max-age=3600", "Cross-Origin-Resource-Policy": "cross-origin"}
        return Response(script, headers=headers, media_type="text/javascript")

    return [Route("/cxgauge.js", beacon, methods=["GET"])]


def _reply(mapped: Mapped, refused: list[tuple[int, str]]) -> Response:
    accepted = 0 if mapped.batch is None else len(mapped.batch) - mapped.duplicates
    document: dict[str, Any] = {
        "accepted": accepted,
        "duplicates": mapped.duplicates,
        "refused": mapped.refusals.count,
        "refusals": [{"index": index, "reason": reason} for index, reason in refused[:_REFUSALS_SHOWN]],
    }
    if mapped.refusals.count > len(refused):
        document["message"] = mapped.refusals.message()
    nothing_taken = mapped.refusals.count > 0 and accepted == 0 and not mapped.duplicates
    return JSONResponse(document, 422 if nothing_taken else 200)


def observations_schemas() -> dict[str, Any]:
    """Components of the description."""
    return {"Observation": OBSERVATION.json_schema(ref_template="#/components/schemas/{model}")}


def observations_path(error: dict[str, Any]) -> dict[str, Any]:
    """The endpoint in OpenAPI 3.1; ``error`` is the schema of errors."""
    one = {"$ref": "#/components/schemas/Observation"}
    body = {"anyOf": [one, {"type": "array", "items": one, "maxItems": BATCH_LIMIT}]}
    counts = {name: {"type": "integer", "minimum": 0} for name in ("accepted", "duplicates", "refused")}
    refusal = {
        "type": "object",
        "required": ["index", "reason"],
        "properties": {"index": {"type": "integer", "minimum": 0}, "reason": {"type": "string"}},
    }
    result = {
        "type": "object",
        "required": ["accepted", "duplicates", "refused", "refusals"],
        "properties": {
            **counts,
            "refusals": {"type": "array", "maxItems": _REFUSALS_SHOWN, "items": refusal},
            "message": {"type": "string"},
        },
    }

    def answer(description: str, schema: dict[str, Any], *, again: bool = False) -> dict[str, Any]:
        header = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
        return {
            "description": description,
            "content": {"application/json": {"schema": schema}},
            **({"headers": header} if again else {}),
        }

    return {
        "post": {
            "operationId": "postObservations",
            "summary": "Send one observation or a list; acknowledged once they are on disk.",
            "security": [{}, {"token": []}, {"page_token": []}],
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": body},
                },
            },
            "responses": {
                "200": answer("Taken, but for those listed as refused.", result),
                "400": answer("Not JSON, or neither an object nor a list.", error),
                "401": answer("No good token.", error),
                "403": answer("A page of an origin that may not send.", error),
                "408": answer("The body did not arrive in time.", error),
                "413": answer("The body is too large.", error),
                "415": answer("Another content type or encoding.", error),
                "422": answer("Nothing was taken; the reasons are listed.", result),
                "429": answer("The spool is full, or this sender sends too much; nothing was kept.", error, again=True),
                "503": answer("Not accepted for now; nothing was kept.", error, again=True),
            },
        }
    }
