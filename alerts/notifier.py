"""What a notifier is, what became of a message, when to try again and how fast to go."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from .message import Message

__all__ = ["Delivery", "Notifier", "Outcome", "RateLimit", "RetryPolicy"]


class Outcome(StrEnum):
    """What became of an attempt."""

    SENT = "sent"
    RETRY = "retry"  # the service was down, slow or asked for patience
    REFUSED = "refused"  # the service will not take it however often it is asked


@dataclass(frozen=True, slots=True)
class Delivery:
    """The result of one attempt; ``detail`` holds no secret and no customer data."""

    outcome: Outcome
    detail: str = ""
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most ``calls`` calls in any ``seconds``."""

    calls: int
    seconds: float


class Notifier(Protocol):
    """Sends messages to one place.

    Attributes:
        name: As configured; part of the outbox's key.
        limits: The service's stated limits, kept by the dispatcher over restarts.
        batch_size: How many messages one call may carry; more than one only where the service reads a
            list or a person reads a digest.
    """

    name: str
    limits: tuple[RateLimit, ...]
    batch_size: int

    def send(self, messages: Sequence[Message]) -> Delivery:
        """Send one to :attr:`batch_size` messages in one call.

        Bounded in time; trouble with the service is an outcome, not an exception.
        """

    def close(self) -> None:
        """Give connections back."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter, so that many senders do not come back at once.

    See https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/ (2015). A message is
    given up after ``give_up_seconds``; it stays in the outbox, marked, and is counted.
    """

    first_seconds: float = 2.0
    longest_seconds: float = 300.0
    give_up_seconds: float = 86400.0

    def delay(self, attempts: int, asked_seconds: float | None, rng: random.Random) -> float:
        """Seconds until the next attempt after ``attempts`` failed ones; never less than the service asked for."""
        ceiling = min(self.longest_seconds, self.first_seconds * 2.0 ** min(attempts - 1, 30))
        return max(rng.uniform(ceiling / 2, ceiling), asked_seconds or 0.0)
