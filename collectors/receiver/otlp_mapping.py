"""From spans and events to observations.

Spans of the same resource, name, kind, status and deciding attributes have the same *shape*: the same series, the
same checks, the same verdict but for their duration. A shape is worked out once, by :mod:`.span_shape`; what is left
for each span is to find its shape and to copy ids and times, and the rest is arithmetic over columns.

Requests of many spans are read in lockstep (:mod:`.span_scan`); few spans, JSON and whatever is unusual are read one
by one. Both come to the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from ...metrics.names import InstrumentationScope
from ...metrics.specification.flow import FlowSpec
from .intake import Mapped
from .matched_spans import MatchedSpans, SpanRows, observations
from .otlp_decode import Refusals, decode_envelope, decode_trace
from .otlp_schema import Scope
from .per_span import PerSpan
from .scan_keys import ScanKeys, scan_keys
from .scan_own import read_own
from .shape_memory import EVENT_DURATION, KnownResource, ShapeMemory
from .span_scan import SpanScan, scan
from .span_shape import Shape, Shapes, ShapeSettings

__all__ = ["OtlpMapper"]

_SCANNED_AT_ONCE = 2_048


@dataclass(slots=True)
class _Scanned:
    """Spans that were read in lockstep."""

    scan: SpanScan
    keys: ScanKeys
    shapes: list[Shape]
    of_resource: dict[int, tuple[tuple[str, str], ...]]  # what a resource says of its spans, by row


class OtlpMapper:
    """Maps decoded OTLP requests; one thread at a time.

    Args:
        flows: The specifications by name.
        settings: Which attributes say what.
        clock: Seconds since 1970.
        scanned_from: Spans of a request from which on they are read in lockstep; fewer are read faster one by one.

    Attributes:
        clock_ahead: Observations whose sender's clock was ahead by more than five seconds.
        dimension_other: Observations with a dimension value beyond its limit, by ``flow.dimension``.
    """

    def __init__(
        self,
        flows: Mapping[str, FlowSpec],
        settings: ShapeSettings,
        clock: Callable[[], float],
        *,
        scanned_from: int = 128,
    ) -> None:
        self._scanned_from = scanned_from
        self._per_span = PerSpan(settings)
        shapes = Shapes(flows, settings)
        self._with_names = shapes.span_names_matter
        self._memory = ShapeMemory(shapes, self._per_span)
        self._clock = clock
        self.clock_ahead = 0
        self.dimension_other: dict[str, int] = {}

    def map_trace_body(self, body: bytes, refusals: Refusals) -> Mapped:
        """Observations of the spans of a serialised ``ExportTraceServiceRequest``.

        Args:
            body: The request, protobuf.
            refusals: Receives the spans refused.

        Raises:
            MalformedBodyError: the body cannot be read.
        """
        self._memory.renew_if_crowded()
        spans, resources, ignored = self._unpack(decode_envelope(body))
        if spans and len(spans) >= self._scanned_from:
            scanned = self._scan(spans, resources)
            if scanned is not None:
                parts = []
                for part in scanned:
                    matched, passed_over = self._match(part, refusals)
                    parts.append(matched)
                    ignored += passed_over
                return self._finish(parts, ignored, refusals)
        return self.map_trace(decode_trace(body, is_json=False, refusals=refusals), refusals)

    def map_trace(self, request: Any, refusals: Refusals) -> Mapped:
        """Observations of the spans of a narrow ``TraceRequest``.

        Args:
            request: The decoded request.
            refusals: Spans refused so far; more are added.
        """
        self._memory.renew_if_crowded()
        rows, ignored = SpanRows(), 0
        for group in request.resource_spans:
            resource = self._memory.resource(group.resource)
            for scope in group.scope_spans:
                if _is_recorders(scope.scope):
                    ignored += len(scope.spans)  # our own recorder's: in a spool already
                else:
                    ignored += self._collect_spans(resource, scope.spans, rows, refusals)
        return self._finish([rows.matched(refusals, ids_required=True)], ignored, refusals)

    def map_logs(self, request: Any, refusals: Refusals) -> Mapped:
        """Observations of the events of a narrow ``LogsRequest``: those that name flow and step themselves."""
        self._memory.renew_if_crowded()
        rows, ignored = SpanRows(), 0
        for group in request.resource_logs:
            resource = self._memory.resource(group.resource)
            for scope in group.scope_logs:
                for record in scope.log_records:
                    ignored += self._collect_event(resource, record, rows, refusals)
        return self._finish([rows.matched(refusals, ids_required=False)], ignored, refusals, ids_required=False)

    # All at once

    def _unpack(self, request: Any) -> tuple[list[bytes], list[tuple[KnownResource, int]], int]:
        """Serialised spans, resources with the number of spans of each, and how many spans are none of ours."""
        spans: list[bytes] = []
        resources: list[tuple[KnownResource, int]] = []
        ignored = 0
        for group in request.resource_spans:
            resource = self._memory.resource(group.resource)
            for scope in group.scope_spans:
                found = scope.spans[:]
                if _is_recorders(scope.scope):
                    ignored += len(found)
                    continue
                spans += found
                resources.append((resource, len(found)))
        return spans, resources, ignored

    def _scan(self, spans: list[bytes], resources: list[tuple[KnownResource, int]]) -> list[_Scanned] | None:
        """The spans and their shapes; None when they must be read one by one."""
        found: list[_Scanned] = []
        known = self._memory.spans
        by_number = {resource.number: resource for resource, _ in resources}
        numbers = np.repeat([resource.number for resource, _ in resources], [count for _, count in resources])
        with_own = [resource.number for resource in by_number.values() if resource.per_span]
        for start in range(0, len(spans), _SCANNED_AT_ONCE):
            part = scan(spans[start : start + _SCANNED_AT_ONCE])
            if part is None:
                return None
            here = numbers[start : start + _SCANNED_AT_ONCE]
            keys = scan_keys(part, here, known.memo, with_names=self._with_names)
            if keys is None:
                known.renew()
                return None
            shapes = [
                known.shapes.get(key) or self._memory.work_out(known, key, by_number[key[0]]) for key in keys.keys
            ]
            rows = np.flatnonzero(np.isin(here, with_own)).tolist() if with_own else []
            found.append(_Scanned(part, keys, shapes, {row: by_number[int(here[row])].per_span for row in rows}))
            if known.crowded:
                known.renew()  # all effects handed out have been used
        return found

    def _match(self, scanned: _Scanned, refusals: Refusals) -> tuple[MatchedSpans, int]:
        """The scanned spans that are steps, and how many are none."""
        index = scanned.keys.index
        counts = np.bincount(index, minlength=len(scanned.shapes)).tolist()
        ignored = 0
        for shape, count in zip(scanned.shapes, counts, strict=True):
            if shape.refusal is not None:
                refusals.add(shape.refusal, count)
            elif shape.series is None:
                ignored += count
        usable = np.array([shape.series is not None for shape in scanned.shapes])
        chosen = np.flatnonzero(usable[index])
        taken = slice(None) if len(chosen) == len(index) else chosen
        spans = scanned.scan
        matched = MatchedSpans(
            [shape for shape in scanned.shapes if shape.series is not None],
            (np.cumsum(usable) - 1)[index[taken]],
            spans.trace_ids[taken],
            spans.span_ids[taken],
            spans.starts[taken],
            spans.ends[taken],
            np.ones(len(chosen), dtype=bool),
        )
        read_own(spans, scanned.keys.per_span, scanned.of_resource, chosen, self._per_span, matched)
        return matched, ignored

    # One by one

    def _collect_spans(self, resource: KnownResource, spans: Sequence[Any], rows: SpanRows, refusals: Refusals) -> int:
        known, number = self._memory.spans, resource.number
        memo, shapes, look_up, pending = known.memo, known.shapes, known.memo.__getitem__, known.memo.pending
        with_names, ignored = self._with_names, 0
        for span in spans:
            pending.clear()
            effects = tuple(filter(None, map(look_up, span.attributes[:])))
            key = (number, span.name if with_names else b"", span.kind, span.status, effects)
            shape = shapes.get(key)
            if shape is None:
                shape = self._memory.work_out(known, key, resource)
                if known.crowded:
                    known.renew()  # this span's effects have just been used; nobody holds others
            if shape.series is None:
                if shape.refusal is None:
                    ignored += 1
                else:
                    refusals.add(shape.refusal)
                continue
            rows.index.append(rows.number(shape))
            rows.trace_ids.append(span.trace_id)
            rows.span_ids.append(span.span_id)
            rows.starts.append(span.start)
            rows.ends.append(span.end)
            if pending or resource.per_span:
                self._read_per_span(resource, pending, shape, rows)
        memo.pending.clear()
        return ignored

    def _collect_event(self, resource: KnownResource, record: Any, rows: SpanRows, refusals: Refusals) -> int:
        known = self._memory.events
        memo = known.memo
        memo.pending.clear()
        effects = tuple(filter(None, map(memo.__getitem__, record.attributes[:])))
        key = (resource.number, b"", 0, b"", effects)
        shape = known.shapes.get(key) or self._memory.work_out(known, key, resource)
        if known.crowded:
            known.renew()
        if shape.series is None:
            if shape.refusal is not None:
                refusals.add(shape.refusal)
            return 1 if shape.refusal is None else 0
        pending = [pair for pair in memo.pending if pair[0] != EVENT_DURATION]
        nanoseconds = _event_duration(memo.pending)
        end = record.time or record.observed
        if nanoseconds is None or nanoseconds > end:
            refusals.add(f"event of a step without a usable {EVENT_DURATION}; send seconds as a number")
            return 0
        rows.index.append(rows.number(shape))
        rows.trace_ids.append(record.trace_id)
        rows.span_ids.append(record.span_id)
        rows.starts.append(end - nanoseconds)
        rows.ends.append(end)
        if pending or resource.per_span:
            self._read_per_span(resource, pending, shape, rows)
        return 0

    def _read_per_span(
        self, resource: KnownResource, pending: Sequence[tuple[str, str]], shape: Shape, rows: SpanRows
    ) -> None:
        row = len(rows) - 1
        pairs = (*resource.per_span, *pending) if resource.per_span else pending
        rows.found[row] = self._per_span.read(pairs, shape, rows.starts[row], rows.ends[row], rows.trace_ids[row])

    def _finish(
        self, parts: Sequence[MatchedSpans], ignored: int, refusals: Refusals, *, ids_required: bool = True
    ) -> Mapped:
        batch, corrected = observations(parts, self._clock(), refusals, ids_required=ids_required)
        self.clock_ahead += corrected.amounts.total()
        for part in parts:
            for shape, count in zip(
                part.shapes, np.bincount(part.index, minlength=len(part.shapes)).tolist(), strict=True
            ):
                for name in shape.other_dimensions:
                    self.dimension_other[name] = self.dimension_other.get(name, 0) + count
        return Mapped(batch, ignored, refusals, corrected=corrected)


@functools.lru_cache(1024)
def _is_recorders(raw_scope: bytes) -> bool:
    try:
        return bool(Scope.FromString(raw_scope).name.decode("utf-8", "replace") == InstrumentationScope.RECORDER)
    except DecodeError:
        return False


def _event_duration(pending: Sequence[tuple[str, str]]) -> int | None:
    """The event's duration in nanoseconds; None where there is none that makes sense."""
    for key, value in pending:
        if key == EVENT_DURATION:
            try:
                seconds = float(value)
            except ValueError:
                return None
            return round(seconds * 1e9) if 0 <= seconds < 1e9 else None
    return None
