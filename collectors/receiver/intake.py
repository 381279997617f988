"""The way of a received request to disk: decoded, judged, stripped of duplicates, appended, confirmed.

One thread does it for all requests of the process. It takes whatever waits, keeps each request's error to that
request, and confirms all of them with one sync, so that concurrent senders share the cost of the disk. A request is
answered only when what it brought is on disk; the memory of seen spans is touched only by this thread, in the order
of the appends, so that a retry is never confirmed before the original is safe.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from ...metrics.observation import ObservationBatch
from ...metrics.quality import QualityCounts, Reason
from ..spool import SpoolWriter
from ..spool.segment import SpoolError, SpoolFull
from .duplicate_window import DuplicateWindow
from .otlp_decode import Refusals

__all__ = ["Intake", "IntakeCounters", "IntakeFull", "Mapped"]

_RECORDS_PER_BATCH = 65_536  # far below the spool's limit of a record's bytes
_GROUP_REQUESTS = 64
_NOW_AND_THEN_SECONDS = 5.0


@dataclass(slots=True)
class Mapped:
    """What a request came to.

    Attributes:
        batch: The observations; None when there are none.
        ignored: Records that are no step of any flow: taken, of no interest.
        refusals: Records that could not be taken, by reason.
        duplicates: Records dropped because they had been received before; filled in by :class:`Intake`.
        repeated: They by flow, step and hour.
        corrected: Observations whose time was ahead of ours, by flow, step and hour.
    """

    batch: ObservationBatch | None = None
    ignored: int = 0
    refusals: Refusals = field(default_factory=Refusals)
    duplicates: int = 0
    repeated: QualityCounts = field(default_factory=QualityCounts)
    corrected: QualityCounts = field(default_factory=QualityCounts)


@dataclass(slots=True)
class IntakeCounters:
    """What has come in since start, for ``/metrics``; written by the intake thread, read by any."""

    requests: int = 0
    observations: int = 0
    ignored: int = 0
    duplicates: int = 0
    refused: int = 0
    failed_requests: Counter[str] = field(default_factory=Counter)
    syncs: int = 0


class IntakeFull(Exception):  # noqa: N818 - a state, named as the receiver speaks of it
    """More requests wait than the limit allows; the sender shall try again."""


@dataclass(slots=True)
class _Job:
    work: Callable[[], Mapped]
    future: Future[Mapped]


class Intake:
    """Runs requests on its own thread and confirms them in groups.

    Args:
        spool: Where observations go; must be of policy ``always`` for "accepted means on disk".
        window: Memory of seen spans.
        waiting_limit: Most requests that may wait.
        before_append: Makes durable what the requests left elsewhere; runs before they are appended and confirmed.
        now_and_then: Runs every few seconds, also when nothing comes in.
        when_full: Runs when the spool refuses an append for lack of room.
        clock: Seconds since 1970.

    What is left out is counted by flow, step and hour, and goes to the spool with what is taken.
    """

    def __init__(
        self,
        spool: SpoolWriter,
        window: DuplicateWindow,
        *,
        waiting_limit: int = 1024,
        before_append: Callable[[], None] | None = None,
        now_and_then: Callable[[], None] | None = None,
        when_full: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._left_out = QualityCounts()  # not in the spool yet; of the intake's thread
        self._requests: Counter[str] = Counter()  # refused before they came here; of any thread
        self._requests_lock = threading.Lock()
        self.counters = IntakeCounters()
        self._spool = spool
        self._window = window
        self._waiting: deque[_Job] = deque()
        self._waiting_limit = waiting_limit
        self._wake = threading.Condition()
        self._closing = False
        self._before_append = before_append
        self._now_and_then = now_and_then
        self._when_full = when_full
        self._next_time = time.monotonic() + _NOW_AND_THEN_SECONDS
        self._thread = threading.Thread(target=self._run, name="cxgauge-intake", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Mapped]) -> Future[Mapped]:
        """Queue ``work`` and return the future of its confirmed result.

        Args:
            work: Decodes and judges; runs on the intake thread. Its exception becomes the future's.

        Returns:
            A future that completes once the observations are on disk. Its exception is a
            :class:`~cxgauge.collectors.spool.SpoolError` where they are not.

        Raises:
            IntakeFull: too many requests wait, or the intake is closing.
        """
        future: Future[Mapped] = Future()
        with self._wake:
            if self._closing:
                raise IntakeFull("the receiver is shutting down")
            if len(self._waiting) >= self._waiting_limit:
                raise IntakeFull(f"{self._waiting_limit} requests are waiting already")
            self._waiting.append(_Job(work, future))
            self._wake.notify()
        return future

    def count_request(self, reason: Reason) -> None:
        """Count a request that was refused; from any thread."""
        with self._requests_lock:
            self._requests[reason] += 1

    def close(self) -> None:
        """Finish what waits, then end the thread; may be called twice. The spool stays open."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._waiting and not self._closing:
                    self._wake.wait(_NOW_AND_THEN_SECONDS)
                if not self._waiting and self._closing:
                    self._append_counts()
                    return
                group = [self._waiting.popleft() for _ in range(min(_GROUP_REQUESTS, len(self._waiting)))]
            try:
                if group:
                    self._process(group)
                if time.monotonic() >= self._next_time:
                    self._next_time = time.monotonic() + _NOW_AND_THEN_SECONDS
                    self._maintain()
            except Exception as error:
                for job in group:
                    if not job.future.done():
                        job.future.set_exception(error)

    def _maintain(self) -> None:
        with contextlib.suppress(SpoolError):  # told by the next append
            self._spool.maintain()
        self._append_counts()
        if self._now_and_then is not None:
            self._now_and_then()

    def _append_counts(self) -> None:
        """Put what was left out into the spool by itself; when that fails it waits for more."""
        counts = self._waiting_counts()
        if not counts:
            return
        try:
            self._spool.append(counts.batch())
            self._left_out = QualityCounts()
        except SpoolFull:
            return
        except (SpoolError, OSError, ValueError):
            self._left_out = QualityCounts()  # rather lost than counted twice: they may be in the spool

    def _waiting_counts(self) -> QualityCounts:
        with self._requests_lock:
            requests, self._requests = self._requests, Counter()
        for reason, count in requests.items():
            self._left_out.add(reason, count, self._clock())
        return self._left_out

    def _process(self, group: list[_Job]) -> None:
        done: list[tuple[_Job, Mapped]] = []
        for job in group:
            if not job.future.set_running_or_notify_cancel():
                continue  # its sender has given up waiting and will send it again
            self.counters.requests += 1
            try:
                done.append((job, job.work()))
            except Exception as error:
                self.counters.failed_requests[type(error).__name__] += 1
                job.future.set_exception(error)
        batches = self._without_duplicates([mapped for _, mapped in done])
        left_out = self._left_out_of(mapped for _, mapped in done)
        try:
            kept = [piece for batch in batches if batch is not None for piece in _pieces(batch)]
            if self._before_append is not None:
                self._before_append()
            if kept:
                counts = QualityCounts(self._waiting_counts().amounts)
                counts.add_all(left_out)
                self._spool.append_many([*kept, counts.batch()] if counts else kept)
                self._left_out, left_out = QualityCounts(), QualityCounts()
                self.counters.syncs += 1
        except (SpoolError, OSError, ValueError, sqlite3.Error) as error:
            self._give_up(done, batches, error)
            return
        self._left_out.add_all(left_out)  # of requests that brought nothing to append
        for job, mapped in done:
            self._count(mapped)
            job.future.set_result(mapped)

    def _without_duplicates(self, group: list[Mapped]) -> list[ObservationBatch | None]:
        """What is new of each request; the whole group is looked up at once."""
        filled = [mapped.batch for mapped in group if mapped.batch is not None and len(mapped.batch)]
        if not filled:
            return [None] * len(group)
        new = self._window.admit(
            np.concatenate([batch.records["trace_id"] for batch in filled]),
            np.concatenate([batch.records["span_id"] for batch in filled]),
        )
        if new.all():
            return [mapped.batch for mapped in group]
        found: list[ObservationBatch | None] = []
        position = 0
        for mapped in group:
            batch = mapped.batch
            if batch is not None:
                kept = new[position : position + len(batch)]
                position += len(batch)
                mapped.duplicates = int(len(kept) - kept.sum())
                again = batch.records[~kept]
                mapped.repeated.add_rows(Reason.DUPLICATE, batch.series, again["series"], again["observed_at_us"])
                batch = ObservationBatch(batch.series, batch.records[kept]) if kept.any() else None
            found.append(batch)
        return found

    def _left_out_of(self, group: Iterable[Mapped]) -> QualityCounts:
        """What the requests bring that is not taken, or not as it is."""
        now = self._clock()
        counts = QualityCounts()
        for mapped in group:
            refusals = mapped.refusals
            counts.add_all(mapped.repeated)
            counts.add_all(mapped.corrected)
            for (flow, step), count in refusals.places.items():
                counts.add(Reason.INVALID, count, now, flow, step)
            for flow, count in refusals.forbidden.items():
                counts.add(Reason.NOT_ALLOWED, count, now, flow)
            unknown = refusals.count - refusals.places.total() - refusals.forbidden.total()
            counts.add(Reason.INVALID, unknown, now)
        return counts

    def _give_up(
        self, done: list[tuple[_Job, Mapped]], batches: list[ObservationBatch | None], error: Exception
    ) -> None:
        if isinstance(error, SpoolFull) and self._when_full is not None:
            self._when_full()
        if not isinstance(error, SpoolFull):
            self._left_out = QualityCounts()  # rather lost than counted twice: they may be in the spool
        for batch in batches:
            if batch is not None:
                self._window.forget(batch.records["trace_id"], batch.records["span_id"])
                records = batch.records
                self._left_out.add_rows(Reason.NOT_TAKEN, batch.series, records["series"], records["observed_at_us"])
        for job, _ in done:
            self.counters.failed_requests[type(error).__name__] += 1
            job.future.set_exception(error)

    def _count(self, mapped: Mapped) -> None:
        counters = self.counters
        counters.observations += (0 if mapped.batch is None else len(mapped.batch)) - mapped.duplicates
        counters.ignored += mapped.ignored
        counters.duplicates += mapped.duplicates
        counters.refused += mapped.refusals.count


def _pieces(batch: ObservationBatch) -> list[ObservationBatch]:
    """The batch in parts small enough for a spool record."""
    if len(batch) <= _RECORDS_PER_BATCH:
        return [batch]
    starts = range(0, len(batch), _RECORDS_PER_BATCH)
    return [ObservationBatch(batch.series, batch.records[start : start + _RECORDS_PER_BATCH]) for start in starts]
