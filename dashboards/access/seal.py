"""Seals what an attempt to sign in must bring back into a cookie: readable by its browser, changed by nobody."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import asdict

from .openid import Attempt

__all__ = ["Seal"]

_LIMIT = 4_000


class Seal:
    """Seals with a key of this process: an attempt that spans a restart begins again."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def close(self, attempt: Attempt) -> str:
        """The cookie's value."""
        body = base64.urlsafe_b64encode(json.dumps(asdict(attempt)).encode()).decode()
        return f"{body}.{self._mark(body)}"

    def open(self, text: str) -> Attempt | None:
        """The attempt; ``None`` when it was not sealed here."""
        body, _, mark = text.partition(".")
        if len(text) > _LIMIT or not hmac.compare_digest(mark.encode(), self._mark(body).encode()):
            return None
        return Attempt(**json.loads(base64.urlsafe_b64decode(body)))

    def _mark(self, body: str) -> str:
        return hmac.new(self._key, body.encode(), hashlib.sha256).hexdigest()
