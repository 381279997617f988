"""The writing side of the spool: one source, owned by one process from start to end."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...metrics.observation import ObservationBatch
from .files import Files
from .limits import SpoolLimits
from .open_segment import OpenSegment, create_segment
from .segment import (
    CREATING_PREFIX,
    LOCK_NAME,
    SegmentHeader,
    SpoolError,
    SpoolFull,
    frame,
)

if TYPE_CHECKING:
    from ...metrics.configuration.config import SpoolConfig

__all__ = ["SpoolWriter", "SyncPolicy"]

SyncPolicy = Literal["always", "interval"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MIB = 1024 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT)


class SpoolWriter:
    """Appends batches to a source of its own in a spool directory; safe to call from several threads.

    Args:
        directory: The spool; made when missing. Readers watch it.
        name: What the source is called; the process id, the time and random digits are added, so that a
            restarted or second process never continues a source of another.
        sync: ``always``: :meth:`append` returns when the batch is on disk; threads that append at the same time share
            a sync. ``interval``: it returns when the operating system has the batch, and a thread syncs every
            ``sync_interval_seconds``: killing the process loses nothing, a power failure loses at most what was
            appended in the last interval (and while a sync was under way).
        sync_interval_seconds: See ``sync``.
        segment_bytes: A segment is closed when it has reached this size …
        segment_age_seconds: … or this age, so that readers can delete it.
        maximum_bytes: Size of the whole directory, of all its sources, at which appends are refused. Other processes'
            bytes are counted once a second, so that they can overshoot together by what they write in a second.
        maximum_age_seconds: Age of this source's oldest segment at which appends are refused: nobody reads the spool.
        minimum_free_bytes: Appends are refused when the file system has less space left for the host.
        files: System calls; for tests.
        clock: Seconds since 1970; for tests.

    Raises:
        ValueError: a name or limit that makes no sense.
        SpoolError: the directory cannot be made, locked or written.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        name: str = "spool",
        *,
        sync: SyncPolicy = "always",
        sync_interval_seconds: float = 1.0,
        segment_bytes: int = 16 * _MIB,
        segment_age_seconds: float = 60.0,
        maximum_bytes: int = 1024 * _MIB,
        maximum_age_seconds: float = 7 * 86_400.0,
        minimum_free_bytes: int = 64 * _MIB,
        files: Files | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if sync not in ("always", "interval"):
            raise ValueError(f"sync={sync!r} is not a policy; use 'always' or 'interval'")
        if not _NAME.fullmatch(name):
            raise ValueError(f"name={name!r} cannot name a spool source; use up to 64 of A-Z a-z 0-9 _ . -")
        for limit, value in (
            ("sync_interval_seconds", sync_interval_seconds),
            ("segment_bytes", segment_bytes),
            ("segment_age_seconds", segment_age_seconds),
            ("maximum_bytes", maximum_bytes),
            ("maximum_age_seconds", maximum_age_seconds),
        ):
            if value <= 0:
                raise ValueError(f"{limit}={value} must be more than 0")
        self.directory = Path(directory)
        self.source = f"{name}-{time.time_ns():x}-{os.getpid()}-{secrets.token_hex(3)}"
        self.sync_policy = sync
        self._interval = sync_interval_seconds
        self._segment_bytes = segment_bytes
        self._segment_age = segment_age_seconds
        self._files = files or Files()
        self._clock = clock
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._syncer: threading.Thread | None = None
        self.disk_errors = 0
        self._path = self.directory / self.source
        self._limits = SpoolLimits(
            self.directory,
            self._path,
            maximum_bytes=maximum_bytes,
            maximum_age_seconds=maximum_age_seconds,
            minimum_free_bytes=minimum_free_bytes,
            clock=clock,
        )
        try:
            self._open_source()
        except OSError as error:
            raise SpoolError(f"the spool {self.directory} cannot be written: {error}") from error
        _OPEN.add(self)

    @classmethod
    def from_config(cls, config: SpoolConfig, name: str) -> SpoolWriter:
        """Open a source called ``name`` as the configuration's section ``spool`` says.

        Raises:
            SpoolError: the directory cannot be made, locked or written.
        """
        return cls(
            config.directory,
            name,
            sync=config.fsync,
            sync_interval_seconds=config.fsync_interval_seconds,
            segment_bytes=config.segment_bytes,
            segment_age_seconds=config.segment_age_seconds,
            maximum_bytes=config.limit_bytes,
            maximum_age_seconds=config.age_limit_seconds,
            minimum_free_bytes=config.minimum_free_bytes,
        )

    def append(self, batch: ObservationBatch) -> None:
        """Append one batch; when this returns, it is kept as the sync policy says.

        Raises:
            SpoolFull: a limit is reached or the disk is full; nothing was kept.
            SpoolError: the disk failed; whether a reader will see the batch is not known.
            ValueError: the batch is larger than a record may be.
        """
        self.append_many((batch,))

    def append_many(self, batches: Sequence[ObservationBatch]) -> None:
        """Append several batches with one write and at most one sync; all of them or none.

        Raises:
            SpoolFull: as for :meth:`append`.
            SpoolError: as for :meth:`append`.
            ValueError: as for :meth:`append`.
        """
        data = b"".join(frame(batch.to_bytes()) for batch in batches)
        if not data:
            return
        with self._lock:
            segment = self._writable(len(data))
            self._write(segment, data)
            end = segment.written
        if self.sync_policy == "always":
            self._confirm(segment, end)
        elif self._syncer is None:
            self._start_syncer()

    def sync(self) -> None:
        """Return when everything appended so far is on disk.

        Raises:
            SpoolError: the disk failed, also in a new segment.
        """
        with self._lock:
            segment, end = self._segment, self._segment.written
        self._confirm(segment, end)

    def maintain(self) -> None:
        """Close the current segment if it is old enough, also when nothing is appended any more.

        Raises:
            SpoolError: the disk failed.
        """
        with self._lock:
            if not self._closed.is_set() and self._due(self._segment):
                self._rotate()

    def close(self) -> None:
        """Sync, close and give up the source; readers then know that it is complete. May be called twice.

        Raises:
            SpoolError: the last sync failed.
        """
        with self._lock:
            if self._closed.is_set() or self._pid != os.getpid():
                return
            try:
                self.sync()
            finally:
                self._closed.set()
                self._release_descriptors()

    def __enter__(self) -> SpoolWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Segments

    def _open_source(self) -> None:
        if not self.directory.is_dir():
            self.directory.mkdir(mode=0o770, parents=True, exist_ok=True)
            self._files.sync_directory(self.directory.parent)
        # Readers take an unlocked source for a dead one, so it gets its name only once it is locked.
        hidden = self.directory / f"{CREATING_PREFIX}{self.source}"
        self._files.make_directory(hidden)
        self._lock_descriptor = self._files.lock(hidden / LOCK_NAME)
        self._files.rename(hidden, self._path)
        self._files.sync_directory(self.directory)
        self._segment = self._create_segment(1, previous_end=0, carried=b"")

    def _create_segment(self, number: int, *, previous_end: int, carried: bytes) -> OpenSegment:
        now = self._clock()
        header = SegmentHeader(number, self.source, int(now * 1_000_000), previous_end, len(carried))
        segment = create_segment(self._files, self._path, header, carried, created=now)
        self._limits.add(segment.written)
        return segment

    def _writable(self, size: int) -> OpenSegment:
        """The segment to append ``size`` bytes to, after limits and rotation."""
        if self._pid != os.getpid():
            raise SpoolError(f"the source {self.source} belongs to process {self._pid}; open a writer after the fork")
        if self._closed.is_set():
            raise SpoolError(f"the source {self.source} is closed")
        self._limits.refuse(size)
        if self._segment.failed is not None:
            self._replace(self._segment)
        elif self._due(self._segment) or self._segment.written + size > max(
            self._segment_bytes, self._segment.start + size
        ):
            self._rotate()
        return self._segment

    def _due(self, segment: OpenSegment) -> bool:
        return segment.written > segment.start and self._clock() - segment.created >= self._segment_age

    def _rotate(self) -> None:
        old = self._segment
        try:
            old.sync_to(old.written)
        except OSError:
            self._replace(old)
            return
        try:
            self._segment = self._create_segment(old.number + 1, previous_end=old.written, carried=b"")
        except OSError as error:
            kind = SpoolFull if error.errno in _FULL else SpoolError
            raise kind(f"no new segment can be made in {self._path}: {error}") from error
        self._close_quietly(old)

    def _replace(self, old: OpenSegment) -> None:
        """Leave a segment whose sync failed: repeat what was not synced in a new one."""
        self.disk_errors += 1
        try:
            carried = self._files.read(old.descriptor, old.written - old.synced, old.synced)
            if len(carried) != old.written - old.synced:
                raise OSError(errno.EIO, "what was written cannot be read back")
            new = self._create_segment(old.number + 1, previous_end=old.synced, carried=carried)
        except OSError as error:
            kind = SpoolFull if error.errno in _FULL else SpoolError
            raise kind(f"the disk under {old.path} failed, and a new segment as well: {error}") from error
        self._segment = new
        self._close_quietly(old)

    # Bytes

    def _write(self, segment: OpenSegment, data: bytes) -> None:
        try:
            written = self._files.write(segment.descriptor, data)
            if written != len(data):
                raise OSError(errno.ENOSPC, f"No space left on device: {written} of {len(data)} bytes were written")
        except OSError as error:
            self._cut(segment, error)
            if error.errno in _FULL:
                raise SpoolFull(f"no space left for {segment.path}: {error}") from error
            raise SpoolError(f"writing {segment.path} failed: {error}") from error
        segment.written += len(data)
        self._limits.add(len(data))

    def _cut(self, segment: OpenSegment, cause: OSError) -> None:
        """Remove what a failed write left; where that fails too, the next segment states where this one ends."""
        try:
            self._files.truncate(segment.descriptor, segment.written)
        except OSError:
            segment.failed = cause

    def _confirm(self, segment: OpenSegment, end: int) -> None:
        try:
            segment.sync_to(end)
        except OSError as error:
            with self._lock:
                if self._segment is segment:
                    try:
                        self._replace(segment)
                    except SpoolError as failure:
                        self._disown(segment)
                        raise SpoolError(str(failure)) from error  # a reader may have seen it: not merely refused
                if end > segment.written:  # another thread's attempt gave our record up
                    raise SpoolError(f"the disk under {segment.path} failed: {error}") from error

    def _disown(self, segment: OpenSegment) -> None:
        """Forget records whose appends are about to raise, so that a later segment does not repeat them."""
        if self.sync_policy == "always":
            segment.written = segment.synced
            with contextlib.suppress(OSError):
                self._files.truncate(segment.descriptor, segment.written)

    # Background sync

    def _start_syncer(self) -> None:
        with self._lock:
            if self._syncer is None:
                self._syncer = threading.Thread(target=_sync_regularly, args=(weakref.ref(self),), daemon=True)
                self._syncer.name = "cxgauge-spool-sync"
                self._syncer.start()

    def _release_descriptors(self) -> None:
        self._close_quietly(self._segment)
        # Forgotten before it is closed: the number may be somebody else's file at once, and forks close what is kept.
        descriptor, self._lock_descriptor = self._lock_descriptor, -1
        with contextlib.suppress(OSError):
            self._files.close(descriptor)

    def _close_quietly(self, segment: OpenSegment) -> None:
        with segment.sync_lock, contextlib.suppress(OSError):
            descriptor, segment.descriptor = segment.descriptor, -1
            self._files.close(descriptor)

    def _after_fork_in_child(self) -> None:
        # The lock belongs to the open file, not to the process: a child that kept it would make its dead parent's
        # source look alive. Closing does not unlock it for the parent.
        for descriptor in (self._segment.descriptor, self._lock_descriptor):
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _sync_regularly(reference: weakref.ref[SpoolWriter]) -> None:
    while True:
        writer = reference()
        if writer is None or writer._closed.wait(writer._interval):
            return
        with contextlib.suppress(SpoolError, OSError, ValueError):
            writer.sync()
        del writer


_OPEN: weakref.WeakSet[SpoolWriter] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for writer in list(_OPEN):
        writer._after_fork_in_child()
    _OPEN.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
