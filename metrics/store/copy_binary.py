"""PostgreSQL's binary COPY and array formats, assembled and taken apart by numpy instead of row by row.

The formats: https://www.postgresql.org/docs/current/sql-copy.html (Binary Format) and ``array_send`` in
``src/backend/utils/adt/arrayfuncs.c``: dimensions, null flag, element type, then length and lower bound of each
dimension and every element with its length before it, all big endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COPY_HEADER",
    "COPY_TRAILER",
    "INT2_OID",
    "INT4_OID",
    "copy_rows",
    "copy_rows_with_arrays",
    "read_array",
    "read_array_column",
]

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
COPY_TRAILER = struct.pack("!h", -1)
INT2_OID = 21
INT4_OID = 23
_ARRAY_HEADER = np.dtype([(n, ">i4") for n in ("length", "dimensions", "nulls", "type", "size", "lower")])
_EMPTY_ARRAY_BYTES = 12
_ARRAY_BYTES = 20  # before the first element


def copy_rows(columns: Sequence[tuple[str, str | None]], values: Mapping[str, NDArray[Any]], *, fields: int) -> Any:
    """Rows of fixed size as a record array whose bytes are COPY data (without header and trailer).

    Args:
        columns: ``(name, big-endian numpy type)`` a column, in order; None for a column that is NULL in every row.
        values: The columns' values, which are converted to their types.
        fields: How many columns the whole row has; more than ``columns`` if others follow.
    """
    layout: list[tuple[str, str]] = [("fields", ">i2")]
    for name, kind in columns:
        layout.append((f"{name} length", ">i4"))
        if kind is not None:
            layout.append((name, kind))
    template = np.zeros(1, dtype=layout)
    template["fields"] = fields
    for name, kind in columns:
        template[f"{name} length"] = -1 if kind is None else np.dtype(kind).itemsize
    size = len(next(iter(values.values())))
    rows = np.empty((size, template.itemsize), dtype=np.uint8)
    rows[:] = template.view(np.uint8)
    records = rows.reshape(-1).view(template.dtype)
    for name, kind in columns:
        if kind is not None:
            records[name] = values[name]
    return records


def copy_rows_with_arrays(fixed: Any, arrays: Sequence[tuple[NDArray[np.int64], NDArray[Any], int, str]]) -> bytes:
    """COPY data of rows that end in array columns.

    Args:
        fixed: [R] record array of :func:`copy_rows`, its ``fields`` counting the arrays as well.
        arrays: For each array column: offsets [R + 1], elements, the elements' type OID and big-endian numpy type.
    """
    rows = len(fixed)
    streams: list[list[memoryview]] = [_cut(fixed, np.arange(rows + 1))]
    for offsets, elements, oid, kind in arrays:
        width = np.diff(offsets)
        size = 4 + np.dtype(kind).itemsize
        head = np.zeros(rows, dtype=_ARRAY_HEADER)
        head["length"] = np.where(width > 0, _ARRAY_BYTES + width * size, _EMPTY_ARRAY_BYTES)
        head["dimensions"] = width > 0
        head["type"] = oid
        head["size"] = width
        head["lower"] = 1
        octets = memoryview(head.tobytes())
        ends = np.where(width > 0, _ARRAY_HEADER.itemsize, 4 + _EMPTY_ARRAY_BYTES).tolist()
        heads = [
            octets[at : at + end] for at, end in zip(range(0, len(octets), _ARRAY_HEADER.itemsize), ends, strict=True)
        ]
        element = np.empty(len(elements), dtype=[("length", ">i4"), ("value", kind)])
        element["length"] = size - 4
        element["value"] = elements
        streams += [heads, _cut(element, offsets)]
    return b"".join(chain.from_iterable(zip(*streams, strict=True)))


def read_array(data: bytes | None, kind: str) -> NDArray[Any]:
    """The elements of one ``array_send(array_agg(column))`` without nulls; ``kind`` is their big-endian numpy type."""
    if data is None or len(data) <= _EMPTY_ARRAY_BYTES:
        return np.empty(0, dtype=np.dtype(kind).newbyteorder("="))
    element = np.dtype([("length", ">i4"), ("value", kind)])
    elements = np.frombuffer(data, dtype=element, offset=_ARRAY_BYTES)["value"]
    return np.asarray(elements.astype(np.dtype(kind).newbyteorder("=")))


def read_array_column(data: bytes | None, widths: NDArray[np.int64], kind: str) -> NDArray[Any]:
    """The elements of many arrays laid one after the other, as ``string_agg(array_send(column), '')`` gives them.

    Args:
        data: The bytes.
        widths: Number of elements of each array (``cardinality``).
        kind: Big-endian numpy type of the elements.
    """
    if data is None or not len(widths):
        return np.empty(0, dtype=np.dtype(kind).newbyteorder("="))
    element = 4 + np.dtype(kind).itemsize
    head = np.where(widths > 0, _ARRAY_BYTES, _EMPTY_ARRAY_BYTES)
    sizes = head + widths * element
    starts = np.cumsum(sizes) - sizes + head
    before = np.cumsum(widths) - widths
    within = np.arange(int(widths.sum())) - np.repeat(before, widths)
    positions = np.repeat(starts, widths) + within * element + 4
    octets = np.frombuffer(data, dtype=np.uint8)
    gathered = octets[positions[:, None] + np.arange(np.dtype(kind).itemsize)]
    return np.asarray(gathered.reshape(-1).view(kind).astype(np.dtype(kind).newbyteorder("=")))


def _cut(records: Any, offsets: NDArray[np.int64]) -> list[memoryview]:
    """The bytes of the records between each two offsets."""
    octets = memoryview(np.ascontiguousarray(records).tobytes())
    edges = (offsets * records.dtype.itemsize).tolist()
    return [octets[start:end] for start, end in pairwise(edges)]
