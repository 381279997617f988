"""Request bodies within bounds: read and decompressed piece by piece, never beyond the limit.

A compressed body is bounded twice, as it arrives and as it expands, and expansion stops at the limit: a
decompression bomb costs one output chunk, not the memory it announces.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import zstandard

__all__ = [
    "BodyTooLargeError",
    "CorruptBodyError",
    "InFlight",
    "NoRoomError",
    "SlowBodyError",
    "UnsupportedEncodingError",
    "expand",
    "read_body",
]

_CHUNK_BYTES = 1 << 16
_ZSTD_WINDOW_BYTES_LIMIT = 1 << 27  # what a decoder may have to hold; RFC 8878 recommends at least 8 MiB
_ZSTD_HEADER_BYTES_LIMIT = 18
_SKIPPABLE_MAGIC_TAIL = b"\x2a\x4d\x18"


class BodyTooLargeError(Exception):
    """The body, as sent or as decompressed, is larger than the limit."""


class CorruptBodyError(Exception):
    """The body does not decompress."""


class UnsupportedEncodingError(Exception):
    """The Content-Encoding is none of gzip, zstd, identity."""


class SlowBodyError(Exception):
    """The body did not arrive in time, or arrived slower than the least rate."""


class NoRoomError(Exception):
    """The bodies being worked on already fill the memory set aside for them."""


@dataclass(slots=True)
class InFlight:
    """The memory set aside for request bodies, shared by all requests of one event loop.

    Attributes:
        limit: Most bytes of bodies held at once.
        used: Bytes held now.
    """

    limit: int
    used: int = 0

    def take(self, size: int) -> None:
        """Reserve ``size`` bytes.

        Raises:
            NoRoomError: they do not fit.
        """
        if self.used + size > self.limit:
            raise NoRoomError(f"bodies of {self.used} bytes are being worked on; the limit is {self.limit}")
        self.used += size

    def release(self, size: int) -> None:
        """Give back what :meth:`take` reserved."""
        self.used -= size


async def read_body(chunks: AsyncIterator[bytes], *, limit: int, timeout_seconds: float, room: InFlight) -> list[bytes]:
    """Read a request body as it was sent, still compressed.

    The caller releases the body's length from ``room`` when done with it; on an exception nothing stays reserved.

    Args:
        chunks: The body as it arrives.
        limit: Most bytes taken.
        timeout_seconds: Time for the whole body, so that a slow sender cannot hold a connection for ever.
        room: Memory shared with the other requests.

    Raises:
        BodyTooLargeError: more than ``limit`` bytes were sent.
        NoRoomError: no memory is left for it.
        SlowBodyError: it did not arrive in time.
    """
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_seconds):
            async for chunk in chunks:
                if size + len(chunk) > limit:
                    raise BodyTooLargeError(f"the body is larger than the limit of {limit} bytes")
                room.take(len(chunk))
                size += len(chunk)
                pieces.append(chunk)
    except TimeoutError:
        room.release(size)
        raise SlowBodyError(f"the body did not arrive within {timeout_seconds:g} s") from None
    except BaseException:
        room.release(size)
        raise
    return pieces


class _Bounded:
    """Collects output and refuses the byte after the limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.output = bytearray()

    def add(self, data: bytes) -> None:
        if len(self.output) + len(data) > self.limit:
            raise BodyTooLargeError(f"the decompressed body is larger than the limit of {self.limit} bytes")
        self.output += data


def _gunzip(pieces: list[bytes], bounded: _Bounded) -> None:
    decoder = zlib.decompressobj(wbits=31)
    for piece in pieces:
        data = piece
        while data:
            if decoder.eof:  # a gzip file may be several members after each other
                decoder = zlib.decompressobj(wbits=31)
            bounded.add(decoder.decompress(data, _CHUNK_BYTES))
            data = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    while not decoder.eof:
        data = decoder.decompress(b"", _CHUNK_BYTES)
        if not data:
            raise CorruptBodyError("the gzip body ends before its end mark")
        bounded.add(data)


def _unzstd(data: bytes, bounded: _Bounded) -> None:
    _refuse_incomplete_zstd(data)  # the stream reader takes a body cut at a block for a whole one
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_LIMIT)
    reader = decompressor.stream_reader(data, read_across_frames=True)
    while piece := reader.read(_CHUNK_BYTES):
        bounded.add(piece)


def _refuse_incomplete_zstd(data: bytes) -> None:
    """Walk frames and blocks by their headers (RFC 8878, 3.1.1) and check that the last one is whole."""
    position = 0
    while position < len(data):
        if data[position + 1 : position + 4] == _SKIPPABLE_MAGIC_TAIL:
            position += 8 + int.from_bytes(data[position + 4 : position + 8], "little")
            continue
        frame = data[position : position + _ZSTD_HEADER_BYTES_LIMIT]
        checksum = 4 if zstandard.get_frame_parameters(frame).has_checksum else 0
        position += zstandard.frame_header_size(frame)
        last = False
        while not last and position + 3 <= len(data):
            header = int.from_bytes(data[position : position + 3], "little")
            last = bool(header & 1)
            run_length = (header >> 1) & 3 == 1
            position += 3 + (1 if run_length else header >> 3)
        position += checksum
        if not last:
            break
    else:
        if position == len(data) and data:
            return
    raise CorruptBodyError("the zstd body ends before its last block")


def expand(pieces: list[bytes], encoding: str, limit: int) -> bytes:
    """Decompress ``pieces`` (``gzip``, ``zstd`` or ``identity``) to at most ``limit`` bytes.

    Raises:
        BodyTooLargeError: the output would be larger than ``limit``.
        CorruptBodyError: the data do not decompress or end early.
        UnsupportedEncodingError: ``encoding`` is something else.
    """
    if encoding in ("", "identity") or not any(pieces):
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    bounded = _Bounded(limit)
    try:
        if encoding in ("gzip", "x-gzip"):
            _gunzip(pieces, bounded)
        elif encoding == "zstd":
            _unzstd(b"".join(pieces), bounded)
        else:
            raise UnsupportedEncodingError(
                f"Content-Encoding {encoding[:40]!r} is not supported; send gzip, zstd or identity"
            )
    except (zlib.error, zstandard.ZstdError) as error:
        raise CorruptBodyError(f"the body is not valid {encoding}: {error}") from None
    return bytes(bounded.output)
