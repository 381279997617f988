"""The access control before all routes: who asks, may they, and is it them who ask. Refuses what no rule allows."""

from __future__ import annotations

import hmac
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil
from urllib.parse import urlencode

import psycopg
import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...metrics.configuration.config import Config
from ...metrics.configuration.secret import SecretError
from ...metrics.configuration.sign_in import SignInConfig
from ...metrics.store.accounts import Account
from ...metrics.store.scope import EVERYTHING
from .address import came_by_proxy, client_address, is_local, is_within, names_loopback
from .forms import FormError, parse_form, read_body, refuse_foreign
from .identity import Access
from .permissions import ROUTES, Permission, Role, Rule
from .service_tokens import ServiceTokens, TokenRefused
from .sessions import Sessions, form_token, new_identifier, session_hash

__all__ = ["AccessControl", "cookie_name", "route_of", "set_cookie"]

_log = structlog.get_logger("cxgauge.access")
_SAFE = ("GET", "HEAD", "OPTIONS")
Failure = Callable[[Request, int, str], Response]


def cookie_name(kind: str, config: Config) -> str:
    """The name of a cookie; over HTTPS with the prefix that keeps other hosts and plain HTTP from setting it."""
    return f"__Host-cxgauge_{kind}" if config.http.is_secure else f"cxgauge_{kind}"


def set_cookie(response: Response, kind: str, value: str, config: Config) -> None:
    """Set a cookie that ends with the browser, or (empty value) remove it."""
    name, secure = cookie_name(kind, config), config.http.is_secure
    if value:
        response.set_cookie(name, value, path="/", httponly=True, samesite="lax", secure=secure)
    else:
        response.delete_cookie(name, path="/", httponly=True, samesite="lax", secure=secure)


def route_of(routes: Sequence[BaseRoute], scope: Scope) -> tuple[str, str] | None:
    """Method and path, as :data:`ROUTES` has them, of the route that will answer; ``None`` if none will."""
    for route in routes:
        match, _ = route.matches(scope)
        if match is Match.FULL and isinstance(route, (Route, Mount)):
            method = str(scope["method"])
            return "GET" if method in _SAFE else method, route.path
        if match is Match.FULL:
            return str(scope["method"]), ""
    return None


class AccessControl:
    """ASGI middleware; everything passes here.

    Args:
        app: What answers.
        routes: Its routes.
        config: Gives the configuration in force.
        sessions: Where sessions are.
        tokens: Knows programs by their tokens.
        failure: Makes a page that says what went wrong.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Sequence[BaseRoute],
        config: Callable[[], Config],
        sessions: Sessions,
        tokens: ServiceTokens,
        failure: Failure,
    ) -> None:
        self._app, self._routes, self._config = app, routes, config
        self._sessions, self._tokens, self._failure = sessions, tokens, failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] != "http":  # nothing here speaks WebSocket
            return
        request = Request(scope, receive)
        try:
            refusal = await self._admit(request)
        except psycopg.Error as error:
            _log.warning("page without database", path=request.url.path, error=str(error).strip())
            refusal = self._failure(request, 503, "database")
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._answer(request, scope, receive, send)

    async def _answer(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        body: bytes | None = getattr(request.state, "body", None)
        again = receive if body is None else _replay(body, receive)
        try:
            program = getattr(getattr(request.state, "access", None), "is_program", False)
            answer = _without_cookies(watched) if program else _with_cookie(request, watched, self._config())
            await self._app(scope, again, answer)
        except Exception as error:
            trace = "".join(traceback.format_exception(error))  # without local variables: one may be a password
            _log.error("page failed", path=request.url.path, trace=trace)
            if begun:
                raise
            await self._failure(request, 500, "fault")(scope, receive, send)  # here, so that it has our headers too

    async def _admit(self, request: Request) -> Response | None:
        """Find out who asks and whether they may; the answer if they may not."""
        config, found = self._config(), route_of(self._routes, request.scope)
        if found is None:
            rule: Permission | Rule | None = Rule.PUBLIC  # there is nothing to see
        else:
            rule = ROUTES.get(found)
        if not config.sign_in.is_required and rule is not Rule.PUBLIC and (refusal := _refuse_strangers(request)):
            return refusal
        program = None if rule in (Rule.PUBLIC, Rule.MACHINE) else _bearer(request)
        found_out = await (self._identify(request, config) if program is None else self._program(request, program))
        if isinstance(found_out, Response):
            return found_out
        access = request.state.access = found_out
        if rule is Rule.MACHINE:
            return self._admit_machine(request, config)
        if refusal := self._refuse(request, rule, access):
            return refusal
        return None if request.method in _SAFE else await self._admit_form(request, config, access)

    async def _program(self, request: Request, token: str) -> Access | Response:
        """Which program asks, by its token alone: cookies do not count beside one."""
        address = client_address(request, self._config().http)
        found = await run_in_threadpool(self._tokens.find, token, address)
        if isinstance(found, TokenRefused):
            _log.warning("a service token was refused", reason=found.reason, address=address)
            headers = {"www-authenticate": 'Bearer error="invalid_token"'} if not found.wait_seconds else {}
            if found.wait_seconds:
                headers["retry-after"] = str(ceil(found.wait_seconds))
            return PlainTextResponse(f"{found.reason}\n", found.status, headers=headers)
        return Access(f"service:{found.name}", Role(found.role), found.scope, "", address, is_program=True)

    def _refuse(self, request: Request, rule: Permission | Rule | None, access: Access) -> Response | None:
        if rule is None:
            _log.error("a route has no rule and is refused", path=request.url.path)
            return self._failure(request, 403, "forbidden")
        if rule is not Rule.PUBLIC and access.role is None:
            return _ask_to_sign_in(request)
        if isinstance(rule, Permission) and not access.may(rule):
            return self._failure(request, 403, "forbidden")
        if rule is Rule.SIGNED_IN and access.is_program:
            return self._failure(request, 403, "forbidden")  # a program has no account, password or session
        return None

    async def _identify(self, request: Request, config: Config) -> Access:
        address = client_address(request, config.http)
        identifier = request.cookies.get(cookie_name("session", config), "")
        account = None
        if identifier and config.sign_in.is_required:
            active = request.headers.get("sec-fetch-mode", "navigate") == "navigate"
            account = await run_in_threadpool(self._sessions.find, identifier, active=active)
            if account is not None and not _still_signs_in(account, config.sign_in):
                account = None
        if account is not None:
            return Access(
                account.name,
                Role(account.role),
                account.scope,
                form_token(identifier),
                address,
                account_id=account.id,
                session_hash=session_hash(identifier),
                has_password=account.password is not None,
            )
        visitor = request.cookies.get(cookie_name("form", config), "")
        if len(visitor) != len(new_identifier()):
            visitor = request.state.new_visitor = new_identifier()
        nobody = Access("", None, EVERYTHING, form_token(visitor), address)
        return nobody if config.sign_in.is_required else replace(nobody, role=Role.ADMIN, is_open=True)

    def _admit_machine(self, request: Request, config: Config) -> Response | None:
        """Programs: those of this machine, of declared networks, and those that have the token."""
        http = config.http
        if (
            not config.sign_in.is_required
            or is_local(request, http)
            or is_within(client_address(request, http), http.metrics_networks)
        ):
            return None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if http.metrics_token is not None and scheme.lower() == "bearer":
            try:
                if hmac.compare_digest(given.strip().encode(), http.metrics_token.reveal_bytes()):
                    return None
            except SecretError as error:
                _log.error("http.metrics_token cannot be read", error=str(error))
        remedy = "send the token of http.metrics_token, or add your network to http.metrics_networks\n"
        return PlainTextResponse(remedy, 401, headers={"www-authenticate": "Bearer"})

    async def _admit_form(self, request: Request, config: Config, access: Access) -> Response | None:
        try:
            refuse_foreign(request, None if access.is_program else config.http)
            body = await read_body(request)
            request.state.form = parse_form(body, None if access.is_program else access.form_token)
        except FormError as error:
            return PlainTextResponse(f"{error}\n", error.status)
        request.state.body = body
        return None


def _still_signs_in(account: Account, sign_in: SignInConfig) -> bool:
    """Whether the way by which the account came in is still open after a reload."""
    if account.issuer is None:
        return sign_in.accounts
    return sign_in.openid is not None and sign_in.openid.issuer == account.issuer


def _refuse_strangers(request: Request) -> Response | None:
    """Without sign-in only this machine: no proxy in between, and no foreign name that leads here."""
    if came_by_proxy(request):
        text = "nobody has to sign in here, so nothing is shown through a proxy; set sign_in in the configuration\n"
        return PlainTextResponse(text, 403)
    if not names_loopback(request):
        return PlainTextResponse("open this page by 127.0.0.1 or localhost\n", 403)
    return None


def _ask_to_sign_in(request: Request) -> Response:
    if request.method in _SAFE and "text/html" in request.headers.get("accept", ""):
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        wanted = {"next": target} if target != "/" else {}
        if language := request.query_params.get("lang", "")[:8]:
            wanted["lang"] = language
        return RedirectResponse("/sign-in" + (f"?{urlencode(wanted)}" if wanted else ""), 303)
    return PlainTextResponse("sign in first: /sign-in\n", 401)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once more, for those who read it themselves."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _bearer(request: Request) -> str | None:
    """The token that a program sends; ``None`` when it is no program that asks."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def _without_cookies(send: Send) -> Send:
    """Programs get no cookies."""

    async def clean(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [pair for pair in message["headers"] if pair[0].lower() != b"set-cookie"]
        await send(message)

    return clean


def _with_cookie(request: Request, send: Send, config: Config) -> Send:
    """Give a visitor the cookie that its forms' token follows from."""
    visitor: str | None = getattr(request.state, "new_visitor", None)
    if visitor is None or request.url.path.startswith(("/static/", "/-/", "/metrics")):
        return send
    carrier = Response()
    set_cookie(carrier, "form", visitor, config)
    cookie = next(value for name, value in carrier.raw_headers if name == b"set-cookie")

    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"set-cookie", cookie)]
        await send(message)

    return add
