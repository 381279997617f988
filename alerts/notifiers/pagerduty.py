"""PagerDuty, by its Events API v2: an incident is opened by the alert's first message and closed by its last.

Documentation: https://developer.pagerduty.com/docs/send-alert-event. ``dedup_key`` is the alert's id, so that
repeated messages update one incident. Kept limits: 120 events a minute an integration key, 1,024 characters of summary.
It answers 202, 400 when the event is at fault and 429 when it is too much, see
https://developer.pagerduty.com/docs/events-api-v2-overview.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ...metrics.configuration.notifiers import PagerDutyNotifier as PagerDutySettings
from ...metrics.configuration.secret import SecretError
from ..message import Event, Message
from ..notifier import Delivery, Outcome, RateLimit
from .service import Clock, ServiceCaller

__all__ = ["PagerDutyNotifier"]

_SUMMARY = 1024


class PagerDutyNotifier:
    """Sends one event a message."""

    limits: tuple[RateLimit, ...] = (RateLimit(120, 60.0),)
    batch_size = 1

    def __init__(self, settings: PagerDutySettings, clock: Clock = time.time) -> None:
        self.name = settings.name
        self._settings = settings
        self._service = ServiceCaller(settings, clock=clock)

    def send(self, messages: Sequence[Message]) -> Delivery:
        """Trigger or resolve the alert's incident."""
        (message,) = messages
        try:
            key = self._settings.routing_key.reveal()
        except SecretError as error:
            return Delivery(Outcome.RETRY, str(error))
        return self._service.post(_event(message, key))

    def close(self) -> None:
        """Give connections back."""
        self._service.close()


def _event(message: Message, routing_key: str) -> dict[str, Any]:
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "resolve" if message.event is Event.RESOLVED else "trigger",
        "dedup_key": f"cxgauge-{message.alert_id}",
    }
    if message.event is Event.RESOLVED:
        return event
    alert = message.data.get("alert", {})
    scope = alert.get("scope", {})
    return event | {
        "client": "cxgauge",
        "links": [{"href": link.url, "text": link.label} for link in message.links],
        "payload": {
            "summary": message.short if len(message.short) <= _SUMMARY else message.short[: _SUMMARY - 1] + "…",
            "source": scope.get("flow") or "cxgauge",
            "severity": message.severity.value,
            "timestamp": alert.get("started_at"),
            "component": scope.get("step"),
            "group": alert.get("owner") or None,
            "class": alert.get("kind"),
            "custom_details": {
                "facts": {fact.label: fact.value for fact in message.facts},
                "not_concluded": message.not_concluded,
                "alert": alert,
            },
        },
    }
