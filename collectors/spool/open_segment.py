"""The segment that a spool writer appends to."""

from __future__ import annotations

import threading
from pathlib import Path

from .files import Files

__all__ = ["OpenSegment"]


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
