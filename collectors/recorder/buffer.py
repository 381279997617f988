"""What stands between the host's threads and the spool: a bounded buffer, emptied by a thread of its own.

The host's side is :meth:`Buffer.add`: a length check and an append, no lock, no system call. Everything that can take
time, fail or block happens on the flush thread.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Buffer", "DropReason", "Drops", "Sink"]

_LOGGER = logging.getLogger("cxgauge.recorder")
_TAKEN_AT_ONCE = 8192
_START_RETRY_SECONDS = 1.0


class DropReason:
    """Why an observation was not recorded."""

    BUFFER_FULL = "buffer_full"  # the flush thread did not keep up, or the disk hangs
    SPOOL_FULL = "spool_full"  # the spool refuses at its limits: nobody reads it, or the disk is full
    SPOOL_ERROR = "spool_error"  # the disk failed
    UNKNOWN_FLOW = "unknown_flow"  # a flow that no specification declares
    UNKNOWN_STEP = "unknown_step"  # a step that the flow does not declare
    NO_FLOW = "no_flow"  # a step outside any flow
    NOT_CONFIGURED = "not_configured"  # the recorder has no specifications or no spool
    INTERNAL_ERROR = "internal_error"  # the recorder failed; the host was not disturbed


class Drops:
    """Counts what is not recorded, by reason, flow and step; safe from any thread and from signal handlers."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Start from zero, as a forked child does."""
        self._counts: dict[tuple[str, str, str], int] = {}
        self._lock = threading.RLock()  # re-entrant: a signal handler may drop while its thread is dropping

    def add(self, reason: str, count: int = 1, *, flow: str = "", step: str = "") -> None:
        """Count; only names that a specification declares, so that there are few."""
        with self._lock:
            self._counts[reason, flow, step] = self._counts.get((reason, flow, step), 0) + count

    def counts(self) -> dict[str, int]:
        """What was counted so far, by reason."""
        found: dict[str, int] = {}
        for (reason, _, _), count in self.places().items():
            found[reason] = found.get(reason, 0) + count
        return found

    def places(self) -> dict[tuple[str, str, str], int]:
        """What was counted so far, by reason, flow and step; these are empty where they are not known."""
        with self._lock:
            return dict(self._counts)


class Sink(Protocol):
    """Where a buffer's entries go. All but :meth:`forked` run on the flush thread."""

    def ready(self) -> str | None:
        """None when everything taken so far is settled and more can be taken; else why not, a :class:`DropReason`."""

    def take(self, entries: list[Any]) -> None:
        """Take entries for good."""

    def idle(self) -> None:
        """Do what is due from time to time."""

    def end(self) -> None:
        """Close what is open; nothing comes any more."""

    def forked(self) -> None:
        """Forget, in a forked child, what belongs to the parent."""


class Buffer:
    """A bounded queue of entries of any kind, and the daemon thread that empties it.

    Args:
        sink: Where entries go.
        drops: Where entries that found no room are counted.
        limit: Most entries held; more are dropped and counted.
        interval_seconds: How long entries wait at most for the flush thread.
        exit_timeout_seconds: How long the end of the process may be held up.
        place: Flow and step of an entry, for counting; must not raise.

    After a fork the child has an empty buffer, counters at zero and, with the first entry, a thread of its own;
    what the parent had buffered is the parent's.
    """

    def __init__(
        self,
        sink: Sink,
        drops: Drops,
        *,
        limit: int,
        interval_seconds: float,
        exit_timeout_seconds: float,
        place: Callable[[Any], tuple[str, str]] = lambda _entry: ("", ""),
    ) -> None:
        self._sink = sink
        self._place = place
        self.drops = drops
        self._limit = limit
        self._wake_at = max(1, min(limit // 2, _TAKEN_AT_ONCE))
        self._interval = interval_seconds
        self._exit_timeout = exit_timeout_seconds
        self.closed = False
        self._renew()
        _ALL.add(self)

    def _renew(self) -> None:
        self.entries: deque[Any] = deque()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._start_again_at = 0.0
        self._bell = threading.Lock()  # held; releasing it wakes the flush thread, which takes it again
        self._bell.acquire()
        self.calm_below = 0  # with fewer entries than this, an entry may be appended without further ado
        self._waiting: deque[threading.Event] = deque()
        self._full_reason = DropReason.BUFFER_FULL
        self._reported = 0

    # The host's side

    def add(self, entry: Any) -> bool:
        """Queue an entry; False when it was dropped. Never blocks and never raises."""
        entries = self.entries
        waiting = len(entries)
        if waiting >= self._limit:
            self._drop(entry)
            return False
        entries.append(entry)
        if self._thread is None:
            self._start()
        elif waiting == self._wake_at:
            self._ring()
        return True

    def _drop(self, entry: Any) -> None:
        flow, step = self._place(entry)
        self.drops.add(self._full_reason, flow=flow, step=step)

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until everything queued before the call has been flushed; False when time ran out."""
        if self._thread is None:
            if not self.entries:
                return True
            self._start()
        done = threading.Event()
        self._waiting.append(done)
        self._ring()
        return done.wait(timeout_seconds)

    def close(self, timeout_seconds: float | None = None) -> bool:
        """Flush, then end the thread; False when time ran out: a daemon thread, it then ends with the process."""
        self.closed = True
        thread = self._thread
        if thread is None and self.entries:
            self._start()
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return thread is None
        self._ring()
        thread.join(self._exit_timeout if timeout_seconds is None else timeout_seconds)
        return not thread.is_alive()

    def _ring(self) -> None:
        # A bare lock, because an Event's own lock would deadlock when a signal handler rings during a ring.
        with contextlib.suppress(RuntimeError):
            self._bell.release()

    def _start(self) -> None:
        if not self._start_lock.acquire(blocking=False):
            return
        try:
            if self._thread is None and time.monotonic() >= self._start_again_at:
                thread = threading.Thread(target=self._run, name="cxgauge-recorder", daemon=True)
                thread.start()
                self._thread = thread
                self.calm_below = self._wake_at
                self._close_before_multiprocessing_ends()
        except Exception:
            self._start_again_at = time.monotonic() + _START_RETRY_SECONDS
        finally:
            self._start_lock.release()

    def _close_before_multiprocessing_ends(self) -> None:
        # A child of multiprocessing leaves by os._exit, past atexit, and runs these instead.
        process = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None:
            from multiprocessing.util import Finalize

            Finalize(None, self.close, exitpriority=100)

    # The flush thread's side

    def _run(self) -> None:
        while True:
            self._bell.acquire(timeout=0 if self.closed else self._interval)
            closing = self.closed
            waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
            emptied = self._empty()
            self._guarded(self._sink.idle)
            if emptied or closing:
                for done in waiting:
                    done.set()
            else:
                self._waiting.extend(waiting)
            self._report()
            if closing:
                self._drop_rest()
                self._guarded(self._sink.end)
                return

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:
            _LOGGER.exception("the recorder's flush thread goes on after an error")

    def _empty(self) -> bool:
        """Flush what is queued now; False when not all of it could be settled."""
        left = len(self.entries)
        while self._ready():
            if left <= 0:
                return True
            taken = [self.entries.popleft() for _ in range(min(left, _TAKEN_AT_ONCE))]
            left -= len(taken)
            try:
                self._sink.take(taken)
            except Exception:
                self.drops.add(DropReason.INTERNAL_ERROR, len(taken))
                _LOGGER.exception("the recorder lost %d observations", len(taken))
        return False

    def _ready(self) -> bool:
        try:
            reason = self._sink.ready()
        except Exception:
            reason = DropReason.INTERNAL_ERROR
            _LOGGER.exception("the recorder cannot write at present")
        self._full_reason = reason or DropReason.BUFFER_FULL
        return reason is None

    def _drop_rest(self) -> None:
        if self.entries:
            for entry in self.entries:
                self._drop(entry)
            self.entries.clear()

    def _report(self) -> None:
        """Tell the log of new drops, at most once an interval."""
        drops = self.drops.counts()
        total = sum(drops.values())
        if total > self._reported:
            _LOGGER.warning("%d observations were not recorded so far: %s", total, drops)
            self._reported = total

    def after_fork(self) -> None:
        """Start anew in a forked child."""
        self._renew()
        self.drops.renew()
        self._sink.forked()


_ALL: weakref.WeakSet[Buffer] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for buffer in list(_ALL):
        buffer.after_fork()


def _at_exit() -> None:
    for buffer in list(_ALL):
        with contextlib.suppress(Exception):
            buffer.close()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)
