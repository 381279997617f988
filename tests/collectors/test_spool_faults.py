"""What the spool promises when processes are killed, disks fail or fill up, and bytes rot."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxgauge.collectors.spool import (
    ProblemKind,
    ResumePoint,
    SpoolError,
    SpoolFull,
    SpoolProblem,
    SpoolReader,
    SpoolWriter,
)
from cxgauge.collectors.spool.files import Files
from cxgauge.collectors.spool.reader import CORRUPT_SEGMENTS_LIMIT
from cxgauge.collectors.spool.segment import SegmentHeader
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey

SERIES = (SeriesKey("bill_inquiry", "bill_total", (("channel", "app"),), ("total_present",)),)


def batch(first: int, count: int = 2) -> ObservationBatch:
    """A batch whose records are numbered from ``first``."""
    records = np.zeros(count, RECORD)
    records["observed_at_us"] = np.arange(first, first + count)
    records["duration_seconds"] = np.pi * (1 + first)
    return ObservationBatch(SERIES, records)


def numbers(batches: tuple[ObservationBatch, ...]) -> list[int]:
    return [int(number) for one in batches for number in one.records["observed_at_us"]]


def drain(directory: Path, source: str, limit_bytes: int = 1 << 22) -> tuple[list[int], list[SpoolProblem], bool]:
    """Everything a reader gets out of a source."""
    reader, point, found, problems = SpoolReader(directory), ResumePoint(), list[int](), list[SpoolProblem]()
    while True:
        chunk = reader.read(source, point, limit_bytes)
        found += numbers(chunk.batches)
        problems += chunk.problems
        if chunk.next == point:
            return found, problems, chunk.finished
        point = chunk.next


def filled(directory: Path, batches: int = 3, **options: object) -> tuple[str, list[Path]]:
    """A closed source of two records a batch; its name and segments."""
    with SpoolWriter(directory, "test", minimum_free_bytes=0, **options) as writer:  # type: ignore[arg-type]
        for number in range(batches):
            writer.append(batch(2 * number))
    return writer.source, sorted((directory / writer.source).glob("*.segment"))


def ends_of_records(segment: Path) -> list[int]:
    """Offsets at which the records of a segment end, its header's end first."""
    data = segment.read_bytes()
    ends = [SegmentHeader.from_bytes(data).size]
    while ends[-1] < len(data):
        ends.append(ends[-1] + 8 + int.from_bytes(data[ends[-1] : ends[-1] + 4], "little"))
    return ends


# Torn and rotten bytes


def test_a_tail_torn_at_any_byte_loses_only_the_torn_record(tmp_path: Path) -> None:
    source, (segment,) = filled(tmp_path)
    whole, ends = segment.read_bytes(), ends_of_records(segment)
    for size in range(ends[0], len(whole)):
        os.truncate(segment, size)
        found, problems, finished = drain(tmp_path, source)
        kept = sum(end <= size for end in ends[1:])
        assert found == list(range(2 * kept)), size
        assert finished, size
        expected = [] if size in ends else [(ProblemKind.TORN, ends[kept], size - ends[kept])]
        assert [(problem.kind, problem.offset, problem.size) for problem in problems] == expected, size
        segment.write_bytes(whole)


def test_a_live_producers_unfinished_append_is_waited_for(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, minimum_free_bytes=0) as writer:
        writer.append(batch(0))
        (segment,) = (tmp_path / writer.source).glob("*.segment")
        size = segment.stat().st_size
        writer.append(batch(2))
        whole = segment.read_bytes()
        reader = SpoolReader(tmp_path)
        point = ResumePoint(1, size)
        for cut in range(size, len(whole)):
            os.truncate(segment, cut)
            chunk = reader.read(writer.source, point)
            assert (chunk.batches, chunk.next, chunk.problems, chunk.finished) == ((), point, (), False)
        segment.write_bytes(whole)
        assert numbers(reader.read(writer.source, point).batches) == [2, 3]


def test_zeros_after_a_power_failure_are_a_torn_tail(tmp_path: Path) -> None:
    source, (segment,) = filled(tmp_path)
    segment.write_bytes(segment.read_bytes() + bytes(4096))
    found, problems, finished = drain(tmp_path, source)
    assert found == list(range(6))
    assert [(problem.kind, problem.size) for problem in problems] == [(ProblemKind.TORN, 4096)]
    assert finished


@pytest.mark.parametrize("which", [0, 1])
def test_a_flipped_bit_anywhere_loses_at_most_its_record_and_is_reported(tmp_path: Path, which: int) -> None:
    source, segments = filled(tmp_path, 6, segment_bytes=900)
    assert len(segments) == 2
    segment = segments[which]
    whole, ends = segment.read_bytes(), ends_of_records(segment)
    first = 0 if which == 0 else 3
    for position in range(len(whole)):
        rotten = bytearray(whole)
        rotten[position] ^= 1 << position % 8
        segment.write_bytes(rotten)
        found, problems, finished = drain(tmp_path, source)
        hit = [number for number, end in enumerate(ends[1:]) if ends[number] <= position < end]
        lost = {2 * (first + number) + row for number in hit for row in (0, 1)}
        assert found == [number for number in range(12) if number not in lost], position
        assert len(problems) == 1, position
        assert finished, position
    segment.write_bytes(whole)
    assert drain(tmp_path, source) == (list(range(12)), [], True)


def test_a_corrupt_segment_is_set_aside_and_survives_the_release(tmp_path: Path) -> None:
    source, segments = filled(tmp_path, 6, segment_bytes=900)
    rotten = bytearray(segments[0].read_bytes())
    rotten[ends_of_records(segments[0])[1] + 20] ^= 1
    segments[0].write_bytes(rotten)
    reader = SpoolReader(tmp_path)
    chunk = reader.read(source, ResumePoint())
    aside = tmp_path / "corrupt" / f"{source}-{segments[0].name}"
    (problem,) = chunk.problems
    first, second = ends_of_records(segments[0])[1:3]
    assert problem.detail == f"{segments[0]} is damaged from {first} to {second}; set aside as {aside}"
    reader.release(source, chunk.next)
    assert reader.sources() == []
    assert aside.read_bytes() == rotten


def test_segments_set_aside_are_bounded(tmp_path: Path) -> None:
    for _ in range(CORRUPT_SEGMENTS_LIMIT + 3):
        source, (segment,) = filled(tmp_path, 1)
        segment.write_bytes(segment.read_bytes()[:-1] + b"!")
        assert drain(tmp_path, source)[1][0].kind is ProblemKind.CORRUPT
    assert len(list((tmp_path / "corrupt").iterdir())) == CORRUPT_SEGMENTS_LIMIT


def test_a_record_that_is_no_batch_is_stepped_over(tmp_path: Path) -> None:
    from cxgauge.collectors.spool.segment import frame

    source, (segment,) = filled(tmp_path, 1)
    with segment.open("ab") as file:
        file.write(frame(b"not a batch") + frame(batch(2).to_bytes()))
    found, problems, finished = drain(tmp_path, source)
    assert (found, finished) == ([0, 1, 2, 3], True)
    assert [problem.kind for problem in problems] == [ProblemKind.CORRUPT]
    assert "is not a batch" in problems[0].detail


def test_a_segment_of_a_later_format_is_kept(tmp_path: Path) -> None:
    source, segments = filled(tmp_path, 6, segment_bytes=900)
    segments[0].write_bytes(b"CXGSPOOL\x09\0\0\0" + b"something new" * 20)
    found, problems, _ = drain(tmp_path, source)
    assert found == list(range(6, 12))
    assert {problem.kind for problem in problems} == {ProblemKind.CORRUPT}
    assert len(list((tmp_path / "corrupt").iterdir())) == 1


def test_a_missing_segment_is_reported(tmp_path: Path) -> None:
    source, segments = filled(tmp_path, 9, segment_bytes=900)
    reader = SpoolReader(tmp_path)
    point = reader.read(source, ResumePoint(), 1).next
    segments[0].unlink()
    chunk = reader.read(source, point)
    assert numbers(chunk.batches) == list(range(6, 18))
    assert [(problem.kind, problem.segment) for problem in chunk.problems] == [(ProblemKind.MISSING, 1)]


def test_a_segment_cut_short_of_what_its_successor_states_is_reported(tmp_path: Path) -> None:
    source, segments = filled(tmp_path, 6, segment_bytes=900)
    ends = ends_of_records(segments[0])
    os.truncate(segments[0], ends[1])
    found, problems, finished = drain(tmp_path, source)
    assert found == [0, 1, *range(6, 12)]
    assert finished
    assert [(problem.kind, problem.size) for problem in problems] == [(ProblemKind.CORRUPT, ends[-1] - ends[1])]


# A disk that fails


class FaultyFiles(Files):
    """Fails calls as a script says: each entry is met by one call of the write, sync or truncate it names.

    Syncs that succeed do nothing: no power fails here.
    """

    def __init__(self, script: list[str]) -> None:
        self.script = script

    def _meets(self, *faults: str) -> str | None:
        if self.script and self.script[0] in faults:
            return self.script.pop(0)
        if self.script and self.script[0] == "pass":
            self.script.pop(0)
        return None

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        fault = self._meets("short", "nospace", "eio")
        if fault == "short":
            return super().write(descriptor, data[: len(data) // 2])
        if fault == "nospace":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if fault == "eio":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        if self._meets("unsynced"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def sync_directory(self, path: Path) -> None:
        pass

    def truncate(self, descriptor: int, size: int) -> None:
        if self._meets("uncut"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().truncate(descriptor, size)


def faulty_writer(directory: Path, faults: list[str], **options: object) -> SpoolWriter:
    files = FaultyFiles([])
    writer = SpoolWriter(directory, "test", files=files, minimum_free_bytes=0, **options)  # type: ignore[arg-type]
    files.script = faults
    return writer


def test_a_short_write_leaves_nothing_behind(tmp_path: Path) -> None:
    with faulty_writer(tmp_path, ["short"]) as writer:
        with pytest.raises(SpoolFull, match=r"no space left for .*0001\.segment: .*No space left on device"):
            writer.append(batch(0))
        writer.append(batch(2))
        assert drain(tmp_path, writer.source) == ([2, 3], [], False)


def test_a_torn_append_that_cannot_be_cut_is_left_behind_by_a_new_segment(tmp_path: Path) -> None:
    with faulty_writer(tmp_path, ["short", "uncut"]) as writer:
        with pytest.raises(SpoolFull, match="No space left on device"):
            writer.append(batch(0))
        writer.append(batch(2))
    assert drain(tmp_path, writer.source) == ([2, 3], [], True)


def test_a_failed_sync_repeats_the_record_in_a_new_segment(tmp_path: Path) -> None:
    with faulty_writer(tmp_path, ["pass", "pass", "pass", "unsynced"]) as writer:
        writer.append(batch(0))
        writer.append(batch(2))
        assert len(list((tmp_path / writer.source).glob("*.segment"))) == 2
        assert writer.disk_errors == 1
        writer.append(batch(4))
    assert drain(tmp_path, writer.source) == (list(range(6)), [], True)


def test_a_reader_that_was_ahead_of_a_failed_sync_gets_nothing_twice(tmp_path: Path) -> None:
    class ReadingFiles(FaultyFiles):
        """Lets the reader in between the write and the sync that fails."""

        def sync(self, descriptor: int) -> None:
            read()
            super().sync(descriptor)

    reader, points, found = SpoolReader(tmp_path), [ResumePoint()], list[int]()

    def read() -> None:
        chunk = reader.read(writer.source, points[-1])
        found.extend(numbers(chunk.batches))
        points.append(chunk.next)

    writer = faulty_writer(tmp_path, [])
    writer._files = writer._segment.files = ReadingFiles(["pass", "unsynced"])
    writer.append(batch(0))
    writer.append(batch(2))
    assert found[:4] == [0, 1, 2, 3]
    writer.append(batch(4))
    read()
    assert found == [0, 1, 2, 3, 4, 5]
    writer.close()


def test_a_disk_that_fails_for_good_refuses_and_recovers(tmp_path: Path) -> None:
    with faulty_writer(tmp_path, ["pass", "unsynced", "unsynced"]) as writer:
        with pytest.raises(SpoolError, match=r"the disk under .* failed, and a new segment as well: .*Input/output"):
            writer.append(batch(0))
        writer.append(batch(2))
    assert drain(tmp_path, writer.source) == ([2, 3], [], True)


FAULTS = st.lists(st.sampled_from(["pass", "pass", "short", "nospace", "eio", "unsynced", "uncut"]), max_size=40)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=FAULTS,
    reads=st.sets(st.integers(0, 30)),
    segment_bytes=st.sampled_from([300, 700, 5000]),
    interval=st.booleans(),
)
def test_whatever_fails_confirmed_appends_are_read_once_and_in_order(
    tmp_path: Path, faults: list[str], reads: set[int], segment_bytes: int, interval: bool
) -> None:
    directory = tmp_path / os.urandom(6).hex()
    sync = "interval" if interval else "always"
    writer = faulty_writer(directory, faults, segment_bytes=segment_bytes, sync=sync, sync_interval_seconds=3600)
    reader, point, found, confirmed, refused = SpoolReader(directory), ResumePoint(), list[int](), list[int](), set()
    for number in range(30):
        try:
            if interval and number % 7 == 6:
                writer.sync()
            writer.append(batch(2 * number))
            confirmed += [2 * number, 2 * number + 1]
        except SpoolFull:
            refused |= {2 * number, 2 * number + 1}
        except SpoolError:
            pass  # whether it was kept is not known
        if number in reads:
            chunk = reader.read(writer.source, point, 500)
            assert chunk.problems == ()
            found += numbers(chunk.batches)
            point = chunk.next
            reader.release(writer.source, point)
    faults.clear()
    try:
        writer.close()
    except SpoolError:
        assert interval
        return  # what was appended since the last sync could not be confirmed at the end: told, not lost silently
    while not (chunk := reader.read(writer.source, point, 500)).finished or chunk.batches:
        found += numbers(chunk.batches)
        assert chunk.problems == ()
        assert chunk.next > point
        point = chunk.next
    assert found == sorted(set(found))
    assert set(confirmed) <= set(found)
    assert not set(found) & refused
    shutil.rmtree(directory)


# Power failure


class VolatileFiles(Files):
    """Remembers what was synced; :meth:`power_fails` makes the disk hold that, and chance decides on the rest."""

    def __init__(self) -> None:
        self.synced_sizes: dict[int, int] = {}  # inode -> bytes on disk
        self.names: dict[Path, dict[str, int]] = {}  # directory -> entries on disk

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        status = os.fstat(descriptor)
        self.synced_sizes[status.st_ino] = status.st_size

    def sync_directory(self, path: Path) -> None:
        super().sync_directory(path)
        self.names[path] = {entry.name: entry.stat().st_ino for entry in path.iterdir()}

    def power_fails(self, directory: Path, source: str, chance: random.Random) -> None:
        path = directory / source
        if source not in self.names.get(directory, {}):
            shutil.rmtree(path)
            return
        for entry in list(path.iterdir()):
            status = entry.stat()
            if self.names.get(path, {}).get(entry.name) != status.st_ino and chance.random() < 0.5:
                entry.unlink()
                continue
            synced = self.synced_sizes.get(status.st_ino, 0)
            size = chance.randint(synced, status.st_size)
            os.truncate(entry, size)
            if size < status.st_size and chance.random() < 0.5:
                os.truncate(entry, status.st_size)  # the size was on disk, the content was not: zeros


@pytest.mark.parametrize("seed", range(25))
def test_a_power_failure_loses_nothing_that_was_confirmed(tmp_path: Path, seed: int) -> None:
    chance, files = random.Random(seed), VolatileFiles()
    writer = SpoolWriter(tmp_path, files=files, segment_bytes=chance.choice([300, 900]), minimum_free_bytes=0)
    confirmed = chance.randrange(0, 20)
    for number in range(confirmed):
        writer.append(batch(2 * number))
    with writer._lock:  # an append under way: written, not yet synced
        writer._write(writer._segment, b"\x30\0\0\0half a record"[: chance.randrange(1, 17)])
    writer._release_descriptors()
    files.power_fails(tmp_path, writer.source, chance)
    found, problems, finished = drain(tmp_path, writer.source)
    assert found == list(range(2 * confirmed))
    assert finished
    assert all(problem.kind is ProblemKind.TORN for problem in problems)


@pytest.mark.parametrize("seed", range(10))
def test_with_the_interval_policy_a_power_failure_loses_only_the_last_interval(tmp_path: Path, seed: int) -> None:
    chance, files = random.Random(seed), VolatileFiles()
    writer = SpoolWriter(
        tmp_path, files=files, segment_bytes=900, sync="interval", sync_interval_seconds=3600, minimum_free_bytes=0
    )
    synced = chance.randrange(0, 12)
    for number in range(synced):
        writer.append(batch(2 * number))
    writer.sync()
    for number in range(synced, synced + 5):
        writer.append(batch(2 * number))
    writer._release_descriptors()
    files.power_fails(tmp_path, writer.source, chance)
    found, _, _ = drain(tmp_path, writer.source)
    assert found == list(range(len(found)))
    assert len(found) >= 2 * synced


# A small disk, and real processes


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root to mount a small tmpfs")
def test_a_full_disk_refuses_keeps_what_was_confirmed_and_is_reclaimed(tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_spool_faults import *
disk = Path(sys.argv[1])
for policy in ("always", "interval"):
    writer = SpoolWriter(disk, "test", segment_bytes=20_000, minimum_free_bytes=0, sync=policy)
    reader, point, found, confirmed, full = SpoolReader(disk), ResumePoint(), [], [], 0
    for number in range(3000):
        try:
            writer.append(batch(2 * number))
            confirmed += [2 * number, 2 * number + 1]
        except SpoolFull:
            full += 1
            if full % 3 == 0:
                chunk = reader.read(writer.source, point, 40_000)
                assert not chunk.problems, chunk.problems
                found += numbers(chunk.batches)
                point = chunk.next
                reader.release(writer.source, point)
    writer.close()
    while not (chunk := reader.read(writer.source, point)).finished or chunk.batches:
        found += numbers(chunk.batches)
        point = chunk.next
    assert found == confirmed, (len(found), len(confirmed))
    assert full > 3
    reader.release(writer.source, chunk.next)
    assert not list(disk.iterdir()), list(disk.iterdir())
print("equal")
"""
    mount = 'mount -t tmpfs -o size=128k cxgauge-test "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("equal\n", "")


PRODUCER = """
import os, sys
import numpy as np
from cxgauge.collectors.spool import SpoolWriter
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
writer = SpoolWriter(sys.argv[1], sync=sys.argv[2], segment_bytes=5_000, minimum_free_bytes=0)
number = int(sys.argv[3])
records = np.zeros(2, RECORD)
while True:
    records["observed_at_us"] = 2 * number, 2 * number + 1
    writer.append(ObservationBatch((SeriesKey("bill_inquiry", "bill_total"),), records))
    os.write(1, b"%d\\n" % number)
    number += 1
"""


@pytest.mark.parametrize("policy", ["always", "interval"])
def test_killed_producers_lose_and_double_nothing(tmp_path: Path, policy: str) -> None:
    chance, reader = random.Random(policy), SpoolReader(tmp_path)
    points: dict[str, ResumePoint] = {}
    found: list[int] = []
    confirmed: list[int] = []

    def read_all(limit: int) -> None:
        for source in reader.sources():
            chunk = reader.read(source, points.get(source, ResumePoint()), limit)
            assert all(problem.kind is ProblemKind.TORN for problem in chunk.problems)
            found.extend(numbers(chunk.batches))
            points[source] = chunk.next
            reader.release(source, chunk.next)

    for turn in range(6):
        command = [sys.executable, "-c", PRODUCER, str(tmp_path), policy, str(100_000 * turn)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as producer:
            assert producer.stdout is not None
            lines = [producer.stdout.readline()]
            end = time.monotonic() + chance.uniform(0, 0.15)
            while time.monotonic() < end:
                read_all(3_000)
            producer.send_signal(signal.SIGKILL)
            lines += producer.stdout.read().splitlines()
        confirmed += [int(line) for line in lines]
    while reader.sources():
        read_all(1 << 20)
    assert len(found) == len(set(found))
    for turn in range(6):
        mine = [number for number in found if number // 200_000 == turn]
        assert mine == sorted(mine)
    assert {2 * number + row for number in confirmed for row in (0, 1)} <= set(found)
    # Beyond what was confirmed there can be one append a turn whose confirmation was not printed any more.
    assert len(found) <= 2 * (len(confirmed) + 6)
