"""Spans that are steps, in columns, and the observations they make.

How they were read does not matter here: one by one or all at once, protobuf or JSON, spans or events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...metrics.observation import RECORD, ObservationBatch, SeriesKey
from ...metrics.quality import QualityCounts, Reason
from ...metrics.verdict import Verdict
from .otlp_decode import Refusals
from .per_span import FoundPerSpan
from .span_shape import NO_ID, Shape

__all__ = ["MatchedSpans", "SpanRows", "observations"]

_MICROSECONDS = 1_000_000
_NANOSECONDS_LIMIT = (1 << 63) - 1


@dataclass(slots=True)
class MatchedSpans:
    """Spans of known series.

    Attributes:
        shapes: Their distinct shapes, all with a series.
        index: The shape of each span.
        trace_ids: 16-byte ids, dtype ``V16``.
        span_ids: 64-bit ids, 0 = none.
        starts: Nanoseconds since 1970.
        ends: Nanoseconds since 1970.
        kept: False for those that have been refused for their ids.
        instances: Flow instances, 16 bytes, by row; of others it is the trace id.
        customers: Customer tokens, 16 bytes, by row; others have none.
        overrides: Check bits and verdict by row, where they are not the shape's.
    """

    shapes: Sequence[Shape]
    index: NDArray[np.intp]
    trace_ids: NDArray[np.void]
    span_ids: NDArray[np.int64]
    starts: NDArray[np.uint64]
    ends: NDArray[np.uint64]
    kept: NDArray[np.bool_]
    instances: dict[int, bytes] = field(default_factory=dict)
    customers: dict[int, bytes] = field(default_factory=dict)
    overrides: dict[int, tuple[int, Verdict]] = field(default_factory=dict)

    def note(self, row: int, found: FoundPerSpan) -> None:
        """Take over what a span's own attributes say."""
        if found.instance is not None:
            self.instances[row] = found.instance
        if found.customer is not None:
            self.customers[row] = found.customer
        if found.override is not None:
            self.overrides[row] = found.override


class SpanRows:
    """Collects matched spans one by one."""

    __slots__ = ("_numbers", "_shapes", "ends", "found", "index", "span_ids", "starts", "trace_ids")

    def __init__(self) -> None:
        self.index: list[int] = []
        self.trace_ids: list[bytes] = []
        self.span_ids: list[bytes] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.found: dict[int, FoundPerSpan] = {}
        self._numbers: dict[int, int] = {}
        self._shapes: list[Shape] = []

    def __len__(self) -> int:
        return len(self.index)

    def number(self, shape: Shape) -> int:
        """What to put into ``index`` for a shape."""
        number = self._numbers.get(id(shape))
        if number is None:
            number = self._numbers[id(shape)] = len(self._shapes)
            self._shapes.append(shape)
        return number

    def matched(self, refusals: Refusals, *, ids_required: bool) -> MatchedSpans:
        """The columns; rows whose ids are malformed are refused."""
        kept = self._check_ids(refusals, required=ids_required)
        spans = MatchedSpans(
            self._shapes,
            np.array(self.index, dtype=np.intp),
            np.frombuffer(b"".join(self.trace_ids), dtype="V16"),
            np.frombuffer(b"".join(self.span_ids), dtype=">i8").astype(np.int64),
            np.array(self.starts, dtype=np.uint64),
            np.array(self.ends, dtype=np.uint64),
            kept,
        )
        for row, found in self.found.items():
            spans.note(row, found)
        return spans

    def _check_ids(self, refusals: Refusals, *, required: bool) -> NDArray[np.bool_]:
        kept = np.ones(len(self), dtype=bool)
        traces, spans = self.trace_ids, self.span_ids
        if set(map(len, traces)) == {16} and set(map(len, spans)) == {8}:
            return kept
        for row, (trace, span) in enumerate(zip(traces, spans, strict=True)):
            if len(trace) == 16 and len(span) == 8:
                continue
            absent = not required and len(trace) in (0, 16) and len(span) in (0, 8)
            if not absent:
                kept[row] = False
                series = self._shapes[self.index[row]].known_series
                reason = f"trace id of {len(trace)} and span id of {len(span)} bytes; they have 16 and 8"
                refusals.add(reason, flow=series.flow, step=series.step)
            traces[row] = trace if len(trace) == 16 else NO_ID
            spans[row] = span if len(span) == 8 else bytes(8)
        return kept


def observations(
    parts: Sequence[MatchedSpans], now: float, refusals: Refusals, *, ids_required: bool = True
) -> tuple[ObservationBatch | None, QualityCounts]:
    """Observations of matched spans; those without usable ids or times are refused.

    Args:
        parts: The spans.
        now: Seconds since 1970; an answer cannot have arrived later, so where a sender's clock is ahead, now counts.
        refusals: Receives what is refused.
        ids_required: Whether each must have a span id.

    Returns:
        The observations, None when there are none, and those whose clock was ahead by more than five seconds.
    """
    series: dict[SeriesKey, int] = {}
    found = [_records(part, series, now, refusals, ids_required=ids_required) for part in parts if len(part.index)]
    corrected = QualityCounts()
    if not found:
        return None, corrected
    for one, ahead in found:
        if ahead.any():
            corrected.add_rows(Reason.TIME_CORRECTED, series, one["series"][ahead], one["observed_at_us"][ahead])
    records = found[0][0] if len(found) == 1 else np.concatenate([one for one, _ in found])
    return (ObservationBatch(tuple(series), records) if len(records) else None), corrected


def _records(
    spans: MatchedSpans, series: dict[SeriesKey, int], now: float, refusals: Refusals, *, ids_required: bool
) -> tuple[NDArray[np.void], NDArray[np.bool_]]:
    records = np.zeros(len(spans.index), dtype=RECORD)
    kept = spans.kept
    records["trace_id"] = records["flow_instance"] = spans.trace_ids
    records["span_id"] = spans.span_ids
    if ids_required:
        missing = (spans.span_ids == 0) & kept
        if missing.any():
            _refuse(refusals, "span id is all zeros", missing, spans)
            kept = kept & ~missing
    durations, ends = _times(spans)
    kept = kept & _usable_times(durations, ends, refusals, kept, spans)
    _fill_judgements(records, spans, durations, series)
    now_us = int(now * _MICROSECONDS)
    observed = ends // 1000
    ahead = observed - now_us > 5 * _MICROSECONDS
    records["observed_at_us"] = np.minimum(observed, now_us)
    records["duration_seconds"] = durations
    _fill(records, "flow_instance", spans.instances)
    _fill(records, "customer", spans.customers)
    for row, (bits, verdict) in spans.overrides.items():
        records["checks"][row] = bits
        records["verdict"][row] = max(records["verdict"][row], verdict)
    return (records, ahead) if kept.all() else (records[kept], ahead[kept])


def _fill_judgements(
    records: NDArray[np.void], spans: MatchedSpans, durations: NDArray[np.float64], series: dict[SeriesKey, int]
) -> None:
    """Series, source, checks and verdict of every row, from its shape and its duration."""
    shapes, index = spans.shapes, spans.index
    # setdefault after len: the number a new key gets is the count before it is added
    positions = [series.setdefault(shape.known_series, len(series)) for shape in shapes]
    records["series"] = np.array(positions, dtype=np.uint32)[index]
    records["source"] = np.array([shape.source for shape in shapes], dtype=np.uint8)[index]
    records["checks"] = np.array([shape.checks for shape in shapes], dtype=np.int64)[index]
    verdict = np.array([shape.verdict for shape in shapes], dtype=np.uint8)[index]
    slow = durations > np.array([shape.target_seconds for shape in shapes])[index]
    late = durations >= np.array([shape.timeout_seconds for shape in shapes])[index]
    timed = np.where(late, np.uint8(Verdict.TIMEOUT), np.where(slow, np.uint8(Verdict.SLOW), np.uint8(0)))
    records["verdict"] = np.maximum(verdict, timed)


def _fill(records: NDArray[np.void], name: str, by_row: dict[int, bytes]) -> None:
    if by_row:
        rows = np.fromiter(by_row, np.intp, len(by_row))
        records[name][rows] = np.frombuffer(b"".join(by_row.values()), dtype="V16")


def _times(spans: MatchedSpans) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Durations in seconds (negative where the end is before the start) and ends in nanoseconds (-1 = impossible)."""
    starts, ends = spans.starts, spans.ends
    impossible = (starts > _NANOSECONDS_LIMIT) | (ends > _NANOSECONDS_LIMIT) | (ends == 0) | (starts == 0)
    whole = ends.astype(np.int64)
    durations = (whole - starts.astype(np.int64)) / 1e9
    whole[impossible] = -1
    return durations, whole


def _refuse(refusals: Refusals, reason: str, rows: NDArray[np.bool_], spans: MatchedSpans) -> None:
    """Count rows as refused, by the steps they are of."""
    counts = np.bincount(spans.index[rows], minlength=len(spans.shapes)).tolist()
    for shape, count in zip(spans.shapes, counts, strict=True):
        if count:
            refusals.add(reason, count, flow=shape.known_series.flow, step=shape.known_series.step)


def _usable_times(
    durations: NDArray[np.float64],
    ends: NDArray[np.int64],
    refusals: Refusals,
    kept: NDArray[np.bool_],
    spans: MatchedSpans,
) -> NDArray[np.bool_]:
    impossible, backwards = ends < 0, durations < 0
    backwards &= ~impossible
    if not (impossible.any() or backwards.any()):
        return ~impossible
    for rows, reason in (
        (impossible, "start or end time is missing or beyond the year 2262"),
        (backwards, "end time is before start time"),
    ):
        _refuse(refusals, reason, rows & kept, spans)
    return ~(impossible | backwards)
