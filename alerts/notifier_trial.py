"""Trying a notifier: a message that says it is only a test."""

from __future__ import annotations

import time
from datetime import UTC, tzinfo

from ..metrics.configuration.notifiers import AlertmanagerNotifier
from ..metrics.translation import Language
from .alert import Severity
from .alertmanager import post_alerts
from .figures import Figures
from .http import HttpCaller
from .message import Event, Message
from .notifier import Delivery
from .payload import VERSION
from .text import Fact, alert_translator

__all__ = ["trial_message", "try_alertmanager"]


def trial_message(language: Language, zone: tzinfo, now: float | None = None) -> Message:
    """A message that looks like one about an alert, and says that nothing is wrong."""
    now = time.time() if now is None else now
    text, figures = alert_translator(language).text, Figures(language, zone)
    subject, short = text("[TEST] A message from cxgauge"), text("This is a test: nothing is wrong, messages arrive.")
    key = f"test-{int(now * 1000)}"
    return Message(
        key=key,
        event=Event.TEST,
        severity=Severity.INFO,
        language=language,
        alert_id=key,
        subject=subject,
        short=short,
        headline=short,
        not_concluded="",
        facts=(Fact(text("Sent at"), f"{figures.time(now, now)}, {figures.zone_name(now)}"),),
        data={
            "version": VERSION,
            "event": "test",
            "idempotency_key": key,
            "sent_for": figures.iso(now),
            "text": {"language": language, "subject": subject, "short": short},
        },
    )


def try_alertmanager(settings: AlertmanagerNotifier, language: Language, now: float | None = None) -> Delivery:
    """Post an alert of severity info that ends by itself after a minute."""
    now = time.time() if now is None else now
    text, iso = alert_translator(language).text, Figures(language, UTC).iso
    body = {
        "labels": {"alertname": "CxgaugeTest", "severity": "info"},
        "annotations": {"summary": text("This is a test: nothing is wrong, messages arrive.")},
        "startsAt": iso(now),
        "endsAt": iso(now + 60.0),
    }
    caller = HttpCaller(settings.timeout_seconds)
    try:
        return post_alerts(caller, settings, [body])
    finally:
        caller.close()
