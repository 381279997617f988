"""What people do on a page: acknowledge, assign, comment on or accept an alert.

There is no sign-in yet, so actions are taken on the loopback only, where whoever reaches the page may use the command
line as well. A page of another site cannot act in a visitor's name: the browser's own word on where a request comes
from is checked, a token must stand in cookie and form alike, and the name of the host must be one of the loopback's.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from ...alerts.actions import Actions
from ...alerts.evaluation_settings import EvaluationSettings
from ...alerts.installation import make_announcer
from ...alerts.lifecycle import UnknownAlertError
from ...metrics.configuration.config import Config
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.store import Store

__all__ = ["FORM_COOKIE", "NAME_COOKIE", "actions_allowed", "form_token", "perform", "read_form"]

FORM_COOKIE = "cxgauge_form"
NAME_COOKIE = "cxgauge_name"
_BODY_LIMIT = 16_384
_TEXT_LIMIT = 1_000
_NAME_LIMIT = 64


def actions_allowed(config: Config) -> bool:
    """Whether pages may change anything: only when nobody but this machine reaches them."""
    return _is_loopback(config.http.host)


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def form_token(request: Request) -> str:
    """The token that cookie and form must share; a new one if the visitor has none."""
    known = request.cookies.get(FORM_COOKIE, "")
    return known if len(known) == 43 else secrets.token_urlsafe(32)


async def read_form(request: Request) -> dict[str, str] | Response:
    """The fields of a form that this very site sent, or the refusal."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        return PlainTextResponse("the form is not from this site\n", 403)
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return PlainTextResponse("the form is not from this site\n", 403)
    if not _is_loopback(request.url.hostname or ""):
        return PlainTextResponse("open this page by 127.0.0.1 or localhost to act on it\n", 403)
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_LIMIT:
            return PlainTextResponse(f"the form is larger than {_BODY_LIMIT} bytes\n", 413)
    fields = {name: values[-1].strip() for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    token = request.cookies.get(FORM_COOKIE, "")
    if not token or not hmac.compare_digest(token.encode(), fields.get("token", "").encode()):
        return PlainTextResponse("the form is out of date: load the page again\n", 403)
    return fields


def perform(
    fields: Mapping[str, str],
    alert: str,
    *,
    store: Store,
    config: Config,
    flows: Mapping[str, FlowSpec],
    clock: Callable[[], float],
    back: str,
) -> Response:
    """Do what the form asks and send the visitor back to the alert."""
    if not actions_allowed(config):
        return PlainTextResponse(f"http.host={config.http.host}: act by `cxgauge alerts` where it is not local\n", 403)
    by, note = fields.get("by", "")[:_NAME_LIMIT], fields.get("note", "")[:_TEXT_LIMIT]
    if not by:
        return PlainTextResponse("by='' is empty; say who you are\n", 400)
    actions = Actions(store, flows, EvaluationSettings.of(config).lifecycle, make_announcer(config, flows), clock)
    try:
        match fields.get("action"):
            case "acknowledge":
                actions.acknowledge(alert, by, note)
            case "assign" if fields.get("to"):
                actions.assign(alert, fields["to"][:_NAME_LIMIT], by)
            case "comment" if note:
                actions.comment(alert, note, by)
            case "accept":
                actions.accept(alert, by, note)
            case other:
                return PlainTextResponse(f"action={other!r} lacks what it needs; go back and fill it in\n", 400)
    except UnknownAlertError as error:
        return PlainTextResponse(f"{error}\n", 404)
    response = RedirectResponse(back, 303)
    response.set_cookie(NAME_COOKIE, by, max_age=31_536_000, httponly=True, samesite="strict")
    return response
