"""Bodies within bounds: whole or refused, never half and never too large."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import tracemalloc
from collections.abc import AsyncIterator

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cxgauge.collectors.receiver.request_body import (
    BodyTooLargeError,
    CorruptBodyError,
    InFlight,
    NoRoomError,
    SlowBodyError,
    expand,
    read_body,
)

LIMIT = 1 << 16


def compress(encoding: str, data: bytes) -> bytes:
    if encoding == "zstd":
        return zstandard.ZstdCompressor(write_checksum=True).compress(data)
    return gzip.compress(data) if encoding == "gzip" else data


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@settings(deadline=None)
@given(
    encoding=st.sampled_from(["gzip", "zstd", "identity"]),
    members=st.lists(st.binary(max_size=3000), min_size=1, max_size=3),
    piece=st.integers(1, 500),
)
def test_what_was_compressed_comes_back(encoding: str, members: list[bytes], piece: int) -> None:
    sent = b"".join(compress(encoding, member) for member in members)
    assert expand(in_pieces(sent, piece), encoding, LIMIT) == b"".join(members)


@settings(deadline=None, max_examples=200)
@given(
    encoding=st.sampled_from(["gzip", "zstd"]), data=st.binary(max_size=3000), keep=st.floats(0, 1, exclude_max=True)
)
def test_a_body_that_was_cut_is_never_taken_for_a_whole_one(encoding: str, data: bytes, keep: float) -> None:
    sent = compress(encoding, data)
    cut = sent[: int(len(sent) * keep)]
    if cut:
        with pytest.raises(CorruptBodyError):
            expand([cut], encoding, LIMIT)


@settings(deadline=None, max_examples=200)
@given(encoding=st.sampled_from(["gzip", "zstd"]), data=st.binary(min_size=1, max_size=300))
def test_any_bytes_expand_or_are_refused(encoding: str, data: bytes) -> None:
    with contextlib.suppress(CorruptBodyError, BodyTooLargeError):
        expand([data], encoding, LIMIT)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_the_limit_is_exact_and_expansion_stops_there(encoding: str) -> None:
    assert expand([compress(encoding, bytes(LIMIT))], encoding, LIMIT) == bytes(LIMIT)
    bomb = compress(encoding, bytes(1 << 20)) * 200
    tracemalloc.start()
    with pytest.raises(BodyTooLargeError, match=r"^the decompressed body is larger than the limit of 65536 bytes$"):
        expand([bomb], encoding, LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


async def _chunks(*chunks: bytes, pause: float = 0.0) -> AsyncIterator[bytes]:
    for chunk in chunks:
        await asyncio.sleep(pause)
        yield chunk


def test_reading_reserves_what_it_holds_and_gives_back_on_errors() -> None:
    room = InFlight(100)
    pieces = asyncio.run(read_body(_chunks(b"ab", b"cd"), limit=4, timeout_seconds=10, room=room))
    assert (pieces, room.used) == ([b"ab", b"cd"], 4)
    with pytest.raises(BodyTooLargeError, match=r"^the body is larger than the limit of 4 bytes$"):
        asyncio.run(read_body(_chunks(b"abc", b"de"), limit=4, timeout_seconds=10, room=room))
    with pytest.raises(NoRoomError, match=r"^bodies of 64 bytes are being worked on; the limit is 100$"):
        asyncio.run(read_body(_chunks(bytes(60), bytes(60)), limit=400, timeout_seconds=10, room=room))
    with pytest.raises(SlowBodyError, match=r"^the body did not arrive within 0\.01 s$"):
        asyncio.run(read_body(_chunks(b"a", pause=30), limit=4, timeout_seconds=0.01, room=room))
    assert room.used == 4
