"""Steps out of the spans that a Python application makes anyway: a span processor for the OpenTelemetry SDK.

    provider.add_span_processor(CxgaugeSpanProcessor.from_config("cxgauge.yml"))

Spans become observations by the same rules as in the OTLP receiver (``matching``, ``span_shape``): explicit
``cxgauge.…`` attributes first, then what the steps say under ``match``. Use one of the two for a service, not both: a
span that reaches a spool and the receiver counts twice. Spans of our own recorder are left alone.
"""

from __future__ import annotations

import logging
import os
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from opentelemetry import baggage
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from ...metrics.names import Attribute, InstrumentationScope
from ...metrics.observation import RECORD, ObservationBatch, SeriesKey
from ...metrics.specification.flow import FlowSpec
from ...metrics.verdict import Verdict
from ..receiver.otlp_schema import SpanStatus
from ..receiver.per_span import PerSpan
from ..receiver.span_shape import Shape, Shapes, ShapeSettings
from ..spool import SpoolWriter
from .buffer import Buffer, DropReason, Drops
from .configuration import opener, span_processor_options
from .propagation import token_of
from .sink import SpoolSink

__all__ = ["CxgaugeSpanProcessor"]

_LOGGER = logging.getLogger("cxgauge.recorder")
_ROW = struct.Struct("<qdIBBHq16s16s16sq")
_NOTHING = bytes(16)
_SIGNED = 1 << 63
_SHAPES_LIMIT = 4096
_ERROR_STATUS = SpanStatus(code=2).SerializeToString()
_KINDS = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}  # the numbers of OTLP's SpanKind, which are not those of the API
_HANDED_ON = (Attribute.FLOW_INSTANCE, Attribute.CUSTOMER_TOKEN)


class CxgaugeSpanProcessor(SpanProcessor):
    """Turns finished spans into observations. Ending a span costs the host a check and an append.

    Args:
        flows: Flow specifications by name.
        spool: Spool directory, or a function that opens a source in it.
        settings: Which attributes say what, as for the OTLP receiver.
        buffer_limit: Most spans held in memory; more are dropped and counted.
        flush_interval_seconds: How long they wait there for the flush thread.
        exit_timeout_seconds: How long the end of the process may be held up to flush.
        clock: Seconds since 1970; for tests.
    """

    def __init__(
        self,
        *,
        flows: Mapping[str, FlowSpec],
        spool: str | os.PathLike[str] | Callable[[], SpoolWriter],
        settings: ShapeSettings | None = None,
        buffer_limit: int = 65_536,
        flush_interval_seconds: float = 0.2,
        exit_timeout_seconds: float = 2.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._drops = Drops()
        encoder = _SpanEncoder(flows, settings or ShapeSettings(), self._drops)
        sink = SpoolSink(opener(spool), encoder, self._drops, clock, time.perf_counter_ns)
        self._buffer = Buffer(
            sink,
            self._drops,
            limit=buffer_limit,
            interval_seconds=flush_interval_seconds,
            exit_timeout_seconds=exit_timeout_seconds,
        )

    @classmethod
    def from_config(cls, path: str | os.PathLike[str] = "cxgauge.yml", **options: Any) -> CxgaugeSpanProcessor:
        """Make a processor as the configuration file says; one that records nothing, with a warning, where that fails.

        Args:
            path: The configuration file.
            options: As for the constructor; they win over the file.
        """
        try:
            return cls(**{**span_processor_options(Path(path)), **options})
        except Exception as error:
            _LOGGER.warning("cxgauge records no spans: %s", error)
            return cls(flows={}, spool=os.devnull)

    def drops(self) -> dict[str, int]:
        """Spans that were steps and were not recorded since the start of this process, by reason."""
        return self._drops.counts()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Note on the span which flow instance and customer the caller handed on."""
        try:
            entries = baggage.get_all(parent_context)
            for name in _HANDED_ON:
                value = entries.get(name)
                if isinstance(value, str) and token_of(value) is not None:
                    span.set_attribute(name, value)
        except Exception:
            self._drops.add(DropReason.INTERNAL_ERROR)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span."""
        try:
            scope = span.instrumentation_scope
            if scope is None or scope.name != InstrumentationScope.RECORDER:
                self._buffer.add(span)
        except Exception:
            self._drops.add(DropReason.INTERNAL_ERROR)

    def shutdown(self) -> None:
        """Flush and end."""
        self._buffer.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until what ended so far is in the spool; False when time ran out."""
        return self._buffer.wait(timeout_millis / 1000)


class _SpanEncoder:
    """Turns spans into batches; used by the flush thread."""

    def __init__(self, flows: Mapping[str, FlowSpec], settings: ShapeSettings, drops: Drops) -> None:
        self._shapes = Shapes(flows, settings)
        self._per_span = PerSpan(settings)
        self._drops = drops
        self._known: dict[tuple[Any, ...], Shape] = {}

    def close(self) -> None:
        """Nothing was opened."""

    def forked(self) -> None:
        """Nothing here belongs to a process."""

    def encode(self, entries: Sequence[Any], timer_offset_ns: int, /) -> ObservationBatch:
        """A batch of the spans that are steps; spans carry wall time, so that no offset is needed."""
        del timer_offset_ns
        rows: list[bytes] = []
        series: dict[SeriesKey, int] = {}
        for span in entries:
            try:
                self._encode(span, rows, series)
            except Exception:
                self._drops.add(DropReason.INTERNAL_ERROR)
                _LOGGER.debug("a span could not be encoded", exc_info=True)
        return ObservationBatch(tuple(series), np.frombuffer(b"".join(rows), dtype=RECORD))

    def _encode(self, span: ReadableSpan, rows: list[bytes], series: dict[SeriesKey, int]) -> None:
        attributes = _texts({**span.resource.attributes, **(span.attributes or {})})
        shape = self._shape(span, attributes)
        if shape.series is None:
            if shape.refusal is not None:
                self._drops.add(DropReason.UNKNOWN_STEP)
                _LOGGER.debug("a span was refused: %s", shape.refusal)
            return
        start, end, context = span.start_time or 0, span.end_time or 0, span.context
        duration = (end - start) / 1e9
        if not start or duration < 0 or context is None:
            self._drops.add(DropReason.INTERNAL_ERROR)
            return
        pairs = [(key, value) for key, value in attributes.items() if self._per_span.concerns(key)]
        trace_id = context.trace_id.to_bytes(16, "big")
        found = self._per_span.read(pairs, shape, start, end, trace_id)
        checks, verdict = found.override or (shape.checks, shape.verdict)
        if duration > shape.target_seconds:
            late = duration >= shape.timeout_seconds
            verdict = max(verdict, Verdict.TIMEOUT if late else Verdict.SLOW)
        span_id = context.span_id - (1 << 64) if context.span_id >= _SIGNED else context.span_id
        customer = token_of(attributes.get(Attribute.CUSTOMER_TOKEN)) or found.customer or _NOTHING
        number = series.setdefault(shape.series, len(series))
        identity = (found.instance or trace_id, customer, trace_id, span_id)
        rows.append(_ROW.pack(end // 1000, duration, number, verdict, shape.source, 0, checks, *identity))

    def _shape(self, span: ReadableSpan, attributes: Mapping[str, str]) -> Shape:
        deciding = {key: value for key, value in attributes.items() if self._shapes.matters(key)}
        failed = span.status.status_code is StatusCode.ERROR
        key = (span.name, span.kind, failed, frozenset(deciding.items()))
        shape = self._known.get(key)
        if shape is None:
            if len(self._known) >= _SHAPES_LIMIT:
                self._known.clear()
            status = _ERROR_STATUS if failed else b""
            shape = self._known[key] = self._shapes.work_out(span.name, _KINDS.get(span.kind, 0), status, deciding)
        return shape


def _texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Scalar attributes as the receiver reads them: numbers as Python writes them, truth values in lower case."""
    texts = {}
    for key, value in attributes.items():
        if isinstance(value, bool):
            texts[key] = "true" if value else "false"
        elif isinstance(value, (str, int, float)):
            texts[key] = str(value)
    return texts
