"""Tables of accounts and sessions; every function works in the caller's transaction. Times are seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from .connection import Connection
from .named_queries import named_query
from .scope import DataScope

__all__ = [
    "Account",
    "StoredSession",
    "add_account",
    "add_session",
    "any_account",
    "end_session",
    "end_sessions",
    "expire_sessions",
    "read_account",
    "read_accounts",
    "read_openid_account",
    "read_session",
    "replace_hash",
    "set_access",
    "set_disabled",
    "set_password",
    "touch_session",
]

_SESSIONS_KEPT = 20


@dataclass(frozen=True, slots=True)
class Account:
    """A person who may sign in.

    Attributes:
        id: Its number.
        name: Unique; for people, and in the audit.
        role: ``viewer``, ``analyst``, ``engineer`` or ``admin``.
        password: Hash of the password; ``None`` for one who signs in at a provider.
        issuer: The OpenID provider; ``None`` for one with a password here.
        subject: Who it is at the provider.
        scope: Which data may be seen.
        created_at: When it was made.
        password_set_at: When the password was set.
        signed_in_at: When the person last signed in.
        disabled_at: Since when it cannot be used; ``None`` while it can.
    """

    id: int
    name: str
    role: str
    password: str | None
    issuer: str | None
    subject: str | None
    scope: DataScope
    created_at: float
    password_set_at: float | None
    signed_in_at: float | None
    disabled_at: float | None


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session and whose it is."""

    account: Account
    created_at: float
    seen_at: float


def read_accounts(connection: Connection) -> list[Account]:
    """All accounts by name."""
    return _accounts(connection)


def read_account(connection: Connection, name: str) -> Account | None:
    """The account of this name."""
    return next(iter(_accounts(connection, name=name)), None)


def read_openid_account(connection: Connection, issuer: str, subject: str) -> Account | None:
    """The account of a person at a provider."""
    return next(iter(_accounts(connection, issuer=issuer, subject=subject)), None)


def any_account(connection: Connection) -> bool:
    """Whether there is one that can be used."""
    row = connection.execute(named_query("accounts.any")).fetchone()
    return row is not None and bool(row[0])


def add_account(
    connection: Connection,
    name: str,
    role: str,
    scope: DataScope,
    *,
    at: float,
    password: str | None = None,
    issuer: str | None = None,
    subject: str | None = None,
) -> bool:
    """Make an account; false when the name, or the person at the provider, has one already."""
    values = {"name": name, "role": role, "password": password, "issuer": issuer, "subject": subject, "at": at}
    return connection.execute(named_query("accounts.add"), values | _scope_columns(scope)).fetchone() is not None


def set_password(connection: Connection, account_id: int, password: str, at: float) -> None:
    """Set the hash of the password."""
    connection.execute(named_query("accounts.set_password"), {"account_id": account_id, "password": password, "at": at})


def replace_hash(connection: Connection, account_id: int, verified: str, password: str) -> None:
    """Replace a hash by a better one of the same password, unless the password was changed meanwhile."""
    values = {"account_id": account_id, "password": password, "verified": verified}
    connection.execute(named_query("accounts.rehash"), values)


def set_access(connection: Connection, account_id: int, role: str, scope: DataScope) -> None:
    """Set role and data; sessions that are open have them at their next request."""
    connection.execute(
        named_query("accounts.set_access"), {"account_id": account_id, "role": role} | _scope_columns(scope)
    )


def set_disabled(connection: Connection, account_id: int, at: float | None) -> None:
    """Disable since ``at``, or (``None``) let it be used again."""
    connection.execute(named_query("accounts.set_disabled"), {"account_id": account_id, "at": at})


# -- sessions ---------------------------------------------------------------------------------------------


def add_session(connection: Connection, session_hash: bytes, account_id: int, at: float, address: str) -> None:
    """Begin a session; of too many the oldest end."""
    values = {"hash": session_hash, "account_id": account_id, "at": at, "address": address}
    connection.execute(named_query("accounts.add_session"), values)
    connection.execute(named_query("accounts.prune_sessions"), {"account_id": account_id, "keep": _SESSIONS_KEPT})
    connection.execute(named_query("accounts.signed_in"), {"account_id": account_id, "at": at})


def read_session(connection: Connection, session_hash: bytes) -> StoredSession | None:
    """The session with this hash."""
    row = connection.execute(named_query("accounts.session"), {"hash": session_hash}).fetchone()
    return None if row is None else StoredSession(_account(row[:-2]), *row[-2:])


def touch_session(connection: Connection, session_hash: bytes, at: float) -> None:
    """Note that it is in use."""
    connection.execute(named_query("accounts.touch_session"), {"hash": session_hash, "at": at})


def end_session(connection: Connection, session_hash: bytes) -> None:
    """End it."""
    connection.execute(named_query("accounts.end_session"), {"hash": session_hash})


def end_sessions(connection: Connection, account_id: int, except_hash: bytes | None = None) -> int:
    """End all of an account, or all but one; how many that were."""
    values = {"account_id": account_id, "except_hash": except_hash}
    return connection.execute(named_query("accounts.end_sessions"), values).rowcount


def expire_sessions(connection: Connection, seen_before: float, created_before: float) -> None:
    """Forget those that are over."""
    connection.execute(
        named_query("accounts.expire_sessions"), {"seen_before": seen_before, "created_before": created_before}
    )


def _accounts(
    connection: Connection, *, name: str | None = None, issuer: str | None = None, subject: str | None = None
) -> list[Account]:
    values = {"name": name, "issuer": issuer, "subject": subject}
    return [_account(row) for row in connection.execute(named_query("accounts.account"), values).fetchall()]


def _account(row: tuple[Any, ...]) -> Account:
    number, name, role, password, issuer, subject, flows, dimensions, *times = row
    return Account(number, name, role, password, issuer, subject, DataScope.of(flows, dimensions), *times)


def _scope_columns(scope: DataScope) -> dict[str, Any]:
    flows = None if scope.flows is None else sorted(scope.flows)
    return {"flows": flows, "dimensions": Jsonb({name: sorted(values) for name, values in scope.dimensions})}
