"""The recorder: what an application imports to say which step of which flow a customer passes.

It never raises into the host, never blocks it and costs it about a microsecond a step; what it cannot record it
counts, see :meth:`Recorder.drops`. docs/how-to/record-from-python.md shows it, docs/reference/recorder.md states the
promises.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from ...metrics.observation import Source
from ...metrics.specification.flow import FlowSpec
from ...metrics.verdict import CheckResult, Verdict
from ..customer_token import CustomerTokens, flow_instance_id
from ..spool import SpoolWriter
from .buffer import Buffer, DropReason, Drops
from .configuration import across_opener, opener, recorder_options
from .current_span import current_span_reader
from .encoding import Encoder, Measured
from .exceptions import ExceptionVerdicts
from .flow import CURRENT_FLOW, NO_STEP, Flow, NoFlow, Settings, Step
from .plan import FlowPlan
from .propagation import Carrier, Handover, extract, inject
from .sink import SpoolSink

__all__ = ["DropReason", "Flow", "Recorder", "Step"]

_LOGGER = logging.getLogger("cxgauge.recorder")
_LABEL_OVERFLOW = "label_overflow"
_P = ParamSpec("_P")
_R = TypeVar("_R")


class Recorder:
    """Records flows into a spool; one object a process is enough, and any number of threads may use it.

    Args:
        flows: Flow specifications by name; without any, nothing is recorded.
        spool: Spool directory, or a function that opens a source in it (called again in a forked child). None
            records nothing.
        tokens: Makes customer tokens; without it, customers are left out.
        buffer_limit: Most observations held in memory; more are dropped and counted.
        flush_interval_seconds: How long they wait there for the flush thread.
        exit_timeout_seconds: How long the end of the process may be held up to flush.
        judge_later: Judge checks on the flush thread instead of in ``step.answer``. The answer is then kept until the
            next flush, and must not be changed meanwhile.
        spans: Make every step an OpenTelemetry span of its own, child of the current one.
        across: File in which checks between steps keep what waits for its other side; shared by all processes of the
            machine, receivers included. Needs ``tokens``. None leaves these checks out.
        timeout_exceptions: Further exceptions that mean ``timeout``: types or qualified names.
        clock: Seconds since 1970; for tests.
        timer: Monotonic nanoseconds; for tests.
    """

    def __init__(
        self,
        *,
        flows: Mapping[str, FlowSpec] | None = None,
        spool: str | os.PathLike[str] | Callable[[], SpoolWriter] | None = None,
        tokens: CustomerTokens | None = None,
        buffer_limit: int = 65_536,
        flush_interval_seconds: float = 0.2,
        exit_timeout_seconds: float = 2.0,
        judge_later: bool = False,
        spans: bool = False,
        across: str | os.PathLike[str] | None = None,
        timeout_exceptions: Iterable[type[BaseException] | str] = (),
        clock: Callable[[], float] = time.time,
        timer: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._drops = Drops()
        self._plans = {name: FlowPlan(spec) for name, spec in (flows or {}).items()}
        self._open = opener(spool)
        self._missing_reason = DropReason.UNKNOWN_FLOW if self._plans and self._open else DropReason.NOT_CONFIGURED
        self._tokens = tokens
        exceptions = ExceptionVerdicts(timeout_exceptions)
        self._problem: str | None = None
        self._encoder = Encoder(self._drops, tokens, exceptions, across_opener(flows or {}, across))
        self._sink = SpoolSink(self._open, self._encoder, self._drops, clock, timer)
        self._buffer = Buffer(
            self._sink,
            self._drops,
            limit=buffer_limit,
            interval_seconds=flush_interval_seconds,
            exit_timeout_seconds=exit_timeout_seconds,
            place=_place_of,
        )
        self._settings = Settings(self._buffer, clock, timer, judge_later, exceptions)
        if across is not None and tokens is not None:
            self._settings.value_key = tokens.current
        self._join_opentelemetry()
        if spans:
            from .spans import SpanStep

            self._settings.step_class = SpanStep

    @classmethod
    def from_config(
        cls, path: str | os.PathLike[str] = "cxgauge.yml", *, strict: bool = False, **options: Any
    ) -> Recorder:
        """Make a recorder as the configuration file says; by default one that records nothing where that fails.

        Args:
            path: The configuration file.
            strict: Raise instead, for tests and deployment checks.
            options: As for the constructor; they win over the file.

        Raises:
            Exception: only with ``strict``: what is wrong with the configuration, its flows or keys.
        """
        try:
            return cls(**{**recorder_options(Path(path)), **options})
        except Exception as error:
            if strict:
                raise
            _LOGGER.warning("cxgauge records nothing: %s", error)
            recorder = cls()
            recorder._problem = str(error)
            return recorder

    @property
    def problem(self) -> str | None:
        """Why nothing is recorded at present, configuration or disk; None when all is well."""
        return self._problem or self._sink.problem

    def drops(self) -> dict[str, int]:
        """What was not recorded since the start of this process, by reason.

        ``label_overflow`` counts dimension values that became ``other``; their observations were recorded.
        """
        found = self._drops.counts()
        overflow = sum(sum(plan.spec.dimension_overflow().values()) for plan in self._plans.values())
        return {**found, _LABEL_OVERFLOW: overflow} if overflow else found

    # Flows and steps

    def flow(
        self,
        name: str,
        /,
        *,
        customer: object = None,
        instance: object = None,
        carrier: Carrier | None = None,
        **dimensions: object,
    ) -> Flow:
        """Begin a flow, or go on with one: ``with recorder.flow("bill_inquiry", customer=…, channel="app") as flow:``.

        Args:
            name: Name of the flow.
            customer: The customer's id; only its keyed token is kept.
            instance: An id of this way through the flow that other processes know too, such as a session's random
                id: this flow then goes on with theirs. Never a customer's or an account's number.
            carrier: Headers of the request at hand: a flow that the caller handed on by :meth:`inject` is gone on with.
            dimensions: Values of the flow's dimensions; they win over the caller's.
        """
        try:
            plan = self._plans.get(name)
            if plan is None or self._open is None:
                return NoFlow(self._settings, self._missing_reason)
            if self._settings.current_span is None and "opentelemetry.trace" in sys.modules:
                self._join_opentelemetry()
            flow = Flow(plan, self._settings, customer, dimensions)
            if instance is not None:
                flow.instance = self._instance(instance)
                flow.open_ended = True
            if carrier is not None:
                self._take_over(flow, extract(carrier))
        except Exception:
            return self._failed_flow()
        return flow

    def step(self, name: str, /) -> Step:
        """Begin a step of the current flow: the one whose ``with`` block this runs in."""
        flow = CURRENT_FLOW.get()
        if flow is None:
            self._drops.add(DropReason.NO_FLOW)
            return NO_STEP
        return flow.step(name)

    def current_flow(self) -> Flow | None:
        """The flow whose ``with`` block this runs in."""
        return CURRENT_FLOW.get()

    def join(self, carrier: Carrier | None, /, **dimensions: object) -> Flow:
        """Go on with whatever flow the caller handed on in these headers; records nothing when there is none."""
        try:
            handover = extract(carrier)
            if handover is None:
                return NoFlow(self._settings, DropReason.NO_FLOW)
            flow = self.flow(handover.flow, carrier=None, **dimensions)
            self._take_over(flow, handover)
        except Exception:
            return self._failed_flow()
        return flow

    def inject(self, carrier: MutableMapping[str, str], flow: Flow | None = None) -> None:
        """Hand a flow (by default the current one) on in the headers of a request to another process."""
        try:
            flow = CURRENT_FLOW.get() if flow is None else flow
            if flow is None or isinstance(flow, NoFlow):
                return
            flow.open_ended = True
            declared = {dimension.name for dimension in flow.plan.spec.dimensions}
            dimensions = {name: str(value) for name, value in flow.dimensions.items() if name in declared}
            inject(carrier, Handover(flow.name, flow.id, self._encoder.token(flow), dimensions))
        except Exception:
            self._fail()

    def observe(
        self,
        flow: Flow,
        step: str,
        duration_seconds: float,
        *,
        at: float | None = None,
        verdict: Verdict = Verdict.GOOD,
        checks: Mapping[str, CheckResult] | None = None,
        source: Source = Source.RECORDER,
        span: Any = None,
    ) -> None:
        """Record a passage that was measured elsewhere.

        Args:
            flow: The flow, from :meth:`flow`.
            step: Name of the step.
            duration_seconds: How long the customer waited.
            at: When the answer had arrived, seconds since 1970; by default now.
            verdict: What is known already; timeliness and checks can only make it worse.
            checks: Results of checks by name.
            source: Where the observation comes from.
            span: OpenTelemetry span, or span context, whose ids are kept.
        """
        try:
            if isinstance(flow, NoFlow):
                self._drops.add(flow.reason)
                return
            plan = flow.steps.get(step)
            if plan is None:
                self._drops.add(DropReason.UNKNOWN_STEP, flow=flow.name)
                return
            at_us = int((self._settings.clock() if at is None else at) * 1_000_000)
            self._buffer.add(Measured(flow, plan, at_us, float(duration_seconds), verdict, checks or {}, source, span))
        except Exception:
            self._fail()

    # Decorators

    def flow_of(
        self, name: str, /, *, customer: object = None, **dimensions: object
    ) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
        """Decorate a function, plain or ``async``, whose every call is a flow.

        ``customer`` and dimension values may be functions: they get the arguments of the call.
        """

        def begin(arguments: tuple[Any, ...], named: dict[str, Any]) -> Flow:
            given = {key: self._resolve(value, arguments, named) for key, value in dimensions.items()}
            return self.flow(name, customer=self._resolve(customer, arguments, named), carrier=None, **given)

        def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
            return _wrap(function, begin, None)

        return decorate

    def step_of(
        self, name: str, /, *, answer: Callable[[Any], object] | None = None
    ) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
        """Decorate a function, plain or ``async``, whose every call passes a step of the current flow.

        Its result is the answer that checks judge; ``answer`` turns it into one, such as
        ``lambda response: response.json()``.
        """

        def settle(step: Step, result: object) -> None:
            if step is not NO_STEP:
                try:
                    step.answer(result if answer is None else answer(result))
                except Exception:
                    self._fail()

        def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
            return _wrap(function, lambda _arguments, _named: self.step(name), settle)

        return decorate

    # Life

    def flush(self, timeout_seconds: float = 5.0) -> bool:
        """Wait until what was recorded so far is in the spool; False when time ran out."""
        try:
            return self._buffer.wait(timeout_seconds)
        except Exception:
            self._fail()
            return False

    def close(self, timeout_seconds: float | None = None) -> bool:
        """Flush and end; called at the exit of the process. False when time ran out."""
        try:
            return self._buffer.close(timeout_seconds)
        except Exception:
            self._fail()
            return False

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Inside

    def _fail(self) -> None:
        self._drops.add(DropReason.INTERNAL_ERROR)
        _LOGGER.debug("the recorder failed; the host was not disturbed", exc_info=True)

    def _resolve(self, value: object, arguments: tuple[Any, ...], named: dict[str, Any]) -> object:
        """A value given to a decorator, asked of the host's function if it is one; None when that fails."""
        try:
            return value(*arguments, **named) if callable(value) else value
        except Exception:
            self._fail()
            return None

    def _failed_flow(self) -> Flow:
        _LOGGER.debug("a flow could not be begun; the host was not disturbed", exc_info=True)
        return NoFlow(self._settings, DropReason.INTERNAL_ERROR)

    def _instance(self, instance: object) -> bytes:
        return flow_instance_id(instance) if self._tokens is None else self._tokens.flow_instance(instance)

    def _take_over(self, flow: Flow, handover: Handover | None) -> None:
        if handover is None or isinstance(flow, NoFlow) or handover.flow != flow.name:
            return
        if handover.instance is not None:
            flow.instance = handover.instance
            flow.open_ended = True
        if flow.customer is None:
            flow.token = handover.customer
        flow.dimensions = {**handover.dimensions, **flow.dimensions}

    def _join_opentelemetry(self) -> None:
        """Ask for current spans once the host has loaded OpenTelemetry; never load it for that."""
        self._settings.current_span = current_span_reader()


def _place_of(entry: Any) -> tuple[str, str]:
    """Flow and step of what was queued: a passage, or a flow that was left."""
    if isinstance(entry, Flow):
        return entry.name, ""
    return entry.flow.name, entry.plan.name


def _wrap(
    function: Callable[_P, _R],
    begin: Callable[[tuple[Any, ...], dict[str, Any]], Any],
    settle: Callable[[Any, object], None] | None,
) -> Callable[_P, _R]:
    """Run ``function`` inside what ``begin`` returns; ``settle`` gets that and the result."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*arguments: Any, **named: Any) -> Any:
            with begin(arguments, named) as entered:
                result = await function(*arguments, **named)
                if settle is not None:
                    settle(entered, result)
                return result

        return cast(Callable[_P, _R], awaited)

    @functools.wraps(function)
    def called(*arguments: _P.args, **named: _P.kwargs) -> _R:
        with begin(arguments, named) as entered:
            result = function(*arguments, **named)
            if settle is not None:
                settle(entered, result)
            return result

    return called
