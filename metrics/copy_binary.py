"""PostgreSQL's binary COPY and array formats, assembled and taken apart by numpy instead of row by row.

The formats: https://www.postgresql.org/docs/current/sql-copy.html (Binary Format) and ``array_send`` in
``src/backend/utils/adt/arrayfuncs.c``: dimensions, null flag, element type, then length and lower bound of each
dimension and every element with its length before it, all big endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
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
    "record_dtype",
]

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
COPY_TRAILER = struct.pack("!h", -1)
INT2_OID = 21
INT4_OID = 23
_ARRAY_HEADER = np.dtype([("length", ">i4"), ("dimensions", ">i4"), ("nulls", ">i4"), ("type", ">i4")])
_DIMENSION = np.dtype([("size", ">i4"), ("lower", ">i4")])
_EMPTY_ARRAY_BYTES = 12
_ARRAY_BYTES = 20  # before the first element


def record_dtype(columns: Sequence[tuple[str, str | None]], fields: int) -> np.dtype[Any]:
    """The layout of a COPY row: ``(name, numpy type)`` a column, None for a column that is NULL in all rows.

    Args:
        columns: The columns of fixed size, in order.
        fields: How many columns the whole row has.
    """
    layout: list[tuple[str, str]] = [("fields", ">i2")]
    for name, kind in columns:
        layout.append((f"{name} length", ">i4"))
        if kind is not None:
            layout.append((name, kind))
    dtype = np.dtype(layout)
    if fields < len(columns):
        raise ValueError(f"a row of {fields} fields cannot begin with {len(columns)} columns")
    return dtype


def copy_rows(columns: Sequence[tuple[str, str | None]], values: dict[str, NDArray[Any]], *, fields: int) -> Any:
    """Rows of fixed size as a record array whose bytes are COPY data (without header and trailer).

    A column typed None is NULL in every row; ``values`` of other columns are converted to big endian.
    """
    dtype = record_dtype(columns, fields)
    size = len(next(iter(values.values())))
    rows = np.empty(size, dtype=dtype)
    rows["fields"] = fields
    for name, kind in columns:
        if kind is None:
            rows[f"{name} length"] = -1
        else:
            rows[f"{name} length"] = np.dtype(kind).itemsize
            rows[name] = values[name]
    return rows


def copy_rows_with_arrays(fixed: Any, arrays: Sequence[tuple[NDArray[np.int64], NDArray[Any], int, str]]) -> bytes:
    """COPY data of rows that end in array columns.

    Args:
        fixed: [R] record array of :func:`copy_rows`, its ``fields`` counting the arrays as well.
        arrays: For each array column: offsets [R + 1], elements, the elements' type OID and big-endian numpy type.
    """
    rows = len(fixed)
    widths = [np.diff(offsets) for offsets, _, _, _ in arrays]
    payloads = [
        np.where(width > 0, _ARRAY_BYTES + width * (4 + np.dtype(kind).itemsize), _EMPTY_ARRAY_BYTES)
        for width, (_, _, _, kind) in zip(widths, arrays, strict=True)
    ]
    ends = np.cumsum(fixed.dtype.itemsize + sum((4 + payload for payload in payloads), start=np.zeros(rows, np.int64)))
    buffer = np.zeros(int(ends[-1]) if rows else 0, dtype=np.uint8)
    position = np.concatenate(([0], ends[:-1])).astype(np.int64) if rows else np.zeros(0, np.int64)
    _scatter(buffer, position, fixed)
    position = position + fixed.dtype.itemsize
    for width, payload, (offsets, elements, oid, kind) in zip(widths, payloads, arrays, strict=True):
        head = np.zeros(rows, dtype=_ARRAY_HEADER)
        head["length"] = payload
        head["dimensions"] = width > 0
        head["type"] = oid
        _scatter(buffer, position, head)
        filled = width > 0
        dimension = np.zeros(int(filled.sum()), dtype=_DIMENSION)
        dimension["size"] = width[filled]
        dimension["lower"] = 1
        _scatter(buffer, position[filled] + _ARRAY_HEADER.itemsize, dimension)
        element = np.zeros(len(elements), dtype=[("length", ">i4"), ("value", kind)])
        element["length"] = element.dtype["value"].itemsize
        element["value"] = elements
        within = np.arange(len(elements)) - np.repeat(offsets[:-1], width)
        first = np.repeat(position + 4 + _ARRAY_BYTES, width)
        _scatter(buffer, first + within * element.dtype.itemsize, element)
        position = position + 4 + payload
    return buffer.tobytes()


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


def _scatter(buffer: NDArray[np.uint8], positions: NDArray[np.int64], records: Any) -> None:
    """Lay each record's bytes at its position."""
    if not len(records):
        return
    octets = np.ascontiguousarray(records).view(np.uint8).reshape(len(records), -1)
    buffer[positions[:, None] + np.arange(octets.shape[1])] = octets
