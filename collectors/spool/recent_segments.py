"""The receiver's newest spool segments, kept by a second name, so that a restart still knows what was received.

A sender whose request was stored but not answered, because the receiver was killed in between, sends it again. The
window of seen spans must then be what it was, whether or not the writer has moved those segments to the database
and deleted them meanwhile. A hard link made before the first record costs nothing and cannot be too late.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ...metrics.observation import ObservationBatch
from ..receiver.duplicate_window import DuplicateWindow
from .files import Files
from .segment import SegmentHeader, records_in

__all__ = ["KEEP_SECONDS", "LinkingFiles", "RecentSegments"]

KEEP_SECONDS = 900.0
"""How long after its last record a segment is kept; OpenTelemetry senders retry for minutes at most."""

_SEGMENT = ".segment"


class LinkingFiles(Files):
    """System calls of a spool writer that give each new segment a second name in ``directory`` first."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def rename(self, old: Path, new: Path) -> None:
        """Rename as asked; a file that becomes a segment is linked before readers can see it."""
        if new.name.endswith(_SEGMENT):
            kept = self._directory / f"{new.parent.name}-{new.name}"
            with contextlib.suppress(FileExistsError):
                os.link(old, kept)
        super().rename(old, new)


class RecentSegments:
    """The kept segments of all sources that this receiver and those before it wrote.

    Args:
        directory: Where they are; on the file system of the spool.
        bytes_limit: Most bytes kept beside what is being written; the oldest go first.
    """

    def __init__(self, directory: Path, bytes_limit: int) -> None:
        directory.mkdir(mode=0o770, parents=True, exist_ok=True)
        self.directory = directory
        self._bytes_limit = bytes_limit

    def files(self) -> Files:
        """System calls for the spool writer whose segments are to be kept."""
        return LinkingFiles(self.directory)

    def seed(self, window: DuplicateWindow) -> int:
        """Let ``window`` remember the spans in all kept segments, oldest first; how many observations it saw."""
        seen = 0
        for path in self._oldest_first():
            with contextlib.suppress(OSError, ValueError):  # a damaged segment: what it held is not recognised
                data = memoryview(path.read_bytes())
                header = SegmentHeader.from_bytes(bytes(data[:4096]))
                for payload, _ in records_in(data[header.size :]):
                    if payload is None:
                        break
                    records = ObservationBatch.from_bytes(payload).records
                    window.admit(records["trace_id"], records["span_id"])
                    seen += len(records)
        return seen

    def tidy(self, now: float) -> None:
        """Delete what is older than :data:`KEEP_SECONDS`, and the oldest beyond the limit of bytes."""
        total = 0
        for path in reversed(self._oldest_first()):
            with contextlib.suppress(OSError):
                status = path.stat()
                total += status.st_size
                if now - status.st_mtime > KEEP_SECONDS or total > self._bytes_limit:
                    path.unlink()

    def make_room(self) -> None:
        """Delete every segment that the writer is done with: the disk is full, and taking new data matters more."""
        for path in self._oldest_first():
            with contextlib.suppress(OSError):
                if path.stat().st_nlink == 1:
                    path.unlink()

    def _oldest_first(self) -> list[Path]:
        found = []
        for path in self.directory.iterdir():
            with contextlib.suppress(OSError):
                if path.name.endswith(_SEGMENT):
                    found.append((path.stat().st_mtime_ns, path.name, path))
        return [path for _, _, path in sorted(found)]
