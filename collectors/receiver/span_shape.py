"""What a kind of span means: its series, its checks, its verdict apart from the duration.

:class:`Shapes` decides what spans with equal deciding attributes have in common; what differs from span to span is read
by :mod:`.per_span`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from ...metrics.dimension_values import OTHER
from ...metrics.names import Attribute
from ...metrics.observation import SeriesKey, Source, check_bits
from ...metrics.specification.flow import FlowSpec, StepSpec
from ...metrics.verdict import CheckResult, Verdict, worst
from ..across import AcrossJudge, checks_of
from ..customer_token import CustomerTokens
from .matching import KIND_NAMES, SpanFacts, StepMatcher, UnknownStepError
from .otlp_schema import SpanStatus

__all__ = [
    "NO_ID",
    "Shape",
    "ShapeSettings",
    "Shapes",
]

NO_ID = bytes(16)
_STATUS_ERROR = 2
_FOREVER = float("inf")
_HTTP_STATUS = "http.response.status_code"
_ERROR_TYPE = "error.type"
_SYNTHETIC = "user_agent.synthetic.type"
_BAM_STATUS = "bamptxsstatus"
_RESULTS = {"pass": CheckResult.PASS, "fail": CheckResult.FAIL, "unknown": CheckResult.UNKNOWN}
_TIMEOUT_WORDS = ("timeout", "deadline_exceeded", "deadlineexceeded", "timed out")


@dataclass(frozen=True, slots=True)
class ShapeSettings:
    """Which attributes say what; explicit ``cxgauge.…`` attributes always come first.

    Attributes:
        dimension_attributes: Attribute that a dimension is read from, by dimension; by default the one that is called
            like the dimension.
        instance_attributes: Attributes that identify the flow instance; without any of them the trace id does.
        customer_attributes: Attributes that identify the customer.
        tokens: Keyed tokens of customers and of flow instances that are no 128-bit ids; without them customers are left
            out.
        across: Judges checks between steps; None leaves them out.
    """

    dimension_attributes: Mapping[str, str] = field(default_factory=dict)
    instance_attributes: tuple[str, ...] = ("session.id",)
    customer_attributes: tuple[str, ...] = ("enduser.id", "user.id")
    tokens: CustomerTokens | None = None
    across: AcrossJudge | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What spans of a kind have in common.

    Attributes:
        series: Their series; None when they are no step of any flow, or refused.
        refusal: Why they are refused, in English.
        flow: Their flow.
        step: Their step.
        checks: Check results, as :func:`~cxgauge.metrics.observation.check_bits` packs them.
        verdict: Their verdict apart from the duration.
        target_seconds: Slower is slow; infinite where the sender has judged.
        timeout_seconds: From here on it is a timeout; infinite where the sender has judged.
        source: Probe for synthetic senders.
        other_dimensions: ``flow.dimension`` of dimensions whose value was beyond the limit.
    """

    series: SeriesKey | None = None
    refusal: str | None = None
    flow: FlowSpec | None = None
    step: StepSpec | None = None
    checks: int = 0
    verdict: Verdict = Verdict.GOOD
    target_seconds: float = _FOREVER
    timeout_seconds: float = _FOREVER
    source: Source = Source.OTLP
    other_dimensions: tuple[str, ...] = ()

    @property
    def known_series(self) -> SeriesKey:
        """The series of a shape that has one."""
        assert self.series is not None  # noqa: S101 - rows are only collected of such shapes
        return self.series

    @property
    def known_step(self) -> StepSpec:
        """The step of a shape that has a series."""
        assert self.step is not None  # noqa: S101 - see known_series
        return self.step


class Shapes:
    """Works out shapes.

    Args:
        flows: The specifications by name.
        settings: Which attributes say what.
    """

    def __init__(self, flows: Mapping[str, FlowSpec], settings: ShapeSettings) -> None:
        self._matcher = StepMatcher(flows)
        self._settings = settings
        dimensions = {dimension.name for flow in flows.values() for dimension in flow.dimensions}
        self._dimension_attribute = {name: settings.dimension_attributes.get(name, name) for name in dimensions}
        self._names = (
            self._matcher.attribute_names()
            | set(self._dimension_attribute.values())
            | {Attribute.FLOW_NAME, Attribute.STEP_NAME, Attribute.VERDICT}
            | {_HTTP_STATUS, _ERROR_TYPE, _SYNTHETIC, _BAM_STATUS}
        )
        self._checks: dict[tuple[str, str], tuple[tuple[str, ...], dict[str, Verdict]]] = {
            (flow.name, step.name): checks_of(flow, step) for flow in flows.values() for step in flow.steps
        }

    @property
    def span_names_matter(self) -> bool:
        """Whether any step looks at the names of spans."""
        return self._matcher.looks_at_span_names

    def matters(self, key: str) -> bool:
        """Whether an attribute decides anything that spans of a shape share."""
        return key in self._names or key.startswith((Attribute.CHECK_PREFIX, Attribute.DIMENSION_PREFIX))

    def work_out(self, name: str | None, kind: int, status: bytes, attributes: Mapping[str, str]) -> Shape:
        """The shape of a span.

        Args:
            name: Span name; None for an event.
            kind: ``SpanKind`` as a number.
            status: The serialised span status.
            attributes: Attributes of the resource, overlaid by those of the span that matter.
        """
        kind_name = KIND_NAMES[kind] if 0 <= kind < len(KIND_NAMES) else KIND_NAMES[0]
        try:
            match = self._matcher.find(SpanFacts(name, kind_name, attributes))
            if match is None:
                return Shape()
            flow, step = match.flow, match.step
            names, failures = self._checks[flow.name, step.name]
            results = parse_results(attributes, names)
            stated = _stated_verdict(attributes)
        except (UnknownStepError, ValueError) as error:
            return Shape(refusal=str(error))
        failed = [failures[check] for check, result in results.items() if result is CheckResult.FAIL]
        dimensions = flow.dimension_values(self._dimension_texts(flow, attributes))
        return Shape(
            series=SeriesKey(flow.name, step.name, dimensions, names),
            flow=flow,
            step=step,
            checks=check_bits([results.get(check, CheckResult.NOT_EVALUATED) for check in names]),
            verdict=stated if stated is not None else worst((_outcome(status, attributes), *failed)),
            target_seconds=step.timeliness.target_seconds if stated is None else _FOREVER,
            timeout_seconds=step.timeliness.timeout_seconds if stated is None else _FOREVER,
            source=Source.PROBE if attributes.get(_SYNTHETIC) in ("bot", "test") else Source.OTLP,
            other_dimensions=tuple(f"{flow.name}.{dimension}" for dimension, value in dimensions if value == OTHER),
        )

    def _dimension_texts(self, flow: FlowSpec, attributes: Mapping[str, str]) -> dict[str, str]:
        texts = {}
        for dimension in flow.dimensions:
            explicit = attributes.get(Attribute.DIMENSION_PREFIX + dimension.name)
            given = attributes.get(self._dimension_attribute[dimension.name]) if explicit is None else explicit
            if given is not None:
                texts[dimension.name] = given
        return texts


def parse_results(given: Mapping[str, str], names: tuple[str, ...]) -> dict[str, CheckResult]:
    """Check results by name from ``cxgauge.check.…`` attributes; other attributes are passed over.

    Raises:
        ValueError: one names no check, or is no result.
    """
    results: dict[str, CheckResult] = {}
    prefix = Attribute.CHECK_PREFIX
    for key, value in given.items():
        if not key.startswith(prefix):
            continue
        check = key[len(prefix) :]
        if check not in names:
            known = ", ".join(names) or "none"
            raise ValueError(f"attribute {key[:80]} names no check of the step; its checks are {known}")
        if value not in _RESULTS:
            raise ValueError(f"{key}={value[:40]!r} is not a check result; send pass, fail or unknown")
        results[check] = _RESULTS[value]
    return results


def _stated_verdict(attributes: Mapping[str, str]) -> Verdict | None:
    text = attributes.get(Attribute.VERDICT)
    if text is None:
        return None
    try:
        return Verdict[text.upper()]
    except KeyError:
        known = ", ".join(verdict.label for verdict in Verdict)
        raise ValueError(f"{Attribute.VERDICT}={text[:40]!r} is not a verdict; send one of {known}") from None


def _outcome(status: bytes, attributes: Mapping[str, str]) -> Verdict:
    """Error or timeout by span status, HTTP status, error type and BAM step status; good otherwise."""
    http_status = attributes.get(_HTTP_STATUS, "")
    error_type = attributes.get(_ERROR_TYPE, "").lower()
    server_error = len(http_status) == 3 and http_status.startswith("5")
    bam_failed = attributes.get(_BAM_STATUS, "").lower() in ("failure", "failed", "error")
    if not (_is_error(status) or server_error or bam_failed):
        return Verdict.GOOD
    timed_out = http_status == "504" or error_type == "504" or any(word in error_type for word in _TIMEOUT_WORDS)
    return Verdict.TIMEOUT if timed_out else Verdict.ERROR


def _is_error(status: bytes) -> bool:
    if not status:
        return False
    try:
        return bool(SpanStatus.FromString(status).code == _STATUS_ERROR)
    except DecodeError:
        return False
