"""Feishu (飞书) and Lark custom robots, signed (签名校验), as cards.

Documentation: https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot: ``sign`` is base64 of HMAC-SHA256 with
timestamp, line end, secret as key over nothing; the timestamp is in seconds. Kept limits: 100 messages a minute and
5 a second a robot, 20 KB a message; both, and the codes of the answer (HTTP status 200), from the same page.
A signature (19021), address (19022) or keyword (19024) that does not fit is tried again until the message is given up.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Sequence
from typing import Any

from ...metrics.configuration.notifiers import FeishuNotifier as FeishuSettings
from ...metrics.configuration.secret import SecretError
from ..alert import Severity
from ..markdown import digest, emphasised, harmless, shortened
from ..message import Event, Message
from ..notifier import Delivery, Outcome, RateLimit
from ..text import alert_translator
from .service import Clock, ServiceCaller

__all__ = ["FeishuNotifier", "sign"]

_TEXT_BYTES = 2000
_DIGEST_BYTES = 15_000
_TOO_MANY = frozenset({9499, 11232, 230020, 1000004, 1000005})  # too many requests
_UNWANTED = frozenset({19002})  # parameters of the message


class FeishuNotifier:
    """Sends a card to a group."""

    limits: tuple[RateLimit, ...] = (RateLimit(100, 60.0), RateLimit(5, 1.0))
    batch_size = 20

    def __init__(self, settings: FeishuSettings, clock: Clock = time.time) -> None:
        self.name = settings.name
        self._settings = settings
        self._service = ServiceCaller(settings, "code", _TOO_MANY, unwanted=_UNWANTED, clock=clock)

    def send(self, messages: Sequence[Message]) -> Delivery:
        """Send one message in full, or several as a digest."""
        card = _card(messages[0]) if len(messages) == 1 else _digest(messages)
        payload: dict[str, Any] = {"msg_type": "interactive", "card": card}
        if self._settings.secret is not None:
            timestamp = int(self._service.clock())
            try:
                signature = sign(self._settings.secret.reveal(), timestamp)
            except SecretError as error:
                return Delivery(Outcome.RETRY, str(error))
            payload = {"timestamp": str(timestamp), "sign": signature, **payload}
        return self._service.post(payload)

    def close(self) -> None:
        """Give connections back."""
        self._service.close()


def sign(secret: str, timestamp_seconds: int) -> str:
    """The signature that proves knowledge of the secret at a time."""
    key = f"{timestamp_seconds}\n{secret}".encode()
    return base64.b64encode(hmac.new(key, b"", hashlib.sha256).digest()).decode()


def _colour(message: Message) -> str:
    if message.event is Event.RESOLVED:
        return "green"
    return {Severity.CRITICAL: "red", Severity.WARNING: "orange", Severity.INFO: "blue"}[message.severity]


def _markdown(content: str) -> dict[str, Any]:
    return {"tag": "div", "text": {"tag": "lark_md", "content": shortened(content, _TEXT_BYTES)}}


def _card(message: Message) -> dict[str, Any]:
    elements: list[dict[str, Any]] = [_markdown(emphasised(harmless(message.short)))]
    facts = "\n".join(f"**{harmless(fact.label)}** {harmless(fact.value)}" for fact in message.facts)
    if facts:
        elements += [{"tag": "hr"}, {"tag": "div", "text": {"tag": "lark_md", "content": shortened(facts, 6000)}}]
    if message.links:
        buttons = [
            {"tag": "button", "text": {"tag": "plain_text", "content": link.label}, "url": link.url, "type": "default"}
            for link in message.links
        ]
        elements.append({"tag": "action", "actions": buttons})
    if message.not_concluded:
        label = alert_translator(message.language).text("Not concluded")
        note = f"{label} · {message.not_concluded}"
        elements.append({"tag": "note", "elements": [{"tag": "plain_text", "content": note}]})
    return _framed(message.subject, _colour(message), elements)


def _digest(messages: Sequence[Message]) -> dict[str, Any]:
    title, lines = digest(messages, _DIGEST_BYTES)
    worst = max(
        messages, key=lambda message: (message.event is not Event.RESOLVED, list(Severity).index(message.severity))
    )
    return _framed(title, _colour(worst), [{"tag": "div", "text": {"tag": "lark_md", "content": lines}}])


def _framed(title: str, colour: str, elements: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "config": {"wide_screen_mode": True},
        "header": {"title": {"tag": "plain_text", "content": title}, "template": colour},
        "elements": elements,
    }
