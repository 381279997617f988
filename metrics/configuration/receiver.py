"""The ``receiver`` section of the configuration: where spans and beacons come in, and within which bounds."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from ..specification.scalar_types import Bytes, Duration, FilePath, Name, PositiveInt, StrictModel, Text, Truth, refuse

__all__ = ["ReceiverConfig", "TlsConfig", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Whether listening on ``host`` reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _port(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
        raise refuse("is not a port; write a number from 1 to 65535, or 0 for a free one")
    return value


def _origin(value: object) -> str:
    if isinstance(value, str) and len(value) <= 300:
        scheme, separator, rest = value.partition("://")
        if separator and scheme in ("http", "https") and rest and not set(rest) & set("/*?# @"):
            return value
    raise refuse("is not an origin; write scheme and host without a path, e.g. https://bank.example.com")


Port = Annotated[int, BeforeValidator(_port), WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 65535})]
Origin = Annotated[
    str, BeforeValidator(_origin), WithJsonSchema({"type": "string", "pattern": "^https?://[^/*?# @]+$"})
]


class TlsConfig(StrictModel):
    """Certificate and key in PEM files, and optionally the authority that clients' certificates must come from."""

    certificate: FilePath = Field(description="PEM file with the certificate chain.")
    private_key: FilePath = Field(description="PEM file with the private key.")
    client_authority: FilePath | None = Field(
        default=None, description="PEM file; when set, senders must show a certificate that it signed."
    )


class ReceiverConfig(StrictModel):
    """Where observations are received over HTTP, and within which bounds."""

    host: Text = Field(default="127.0.0.1", description="Address to listen on; wider than loopback needs tokens.")
    port: Port = Field(default=4318, description="OTLP/HTTP and /v1/observations; 0 takes a free port.")
    grpc_port: Port | None = Field(default=None, description="OTLP/gRPC, usually 4317; needs the extra otlp-grpc.")
    body_bytes_limit: Bytes = Field(default=64 << 20, description="Largest body, before and after decompression.")
    in_flight_bytes_limit: Bytes = Field(default=256 << 20, description="Memory for bodies being worked on.")
    body_timeout: Duration = Field(default=20.0, description="Time for a body to arrive.")
    header_timeout: Duration = Field(default=10.0, description="Time for a request's headers to arrive.")
    connection_limit: PositiveInt = Field(default=1000, description="Connections at a time.")
    waiting_limit: PositiveInt = Field(default=1024, description="Requests that may wait to be worked on.")
    duplicate_window: PositiveInt = Field(
        default=1 << 20, description="Spans remembered to drop retries; 8 bytes each."
    )
    sender_bytes_per_second: Bytes | None = Field(
        default=None, description="What one sender may send a second on average; beyond it, 429."
    )
    tokens_required: Truth = Field(default=False, description="Refuse senders without a token, on loopback too.")
    tokens_file: FilePath | None = Field(
        default=None, description="Where `cxgauge token` keeps hashed tokens; beside the spool when not set."
    )
    dimension_attributes: dict[Name, Text] = Field(
        default={},
        description="OpenTelemetry attribute of a dimension, e.g. `app_version: service.version`; by default its name.",
    )
    instance_attributes: tuple[Text, ...] = Field(
        default=("session.id",),
        max_length=10,
        description="Attributes that identify the flow instance.",
    )
    customer_attributes: tuple[Text, ...] = Field(
        default=("enduser.id", "user.id"),
        max_length=10,
        description="Attributes that identify the customer; kept as keyed tokens only, see `recorder.customer_key`.",
    )
    tls: TlsConfig | None = Field(default=None, description="Serve HTTPS.")
    allowed_origins: tuple[Origin, ...] = Field(
        default=(), max_length=100, description="Web origins whose pages may send observations (CORS)."
    )

    @model_validator(mode="after")
    def _limits_agree(self) -> ReceiverConfig:
        if self.in_flight_bytes_limit < self.body_bytes_limit:
            raise refuse("has in_flight_bytes_limit below body_bytes_limit; raise it, one body must fit")
        return self
