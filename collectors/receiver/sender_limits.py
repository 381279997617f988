"""What a sender may send: for which flows, and how much a second."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from ...metrics.observation import ObservationBatch
from .intake import Mapped
from .sender_tokens import Sender

__all__ = ["SenderLimits", "within_scope"]

_SENDERS_LIMIT = 10_000
_BURST_SECONDS = 10.0


class SenderLimits:
    """An allowance of bytes for each sender that refills with time; safe from any thread.

    A request is taken as long as the allowance is not used up, whatever its size, and may overdraw it once: so large
    requests pass, and the average holds.

    Args:
        bytes_per_second: The refill; None: no limit.
        timer: Monotonic seconds.
    """

    def __init__(self, bytes_per_second: int | None, timer: Callable[[], float] = time.monotonic) -> None:
        self._rate = bytes_per_second
        self._timer = timer
        self._lock = threading.Lock()
        self._senders: OrderedDict[str, tuple[float, float]] = OrderedDict()  # allowance left, when that was

    def exceeded(self, sender: str) -> bool:
        """Whether ``sender`` has used up its allowance."""
        with self._lock:
            return self._rate is not None and self._left(sender, self._rate) <= 0

    def charge(self, sender: str, size: int) -> None:
        """Take ``size`` bytes off the allowance of ``sender``."""
        if self._rate is None:
            return
        with self._lock:
            self._senders[sender] = (self._left(sender, self._rate) - size, self._timer())
            self._senders.move_to_end(sender)
            while len(self._senders) > _SENDERS_LIMIT:
                self._senders.popitem(last=False)

    def _left(self, sender: str, rate: int) -> float:
        full = rate * _BURST_SECONDS
        left, at = self._senders.get(sender, (full, self._timer()))
        return min(full, left + (self._timer() - at) * rate)


def within_scope(mapped: Mapped, sender: Sender) -> Mapped:
    """``mapped`` without observations of flows that ``sender`` may not send for; they are refused by name."""
    batch = mapped.batch
    if sender.flows is None or batch is None or all(key.flow in sender.flows for key in batch.series):
        return mapped
    allowed = np.array([key.flow in sender.flows for key in batch.series])
    kept = allowed[batch.records["series"]]
    for number in np.unique(batch.records["series"][~kept]):
        reason = f"token {sender.id} ({sender.name}) may not send for flow {batch.series[number].flow}"
        count = int((batch.records["series"] == number).sum())
        mapped.refusals.add(reason, count)
        mapped.refusals.forbidden[batch.series[number].flow] += count
    mapped.batch = ObservationBatch(batch.series, batch.records[kept]) if kept.any() else None
    return mapped
