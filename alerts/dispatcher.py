"""The dispatcher: takes messages from the outbox and hands them to notifiers, at least once and in order.

A message is in the database before anybody tries to send it. It is claimed for a while, sent, and marked; whoever
dies in between leaves it to be sent again when the claim ends, with the same key. Calls are noted in the
database too, so that a service's rate limit is kept over restarts; what has piled up goes out as
one digest where the service allows that.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
import structlog

from ..metrics.store.outbox import (
    ClaimedMessage,
    claim_messages,
    mark_delivered,
    mark_failed,
    mark_retry,
    note_call,
    prune_calls,
    recent_calls,
    waiting_messages,
)
from ..metrics.store.store import Store
from .message import message_from_json
from .notifier import Delivery, Notifier, Outcome, RetryPolicy

__all__ = ["Dispatched", "Dispatcher"]

_LEASE_SECONDS = 120.0
_CALLS_KEPT_SECONDS = 3600.0
_log = structlog.get_logger("cxgauge.notifications")


@dataclass(slots=True)
class Dispatched:
    """What one round did: messages delivered, put off, and given up."""

    delivered: int = 0
    put_off: int = 0
    failed: int = 0

    def __add__(self, other: Dispatched) -> Dispatched:
        return Dispatched(self.delivered + other.delivered, self.put_off + other.put_off, self.failed + other.failed)


@dataclass(slots=True)
class Dispatcher:
    """Sends what is in the outbox.

    Attributes:
        store: Where the outbox is.
        notifiers: Whom messages may be for.
        policy: When to try again and when to give up, for notifiers without a policy of their own.
        policies: Policies of single notifiers, by name.
        clock: Seconds since 1970 UTC.
        rng: For jitter.
        totals: What became of messages since the start, by notifier.
    """

    store: Store
    notifiers: Sequence[Notifier]
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    policies: Mapping[str, RetryPolicy] = field(default_factory=dict)
    clock: Callable[[], float] = time.time
    rng: random.Random = field(default_factory=random.Random)
    totals: dict[str, Dispatched] = field(default_factory=dict)
    _not_before: dict[str, float] = field(default_factory=dict)

    def step(self) -> Dispatched:
        """Send everything that is due, as far as limits allow.

        Raises:
            psycopg.Error: the database is away; nothing is lost, call again.
        """
        done = sum((self.deliver(notifier) for notifier in self.notifiers), Dispatched())
        self._tidy(done)
        return done

    def run(self, stop: threading.Event, pause_seconds: float = 1.0) -> None:
        """Send until ``stop``, each notifier on a thread of its own so that a slow one holds nobody up."""
        threads = [
            threading.Thread(
                target=self._run, args=(notifier, stop, pause_seconds), name=f"cxgauge-notify-{notifier.name}"
            )
            for notifier in self.notifiers
        ]
        for thread in threads:
            thread.start()
        while not stop.wait(60.0):
            self._quietly(lambda: self._tidy(Dispatched()))
        for thread in threads:
            thread.join(timeout=30.0)
        for notifier in self.notifiers:
            notifier.close()

    def deliver(self, notifier: Notifier) -> Dispatched:
        """Send what is due for one notifier."""
        done = Dispatched()
        while self._may_call(notifier):
            now = self.clock()
            with self.store.connection() as connection, connection.transaction():
                claimed = claim_messages(connection, notifier.name, now, now + _LEASE_SECONDS, notifier.batch_size)
                if claimed and notifier.limits:
                    note_call(connection, notifier.name, now)
            if not claimed:
                break
            one = self._send(notifier, claimed)
            self.totals[notifier.name] = self.totals.get(notifier.name, Dispatched()) + one
            done += one
        return done

    def _send(self, notifier: Notifier, claimed: Sequence[ClaimedMessage]) -> Dispatched:
        try:
            delivery = notifier.send([message_from_json(each.message) for each in claimed])
        except Exception as error:  # a fault of ours must not stop the other messages
            delivery = Delivery(Outcome.RETRY, f"{type(error).__name__} in notifier {notifier.name}")
            _log.exception("a notifier failed", notifier=notifier.name)
        now, ids = self.clock(), [each.delivery_id for each in claimed]
        policy = self.policies.get(notifier.name, self.policy)
        done = Dispatched()
        with self.store.connection() as connection, connection.transaction():
            if delivery.outcome is Outcome.SENT:
                mark_delivered(connection, ids, now)
                done.delivered = len(ids)
                return done
            over = [each.delivery_id for each in claimed if now - each.created_at >= policy.give_up_seconds]
            if delivery.outcome is Outcome.REFUSED:
                over = ids
            if over:
                mark_failed(connection, over, delivery.detail)
                _log.error("messages given up", notifier=notifier.name, messages=len(over), detail=delivery.detail)
            again = [each for each in ids if each not in over]
            attempts = max(each.attempts for each in claimed)
            delay = policy.delay(attempts, delivery.retry_after_seconds, self.rng)
            if again:
                mark_retry(connection, again, now + delay, delivery.detail)
                self._not_before[notifier.name] = now + delay
                _log.warning(
                    "messages will be sent later",
                    notifier=notifier.name, messages=len(again), seconds=round(delay, 1), detail=delivery.detail,
                )  # fmt: skip
            done.failed, done.put_off = len(over), len(again)
        return done

    def _may_call(self, notifier: Notifier) -> bool:
        """Whether the service's limits and its last answer allow a call now."""
        now = self.clock()
        if now < self._not_before.get(notifier.name, 0.0):
            return False
        if not notifier.limits:
            return True
        longest = max(limit.seconds for limit in notifier.limits)
        with self.store.connection() as connection:
            calls = recent_calls(connection, notifier.name, now - longest)
        return all(sum(call > now - limit.seconds for call in calls) < limit.calls for limit in notifier.limits)

    def _tidy(self, done: Dispatched) -> None:
        """Forget old calls; give up what waits for notifiers that are no longer configured."""
        known = {notifier.name for notifier in self.notifiers}
        with self.store.connection() as connection, connection.transaction():
            prune_calls(connection, self.clock() - _CALLS_KEPT_SECONDS)
            for waiting in waiting_messages(connection):
                if waiting.notifier not in known and self.clock() - waiting.oldest_at >= self.policy.give_up_seconds:
                    lease = self.clock() + _LEASE_SECONDS
                    orphans = claim_messages(connection, waiting.notifier, self.clock(), lease, waiting.count)
                    ids = [each.delivery_id for each in orphans]
                    mark_failed(connection, ids, f"notifier {waiting.notifier} is not configured any more")
                    done.failed += len(ids)

    def _run(self, notifier: Notifier, stop: threading.Event, pause_seconds: float) -> None:
        while not stop.is_set():
            self._quietly(lambda: self.deliver(notifier))
            stop.wait(pause_seconds)

    def _quietly(self, act: Callable[[], object]) -> None:
        try:
            act()
        except psycopg.Error as error:
            _log.error("the outbox cannot be read, trying again", error=type(error).__name__)
