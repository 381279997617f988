"""Who asks: a person who has signed in, whoever sits at this machine, or nobody yet."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from ...metrics.store.scope import DataScope
from .permissions import ROLES, Permission, Role

__all__ = ["Access", "access_of"]


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks, and what that allows.

    Attributes:
        name: The account's name; empty for whoever sits at this machine, and for who has not signed in.
        role: The role; ``None`` for who has not signed in.
        scope: Which data may be seen.
        form_token: What a form of this visitor must carry.
        address: From where, for the audit.
        is_open: Whether nobody has to sign in here.
        account_id: The account's number; ``None`` without one.
        session_hash: Names the session; empty without one.
        has_password: Whether the password is kept here and can be changed here.
        is_program: Whether it is a program with a token of its own.
    """

    name: str
    role: Role | None
    scope: DataScope
    form_token: str
    address: str
    is_open: bool = False
    account_id: int | None = None
    session_hash: bytes = b""
    has_password: bool = False
    is_program: bool = False

    def may(self, permission: Permission | str) -> bool:
        """Whether the role allows it."""
        return self.role is not None and Permission(permission) in ROLES[self.role]

    @property
    def is_signed_in(self) -> bool:
        """Whether it is a person with an account."""
        return self.account_id is not None


def access_of(request: Request) -> Access:
    """Who asks, as the access control has found out.

    Raises:
        PermissionError: the access control has not seen the request.
    """
    found = getattr(request.state, "access", None)
    if not isinstance(found, Access):
        raise PermissionError("a request has come past the access control")
    return found
