"""What signing in means: a name and a password, or what a provider says, become an account and its session."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from ...metrics.configuration.config import Config
from ...metrics.store.accounts import (
    Account,
    add_account,
    end_sessions,
    read_account,
    read_openid_account,
    replace_hash,
    set_access,
    set_password,
)
from ...metrics.store.audit import audit
from ...metrics.store.connection import Connection
from ...metrics.store.scope import DataScope
from ...metrics.store.store import Store
from .openid import OpenId, OpenIdError, Person, Refusal
from .passwords import PasswordFault, Passwords, password_fault
from .throttle import Throttle

__all__ = ["NAME_PATTERN", "REDIRECT_PATH", "Refused", "SignIn"]

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
"""Names of accounts: lower case, so that no two look alike."""

REDIRECT_PATH = "/sign-in/openid/callback"
_log = structlog.get_logger("cxgauge.access")


@dataclass(frozen=True, slots=True)
class Refused:
    """Why it was refused: ``wrong``, ``current``, ``wait`` or what is wrong with a new password."""

    kind: str
    wait_seconds: float = 0.0
    fault: PasswordFault | None = None


class SignIn:
    """Lets people in; safe from any thread."""

    def __init__(
        self, store: Store, config: Callable[[], Config], clock: Callable[[], float], passwords: Passwords
    ) -> None:
        self._store, self._config, self._clock = store, config, clock
        self._passwords = passwords
        self._throttle = Throttle(clock)
        self._lock = threading.Lock()
        self._provider: OpenId | None = None

    def by_password(self, name: str, password: str, address: str) -> Account | Refused:
        """Sign in by name and password.

        Raises:
            BusyError: too many are at it.
        """
        name = name.strip().lower()
        if wait := self._throttle.begin(name, address):
            _log.warning("sign-in held back", address=address, wait_seconds=round(wait))
            return Refused("wait", wait)
        account = self._known(name)
        good = self._passwords.verify(account.password if account else None, password)
        if account is None or not good or account.disabled_at is not None:
            reason = "unknown name" if account is None else "wrong password" if not good else "disabled"
            with self._store.connection() as connection:  # what is no name may be a password in the wrong field
                audit(connection, "", "sign-in failed", account.name if account else "", {"reason": reason}, address)
            return Refused("wrong")
        self._throttle.succeeded(name, address)
        self._welcome(account, password, address)
        return account

    def change_password(self, account: Account, current: str, new: str, session: bytes, address: str) -> Refused | None:
        """Change one's own password; other sessions of the account end.

        Raises:
            BusyError: too many are at it.
        """
        if wait := self._throttle.begin(account.name, address):
            return Refused("wait", wait)
        if not self._passwords.verify(account.password, current):
            with self._store.connection() as connection:
                audit(connection, account.name, "password change failed", account.name, {}, address)
            return Refused("current")
        self._throttle.succeeded(account.name, address)
        if fault := password_fault(new, account.name, self._config().sign_in.password_length):
            return Refused("fault", fault=fault)
        hashed = self._passwords.hash(new)
        with self._store.connection() as connection, connection.transaction():
            set_password(connection, account.id, hashed, self._clock())
            ended = end_sessions(connection, account.id, session)
            audit(connection, account.name, "password changed", account.name, {"sessions ended": ended}, address)
        return None

    def provider(self) -> OpenId:
        """The OpenID provider of the configuration in force.

        Raises:
            OpenIdError: none is configured, or it cannot be used.
        """
        config = self._config()
        if config.sign_in.openid is None:
            raise OpenIdError(Refusal.PROVIDER, "no provider is configured")
        with self._lock:
            if self._provider is None or self._provider.config != config.sign_in.openid:
                try:
                    redirect = f"{config.http.public_url}{REDIRECT_PATH}"
                    self._provider = OpenId(config.sign_in.openid, redirect, self._clock)
                except ValueError as error:
                    raise OpenIdError(Refusal.PROVIDER, str(error)) from None
            return self._provider

    def by_provider(self, person: Person, address: str) -> Account:
        """Sign in somebody whom the provider knows; the account is made at the first time.

        Raises:
            OpenIdError: the account is disabled here.
        """
        scope = DataScope.of(person.grant.flows, person.grant.dimensions)
        with self._store.connection() as connection, connection.transaction():
            known = read_openid_account(connection, person.issuer, person.subject)
            if known is None:
                account = _make(connection, person, scope, self._clock())
                audit(connection, account.name, "account added", account.name, _given(account), address)
            else:
                account = known
                if (account.role, account.scope) != (person.grant.role, scope):
                    set_access(connection, account.id, person.grant.role, scope)
                    account = read_openid_account(connection, person.issuer, person.subject) or account
                    audit(connection, account.name, "access changed", account.name, _given(account), address)
            if account.disabled_at is None:
                audit(connection, account.name, "sign-in", account.name, {"by": "openid"}, address)
                return account
        self.failed_at_provider("the account is disabled here", address, account.name)
        raise OpenIdError(Refusal.DISABLED, "the account is disabled here")

    def failed_at_provider(self, reason: str, address: str, name: str = "") -> None:
        """Note that nobody came in."""
        with self._store.connection() as connection:
            audit(connection, "", "sign-in failed", name, {"by": "openid", "reason": reason}, address)

    def _known(self, name: str) -> Account | None:
        """The account that signs in by password under this name, if such sign-in is on."""
        if not NAME_PATTERN.fullmatch(name) or not self._config().sign_in.accounts:
            return None
        with self._store.connection() as connection:
            return read_account(connection, name)

    def _welcome(self, account: Account, password: str, address: str) -> None:
        kept = account.password or ""
        better = self._passwords.hash(password) if self._passwords.is_outdated(kept) else None
        with self._store.connection() as connection, connection.transaction():
            if better is not None:
                replace_hash(connection, account.id, kept, better)
            audit(connection, account.name, "sign-in", account.name, {"by": "password"}, address)


def _make(connection: Connection, person: Person, scope: DataScope, at: float) -> Account:
    """A new account with a name that nobody else has: two people may call themselves alike at a provider."""
    mark = hashlib.sha256(f"{person.issuer} {person.subject}".encode()).hexdigest()[:12]
    wished = re.sub(r"[^a-z0-9._@-]+", "-", person.name.lower()).strip("-._@")[:48]
    for name in (wished, f"{wished or 'openid'}-{mark}"):
        if name and add_account(
            connection, name, person.grant.role, scope, at=at, issuer=person.issuer, subject=person.subject
        ):
            break
    account = read_openid_account(connection, person.issuer, person.subject)
    if account is None:
        raise OpenIdError(Refusal.PROVIDER, f"no account could be made for {wished!r}")
    return account


def _given(account: Account) -> dict[str, Any]:
    scope = account.scope
    return {
        "role": account.role,
        "flows": None if scope.flows is None else sorted(scope.flows),
        "dimensions": {name: sorted(values) for name, values in scope.dimensions},
    }
