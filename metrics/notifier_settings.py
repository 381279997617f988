"""Settings of notifiers, one model a type; ``alerts`` has the code that sends.

To add a type: write a model with its own ``type`` literal here and add it to :data:`AnyNotifier`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .scalar_types import Duration, Name, Truth
from .secret import AddressReference, SecretReference, SecretsModel

__all__ = ["AnyNotifier", "LogNotifier", "NotifierSettings", "WebhookNotifier"]


class NotifierSettings(SecretsModel):
    """What all notifiers have in common."""

    name: Name = Field(description="Unique; flows name it under `alerts.notifiers`.")
    language: Literal["en", "zh"] | None = Field(
        default=None, description="Language of its texts; the general one by default."
    )
    resolved: Truth = Field(default=True, description="Also tell when an alert is over.")


class LogNotifier(NotifierSettings):
    """Writes alerts to the log of cxgauge itself."""

    type: Literal["log"]


class WebhookNotifier(NotifierSettings):
    """Posts alerts as JSON to an HTTP endpoint, signed as Standard Webhooks says if it has a secret."""

    type: Literal["webhook"]
    url: AddressReference = Field(description="Where to; by reference if it holds a secret.")
    secret: SecretReference | None = Field(default=None, description="Signing secret; unsigned without one.")
    headers: dict[str, SecretReference] = Field(default={}, description="Further headers, such as Authorization.")
    timeout_seconds: Duration = Field(
        default="10s", alias="timeout", validate_default=True, description="How long to wait for the answer."
    )


Notifier = LogNotifier | WebhookNotifier
AnyNotifier = Annotated[Notifier, Field(discriminator="type")]
"""A notifier of the configuration, told apart by ``type``."""
