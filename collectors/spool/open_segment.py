"""The segment that a spool writer appends to."""

from __future__ import annotations

import contextlib
import errno
import threading
from pathlib import Path

from .files import Files
from .segment import NEW_SUFFIX, SEGMENT_SUFFIX, SegmentHeader

__all__ = ["OpenSegment", "create_segment"]


class OpenSegment:
    """An open segment.

    Attributes:
        start: Offset of the first record.
        written: Where the last whole record ends.
        synced: Up to where the content is on disk.
        created: When it was made, seconds since 1970.
        failed: Why it must not be appended to any more.
    """

    __slots__ = (
        "created",
        "descriptor",
        "failed",
        "files",
        "number",
        "path",
        "start",
        "sync_lock",
        "synced",
        "written",
    )

    def __init__(
        self, files: Files, descriptor: int, path: Path, *, number: int, size: int, start: int, created: float
    ) -> None:
        self.files = files
        self.descriptor = descriptor
        self.path = path
        self.number = number
        self.start = start
        self.written = self.synced = size
        self.created = created
        self.failed: OSError | None = None
        self.sync_lock = threading.Lock()

    def sync_to(self, end: int) -> None:
        """Return when everything before ``end`` is on disk.

        A failure is for ever: Linux reports a lost write once and then forgets it
        (https://wiki.postgresql.org/wiki/Fsync_Errors), so that asking again would be told that all is well.
        """
        with self.sync_lock:
            if self.failed is not None:
                raise self.failed
            if self.synced >= end:
                return
            reached = self.written
            try:
                self.files.sync(self.descriptor)
            except OSError as error:
                self.failed = error
                raise
            self.synced = reached


def create_segment(files: Files, source: Path, header: SegmentHeader, carried: bytes, *, created: float) -> OpenSegment:
    """Make a segment in the folder of its source, which readers see only once header and carried records are on disk.

    Args:
        files: System calls.
        source: The folder.
        header: The segment's header.
        carried: Records that the segment before could not keep.
        created: Now, seconds since 1970.

    Raises:
        OSError: the disk is full or failed; nothing is left of the segment.
    """
    path = source / f"{header.number:016d}{SEGMENT_SUFFIX}"
    new = path.with_name(path.name + NEW_SUFFIX)
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    descriptor = files.create(new)
    beginning = header.to_bytes()
    try:
        data = beginning + carried
        if files.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        files.sync(descriptor)
        files.rename(new, path)
        files.sync_directory(source)
    except OSError:
        files.close(descriptor)
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    return OpenSegment(
        files, descriptor, path, number=header.number, size=len(data), start=len(beginning), created=created
    )
