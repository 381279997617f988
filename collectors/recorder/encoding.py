"""From what the host's threads queued to a batch of observations; all of it on the flush thread."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...metrics.judge import Judgement, judge, judge_results
from ...metrics.observation import RECORD, ObservationBatch, SeriesKey, Source
from ...metrics.verdict import CheckResult, Verdict
from ..customer_token import CustomerTokens
from .across import AcrossResults
from .buffer import DropReason, Drops
from .exceptions import ExceptionVerdicts
from .flow import Flow, FlowRecord, Step
from .plan import StepPlan

if TYPE_CHECKING:
    from ..across import AcrossJudge

__all__ = ["Encoder", "Measured", "judge_step"]

_LOGGER = logging.getLogger("cxgauge.recorder")
_ROW = struct.Struct("<qdIBBHq16s16s16sq")  # observation.RECORD, field by field
_NOTHING = bytes(16)
_SIGNED = 1 << 63
_UNHAPPY = (Verdict.ABANDONED, Verdict.TIMEOUT, Verdict.ERROR)

if _ROW.size != RECORD.itemsize:
    raise AssertionError(f"a row of {_ROW.size} bytes is not a record of {RECORD.itemsize}")


@dataclass(frozen=True, slots=True)
class Measured:
    """A passage that was measured elsewhere: by a span, or by the host itself."""

    flow: Flow
    plan: StepPlan
    observed_at_us: int
    duration_seconds: float
    at_least: Verdict = Verdict.GOOD
    results: Mapping[str, CheckResult] = field(default_factory=dict)
    source: Source = Source.RECORDER
    span: Any = None


class _Rows:
    """Rows of a batch in the making, and its table of series."""

    def __init__(self) -> None:
        self.rows: list[bytes] = []
        self.numbers: dict[SeriesKey, int] = {}

    def batch(self) -> ObservationBatch:
        return ObservationBatch(tuple(self.numbers), np.frombuffer(b"".join(self.rows), dtype=RECORD))


class Encoder:
    """Turns entries into batches. Used by one thread.

    Args:
        drops: Where entries that cannot be used are counted.
        tokens: Makes customer tokens; None leaves customers out.
        exceptions: Which verdict an exception means.
        open_across: Opens what judges checks between steps; None leaves them out.
    """

    def __init__(
        self,
        drops: Drops,
        tokens: CustomerTokens | None,
        exceptions: ExceptionVerdicts,
        open_across: Callable[[], AcrossJudge] | None = None,
    ) -> None:
        self._drops = drops
        self._tokens = tokens
        self._exceptions = exceptions
        self._across = AcrossResults(open_across, drops)

    def forked(self) -> None:
        """Forget, in a forked child, what belongs to the parent."""
        self._across.forked()

    def close(self) -> None:
        """Close the file of the checks between steps."""
        self._across.close()

    def encode(self, entries: Iterable[Any], timer_offset_ns: int) -> ObservationBatch:
        """Work out verdicts, tokens and series.

        Args:
            entries: ``Step``, ``Flow`` that was left, and ``Measured`` in the order in which they were queued.
            timer_offset_ns: What to add to the recorder's timer to get nanoseconds since 1970.
        """
        rows = _Rows()
        for entry in entries:
            try:
                if isinstance(entry, Step):
                    self._step(rows, entry, timer_offset_ns)
                elif isinstance(entry, Flow):
                    self._leaving(rows, entry, timer_offset_ns)
                else:
                    self._measured(rows, entry)
            except Exception:
                self._drops.add(DropReason.INTERNAL_ERROR)
                _LOGGER.debug("an observation could not be encoded", exc_info=True)
        self._across.settle()
        return rows.batch()

    def _step(self, rows: _Rows, step: Step, offset: int) -> None:
        flow = step.flow
        duration = (step.ended - step.started) / 1e9
        at = (step.ended + offset) / 1e9
        judgement = judge_step(step, self._exceptions, at)
        if step.said is not None and step.said.sides and step.raised is None:
            judgement = self._across.overlay(judgement, step, at)
        record = _record(flow)
        record.passed.append(step.plan.name)
        record.ended = step.ended
        record.unhappy = judgement.verdict in _UNHAPPY
        self._add(rows, flow, step.plan, (step.ended + offset) // 1000, duration, judgement, Source.RECORDER, step.span)

    def _leaving(self, rows: _Rows, flow: Flow, offset: int) -> None:
        record = _record(flow)
        if flow.lost or record.unhappy or (not record.passed and flow.raised is None):
            return
        expected = flow.plan.next_expected(record.passed)
        if expected is None:
            return
        verdict = Verdict.ABANDONED if flow.raised is None else self._exceptions.verdict(flow.raised)
        duration = max(0, flow.left_at - record.ended) / 1e9
        at_us = (flow.left_at + offset) // 1000
        self._add(rows, flow, flow.steps[expected], at_us, duration, Judgement(verdict, 0), Source.RECORDER, None)

    def _measured(self, rows: _Rows, entry: Measured) -> None:
        duration = entry.duration_seconds
        judgement = judge_results(entry.plan.spec, duration, entry.results, at_least=entry.at_least)
        self._add(rows, entry.flow, entry.plan, entry.observed_at_us, duration, judgement, entry.source, entry.span)

    def _add(
        self,
        rows: _Rows,
        flow: Flow,
        plan: StepPlan,
        observed_at_us: int,
        duration: float,
        judgement: Judgement,
        source: Source,
        span: Any,
    ) -> None:
        trace_id, span_id = _span_ids(span)
        rows.rows.append(
            _ROW.pack(
                observed_at_us,
                duration,
                rows.numbers.setdefault(_series(flow, plan), len(rows.numbers)),
                judgement.verdict,
                source,
                0,
                judgement.check_bits,
                flow.id,
                self.token(flow),
                trace_id,
                span_id,
            )
        )

    def token(self, flow: Flow) -> bytes:
        """The customer's token, or 16 zero bytes; made once a flow."""
        if flow.token is None:
            customer = flow.customer
            known = customer is not None and customer != "" and self._tokens is not None
            flow.token = self._tokens.token(customer) if known and self._tokens is not None else _NOTHING
        return flow.token


def judge_step(step: Step, exceptions: ExceptionVerdicts, at: float) -> Judgement:
    """Judge a passage that is over, from all that the host said of it.

    Args:
        step: The passage.
        exceptions: Which verdict an exception means.
        at: When the answer arrived, seconds since 1970.
    """
    spec, said = step.plan.spec, step.said
    duration = (step.ended - step.started) / 1e9
    at_least = Verdict.GOOD if said is None else said.worst
    if step.raised is not None:
        at_least = max(at_least, exceptions.verdict(step.raised))
    if said is None or step.raised is not None:
        return judge(spec, duration, None, at, at_least=at_least)
    judged = said.judged
    if judged is None:
        judged = said.judged = judge(spec, duration, said.unjudged, at)
        if said.unjudged is not None and step.plan.across:
            said.sides = step.sides_of(said.unjudged)
        said.unjudged = None
    if said.results:
        results = {one.name: one.result for one in judged.outcomes if one.result is not CheckResult.NOT_EVALUATED}
        return judge_results(spec, duration, {**results, **said.results}, at_least=at_least)
    return Judgement(max(judged.verdict, at_least), judged.check_bits, judged.outcomes)


def _series(flow: Flow, plan: StepPlan) -> SeriesKey:
    record = _record(flow)
    key = record.series.get(plan.name)
    if key is None:
        if record.values is None:
            given = {name: str(value) for name, value in flow.dimensions.items()}
            record.values = flow.plan.spec.dimension_values(given)
        key = SeriesKey(flow.plan.name, plan.name, record.values, plan.check_names)
        record.series[plan.name] = key
    return key


def _record(flow: Flow) -> FlowRecord:
    if flow.record is None:
        flow.record = FlowRecord(flow.started)
    return flow.record


def _span_ids(span: Any) -> tuple[bytes, int]:
    """Trace and span id of an OpenTelemetry span, or of a span context; zeros when there is none or it is invalid."""
    if span is None:
        return _NOTHING, 0
    context = span.get_span_context() if hasattr(span, "get_span_context") else span
    if context is None or not context.is_valid:
        return _NOTHING, 0
    span_id = context.span_id
    return context.trace_id.to_bytes(16, "big"), span_id - (1 << 64) if span_id >= _SIGNED else span_id
