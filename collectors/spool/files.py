"""The few operating system calls that the spool writes with, in one replaceable place.

Tests put a layer here that fails, stalls or forgets what was not synced; production uses :class:`Files`.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = ["Files", "producer_lives"]


class Files:
    """System calls of the spool's writing side. File descriptors are not inherited by ``exec``."""

    def create(self, path: Path) -> int:
        """Create ``path``, which must not exist, for reading and appending."""
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o660)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Write once; may write less than asked, as the system call does."""
        return os.write(descriptor, data)

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        """Read up to ``size`` bytes at ``offset``."""
        return os.pread(descriptor, size, offset)

    def sync(self, descriptor: int) -> None:
        """Return when the file's content is on disk."""
        os.fdatasync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        os.ftruncate(descriptor, size)

    def close(self, descriptor: int) -> None:
        """Close the descriptor."""
        os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Rename within one file system, replacing nothing."""
        old.rename(new)

    def make_directory(self, path: Path) -> None:
        """Create one directory; its parent exists."""
        path.mkdir(mode=0o770)

    def sync_directory(self, path: Path) -> None:
        """Return when the directory's entries are on disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, path: Path) -> int:
        """Create and lock ``path`` for the life of this process; returns the descriptor that holds the lock."""
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o660)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


def producer_lives(lock_path: Path) -> bool:
    """Whether some process holds the lock; a missing lock file means that none does."""
    try:
        descriptor = os.open(lock_path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two readers who ask at the same time do not take each other for a producer.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
