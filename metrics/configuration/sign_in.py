"""The ``sign_in`` section of the configuration: how people prove who they are, and what that lets them do and see."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, WithJsonSchema

from ..specification.scalar_types import Duration, FilePath, Name, StrictModel, Text, Title, Truth, refuse
from .receiver import is_loopback
from .secret import SecretReference, SecretsModel

__all__ = ["OpenIdConfig", "OpenIdGrant", "RoleName", "SignInConfig"]

RoleName = Literal["viewer", "analyst", "engineer", "admin"]


def _issuer(value: object) -> str:
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
    except ValueError:
        parts = None
    if parts is None or not parts.hostname or parts.query or parts.fragment or parts.username is not None:
        raise refuse("is not an issuer; write the provider's address, e.g. https://login.bank.example/realms/staff")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise refuse("is not encrypted; write an https:// address, http:// is for providers on this machine only")
    return str(value)


def _length(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 8 <= value <= 128:
        raise refuse("is not a length of passwords; write a number from 8 to 128")
    return value


Issuer = Annotated[str, BeforeValidator(_issuer), WithJsonSchema({"type": "string", "pattern": "^https?://[^?#@]+$"})]
PasswordLength = Annotated[
    int, BeforeValidator(_length), WithJsonSchema({"type": "integer", "minimum": 8, "maximum": 128})
]


class OpenIdGrant(StrictModel):
    """What a value of the claim gives: a role, and which data."""

    value: Text = Field(description="Value of the claim, for example a group.")
    role: RoleName = Field(description="Role of who has it.")
    flows: tuple[Name, ...] | None = Field(
        default=None, min_length=1, max_length=1000, description="Flows that may be seen; by default all."
    )
    dimensions: dict[Name, Annotated[tuple[Text, ...], Field(min_length=1, max_length=1000)]] = Field(
        default={},
        max_length=10,
        description="Values that may be seen, e.g. `branch: [north]`; by default all.",
    )


class OpenIdConfig(SecretsModel):
    """Sign-in at an OpenID Connect provider: authorization code with PKCE; needs the extra `openid`."""

    issuer: Issuer = Field(description="The provider; `/.well-known/openid-configuration` below it is read.")
    client_id: Text = Field(description="What the provider calls cxgauge.")
    client_secret: SecretReference | None = Field(default=None, description="Its secret; without one PKCE alone.")
    title: Title | None = Field(default=None, description="What the button says.")
    scopes: tuple[Text, ...] = Field(
        default=("openid", "profile"), max_length=20, description="Scopes to ask for; `openid` is always asked for."
    )
    name_claim: Text = Field(default="preferred_username", description="Claim with the name for pages and audit.")
    claim: Text = Field(
        default="groups", description="Claim that gives role and data; dots lead into mappings: `realm_access.roles`."
    )
    grants: tuple[OpenIdGrant, ...] = Field(
        min_length=1, max_length=200, description="The first whose value the claim has counts; who has none is refused."
    )
    timeout: Duration = Field(default="5s", validate_default=True, description="Time for each answer of the provider.")
    authority: FilePath | None = Field(
        default=None,
        description="PEM file of the authority behind the provider's certificate, if it is the bank's.",
    )


class SignInConfig(StrictModel):
    """How people sign in; without `accounts` and `openid` nobody has to, and pages are served on loopback only."""

    accounts: Truth = Field(default=False, description="With name and password; accounts are made by `cxgauge user`.")
    password_length: PasswordLength = Field(default=12, description="Fewest characters of a password.")
    idle_limit: Duration = Field(
        default="1h", validate_default=True, description="A session ends when nothing was asked for so long, ..."
    )
    session_limit: Duration = Field(
        default="12h", validate_default=True, description="... and so long after sign-in in any case."
    )
    openid: OpenIdConfig | None = Field(default=None, description="At an OpenID Connect provider.")

    @property
    def is_required(self) -> bool:
        """Whether people must sign in."""
        return self.accounts or self.openid is not None
