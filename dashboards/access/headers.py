"""Headers that every answer carries: what browsers must not do with it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["CONTENT_POLICY", "SafeHeaders"]

CONTENT_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Styles and scripts of our own files only; nothing inline, nothing from elsewhere, in nobody's frame."""

_HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_SECURE = {"strict-transport-security": "max-age=31536000"}
_UNCACHED = {"cache-control": "no-store"}


class SafeHeaders:
    """Adds the headers to every answer; figures are kept in no cache, styles and pictures may be."""

    def __init__(self, app: ASGIApp, secure: Callable[[], bool]) -> None:
        self._app, self._secure = app, secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        headers = _HEADERS | (_SECURE if self._secure() else {})
        if not str(scope.get("path", "")).startswith("/static/"):
            headers = headers | _UNCACHED

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in headers.items()
                        if name.encode() not in present
                    ),
                ]
            await send(message)

        await self._app(scope, receive, add if scope["type"] == "http" else send)
