"""Calling a service over HTTP: bounded, without following redirects, without secrets in what is logged."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2 as httpx

from .notifier import Delivery, Outcome

__all__ = ["Answer", "HttpCaller", "encode"]

_UNWANTED = {400, 413, 415, 422}  # the message itself is at fault: sending it again would not help
_ANSWER_LIMIT = 65536
_LONGEST_WAIT_SECONDS = 3600.0

Answer = tuple[Delivery, Any]
"""The outcome by HTTP status, and the body when it was JSON."""


def encode(payload: Any) -> bytes:
    """Compact JSON in UTF-8, Chinese as it is."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


class HttpCaller:
    """One service's client.

    Redirects are not followed: an address in a configuration file is where the message may go, and
    nowhere else. Errors name the host, never the path, which holds the key of most chat services.
    """

    def __init__(self, timeout_seconds: float = 10.0, verify: bool | str = True) -> None:
        self._client = httpx.Client(timeout=httpx.Timeout(timeout_seconds), verify=verify, trust_env=True)

    def post(self, url: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """POST ``body`` as JSON.

        2xx is sent. What is the message's own fault (400, 413, 415, 422) is refused. Everything else is worth another
        try, a wrong address or key included: people mend those, and nothing must be lost meanwhile.
        """
        try:
            host = httpx.URL(url).host
        except (httpx.InvalidURL, TypeError):
            host = ""
        if not host:
            return Delivery(Outcome.RETRY, "the configured address is not a URL; write https://host/path"), None
        sent = {"content-type": "application/json; charset=utf-8", "user-agent": "cxgauge", **(headers or {})}
        try:
            with self._client.stream("POST", url, content=body, headers=sent) as response:
                answer = _read(response)
        except httpx.TimeoutException:
            return Delivery(Outcome.RETRY, f"{host} did not answer in time"), None
        except (httpx.HTTPError, OSError) as error:
            return Delivery(Outcome.RETRY, f"{host} cannot be reached ({type(error).__name__})"), None
        status = response.status_code
        if 200 <= status < 300:
            return Delivery(Outcome.SENT, f"{host} answered {status}"), answer
        wait = _retry_after(response.headers.get("retry-after"), time.time())
        outcome = Outcome.REFUSED if status in _UNWANTED else Outcome.RETRY
        return Delivery(outcome, f"{host} answered {status}", wait), answer

    def close(self) -> None:
        """Give connections back."""
        self._client.close()


def _read(response: httpx.Response) -> Any:
    body = b""
    for part in response.iter_bytes():
        body += part
        if len(body) > _ANSWER_LIMIT:
            return None
    try:
        return json.loads(body)
    except ValueError:
        return None


def _retry_after(value: str | None, now: float) -> float | None:
    """Seconds asked for by a Retry-After header, a number or a date (RFC 9110, 10.2.3); at most an hour."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS) if seconds == seconds else None  # noqa: PLR0124 (NaN)
