"""The writer: moves observations from the spool to the store, each exactly once.

One transaction holds observations, their rollup rows and the spool position reached, so a writer or a database that is
killed at any moment goes on from the last position committed. When a connection breaks during a commit, nobody knows
whether it happened: the writer asks the store for the position and knows.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psycopg
from numpy.typing import NDArray

from ..metrics.observation import RECORD, ObservationBatch
from ..metrics.quality import QualityCounts, Reason
from ..metrics.store.store import Store
from ..metrics.store.write import Part, ResumePointMismatch, StoredPosition, WriteResult
from .spool import Chunk, ResumePoint, SpoolError, SpoolProblem, SpoolReader

__all__ = ["SOURCE_PREFIX", "Writer", "WriterProgress", "WriterSettings"]

SOURCE_PREFIX = "spool/"
"""Resume points of spool sources begin with this; other parts of the program keep points of their own."""

_RECORD_BYTES = RECORD.itemsize + 8
_REFUSALS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded, ValueError, OverflowError)
_SOURCE_AGE_SECONDS = 7 * 86_400
_UNBORN_AGE_SECONDS = 3_600
_SECONDS_2000 = 946_684_800
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """How the writer works.

    Attributes:
        rows_per_transaction: About how many observations go into one transaction at most.
        linger_seconds: How long observations may wait so that more go with them, when there are few.
        retry_first_seconds: Pause after the first failure; doubled up to …
        retry_limit_seconds: … this.
        drain_seconds: How long to go on writing what is left after being told to stop.
    """

    rows_per_transaction: int = 20_000
    linger_seconds: float = 0.5
    retry_first_seconds: float = 0.1
    retry_limit_seconds: float = 10.0
    drain_seconds: float = 10.0


@dataclass(slots=True)
class WriterProgress:
    """What the writer did since it started; plain numbers for metrics, read from any thread.

    Attributes:
        observations: Written.
        transactions: Committed.
        failures: Attempts that the database or the network made fail.
        refused: Observations that the database refused on their own account; kept in files beside the spool.
        lag_bytes: Bytes in the spool that are not yet written.
        lag_seconds: How long the oldest of them have been waiting; 0 without any.
        committed_at: When the last transaction was committed, seconds since 1970; None before the first.
        last_error: The last failure in words; None while all is well.
        counts: The remaining figures of ``WriteResult``, by name, and spool problems by kind.
        quality: What was written of ``metrics.quality.Reason``, by reason.
    """

    observations: int = 0
    transactions: int = 0
    failures: int = 0
    refused: int = 0
    lag_bytes: int = 0
    lag_seconds: float = 0.0
    committed_at: float | None = None
    last_error: str | None = None
    counts: Counter[str] = field(default_factory=Counter)
    quality: Counter[str] = field(default_factory=Counter)


class Writer:
    """Moves what is in the spool to the store until told to stop. One writer a spool.

    Args:
        store: Where to.
        reader: The spool.
        settings: How.
        on_committed: Called with the batches of each transaction after its commit, in the writer's thread.
        on_problem: Called with each stretch of the spool that could not be used, once it lies behind.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        reader: SpoolReader,
        settings: WriterSettings | None = None,
        *,
        on_committed: Callable[[list[ObservationBatch]], None] | None = None,
        on_problem: Callable[[SpoolProblem], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.progress = WriterProgress()
        self._store = store
        self._reader = reader
        self._settings = settings or WriterSettings()
        self._on_committed = on_committed
        self._on_problem = on_problem
        self._clock = clock
        self._positions: dict[str, ResumePoint] = {}
        self._in_doubt: tuple[list[Part], list[Chunk]] | None = None
        self._tidied_at = float("-inf")

    def run(self, stop: threading.Event) -> None:
        """Write until ``stop`` is set, then what is left in the spool, within the time allowed.

        Never raises on account of the database, the network or the disk: it reports, waits and goes on.
        """
        pause = 0.0
        while not stop.wait(pause):
            pause = self._pause_after(self._try_once())
        deadline = time.monotonic() + self._settings.drain_seconds
        while time.monotonic() < deadline:
            rows = self._try_once()
            if rows == 0:
                break
            if rows is None:
                time.sleep(min(self._failure_pause(), max(0.0, deadline - time.monotonic())))
        self.measure_lag()

    def write_once(self) -> int:
        """Write one transaction's worth; returns how many observations it had, 0 when the spool holds none.

        Raises:
            psycopg.Error: the database; call again, it goes on from what was committed.
            ResumePointMismatch: the store is elsewhere than thought; likewise.
        """
        self._settle_doubt()
        parts, chunks = self._gather()
        if not parts:
            self._tidy()
            return 0
        self._in_doubt = parts, chunks
        try:
            result = self._store.write_parts(parts)
        except _REFUSALS as error:
            self._in_doubt = None
            parts = self._without_refused(parts, error)
            self._in_doubt = parts, chunks
            result = self._store.write_parts(parts)
        self._in_doubt = None
        self._committed(parts, chunks, result)
        return result.observations

    def measure_lag(self) -> None:
        """Bring ``progress.lag_bytes`` and ``progress.lag_seconds`` up to date from the files of the spool."""
        backlog = self._reader.backlog(self._positions)
        waiting = [one.oldest_at for one in backlog if one.unread_bytes and one.oldest_at is not None]
        self.progress.lag_bytes = sum(one.unread_bytes for one in backlog)
        self.progress.lag_seconds = max(0.0, self._clock() - min(waiting)) if waiting else 0.0

    def _try_once(self) -> int | None:
        """One transaction; None when it failed, which is reported."""
        try:
            rows = self.write_once()
            self.measure_lag()
        except (psycopg.Error, ResumePointMismatch, SpoolError, OSError) as error:
            self._positions.clear()
            self.progress.failures += 1
            text = f"{type(error).__name__}: {error}"
            if text != self.progress.last_error:
                _log.warning("the writer waits: %s", text)
            self.progress.last_error = text
            return None
        if self.progress.last_error is not None:
            _log.info("the writer works again")
        self.progress.last_error = None
        self._consecutive_failures = 0
        return rows

    _consecutive_failures = 0

    def _pause_after(self, rows: int | None) -> float:
        if rows is None:
            return self._failure_pause()
        return 0.0 if rows >= self._settings.rows_per_transaction // 2 else self._settings.linger_seconds

    def _failure_pause(self) -> float:
        self._consecutive_failures += 1
        doubled = self._settings.retry_first_seconds * 2.0 ** min(self._consecutive_failures - 1, 20)
        return min(self._settings.retry_limit_seconds, doubled)

    def _gather(self) -> tuple[list[Part], list[Chunk]]:
        """What all sources have, until there is enough; the source served first changes, so that none starves."""
        parts: list[Part] = []
        chunks: list[Chunk] = []
        wanted = self._settings.rows_per_transaction
        sources = self._reader.sources()
        first = self.progress.transactions % len(sources) if sources else 0
        for source in sources[first:] + sources[:first]:
            position = self._position(source)
            chunk = self._reader.read(source, position, limit_bytes=wanted * _RECORD_BYTES)
            if not chunk.batches and not chunk.problems and chunk.next == position:
                if chunk.finished:
                    self._release(source, position)
                continue
            batches = (*chunk.batches, *self._damage(chunk.problems))
            parts.append(Part(SOURCE_PREFIX + source, batches, position, chunk.next))
            chunks.append(chunk)
            wanted -= sum(map(len, chunk.batches))
            if wanted <= 0:
                break
        return parts, chunks

    def _damage(self, problems: Sequence[SpoolProblem]) -> list[ObservationBatch]:
        """What could not be read, as counts that are written when it lies behind."""
        counts = QualityCounts()
        for problem in problems:
            counts.add(problem.kind.value, 1, self._clock())
        return [counts.batch()] if counts else []

    def _position(self, source: str) -> ResumePoint:
        known = self._positions.get(source)
        if known is None:
            stored = self._store.position(SOURCE_PREFIX + source)
            known = ResumePoint() if stored is None else ResumePoint(stored.segment, stored.offset)
            self._positions[source] = known
            if stored is not None:
                self._release(source, known)  # in case we were killed after the commit
        return known

    def _committed(self, parts: Sequence[Part], chunks: Sequence[Chunk], result: WriteResult) -> None:
        progress = self.progress
        progress.observations += result.observations
        progress.transactions += 1
        progress.committed_at = self._clock()
        for name in ("overflowed", "from_future", "without_time", "late", "without_duration"):
            progress.counts[name] += getattr(result, name)
        progress.counts["checks_without_position"] += result.checks_without_position
        for (_, _, _, reason), amount in result.quality.amounts.items():
            progress.quality[reason] += amount
        for part, chunk in zip(parts, chunks, strict=True):
            source = part.source.removeprefix(SOURCE_PREFIX)
            moved = chunk.next.segment != self._positions.get(source, ResumePoint()).segment
            self._positions[source] = chunk.next
            for problem in chunk.problems:
                progress.counts[problem.kind.value] += 1
                _log.error("the spool lost something: %s", problem.detail)
                if self._on_problem is not None:
                    self._on_problem(problem)
            if moved or chunk.finished:
                self._release(source, chunk.next)
        if self._on_committed is not None and result.observations:
            try:
                self._on_committed([batch for part in parts for batch in part.batches])
            except Exception:  # a fault of a listener must not stop the writer
                _log.exception("a listener of the writer failed")

    def _settle_doubt(self) -> None:
        """Find out whether the transaction during which the connection broke was committed."""
        if self._in_doubt is None:
            return
        parts, chunks = self._in_doubt
        stored = self._store.position(parts[0].source)
        self._in_doubt = None
        reached = StoredPosition(parts[0].resume_to.segment, parts[0].resume_to.offset)
        if stored == reached and parts[0].resume_to != parts[0].resume_from:
            rows = sum(len(batch) for part in parts for batch in part.batches)
            self._committed(parts, chunks, WriteResult(observations=rows))

    def _without_refused(self, parts: Sequence[Part], error: Exception) -> list[Part]:
        """The parts without the batches that the database refuses, which are kept in files and counted."""
        _log.error("the database refuses a batch: %s", error)
        kept = []
        for part in parts:
            good = []
            for number, batch in enumerate(part.batches):
                try:
                    rehearsal = Part("rehearsal", [batch], StoredPosition(), StoredPosition(1, 0))
                    self._store.write_parts([rehearsal], rehearse=True)
                    good.append(batch)
                except _REFUSALS as refusal:
                    self._set_aside(part, number, batch, refusal)
                    refused = QualityCounts()
                    rows = batch.records
                    refused.add_rows(Reason.REFUSED, batch.series, rows["series"], self._believable(rows))
                    good.append(refused.batch())
            kept.append(Part(part.source, good, part.resume_from, part.resume_to))
        return kept

    def _believable(self, records: NDArray[np.void]) -> NDArray[np.int64]:
        """Times of records, ours where the sender's cannot be."""
        now_us = int(self._clock() * 1_000_000)
        at = records["observed_at_us"]
        return np.where((at > _SECONDS_2000 * 1_000_000) & (at <= now_us), at, now_us)

    def _set_aside(self, part: Part, number: int, batch: ObservationBatch, refusal: Exception) -> None:
        source = part.source.removeprefix(SOURCE_PREFIX)
        name = f"refused-{source}-{part.resume_from.segment}-{part.resume_from.offset}-{number}.batch"
        path = Path(self._reader.directory) / "corrupt" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(batch.to_bytes())
        self.progress.refused += len(batch)
        _log.error("%d observations were refused and kept in %s: %s", len(batch), path, refusal)

    def _release(self, source: str, position: ResumePoint) -> None:
        try:
            self._reader.release(source, position)
        except SpoolError as error:
            _log.warning("written segments stay for now: %s", error)

    def _tidy(self) -> None:
        """Once an hour forget sources that are long gone, whose names never come again, and those never finished."""
        now = self._clock()
        if now - self._tidied_at < 3600:
            return
        self._tidied_at = now
        present = self._reader.sources()
        self._positions = {source: point for source, point in self._positions.items() if source in present}
        keep = [SOURCE_PREFIX + source for source in present]
        self._store.forget_sources(SOURCE_PREFIX, keep, now - _SOURCE_AGE_SECONDS)
        try:
            self._reader.remove_unborn(now - _UNBORN_AGE_SECONDS)
        except SpoolError as error:
            _log.warning("unfinished sources stay for now: %s", error)
