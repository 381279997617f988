"""When a spool takes nothing more: its size, the age of what nobody reads, the space left on the disk."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from .segment import SEGMENT_SUFFIX, SpoolFull

__all__ = ["SpoolLimits"]

_USAGE_SECONDS = 1.0  # how old the figure of the whole directory's size may be


class SpoolLimits:
    """Refuses appends at the limits; see ``SpoolWriter`` for what they mean. Used under the writer's lock."""

    def __init__(
        self,
        directory: Path,
        source: Path,
        *,
        maximum_bytes: int,
        maximum_age_seconds: float,
        minimum_free_bytes: int,
        clock: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._source = source
        self._maximum_bytes = maximum_bytes
        self._maximum_age = maximum_age_seconds
        self._minimum_free = minimum_free_bytes
        self._clock = clock
        self._used = self._free = 0
        self._looked_at = float("-inf")

    def add(self, size: int) -> None:
        """Count bytes written since the directory was looked at."""
        self._used += size
        self._free -= size

    def refuse(self, size: int) -> None:
        """Raise unless ``size`` more bytes may be written.

        Raises:
            SpoolFull: names the limit and the remedy.
        """
        now = time.monotonic()
        if now - self._looked_at >= _USAGE_SECONDS or self._beyond(size):
            self._used, self._free = _directory_bytes(self._directory), _free_bytes(self._directory)
            self._looked_at = now
            self._refuse_when_unread()
        if self._used + size > self._maximum_bytes:
            raise SpoolFull(
                f"the spool {self._directory} holds {self._used} bytes, maximum_bytes={self._maximum_bytes}; "
                "start the writer that reads it, or raise the limit"
            )
        if self._free - size < self._minimum_free:
            raise SpoolFull(
                f"{self._free} bytes are free under {self._directory}, minimum_free_bytes={self._minimum_free}; "
                "free some space"
            )

    def _beyond(self, size: int) -> bool:
        return self._used + size > self._maximum_bytes or self._free - size < self._minimum_free

    def _refuse_when_unread(self) -> None:
        segments = sorted(entry for entry in self._source.iterdir() if entry.name.endswith(SEGMENT_SUFFIX))
        if len(segments) < 2:  # the current one is closed by its age, and is read then
            return
        with contextlib.suppress(FileNotFoundError):
            age = self._clock() - segments[0].stat().st_mtime
            if age > self._maximum_age:
                self._looked_at = float("-inf")
                raise SpoolFull(
                    f"{segments[0]} has been waiting for {age:.0f} s, maximum_age_seconds={self._maximum_age:.0f}; "
                    "start the writer that reads it, or raise the limit"
                )


def _directory_bytes(directory: Path) -> int:
    """Bytes of all segments of all sources; what vanishes while counting is not counted."""
    total = 0
    with os.scandir(directory) as sources:
        for source in sources:
            with contextlib.suppress(OSError), os.scandir(source.path) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        total += entry.stat(follow_symlinks=False).st_size
    return total


def _free_bytes(directory: Path) -> int:
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize
