"""The pages of sign-in: the form, the way to the provider and back, sign-out, and one's own account."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from ...metrics.configuration.config import Config
from ...metrics.store.accounts import Account, any_account, read_account
from ...metrics.store.audit import audit
from ...metrics.store.store import Store
from ..pages.request import LANGUAGE_COOKIE, PageRequest, read_request
from ..rendering import render
from .control import cookie_name, set_cookie
from .forms import form_fields
from .identity import access_of
from .openid import OpenIdError, Refusal
from .passwords import BusyError
from .seal import Seal
from .sessions import Sessions
from .sign_in import REDIRECT_PATH, SignIn
from .target import safe_target
from .words import provider_words, refused_words, role_words, scope_words

__all__ = ["AccessPages"]

_YEAR_SECONDS = 365 * 86_400
_log = structlog.get_logger("cxgauge.access")


class AccessPages:
    """Answers what concerns signing in; one object for all, safe from any thread."""

    def __init__(
        self,
        store: Store,
        config: Callable[[], Config],
        clock: Callable[[], float],
        sign_in: SignIn,
        sessions: Sessions,
    ) -> None:
        self._store, self._config, self._clock = store, config, clock
        self._sign_in, self._sessions = sign_in, sessions
        self._seal = Seal()

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/sign-in", self._form),
            Route("/sign-in", self._by_password, methods=["POST"]),
            Route("/sign-in/openid", self._to_provider),
            Route(REDIRECT_PATH, self._from_provider),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route("/account", self._account),
            Route("/account/password", self._password, methods=["POST"]),
        ]

    # -- signing in -------------------------------------------------------------------------------------------

    def _form(self, request: Request) -> Response:
        access = access_of(request)
        target = safe_target(request.query_params.get("next", "/"))
        if access.role is not None:
            return RedirectResponse(target, 303)
        return self._show_form(request, target)

    def _show_form(self, request: Request, target: str, fault: str = "", status: int = 200, name: str = "") -> Response:
        config = self._config()
        asked = self._asked(request)
        provider = config.sign_in.openid
        title = provider.title.in_language(asked.wording.language) if provider and provider.title else ""
        with self._store.connection() as connection:
            nobody = config.sign_in.accounts and not any_account(connection)
        return self._page(
            request,
            "sign_in.html.j2",
            replace(asked, path="/sign-in", own={"next": target} if target != "/" else {}),
            status,
            target=target,
            fault=fault,
            name=name,
            accounts=config.sign_in.accounts,
            provider=provider is not None,
            title=title,
            provider_link=f"/sign-in/openid?{urlencode({'next': target})}",
            nobody=nobody and provider is None,
        )

    def _by_password(self, request: Request) -> Response:
        access, fields = access_of(request), form_fields(request)
        target, name = safe_target(fields.get("next", "/")), fields.get("name", "")[:64]
        w = self._asked(request).wording
        try:
            found = self._sign_in.by_password(name, fields.get("password", ""), access.address)
        except BusyError as error:
            return PlainTextResponse(f"{error}\n", 503, headers={"retry-after": "5"})
        if isinstance(found, Account):
            return self._welcome(request, found, target)
        response = self._show_form(request, target, refused_words(found, w), 429 if found.wait_seconds else 403, name)
        if found.wait_seconds:
            response.headers["retry-after"] = str(max(1, round(found.wait_seconds)))
        return response

    def _welcome(self, request: Request, account: Account, target: str) -> Response:
        access, config = access_of(request), self._config()
        identifier = self._sessions.begin(account, access.address, access.session_hash)
        _log.info("signed in", account=account.name, address=access.address)
        response = RedirectResponse(target, 303)
        set_cookie(response, "session", identifier, config)
        set_cookie(response, "openid", "", config)
        return response

    def _to_provider(self, request: Request) -> Response:
        target = safe_target(request.query_params.get("next", "/"))
        try:
            url, attempt = self._sign_in.provider().begin(target)
        except OpenIdError as error:
            return self._refused_by_provider(request, error, target)
        response = RedirectResponse(url, 303)
        set_cookie(response, "openid", self._seal.close(attempt), self._config())
        return response

    def _from_provider(self, request: Request) -> Response:
        config, address = self._config(), access_of(request).address
        attempt = self._seal.open(request.cookies.get(cookie_name("openid", config), ""))
        target = attempt.target if attempt else "/"
        try:
            person = self._sign_in.provider().finish(attempt, dict(request.query_params))
            account = self._sign_in.by_provider(person, address)
        except OpenIdError as error:
            return self._refused_by_provider(request, error, target)
        return self._welcome(request, account, target)

    def _refused_by_provider(self, request: Request, error: OpenIdError, target: str) -> Response:
        address = access_of(request).address
        _log.warning("sign-in at the provider failed", reason=str(error), address=address)
        if error.refusal != Refusal.DISABLED:  # that has been noted with the account's name
            self._sign_in.failed_at_provider(str(error), address)
        response = self._show_form(request, target, provider_words(error.refusal, self._asked(request).wording), 403)
        set_cookie(response, "openid", "", self._config())
        return response

    # -- signed in --------------------------------------------------------------------------------------------

    def _sign_out(self, request: Request) -> Response:
        access, config = access_of(request), self._config()
        if access.session_hash:
            self._sessions.end(access.session_hash)
            with self._store.connection() as connection:
                audit(connection, access.name, "sign-out", access.name, {}, access.address)
        response = RedirectResponse("/sign-in" if config.sign_in.is_required else "/", 303)
        set_cookie(response, "session", "", config)
        set_cookie(response, "form", "", config)
        return response

    def _account(self, request: Request) -> Response:
        return self._show_account(request)

    def _show_account(self, request: Request, fault: str = "", *, done: bool = False, status: int = 200) -> Response:
        access, asked = access_of(request), self._asked(request)
        role = role_words(access.role, asked.wording) if access.role else ""
        return self._page(
            request, "account.html.j2", replace(asked, path="/account"), status, role=role,
            data=scope_words(access.scope, asked.wording), fault=fault, done=done,
            fewest=self._config().sign_in.password_length,
        )  # fmt: skip

    def _password(self, request: Request) -> Response:
        access, fields, w = access_of(request), form_fields(request), self._asked(request).wording
        with self._store.connection() as connection:
            account = read_account(connection, access.name) if access.has_password else None
        if account is None:
            return PlainTextResponse("this account has no password here\n", 400)
        new = fields.get("new_password", "")
        if new != fields.get("repeated_password", ""):
            return self._show_account(request, w.translator.text("The new passwords differ."), status=400)
        try:
            refused = self._sign_in.change_password(
                account, fields.get("current_password", ""), new, access.session_hash, access.address
            )
        except BusyError as error:
            return PlainTextResponse(f"{error}\n", 503, headers={"retry-after": "5"})
        if refused is not None:
            return self._show_account(request, refused_words(refused, w), status=400)
        return self._show_account(request, done=True)

    # -- inside -----------------------------------------------------------------------------------------------

    def _asked(self, request: Request) -> PageRequest:
        """Language and zone; nothing else of the query counts here, so nothing in it can be wrong."""
        language = urlencode({"lang": request.query_params.get("lang", "")}).encode()
        plain = Request({**request.scope, "query_string": language})
        window, now = self._store.settings.window_seconds, self._clock()
        return read_request(plain, self._config(), window_seconds=window, now=now)

    def _page(self, request: Request, template: str, asked: PageRequest, status: int, **values: Any) -> Response:
        text = render(template, asked.wording, page=asked, access=access_of(request), **values)
        response = HTMLResponse(text, status)
        if "lang" in request.query_params:
            language = asked.wording.language
            response.set_cookie(LANGUAGE_COOKIE, language, max_age=_YEAR_SECONDS, httponly=True, samesite="lax")
        return response
