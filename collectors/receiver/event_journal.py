"""A journal of accepted events on disk, from which they are written to the database.

One file a request: written beside its place, synced, renamed, and its folder synced before the request is answered,
so that accepted means on disk whether or not the database can be reached. A file is removed after its events are
committed. Events carry ids, so a file that is written again after a crash changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import psycopg
import structlog
from pydantic import TypeAdapter, ValidationError

from ...metrics.change_event import ChangeEvent
from ..spool.files import Files

__all__ = ["EventJournal", "JournalFullError"]

_EVENTS = TypeAdapter(tuple[ChangeEvent, ...])
_READY, _PARTIAL, _REFUSED = ".json", ".partial", ".refused"
_log = structlog.get_logger("cxgauge.events")


class JournalFullError(OSError):
    """Too many events wait for the database."""


class EventJournal:
    """Events that wait for the database; thread-safe within one process.

    Args:
        directory: Folder of the journal, made when it is first needed; its parent exists by then.
        files_limit: How many requests may wait; further ones are refused.
        files: System calls.
    """

    def __init__(self, directory: Path, *, files_limit: int = 10_000, files: Files | None = None) -> None:
        self.directory = directory
        self._limit = files_limit
        self._files = files or Files()
        self._lock = threading.Lock()
        self._last = 0
        self._remove_unfinished()

    def append(self, events: Sequence[ChangeEvent]) -> None:
        """Keep events; returns when they are on disk.

        Args:
            events: Each with its ``at`` and ``id``.

        Raises:
            JournalFullError: too many wait already.
            OSError: the disk failed; nothing is known to be kept.
        """
        if any(event.at is None or event.id is None for event in events):
            raise ValueError("an event has no time or no id; set both before it is kept")
        data = _EVENTS.dump_json(tuple(events))
        with self._lock:
            if not self.directory.is_dir():
                self.directory.mkdir(mode=0o770, parents=True)
                self._files.sync_directory(self.directory.parent)
            if len(self.waiting()) >= self._limit:
                raise JournalFullError(f"{self._limit} requests with events wait for the database already")
            self._last = max(time.time_ns(), self._last + 1)
            path = self.directory / f"{self._last:020d}-{os.getpid()}{_READY}"
            partial = path.with_suffix(_PARTIAL)
            try:
                self._write(partial, data)
                self._files.rename(partial, path)
            except OSError:
                partial.unlink(missing_ok=True)
                raise
            self._files.sync_directory(self.directory)

    def _remove_unfinished(self) -> None:
        """Remove what a killed process was writing: its request was never answered, and comes again."""
        with contextlib.suppress(OSError):
            for path in self.directory.glob(f"*{_PARTIAL}"):
                process = path.stem.rpartition("-")[2]
                if not process.isdecimal() or int(process) == os.getpid() or not _runs(int(process)):
                    path.unlink(missing_ok=True)
                    _log.info("removed an unfinished file of events", file=str(path))

    def _write(self, path: Path, data: bytes) -> None:
        descriptor = self._files.create(path)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._files.write(descriptor, rest) :]
            self._files.sync(descriptor)
        finally:
            self._files.close(descriptor)

    def waiting(self) -> list[Path]:
        """Files that wait, oldest first."""
        return sorted(self.directory.glob(f"*{_READY}")) if self.directory.is_dir() else []

    def drain(self, write: Callable[[Iterable[ChangeEvent]], None]) -> int:
        """Hand everything that waits to ``write``, request by request; what it returned from is removed.

        A file that cannot be read, or that the database will never take, is set aside and logged, so that it does
        not hold up what comes after it.

        Args:
            write: Commits events; what it raises ends the draining, the file stays.

        Returns:
            How many events were written.
        """
        count = 0
        for path in self.waiting():
            try:
                events = _EVENTS.validate_json(path.read_bytes())
                write(events)
            except (ValidationError, psycopg.DataError, psycopg.IntegrityError) as error:
                self._set_aside(path, error)
                continue
            path.unlink(missing_ok=True)
            count += len(events)
        return count

    def run(self, write: Callable[[Iterable[ChangeEvent]], None], stop: threading.Event, seconds: float = 1.0) -> None:
        """Drain every ``seconds`` until told to stop, then once more; while the database is away everything waits."""
        while not stop.wait(seconds):
            self._drain_quietly(write)
        self._drain_quietly(write)

    def _drain_quietly(self, write: Callable[[Iterable[ChangeEvent]], None]) -> None:
        try:
            self.drain(write)
        except (psycopg.Error, OSError) as error:
            _log.warning("events wait", error=f"{type(error).__name__}: {error}")

    def _set_aside(self, path: Path, error: Exception) -> None:
        aside = path.with_suffix(_REFUSED)
        path.rename(aside)
        _log.error("events set aside, they cannot be stored", file=str(aside), kind=type(error).__name__)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
