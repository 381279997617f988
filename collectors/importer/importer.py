"""Importing past observations from files, exactly once.

The file itself is the record of what was accepted: each transaction writes a batch of observations,
their rollup rows and the place in the file reached, so an import that was killed continues after its
last complete batch and nothing doubles. Lines that cannot be used are kept aside with their reason.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from gzip import BadGzipFile
from typing import Any, Protocol

import numpy as np
import psycopg

from ...metrics.observation import RECORD, ObservationBatch, SeriesKey, Source
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.store import Store
from ...metrics.store.write import StoredPosition
from ..customer_token import CustomerTokens, flow_instance_id
from .files import Row, RowReader
from .judge import StepJudge
from .mapping import FieldError, ImportMapping, StepColumn, TimeReader, step_name

__all__ = ["BATCH_ROWS", "Destination", "ImportCounts", "Rejected", "RowConverter", "StoreDestination", "import_rows"]

BATCH_ROWS = 20_000  # a transaction of this size costs little more per row than a larger one


class Destination(Protocol):
    """Where batches go: keeps a batch and the place reached together, or neither."""

    def place(self, source: str) -> int:
        """The place up to which ``source`` was imported; 0 when it never was."""
        ...

    def commit(self, source: str, batch: ObservationBatch, place: int) -> None:
        """Keep ``batch`` and remember ``place`` in one transaction; ``batch`` may be empty."""
        ...


class StoreDestination:
    """The store as a destination: a source has one segment, and its offset is the place in the file."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._places: dict[str, int] = {}

    def place(self, source: str) -> int:
        """The place up to which ``source`` was imported; 0 when it never was."""
        position = self._store.position(source)
        place = self._places[source] = position.offset if position else 0
        return place

    def commit(self, source: str, batch: ObservationBatch, place: int) -> None:
        """Keep ``batch`` and the place together; a connection lost during the commit does not double the batch.

        Raises:
            ResumePointMismatch: somebody else imports the same file.
            psycopg.Error: the database refused, or is away.
        """
        before = self._places[source] if source in self._places else self.place(source)
        try:
            self._store.write([batch], source, StoredPosition(0, before), StoredPosition(0, place))
        except psycopg.OperationalError:
            if self.place(source) != place:  # it was not committed: try once more, on another connection
                self._store.write([batch], source, StoredPosition(0, before), StoredPosition(0, place))
        self._places[source] = place


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that was not imported."""

    number: int
    reason: str
    text: str


class RejectedLines(Protocol):
    """Keeps the lines that were not imported; see ``importer_history.RejectedFile``."""

    def continue_after(self, number: int) -> None:
        """Forget what is kept of lines after ``number``: they come again."""
        ...

    def keep(self, line: Rejected) -> None:
        """Keep one line."""
        ...

    def flush(self) -> None:
        """Called before each commit, so that no line is lost between two batches."""
        ...


@dataclass(slots=True)
class ImportCounts:
    """What an import did in this run.

    Attributes:
        resumed_at: Place from which this run went on; 0 for a first run.
        accepted: Rows kept.
        rejected: Rows not kept, by reason (values of the row left out of the reason).
        steps: Rows kept, by step.
        first_us: Earliest time seen, microseconds since 1970 UTC; ``None`` when nothing was kept.
        last_us: Latest time seen.
        last_number: Number of the last line read.
        damage: Why the rest of the file could not be read; empty when all of it was.
    """

    resumed_at: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    first_us: int | None = None
    last_us: int | None = None
    last_number: int = 0
    damage: str = ""

    @property
    def rejected_total(self) -> int:
        """Rows not kept."""
        return sum(self.rejected.values())


class RowConverter:
    """Rows to records, judged by the flow's specification.

    Args:
        flows: Declared flows by name; rows of other flows are rejected.
        mapping: What each column means.
        tokens: Turns customer ids into tokens; without it customers are not kept.
        source: How the observations are marked in the store.
    """

    def __init__(
        self,
        flows: Mapping[str, FlowSpec],
        mapping: ImportMapping,
        tokens: CustomerTokens | None = None,
        source: Source = Source.IMPORT,
    ) -> None:
        self._flows = flows
        self._mapping = mapping
        self._tokens = tokens
        self._instance_id = tokens.flow_instance if tokens else flow_instance_id
        self._source = int(source)
        self._time = TimeReader(mapping.observed_at or mapping.started_at)  # type: ignore[arg-type]
        self._times_are_starts = mapping.started_at is not None
        self._step_of = StepReader(mapping.step)
        self._judges: dict[tuple[str, str], StepJudge] = {}
        self._series: dict[SeriesKey, int] = {}
        self._records: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return len(self._records)

    def add(self, fields: Mapping[str, Any]) -> tuple[str, int]:
        """Convert one row; returns its step and time in microseconds.

        Raises:
            FieldError: the row cannot be used; the text says why.
        """
        mapping = self._mapping
        duration = mapping.duration.seconds(fields)
        moment = self._time.microseconds(fields)
        if self._times_are_starts:
            moment += round(duration * 1e6)
        flow, step = self._place_of(fields)
        judge = self._judge(flow, step)
        results = {name: column.result(fields) for name, column in mapping.checks.items()}
        verdict, bits = judge.judge(duration, mapping.read_verdict(fields), results)
        values = {name: column.read(fields) for name, column in mapping.dimensions.items()}
        series = self._series.setdefault(judge.series(values), len(self._series))
        customer = mapping.customer.read(fields) if mapping.customer else None
        instance = mapping.flow_instance.read(fields) if mapping.flow_instance else None
        trace = _hexadecimal(mapping.trace_id.read(fields), 16) if mapping.trace_id else _NONE
        span = _hexadecimal(mapping.span_id.read(fields), 8) if mapping.span_id else _NONE[:8]
        self._records.append(
            (
                moment, duration, series, int(verdict), self._source, 0, bits,
                self._instance_id(instance) if instance else _NONE,
                self._tokens.token(customer) if customer and self._tokens else _NONE,
                trace, int.from_bytes(span, "big", signed=True),
            )
        )  # fmt: skip
        return step, moment

    def take(self) -> ObservationBatch:
        """The records since the last call, as a batch."""
        records = np.array(self._records, dtype=RECORD) if self._records else np.zeros(0, dtype=RECORD)
        batch = ObservationBatch(tuple(self._series), records)
        self._records, self._series = [], {}
        return batch

    def _place_of(self, fields: Mapping[str, Any]) -> tuple[str, str]:
        flow = self._mapping.flow.read(fields)
        if flow is None:
            raise FieldError(f"{self._mapping.flow.column} is missing; a row needs a flow", "no flow")
        return flow, self._step_of.read(fields)

    def _judge(self, flow: str, step: str) -> StepJudge:
        judge = self._judges.get((flow, step))
        if judge is None:
            spec = self._flows.get(flow)
            if spec is None:
                raise FieldError(f"flow {flow[:60]!r} is not declared", "undeclared flow")
            found = next((item for item in spec.steps if item.name == step), None)
            if found is None:
                raise FieldError(f"step {step[:60]!r} is not declared in flow {flow}", "undeclared step")
            judge = self._judges[flow, step] = StepJudge(spec, found)
        return judge


_NONE = bytes(16)


class StepReader:
    """Tells the step of a row by the mapping's rules, or by the text itself."""

    _REMEMBERED = 10_000

    def __init__(self, column: StepColumn) -> None:
        self._column = column
        self._rules = [(re.compile(rule.match), rule.step) for rule in column.rules]
        self._memory: dict[str, str] = {}

    def read(self, fields: Mapping[str, Any]) -> str:
        """The step's name.

        Raises:
            FieldError: the row has no step, or no rule says which it is.
        """
        text = self._column.read(fields)
        if text is None:
            raise FieldError(f"{self._column.column} is missing; a row needs a step", "no step")
        name = self._memory.get(text)
        if name is None:
            name = self._decide(text)
            if len(self._memory) < self._REMEMBERED:
                self._memory[text] = name
        return name

    def _decide(self, text: str) -> str:
        for pattern, step in self._rules:
            if pattern.search(text):
                return step
        if self._column.otherwise == "reject":
            raise FieldError(f"step={text[:60]!r} matches no rule", "no rule for the step")
        return step_name(text)


def _hexadecimal(text: str | None, size: int) -> bytes:
    if not text:
        return bytes(size)
    try:
        raw = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        raw = b""
    if len(raw) != size:
        raise FieldError(f"id={text[:40]!r} is not {size * 2} hexadecimal digits", "bad id")
    return raw


def import_rows(
    reader: RowReader,
    converter: RowConverter,
    destination: Destination,
    source: str,
    *,
    rejected: RejectedLines,
    progress: Callable[[int, int], None] = lambda _place, _rows: None,
    batch_rows: int = BATCH_ROWS,
) -> ImportCounts:
    """Import everything after the place already reached.

    Args:
        reader: The file.
        converter: Turns rows into records.
        destination: Keeps batches and places.
        source: Name under which the place is kept; the same for the same content.
        rejected: Keeps every line that was not used.
        progress: Called after every batch with the place reached and the rows read.
        batch_rows: Rows a transaction.

    Returns:
        Counts of this run.
    """
    start = destination.place(source)
    counts = ImportCounts(resumed_at=start)
    reached = committed = start
    rows = 0

    def commit() -> None:
        nonlocal committed
        rejected.flush()
        batch = converter.take()
        if reached > committed:
            destination.commit(source, batch, reached)
            committed = reached
        progress(reached, rows)

    try:
        for row in reader.rows(start):
            if rows == 0:
                rejected.continue_after(row.number - 1)
            rows += 1
            reached, counts.last_number = row.place, row.number
            _take(row, converter, counts, rejected.keep)
            if len(converter) >= batch_rows or rows % (4 * batch_rows) == 0:
                commit()
    except (EOFError, BadGzipFile, zlib.error) as error:
        counts.damage = f"the file is damaged after line {counts.last_number}: {error}"
    commit()
    return counts


def _take(row: Row, converter: RowConverter, counts: ImportCounts, keep: Callable[[Rejected], None]) -> None:
    if row.fields is None:
        counts.rejected[row.reason.split(":", 1)[0]] += 1
        keep(Rejected(row.number, row.reason, row.text))
        return
    try:
        step, moment = converter.add(row.fields)
    except FieldError as error:
        counts.rejected[error.kind] += 1
        keep(Rejected(row.number, str(error), row.text))
        return
    counts.accepted += 1
    counts.steps[step] += 1
    counts.first_us = moment if counts.first_us is None else min(counts.first_us, moment)
    counts.last_us = moment if counts.last_us is None else max(counts.last_us, moment)


def sample_columns(rows: Iterator[Row], limit: int = 1_000) -> set[str]:
    """Names of the columns seen in the first ``limit`` rows."""
    names: set[str] = set()
    for position, row in enumerate(rows):
        if position >= limit:
            break
        names.update(row.fields or ())
    return names
