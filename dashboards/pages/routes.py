"""The pages: overview → flow → step → alert, drawn on the server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from ...metrics.configuration.config import Config
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.store import Store
from ..access.identity import access_of
from ..exposition.health import HealthFigures
from ..pdf import PdfBusyError, PdfError
from ..periods import COMPARISONS
from ..rendering import render
from ..report.files import REPORT_TYPES, render_report
from ..report.report import build_report
from ..scheduled.asked import of_part
from ..wording import Wording
from .alert import alert_page
from .alert_list import ALERT_FILTERS, alerts_page
from .data import data_page
from .deeds import NAME_COOKIE
from .flow import flow_page, way_page
from .improvement_list import (
    LEDGER_FILTERS,
    NEW_FIELDS,
    improvement_page,
    improvements_page,
    new_improvement_page,
)
from .overview import overview_page
from .report_history import REPORT_FILTERS, report_file, report_run_page, reports_page
from .request import LANGUAGE_COOKIE, SPANS, PageRequest, read_request, remember_language
from .search import search_page
from .silences import silences_page
from .step import step_page
from .table import Table
from .table_files import table_response

__all__ = ["Pages"]

_Page = Callable[[PageRequest, Request], tuple[str, dict[str, Any]]]


class NotFoundError(LookupError):
    """There is no such flow, step or alert."""


class Pages:
    """Answers page requests; one object for all, safe from any thread."""

    def __init__(
        self,
        store: Store,
        config: Callable[[], Config],
        flows: Callable[[], Mapping[str, FlowSpec]],
        clock: Callable[[], float],
        health: Callable[[], HealthFigures | None] = lambda: None,
    ) -> None:
        self._store, self._config, self._flows, self._clock = store, config, flows, clock
        self._health = health

    def routes(self) -> list[Route]:
        """The pages' routes."""
        return [
            Route("/", self._answer(self._overview, renewed=True)),
            Route("/flows/{flow}", self._answer(self._flow, renewed=True)),
            Route("/flows/{flow}/way", self._answer(self._way)),
            Route("/flows/{flow}/steps/{step}", self._answer(self._step, renewed=True)),
            Route("/alerts", self._answer(self._alerts, ALERT_FILTERS, renewed=True)),
            Route("/search", self._answer(self._search, ("q",))),
            Route("/data", self._answer(self._data, renewed=True)),
            Route("/alerts/{alert}", self._answer(self._alert)),
            Route("/improvements", self._answer(self._improvements, LEDGER_FILTERS)),
            Route("/improvements/new", self._answer(self._new_improvement, NEW_FIELDS)),
            Route("/improvements/{improvement}", self._answer(self._improvement)),
            Route("/silences", self._answer(self._silences)),
            Route("/flows/{flow}/report.{format}", self._report),
            Route("/reports", self._answer(self._reports, REPORT_FILTERS)),
            Route("/reports/{run}", self._answer(self._report_run)),
            Route("/reports/{run}/report.{format}", self._report_file),
        ]

    def failure(self, request: Request, status: int, kind: str) -> Response:
        """A page that says what went wrong; ``kind`` is ``missing``, ``database``, ``forbidden`` or ``fault``."""
        if request.url.path.startswith(("/-/", "/metrics", "/static")):
            return PlainTextResponse(f"{kind}\n", status)
        wording = Wording(self._language(request), self._config().timezone)
        access = getattr(request.state, "access", None)
        return HTMLResponse(render("failure.html.j2", wording, kind=kind, reason="", page=None, access=access), status)

    def refused(self, request: Request, status: int, reason: str) -> Response:
        """A page that says why a form was refused."""
        wording = Wording(self._language(request), self._config().timezone)
        values = {"kind": "form", "reason": reason, "page": None, "access": access_of(request)}
        return HTMLResponse(render("failure.html.j2", wording, **values), status)

    def _language(self, request: Request) -> Any:
        wanted = request.query_params.get("lang") or request.cookies.get(LANGUAGE_COOKIE)
        return wanted if wanted in ("en", "zh") else self._config().language

    def _answer(
        self, page: _Page, own: tuple[str, ...] = (), *, renewed: bool = False
    ) -> Callable[[Request], Response]:
        """Answer with a page, or with one of its tables as a file.

        Args:
            page: Makes it.
            own: Names of the parameters of this page alone.
            renewed: Whether it brings itself up to date.
        """

        def answer(request: Request) -> Response:
            try:
                asked = self._read(request, own, renewed=renewed)
                template, values = page(asked, request)
            except NotFoundError:
                return self.failure(request, 404, "missing")
            except ValueError as error:
                return self._refused(request, str(error))
            if asked.table:
                return self._table(asked, values.get("tables", []), request)
            values = (
                {"page": asked} | values | {"spans": SPANS, "comparisons": COMPARISONS, "access": access_of(request)}
            )
            text = render(template, asked.wording, **values)
            response = HTMLResponse(text, headers={"cache-control": "no-store"})
            return remember_language(response, request, asked)

        return answer

    def _refused(self, request: Request, reason: str) -> Response:
        """Say which parameter cannot be used; people get a page, programs a line."""
        if "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse(f"{reason}\n", 400)
        wording = Wording(self._language(request), self._config().timezone)
        values = {"kind": "request", "reason": reason, "page": None, "access": access_of(request)}
        return HTMLResponse(render("failure.html.j2", wording, **values), 400)

    def _table(self, asked: PageRequest, tables: Sequence[Table], request: Request) -> Response:
        table = next((one for one in tables if asked.table in (one.name, "first")), None)
        if table is None:
            return self.failure(request, 404, "missing")
        return table_response(table, asked)

    def _read(self, request: Request, own: tuple[str, ...] = (), *, renewed: bool = False) -> PageRequest:
        window, now = self._store.settings.window_seconds, self._clock()
        return read_request(request, self._config(), window_seconds=window, now=now, own=own, renewed=renewed)

    def _spec(self, request: Request) -> FlowSpec:
        flow = self._flows().get(request.path_params["flow"])
        if flow is None:
            raise NotFoundError(request.path_params["flow"])
        return flow

    def _overview(self, asked: PageRequest, _request: Request) -> tuple[str, dict[str, Any]]:
        return "overview.html.j2", overview_page(self._store, self._flows(), asked)

    def _flow(self, asked: PageRequest, request: Request) -> tuple[str, dict[str, Any]]:
        return "flow.html.j2", flow_page(self._store, self._spec(request), asked) | _name(request)

    def _way(self, asked: PageRequest, request: Request) -> tuple[str, dict[str, Any]]:
        return "way.html.j2", way_page(self._store, self._spec(request), asked)

    def _search(self, asked: PageRequest, _request: Request) -> tuple[str, dict[str, Any]]:
        return "search.html.j2", search_page(self._store, self._flows(), asked)

    def _data(self, asked: PageRequest, _request: Request) -> tuple[str, dict[str, Any]]:
        return "data.html.j2", data_page(self._store, self._flows(), self._config(), self._health(), asked)

    def _step(self, asked: PageRequest, request: Request) -> tuple[str, dict[str, Any]]:
        flow = self._spec(request)
        step = next((step for step in flow.steps if step.name == request.path_params["step"]), None)
        if step is None:
            raise NotFoundError(request.path_params["step"])
        return "step.html.j2", step_page(self._store, flow, step, asked)

    def _report(self, request: Request) -> Response:
        """The report of a flow as a file, for the period of the page it was asked from."""
        kind = request.path_params["format"]
        if kind not in REPORT_TYPES:
            return self.failure(request, 404, "missing")
        try:
            asked = self._read(request)
            flow = self._spec(request)
        except NotFoundError:
            return self.failure(request, 404, "missing")
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", 400)
        part = of_part(flow, access_of(request).scope)
        report = build_report(self._store, part, asked.period, asked.compared, asked.wording, now=asked.now)
        try:
            content = render_report(self._store, report, kind, wait_seconds=0.0)
        except PdfBusyError as error:
            return PlainTextResponse(f"{error}\n", 503, headers={"retry-after": "10"})
        except (PdfError, ValueError) as error:
            return PlainTextResponse(f"{error}\n", 503)
        day = f"{datetime.fromtimestamp(asked.period.start, asked.wording.zone):%Y-%m-%d}"
        disposition = f'attachment; filename="{flow.name}-{day}.{kind}"'
        return Response(content, media_type=REPORT_TYPES[kind], headers={"content-disposition": disposition})

    def _reports(self, asked: PageRequest, request: Request) -> tuple[str, dict[str, Any]]:
        everything = access_of(request).scope.is_everything
        values = reports_page(self._store, self._config(), self._flows(), asked, everything=everything)
        return "reports.html.j2", values

    def _report_run(self, asked: PageRequest, request: Request) -> tuple[str, dict[str, Any]]:
        values = report_run_page(self._store, self._flows(), request.path_params["run"], asked)
        if values is None:
            raise NotFoundError(request.path_params["run"])
        return "report_run.html.j2", values

    def _report_file(self, request: Request) -> Response:
        """A file of a scheduled report as it was made."""
        found = report_file(self._store, self._flows(), request.path_params["run"], request.path_params["format"])
        return self.failure(request, 404, "missing") if found is None else found

    def _alerts(self, asked: PageRequest, _request: Request) -> tuple[str, dict[str, Any]]:
        return "alerts.html.j2", alerts_page(self._store, self._flows(), asked)

    def _alert(self, asked: PageRequest, request: Request) -> tuple[str, dict[str, Any]]:
        values = alert_page(self._store, self._flows(), request.path_params["alert"], asked)
        if values is None:
            raise NotFoundError(request.path_params["alert"])
        return "alert.html.j2", values | _name(request)

    def _improvements(self, asked: PageRequest, _request: Request) -> tuple[str, dict[str, Any]]:
        return "improvements.html.j2", improvements_page(self._store, self._flows(), asked)

    def _new_improvement(self, asked: PageRequest, request: Request) -> tuple[str, dict[str, Any]]:
        values = new_improvement_page(self._store, self._flows(), asked, access_of(request).scope)
        return "new_improvement.html.j2", values | _name(request)

    def _improvement(self, asked: PageRequest, request: Request) -> tuple[str, dict[str, Any]]:
        values = improvement_page(self._store, self._flows(), request.path_params["improvement"], asked)
        if values is None:
            raise NotFoundError(request.path_params["improvement"])
        return "improvement.html.j2", values | _name(request)

    def _silences(self, asked: PageRequest, request: Request) -> tuple[str, dict[str, Any]]:
        values = silences_page(self._store, self._flows(), asked, access_of(request).scope)
        return "silences.html.j2", values | _name(request)


def _name(request: Request) -> dict[str, str]:
    """What somebody who has not signed in was called last."""
    return {"name": request.cookies.get(NAME_COOKIE, "")}
