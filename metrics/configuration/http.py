"""The ``http`` section of the configuration: where pages and ``/metrics`` are served, and what stands before them."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from ..specification.scalar_types import Text, Truth, refuse
from .receiver import Origin, Port, TlsConfig, is_loopback
from .secret import SecretReference, SecretsModel

__all__ = ["HttpConfig", "Network"]

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(value: object) -> IpNetwork:
    try:
        if isinstance(value, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
            return value
        if isinstance(value, str):
            return ipaddress.ip_network(value)
    except ValueError:
        pass
    raise refuse("is not a network; write e.g. 10.1.0.0/16, or a single address")


Network = Annotated[
    IpNetwork,
    BeforeValidator(_network),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F:.]+(/[0-9]{1,3})?$"}),
]


class HttpConfig(SecretsModel):
    """The pages, the API and `/metrics`."""

    host: Text = Field(
        default="127.0.0.1", description="Address to listen on; wider than loopback needs `sign_in` and encryption."
    )
    port: Port = Field(default=9464, description="Port; 0 takes a free one.")
    tls: TlsConfig | None = Field(default=None, description="Serve HTTPS.")
    public_url: Origin | None = Field(
        default=None,
        description="Address people type; `https://` too when a proxy ends TLS. OpenID Connect needs it.",
    )
    trusted_proxies: tuple[Network, ...] = Field(
        default=(), max_length=50, description="Proxies whose `X-Forwarded-For` is believed; nobody else's is."
    )
    unencrypted: Truth = Field(
        default=False,
        description="Listen wider than loopback without TLS: passwords are readable on the way. For tests.",
    )
    metrics_networks: tuple[Network, ...] = Field(
        default=(),
        max_length=50,
        description="Networks that may read `/metrics` without sign-in; loopback may.",
    )
    metrics_token: SecretReference | None = Field(
        default=None, description="Token with which anybody may read `/metrics`: `Authorization: Bearer …`."
    )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach it by HTTPS."""
        return self.tls is not None or (self.public_url or "").startswith("https://")
