"""``POST /v1/observations``: observations as JSON, one or many, from programs and from web pages.

A web page sends them with ``navigator.sendBeacon`` as ``text/plain``, which needs no CORS preflight and survives the
page; the receiver refuses origins that are not on its allow-list. The published description is OpenAPI 3.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...metrics.judge import judge, timeliness_verdict
from ...metrics.names import Attribute
from ...metrics.observation import RECORD, ObservationBatch, SeriesKey, Source, check_bits
from ...metrics.specification.flow import FlowSpec
from ...metrics.verdict import CheckResult, Verdict
from ..across import checks_of
from ..customer_token import flow_instance_id
from .events_api import event_routes, events_path, events_schemas
from .intake import Mapped
from .json_body import headers_of, media_type_error, objects_of, reason_of
from .otlp_decode import Refusals
from .per_span import judge_across, overlay
from .span_shape import NO_ID, Shape, ShapeSettings, parse_results

if TYPE_CHECKING:
    from .otlp_receiver import Receiver

__all__ = ["ObservationMapper", "observation_routes", "openapi"]

_BATCH_LIMIT = 10_000
_REFUSALS_SHOWN = 100
_MEDIA_TYPES = ("application/json", "text/plain")
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


_OBSERVATION = TypeAdapter(Observation)


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
        for index, given in enumerate(objects_of(body, "an observation", _BATCH_LIMIT, parse_float=Decimal)):
            try:
                key, row = self._map_one(_OBSERVATION.validate_python(given), now)
                rows.append((row[0], row[1], series.setdefault(key, len(series)), *row[2:]))
            except ValidationError as error:
                refused.append((index, reason_of(error)))
            except ValueError as error:
                refused.append((index, str(error)))
        for _, reason in refused:
            refusals.add(reason)
        batch = ObservationBatch(tuple(series), np.array(rows, dtype=RECORD)) if rows else None
        return Mapped(batch, 0, refusals), refused

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


# The endpoint


def observation_routes(receiver: Receiver) -> list[Route]:
    """The endpoint, its description at ``/v1/openapi.json``, and the beacon for web pages at ``/cxgauge.js``."""

    async def post(request: Request) -> Response:
        message = media_type_error(
            request.headers.get("content-type", ""), _MEDIA_TYPES, "application/json, or text/plain from a page"
        )
        if message is not None:
            return receiver.note(JSONResponse({"error": message}, 415))
        refused: list[tuple[int, str]] = []

        def work(body: bytes) -> Mapped:
            mapped, found = receiver.observations.map(body)
            refused.extend(found)
            return mapped

        try:
            mapped = await receiver.take(request, work)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            status, message = receiver.refusal(error)
            return receiver.note(JSONResponse({"error": message}, status, headers_of(status)))
        return receiver.note(_reply(mapped, refused))

    async def describe(_request: Request) -> Response:
        return JSONResponse(openapi())

    async def beacon(_request: Request) -> Response:
        headers = {"Cache-Control": "public, max-age=3600", "Cross-Origin-Resource-Policy": "cross-origin"}
        return Response(script, headers=headers, media_type="text/javascript")

    script = files(__package__).joinpath("beacon/cxgauge.js").read_text(encoding="utf-8")
    return [
        Route("/v1/observations", post, methods=["POST"]),
        *event_routes(receiver),
        Route("/v1/openapi.json", describe, methods=["GET"]),
        Route("/cxgauge.js", beacon, methods=["GET"]),
    ]


def _reply(mapped: Mapped, refused: list[tuple[int, str]]) -> Response:
    accepted = 0 if mapped.batch is None else len(mapped.batch) - mapped.duplicates
    document: dict[str, Any] = {
        "accepted": accepted,
        "duplicates": mapped.duplicates,
        "refused": mapped.refusals.count,
        "refusals": [{"index": index, "reason": reason} for index, reason in refused[:_REFUSALS_SHOWN]],
    }
    if mapped.refusals.count > len(refused):
        document["message"] = mapped.refusals.message()
    nothing_taken = mapped.refusals.count > 0 and accepted == 0 and not mapped.duplicates
    return JSONResponse(document, 422 if nothing_taken else 200)


def openapi() -> dict[str, Any]:
    """The endpoint in OpenAPI 3.1, https://spec.openapis.org/oas/v3.1.0."""
    observation = _OBSERVATION.json_schema(ref_template="#/components/schemas/{model}")
    one = {"$ref": "#/components/schemas/Observation"}
    body = {"anyOf": [one, {"type": "array", "items": one, "maxItems": _BATCH_LIMIT}]}
    counts = {name: {"type": "integer", "minimum": 0} for name in ("accepted", "duplicates", "refused")}
    refusal = {
        "type": "object",
        "required": ["index", "reason"],
        "properties": {"index": {"type": "integer", "minimum": 0}, "reason": {"type": "string"}},
    }
    result = {
        "type": "object",
        "required": ["accepted", "duplicates", "refused", "refusals"],
        "properties": {
            **counts,
            "refusals": {"type": "array", "maxItems": _REFUSALS_SHOWN, "items": refusal},
            "message": {"type": "string"},
        },
    }
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}

    def answer(description: str, schema: dict[str, Any], *, again: bool = False) -> dict[str, Any]:
        header = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
        return {
            "description": description,
            "content": {"application/json": {"schema": schema}},
            **({"headers": header} if again else {}),
        }

    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cxgauge receiver",
            "version": "1",
            "description": "Observations of customers passing steps of flows, and events. OTLP: /v1/traces, /v1/logs.",
        },
        "paths": {
            "/v1/observations": {
                "post": {
                    "operationId": "postObservations",
                    "summary": "Send one observation or a list; acknowledged once they are on disk.",
                    "security": [{}, {"token": []}, {"page_token": []}],
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {"schema": body},
                        },
                    },
                    "responses": {
                        "200": answer("Taken, but for those listed as refused.", result),
                        "400": answer("Not JSON, or neither an object nor a list.", error),
                        "401": answer("No good token.", error),
                        "403": answer("A page of an origin that may not send.", error),
                        "408": answer("The body did not arrive in time.", error),
                        "413": answer("The body is too large.", error),
                        "415": answer("Another content type or encoding.", error),
                        "422": answer("Nothing was taken; the reasons are listed.", result),
                        "429": answer(
                            "The spool is full, or this sender sends too much; nothing was kept.", error, again=True
                        ),
                        "503": answer("Not accepted for now; nothing was kept.", error, again=True),
                    },
                }
            },
            "/v1/events": events_path(error),
        },
        "components": {
            "schemas": {"Observation": observation, **events_schemas()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "page_token": {"type": "apiKey", "in": "query", "name": "token"},
            },
        },
    }
