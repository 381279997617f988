"""What decides the meaning of scanned spans: one key for those that are alike, and the index of each span's.

The key is the one under which shapes are remembered for spans that were read one by one, so that both ways of reading
share what has been worked out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .attribute_memo import AttributeMemo, Meaning
from .span_scan import SpanScan, Stretches

__all__ = ["ScanKeys", "ShapeKey", "scan_keys"]

ShapeKey = tuple[int, bytes, int, bytes, tuple[int, ...]]
"""Number of the resource, span name, kind, serialised status, effects of the attributes in their order."""

_Column = tuple[int | NDArray[np.intp] | None, int]
_KEYS_IN_ONE_PLACE = 12  # different attribute keys in the same place of different spans; others are read one by one
_CODE_LIMIT = 1 << 62


@dataclass(frozen=True, slots=True)
class ScanKeys:
    """What decides the meaning of scanned spans.

    Attributes:
        keys: The distinct keys.
        index: The key of each span.
        per_span: The attributes that differ from span to span, with their first bytes where those are all the same
            key.
    """

    keys: list[ShapeKey]
    index: NDArray[np.intp]
    per_span: list[tuple[bytes | None, Stretches]]


@dataclass(slots=True)
class _Effects:
    """Effects of the attributes in one place of all spans."""

    count: int
    common: int = 0
    column: NDArray[np.intp] | None = None

    def set(self, rows: NDArray[np.intp], effects: int | NDArray[np.intp]) -> None:
        """Note effects of some spans."""
        if len(rows) < self.count:
            if self.column is None:
                self.column = np.zeros(self.count, dtype=np.intp)
            self.column[rows] = effects
        elif isinstance(effects, int):
            self.common = effects
        else:
            self.column = effects

    def of(self, row: int) -> int:
        return self.common if self.column is None else int(self.column[row])


@dataclass(slots=True)
class _Reader:
    scan: SpanScan
    memo: AttributeMemo
    effects: list[_Effects] = field(default_factory=list)
    per_span: list[tuple[bytes | None, Stretches]] = field(default_factory=list)

    def read(self, place: Stretches) -> None:
        """Read the attributes in one place, those of the same key together."""
        effects = _Effects(self.scan.count)
        rest = place
        for _ in range(_KEYS_IN_ONE_PLACE):
            head = self._head(rest)
            if head is None:
                self._read_singly(rest, effects)
                break
            found = self.scan.bytes_at(rest.offsets, len(head))
            if found.tobytes() == head * len(found):
                self._read_alike(head, rest, effects)
                break
            same = found.view(f"S{len(head)}") == head
            self._read_alike(head, rest.at(np.flatnonzero(same)), effects)
            rest = rest.at(np.flatnonzero(~same))
        else:
            self._read_singly(rest, effects)
        if effects.common or effects.column is not None:
            self.effects.append(effects)

    def _head(self, stretches: Stretches) -> bytes | None:
        """Tag, length and text of the first one's key; None where it is not as encoders write it."""
        offset, length = int(stretches.offsets[0]), int(stretches.lengths[0])
        head = self.scan.data[offset : offset + 2 + self.scan.data[offset + 1]]
        return head if 2 <= len(head) <= min(length, 129) and head[0] == 0x0A else None

    def _read_alike(self, head: bytes, alike: Stretches, effects: _Effects) -> None:
        meaning = self.memo.meaning(head)
        if meaning is Meaning.PER_SPAN:
            self.per_span.append((head, alike))
        elif meaning is Meaning.MATTERS:
            effects.set(alike.rows, self.scan.look_up(alike, self.memo.__getitem__))

    def _read_singly(self, rest: Stretches, effects: _Effects) -> None:
        pending = self.memo.pending
        found: list[int] = []
        apart: list[int] = []
        for position, raw in enumerate(self.scan.texts(rest)):
            found.append(self.memo[raw])
            if pending:
                apart.append(position)
                pending.clear()
        effects.set(rest.rows, np.array(found, dtype=np.intp))
        if apart:
            self.per_span.append((None, rest.at(np.array(apart, dtype=np.intp))))


def scan_keys(
    scan: SpanScan, resources: NDArray[np.intp], memo: AttributeMemo, *, with_names: bool = True
) -> ScanKeys | None:
    """The keys of scanned spans; None where the memo cannot tell them.

    Args:
        scan: The spans.
        resources: Number of each one's resource.
        memo: Effects of attributes.
        with_names: Whether the spans' names matter; else the keys have none.
    """
    memo.pending.clear()
    reader = _Reader(scan, memo)
    for place in scan.attributes:
        reader.read(place)
    if memo.pending or memo.overflowing:
        memo.pending.clear()
        return None
    names, statuses = _Numbers(), _Numbers()
    name = scan.look_up(scan.names, names.__getitem__) if with_names else names[b""]
    status = scan.look_up(scan.statuses, statuses.__getitem__)
    kinds = scan.kinds.astype(np.intp)
    width = len(memo.effects)
    columns: list[_Column] = [(effects.column, width) for effects in reader.effects]
    columns += [(name, len(names)), (status, len(statuses))]
    columns += [(column, int(column.max()) + 1) for column in (resources, kinds) if (column != column[0]).any()]
    first, index = _combined(columns, scan.count)
    all_names, all_statuses = list(names), list(statuses)
    keys: list[ShapeKey] = [
        (
            int(resources[row]),
            all_names[name if isinstance(name, int) else name[row]],
            int(kinds[row]),
            all_statuses[status if isinstance(status, int) else status[row]],
            tuple(effect for effects in reader.effects if (effect := effects.of(row))),
        )
        for row in first.tolist()
    ]
    return ScanKeys(keys, index, reader.per_span)


class _Numbers(dict[bytes, int]):
    """Numbers values as they come."""

    def __missing__(self, value: bytes) -> int:
        number = self[value] = len(self)
        return number


def _combined(columns: Sequence[_Column], count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First row of every distinct combination of the columns' values, and the combination of each row.

    Args:
        columns: Values with the limit below which they are; a column that is none has the same value everywhere.
        count: How many rows there are.
    """
    code, size = np.zeros(count, dtype=np.intp), 1
    for column, width in columns:
        if not isinstance(column, np.ndarray):
            continue
        if size * width >= _CODE_LIMIT:
            _, code = np.unique(code, return_inverse=True)
            size = int(code.max()) + 1
        code = column if size == 1 else code * width + column
        size *= width
    if size == 1:
        return np.zeros(1, dtype=np.intp), code
    _, first, index = np.unique(code, return_index=True, return_inverse=True)
    order = np.argsort(first)  # as they come, for dimensions whose first values are the ones kept
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[index]
