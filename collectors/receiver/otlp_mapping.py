"""From spans and events to observations.

Spans of the same resource, name, kind, status and deciding attributes have the same *shape*: the same series, the
same checks, the same verdict but for their duration. A shape is worked out once, by :mod:`.span_shape`; what is left
for each span is to find its shape and to copy ids and times, and the rest is arithmetic over columns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from ...metrics.names import InstrumentationScope
from ...metrics.observation import RECORD, ObservationBatch, SeriesKey
from ...metrics.specification.flow import FlowSpec
from ...metrics.verdict import Verdict
from .attribute_memo import AttributeMemo, decode_resource
from .intake import Mapped
from .otlp_decode import Refusals
from .otlp_schema import Scope
from .span_shape import NO_ID, PerSpan, Shape, Shapes, ShapeSettings

__all__ = ["OtlpMapper"]

_RESOURCE_LIMIT = 4_096
_SHAPE_LIMIT = 16_384
_MICROSECONDS = 1_000_000
_EVENT_DURATION = "cxgauge.duration_seconds"
_NANOSECONDS_LIMIT = (1 << 63) - 1
_ShapeKey = tuple[int, bytes, int, bytes, tuple[int, ...]]


class _Columns:
    """What is collected of the matched spans of one request."""

    __slots__ = ("customers", "ends", "instances", "overrides", "shapes", "span_ids", "starts", "trace_ids")

    def __init__(self) -> None:
        self.shapes: list[Shape] = []
        self.trace_ids: list[bytes] = []
        self.span_ids: list[bytes] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        # Rows that differ from the rule: instance = trace id, no customer, checks and verdict of the shape.
        self.instances: dict[int, bytes] = {}
        self.customers: dict[int, bytes] = {}
        self.overrides: dict[int, tuple[int, Verdict]] = {}


@dataclass(slots=True)
class _ResourceEntry:
    number: int
    attributes: dict[str, str]
    per_span: tuple[tuple[str, str], ...]


class OtlpMapper:
    """Maps decoded OTLP requests; one thread at a time.

    Args:
        flows: The specifications by name.
        settings: Which attributes say what.
        clock: Seconds since 1970.

    Attributes:
        clock_ahead: Observations whose sender's clock was ahead by more than five seconds.
        dimension_other: Observations with a dimension value beyond its limit, by ``flow.dimension``.
    """

    def __init__(self, flows: Mapping[str, FlowSpec], settings: ShapeSettings, clock: Callable[[], float]) -> None:
        self._shapes_of = Shapes(flows, settings)
        self._per_span = PerSpan(settings)
        self._memo = AttributeMemo(self._shapes_of.matters, self._per_span.concerns)
        self._event_per_span = lambda key: key == _EVENT_DURATION or self._per_span.concerns(key)
        self._event_memo = AttributeMemo(self._shapes_of.matters, self._event_per_span)
        self._shapes: dict[_ShapeKey, Shape] = {}
        self._event_shapes: dict[_ShapeKey, Shape] = {}
        self._resources: dict[bytes, _ResourceEntry] = {}
        self._clock = clock
        self.clock_ahead = 0
        self.dimension_other: dict[str, int] = {}

    def map_trace(self, request: Any, refusals: Refusals) -> Mapped:
        """Observations of the spans of a narrow ``TraceRequest``.

        Args:
            request: The decoded request.
            refusals: Spans refused so far; more are added.
        """
        self._renew_if_crowded()
        columns, ignored = _Columns(), 0
        for group in request.resource_spans:
            resource = self._resource(group.resource)
            for scope in group.scope_spans:
                if _is_recorders(scope.scope):
                    ignored += len(scope.spans)  # our own recorder's: in a spool already
                else:
                    ignored += self._collect_spans(resource, scope.spans, columns, refusals)
        return self._finish(columns, ignored, refusals)

    def map_logs(self, request: Any, refusals: Refusals) -> Mapped:
        """Observations of the events of a narrow ``LogsRequest``: those that name flow and step themselves."""
        self._renew_if_crowded()
        columns, ignored = _Columns(), 0
        for group in request.resource_logs:
            resource = self._resource(group.resource)
            for scope in group.scope_logs:
                for record in scope.log_records:
                    ignored += self._collect_event(resource, record, columns, refusals)
        return self._finish(columns, ignored, refusals, events=True)

    def _collect_spans(
        self, resource: _ResourceEntry, spans: Sequence[Any], columns: _Columns, refusals: Refusals
    ) -> int:
        memo, shapes, number = self._memo, self._shapes, resource.number
        look_up, pending = memo.__getitem__, memo.pending
        ignored = 0
        rows = columns.shapes
        add_shape, add_trace, add_span = rows.append, columns.trace_ids.append, columns.span_ids.append
        add_start, add_end = columns.starts.append, columns.ends.append
        for span in spans:
            effects = tuple(filter(None, map(look_up, span.attributes)))
            key = (number, span.name, span.kind, span.status, effects)
            shape = shapes.get(key)
            if shape is None:
                shape = self._new_shape(key, resource, memo, shapes, is_span=True)
            if shape.series is None:
                if shape.refusal is None:
                    ignored += 1
                else:
                    refusals.add(shape.refusal)
            else:
                add_shape(shape)
                add_trace(span.trace_id)
                add_span(span.span_id)
                add_start(span.start)
                add_end(span.end)
                if pending or resource.per_span:
                    self._apply_per_span(resource, pending, shape, columns)
            if pending:
                pending.clear()
        return ignored

    def _collect_event(self, resource: _ResourceEntry, record: Any, columns: _Columns, refusals: Refusals) -> int:
        memo = self._event_memo
        memo.pending.clear()
        effects = tuple(filter(None, map(memo.__getitem__, record.attributes)))
        key = (resource.number, b"", 0, b"", effects)
        shape = self._event_shapes.get(key)
        if shape is None:
            shape = self._new_shape(key, resource, memo, self._event_shapes, is_span=False)
        if shape.series is None:
            if shape.refusal is not None:
                refusals.add(shape.refusal)
            return 1 if shape.refusal is None else 0
        pending = [pair for pair in memo.pending if pair[0] != _EVENT_DURATION]
        nanoseconds = _event_duration(memo.pending)
        end = record.time or record.observed
        if nanoseconds is None or nanoseconds > end:
            refusals.add(f"event of a step without a usable {_EVENT_DURATION}; send seconds as a number")
            return 0
        columns.shapes.append(shape)
        columns.trace_ids.append(record.trace_id)
        columns.span_ids.append(record.span_id)
        columns.starts.append(end - nanoseconds)
        columns.ends.append(end)
        if pending or resource.per_span:
            self._apply_per_span(resource, pending, shape, columns)
        return 0

    def _apply_per_span(
        self, resource: _ResourceEntry, pending: Sequence[tuple[str, str]], shape: Shape, columns: _Columns
    ) -> None:
        row = len(columns.shapes) - 1
        pairs = (*resource.per_span, *pending) if resource.per_span else pending
        found = self._per_span.read(pairs, shape, columns.starts[row], columns.ends[row], columns.trace_ids[row])
        if found.instance is not None:
            columns.instances[row] = found.instance
        if found.customer is not None:
            columns.customers[row] = found.customer
        if found.override is not None:
            columns.overrides[row] = found.override

    def _new_shape(
        self,
        key: _ShapeKey,
        resource: _ResourceEntry,
        memo: AttributeMemo,
        shapes: dict[_ShapeKey, Shape],
        *,
        is_span: bool,
    ) -> Shape:
        _, name, kind, status, effects = key
        attributes = dict(resource.attributes)
        attributes.update(memo.effects[effect] for effect in effects)
        shape = self._shapes_of.work_out(name.decode("utf-8", "replace") if is_span else None, kind, status, attributes)
        if memo.crowded or len(shapes) >= _SHAPE_LIMIT:
            memo.renew()  # this span's effects have just been used; nobody holds others
            shapes.clear()
        else:
            shapes[key] = shape
        return shape

    def _resource(self, raw: bytes) -> _ResourceEntry:
        entry = self._resources.get(raw)
        if entry is None:
            try:
                attributes = decode_resource(raw)
            except ValueError:
                attributes = {}
            per_span = tuple(pair for pair in attributes.items() if self._per_span.concerns(pair[0]))
            entry = _ResourceEntry(len(self._resources), attributes, per_span)
            self._resources[raw] = entry
        return entry

    def _renew_if_crowded(self) -> None:
        """Start over when memory would grow; between requests, as the numbers of resources change their meaning."""
        if self._memo.crowded or self._event_memo.crowded or len(self._resources) > _RESOURCE_LIMIT:
            self._memo.renew()
            self._event_memo.renew()
            self._shapes.clear()
            self._event_shapes.clear()
            self._resources.clear()

    # Columns

    def _finish(self, columns: _Columns, ignored: int, refusals: Refusals, *, events: bool = False) -> Mapped:
        if not columns.shapes:
            return Mapped(None, ignored, refusals)
        records = np.zeros(len(columns.shapes), dtype=RECORD)
        kept = _fill_ids(records, columns, refusals, required=not events)
        durations, ends = _times(columns)
        kept &= _usable_times(durations, ends, refusals, kept)
        series = self._fill_judgements(records, columns, durations)
        self._fill_times(records, durations, ends)
        for row, (bits, verdict) in columns.overrides.items():
            records["checks"][row] = bits
            records["verdict"][row] = max(records["verdict"][row], verdict)
        if not kept.all():
            records = records[kept]
        return Mapped(ObservationBatch(series, records) if len(records) else None, ignored, refusals)

    def _fill_judgements(
        self, records: NDArray[np.void], columns: _Columns, durations: NDArray[np.float64]
    ) -> tuple[SeriesKey, ...]:
        """Series, source, checks and verdict of every row, from its shape and its duration."""
        numbers: dict[int, int] = {}
        distinct: list[Shape] = []
        index = np.empty(len(columns.shapes), dtype=np.int64)
        for row, shape in enumerate(columns.shapes):
            number = numbers.get(id(shape))
            if number is None:
                number = numbers[id(shape)] = len(distinct)
                distinct.append(shape)
            index[row] = number
        series: dict[SeriesKey, int] = {}
        # setdefault after len: the number a new key gets is the count before it is added
        positions = [series.setdefault(shape.known_series, len(series)) for shape in distinct]
        records["series"] = np.array(positions, dtype=np.uint32)[index]
        records["source"] = np.array([shape.source for shape in distinct], dtype=np.uint8)[index]
        records["checks"] = np.array([shape.checks for shape in distinct], dtype=np.int64)[index]
        verdict = np.array([shape.verdict for shape in distinct], dtype=np.uint8)[index]
        slow = durations > np.array([shape.target_seconds for shape in distinct])[index]
        late = durations >= np.array([shape.timeout_seconds for shape in distinct])[index]
        timed = np.where(late, np.uint8(Verdict.TIMEOUT), np.where(slow, np.uint8(Verdict.SLOW), np.uint8(0)))
        records["verdict"] = np.maximum(verdict, timed)
        counts = np.bincount(index, minlength=len(distinct))
        for shape, count in zip(distinct, counts.tolist(), strict=True):
            for name in shape.other_dimensions:
                self.dimension_other[name] = self.dimension_other.get(name, 0) + count
        return tuple(series)

    def _fill_times(self, records: NDArray[np.void], durations: NDArray[np.float64], ends: NDArray[np.int64]) -> None:
        """An answer cannot have arrived later than now: where a sender's clock is ahead, now counts."""
        now_us = int(self._clock() * _MICROSECONDS)
        observed = ends // 1000
        ahead = observed - now_us
        self.clock_ahead += int((ahead > 5 * _MICROSECONDS).sum())
        records["observed_at_us"] = np.minimum(observed, now_us)
        records["duration_seconds"] = durations


@functools.lru_cache(1024)
def _is_recorders(raw_scope: bytes) -> bool:
    try:
        return bool(Scope.FromString(raw_scope).name.decode("utf-8", "replace") == InstrumentationScope.RECORDER)
    except DecodeError:
        return False


def _event_duration(pending: Sequence[tuple[str, str]]) -> int | None:
    """The event's duration in nanoseconds; None where there is none that makes sense."""
    for key, value in pending:
        if key == _EVENT_DURATION:
            try:
                seconds = float(value)
            except ValueError:
                return None
            return round(seconds * 1e9) if 0 <= seconds < 1e9 else None
    return None


def _fill_ids(records: NDArray[np.void], columns: _Columns, refusals: Refusals, *, required: bool) -> NDArray[np.bool_]:
    """Copy the ids; False for rows whose ids are malformed."""
    kept = np.ones(len(records), dtype=bool)
    traces, spans = columns.trace_ids, columns.span_ids
    if set(map(len, traces)) != {16} or set(map(len, spans)) != {8}:
        for row, (trace, span) in enumerate(zip(traces, spans, strict=True)):
            if len(trace) == 16 and len(span) == 8:
                continue
            absent = not required and len(trace) in (0, 16) and len(span) in (0, 8)
            if not absent:
                kept[row] = False
                refusals.add(f"trace id of {len(trace)} and span id of {len(span)} bytes; they have 16 and 8")
            traces[row] = trace if len(trace) == 16 else NO_ID
            spans[row] = span if len(span) == 8 else bytes(8)
    records["trace_id"] = np.frombuffer(b"".join(traces), dtype="V16")
    records["span_id"] = np.frombuffer(b"".join(spans), dtype=">i8")
    if required:
        missing = (records["span_id"] == 0) & kept
        if missing.any():
            refusals.add("span id is all zeros", int(missing.sum()))
            kept &= ~missing
    records["flow_instance"] = records["trace_id"]
    for row, instance in columns.instances.items():
        records["flow_instance"][row] = np.void(instance)
    for row, customer in columns.customers.items():
        records["customer"][row] = np.void(customer)
    return kept


def _times(columns: _Columns) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Durations in seconds (negative where the end is before the start) and ends in nanoseconds (-1 = impossible)."""
    starts = np.array(columns.starts, dtype=np.uint64)
    ends = np.array(columns.ends, dtype=np.uint64)
    impossible = (starts > _NANOSECONDS_LIMIT) | (ends > _NANOSECONDS_LIMIT) | (ends == 0) | (starts == 0)
    whole = ends.astype(np.int64)
    durations = (whole - starts.astype(np.int64)) / 1e9
    whole[impossible] = -1
    return durations, whole


def _usable_times(
    durations: NDArray[np.float64], ends: NDArray[np.int64], refusals: Refusals, kept: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    impossible, backwards = ends < 0, durations < 0
    backwards &= ~impossible
    for rows, reason in (
        (impossible, "start or end time is missing or beyond the year 2262"),
        (backwards, "end time is before start time"),
    ):
        count = int((rows & kept).sum())
        if count:
            refusals.add(reason, count)
    return ~(impossible | backwards)
