"""Serialised spans read in lockstep, field by field over all of them, without an object for any.

Spans of one request come from the same few encoders and look alike: the first field of all of them, then the second,
and so on is a handful of numpy operations each, where reading span by span costs several objects a span. What is
found are positions in the bytes; equal values are recognised as bytes and looked at once.

Only what encoders write is read here: :func:`scan` gives up on anything unusual (fields in wire types of their own,
ids of other lengths, very many fields), and the caller parses such spans one by one. Wire format:
https://protobuf.dev/programming-guides/encoding/; fields: :mod:`.otlp_schema`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SpanScan", "Stretches", "scan"]

_Offsets = NDArray[np.intp]
_STEPS_LIMIT = 160  # fields of a span, attributes among them
_LENGTHS_LIMIT = 8  # different lengths among values that are looked up together, length by length
_RARE = 8  # values that fewer than one in this many have are looked up one by one
_END = 0xFF  # after each span: the tag of a field number that OTLP does not have
_PADDING = 256  # zeros after the last span: an absent field is there, and no look ahead leaves the buffer
# Field number and wire type in one byte, as they stand before each value.
_TRACE_ID, _SPAN_ID, _NAME, _KIND, _START, _FINISH, _ATTRIBUTE, _STATUS = 0x0A, 0x12, 0x2A, 0x30, 0x39, 0x41, 0x4A, 0x7A
_ID_LENGTHS = {_TRACE_ID: 16, _SPAN_ID: 8}
_FLAGS, _FLAGS_SECOND = 0x85, 0x01  # field 16, fixed 32: the one known field whose tag has two bytes
_VALUE, _STRING_VALUE = 0x12, 0x0A  # of KeyValue and AnyValue
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class Stretches:
    """One stretch of bytes in each of some spans.

    Attributes:
        rows: The spans' numbers, ascending.
        offsets: Where the stretches begin.
        lengths: How long they are.
    """

    rows: _Offsets
    offsets: _Offsets
    lengths: _Offsets

    def at(self, positions: _Offsets) -> Stretches:
        """Those at some positions."""
        return Stretches(self.rows[positions], self.offsets[positions], self.lengths[positions])


@dataclass(frozen=True, slots=True)
class SpanScan:
    """Where the fields of spans are.

    Attributes:
        count: How many spans there are.
        data: Their bytes, one after the other.
        trace_ids: 16-byte ids, dtype ``V16``.
        span_ids: 64-bit ids.
        starts: Nanoseconds since 1970, 0 where there is none.
        ends: Nanoseconds since 1970, 0 where there is none.
        kinds: ``SpanKind`` of each.
        names: The names' stretches.
        statuses: The stretches of the serialised statuses.
        attributes: Stretches of serialised attributes, those of a span in its order.
    """

    count: int
    data: bytes
    trace_ids: NDArray[np.void]
    span_ids: NDArray[np.int64]
    starts: NDArray[np.uint64]
    ends: NDArray[np.uint64]
    kinds: NDArray[np.uint8]
    names: Stretches
    statuses: Stretches
    attributes: list[Stretches]

    def bytes_at(self, offsets: _Offsets, length: int) -> NDArray[np.void]:
        """The ``length`` bytes at each of ``offsets``, as dtype ``V``."""
        return _overlapping(self.data, f"V{length}", length)[offsets]

    def texts(self, stretches: Stretches) -> list[bytes]:
        """The bytes of each stretch."""
        data = self.data
        ends = (stretches.offsets + stretches.lengths).tolist()
        return [data[start:end] for start, end in zip(stretches.offsets.tolist(), ends, strict=True)]

    def strings(self, attributes: Stretches, head: int) -> list[str | None]:
        """Values of serialised attributes of one key.

        Args:
            attributes: Their stretches.
            head: Length of tag, length and text of the key, with which each of them begins.

        Returns:
            The string, or None where the value is no string or is written in another way than encoders do.
        """
        octets = np.frombuffer(self.data, dtype=np.uint8)
        here = attributes.offsets + head
        lengths = octets[here + 3].astype(np.intp)
        plain = (octets[here] == _VALUE) & (octets[here + 2] == _STRING_VALUE) & (octets[here + 1] == lengths + 2)
        plain &= (attributes.lengths == lengths + head + 4) & (lengths < 126)
        starts = (here + 4).tolist()
        ends = np.where(plain, here + 4 + lengths, -1).tolist()
        data = self.data
        return [
            None if end < 0 else data[start:end].decode("utf-8", "replace")
            for start, end in zip(starts, ends, strict=True)
        ]

    def look_up(self, stretches: Stretches, number: Callable[[bytes], int]) -> int | _Offsets:
        """The number of each stretch's bytes; a single one when all have the same.

        Args:
            stretches: At least one.
            number: Gives equal bytes the same number.
        """
        lengths = stretches.lengths
        length = int(lengths[0])
        alike = lengths == length
        if np.count_nonzero(alike) == len(lengths):
            return self._look_up_alike(stretches.offsets, length, number)
        found = np.empty(len(lengths), dtype=np.intp)
        for _ in range(_LENGTHS_LIMIT):
            rows = np.flatnonzero(alike)
            found[rows] = self._look_up_alike(stretches.offsets[rows], length, number)
            lengths = np.where(alike, -1, lengths)
            length = int(lengths.max())
            if length < 0:
                return found
            alike = lengths == length
        rows = np.flatnonzero(lengths >= 0)
        found[rows] = list(map(number, self.texts(stretches.at(rows))))
        return found

    def _look_up_alike(self, offsets: _Offsets, length: int, number: Callable[[bytes], int]) -> int | _Offsets:
        start = int(offsets[0])
        first = self.data[start : start + length]
        if length == 0:
            return number(first)
        values = self.bytes_at(offsets, length)
        if values.tobytes() == first * len(values):
            return number(first)
        comparable = values.view(f"S{length}")
        found = np.where(comparable == first, number(first), -1)
        rows = np.flatnonzero(found < 0)
        while len(rows):
            value = values[rows[0]].tobytes()
            alike = rows[comparable[rows] == value]
            found[alike] = number(value)
            if len(alike) * _RARE < len(rows):
                break
            rows = np.flatnonzero(found < 0)
        rows = np.flatnonzero(found < 0)
        if len(rows):
            found[rows] = np.fromiter(map(number, values[rows].tolist()), np.intp, len(rows))
        return found


def scan(spans: Sequence[bytes]) -> SpanScan | None:
    """Find the fields of serialised spans; None when they are unusual or malformed.

    Args:
        spans: At least one serialised span.
    """
    end = bytes((_END,))
    lengths = np.fromiter(map(len, spans), np.intp, len(spans))
    data = end.join(spans) + end + bytes(_PADDING)
    try:
        return _Scanner(data, lengths).run()
    except IndexError:  # a length that points beyond everything
        return None


def _overlapping(data: bytes, dtype: str, width: int) -> NDArray[Any]:
    """Values of ``width`` bytes, one beginning at every byte."""
    return np.ndarray((len(data) - width + 1,), dtype, data, 0, (1,))


class _Scanner:
    """The state of one :func:`scan`.

    A field's length may point anywhere: that a span's fields end where the span ends is checked once, for all, when
    the last field has been read.
    """

    def __init__(self, data: bytes, lengths: _Offsets) -> None:
        self._data = data
        self._octets = np.frombuffer(data, dtype=np.uint8)
        self._ends = (lengths + 1).cumsum() - 1
        self._positions = self._ends - lengths
        self._count = len(lengths)
        self._rows = np.arange(self._count)
        self._padding = len(data) - _PADDING
        self._fixed: dict[int, _Offsets] = {}
        self._texts: dict[int, Stretches] = {}
        self._attributes: list[Stretches] = []

    def run(self) -> SpanScan | None:
        """Read field after field; at each turn the one with the lowest number, of all spans that are at it."""
        tags = self._octets[self._positions]
        for _ in range(_STEPS_LIMIT):
            tag = int(tags[0])
            if tags.tobytes().count(tag) == self._count:
                if tag == _END:
                    return self._result()
                after = self._read(tag, None, self._positions)
                if after is None:
                    return None
                self._positions, tags = after, self._octets[after]
            else:
                tag = int(tags.min())
                rows = np.flatnonzero(tags == tag)
                after = self._read(tag, rows, self._positions[rows])
                if after is None:
                    return None
                self._positions[rows], tags[rows] = after, self._octets[after]
        return None

    def _read(self, tag: int, rows: _Offsets | None, here: _Offsets) -> _Offsets | None:
        """Note where the values of a field are, and return where the next field begins; None gives up."""
        wire_type = tag & 7
        if tag < 8 or (tag >= 128 and not self._are_flags(tag, here)):
            return None
        if wire_type == _BYTES:
            return self._read_bytes(tag, rows, here)
        start: _Offsets = here + 1
        if tag in (_KIND, _START, _FINISH):
            self._fixed[tag] = self._column(self._fixed.get(tag), rows, start, self._padding)
        if wire_type == _FIXED64:
            return start + 8
        if wire_type == _FIXED32:
            return start + (5 if tag == _FLAGS else 4)
        if wire_type == _VARINT and self._octets[start].tobytes().isascii():
            return start + 1
        return None

    def _read_bytes(self, tag: int, rows: _Offsets | None, here: _Offsets) -> _Offsets | None:
        start: _Offsets = here + 2
        octets = self._octets[here + 1]
        lengths = octets.astype(np.intp)
        if not octets.tobytes().isascii() and not self._read_long(start, lengths):
            return None
        if tag == _ATTRIBUTE:
            self._attributes.append(Stretches(self._rows if rows is None else rows, start, lengths))
        elif tag in _ID_LENGTHS:
            if np.count_nonzero(lengths != _ID_LENGTHS[tag]):
                return None
            self._fixed[tag] = self._column(self._fixed.get(tag), rows, start, self._padding)
        elif tag in (_NAME, _STATUS):
            kept = self._texts.get(tag)
            self._texts[tag] = Stretches(
                self._rows,
                self._column(None if kept is None else kept.offsets, rows, start, self._padding),
                self._column(None if kept is None else kept.lengths, rows, lengths, 0),
            )
        return start + lengths

    def _read_long(self, start: _Offsets, lengths: _Offsets) -> bool:
        """Read the further bytes of lengths beyond 127, in place; False for those of five bytes and more."""
        long = np.flatnonzero(lengths > 127)
        for shift in (7, 14, 21):
            octets = self._octets[start[long]].astype(np.intp)
            lengths[long] += (octets << shift) - (1 << shift)  # less the mark, in the byte before, that one follows
            start[long] += 1
            long = long[octets > 127]
            if not len(long):
                return True
        return False

    def _column(self, kept: _Offsets | None, rows: _Offsets | None, found: _Offsets, absent: int) -> _Offsets:
        """A column with what was found put in; the last of a field counts."""
        if rows is None:
            return found
        column = np.full(self._count, absent, dtype=np.intp) if kept is None else kept.copy()
        column[rows] = found
        return column

    def _are_flags(self, tag: int, here: _Offsets) -> bool:
        return tag == _FLAGS and np.count_nonzero(self._octets[here + 1] != _FLAGS_SECOND) == 0

    def _result(self) -> SpanScan | None:
        if np.count_nonzero(self._positions != self._ends):
            return None
        absent = np.full(self._count, self._padding, dtype=np.intp)
        for tag in _ID_LENGTHS:
            if tag not in self._fixed or np.count_nonzero(self._fixed[tag] == self._padding):
                return None
        nowhere = Stretches(self._rows, absent, np.zeros(self._count, dtype=np.intp))
        data, fixed = self._data, self._fixed
        return SpanScan(
            self._count,
            data,
            trace_ids=_overlapping(data, "V16", 16)[fixed[_TRACE_ID]],
            span_ids=_overlapping(data, ">i8", 8)[fixed[_SPAN_ID]].astype(np.int64),
            starts=_overlapping(data, "<u8", 8)[fixed.get(_START, absent)],
            ends=_overlapping(data, "<u8", 8)[fixed.get(_FINISH, absent)],
            kinds=self._octets[fixed.get(_KIND, absent)],
            names=self._texts.get(_NAME, nowhere),
            statuses=self._texts.get(_STATUS, nowhere),
            attributes=self._attributes,
        )
