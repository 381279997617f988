"""What the running ruler does on the side: rollups, digests, retention, and how flow instances went."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import psycopg
import structlog

from ..metrics.specification.flow import FlowSpec
from ..metrics.store.store import Store
from ..metrics.store.transition_counting import count_tail, count_transitions

__all__ = ["count_ways", "keep_house"]

_log = structlog.get_logger("cxgauge.service")
_COMPACT_SECONDS: Final = 20.0
_EXPIRE_SECONDS: Final = 3600.0
_TRANSITIONS_SECONDS: Final = 300.0
_TAIL_SECONDS: Final = 30.0
_TAIL_PART: Final = 20.0  # the pause is so many times as long as counting took
_HOURS_SECONDS: Final = 120.0


def keep_house(store: Store, stop: threading.Event) -> None:
    """Add up closed windows often, remove what is too old now and then; both can be cut off at any moment."""
    expired_at = float("-inf")
    while not stop.wait(_COMPACT_SECONDS):
        try:
            store.compact(stop.is_set)
            store.digest(stop.is_set, _COMPACT_SECONDS)
            if time.monotonic() - expired_at > _EXPIRE_SECONDS:
                store.expire(stop.is_set)
                expired_at = time.monotonic()
        except psycopg.Error as error:
            _log.warning("housekeeping waits", error=f"{type(error).__name__}: {error}")


def count_ways(
    store: Store, flows: Callable[[], Mapping[str, FlowSpec]], clock: Callable[[], float], stop: threading.Event
) -> None:
    """Count how flow instances went: the last hours again and again, others once they are over.

    An hour that is cut off is counted later.
    """
    pause_seconds, hours_at = _COMPACT_SECONDS, float("-inf")
    while not stop.wait(pause_seconds):
        began = time.monotonic()
        ends = {name: flow.ends for name, flow in flows().items()}
        try:
            count_tail(store, ends, clock())
            pause_seconds = _TAIL_PART * (time.monotonic() - began)
            if began - hours_at >= _TRANSITIONS_SECONDS:
                until = began + _HOURS_SECONDS  # then the tail comes first again
                late = partial(_is_over, stop, until)
                count_transitions(store, ends, clock(), late)
                hours_at = began if time.monotonic() < until else float("-inf")
        except psycopg.Error as error:
            _log.warning("counting of transitions waits", error=f"{type(error).__name__}: {error}")
        pause_seconds = min(max(pause_seconds, _TAIL_SECONDS), _TRANSITIONS_SECONDS)


def _is_over(stop: threading.Event, until: float) -> bool:
    return stop.is_set() or time.monotonic() > until
