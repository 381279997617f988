"""What the host holds while a customer is on the way: a flow, and the step that is being passed.

Everything here runs on the host's threads. It takes times, keeps references and queues itself; ids, tokens, dimension
values and verdicts are worked out by the flush thread (``recorder_encoding``).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final

from ...metrics.judge import Judgement, judge
from ...metrics.observation import SeriesKey
from ...metrics.verdict import CheckResult, Verdict
from ..customer_token import CustomerKey
from .buffer import Buffer, DropReason
from .exceptions import ExceptionVerdicts
from .plan import FlowPlan, StepPlan

__all__ = ["CURRENT_FLOW", "NO_STEP", "Flow", "FlowRecord", "NoFlow", "Said", "Settings", "Step"]

CURRENT_FLOW: ContextVar[Flow | None] = ContextVar("cxgauge_flow", default=None)
_NANOSECONDS = 1_000_000_000


class _UnfinishedError(BaseException):
    """What ``Step.raised`` holds before the step is left."""


class InstanceNumbers:
    """128-bit ids: a counter that starts at eight random bytes and eight more, so that making one is an increment."""

    __slots__ = ("next",)

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Draw new random bytes, as a forked child must."""
        start = int.from_bytes(os.urandom(8) + bytes(2) + os.urandom(6), "big")
        self.next: Callable[[], int] = itertools.count(start).__next__


INSTANCE_NUMBERS: Final = InstanceNumbers()
os.register_at_fork(after_in_child=INSTANCE_NUMBERS.renew)


class Settings:
    """What a recorder's flows and steps share."""

    __slots__ = ("buffer", "clock", "current_span", "exceptions", "judge_later", "step_class", "timer", "value_key")

    def __init__(
        self,
        buffer: Buffer,
        clock: Callable[[], float],
        timer: Callable[[], int],
        judge_later: bool,
        exceptions: ExceptionVerdicts,
    ) -> None:
        self.buffer = buffer
        self.clock = clock
        self.timer = timer
        self.judge_later = judge_later
        self.exceptions = exceptions
        self.value_key: CustomerKey | None = None  # for checks between steps; None leaves them out
        self.current_span: Callable[[], Any] | None = None
        self.step_class: type[Step] = Step

    def fail(self) -> None:
        """Count a failure of ours that the host was kept from."""
        self.buffer.drops.add(DropReason.INTERNAL_ERROR)


class FlowRecord:
    """What the flush thread knows of a flow."""

    __slots__ = ("ended", "passed", "series", "unhappy", "values")

    def __init__(self, started: int) -> None:
        self.passed: list[str] = []
        self.ended = started
        self.unhappy = False
        self.values: tuple[tuple[str, str], ...] | None = None
        self.series: dict[str, SeriesKey] = {}


class Flow:
    """One customer on one way through a flow; made by ``Recorder.flow``. Use it as a (possibly async) context manager.

    Leaving it without an exception before every required step was passed is recorded as ``abandoned``, on the step
    that would have come next. An exception that escapes between steps is recorded on that step too. A flow that was
    taken over from a caller, or handed on with ``Recorder.inject``, may be finished elsewhere: it is never judged
    abandoned here.
    """

    __slots__ = (
        "__weakref__",
        "customer",
        "dimensions",
        "entered",
        "instance",
        "left_at",
        "lost",
        "number",
        "open_ended",
        "plan",
        "raised",
        "record",
        "settings",
        "started",
        "steps",
        "timer",
        "token",
    )

    def __init__(self, plan: FlowPlan, settings: Settings, customer: object, dimensions: Mapping[str, object]) -> None:
        self.plan = plan
        self.steps = plan.steps
        self.settings = settings
        self.timer = timer = settings.timer
        self.customer = customer
        self.dimensions = dimensions
        self.number = INSTANCE_NUMBERS.next()
        self.instance: bytes | None = None  # one that others know too; else `number`
        self.open_ended = False
        self.lost = False  # a passage was dropped: whether the flow was finished is not known
        self.token: bytes | None = None  # of the customer, once made
        self.record: FlowRecord | None = None  # once the flush thread has met the flow
        self.started = timer()

    @property
    def name(self) -> str:
        """Name of the flow."""
        return self.plan.name

    @property
    def id(self) -> bytes:
        """The flow instance: 16 bytes that all observations of this customer's way carry."""
        return self.number.to_bytes(16, "big") if self.instance is None else self.instance

    def step(self, name: str, /) -> Step:
        """Begin to pass a step: ``with flow.step("bill_total") as step: …``."""
        try:
            return self.settings.step_class(self, self.steps[name])
        except (KeyError, TypeError):
            self.settings.buffer.drops.add(DropReason.UNKNOWN_STEP, flow=self.name)
        except Exception:
            self.settings.fail()
        return NO_STEP

    def leave_open(self) -> None:
        """Say that other requests or processes go on with this flow, so that leaving it here abandons nothing."""
        self.open_ended = True

    def abandon(self) -> None:
        """Say that the customer left, for flows that are not used as context managers."""
        try:
            self._leave(None)
        except Exception:
            self.settings.fail()

    def _leave(self, raised: type[BaseException] | None) -> None:
        if not self.open_ended:
            self.open_ended = True
            self.raised = raised
            self.left_at = self.timer()
            self.settings.buffer.add(self)

    def __enter__(self) -> Flow:
        self.entered = CURRENT_FLOW.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            CURRENT_FLOW.reset(self.entered)
        except Exception:
            CURRENT_FLOW.set(None)
        try:
            self._leave(kind)
        except Exception:
            self.settings.fail()

    async def __aenter__(self) -> Flow:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


class Said:
    """What the host said of a passage beyond its times."""

    __slots__ = ("at", "judged", "results", "sides", "unjudged", "worst")

    def __init__(self) -> None:
        self.at = 0  # when the answer was handed over; 0 = not at all
        self.judged: Judgement | None = None
        self.unjudged: Any = None
        self.worst = Verdict.GOOD
        self.results: dict[str, CheckResult] = {}
        self.sides: dict[tuple[str, Any], tuple[bytes, ...]] = {}  # keyed tokens of values that other steps show too


class Step:
    """One passage of a step. Its duration runs from entering to :meth:`answer`, or to leaving without one.

    An exception that leaves the step makes it ``timeout``, ``abandoned`` (cancellation) or ``error``, and goes on
    untouched.
    """

    __slots__ = ("ended", "flow", "plan", "raised", "said", "span", "started")

    def __init__(self, flow: Flow, plan: StepPlan) -> None:
        self.flow = flow
        self.plan = plan
        self.said: Said | None = None
        self.span: Any = None
        self.raised: type[BaseException] | None = _UnfinishedError

    def __enter__(self) -> Step:
        self.started = self.flow.timer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        flow = self.flow
        ended = flow.timer()
        try:
            if self.raised is not _UnfinishedError:
                raise RuntimeError("a step object is used for one passage")
            self.raised = kind
            self.ended = ended if kind is not None or self.said is None else self.said.at or ended
            settings = flow.settings
            if settings.current_span is not None and self.span is None:
                self.span = settings.current_span()
            # As Buffer.add, without the call: this is what every step costs the host.
            buffer = settings.buffer
            if len(buffer.entries) < buffer.calm_below:
                buffer.entries.append(self)
            elif not buffer.add(self):
                flow.lost = True
        except Exception:
            flow.settings.fail()

    async def __aenter__(self) -> Step:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def answer(self, answer: object) -> None:
        """Hand over what the customer got: ends the duration, and judges the step's checks on it.

        Judged here and now unless the recorder was made with ``judge_later``; nothing of the answer is kept then.
        """
        at = self.flow.timer()
        try:
            said = self._said()
            said.at = at
            spec, settings = self.plan.spec, self.flow.settings
            if settings.judge_later:
                said.unjudged = answer
                return
            if spec.checks:
                said.judged = judge(spec, (at - self.started) / _NANOSECONDS, answer, settings.clock())
            if self.plan.across:
                said.sides = self.sides_of(answer)
        except Exception:
            self.flow.settings.fail()

    def sides_of(self, answer: object) -> dict[tuple[str, Any], tuple[bytes, ...]]:
        """Keyed tokens of what the answer shows for checks between steps."""
        flow, key = self.flow, self.flow.settings.value_key
        if key is None:
            return {}
        from ..across import tokens_of_answer

        return tokens_of_answer(flow.plan.spec, self.plan.name, flow.id, answer, key)

    def verdict(self, verdict: Verdict | str) -> None:
        """Say what is known without an exception, such as ``"error"`` for a status code; the worst verdict wins."""
        try:
            given = Verdict[verdict.upper()] if isinstance(verdict, str) else Verdict(verdict)
            said = self._said()
            said.worst = max(said.worst, given)
        except Exception:
            self.flow.settings.fail()

    def check(self, name: str, passed: bool | None) -> None:
        """Give the result of a declared check that the host judged itself; None when it could not tell.

        Given results win over the ones judged on :meth:`answer`.
        """
        try:
            result = CheckResult.UNKNOWN if passed is None else CheckResult.PASS if passed else CheckResult.FAIL
            self._said().results[str(name)] = result
        except Exception:
            self.flow.settings.fail()

    def _said(self) -> Said:
        if self.said is None:
            self.said = Said()
        return self.said


class NoStep(Step):
    """Stands in for a step that is not recorded."""

    __slots__ = ()

    def __init__(self) -> None:
        pass

    def __enter__(self) -> Step:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def answer(self, answer: object) -> None:
        """Do nothing."""

    def verdict(self, verdict: Verdict | str) -> None:
        """Do nothing."""

    def check(self, name: str, passed: bool | None) -> None:
        """Do nothing."""


class NoFlow(Flow):
    """Stands in for a flow that is not recorded; each of its steps is counted as dropped for one reason."""

    __slots__ = ("reason",)

    def __init__(self, settings: Settings, reason: str) -> None:
        self.settings = settings
        self.reason = reason
        self.open_ended = True

    @property
    def name(self) -> str:
        """Empty."""
        return ""

    @property
    def id(self) -> bytes:
        """All zero."""
        return bytes(16)

    def step(self, name: str, /) -> Step:
        """Count a drop."""
        del name
        self.settings.buffer.drops.add(self.reason)
        return NO_STEP


NO_STEP: Final = NoStep()
