"""Forms that change something: only this site's own, small, and with the token of the visitor's cookie."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request

from ...metrics.configuration.http import HttpConfig

__all__ = ["FormError", "form_fields", "parse_form", "read_body", "refuse_foreign"]

BODY_LIMIT: Final = 32_768
_FIELDS_LIMIT = 50


class FormError(ValueError):
    """The form is refused.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.status = status


def refuse_foreign(request: Request, http: HttpConfig | None) -> None:
    """Refuse what another site sends in a visitor's name, by the browser's own word on where it comes from.

    Without ``http`` a program sends it, which no site can make do so: it must be a form all the same.

    Raises:
        FormError: it comes from elsewhere, or is no form.
    """
    origin = request.headers.get("origin")
    if http is not None and origin is not None and not _is_own(origin, request, http):
        raise FormError("the form is not from this site")
    if http is not None and request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise FormError("the form is not from this site")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise FormError("what changes something must be a form: application/x-www-form-urlencoded", 415)


def _is_own(origin: str, request: Request, http: HttpConfig) -> bool:
    if http.public_url is not None and origin == http.public_url:
        return True
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc == request.headers.get("host")


async def read_body(request: Request) -> bytes:
    """The body.

    Raises:
        FormError: it is too large.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            raise FormError(f"the form is larger than {BODY_LIMIT} bytes", 413)
    return bytes(body)


def parse_form(body: bytes, token: str | None) -> dict[str, str]:
    """The fields as they came; ``token`` is what they must carry, ``None`` of a program, which has none.

    Raises:
        FormError: it is malformed, or does not carry the token.
    """
    try:
        parsed = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS_LIMIT)
    except ValueError:
        raise FormError("the form cannot be read", 400) from None
    fields = {name: values[-1] for name, values in parsed.items()}
    if token is None:
        fields.pop("token", None)
        return fields
    if not token or not hmac.compare_digest(token.encode(), fields.pop("token", "").encode()):
        raise FormError("the form is out of date: load the page again")
    return fields


def form_fields(request: Request) -> Mapping[str, str]:
    """The fields of the form that the access control has accepted, trimmed, passwords excepted; lines in one."""
    fields: Mapping[str, str] = getattr(request.state, "form", {})
    return {
        name: value if "password" in name else "".join(c if c.isprintable() else " " for c in value).strip()
        for name, value in fields.items()
    }
