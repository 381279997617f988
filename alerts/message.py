"""Messages: what leaves the process when something happened to an alert.

A message is composed once, when it is put into the outbox, and stays the same over all retries; its
``key`` names the transition it tells of, so that a receiver can drop a second copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from pydantic import TypeAdapter

from ..metrics.translation import Language
from .alert import Alert, AlertState, Severity, Transition, TransitionKind
from .chart import Trend
from .figures import Figures
from .payload import VERSION, alert_payload
from .text import Fact, alert_text, alert_translator
from .titles import Titles

__all__ = [
    "Event",
    "Link",
    "Message",
    "compose",
    "event_of",
    "events",
    "html",
    "message_from_json",
    "message_to_json",
    "plain",
]


class Event(StrEnum):
    """What a message tells."""

    FIRING = "firing"
    UPDATED = "updated"
    REMINDER = "reminder"
    RESOLVED = "resolved"
    TEST = "test"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Link:
    """Where to read on."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message in one language; see :class:`.text.AlertText` for the texts.

    ``data`` is the stable JSON form that machines read, ``trend`` what a mail draws.
    """

    key: str
    event: Event
    severity: Severity
    language: Language
    alert_id: str
    subject: str
    short: str
    headline: str
    not_concluded: str
    facts: tuple[Fact, ...] = ()
    links: tuple[Link, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    trend: Trend | None = None


def event_of(transition: Transition, alert: Alert) -> Event | None:
    """The message a transition asks for; ``None`` when nobody needs to be told.

    A muted alert is not told of; when its silence ends while it fires, it is. The end is told whenever
    the beginning was, silenced or not, so that no incident stays open elsewhere.
    """
    if transition.kind is TransitionKind.RESOLVED:
        return Event.RESOLVED if alert.told else None
    if alert.muted_by is not None or alert.state is not AlertState.FIRING:
        return None
    if transition.kind is TransitionKind.UNMUTED:
        return None if alert.told else Event.FIRING
    return {
        TransitionKind.FIRED: Event.FIRING,
        TransitionKind.REOPENED: Event.FIRING,
        TransitionKind.UPDATED: Event.UPDATED,
        TransitionKind.REMINDED: Event.REMINDER,
    }.get(transition.kind)


def events(transitions: Iterable[Transition], alerts: Mapping[str, Alert]) -> dict[str, Event]:
    """The messages that one round of transitions asks for, by alert id: at most one an alert, the weightiest."""
    found: dict[str, Event] = {}
    for transition in transitions:
        event = event_of(transition, alerts[transition.alert_id])
        if event is not None and (
            transition.alert_id not in found or _weight(event) > _weight(found[transition.alert_id])
        ):
            found[transition.alert_id] = event
    return found


def _weight(event: Event) -> int:
    return (Event.REMINDER, Event.UPDATED, Event.FIRING, Event.RESOLVED, Event.TEST).index(event)


def compose(
    alert: Alert,
    event: Event,
    titles: Titles,
    figures: Figures,
    now: float,
    links: tuple[Link, ...] = (),
    trend: Trend | None = None,
) -> Message:
    """Put into words what happened to ``alert`` with its latest transition."""
    text = alert_text(alert, titles, figures, now)
    key = f"{alert.id}-{alert.sequence}"
    data = {
        "version": VERSION,
        "event": event.value,
        "idempotency_key": key,
        "sent_for": figures.iso(now),
        "alert": alert_payload(alert, titles, figures).model_dump(mode="json"),
        "text": {
            "language": figures.language,
            "subject": text.subject,
            "short": text.short,
            "facts": [{"label": fact.label, "value": fact.value} for fact in text.facts],
            "not_concluded": text.not_concluded,
        },
        "links": {link.label: link.url for link in links},
    }
    return Message(
        key=key,
        event=event,
        severity=alert.severity,
        language=figures.language,
        alert_id=alert.id,
        subject=text.subject,
        short=text.short,
        headline=text.headline,
        not_concluded=text.not_concluded,
        facts=text.facts,
        links=links,
        data=data,
        trend=trend,
    )


def plain(message: Message) -> str:
    """The long form as plain text."""
    return _render("message.txt.jinja", message)


def html(message: Message, images: Mapping[str, str] | None = None) -> str:
    """The long form as a self-contained HTML page for a mail.

    ``images`` maps a description to a ``cid:`` address of an inline picture.
    """
    return _render("message.html.jinja", message, images=images or {})


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=select_autoescape(("html.jinja",), default=False, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _render(template: str, message: Message, **values: Any) -> str:
    text = alert_translator(message.language).text
    return _environment().get_template(template).render(message=message, text=text, **values)


_MESSAGE = TypeAdapter(Message)


def message_to_json(message: Message) -> str:
    """The whole message, for the outbox."""
    return json.dumps(_MESSAGE.dump_python(message, mode="json"), ensure_ascii=False)


def message_from_json(text: str | bytes) -> Message:
    """Read what :func:`message_to_json` wrote."""
    return _MESSAGE.validate_json(text)
