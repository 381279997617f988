"""The page of administrators that shows the audit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from ...metrics.configuration.config import Config
from ...metrics.store.audit import COMMAND_LINE, AuditFilter, AuditRow, audit_actions, read_audit
from ...metrics.store.store import Store
from ..pages.request import SPANS, PageRequest, read_request, remember_language
from ..pages.table import Cells, Column, Row, Table
from ..pages.table_files import table_response
from ..rendering import render
from ..wording import Wording
from .identity import access_of
from .words import action_words

__all__ = ["AUDIT_FILTERS", "AuditPage"]

AUDIT_FILTERS = ("actor", "action", "subject", "before")
_SHOWN = 100
_EXPORTED = 50_000


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Answers administrators; reads the whole store, whatever the scope, because routes ask for the permission.

    Attributes:
        store: Where the audit is.
        config: Gives the configuration in force.
        clock: Seconds since 1970 UTC.
    """

    store: Store
    config: Callable[[], Config]
    clock: Callable[[], float]

    def routes(self) -> list[Route]:
        """The route."""
        return [Route("/audit", self._audit)]

    def _audit(self, request: Request) -> Response:
        try:
            asked = self._asked(request, AUDIT_FILTERS, renewed="before" not in request.query_params)
            wanted = _filter(asked)
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", 400)
        limit = _EXPORTED if asked.table else _SHOWN
        with self.store.connection() as connection:
            rows = read_audit(connection, wanted, limit + 1)
            actions = audit_actions(connection)
        table = _audit_table(rows[:limit], asked.wording)
        more = asked.link("/audit", before=str(rows[limit - 1].id)) if len(rows) > limit else ""
        values = {
            "table": table,
            "more": more,
            "newest": asked.link("/audit", before=None) if wanted.before else "",
            "actions": [(action, action_words(action, asked.wording)) for action in actions],
        }
        return self._answer(request, asked, "audit.html.j2", table, values)

    def _asked(self, request: Request, own: tuple[str, ...] = (), *, renewed: bool = False) -> PageRequest:
        window, now = self.store.settings.window_seconds, self.clock()
        return read_request(request, self.config(), window_seconds=window, now=now, own=own, renewed=renewed)

    def _answer(
        self, request: Request, asked: PageRequest, template: str, table: Table, values: Mapping[str, Any]
    ) -> Response:
        if asked.table:
            return table_response(table, asked)
        page = render(template, asked.wording, page=asked, spans=SPANS, access=access_of(request), **values)
        return remember_language(HTMLResponse(page), request, asked)


def _filter(asked: PageRequest) -> AuditFilter:
    before = asked.own.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) < 19):
        raise ValueError(f"before={before!r} is not the number of an entry; follow the links of the page")
    actor, action, subject = (
        asked.own.get(name, "").replace("\0", "").strip() or None for name in ("actor", "action", "subject")
    )
    return AuditFilter(asked.period.start, asked.period.end, actor, action, subject, int(before) if before else None)


def _audit_table(rows: list[AuditRow], w: Wording) -> Table:
    text, cells = w.translator.text, Cells(w)
    columns = (text("Time"), text("Who"), text("What"), text("Of what"), text("Details"), text("From where"))
    return Table(
        "audit",
        text("Audit"),
        tuple(Column(heading) for heading in columns),
        tuple(
            Row((
                cells.time(row.at),
                cells.words(row.actor or "–"),
                cells.words(action_words(row.action, w), style="nowrap"),
                cells.words(row.subject, _subject_page(row)),
                cells.words(_details(row.details)),
                cells.words(text("command line") if row.address == COMMAND_LINE else row.address, style="nowrap"),
            ))
            for row in rows
        ),
        empty=text("Nothing was done in this period that fits."),
    )  # fmt: skip


def _subject_page(row: AuditRow) -> str:
    """Where what was done something to is shown; empty if nowhere."""
    if row.action in ("acknowledge", "assign", "comment", "accept"):
        return f"/alerts/{row.subject}"
    if row.action.startswith("improvement "):
        return f"/improvements/{row.subject}"
    if row.action == "report asked for":
        return f"/reports/{row.subject}"
    return "/silences" if row.action.startswith(("silence", "incident")) else ""


def _details(details: Mapping[str, Any]) -> str:
    said = [
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in details.items()
        if value not in ("", None, {}, [])
    ]
    return "; ".join(said)
