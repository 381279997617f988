"""The write path: one transaction keeps observations, their rollup rows and the place reached in the source."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..observation import CHECKS_PER_STEP_LIMIT, RECORD, ObservationBatch, SeriesKey, Source
from ..quality import QualityCounts, Reason, counts_of, is_counts
from ..rollup import ORIGIN_BY_SOURCE, Rollup, roll_up_columns
from ..verdict import VERDICT_COUNT, Verdict
from .catalog import Catalog, Resolved
from .connection import Connection, Database
from .named_queries import named_query
from .quality import add_quality
from .rows import observation_rows, rollup_rows

__all__ = ["Part", "Position", "ResumePointMismatch", "StoredPosition", "WritePath", "WriteResult"]

_SECONDS_2000 = 946_684_800


class Position(Protocol):
    """A place in a source: everything before ``offset`` of ``segment``, and all earlier segments."""

    @property
    def segment(self) -> int:
        """Number of the segment; 0 where a source has but one."""
        ...

    @property
    def offset(self) -> int:
        """First byte not yet read."""
        ...


@dataclass(frozen=True, slots=True, order=True)
class StoredPosition:
    """A :class:`Position` as the store keeps it; ``StoredPosition()`` is the start of any source."""

    segment: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """What one source contributes to a write: its batches, where they begin and where to go on after them."""

    source: str
    batches: Sequence[ObservationBatch]
    resume_from: Position
    resume_to: Position


class ResumePointMismatch(RuntimeError):  # noqa: N818 - a refusal, named after what was found
    """The source was written further, or less far, than the caller believes; nothing was written.

    Attributes:
        stored: Where the store is; None if it never heard of the source.
    """

    def __init__(self, source: str, expected: Position, stored: StoredPosition | None) -> None:
        at = "not known to the store" if stored is None else f"at segment {stored.segment}, offset {stored.offset}"
        super().__init__(
            f"source {source!r} is {at}, not at segment {expected.segment}, offset {expected.offset}: another writer "
            "is at work, or a commit was not noticed; read the resume point again and go on from there"
        )
        self.stored = stored


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What one write did.

    Attributes:
        observations: Rows written.
        rollup_rows: Rollup rows appended.
        overflowed: Observations whose series was beyond its step's cap and went to ``other``.
        from_future: Observations dated further ahead than allowed; written with the writer's time.
        without_time: Observations dated before the year 2000; written with the writer's time.
        late: Observations whose window had been judged already; written as they are. Those of imports, which are
            late by nature, do not count.
        without_duration: Durations that are not a finite number ≥ 0; written as NaN, counted by verdict only.
        checks_without_position: Check results lost because their step had more than 32 checks over time.
        newest_at: Newest ``observed_at`` written, seconds since 1970; None without observations.
        quality: Counts written, those that came with the batches and our own.
    """

    observations: int = 0
    rollup_rows: int = 0
    overflowed: int = 0
    from_future: int = 0
    without_time: int = 0
    late: int = 0
    without_duration: int = 0
    checks_without_position: int = 0
    newest_at: float | None = None
    quality: QualityCounts = field(default_factory=QualityCounts)


class WritePath:
    """Writes batches; thread-safe.

    Args:
        database: Where to.
        catalog: Numbers of series and checks.
        window_seconds: Length of the rollup windows.
        future_limit_seconds: How far ahead of the writer's clock an observation may be dated.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        *,
        window_seconds: int,
        future_limit_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._window_seconds = window_seconds
        self._future_limit_seconds = future_limit_seconds
        self._clock = clock

    def write(self, parts: Sequence[Part], *, rehearse: bool = False) -> WriteResult:
        """Write the batches of ``parts`` and move each source on: all of it in one transaction, or nothing.

        Args:
            parts: Sources must differ.
            rehearse: Do it all, then roll back, to see whether the database takes it.

        Raises:
            ResumePointMismatch: a source is elsewhere; nothing was written.
            psycopg.Error: the database refused or went away; whether the transaction was committed is then only known
                by reading the resume points again.
        """
        batches = [batch for part in parts for batch in part.batches]
        columns, rollup, result = self._prepare(batches)
        observations = observation_rows(columns) if result.observations else b""
        rollups = rollup_rows([rollup], rolled=False) if result.observations else b""
        with self._database.connection() as connection, connection.transaction(force_rollback=rehearse):
            for part in sorted(parts, key=lambda part: part.source):  # in order: two writers cannot deadlock
                self._advance(connection, part)
            if result.observations:
                _copy(connection, "write.copy_observations", observations)
                _copy(connection, "write.copy_window_rollups", rollups)
                result = self._with_late(connection, batches, columns, result)
            if result.quality:
                add_quality(connection, result.quality)
        return result

    def _with_late(
        self,
        connection: Connection,
        batches: Sequence[ObservationBatch],
        columns: dict[str, NDArray[Any]],
        result: WriteResult,
    ) -> WriteResult:
        """Count what came after its window was judged; asked last, as judging goes on meanwhile."""
        row = connection.execute(named_query("quality.judged_through")).fetchone()
        if row is None or row[0] is None:
            return result
        at = columns["observed_at_us"]
        late = (at < round(row[0] * 1_000_000)) & (columns["source"] != Source.IMPORT)
        if not late.any():
            return result
        keys, entry = _table(batches)
        result.quality.add_rows(Reason.LATE, keys, entry[late], at[late])
        return replace(result, late=int(late.sum()))

    def position(self, source: str) -> StoredPosition | None:
        """Where ``source`` is; None if the store never heard of it."""
        with self._database.connection() as connection:
            row = connection.execute(named_query("write.resume_point"), (source,)).fetchone()
        return None if row is None else StoredPosition(*row)

    def _advance(self, connection: Connection, part: Part) -> None:
        """Move the resume point; the row stays locked until the transaction ends, so a second writer waits here."""
        values = {
            "source": part.source,
            "from_segment": part.resume_from.segment,
            "from_offset": part.resume_from.offset,
            "segment": part.resume_to.segment,
            "offset": part.resume_to.offset,
            "observations": sum(map(len, part.batches)),
        }
        if connection.execute(named_query("write.advance_resume_point"), values).rowcount:
            return
        at_start = StoredPosition(part.resume_from.segment, part.resume_from.offset) == StoredPosition()
        if at_start and connection.execute(named_query("write.first_resume_point"), values).fetchone() is not None:
            return
        row = connection.execute(named_query("write.resume_point"), (part.source,)).fetchone()
        self._catalog.forget()
        raise ResumePointMismatch(part.source, part.resume_from, None if row is None else StoredPosition(*row))

    def _prepare(self, batches: Sequence[ObservationBatch]) -> tuple[dict[str, NDArray[Any]], Rollup, WriteResult]:
        filled = [batch for batch in batches if len(batch)]
        keys, entry = _table(batches)
        resolved = self._catalog.resolve(keys)
        records = np.concatenate([batch.records for batch in filled]) if filled else np.empty(0, dtype=RECORD)

        now = self._clock()
        at, future, undated = self._believable(records["observed_at_us"], now)
        overflowed = resolved.overflowed[entry]
        quality = QualityCounts()
        for batch in batches:
            if is_counts(batch):
                quality.add_all(counts_of(batch, now))
        corrected = future | undated
        quality.add_rows(Reason.TIME_CORRECTED, keys, entry[corrected], at[corrected])
        quality.add_rows(Reason.SERIES_LIMIT, keys, entry[overflowed], at[overflowed])
        duration = records["duration_seconds"]
        unusable = ~((duration >= 0) & (duration < np.inf))
        checks, lost = _map_checks(records["checks"], entry, resolved)
        columns: dict[str, NDArray[Any]] = {
            "observed_at_us": at,
            "duration_seconds": np.where(unusable, np.nan, duration),
            "checks": checks,
            "series_id": resolved.ids[entry],
            "verdict": np.where(records["verdict"] < VERDICT_COUNT, records["verdict"], Verdict.ERROR),
            "source": records["source"],
            **{name: records[name] for name in ("flow_instance", "customer", "trace_id", "span_id")},
        }
        rollup = roll_up_columns(
            at,
            duration_seconds=columns["duration_seconds"],
            series=columns["series_id"],
            verdict=columns["verdict"],
            checks=checks,
            origin=ORIGIN_BY_SOURCE[records["source"]],
            window_seconds=self._window_seconds,
        )
        result = WriteResult(
            observations=len(records),
            rollup_rows=len(rollup),
            overflowed=int(overflowed.sum()),
            from_future=int(future.sum()),
            without_time=int(undated.sum()),
            without_duration=int(unusable.sum()),
            checks_without_position=lost,
            newest_at=float(at.max()) / 1e6 if len(at) else None,
            quality=quality,
        )
        return columns, rollup, result

    def _believable(
        self, observed_at_us: NDArray[np.int64], now: float
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Times with the impossible ones replaced: an answer that was written cannot arrive in the future.

        Returns:
            The times, which lay too far in the future, and which before 2000.
        """
        future = observed_at_us > int((now + self._future_limit_seconds) * 1_000_000)
        undated = observed_at_us < _SECONDS_2000 * 1_000_000
        at = np.where(future | undated, np.int64(now * 1_000_000), observed_at_us)
        return at, future, undated


def _table(batches: Sequence[ObservationBatch]) -> tuple[list[SeriesKey], NDArray[np.int64]]:
    """One table of series for all batches that have records, and each record's place in it."""
    filled = [batch for batch in batches if len(batch)]
    keys = [key for batch in filled for key in batch.series]
    bases = np.cumsum([0, *(len(batch.series) for batch in filled)])[:-1]
    own = [batch.records["series"].astype(np.int64) + base for batch, base in zip(filled, bases, strict=True)]
    return keys, np.concatenate(own) if own else np.empty(0, dtype=np.int64)


def _copy(connection: Connection, query: str, data: bytes) -> None:
    with connection.cursor() as cursor, cursor.copy(named_query(query)) as copy:
        copy.write(data)


def _map_checks(bits: NDArray[np.int64], entry: NDArray[np.int64], resolved: Resolved) -> tuple[NDArray[np.int64], int]:
    """Move check results from the batch's positions to the store's; also how many results found no place."""
    moved = [number for number, positions in enumerate(resolved.positions) if positions is not None]
    if not moved:
        return bits, 0
    groups: dict[tuple[int, ...], list[int]] = {}
    for number in moved:
        positions = resolved.positions[number]
        if positions is not None:
            groups.setdefault(positions, []).append(number)
    result = bits.copy()
    lost = 0
    for positions, numbers in groups.items():
        rows = np.isin(entry, numbers)
        old = bits[rows].view(np.uint64)
        new = np.zeros_like(old)
        for place, position in enumerate(positions[:CHECKS_PER_STEP_LIMIT]):
            value = (old >> np.uint64(2 * place)) & np.uint64(3)
            if position < 0:
                lost += int((value != 0).sum())
            else:
                new |= value << np.uint64(2 * position)
        result[rows] = new.view(np.int64)
    return result, lost
