"""The journal of events: accepted means on disk, written at least once, nothing holds up what comes after."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from cxgauge.collectors.receiver.event_journal import EventJournal, JournalFullError
from cxgauge.collectors.spool.files import Files
from cxgauge.metrics.change_event import ChangeEvent

AT = datetime(2026, 1, 1, tzinfo=UTC)


def event(name: str) -> ChangeEvent:
    return ChangeEvent(kind="deployment", title=name, at=AT, id=name)


class Database:
    """What was committed; ``failing`` raises for events of these names."""

    def __init__(self, failing: dict[str, Exception] | None = None) -> None:
        self.rows: list[str] = []
        self.failing = failing or {}

    def write(self, events: Iterable[ChangeEvent]) -> None:
        names = [each.title for each in events]
        for name in names:
            if name in self.failing:
                raise self.failing[name]
        self.rows += names


def test_what_was_kept_is_written_once_in_order_by_the_next_process(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path / "events")
    for name in "cab":
        journal.append([event(name), event(name + "2")])
    database = Database()
    assert EventJournal(tmp_path / "events").drain(database.write) == 6
    assert database.rows == ["c", "c2", "a", "a2", "b", "b2"]
    assert journal.drain(database.write) == 0
    assert list((tmp_path / "events").iterdir()) == []


def test_while_the_database_is_away_everything_waits(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path / "events")
    journal.append([event("a")])
    journal.append([event("b")])
    away = Database({"b": psycopg.OperationalError("away")})
    with pytest.raises(psycopg.OperationalError):
        journal.drain(away.write)
    assert away.rows == ["a"]
    away.failing.clear()
    assert journal.drain(away.write) == 1
    assert away.rows == ["a", "b"]


def test_what_can_never_be_written_is_set_aside(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path / "events")
    for name in "abc":
        journal.append([event(name)])
    journal.waiting()[0].write_bytes(b"torn")
    database = Database({"b": psycopg.DataError("never")})
    assert journal.drain(database.write) == 1
    assert database.rows == ["c"]
    assert [path.suffix for path in sorted((tmp_path / "events").iterdir())] == [".refused", ".refused"]


def test_the_last_round_comes_after_the_end(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path / "events")
    journal.append([event("a")])
    database, stop = Database(), threading.Event()
    stop.set()
    journal.run(database.write, stop)
    assert database.rows == ["a"]


def test_it_is_bounded(tmp_path: Path) -> None:
    journal = EventJournal(tmp_path / "events", files_limit=2)
    journal.append([event("a")])
    journal.append([event("b")])
    with pytest.raises(JournalFullError) as full:
        journal.append([event("c")])
    assert str(full.value) == "2 requests with events wait for the database already"
    assert len(journal.waiting()) == 2


class _Failing(Files):
    """Writes a byte at a time, and fails at ``step``."""

    def __init__(self, step: str) -> None:
        self.step = step

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        if self.step == "write" and len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(descriptor, data[:1])

    def sync(self, descriptor: int) -> None:
        if self.step == "sync":
            raise OSError(errno.EIO, "Input/output error")
        super().sync(descriptor)


@pytest.mark.parametrize("step", ["write", "sync"])
def test_a_failing_disk_keeps_nothing_and_says_so(tmp_path: Path, step: str) -> None:
    journal = EventJournal(tmp_path / "events", files=_Failing(step))
    with pytest.raises(OSError, match=r"No space|Input/output"):
        journal.append([event("a")])
    assert list((tmp_path / "events").iterdir()) == []
    working = EventJournal(tmp_path / "events", files=_Failing(""))
    working.append([event("a")])
    database = Database()
    assert working.drain(database.write) == 1


def test_an_event_without_id_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="an event has no time or no id; set both before it is kept"):
        EventJournal(tmp_path / "events").append([ChangeEvent(kind="incident", title="x")])


def test_what_a_killed_process_left_half_written_is_removed_at_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    script = f"""
import os, signal
from pathlib import Path
from datetime import UTC, datetime
from cxgauge.collectors.receiver.event_journal import EventJournal
from cxgauge.collectors.spool.files import Files
from cxgauge.metrics.change_event import ChangeEvent

class Killed(Files):
    def sync(self, descriptor):
        os.kill(os.getpid(), signal.SIGKILL)

event = ChangeEvent(kind="deployment", title="a", at=datetime(2026, 1, 1, tzinfo=UTC), id="a")
EventJournal(Path({str(folder)!r}), files=Killed()).append([event])
"""
    folder.mkdir()
    killed = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    [left] = folder.iterdir()
    assert left.suffix == ".partial"
    of_another = folder / f"{1:020d}-{os.getppid()}.partial"  # a process that runs may still be writing
    of_another.write_bytes(b"[")
    journal = EventJournal(folder)
    assert list(folder.iterdir()) == [of_another]
    journal.append([event("b")])
    database = Database()
    assert journal.drain(database.write) == 1
    assert database.rows == ["b"]
