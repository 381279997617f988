"""Which step a span is: explicit attributes first, then what the flows say under ``match``.

Pure and slow by design: the mapping asks once for every new combination of facts and remembers the answer, and
``cxgauge match --explain`` asks for the reasons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...metrics.names import Attribute
from ...metrics.specification.flow import FlowSpec, SpanMatch, StepSpec, TextMatch

__all__ = ["KIND_NAMES", "NoMatch", "SpanFacts", "StepMatch", "StepMatcher", "UnknownStepError"]

KIND_NAMES = ("unspecified", "internal", "server", "client", "producer", "consumer")
# https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/bam.md: the model of a transaction and its step
_BAM_TRANSACTION = "bamptxid"
_BAM_STEP = "bamptxsid"


class UnknownStepError(ValueError):
    """A span names, in explicit attributes, a flow or step that no specification declares."""


@dataclass(frozen=True, slots=True)
class SpanFacts:
    """What can be asked of a span.

    Attributes:
        name: Span name; None for an event, which only explicit attributes make a step.
        kind: One of :data:`KIND_NAMES`.
        attributes: Attributes of the resource, overlaid by those of the span, as text.
    """

    name: str | None
    kind: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StepMatch:
    """The step a span is.

    Attributes:
        flow: Its flow.
        step: The step.
        rule: What decided, for people: ``attributes cxgauge.flow.name and cxgauge.step.name``, ``match[0]``.
        also: ``flow.step`` of other steps that match as well and were passed over.
    """

    flow: FlowSpec
    step: StepSpec
    rule: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NoMatch:
    """Why a span is not one step: the conditions that do not hold, by place in the specification."""

    place: str
    failed: tuple[str, ...]


class StepMatcher:
    """Finds steps in a set of flows.

    Args:
        flows: The specifications by name; their order decides between several steps that match.
    """

    def __init__(self, flows: Mapping[str, FlowSpec]) -> None:
        self._flows = dict(flows)

    def find(self, facts: SpanFacts) -> StepMatch | None:
        """The step of a span, None when it is none.

        Raises:
            UnknownStepError: explicit attributes name what does not exist.
        """
        explicit = self._explicit(facts.attributes)
        if explicit is not None:
            return explicit
        if facts.name is None:
            return None
        found = [
            (flow, step, index)
            for flow, step, index, match in self._rules()
            if next(_unmet(match, facts), None) is None
        ]
        if not found:
            return None
        flow, step, index = found[0]
        also = dict.fromkeys(f"{other.name}.{name.name}" for other, name, _ in found)
        also.pop(f"{flow.name}.{step.name}")
        return StepMatch(flow, step, f"match[{index}]", tuple(also))

    def why_not(self, facts: SpanFacts) -> list[NoMatch]:
        """For every rule of every step, the conditions that ``facts`` do not meet; nearest misses first."""
        misses = [
            NoMatch(f"{flow.name}.{step.name} match[{index}]", failed)
            for flow, step, index, match in self._rules()
            if (failed := tuple(_unmet(match, facts)))
        ]
        return sorted(misses, key=lambda miss: len(miss.failed))

    def attribute_names(self) -> frozenset[str]:
        """Attributes that the rules look at, apart from the explicit ones."""
        names = {name for _, _, _, match in self._rules() for name in match.attributes}
        return frozenset(names | {"service.name", "http.route", _BAM_TRANSACTION, _BAM_STEP})

    @property
    def looks_at_span_names(self) -> bool:
        """Whether any rule asks for a span name."""
        return any(match.span is not None for _, _, _, match in self._rules())

    def _rules(self) -> Iterator[tuple[FlowSpec, StepSpec, int, SpanMatch]]:
        for flow in self._flows.values():
            for step in flow.steps:
                for index, match in enumerate(step.match):
                    yield flow, step, index, match

    def _explicit(self, attributes: Mapping[str, str]) -> StepMatch | None:
        for flow_key, step_key in ((Attribute.FLOW_NAME, Attribute.STEP_NAME), (_BAM_TRANSACTION, _BAM_STEP)):
            flow_name, step_name = attributes.get(flow_key), attributes.get(step_key)
            if flow_name is None or step_name is None:
                continue
            flow = self._flows.get(flow_name)
            if flow is None:
                if flow_key == _BAM_TRANSACTION:
                    continue  # a transaction of somebody else's process is no mistake
                raise UnknownStepError(f"{flow_key}={flow_name[:63]!r} is not a flow; known are {_known(self._flows)}")
            try:
                return StepMatch(flow, flow.step(step_name), f"attributes {flow_key} and {step_key}")
            except KeyError:
                known = _known(step.name for step in flow.steps)
                raise UnknownStepError(
                    f"{step_key}={step_name[:63]!r} is not a step of {flow_name}; known are {known}"
                ) from None
        return None


def _unmet(match: SpanMatch, facts: SpanFacts) -> Iterator[str]:
    """The conditions of ``match`` that do not hold, each as a sentence."""
    yield from _unmet_text("service.name", match.service, facts.attributes.get("service.name"))
    yield from _unmet_text("span name", match.span, facts.name)
    yield from _unmet_text("http.route", match.route, facts.attributes.get("http.route"))
    if match.kind is not None and match.kind != facts.kind:
        yield f"kind is {facts.kind}, not {match.kind}"
    for name, expected in match.attributes.items():
        yield from _unmet_text(name, expected, facts.attributes.get(name))


def _unmet_text(what: str, expected: TextMatch | None, given: str | None) -> Iterator[str]:
    if expected is None:
        return
    wanted = repr(expected.exact) if expected.pattern is None else f"matching {expected.pattern.text!r}"
    if given is None:
        yield f"{what} is missing, expected {wanted}"
    elif not expected.matches(given):
        yield f"{what} is {given[:80]!r}, expected {wanted}"


def _known(names: object) -> str:
    listed = sorted(str(name) for name in names)  # type: ignore[attr-defined]
    shown = ", ".join(listed[:8])
    return f"{shown} and {len(listed) - 8} more" if len(listed) > 8 else shown or "none"
