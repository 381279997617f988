"""Table of the tokens of programs that read the pages; works in the caller's transaction. Times: seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.types.json import Jsonb

from .connection import Connection
from .named_queries import named_query
from .scope import DataScope

__all__ = ["ServiceToken", "add_service_token", "read_service_tokens", "revoke_service_token", "touch_service_token"]

_LISTED = 1_000


@dataclass(frozen=True, slots=True)
class ServiceToken:
    """A token as it is kept.

    Attributes:
        id: Eight hexadecimal digits that name it in lists, logs and the audit.
        name: Of the program; unique among tokens that are not revoked.
        secret_hash: SHA-256 of its secret part.
        role: ``viewer``, ``analyst`` or ``engineer``.
        scope: Which data may be seen.
        created_at: When it was made.
        created_by: By whom.
        expires_at: When it ends by itself.
        revoked_at: When it was revoked; ``None`` unless it was.
        used_at: When it was last used, within a minute.
        used_from: From which address.
    """

    id: str
    name: str
    secret_hash: bytes
    role: str
    scope: DataScope
    created_at: float
    created_by: str
    expires_at: float
    revoked_at: float | None
    used_at: float | None
    used_from: str

    def is_good(self, now: float) -> bool:
        """Whether it lets anybody in."""
        return self.revoked_at is None and now < self.expires_at


def add_service_token(connection: Connection, token: ServiceToken) -> bool:
    """Keep a new one; false when one of this name is in use."""
    scope = token.scope
    values = {
        "token_id": token.id, "name": token.name, "secret_hash": token.secret_hash, "role": token.role,
        "flows": None if scope.flows is None else sorted(scope.flows),
        "dimensions": Jsonb({name: sorted(values) for name, values in scope.dimensions}),
        "at": token.created_at, "by": token.created_by, "expires_at": token.expires_at,
    }  # fmt: skip
    return connection.execute(named_query("service_tokens.add"), values).fetchone() is not None


def read_service_tokens(connection: Connection, token_id: str | None = None) -> list[ServiceToken]:
    """All of them, those in use first, by name; or the one with this id."""
    rows = connection.execute(named_query("service_tokens.read"), {"token_id": token_id, "limit": _LISTED}).fetchall()
    return [
        ServiceToken(number, name, bytes(secret), role, DataScope.of(flows, dimensions), *rest)
        for number, name, secret, role, flows, dimensions, *rest in rows
    ]


def revoke_service_token(connection: Connection, wanted: str, at: float) -> tuple[str, str] | None:
    """Revoke the token with this id or name; its id and name, ``None`` when none is in use."""
    row = connection.execute(named_query("service_tokens.revoke"), {"wanted": wanted, "at": at}).fetchone()
    return None if row is None else (row[0], row[1])


def touch_service_token(connection: Connection, token_id: str, at: float, address: str) -> None:
    """Note that it was used."""
    connection.execute(named_query("service_tokens.touch"), {"token_id": token_id, "at": at, "address": address})
