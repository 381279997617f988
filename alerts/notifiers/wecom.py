"""WeCom (企业微信) group robots.

Kept limits, both from https://developer.work.weixin.qq.com/document/path/91770: 20 messages a minute a robot, 4,096
bytes of markdown a message. More than one message goes out as a digest. Codes of the answer, which comes with HTTP
status 200: https://developer.work.weixin.qq.com/document/path/90313. A robot that was removed or whose key is wrong
(93000) is tried again until the message is given up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...metrics.configuration.notifiers import WeComNotifier as WeComSettings
from ..alert import Severity
from ..markdown import digest, harmless, markdown
from ..message import Message
from ..notifier import Delivery, RateLimit
from .service import Clock, ServiceCaller

__all__ = ["WeComNotifier"]

_LIMIT_BYTES = 4096
_TOO_MANY = frozenset({45009, 45033, -1})  # calls beyond the limit, too many at a time, system busy
_UNWANTED = frozenset({40008, 40058, 44004, 45002})  # kind of message, parameter, empty, too long


class WeComNotifier:
    """Sends markdown to a group."""

    limits: tuple[RateLimit, ...] = (RateLimit(20, 60.0),)
    batch_size = 10

    def __init__(self, settings: WeComSettings, clock: Clock = time.time) -> None:
        self.name = settings.name
        self._mentions = settings.mentions
        self._service = ServiceCaller(settings, "errcode", _TOO_MANY, unwanted=_UNWANTED, clock=clock)

    def send(self, messages: Sequence[Message]) -> Delivery:
        """Send one message in full, or several as a digest."""
        mention = " ".join(f"<@{harmless(user)}>" for user in self._mentions)
        if not any(message.severity is Severity.CRITICAL for message in messages):
            mention = ""
        if len(messages) == 1:
            content = markdown(messages[0], _LIMIT_BYTES, mention)
        else:
            title, lines = digest(messages, _LIMIT_BYTES - len(mention.encode()) - 16)
            content = f"### {title}\n{lines}" + (f"\n{mention}" if mention else "")
        return self._service.post({"msgtype": "markdown", "markdown": {"content": content}})

    def close(self) -> None:
        """Give connections back."""
        self._service.close()
