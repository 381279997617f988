"""The HTTP side: health, metrics and pages as one ASGI application, behind the access control."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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

from ..metrics.configuration.config import Config
from ..metrics.specification.flow import FlowSpec
from ..metrics.store.scope import EVERYTHING, DataScope
from ..metrics.store.store import Store
from .access.accounts_page import AccountsPage
from .access.audit_page import AuditPage
from .access.control import AccessControl
from .access.headers import SafeHeaders
from .access.pages import AccessPages
from .access.passwords import Passwords
from .access.scoped_pages import ScopedPages, visible_flows
from .access.service_tokens import ServiceTokens
from .access.sessions import Sessions
from .access.sign_in import SignIn
from .exposition.health import HealthFigures
from .pages.actions import AlertActions
from .pages.improvement_forms import ImprovementForms
from .pages.report_forms import ReportForms
from .pages.routes import Pages
from .pages.silence_forms import SilenceForms
from .scheduled.asked import AskedReports

__all__ = ["HttpParts", "application"]

_log = structlog.get_logger("cxgauge.http")


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
        passwords: Hashes and verifies passwords.
    """

    store: Store
    config: Callable[[], Config]
    flows: Callable[[], Mapping[str, FlowSpec]]
    metrics: MetricsText | None = None
    not_ready: Callable[[], list[str]] = list
    unhealthy: Callable[[], list[str]] = list
    health: Callable[[], HealthFigures | None] = lambda: None
    clock: Callable[[], float] = time.time
    passwords: Passwords = field(default_factory=Passwords)


def application(parts: HttpParts) -> Starlette:
    """The application: ``/-/healthy``, ``/-/ready``, ``/metrics``, sign-in and the pages."""
    scoped = ScopedPages(lambda scope: _pages(parts, scope).routes())
    pages = _pages(parts, EVERYTHING)
    failure, refuse = pages.failure, pages.refused
    sessions = Sessions(parts.store, parts.config, parts.clock)
    asked = AskedReports(parts.store, parts.config, parts.flows, parts.clock)
    sign_in = SignIn(parts.store, parts.config, parts.clock, parts.passwords)

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
        return failure(request, 503, "database")

    def not_found(request: Request, _error: Exception) -> Response:
        return failure(request, 404, "missing")

    routes = [
        Route("/-/healthy", healthy),
        Route("/-/ready", ready),
        Route("/metrics", metrics),
        *AccessPages(parts.store, parts.config, parts.clock, sign_in, sessions).routes(),
        *AuditPage(parts.store, parts.config, parts.clock).routes(),
        *AccountsPage(parts.store, parts.config, parts.flows, parts.clock, refuse).routes(),
        *AlertActions(parts.store, parts.config, parts.flows, parts.clock, refuse).routes(),
        *ImprovementForms(parts.store, parts.config, parts.flows, parts.clock, refuse).routes(),
        *ReportForms(asked, parts.config, parts.store.settings.window_seconds, parts.clock, refuse).routes(),
        *SilenceForms(parts.store, parts.config, parts.flows, parts.clock, refuse).routes(),
        *scoped.routes(),
        Mount("/static", StaticFiles(directory=Path(__file__).with_name("static"))),
    ]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(SafeHeaders, secure=lambda: parts.config().http.is_secure),
            Middleware(
                AccessControl,
                routes=routes,
                config=parts.config,
                sessions=sessions,
                tokens=ServiceTokens(parts.store, parts.clock),
                failure=failure,
            ),
        ],
        exception_handlers={psycopg.Error: database_away, 404: not_found},
    )
    app.router.redirect_slashes = False  # would send people to whatever name they came by
    return app


def _pages(parts: HttpParts, scope: DataScope) -> Pages:
    """The pages as one scope shows them: what collecting itself did is nobody's part of it."""
    return Pages(
        parts.store.restricted(scope),
        parts.config,
        lambda: visible_flows(parts.flows(), scope),
        parts.clock,
        parts.health if scope.is_everything else lambda: None,
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
