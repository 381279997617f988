"""The spool between one producer and one reader, on a real file system."""

import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cxgauge.collectors.spool import Chunk, ResumePoint, SpoolError, SpoolFull, SpoolReader, SpoolWriter
from cxgauge.collectors.spool.files import Files
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey

SERIES = (SeriesKey("bill_inquiry", "bill_total", (("channel", "app"),), ("total_present",)),)


def batch(first: int, count: int = 3) -> ObservationBatch:
    """A batch whose records are numbered from ``first`` in ``observed_at_us``."""
    records = np.zeros(count, RECORD)
    records["observed_at_us"] = np.arange(first, first + count)
    records["duration_seconds"] = 1.0
    return ObservationBatch(SERIES, records)


def numbers(batches: tuple[ObservationBatch, ...]) -> list[int]:
    return [int(number) for one in batches for number in one.records["observed_at_us"]]


def drain(reader: SpoolReader, source: str, limit_bytes: int = 1 << 22) -> tuple[list[int], Chunk]:
    """Read ``source`` from its start until there is nothing more."""
    found: list[int] = []
    point = ResumePoint()
    while True:
        chunk = reader.read(source, point, limit_bytes)
        found += numbers(chunk.batches)
        if chunk.next == point:
            return found, chunk
        point = chunk.next


def writer_in(path: Path, **options: object) -> SpoolWriter:
    return SpoolWriter(path, "test", minimum_free_bytes=0, **options)  # type: ignore[arg-type]


def test_what_is_appended_is_read_in_order(tmp_path: Path) -> None:
    with writer_in(tmp_path) as writer:
        writer.append(batch(0))
        writer.append_many([batch(3), batch(6)])
        reader = SpoolReader(tmp_path)
        assert reader.sources() == [writer.source]
        found, chunk = drain(reader, writer.source)
    assert found == list(range(9))
    assert chunk.lag_bytes == 0
    assert not chunk.finished
    assert chunk.problems == ()


def test_series_survive(tmp_path: Path) -> None:
    with writer_in(tmp_path) as writer:
        writer.append(batch(0))
        (one,) = SpoolReader(tmp_path).read(writer.source, ResumePoint()).batches
    assert one.series == SERIES


def test_a_small_limit_returns_one_record_at_a_time_and_all_in_the_end(tmp_path: Path) -> None:
    with writer_in(tmp_path) as writer:
        for first in range(0, 30, 3):
            writer.append(batch(first))
        assert numbers(SpoolReader(tmp_path).read(writer.source, ResumePoint(), 1).batches) == [0, 1, 2]
        found, _ = drain(SpoolReader(tmp_path), writer.source, 1)
    assert found == list(range(30))


def test_segments_rotate_by_size_and_the_reader_follows(tmp_path: Path) -> None:
    with writer_in(tmp_path, segment_bytes=700) as writer:
        for first in range(0, 60, 3):
            writer.append(batch(first))
        assert len(list((tmp_path / writer.source).glob("*.segment"))) == 20
        for limit in (1, 1000, 1 << 20):
            assert drain(SpoolReader(tmp_path), writer.source, limit)[0] == list(range(60))


def test_segments_rotate_by_age_also_without_appends(tmp_path: Path) -> None:
    now = [1_000.0]
    with writer_in(tmp_path, segment_age_seconds=60, clock=lambda: now[0]) as writer:
        writer.maintain()
        writer.append(batch(0))
        now[0] += 59
        writer.maintain()
        assert len(list((tmp_path / writer.source).glob("*.segment"))) == 1
        now[0] += 1
        writer.maintain()
        assert len(list((tmp_path / writer.source).glob("*.segment"))) == 2
        now[0] += 600
        writer.maintain()  # an empty segment is not closed: idle producers make no files
        assert len(list((tmp_path / writer.source).glob("*.segment"))) == 2


def test_a_closed_source_is_finished_and_released_as_a_whole(tmp_path: Path) -> None:
    reader = SpoolReader(tmp_path)
    with writer_in(tmp_path, segment_bytes=700) as writer:
        for first in range(0, 9, 3):
            writer.append(batch(first))
    chunk = reader.read(writer.source, ResumePoint())
    assert chunk.finished
    reader.release(writer.source, ResumePoint(chunk.next.segment, chunk.next.offset - 1))
    assert len(list((tmp_path / writer.source).glob("*.segment"))) == 1
    reader.release(writer.source, chunk.next)
    assert reader.sources() == []
    assert list(tmp_path.iterdir()) == []
    assert reader.read(writer.source, chunk.next).finished


def test_release_keeps_what_is_unread_and_the_live_segment(tmp_path: Path) -> None:
    reader = SpoolReader(tmp_path)
    with writer_in(tmp_path, segment_bytes=700) as writer:
        for first in range(0, 9, 3):
            writer.append(batch(first))
        first_chunk = reader.read(writer.source, ResumePoint(), 1)
        reader.release(writer.source, first_chunk.next)
        assert numbers(reader.read(writer.source, first_chunk.next).batches) == list(range(3, 9))
        end = reader.read(writer.source, first_chunk.next).next
        reader.release(writer.source, end)
        assert len(list((tmp_path / writer.source).glob("*.segment"))) == 1
        writer.append(batch(9))
        assert numbers(reader.read(writer.source, end).batches) == [9, 10, 11]


def test_sources_of_one_process_are_told_apart(tmp_path: Path) -> None:
    with writer_in(tmp_path) as one, writer_in(tmp_path) as two:
        one.append(batch(0))
        two.append(batch(100))
        assert SpoolReader(tmp_path).sources() == [one.source, two.source]
        assert drain(SpoolReader(tmp_path), two.source)[0] == [100, 101, 102]


def test_backlog_counts_from_the_resume_point(tmp_path: Path) -> None:
    reader = SpoolReader(tmp_path)
    assert reader.backlog() == []
    with writer_in(tmp_path) as writer:
        writer.append(batch(0))
        (before,) = reader.backlog()
        point = reader.read(writer.source, ResumePoint()).next
        (after,) = reader.backlog({writer.source: point})
        assert before.producer_lives
        assert before.unread_bytes == point.offset
        assert before.oldest_at is not None
        assert (after.unread_bytes, after.oldest_at, after.segments) == (0, None, 1)
    assert not reader.backlog()[0].producer_lives


def test_the_size_limit_refuses_and_reading_makes_room(tmp_path: Path) -> None:
    reader = SpoolReader(tmp_path)
    with writer_in(tmp_path, segment_bytes=700, maximum_bytes=3_000) as writer:
        accepted, refusal = 0, ""
        while not refusal:
            try:
                writer.append(batch(accepted))
                accepted += 3
            except SpoolFull as full:
                refusal = str(full)
        assert re.fullmatch(
            rf"the spool {tmp_path} holds \d+ bytes, maximum_bytes=3000; "
            "start the writer that reads it, or raise the limit",
            refusal,
        )
        found, chunk = drain(reader, writer.source)
        assert found == list(range(accepted))
        assert accepted > 0
        reader.release(writer.source, chunk.next)
        writer.append(batch(accepted))
        assert numbers(reader.read(writer.source, chunk.next).batches) == list(range(accepted, accepted + 3))


def test_the_age_limit_refuses_when_nobody_reads(tmp_path: Path) -> None:
    ahead = [0.0]
    with writer_in(
        tmp_path, segment_bytes=700, maximum_age_seconds=3600, clock=lambda: time.time() + ahead[0]
    ) as writer:
        writer.append(batch(0))
        writer.append(batch(3))
        ahead[0] = 3700
        writer._limits._looked_at = float("-inf")
        with pytest.raises(SpoolFull, match=r"has been waiting for 37\d\d s, maximum_age_seconds=3600; start the"):
            writer.append(batch(6))
        assert drain(SpoolReader(tmp_path), writer.source)[0] == list(range(6))


def test_too_little_free_space_refuses(tmp_path: Path) -> None:
    text = r"\d+ bytes are free under .*, minimum_free_bytes=1152921504606846976; free some space"
    with SpoolWriter(tmp_path, minimum_free_bytes=1 << 60) as writer, pytest.raises(SpoolFull, match=text):
        writer.append(batch(0))


def test_a_batch_beyond_the_record_limit_is_refused_whole(tmp_path: Path) -> None:
    with writer_in(tmp_path) as writer:
        with pytest.raises(ValueError, match=r"does not fit into a spool record \(16777216 bytes\); split it"):
            writer.append_many([batch(0), batch(3, 200_000)])
        assert drain(SpoolReader(tmp_path), writer.source)[0] == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "a/b"}, "name='a/b' cannot name a spool source; use up to 64 of A-Z a-z 0-9 _ . -"),
        ({"sync": "never"}, "sync='never' is not a policy; use 'always' or 'interval'"),
        ({"segment_bytes": 0}, "segment_bytes=0 must be more than 0"),
    ],
)
def test_options_are_checked(tmp_path: Path, options: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        SpoolWriter(tmp_path, **options)  # type: ignore[arg-type]
    assert str(caught.value) == text


def test_a_closed_writer_refuses(tmp_path: Path) -> None:
    writer = writer_in(tmp_path)
    writer.close()
    writer.close()
    with pytest.raises(SpoolError) as caught:
        writer.append(batch(0))
    assert str(caught.value) == f"the source {writer.source} is closed"


def test_a_directory_that_cannot_be_made_is_a_spool_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match=r"the spool .*/file/spool cannot be written: .*Not a directory"):
        writer_in(tmp_path / "file" / "spool")


@pytest.mark.parametrize("name", ["../x", "", "corrupt", ".creating-x"])
def test_names_that_are_no_sources_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpoolError, match="is not the name of a source in"):
        SpoolReader(tmp_path).read(name, ResumePoint())


def test_what_a_producer_left_that_ended_while_it_made_its_source_is_removed(tmp_path: Path) -> None:
    class Dying(Files):
        def lock(self, path: Path) -> int:
            path.touch()  # its lock ends with a process
            return -1

        def rename(self, old: Path, new: Path) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer_in(tmp_path, files=Dying())
    with writer_in(tmp_path) as living:
        (left,) = tmp_path.glob(".creating-*")
        being_made = tmp_path / ".creating-living"
        being_made.mkdir()
        lock = Files().lock(being_made / "lock")
        reader = SpoolReader(tmp_path)
        made = left.stat().st_mtime
        reader.remove_unborn(before=made - 1)
        assert left.is_dir()
        reader.remove_unborn(before=made + 3600)
        assert not left.exists()
        assert (being_made / "lock").is_file()  # somebody holds its lock
        assert reader.sources() == [living.source]
        Files().close(lock)
        reader.remove_unborn(before=made + 3600)
        assert not being_made.exists()
    SpoolReader(tmp_path / "nothing").remove_unborn(before=made)


def test_many_threads_append_and_a_reader_follows(tmp_path: Path) -> None:
    reader, found, threads = SpoolReader(tmp_path), [], 4
    with writer_in(tmp_path, segment_bytes=5_000) as writer:

        def append(base: int) -> None:
            for position in range(60):
                writer.append(batch(base + position, 1))

        workers = [threading.Thread(target=append, args=(1000 * index,)) for index in range(threads)]
        for worker in workers:
            worker.start()
        point = ResumePoint()
        while any(worker.is_alive() for worker in workers) or point != reader.read(writer.source, point).next:
            chunk = reader.read(writer.source, point, 2_000)
            assert chunk.problems == ()
            found += numbers(chunk.batches)
            point = chunk.next
            reader.release(writer.source, point)
    assert sorted(found) == sorted(1000 * index + position for index in range(threads) for position in range(60))
    for index in range(threads):
        mine = [number for number in found if number // 1000 == index]
        assert mine == sorted(mine)


def test_the_interval_policy_syncs_in_the_background(tmp_path: Path) -> None:
    synced = threading.Event()

    class Watching(Files):
        def sync(self, descriptor: int) -> None:
            super().sync(descriptor)
            synced.set()

    with writer_in(tmp_path, sync="interval", sync_interval_seconds=0.01, files=Watching()) as writer:
        synced.clear()
        writer.append(batch(0))
        assert synced.wait(30)
        assert drain(SpoolReader(tmp_path), writer.source)[0] == [0, 1, 2]
