"""What notifiers of chat services have in common: an address read anew each time, and answers with an error code."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from ...metrics.configuration.secret import Secret, SecretError
from ..http import HttpCaller, encode
from ..notifier import Delivery, Outcome

__all__ = ["Clock", "ServiceCaller"]

Clock = Callable[[], float]


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
        clock: Seconds since 1970 UTC.
    """

    def __init__(
        self,
        settings: _Settings,
        code_name: str = "",
        busy: frozenset[int] = frozenset(),
        busy_seconds: float = 60.0,
        clock: Clock = time.time,
    ) -> None:
        self._settings = settings
        self._code_name = code_name
        self._busy = busy
        self._busy_seconds = busy_seconds
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
        detail = f"{delivery.detail} with {self._code_name} {code}"
        if not isinstance(code, int):
            return Delivery(Outcome.RETRY, f"{delivery.detail} without {self._code_name}")
        return Delivery(Outcome.RETRY, detail, self._busy_seconds if code in self._busy else None)

    def close(self) -> None:
        """Give connections back."""
        self._caller.close()
