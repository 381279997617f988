"""The HTTP side: health, metrics and pages as one ASGI application."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psycopg
import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..metrics.configuration.config import Config
from ..metrics.specification.flow import FlowSpec
from ..metrics.store.store import Store
from .exposition.health import HealthFigures
from .pages.routes import Pages

__all__ = ["HttpParts", "application"]

_log = structlog.get_logger("cxgauge.http")
CONTENT_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class MetricsText(Protocol):
    """Renders ``/metrics``: the body and its content type for what the ``Accept`` header allows."""

    def __call__(self, accept: str, /) -> tuple[bytes, str]:
        """The exposition."""
        ...


@dataclass(frozen=True, slots=True)
class HttpParts:
    """What the application shows.

    Attributes:
        store: Where figures and alerts are.
        config: Gives the configuration in force; asked at each request, so that a reload counts at once.
        flows: Gives the flows in force.
        metrics: Renders ``/metrics``; ``None`` leaves it out.
        not_ready: Gives the reasons why the ruler is not ready, none when it is.
        unhealthy: Gives the reasons why it should be restarted, none when it should not.
        health: Gives the figures of collection and evaluation for the page of the data's quality; ``None`` where they
            do not run in this process.
        clock: Seconds since 1970 UTC.
    """

    store: Store
    config: Callable[[], Config]
    flows: Callable[[], Mapping[str, FlowSpec]]
    metrics: MetricsText | None = None
    not_ready: Callable[[], list[str]] = list
    unhealthy: Callable[[], list[str]] = list
    health: Callable[[], HealthFigures | None] = lambda: None
    clock: Callable[[], float] = time.time


def application(parts: HttpParts) -> Starlette:
    """The application: ``/-/healthy``, ``/-/ready``, ``/metrics`` and the pages."""
    pages = Pages(parts.store, parts.config, parts.flows, parts.clock, parts.health)

    def healthy(_request: Request) -> Response:
        return _state(parts.unhealthy(), "healthy")

    def ready(_request: Request) -> Response:
        return _state([*parts.not_ready(), *_database_fault(parts.store)], "ready")

    def metrics(request: Request) -> Response:
        if parts.metrics is None:
            return PlainTextResponse("no metrics here\n", 404)
        body, content_type = parts.metrics(request.headers.get("accept", ""))
        return Response(body, media_type=content_type)

    def database_away(request: Request, error: Exception) -> Response:
        _log.warning("page without database", path=request.url.path, error=str(error).strip())
        return pages.failure(request, 503, "database")

    def page_failed(request: Request, error: Exception) -> Response:
        _log.error("page failed", path=request.url.path, exc_info=error)
        return pages.failure(request, 500, "fault")

    def not_found(request: Request, _error: Exception) -> Response:
        return pages.failure(request, 404, "missing")

    return Starlette(
        routes=[
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            Route("/metrics", metrics),
            *pages.routes(),
            Mount("/static", StaticFiles(directory=Path(__file__).with_name("static"))),
        ],
        middleware=[Middleware(_SafeHeaders)],
        exception_handlers={psycopg.Error: database_away, 404: not_found, Exception: page_failed},
    )


def _state(reasons: list[str], word: str) -> Response:
    if reasons:
        return PlainTextResponse("".join(f"not {word}: {reason}\n" for reason in reasons), 503)
    return PlainTextResponse(f"{word}\n")


def _database_fault(store: Store) -> list[str]:
    try:
        with store.connection() as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        return [f"the database does not answer: {str(error).strip()}"]
    return []


class _SafeHeaders:
    """Adds the security headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((n.encode(), v.encode()) for n, v in _HEADERS.items() if n.encode() not in present),
                ]
            await send(message)

        await self._app(scope, receive, add if scope["type"] == "http" else send)
