"""Syncs of a segment: shared by threads, and never believed again once one has failed."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cxgauge.collectors.spool import ResumePoint, SpoolError, SpoolReader, SpoolWriter
from cxgauge.collectors.spool.files import Files
from cxgauge.collectors.spool.open_segment import OpenSegment
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey


def batch(number: int) -> ObservationBatch:
    records = np.zeros(1, RECORD)
    records["observed_at_us"] = number
    return ObservationBatch((SeriesKey("bill_inquiry", "bill_total"),), records)


class GatedFiles(Files):
    """Counts syncs, holds them at a gate, and fails the calls that a test names."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.syncs = 0
        self.failing_syncs = 0
        self.failing_creations = 0

    def sync(self, descriptor: int) -> None:
        self.syncs += 1
        self.gate.wait(30)
        if self.failing_syncs:
            self.failing_syncs -= 1
            raise OSError(errno.EIO, "Input/output error")

    def create(self, path: Path) -> int:
        if self.failing_creations:
            self.failing_creations -= 1
            raise OSError(errno.EIO, "Input/output error")
        return super().create(path)


def wait_until(files: GatedFiles, writer: SpoolWriter, records: int) -> None:
    """Wait until so many records are written, and their threads are at the sync."""
    size = writer._segment.start + records * (8 + len(batch(0).to_bytes()))
    deadline = time.monotonic() + 30
    while writer._segment.written < size or not files.syncs:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_failed_sync_is_for_ever(tmp_path: Path) -> None:
    files = GatedFiles()
    path = tmp_path / "segment"
    segment = OpenSegment(files, files.create(path), path, number=1, size=0, start=0, created=0.0)
    segment.written = 10
    files.failing_syncs = 1
    for _ in range(2):  # the second time the system would say that all is well
        with pytest.raises(OSError, match="Input/output error"):
            segment.sync_to(10)
    assert (segment.synced, files.syncs) == (0, 1)
    files.close(segment.descriptor)


def test_threads_share_a_sync(tmp_path: Path) -> None:
    files = GatedFiles()
    with SpoolWriter(tmp_path, files=files, minimum_free_bytes=0) as writer:
        files.gate.clear()
        files.syncs = 0
        first = threading.Thread(target=writer.append, args=(batch(0),))
        first.start()
        wait_until(files, writer, 1)
        others = [threading.Thread(target=writer.append, args=(batch(number),)) for number in range(1, 6)]
        for thread in others:
            thread.start()
        wait_until(files, writer, 6)
        files.gate.set()
        for thread in [first, *others]:
            thread.join(30)
        assert files.syncs == 2  # the first one's, and one for the five that came during it


def test_records_that_were_given_up_by_another_thread_are_not_confirmed(tmp_path: Path) -> None:
    files = GatedFiles()
    writer = SpoolWriter(tmp_path, files=files, minimum_free_bytes=0)
    files.gate.clear()
    files.syncs = 0
    files.failing_syncs, files.failing_creations = 1, 1
    failures: list[str] = []

    def append(number: int) -> None:
        try:
            writer.append(batch(number))
        except SpoolError as error:
            failures.append(str(error))

    threads = [threading.Thread(target=append, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    wait_until(files, writer, 2)
    files.gate.set()
    for thread in threads:
        thread.join(30)
    assert len(failures) == 2
    writer.append(batch(2))
    writer.close()
    chunk = SpoolReader(tmp_path).read(writer.source, ResumePoint())
    assert [int(one.records["observed_at_us"][0]) for one in chunk.batches] == [2]
    assert chunk.finished
