"""Settings of notifiers, one model a type; ``alerts`` has the code that sends.

To add a type: write a model with its own ``type`` literal here and add it to :data:`AnyNotifier`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from ..specification.scalar_types import Duration, Name, PositiveInt, Text, Truth, refuse
from .secret import AddressReference, SecretReference, SecretsModel

__all__ = [
    "AlertmanagerNotifier",
    "AnyNotifier",
    "DingTalkNotifier",
    "EmailNotifier",
    "FeishuNotifier",
    "LogNotifier",
    "NotifierSettings",
    "PagerDutyNotifier",
    "ServiceNotifier",
    "SlackNotifier",
    "WeComNotifier",
    "WebhookNotifier",
]

_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])")


def _hours(value: object) -> str:
    text = value if isinstance(value, str) else ""
    found = _HOURS.fullmatch(text)
    if found is None or text[:5] == text[6:] or (found[3] == "24" and found[4] != "00"):
        raise refuse("is not a span of the day; write it in quotes, e.g. '08:00-20:00'")
    return text


Hours = Annotated[
    str,
    BeforeValidator(_hours),
    WithJsonSchema({"type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]$"}),
]
"""A span of the day, ``08:00-20:00``; one that ends before it begins goes past midnight."""


class NotifierSettings(SecretsModel):
    """What all notifiers have in common."""

    name: Name = Field(description="Unique; flows name it under `alerts.notifiers`.")
    language: Literal["en", "zh"] | None = Field(
        default=None, description="Language of its texts; the general one by default."
    )
    resolved: Truth = Field(default=True, description="Also tell when an alert is over.")
    severity_at_least: Literal["info", "warning", "critical"] = Field(
        default="info", description="Only alerts of this severity or a worse one."
    )
    owners: tuple[Text, ...] | None = Field(default=None, description="Only alerts of these owners; of all by default.")
    hours: Hours | None = Field(
        default=None, description="Time of day, `08:00-20:00`, at which to tell; what comes up at other times waits."
    )
    workdays_only: Truth = Field(
        default=False, description="Tell on workdays of the bank's calendar only; what comes up on other days waits."
    )
    critical_any_time: Truth = Field(default=True, description="Critical alerts do not wait for hours and workdays.")
    give_up_seconds: Duration = Field(
        default="1d",
        alias="give_up",
        validate_default=True,
        description="How long to try to send one message; then it is marked as failed.",
    )


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


class ServiceNotifier(NotifierSettings):
    """What notifiers of chat services have in common: an address that holds a key, and patience."""

    url: SecretReference = Field(description="Address of the robot or webhook, by reference as it holds a key.")
    timeout_seconds: Duration = Field(
        default="10s", alias="timeout", validate_default=True, description="How long to wait for the answer."
    )


class WeComNotifier(ServiceNotifier):
    """A robot in a WeCom (企业微信) group."""

    type: Literal["wecom"]
    mentions: tuple[Text, ...] = Field(default=(), description="User ids to mention in critical alerts.")


class DingTalkNotifier(ServiceNotifier):
    """A custom robot in a DingTalk (钉钉) group."""

    type: Literal["dingtalk"]
    secret: SecretReference | None = Field(default=None, description="Signing secret (加签); unsigned without one.")
    mentions: tuple[Text, ...] = Field(default=(), description="Mobile numbers to mention in critical alerts.")


class FeishuNotifier(ServiceNotifier):
    """A custom robot in a Feishu (飞书) or Lark group."""

    type: Literal["feishu"]
    secret: SecretReference | None = Field(default=None, description="Signing secret (签名校验); unsigned without one.")


class SlackNotifier(ServiceNotifier):
    """A Slack incoming webhook."""

    type: Literal["slack"]


class PagerDutyNotifier(NotifierSettings):
    """An integration of PagerDuty's Events API v2."""

    type: Literal["pagerduty"]
    routing_key: SecretReference = Field(description="Integration key of the service.")
    url: AddressReference = Field(
        default="https://events.pagerduty.com/v2/enqueue",
        validate_default=True,
        description="Address of the Events API; the European one is https://events.eu.pagerduty.com/v2/enqueue.",
    )
    timeout_seconds: Duration = Field(
        default="10s", alias="timeout", validate_default=True, description="How long to wait for the answer."
    )


class EmailNotifier(NotifierSettings):
    """Mails over SMTP."""

    type: Literal["email"]
    host: Text = Field(description="Mail server.")
    port: PositiveInt = Field(default=587, description="587 for starttls, 465 for tls, 25 for none.")
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="How the connection is secured."
    )
    username: Text | None = Field(default=None, description="Account; no log-in without one.")
    password: SecretReference | None = Field(default=None, description="Password of the account.")
    sender: Text = Field(description="Address the mails come from.")
    recipients: Annotated[tuple[Text, ...], Field(min_length=1, max_length=100)] = Field(description="Addresses.")
    timeout_seconds: Duration = Field(
        default="20s", alias="timeout", validate_default=True, description="How long to wait for the server."
    )


class AlertmanagerNotifier(NotifierSettings):
    """Prometheus Alertmanager: told of the state of alerts again and again, not of single events."""

    type: Literal["alertmanager"]
    url: AddressReference = Field(description="Address of Alertmanager, e.g. http://127.0.0.1:9093.")
    token: SecretReference | None = Field(default=None, description="Bearer token.")
    username: Text | None = Field(default=None, description="Account for HTTP basic authentication.")
    password: SecretReference | None = Field(default=None, description="Password of the account.")
    resend_seconds: Duration = Field(
        default="1m", alias="resend", validate_default=True, description="Time between two posts while alerts fire."
    )
    timeout_seconds: Duration = Field(
        default="10s", alias="timeout", validate_default=True, description="How long to wait for the answer."
    )


Notifier = (
    LogNotifier
    | WebhookNotifier
    | WeComNotifier
    | DingTalkNotifier
    | FeishuNotifier
    | SlackNotifier
    | PagerDutyNotifier
    | EmailNotifier
    | AlertmanagerNotifier
)
AnyNotifier = Annotated[Notifier, Field(discriminator="type")]
"""A notifier of the configuration, told apart by ``type``."""
