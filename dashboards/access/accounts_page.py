"""The page of administrators that shows accounts, and makes and revokes the tokens of programs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from ...metrics.store.accounts import Account, read_accounts
from ...metrics.store.scope import DataScope
from ...metrics.store.service_tokens import ServiceToken, read_service_tokens
from ..pages.deeds import NAME_COOKIE, Deed, Forms, form_answer
from ..pages.request import PageRequest, read_request, remember_language
from ..pages.table import Cells, Column, Row, Table
from ..pages.table_files import table_response
from ..rendering import render
from ..wording import NOTHING, Wording
from .forms import FormError
from .identity import Access, access_of
from .permissions import Role
from .service_tokens import TOKEN_ROLES, make_token, revoke_token
from .words import role_words, scope_words

__all__ = ["AccountsPage"]

_DAYS = (30, 90, 180, 365)
_VALUES_MOST = 300
_DAY_DEFAULT = 90


class AccountsPage(Forms):
    """Answers administrators; reads the whole store, whatever the scope, because routes ask for the permission."""

    __slots__ = ()

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/accounts", self._show),
            Route("/accounts/tokens", self._make, methods=["POST"]),
            Route("/accounts/tokens/{service}/revoke", form_answer(self._revoke, self.refuse), methods=["POST"]),
        ]

    def _show(self, request: Request) -> Response:
        try:
            asked = self._asked(request)
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", 400)
        accounts, tokens = self._read()
        tables = [_accounts_table(accounts, asked.wording), _tokens_table(tokens, asked)]
        if asked.table:
            table = next((one for one in tables if asked.table in (one.name, "first")), None)
            return PlainTextResponse("no such table\n", 404) if table is None else table_response(table, asked)
        page = self._page(asked, access_of(request), tables, tokens, request.cookies.get(NAME_COOKIE, ""))
        return remember_language(HTMLResponse(page), request, asked)

    async def _make(self, request: Request) -> Response:
        """Make a token and show it, this once; a reload asks the browser's owner whether to make another."""

        def make(deed: Deed) -> Response:
            text, token = self._make_token(deed)
            if "text/html" not in request.headers.get("accept", ""):
                return PlainTextResponse(f"{text}\n")
            asked = replace(self._asked(request), path="/accounts")
            accounts, tokens = self._read()
            tables = [_accounts_table(accounts, asked.wording), _tokens_table(tokens, asked)]
            return HTMLResponse(self._page(asked, deed.access, tables, tokens, deed.by, made=token, text=text))

        return await form_answer(make, self.refuse)(request)

    def _make_token(self, deed: Deed) -> tuple[str, ServiceToken]:
        flows = self.flows()
        flow = deed.field("flow")
        if flow and flow not in flows:
            raise FormError(f"there is no flow {flow!r}", 404)
        pairs = parse_qsl(deed.field("of"), max_num_fields=10)
        declared = {one.name for each in flows.values() for one in each.dimensions}
        for name, _ in pairs:
            if name not in declared:
                raise FormError(f"dimension {name!r} is not declared", 400)
        scope = DataScope.of([flow] if flow else None, {name: [value] for name, value in pairs})
        days = deed.needed("days")
        if not (days.isascii() and days.isdigit()):
            raise FormError(f"days={days!r} is not a number of days; write e.g. 90", 400)
        with self.store.connection() as connection, connection.transaction():
            return make_token(
                connection, deed.needed("service").lower(), deed.needed("role"), scope, int(days),
                by=deed.by, at=self.clock(), address=deed.access.address,
            )  # fmt: skip

    def _revoke(self, deed: Deed) -> Response:
        wanted = deed.place["service"]
        with self.store.connection() as connection, connection.transaction():
            if revoke_token(connection, wanted, by=deed.by, at=self.clock(), address=deed.access.address) is None:
                raise FormError(f"no token {wanted!r} is in use", 404)
        return deed.back_to("/accounts#tokens")

    def _read(self) -> tuple[list[Account], list[ServiceToken]]:
        with self.store.connection() as connection:
            return read_accounts(connection), read_service_tokens(connection)

    def _page(
        self,
        asked: PageRequest,
        access: Access,
        tables: list[Table],
        tokens: list[ServiceToken],
        name: str,
        *,
        made: ServiceToken | None = None,
        text: str = "",
    ) -> str:
        w, flows = asked.wording, self.flows()
        pairs = [(one.name, value) for each in flows.values() for one in each.dimensions for value in one.values or ()]
        values: dict[str, Any] = {
            "t": {table.name: table for table in tables},
            "good": [one for one in tokens if one.revoked_at is None],
            "made": made,
            "token": text,
            "name": name,
            "roles": [(role.value, role_words(role, w)) for role in TOKEN_ROLES],
            "flow_names": {key: one.title.in_language(w.language) for key, one in flows.items()},
            "values": [(urlencode([pair]), f"{pair[0]}={pair[1]}") for pair in dict.fromkeys(pairs)][:_VALUES_MOST],
            "days": [(str(days), w.length(days * 86_400)) for days in _DAYS],
            "day_default": str(_DAY_DEFAULT),
        }
        return render("accounts.html.j2", w, page=asked, access=access, **values)

    def _asked(self, request: Request) -> PageRequest:
        window, now = self.store.settings.window_seconds, self.clock()
        return read_request(request, self.config(), window_seconds=window, now=now)


def _accounts_table(accounts: list[Account], w: Wording) -> Table:
    text, cells = w.translator.text, Cells(w)
    columns = (
        text("Name"), text("Role"), text("Data"), text("Signs in"), text("Last sign-in"), text("State"),
    )  # fmt: skip
    rows = tuple(
        Row((
            cells.words(one.name),
            cells.words(role_words(Role(one.role), w)),
            cells.words(scope_words(one.scope, w)),
            cells.words(one.issuer or text("with a password")),
            cells.time(one.signed_in_at),
            cells.words(
                text("disabled since {at}", at=w.time(one.disabled_at // 1)) if one.disabled_at else text("in use")
            ),
        ))
        for one in accounts
    )  # fmt: skip
    note = text("Accounts are made and changed on the command line: cxgauge user --help")
    return Table("accounts", text("Accounts"), tuple(Column(heading) for heading in columns), rows, note=note)


def _tokens_table(tokens: list[ServiceToken], asked: PageRequest) -> Table:
    w = asked.wording
    text, cells = w.translator.text, Cells(w)

    def state(one: ServiceToken) -> tuple[str, str]:
        if one.revoked_at is not None:
            return text("revoked on {at}", at=w.time(one.revoked_at // 1)), "none"
        return (text("in use"), "fine") if one.is_good(asked.now) else (text("expired"), "missed")

    rows = tuple(
        Row(
            (
                cells.words(one.name),
                cells.words(one.id, style="mono"),
                cells.words(role_words(Role(one.role), w)),
                cells.words(scope_words(one.scope, w)),
                cells.words(state(one)[0], style=state(one)[1]),
                cells.time(one.expires_at),
                cells.time(one.used_at),
                cells.words(one.used_from or NOTHING, style="nowrap"),
                cells.words(one.created_by),
                cells.time(one.created_at),
            )
        )
        for one in tokens
    )
    columns = (
        Column(text("Program")),
        Column(text("Token")),
        Column(text("Role")),
        Column(text("Data")),
        Column(text("State")),
        Column(text("Ends")),
        Column(text("Last used")),
        Column(text("From where")),
        Column(text("Made by"), wide=True),
        Column(text("Made"), wide=True),
    )
    empty = text("No program has a token.")
    note = text("A token is shown once, when it is made. Whoever has it may do what its role may, until it ends.")
    return Table("tokens", text("Tokens of programs"), columns, rows, empty=empty, note=note)
