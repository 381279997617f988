"""The format of a spool segment, and the types that the spool's two sides share.

A segment is a header followed by records; all integers are little endian.

========  ======================================================================================
header    ``magic 8s, version u32, header length u32, number u64, created at us i64,
          previous end u64, carried u64``, the source's name in UTF-8, CRC-32 of all of it
record    ``length u32, CRC-32 u32, payload``; the CRC covers the length and the payload; the payload is
          :meth:`cxgauge.metrics.observation.ObservationBatch.to_bytes`
========  ======================================================================================

``previous end`` says where the preceding segment ends: what lies beyond is not part of the spool. ``carried``
says how many bytes at the start of this segment repeat the preceding one from ``previous end`` on. Both matter
after a disk reported an error: what had been written but not synced is repeated in a new segment, and a reader
that had already read it in the old one skips exactly as many bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ...metrics.observation import RECORD, ObservationBatch

__all__ = [
    "CREATING_PREFIX",
    "LOCK_NAME",
    "NEW_SUFFIX",
    "RECORD_BYTES_LIMIT",
    "SEGMENT_SUFFIX",
    "Chunk",
    "ProblemKind",
    "ResumePoint",
    "SegmentHeader",
    "SpoolError",
    "SpoolFull",
    "SpoolProblem",
    "frame",
    "next_whole_record",
    "records_in",
]

LOCK_NAME = "lock"
SEGMENT_SUFFIX = ".segment"
NEW_SUFFIX = ".new"
CREATING_PREFIX = ".creating-"
RECORD_BYTES_LIMIT = 16 * 1024 * 1024
_MAGIC = b"CXGSPOOL"
_VERSION = 1
_HEADER = struct.Struct("<8sIIQqQQ")
_CRC = struct.Struct("<I")
_FRAME = struct.Struct("<II")
_LENGTH = struct.Struct("<I")
FRAME_BYTES = _FRAME.size
HEADER_BYTES_LIMIT = 4096


class SpoolError(Exception):
    """The spool could not confirm an append, or could not be read."""


class SpoolFull(SpoolError):  # noqa: N818 - a state of the spool, named as the callers speak of it
    """The spool refused an append: a limit is reached or the disk is full. Nothing of it was kept."""


@dataclass(frozen=True, slots=True, order=True)
class ResumePoint:
    """How far a source has been read: everything before ``offset`` in ``segment``, and all earlier segments.

    ``ResumePoint()`` is the start of any source.
    """

    segment: int = 0
    offset: int = 0


class ProblemKind(StrEnum):
    """Why bytes of a source could not be used."""

    TORN = "torn"  # an append that its producer did not live to finish: never confirmed under `always`
    CORRUPT = "corrupt"  # confirmed bytes that changed on disk; the segment is kept in `corrupt/`
    MISSING = "missing"  # a segment between the resume point and the oldest one left is gone


@dataclass(frozen=True, slots=True)
class SpoolProblem:
    """One stretch of a source that could not be used; reading went on after it.

    Attributes:
        kind: Why.
        source: The source.
        segment: Number of the segment.
        offset: First byte that could not be used.
        size: How many bytes could not be used; 0 where that is unknown.
        detail: One sentence for people.
    """

    kind: ProblemKind
    source: str
    segment: int
    offset: int
    size: int
    detail: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one read returned.

    Attributes:
        batches: In the order in which they were appended.
        next: Where to go on reading once ``batches`` are committed; commit both in one transaction.
        lag_bytes: Bytes of this source that were still unread beyond ``next``.
        finished: The producer is gone and everything it left is before ``next``.
        problems: What lies before ``next`` and could not be used.
    """

    batches: tuple[ObservationBatch, ...]
    next: ResumePoint
    lag_bytes: int = 0
    finished: bool = False
    problems: tuple[SpoolProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The decoded header of a segment; see the module for the fields."""

    number: int
    source: str
    created_at_us: int
    previous_end: int
    carried: int

    def to_bytes(self) -> bytes:
        """Serialise with the checksum."""
        name = self.source.encode()
        length = _HEADER.size + len(name) + _CRC.size
        head = _HEADER.pack(_MAGIC, _VERSION, length, self.number, self.created_at_us, self.previous_end, self.carried)
        body = head + name
        return body + _CRC.pack(zlib.crc32(body))

    @property
    def size(self) -> int:
        """Bytes of the serialised header: the offset of the first record."""
        return _HEADER.size + len(self.source.encode()) + _CRC.size

    @classmethod
    def from_bytes(cls, data: bytes) -> SegmentHeader:
        """Read the header at the start of ``data``.

        Raises:
            ValueError: not a segment, another version, or damaged.
        """
        if len(data) < _HEADER.size:
            raise ValueError(f"a segment of {len(data)} bytes is shorter than its header ({_HEADER.size})")
        magic, version, length, number, created, previous_end, carried = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise ValueError(f"the segment starts with {magic!r} instead of {_MAGIC!r}")
        if version != _VERSION:
            raise ValueError(f"the segment has format version {version}; this reader knows version {_VERSION}")
        if not _HEADER.size + _CRC.size <= length <= min(len(data), HEADER_BYTES_LIMIT):
            raise ValueError(f"the segment's header states an impossible length of {length} bytes")
        body = data[: length - _CRC.size]
        if _CRC.unpack_from(data, len(body))[0] != zlib.crc32(body):
            raise ValueError("the segment's header does not match its checksum")
        return cls(number, body[_HEADER.size :].decode(errors="replace"), created, previous_end, carried)


def frame(payload: bytes) -> bytes:
    """Return ``payload`` as a record.

    Raises:
        ValueError: it is larger than :data:`RECORD_BYTES_LIMIT`.
    """
    if len(payload) > RECORD_BYTES_LIMIT:
        raise ValueError(
            f"a batch of {len(payload)} bytes does not fit into a spool record ({RECORD_BYTES_LIMIT} bytes); split it"
        )
    return _FRAME.pack(len(payload), _checksum(payload)) + payload


def records_in(data: memoryview) -> Iterator[tuple[memoryview | None, int]]:
    """Yield ``(payload, end)`` of each whole record from the start of ``data``.

    The last pair is ``(None, needed)`` when the data stop within a record: ``needed`` bytes (counted from the start
    of ``data``) would hold it, or ``(None, 0)`` when the next record's checksum or length is wrong.
    """
    position, size = 0, len(data)
    while position < size:
        if size - position < FRAME_BYTES:
            yield None, position + FRAME_BYTES
            return
        length, checksum = _FRAME.unpack_from(data, position)
        end = position + FRAME_BYTES + length
        if not 0 < length <= RECORD_BYTES_LIMIT:
            yield None, 0
            return
        if end > size:
            yield None, end
            return
        payload = data[position + FRAME_BYTES : end]
        if _checksum(payload) != checksum:
            yield None, 0
            return
        yield payload, end
        position = end


def next_whole_record(data: memoryview, start: int) -> int | None:
    """Find the first offset from ``start`` on at which a whole record with a right checksum begins.

    Candidates are offsets where the record's length agrees with the batch header inside it, so that only a few
    checksums are computed.
    """
    window = 1 << 20
    for base in range(start, max(start, len(data) - 16), window):
        raw = np.frombuffer(data[base : base + window + 16], dtype=np.uint8).astype(np.int64)
        if len(raw) < 16:
            return None
        word = raw[:-3] | raw[1:-2] << 8 | raw[2:-1] << 16 | raw[3:] << 24
        lengths, texts, counts = word[:-12], word[8:-4], word[12:]
        plausible = (lengths == 8 + texts + counts * RECORD.itemsize) & (lengths > 0) & (lengths <= RECORD_BYTES_LIMIT)
        for found in np.flatnonzero(plausible):
            position = base + int(found)
            first = next(records_in(data[position:]), None)
            if first is not None and first[0] is not None:
                return position
    return None


def _checksum(payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(_LENGTH.pack(len(payload))))
