"""``GET /v1/openapi.json``: the endpoints that take JSON, in OpenAPI 3.1, https://spec.openapis.org/oas/v3.1.0."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .events_api import events_path, events_schemas
from .observations_api import observations_path, observations_schemas

__all__ = ["description_routes", "openapi"]


def description_routes() -> list[Route]:
    """The endpoint."""

    async def describe(_request: Request) -> Response:
        return JSONResponse(openapi())

    return [Route("/v1/openapi.json", describe, methods=["GET"])]


def openapi() -> dict[str, Any]:
    """The description."""
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cxgauge receiver",
            "version": "1",
            "description": "Observations of customers passing steps of flows, and events. OTLP: /v1/traces, /v1/logs.",
        },
        "paths": {"/v1/observations": observations_path(error), "/v1/events": events_path(error)},
        "components": {
            "schemas": {**observations_schemas(), **events_schemas()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "page_token": {"type": "apiKey", "in": "query", "name": "token"},
            },
        },
    }
