"""Sending one mail by the settings of a mail notifier; alerts and reports go the same way."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, parseaddr

from ...metrics.configuration.notifiers import EmailNotifier as EmailSettings
from ...metrics.configuration.secret import SecretError
from ..notifier import Delivery, Outcome

__all__ = ["mail_id", "new_mail", "send_mail"]

_DOMAIN = "cxgauge.invalid"  # RFC 2606: a name that never resolves


def mail_id(key: str) -> str:
    """The ``Message-ID`` that follows from a key, so that a second copy can be recognised."""
    return f"<{key}@{_DOMAIN}>"


def new_mail(
    settings: EmailSettings, subject: str, key: str, now: float, recipients: Sequence[str] | None = None
) -> EmailMessage:
    """A mail with its headers and no content yet; to the notifier's recipients unless others are given."""
    mail = EmailMessage()
    mail["Subject"] = " ".join(subject.split())
    mail["From"] = _address(settings.sender)
    mail["To"] = tuple(_address(recipient) for recipient in recipients or settings.recipients)
    mail["Date"] = formatdate(now)
    mail["Message-ID"] = mail_id(key)
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please
    return mail


def send_mail(
    settings: EmailSettings,
    mail: EmailMessage,
    recipients: Sequence[str] | None = None,
    context: ssl.SSLContext | None = None,
) -> Delivery:
    """Send a mail; a recipient the server refuses does not hold up the others. Trouble is an outcome, not raised."""
    to = list(recipients or settings.recipients)
    try:
        with _connection(settings, context) as connection:
            if settings.username is not None and settings.password is not None:
                connection.login(settings.username, settings.password.reveal())
            refused = connection.send_message(mail, settings.sender, to)
    except SecretError as error:
        return Delivery(Outcome.RETRY, str(error))
    except smtplib.SMTPRecipientsRefused:
        return Delivery(Outcome.RETRY, f"{settings.host} refused all recipients")
    except smtplib.SMTPResponseException as error:
        permanent = isinstance(error, smtplib.SMTPDataError) and error.smtp_code >= 500
        return Delivery(Outcome.REFUSED if permanent else Outcome.RETRY, f"{settings.host} answered {error.smtp_code}")
    except (smtplib.SMTPException, OSError) as error:
        return Delivery(Outcome.RETRY, f"{settings.host} cannot be reached ({type(error).__name__})")
    return Delivery(Outcome.SENT, f"{settings.host} refused {len(refused)} of {len(to)} recipients" if refused else "")


def _connection(settings: EmailSettings, context: ssl.SSLContext | None) -> smtplib.SMTP:
    context = context or ssl.create_default_context()
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


def _address(text: str) -> Address:
    name, address = parseaddr(text)
    return Address(display_name=name, addr_spec=address)
