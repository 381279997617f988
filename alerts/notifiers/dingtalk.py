"""DingTalk (钉钉) custom robots, signed (加签).

Documentation: https://open.dingtalk.com/document/robots/custom-robot-access and, for the signature,
https://open.dingtalk.com/document/robots/customize-robot-security-settings: ``sign`` is base64 of HMAC-SHA256 with
the secret as key over timestamp, line end, secret; the timestamp is in milliseconds, and both go into the address. Kept
limits: 20 messages a minute a robot (beyond it the robot is silenced for ten minutes), 20,000 bytes a message;
both, and the codes of the answer, which comes with HTTP status 200, from
https://open.dingtalk.com/document/orgapp/custom-robots-send-group-messages. Wrong signature, keyword or address
(310000), an unknown token (400101) and a robot that is off (400102) are tried again until the message is given up.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Sequence
from urllib.parse import urlencode

from ...metrics.configuration.notifiers import DingTalkNotifier as DingTalkSettings
from ..alert import Severity
from ..markdown import digest, harmless, markdown
from ..message import Message
from ..notifier import Delivery, RateLimit
from .service import Clock, ServiceCaller

__all__ = ["DingTalkNotifier", "sign"]

_LIMIT_BYTES = 18_000
_TOO_MANY = frozenset({-1, 90030, 90018, 130101, 410100})  # busy, over the limit of calls, sent too fast
_SILENCED_SECONDS = 600.0
_UNWANTED = frozenset({40035, 43004, 400105, 430101, 430102, 430103, 430104, 460101})
"""Not JSON as it should be, kind of message, links, words, pictures or content that are not let through, too long."""


class DingTalkNotifier:
    """Sends markdown to a group."""

    limits: tuple[RateLimit, ...] = (RateLimit(20, 60.0),)
    batch_size = 20

    def __init__(self, settings: DingTalkSettings, clock: Clock = time.time) -> None:
        self.name = settings.name
        self._settings = settings
        self._service = ServiceCaller(settings, "errcode", _TOO_MANY, _SILENCED_SECONDS, _UNWANTED, clock)

    def send(self, messages: Sequence[Message]) -> Delivery:
        """Send one message in full, or several as a digest."""
        critical = any(message.severity is Severity.CRITICAL for message in messages)
        mobiles = list(self._settings.mentions) if critical else []
        mention = " ".join(f"@{harmless(mobile)}" for mobile in mobiles)
        if len(messages) == 1:
            title, text = harmless(messages[0].subject), markdown(messages[0], _LIMIT_BYTES, mention)
        else:
            title, lines = digest(messages, _LIMIT_BYTES)
            text = f"### {title}\n\n{lines}" + (f"\n\n{mention}" if mention else "")
        payload = {
            "msgtype": "markdown",
            "markdown": {"title": title, "text": text},
            "at": {"atMobiles": mobiles, "isAtAll": False},
        }
        return self._service.post(payload, self._signed)

    def close(self) -> None:
        """Give connections back."""
        self._service.close()

    def _signed(self, url: str) -> str:
        if self._settings.secret is None:
            return url
        timestamp = round(self._service.clock() * 1000)
        query = urlencode({"timestamp": timestamp, "sign": sign(self._settings.secret.reveal(), timestamp)})
        return f"{url}{'&' if '?' in url else '?'}{query}"


def sign(secret: str, timestamp_milliseconds: int) -> str:
    """The signature that proves knowledge of the secret at a time."""
    signed = f"{timestamp_milliseconds}\n{secret}".encode()
    return base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()
