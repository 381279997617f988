"""Steps as OpenTelemetry spans of their own, for hosts that ask for it.

The spans carry ``cxgauge.flow.name``, ``cxgauge.step.name``, ``cxgauge.verdict`` and the results of checks, never the
answer or an exception's text. Their instrumentation scope tells receivers that these steps are recorded already.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import Status, StatusCode

from ...metrics.names import Attribute, InstrumentationScope
from ...metrics.verdict import CheckResult, Verdict
from .encoding import judge_step
from .flow import Flow, Step
from .plan import StepPlan

__all__ = ["SpanStep"]

_FAILED = (Verdict.ERROR, Verdict.TIMEOUT)


class SpanStep(Step):
    """A step that is a span as well, current while the step is being passed."""

    __slots__ = ("attached",)

    def __init__(self, flow: Flow, plan: StepPlan) -> None:
        super().__init__(flow, plan)
        self.attached: Any = None

    def __enter__(self) -> Step:
        try:
            tracer = trace.get_tracer(InstrumentationScope.RECORDER)
            self.span = tracer.start_span(f"{self.flow.name} {self.plan.name}")
            self.attached = context.attach(trace.set_span_in_context(self.span))
        except Exception:
            self.flow.settings.fail()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        try:
            if self.attached is not None:
                context.detach(self.attached)
                self.attached = None
                self._end(kind)
        except Exception:
            self.flow.settings.fail()

    def _end(self, kind: type[BaseException] | None) -> None:
        span = self.span
        if span.is_recording():
            settings = self.flow.settings
            judgement = judge_step(self, settings.exceptions, settings.clock())
            span.set_attribute(Attribute.FLOW_NAME, self.flow.name)
            span.set_attribute(Attribute.STEP_NAME, self.plan.name)
            span.set_attribute(Attribute.FLOW_INSTANCE, self.flow.id.hex())
            span.set_attribute(Attribute.VERDICT, judgement.verdict.label)
            for outcome in judgement.outcomes:
                if outcome.result is not CheckResult.NOT_EVALUATED:
                    span.set_attribute(Attribute.CHECK_PREFIX + outcome.name, outcome.result.label)
            if judgement.verdict in _FAILED:
                span.set_status(Status(StatusCode.ERROR, None if kind is None else kind.__qualname__))
        span.end()
