"""Sessions: a random identifier that only the browser has, kept as a hash, with an idle and an absolute limit."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable

from ...metrics.configuration.config import Config
from ...metrics.store.accounts import (
    Account,
    add_session,
    end_session,
    expire_sessions,
    read_session,
    touch_session,
)
from ...metrics.store.store import Store

__all__ = ["Sessions", "form_token", "new_identifier", "session_hash"]

_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{43}")
_TOUCH_SECONDS = 30.0


def new_identifier() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def session_hash(identifier: str) -> bytes:
    """What is kept of an identifier; it is random, so a plain hash is enough."""
    return hashlib.sha256(identifier.encode()).digest()


def form_token(identifier: str) -> str:
    """What forms of this browser carry: follows from its cookie, and does not give it away."""
    digest = hmac.new(identifier.encode(), b"cxgauge form", hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


class Sessions:
    """Begins, finds and ends sessions; safe from any thread."""

    def __init__(self, store: Store, config: Callable[[], Config], clock: Callable[[], float]) -> None:
        self._store, self._config, self._clock = store, config, clock

    def begin(self, account: Account, address: str, replaced: bytes = b"") -> str:
        """Begin one after sign-in, ending the one this browser had; gives the identifier for its cookie."""
        identifier, now = new_identifier(), self._clock()
        limits = self._config().sign_in
        with self._store.connection() as connection, connection.transaction():
            if replaced:
                end_session(connection, replaced)
            expire_sessions(connection, now - limits.idle_limit, now - limits.session_limit)
            add_session(connection, session_hash(identifier), account.id, now, address)
        return identifier

    def find(self, identifier: str, *, active: bool) -> Account | None:
        """Whose session it is; ``None`` when it is over, or its account is disabled.

        Args:
            identifier: What the cookie says.
            active: Whether a person asks: what a page does by itself does not keep the session alive.
        """
        if not _IDENTIFIER.fullmatch(identifier):
            return None
        hashed, now = session_hash(identifier), self._clock()
        limits = self._config().sign_in
        with self._store.connection() as connection:
            found = read_session(connection, hashed)
            if found is None or found.account.disabled_at is not None:
                return None
            if now - found.seen_at >= limits.idle_limit or now - found.created_at >= limits.session_limit:
                end_session(connection, hashed)
                return None
            if active and now - found.seen_at >= _TOUCH_SECONDS:
                touch_session(connection, hashed, now)
        return found.account

    def end(self, hashed: bytes) -> None:
        """End one."""
        with self._store.connection() as connection:
            end_session(connection, hashed)
