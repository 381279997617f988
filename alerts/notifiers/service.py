"""What notifiers of chat services have in common: an address read anew each time, and answers with an error code."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from ...metrics.configuration.secret import Secret, SecretError
from ..http import HttpCaller, encode
from ..notifier import Delivery, Outcome

__all__ = ["Clock", "ServiceCaller"]

Clock = Callable[[], float]
_SAID_LENGTH = 80
_KEY_LENGTH = 6  # no key is as short


class _Settings(Protocol):
    @property
    def url(self) -> Secret: ...
    @property
    def timeout_seconds(self) -> float: ...


class ServiceCaller:
    """Calls one service whose answers carry ``code_name`` (0 when all is well) with HTTP status 200.

    Args:
        settings: Address and patience.
        code_name: Name of the error code in the answer.
        busy: Codes that mean "later": too many calls, the service is overloaded.
        busy_seconds: How long to wait after such a code at least.
        unwanted: Codes that find fault with the message itself: sending it again would not help. All others, a wrong
            address or signature above all, are tried again: people mend those.
        clock: Seconds since 1970 UTC.
    """

    def __init__(
        self,
        settings: _Settings,
        code_name: str = "",
        busy: frozenset[int] = frozenset(),
        busy_seconds: float = 60.0,
        unwanted: frozenset[int] = frozenset(),
        clock: Clock = time.time,
    ) -> None:
        self._settings = settings
        self._code_name = code_name
        self._busy = busy
        self._busy_seconds = busy_seconds
        self._unwanted = unwanted
        self._caller = HttpCaller(settings.timeout_seconds)
        self.clock = clock

    def post(self, payload: Any, finish: Callable[[str], str] = lambda url: url) -> Delivery:
        """POST a payload; ``finish`` completes the address, with a signature for example."""
        try:
            url = finish(self._settings.url.reveal())
        except SecretError as error:
            return Delivery(Outcome.RETRY, str(error))
        delivery, answer = self._caller.post(url, encode(payload))
        if delivery.outcome is not Outcome.SENT or not self._code_name:
            return delivery
        code = answer.get(self._code_name) if isinstance(answer, dict) else None
        if code == 0:
            return delivery
        if not isinstance(code, int) or isinstance(code, bool):
            return Delivery(Outcome.RETRY, f"{delivery.detail} without {self._code_name}")
        detail = f"{delivery.detail} with {self._code_name} {code}{_said(answer, url)}"
        if code in self._unwanted:
            return Delivery(Outcome.REFUSED, detail)
        return Delivery(Outcome.RETRY, detail, self._busy_seconds if code in self._busy else None)

    def close(self) -> None:
        """Give connections back."""
        self._caller.close()


def _said(answer: dict[str, Any], url: str) -> str:
    """The service's own words, on one short line; nothing when they repeat a part of the address that may be a key."""
    text = answer.get("errmsg", answer.get("msg"))
    if not isinstance(text, str) or not text.strip():
        return ""
    line = " ".join(text.split())
    parts = urlsplit(url)
    keys = [value for _, value in parse_qsl(parts.query)] + parts.path.split("/")
    if any(len(key) >= _KEY_LENGTH and key in line for key in keys):
        return ""
    return f": {line if len(line) <= _SAID_LENGTH else line[: _SAID_LENGTH - 1] + '…'}"
