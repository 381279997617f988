"""Tokens of programs that read pages and reports: random, kept as hashes, with a role, a scope and an end.

A token is ``cxs_<id>_<secret>``: the id (8 hexadecimal digits) is public and names it in lists and the audit; the
secret has 256 random bits, which is why a plain SHA-256 of it is enough. A program sends it as ``Authorization:
Bearer`` and has neither cookies nor tokens of forms: browsers do not send this header by themselves, so no other site
can use it. No token lets anybody administer accounts.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from ...metrics.store.audit import audit
from ...metrics.store.connection import Connection
from ...metrics.store.scope import DataScope
from ...metrics.store.service_tokens import (
    ServiceToken,
    add_service_token,
    read_service_tokens,
    revoke_service_token,
    touch_service_token,
)
from ...metrics.store.store import Store
from .permissions import Role
from .sign_in import NAME_PATTERN
from .throttle import Throttle

__all__ = ["DAYS_MOST", "TOKEN_ROLES", "ServiceTokens", "TokenRefused", "make_token", "revoke_token"]

TOKEN_ROLES = (Role.VIEWER, Role.ANALYST, Role.ENGINEER)
"""What a program may be."""
DAYS_MOST = 400
"""No token lasts longer."""

_TOKEN = re.compile(r"cxs_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
_DAY_SECONDS = 86_400.0
_TOUCH_SECONDS = 60.0
_REQUESTS_AT_ONCE = 60.0
_REQUESTS_PER_SECOND = 5.0
_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class TokenRefused:
    """Why a request with a token is refused: ``status`` 401, or 429 with seconds to wait."""

    status: int
    reason: str
    wait_seconds: float = 0.0


class ServiceTokens:
    """Knows programs by their tokens; safe from any thread."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock
        self._throttle = Throttle(clock)
        self._allowance = _Allowance(clock)

    def find(self, text: str, address: str) -> ServiceToken | TokenRefused:
        """Whose token it is.

        Args:
            text: What was sent.
            address: From where.
        """
        match, now = _TOKEN.fullmatch(text), self._clock()
        token = None
        if match is not None:
            with self._store.connection() as connection:
                token = next(iter(read_service_tokens(connection, match[1])), None)
        if token is None or match is None or not hmac.compare_digest(_hash(match[2]), token.secret_hash):
            return self._refuse(token, "unknown token", address)
        if not token.is_good(now):
            return self._refuse(token, "token revoked" if token.revoked_at is not None else "token expired", address)
        if wait := self._allowance.take(token.id):
            return TokenRefused(429, f"more than {_REQUESTS_PER_SECOND:g} requests a second", wait)
        if token.used_at is None or now - token.used_at >= _TOUCH_SECONDS or token.used_from != address:
            self._touch(token, address, now)
        return token

    def _refuse(self, token: ServiceToken | None, reason: str, address: str) -> TokenRefused:
        """Note it, and slow whoever goes on guessing; what was sent is not kept."""
        known = token.id if token is not None else ""
        if wait := self._throttle.begin(known or "-", address):
            return TokenRefused(429, "too many requests with tokens that are not good", wait)
        with self._store.connection() as connection:
            audit(connection, "", "service token refused", known, {"reason": reason}, address)
        return TokenRefused(401, reason)

    def _touch(self, token: ServiceToken, address: str, now: float) -> None:
        with self._store.connection() as connection, connection.transaction():
            touch_service_token(connection, token.id, now, address)
            if token.used_from != address:
                before = {"before from": token.used_from} if token.used_from else {}
                audit(connection, f"service:{token.name}", "service token used", token.id, before, address)


class _Allowance:
    """A bucket a token: so many requests at once, so many a second; in bounded memory."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Take one; 0, or seconds until there is one."""
        with self._lock:
            now = self._clock()
            left, at = self._left.pop(key, (_REQUESTS_AT_ONCE, now))
            left = min(_REQUESTS_AT_ONCE, left + max(0.0, now - at) * _REQUESTS_PER_SECOND)
            wait = 0.0 if left >= 1 else (1 - left) / _REQUESTS_PER_SECOND
            self._left[key] = (left if wait else left - 1, now)
            while len(self._left) > _COUNTED:
                self._left.popitem(last=False)
            return float(ceil(wait)) if wait else 0.0


def make_token(
    connection: Connection,
    name: str,
    role: str,
    scope: DataScope,
    days: float,
    *,
    by: str,
    at: float,
    address: str,
) -> tuple[str, ServiceToken]:
    """Make a token in the caller's transaction.

    Returns:
        The token itself, which is nowhere else and cannot be had again, and what is kept of it.

    Raises:
        ValueError: the name cannot be one or is in use, the role is none for programs, or it would last too long.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise ValueError(
            f"name={name[:80]!r} cannot be one; use up to 64 lower-case letters, digits, . _ @ -, "
            "a letter or digit first"
        )
    if role not in TOKEN_ROLES:
        raise ValueError(f"role={role!r} is none for a program; write one of {', '.join(TOKEN_ROLES)}")
    if not 0 < days <= DAYS_MOST:
        raise ValueError(f"days={days:g} is not between 0 and {DAYS_MOST}; tokens end and are made anew, write e.g. 90")
    number, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    token = ServiceToken(
        number, name, _hash(secret), Role(role).value, scope, at, by, at + days * _DAY_SECONDS, None, None, ""
    )
    if not add_service_token(connection, token):
        raise ValueError(f"a token {name!r} is in use; revoke it first, or choose another name")
    details = {
        "name": name, "role": token.role, "days": days, "flows": None if scope.flows is None else sorted(scope.flows),
        "dimensions": {one: sorted(values) for one, values in scope.dimensions},
    }  # fmt: skip
    audit(connection, by, "service token added", number, details, address)
    return f"cxs_{number}_{secret}", token


def revoke_token(connection: Connection, wanted: str, *, by: str, at: float, address: str) -> str | None:
    """Revoke the token with this id or name, at once; its name, ``None`` when none such is in use."""
    found = revoke_service_token(connection, wanted, at)
    if found is None:
        return None
    audit(connection, by, "service token revoked", found[0], {"name": found[1]}, address)
    return found[1]


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
