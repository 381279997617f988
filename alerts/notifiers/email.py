"""Mails over SMTP: plain text and HTML with an inline chart, one mail a message.

``Message-ID`` follows from the message's key, so that a second copy can be recognised, and all mails about one
alert refer to its first, so that mail programs show them as one conversation (RFC 5322, 3.6.4).
"""

from __future__ import annotations

import smtplib
import ssl
import time
from collections.abc import Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, parseaddr

from ...metrics.configuration.notifiers import EmailNotifier as EmailSettings
from ...metrics.configuration.secret import SecretError
from ..chart import trend_png
from ..message import Message, html, plain
from ..notifier import Delivery, Outcome, RateLimit
from ..text import alert_translator
from .service import Clock

__all__ = ["EmailNotifier"]

_DOMAIN = "cxgauge.invalid"  # RFC 2606: a name that never resolves


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
        settings = self._settings
        mail = self._mail(message)
        try:
            with self._connection() as connection:
                if settings.username is not None and settings.password is not None:
                    connection.login(settings.username, settings.password.reveal())
                refused = connection.send_message(mail, settings.sender, list(settings.recipients))
        except SecretError as error:
            return Delivery(Outcome.RETRY, str(error))
        except smtplib.SMTPRecipientsRefused:
            return Delivery(Outcome.RETRY, f"{settings.host} refused all recipients")
        except smtplib.SMTPResponseException as error:
            permanent = isinstance(error, smtplib.SMTPDataError) and error.smtp_code >= 500
            detail = f"{settings.host} answered {error.smtp_code}"
            return Delivery(Outcome.REFUSED if permanent else Outcome.RETRY, detail)
        except (smtplib.SMTPException, OSError) as error:
            return Delivery(Outcome.RETRY, f"{settings.host} cannot be reached ({type(error).__name__})")
        detail = f"{settings.host} refused {len(refused)} of {len(settings.recipients)} recipients" if refused else ""
        return Delivery(Outcome.SENT, detail)

    def close(self) -> None:
        """Connections are not kept."""

    def _connection(self) -> smtplib.SMTP:
        settings = self._settings
        context = self._context or ssl.create_default_context()
        if settings.security == "tls":
            return smtplib.SMTP_SSL(settings.host, settings.port, timeout=settings.timeout_seconds, context=context)
        connection = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_seconds)
        if settings.security == "starttls":
            try:
                connection.starttls(context=context)
            except BaseException:
                connection.close()
                raise
        return connection

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = " ".join(message.subject.split())
        mail["From"] = _address(self._settings.sender)
        mail["To"] = tuple(_address(recipient) for recipient in self._settings.recipients)
        mail["Date"] = formatdate(self._clock())
        mail["Message-ID"] = f"<{message.key}@{_DOMAIN}>"
        mail["References"] = f"<{message.alert_id}@{_DOMAIN}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please
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


def _address(text: str) -> Address:
    name, address = parseaddr(text)
    return Address(display_name=name, addr_spec=address)
