"""Mails over SMTP: plain text and HTML with an inline chart, one mail a message.

``Message-ID`` follows from the message's key, so that a second copy can be recognised, and all mails about one
alert refer to its first, so that mail programs show them as one conversation (RFC 5322, 3.6.4).
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Sequence
from email.message import EmailMessage

from ...metrics.configuration.notifiers import EmailNotifier as EmailSettings
from ..chart import trend_png
from ..message import Message, html, plain
from ..notifier import Delivery, RateLimit
from ..text import alert_translator
from .service import Clock
from .smtp import mail_id, new_mail, send_mail

__all__ = ["EmailNotifier"]


class EmailNotifier:
    """Sends one mail a message to all recipients.

    Args:
        settings: Server, account, addresses.
        clock: Seconds since 1970 UTC.
        context: TLS settings; the system's authorities by default.
    """

    limits: tuple[RateLimit, ...] = (RateLimit(30, 60.0),)
    batch_size = 1

    def __init__(
        self, settings: EmailSettings, clock: Clock = time.time, context: ssl.SSLContext | None = None
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._clock = clock
        self._context = context

    def send(self, messages: Sequence[Message]) -> Delivery:
        """Send the mail; a recipient the server refuses does not hold up the others."""
        (message,) = messages
        return send_mail(self._settings, self._mail(message), context=self._context)

    def close(self) -> None:
        """Connections are not kept."""

    def _mail(self, message: Message) -> EmailMessage:
        mail = new_mail(self._settings, message.subject, message.key, self._clock())
        mail["References"] = mail_id(message.alert_id)
        mail.set_content(plain(message))
        picture = trend_png(message.trend) if message.trend is not None else None
        if picture is None:
            mail.add_alternative(html(message), subtype="html")
            return mail
        description = alert_translator(message.language).text("The last hours, and the usual level")
        mail.add_alternative(html(message, {description: "cid:trend"}), subtype="html")
        part = mail.get_payload()[1]  # type: ignore[index]
        part.add_related(picture, "image", "png", cid="<trend>", filename="trend.png")  # type: ignore[union-attr]
        return mail
