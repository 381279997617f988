"""The own attributes of scanned spans: what says who and which all at once, answers span by span."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .attribute_memo import decode_attribute
from .matched_spans import MatchedSpans
from .per_span import PerSpan
from .span_scan import SpanScan, Stretches

__all__ = ["read_own"]


def read_own(
    scan: SpanScan,
    own: Sequence[tuple[bytes | None, Stretches]],
    of_resource: Mapping[int, Sequence[tuple[str, str]]],
    chosen: NDArray[np.intp],
    reader: PerSpan,
    matched: MatchedSpans,
) -> None:
    """Note flow instances, customers and judged answers of matched spans.

    Args:
        scan: The scanned spans.
        own: Their own attributes, with the first bytes of those that are all of one key.
        of_resource: What resources say of their spans, by row of the scan.
        chosen: The matched ones' rows in the scan.
        reader: Knows what the attributes mean.
        matched: Where it is noted.
    """
    place = np.full(scan.count, -1, dtype=np.intp)  # of each scanned span among the matched ones
    place[chosen] = np.arange(len(chosen))
    columns: list[tuple[bytes, str, Stretches]] = []
    singly = {row: list(pairs) for row, pairs in of_resource.items() if place[row] >= 0}
    for head, stretches in own:
        key = "" if head is None else head[2:].decode("utf-8", "replace")
        if head is not None and reader.identifies(key):
            columns.append((head, key, stretches))
        else:
            singly.update((row, []) for row in _among(stretches, place).rows.tolist() if row not in singly)
    if singly:
        _read_singly(scan, own, singly, place, reader, matched)
        place[list(singly)] = -1
    given: dict[str, dict[int, str]] = {}
    for head, key, stretches in columns:
        here = _among(stretches, place)
        values = zip(place[here.rows].tolist(), _strings(scan, here, len(head)), strict=True)
        given.setdefault(key, {}).update((row, value) for row, value in values if value is not None)
    matched.instances |= reader.instances(given)
    matched.customers |= reader.customers(given)


def _read_singly(
    scan: SpanScan,
    own: Sequence[tuple[bytes | None, Stretches]],
    pairs: dict[int, list[tuple[str, str]]],
    place: NDArray[np.intp],
    reader: PerSpan,
    matched: MatchedSpans,
) -> None:
    for _, stretches in own:
        for row, raw in zip(stretches.rows.tolist(), scan.texts(stretches), strict=True):
            if row in pairs and (pair := _pair(raw)) is not None:
                pairs[row].append(pair)
    for row in sorted(pairs):
        at = int(place[row])
        shape = matched.shapes[matched.index[at]]
        start, end = int(matched.starts[at]), int(matched.ends[at])
        matched.note(at, reader.read(pairs[row], shape, start, end, bytes(matched.trace_ids[at])))


def _among(stretches: Stretches, place: NDArray[np.intp]) -> Stretches:
    """Those of matched spans that have not been read yet."""
    wanted = place[stretches.rows] >= 0
    return stretches if wanted.all() else stretches.at(np.flatnonzero(wanted))


def _strings(scan: SpanScan, attributes: Stretches, head: int) -> list[str | None]:
    """Values of attributes whose first ``head`` bytes state the key; None where they are no scalars."""
    found = scan.strings(attributes, head)
    for at, value in enumerate(found):
        if value is None:
            pair = _pair(scan.texts(attributes.at(np.array([at])))[0])
            found[at] = None if pair is None else pair[1]
    return found


def _pair(raw: bytes) -> tuple[str, str] | None:
    try:
        key, value = decode_attribute(raw)
    except ValueError:
        return None
    return None if value is None else (key, value)
