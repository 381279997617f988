"""Slack incoming webhooks, as blocks.

Documentation: https://api.slack.com/messaging/webhooks, https://api.slack.com/reference/block-kit/blocks and, for
limits, https://api.slack.com/apis/rate-limits: one message a second, 150 characters a header, 3,000 a section,
10 fields of 2,000 characters a section, 50 blocks a message. It answers with HTTP statuses: 429 with
Retry-After when it is too much, 400 when the message is at fault, 403, 404 and 410 when the webhook or its channel is
(https://api.slack.com/messaging/webhooks#handling_errors).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ...metrics.configuration.notifiers import SlackNotifier as SlackSettings
from ..markdown import digest
from ..message import Message
from ..notifier import Delivery, RateLimit
from ..text import alert_translator
from .service import Clock, ServiceCaller

__all__ = ["SlackNotifier"]

_HEADER, _SECTION, _FIELD, _FIELDS = 150, 3000, 2000, 10


class SlackNotifier:
    """Sends blocks to a channel."""

    limits: tuple[RateLimit, ...] = (RateLimit(1, 1.0),)
    batch_size = 10

    def __init__(self, settings: SlackSettings, clock: Clock = time.time) -> None:
        self.name = settings.name
        self._service = ServiceCaller(settings, clock=clock)

    def send(self, messages: Sequence[Message]) -> Delivery:
        """Send one message in full, or several as a digest."""
        if len(messages) == 1:
            return self._service.post({"text": _escaped(messages[0].short), "blocks": _blocks(messages[0])})
        title, lines = digest(messages, _SECTION - 200, _escaped)
        return self._service.post({"text": title, "blocks": [_header(title), _section(lines)]})

    def close(self) -> None:
        """Give connections back."""
        self._service.close()


def _escaped(text: str) -> str:
    """As https://api.slack.com/reference/surfaces/formatting#escaping asks."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _header(title: str) -> dict[str, Any]:
    return {"type": "header", "text": {"type": "plain_text", "text": _cut(title, _HEADER)}}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _cut(text, _SECTION)}}


def _blocks(message: Message) -> list[dict[str, Any]]:
    blocks = [_header(message.subject), _section(_escaped(message.short))]
    fields = [
        {"type": "mrkdwn", "text": _cut(f"*{_escaped(fact.label)}*\n{_escaped(fact.value)}", _FIELD)}
        for fact in message.facts
    ]
    blocks += [
        {"type": "section", "fields": fields[first : first + _FIELDS]} for first in range(0, len(fields), _FIELDS)
    ]
    if message.links:
        links = " · ".join(f"<{_escaped(link.url)}|{_escaped(link.label)}>" for link in message.links)
        blocks.append(_section(links))
    if message.not_concluded:
        label = alert_translator(message.language).text("Not concluded")
        note = _cut(_escaped(f"{label} · {message.not_concluded}"), _FIELD)
        blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": note}]})
    return blocks
