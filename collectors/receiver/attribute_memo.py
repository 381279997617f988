"""Serialised attributes recognised by their bytes, so that each distinct one is decoded once.

Spans repeat most of their attributes. A dictionary from the bytes of a ``KeyValue`` to a small number, its *effect*,
turns the attributes of a span into a short tuple of numbers, at the speed of dictionary look-ups; what cannot matter
has effect 0. Everything is bounded: see :meth:`AttributeMemo.renew`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from google.protobuf.message import DecodeError

from .otlp_schema import KeyValue, Resource

__all__ = ["AttributeMemo", "Meaning", "decode_attribute", "decode_resource"]


class Meaning(Enum):
    """What attributes of a key are to the receiver."""

    IGNORED = "ignored"
    MATTERS = "matters"
    PER_SPAN = "per span"


_ENTRY_LIMIT = 32_768
_EFFECT_LIMIT = 8_192
_EFFECTS_OF_A_SPAN_LIMIT = 4 * _EFFECT_LIMIT
_VALUES_PER_KEY = 512  # of keys that do not matter: then the values are not remembered any more
_RAW_BYTES_LIMIT = 256
_TEXT_LIMIT = 1_024


def decode_attribute(raw: bytes) -> tuple[str, str | None]:
    """Key and scalar value, as text, of a serialised ``KeyValue``; None for arrays, maps, bytes and no value.

    Numbers are written as Python writes them, truth values as ``true`` and ``false``.

    Raises:
        ValueError: not a ``KeyValue``.
    """
    try:
        pair = KeyValue.FromString(raw)
    except DecodeError:
        raise ValueError("an attribute is not a KeyValue") from None
    return pair.key.decode("utf-8", "replace"), _scalar(pair.value)


def decode_resource(raw: bytes) -> dict[str, str]:
    """The scalar attributes of a serialised ``Resource`` as text.

    Raises:
        ValueError: not a ``Resource``.
    """
    try:
        attributes = Resource.FromString(raw).attributes
    except DecodeError:
        raise ValueError("the resource is not a Resource") from None
    pairs = (decode_attribute(attribute) for attribute in attributes)
    return {key: value for key, value in pairs if value is not None}


def _scalar(value: Any) -> str | None:
    field = value.WhichOneof("value")
    if field == "string_value":
        return str(value.string_value.decode("utf-8", "replace"))
    if field == "bool_value":
        return "true" if value.bool_value else "false"
    if field in ("int_value", "double_value"):
        return str(getattr(value, field))
    return None


class AttributeMemo(dict[bytes, int]):
    """Effects of serialised attributes; ``memo[raw]`` decodes what it has not seen.

    Args:
        matters: Whether an attribute key decides what a span is.
        per_span: Keys whose values differ from span to span (ids, tokens, answers): never remembered, but put
            into :attr:`pending` for the span at hand.

    Attributes:
        pending: ``(key, value)`` of the ``per_span`` attributes met since the caller last cleared it.
        effects: ``(key, value)`` of each effect; effect 0 is none.
    """

    def __init__(self, matters: Callable[[str], bool], per_span: Callable[[str], bool]) -> None:
        super().__init__()
        self._matters = matters
        self._per_span = per_span
        self.pending: list[tuple[str, str]] = []
        self.effects: list[tuple[str, str]] = [("", "")]
        self._effect_numbers: dict[tuple[str, str], int] = {}
        self._values: dict[bytes, int] = {}  # head of attributes that do not matter -> values seen
        self._ignored: set[bytes] = set()
        self._meanings: dict[bytes, Meaning] = {}

    def __missing__(self, raw: bytes) -> int:
        # A KeyValue as every encoder writes it: 0x0a, length of the key in one byte, the key. A longer key, or another
        # order of fields, is never taken for one of these and always decoded.
        if len(raw) > 2 and raw[: raw[1] + 2] in self._ignored:
            return 0
        return self._decode(raw)

    def _decode(self, raw: bytes) -> int:
        try:
            key, value = decode_attribute(raw)
        except ValueError:
            return 0
        if self._per_span(key):
            if value is not None:
                self.pending.append((key, value))
            return 0
        effect = 0
        if self._matters(key):
            effect = 0 if value is None else self._effect((key, value[:_TEXT_LIMIT]))
        else:
            self._count_ignored(raw, key)
        if len(self) < _ENTRY_LIMIT and len(raw) <= _RAW_BYTES_LIMIT:
            self[raw] = effect
        return effect

    def _count_ignored(self, raw: bytes, key: str) -> None:
        """Values of a key that does not matter are remembered until there are many; then the key is, and no value."""
        if len(raw) < 3 or raw[1] > 127 or len(self._values) >= _ENTRY_LIMIT:
            return
        head = raw[: raw[1] + 2]
        if head[2:] != key.encode("utf-8", "replace"):
            return
        self._values[head] = self._values.get(head, 0) + 1
        if self._values[head] >= _VALUES_PER_KEY:
            self._ignored.add(head)

    def _effect(self, pair: tuple[str, str]) -> int:
        number = self._effect_numbers.get(pair)
        if number is None:
            if len(self.effects) >= _EFFECTS_OF_A_SPAN_LIMIT:
                return 0  # one span with that many attributes: the first of them must do
            number = self._effect_numbers[pair] = len(self.effects)
            self.effects.append(pair)
        return number

    def meaning(self, head: bytes) -> Meaning:
        """What attributes of a key are, by their first bytes.

        Args:
            head: Tag, length in one byte and text of the key. A ``KeyValue`` that begins with one key and states
                another one later is taken by its first.
        """
        known = self._meanings.get(head)
        if known is None:
            key = head[2:].decode("utf-8", "replace")
            known = Meaning.IGNORED
            if self._per_span(key):
                known = Meaning.PER_SPAN
            elif self._matters(key):
                known = Meaning.MATTERS
            if len(self._meanings) < _ENTRY_LIMIT:
                self._meanings[head] = known
        return known

    @property
    def overflowing(self) -> bool:
        """Whether there are so many effects that new ones are not given out until :meth:`renew`."""
        return len(self.effects) >= _EFFECTS_OF_A_SPAN_LIMIT

    @property
    def crowded(self) -> bool:
        """Whether it is time to :meth:`renew`."""
        return (
            len(self.effects) > _EFFECT_LIMIT or max(len(self), len(self._values), len(self._meanings)) >= _ENTRY_LIMIT
        )

    def renew(self) -> None:
        """Forget everything. Effects handed out before mean nothing afterwards."""
        self.clear()
        self._values.clear()
        self._ignored.clear()
        self._meanings.clear()
        self._effect_numbers.clear()
        del self.effects[1:]
