"""Why spans in a file become, or do not become, steps: what ``cxgauge match`` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...metrics.specification.flow import FlowSpec
from .attribute_memo import decode_attribute, decode_resource
from .matching import KIND_NAMES, NoMatch, SpanFacts, StepMatch, StepMatcher, UnknownStepError
from .otlp_decode import MalformedBodyError, Refusals, decode_trace
from .request_body import expand

__all__ = ["Explanation", "SpanKind", "explain", "read_spans"]

_FILE_BYTES_LIMIT = 256 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class SpanKind:
    """Spans that matching cannot tell apart: same service, name, kind and relevant attributes."""

    name: str
    kind: str
    attributes: tuple[tuple[str, str], ...]

    @property
    def facts(self) -> SpanFacts:
        """What matching sees."""
        return SpanFacts(self.name, self.kind, dict(self.attributes))


@dataclass(slots=True)
class Explanation:
    """What became of the spans of one kind.

    Attributes:
        spans: The kind.
        count: How many there are.
        match: The step they are; None when they are none.
        refusal: Why they are refused, where they name a flow or step that is not declared.
        misses: For spans that are no step: what each rule misses, nearest first.
    """

    spans: SpanKind
    count: int = 0
    match: StepMatch | None = None
    refusal: str | None = None
    misses: list[NoMatch] = field(default_factory=list)


def read_spans(path: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Name, kind and attributes of every span in a file.

    The file holds one export request: protobuf or JSON, plain, gzip or zstd; or one JSON request a line, as the file
    exporter of the OpenTelemetry Collector writes.

    Raises:
        OSError: it cannot be read.
        MalformedBodyError: it is none of these; the text names the line where there are several.
    """
    data = path.read_bytes()
    encoding = "gzip" if data.startswith(_GZIP) else "zstd" if data.startswith(_ZSTD) else ""
    body = expand([data], encoding, _FILE_BYTES_LIMIT)
    if body.lstrip()[:1] != b"{":
        yield from _spans(decode_trace(body, is_json=False, refusals=Refusals()))
        return
    for number, document in _json_documents(body):
        refusals = Refusals()
        try:
            request = decode_trace(document, is_json=True, refusals=refusals)
        except MalformedBodyError as error:
            raise MalformedBodyError(f"{path}:{number}: {error}") from None
        if refusals.count:
            raise MalformedBodyError(f"{path}:{number}: {refusals.message()}")
        yield from _spans(request)


def explain(spans: Iterator[tuple[str, str, dict[str, str]]], flows: Mapping[str, FlowSpec]) -> list[Explanation]:
    """Say what becomes of each kind of span, most frequent first."""
    matcher = StepMatcher(flows)
    relevant = matcher.attribute_names() | {"cxgauge.flow.name", "cxgauge.step.name"}
    found: dict[SpanKind, Explanation] = {}
    for name, kind, attributes in spans:
        key = SpanKind(name, kind, tuple(sorted((k, v) for k, v in attributes.items() if k in relevant)))
        if key not in found:
            found[key] = _explain_one(key, matcher)
        found[key].count += 1
    return sorted(found.values(), key=lambda one: (-one.count, one.spans.name))


def _explain_one(key: SpanKind, matcher: StepMatcher) -> Explanation:
    result = Explanation(key)
    try:
        result.match = matcher.find(key.facts)
    except UnknownStepError as error:
        result.refusal = str(error)
        return result
    if result.match is None:
        result.misses = matcher.why_not(key.facts)
    return result


def _json_documents(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The whole body when it is one document, else its lines, with the number of the line."""
    try:
        json.loads(body)
    except ValueError:
        for number, line in enumerate(body.splitlines(), 1):
            if line.strip():
                yield number, line
    else:
        yield 1, body


def _spans(request: Any) -> Iterator[tuple[str, str, dict[str, str]]]:
    for group in request.resource_spans:
        resource = decode_resource(group.resource)
        for scope in group.scope_spans:
            for span in scope.spans:
                own = (decode_attribute(raw) for raw in span.attributes)
                attributes = resource | {key: value for key, value in own if value is not None}
                kind = KIND_NAMES[span.kind] if 0 <= span.kind < len(KIND_NAMES) else KIND_NAMES[0]
                yield span.name.decode("utf-8", "replace"), kind, attributes
