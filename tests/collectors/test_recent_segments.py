"""What was received stays recognisable over a restart, within bounds, and makes way when the disk is full."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxgauge.collectors.receiver.duplicate_window import DuplicateWindow
from cxgauge.collectors.spool import ResumePoint, SpoolReader, SpoolWriter
from cxgauge.collectors.spool.recent_segments import KEEP_SECONDS, RecentSegments
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey


def batch(first: int, count: int) -> ObservationBatch:
    records = np.zeros(count, dtype=RECORD)
    records["span_id"] = np.arange(first, first + count)
    return ObservationBatch((SeriesKey("bill", "total"),), records)


def unknown(window: DuplicateWindow, first: int, count: int) -> int:
    records = batch(first, count).records
    return int(window.admit(records["trace_id"], records["span_id"]).sum())


@pytest.fixture
def recent(tmp_path: Path) -> RecentSegments:
    return RecentSegments(tmp_path / "recent", 1 << 20)


def spool(tmp_path: Path, recent: RecentSegments, **options: Any) -> SpoolWriter:
    return SpoolWriter(tmp_path / "spool", "receiver", files=recent.files(), minimum_free_bytes=1, **options)


def drain(tmp_path: Path, source: str) -> int:
    """Read everything as the writer does, and let it be deleted."""
    reader = SpoolReader(tmp_path / "spool")
    point, rows = ResumePoint(), 0
    while True:
        chunk = reader.read(source, point)
        rows += sum(map(len, chunk.batches))
        reader.release(source, chunk.next)
        if chunk.next == point:
            return rows
        point = chunk.next


def test_spans_are_known_after_a_restart_whether_or_not_the_writer_was_there(
    tmp_path: Path, recent: RecentSegments
) -> None:
    for written in (False, True):
        first = 1000 if written else 1
        with spool(tmp_path, recent, segment_bytes=1000) as writer:
            for start in range(first, first + 100, 10):
                writer.append(batch(start, 10))
        if written:
            assert drain(tmp_path, writer.source) == 100
        window = DuplicateWindow(4096)
        assert RecentSegments(recent.directory, 1 << 20).seed(window) >= 100
        assert unknown(window, first, 100) == 0
        assert unknown(window, 5000, 100) == 100


def test_a_torn_end_and_a_damaged_file_are_passed_over(tmp_path: Path, recent: RecentSegments) -> None:
    with spool(tmp_path, recent) as writer:
        writer.append(batch(1, 10))
        writer.append(batch(11, 10))
    [kept] = recent.directory.iterdir()
    os.truncate(kept, kept.stat().st_size - 5)
    (recent.directory / "x.segment").write_bytes(b"not a segment")
    window = DuplicateWindow(4096)
    assert recent.seed(window) == 10
    assert (unknown(window, 1, 10), unknown(window, 11, 10)) == (0, 10)


def test_old_ones_and_those_beyond_the_limit_go(tmp_path: Path, recent: RecentSegments) -> None:
    with spool(tmp_path, recent, segment_bytes=1000) as writer:
        for start in range(1, 100, 10):
            writer.append(batch(start, 10))
    now = max(path.stat().st_mtime for path in recent.directory.iterdir())
    count = len(list(recent.directory.iterdir()))
    recent.tidy(now)
    assert len(list(recent.directory.iterdir())) == count >= 10
    RecentSegments(recent.directory, 3000).tidy(now)
    assert 1 <= len(list(recent.directory.iterdir())) <= 3
    recent.tidy(now + KEEP_SECONDS + 1)
    assert list(recent.directory.iterdir()) == []


def test_room_is_made_of_what_the_writer_is_done_with(tmp_path: Path, recent: RecentSegments) -> None:
    with spool(tmp_path, recent) as done:
        done.append(batch(1, 10))
    drain(tmp_path, done.source)
    with spool(tmp_path, recent) as waiting:
        waiting.append(batch(11, 10))
        recent.make_room()
        [kept] = recent.directory.iterdir()
        assert kept.name.startswith(waiting.source)
