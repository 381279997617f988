"""Shapes and resources that have been met, by what decides them; bounded."""

from __future__ import annotations

from dataclasses import dataclass, field

from .attribute_memo import AttributeMemo, decode_resource
from .per_span import PerSpan
from .scan_keys import ShapeKey
from .span_shape import Shape, Shapes

__all__ = ["EVENT_DURATION", "KnownResource", "ShapeMemory"]

_RESOURCE_LIMIT = 4_096
_SHAPE_LIMIT = 16_384
EVENT_DURATION = "cxgauge.duration_seconds"


@dataclass(frozen=True, slots=True)
class KnownResource:
    """A resource.

    Attributes:
        number: What stands for it in keys of shapes.
        attributes: Its scalar attributes as text.
        per_span: Those of them that are usually a span's own.
    """

    number: int
    attributes: dict[str, str]
    per_span: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Known:
    """Effects of attributes and the shapes known by them, of spans or of events."""

    memo: AttributeMemo
    are_spans: bool
    shapes: dict[ShapeKey, Shape] = field(default_factory=dict)

    @property
    def crowded(self) -> bool:
        return self.memo.crowded or len(self.shapes) >= _SHAPE_LIMIT

    def renew(self) -> None:
        self.memo.renew()
        self.shapes.clear()


class ShapeMemory:
    """Remembers shapes; one thread at a time.

    Args:
        shapes: Works shapes out.
        per_span: Knows the attributes that differ from span to span.

    Attributes:
        spans: Of spans: effects of attributes, shapes.
        events: Of events.
    """

    def __init__(self, shapes: Shapes, per_span: PerSpan) -> None:
        self._shapes_of = shapes
        self._per_span = per_span
        self.spans = _Known(AttributeMemo(shapes.matters, per_span.concerns), are_spans=True)
        self.events = _Known(
            AttributeMemo(shapes.matters, lambda key: key == EVENT_DURATION or per_span.concerns(key)), are_spans=False
        )
        self._resources: dict[bytes, KnownResource] = {}

    def work_out(self, known: _Known, key: ShapeKey, resource: KnownResource) -> Shape:
        """A shape that is not remembered yet, remembered from now on."""
        _, name, kind, status, effects = key
        attributes = dict(resource.attributes)
        attributes.update(known.memo.effects[effect] for effect in effects)
        text = name.decode("utf-8", "replace") if known.are_spans else None
        shape = known.shapes[key] = self._shapes_of.work_out(text, kind, status, attributes)
        return shape

    def resource(self, raw: bytes) -> KnownResource:
        """A resource by its serialised form."""
        entry = self._resources.get(raw)
        if entry is None:
            try:
                attributes = decode_resource(raw)
            except ValueError:
                attributes = {}
            per_span = tuple(pair for pair in attributes.items() if self._per_span.concerns(pair[0]))
            entry = self._resources[raw] = KnownResource(len(self._resources), attributes, per_span)
        return entry

    def __len__(self) -> int:
        """How many entries are held, of all kinds."""
        kinds = (self.spans, self.events)
        return len(self._resources) + sum(len(one.memo) + len(one.memo.effects) + len(one.shapes) for one in kinds)

    def renew_if_crowded(self) -> None:
        """Start over when memory would grow; between requests, as the numbers of resources change their meaning."""
        if self.spans.crowded or self.events.crowded or len(self._resources) > _RESOURCE_LIMIT:
            self.spans.renew()
            self.events.renew()
            self._resources.clear()
