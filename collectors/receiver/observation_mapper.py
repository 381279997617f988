"""Observations as JSON to batches: the model of one, and the judgement of a request's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ...metrics.judge import judge, timeliness_verdict
from ...metrics.names import Attribute
from ...metrics.observation import RECORD, ObservationBatch, SeriesKey, Source, check_bits
from ...metrics.specification.flow import FlowSpec
from ...metrics.verdict import CheckResult, Verdict
from ..across import checks_of
from ..customer_token import flow_instance_id
from .intake import Mapped
from .json_body import objects_of, reason_of
from .otlp_decode import Refusals
from .per_span import judge_across, overlay
from .span_shape import NO_ID, Shape, ShapeSettings, parse_results

__all__ = ["BATCH_LIMIT", "OBSERVATION", "Observation", "ObservationMapper"]

BATCH_LIMIT = 10_000
_SECONDS_LIMIT = 1e9
_HEX_ID = "^[0-9a-fA-F]{32}$"

Short = Annotated[str, Field(min_length=1, max_length=256)]
Seconds = Annotated[float, Field(ge=0, lt=_SECONDS_LIMIT, allow_inf_nan=False)]


class Observation(BaseModel):
    """One customer passing one step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flow: Short = Field(description="Name of the flow.")
    step: Short = Field(description="Name of the step.")
    duration_seconds: Seconds = Field(description="How long the customer waited for the answer.")
    at: AwareDatetime | None = Field(
        default=None, description="When the answer had arrived, with its zone; by default when it is received."
    )
    age_seconds: Seconds | None = Field(
        default=None, description="How long ago the answer had arrived, for senders whose clock cannot be trusted."
    )
    verdict: Literal["good", "slow", "stale", "incomplete", "wrong", "abandoned", "timeout", "error"] | None = Field(
        default=None, description="What is known already; duration and checks can only make it worse."
    )
    checks: dict[Short, Literal["pass", "fail", "unknown"]] = Field(
        default={}, max_length=32, description="Results of the step's checks by name."
    )
    answer: Any = Field(default=None, description="What the customer got; judged on receipt, then dropped.")
    tokens: dict[Short, list[Annotated[str, Field(pattern=_HEX_ID)]]] = Field(
        default={}, max_length=32, description="Keyed tokens of values, by check between steps."
    )
    dimensions: dict[Short, Annotated[str, Field(max_length=256)]] = Field(
        default={}, max_length=32, description="Values of the flow's dimensions."
    )
    instance: Short | None = Field(default=None, description="The flow instance: what all its observations share.")
    customer: Short | None = Field(default=None, description="Customer id; only its keyed token is kept.")
    id: Short | None = Field(default=None, description="Id of this observation, so that a retry does not count twice.")
    trace_id: Annotated[str, Field(pattern=_HEX_ID)] | None = Field(default=None, description="OpenTelemetry trace.")
    probe: bool = Field(default=False, description="Sent by a probe: kept out of customers' figures.")


OBSERVATION = TypeAdapter(Observation)
"""Reads one :class:`Observation`, and describes it."""


class ObservationMapper:
    """Maps request bodies to batches; one thread at a time.

    Args:
        flows: The specifications by name.
        settings: Keys, and the judge of checks between steps.
        clock: Seconds since 1970.
    """

    def __init__(self, flows: Mapping[str, FlowSpec], settings: ShapeSettings, clock: Callable[[], float]) -> None:
        self._flows = dict(flows)
        self._settings = settings
        self._clock = clock
        tokens = settings.tokens
        self._instance = flow_instance_id if tokens is None else tokens.flow_instance
        self._checks = {
            (flow.name, step.name): checks_of(flow, step)[0] for flow in self._flows.values() for step in flow.steps
        }

    def map(self, body: bytes) -> tuple[Mapped, list[tuple[int, str]]]:
        """Observations of a request, and which of them were refused, by position, and why.

        Raises:
            MalformedBodyError: the body is not JSON, or neither an object nor a list of at most 10,000.
        """
        now = self._clock()
        refusals, refused = Refusals(), list[tuple[int, str]]()
        series: dict[SeriesKey, int] = {}
        rows: list[tuple[Any, ...]] = []
        flows: list[str] = []
        for index, given in enumerate(objects_of(body, "an observation", BATCH_LIMIT, parse_float=Decimal)):
            try:
                key, row = self._map_one(OBSERVATION.validate_python(given), now)
                rows.append((row[0], row[1], series.setdefault(key, len(series)), *row[2:]))
            except ValidationError as error:
                refused.append((index, reason_of(error)))
                flows.append(self._flow_named(given))
            except ValueError as error:
                refused.append((index, str(error)))
                flows.append(self._flow_named(given))
        for (_, reason), flow in zip(refused, flows, strict=True):
            refusals.add(reason, flow=flow)
        batch = ObservationBatch(tuple(series), np.array(rows, dtype=RECORD)) if rows else None
        return Mapped(batch, 0, refusals), refused

    def _flow_named(self, given: object) -> str:
        """The flow that an unusable observation names, if there is such a flow."""
        name = given.get("flow") if isinstance(given, dict) else None
        return name if isinstance(name, str) and name in self._flows else ""

    def _map_one(self, given: Observation, now: float) -> tuple[SeriesKey, tuple[Any, ...]]:
        flow = self._flows.get(given.flow)
        if flow is None:
            raise ValueError(f"flow={given.flow!r} is not a flow; known are {', '.join(sorted(self._flows)) or 'none'}")
        try:
            step = flow.step(given.step)
        except KeyError:
            known = ", ".join(step.name for step in flow.steps)
            raise ValueError(f"step={given.step!r} is not a step of {flow.name}; known are {known}") from None
        at = now if given.at is None else _timestamp(given.at)
        if given.age_seconds is not None:
            at = now - given.age_seconds
        at = min(at, now)
        names = self._checks[flow.name, step.name]
        stated = parse_results({Attribute.CHECK_PREFIX + name: text for name, text in given.checks.items()}, names)
        key = SeriesKey(flow.name, step.name, flow.dimension_values(given.dimensions), names)
        shape = Shape(
            series=key,
            flow=flow,
            step=step,
            checks=check_bits([stated.get(name, CheckResult.NOT_EVALUATED) for name in names]),
            verdict=max(
                Verdict.GOOD if given.verdict is None else Verdict[given.verdict.upper()],
                timeliness_verdict(step, given.duration_seconds),
            ),
        )
        trace = NO_ID if given.trace_id is None else bytes.fromhex(given.trace_id)
        instance = trace if given.instance is None else self._instance(given.instance)
        bits, verdict = self._judge(given, shape, instance, at)
        tokens = self._settings.tokens
        customer = NO_ID if given.customer is None or tokens is None else tokens.token(given.customer)
        source = Source.PROBE if given.probe else Source.BEACON
        span = 0 if given.id is None else _number(f"{flow.name}\0{step.name}\0{instance.hex()}\0{given.id}")
        return key, (
            int(at * 1e6), given.duration_seconds, verdict, source, 0, bits, instance, customer, trace, span
        )  # fmt: skip

    def _judge(self, given: Observation, shape: Shape, instance: bytes, at: float) -> tuple[int, Verdict]:
        flow, step = shape.flow, shape.known_step
        results, failures = {}, []
        if given.answer is not None:
            results = {one.name: one.result for one in judge(step, 0.0, given.answer, at).outcomes}
        if flow is not None and flow.across and (given.answer is not None or given.tokens):
            tokens = {name: ",".join(texts) for name, texts in given.tokens.items()}
            for one in judge_across(flow, step.name, instance, given.answer, tokens, self._settings, at):
                results[one.name] = one.result
                failures += [one.verdict] if one.result is CheckResult.FAIL else []
        return overlay(shape, results, failures)


def _timestamp(moment: datetime) -> float:
    try:
        seconds = moment.timestamp()
    except (OverflowError, ValueError, OSError):
        raise ValueError("at is beyond what can be kept; send a time of this century") from None
    if seconds < 0:
        raise ValueError("at is before 1970; send when the answer had arrived")
    return seconds


def _number(text: str) -> int:
    """A 64-bit number for a text, never 0."""
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True) or 1
