"""A generic webhook: the stable JSON form, signed as Standard Webhooks says.

Specification: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
(headers ``webhook-id``, ``webhook-timestamp``, ``webhook-signature``). The id is the message's key and
stays the same over retries: a receiver that has seen it answers 2xx and does nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence

from ...metrics.configuration.notifiers import WebhookNotifier as WebhookSettings
from ...metrics.configuration.secret import SecretError
from ..http import HttpCaller, encode
from ..message import Message
from ..notifier import Delivery, Outcome, RateLimit

__all__ = ["WebhookNotifier", "sign"]


class WebhookNotifier:
    """POSTs one message a call; address, headers and secret are read anew each time.

    Args:
        settings: As configured.
        caller: HTTP client.
        clock: Seconds since 1970 UTC.
    """

    limits: tuple[RateLimit, ...] = ()
    batch_size = 1

    def __init__(
        self,
        settings: WebhookSettings,
        caller: HttpCaller | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._caller = caller or HttpCaller(settings.timeout_seconds)
        self._clock = clock

    def send(self, messages: Sequence[Message]) -> Delivery:
        """POST the message; anything but 2xx is trouble."""
        (message,) = messages
        body = encode(message.data)
        timestamp = int(self._clock())
        headers = {"webhook-id": message.key, "webhook-timestamp": str(timestamp), "idempotency-key": message.key}
        try:
            url = self._settings.url.reveal()
            headers |= {name: value.reveal() for name, value in self._settings.headers.items()}
            if self._settings.secret is not None:
                headers["webhook-signature"] = sign(self._settings.secret.reveal(), message.key, timestamp, body)
        except SecretError as error:
            return Delivery(Outcome.RETRY, str(error))
        delivery, _ = self._caller.post(url, body, headers)
        return delivery

    def close(self) -> None:
        """Give connections back."""
        self._caller.close()


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The ``webhook-signature`` header: ``v1,`` and base64 of HMAC-SHA256 over ``id.timestamp.body``."""
    key = secret.encode()
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            key = secret.encode()
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
