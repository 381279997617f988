"""Messages into the process's own structured log: the notifier that is always there."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from ..message import Message
from ..notifier import Delivery, Outcome, RateLimit

__all__ = ["LogNotifier"]


class LogNotifier:
    """Writes one line a message: the short text, and the ids to find the rest by."""

    limits: tuple[RateLimit, ...] = ()
    batch_size = 1

    def __init__(self, name: str = "log") -> None:
        self.name = name
        self._log = structlog.get_logger("cxgauge.alerts")

    def send(self, messages: Sequence[Message]) -> Delivery:
        """Write the messages."""
        for message in messages:
            self._log.warning(
                message.short,
                notification=message.event.value,
                severity=message.severity.value,
                alert=message.alert_id,
                key=message.key,
            )
        return Delivery(Outcome.SENT)

    def close(self) -> None:
        """Nothing to give back."""
