"""The reading side of the spool: one reader at a time, which commits what it read together with its resume points."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...metrics.observation import ObservationBatch
from .files import producer_lives
from .segment import (
    CREATING_PREFIX,
    FRAME_BYTES,
    HEADER_BYTES_LIMIT,
    LOCK_NAME,
    NEW_SUFFIX,
    SEGMENT_SUFFIX,
    Chunk,
    ProblemKind,
    ResumePoint,
    SegmentHeader,
    SpoolError,
    SpoolProblem,
    next_whole_record,
    records_in,
)

__all__ = ["CORRUPT_SEGMENTS_LIMIT", "SourceBacklog", "SpoolReader"]

CORRUPT = "corrupt"
CORRUPT_SEGMENTS_LIMIT = 16


@dataclass(frozen=True, slots=True)
class SourceBacklog:
    """What of one source is on disk.

    Attributes:
        source: The source.
        producer_lives: Whether its process still runs.
        segments: Number of segments.
        unread_bytes: Bytes beyond the given resume point.
        oldest_at: When the oldest segment with unread bytes was last written, seconds since 1970; None without any.
    """

    source: str
    producer_lives: bool
    segments: int
    unread_bytes: int
    oldest_at: float | None


class SpoolReader:
    """Reads all sources of a spool directory. Any number may look; only one may :meth:`release`."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)

    def sources(self) -> list[str]:
        """Names of the sources there are, oldest first; empty when the directory does not exist yet."""
        try:
            with os.scandir(self.directory) as entries:
                names = [entry.name for entry in entries if entry.is_dir() and entry.name != CORRUPT]
        except FileNotFoundError:
            return []
        found = [name for name in names if not name.startswith(CREATING_PREFIX)]
        return sorted(found, key=lambda name: (self._started_ns(name), name))

    def _started_ns(self, source: str) -> int:
        try:
            return (self.directory / source / LOCK_NAME).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def read(self, source: str, point: ResumePoint, limit_bytes: int = 4 * 1024 * 1024) -> Chunk:
        """Read on from ``point``: about ``limit_bytes``, at least one record where there is one.

        Reading changes nothing but that a corrupt segment gets a second name in ``corrupt/``: reading again from the
        same point returns the same batches first.

        Raises:
            SpoolError: the disk cannot be read, or ``source`` is not the name of a source.
        """
        path = self._path(source)
        try:
            return _Reading(self, source, path, limit_bytes).run(point)
        except OSError as error:
            raise SpoolError(f"the source {path} cannot be read: {error}") from error

    def release(self, source: str, point: ResumePoint) -> None:
        """Delete what a committed ``point`` has left behind; the whole source when its producer is gone too.

        Raises:
            SpoolError: the files cannot be deleted.
        """
        path = self._path(source)
        try:
            lives = producer_lives(path / LOCK_NAME)
            numbers = _segment_numbers(path)
            for number in [number for number in numbers if number < point.segment]:
                _segment_path(path, number).unlink(missing_ok=True)
            left = [number for number in numbers if number >= point.segment]
            if lives or len(left) > 1:
                return
            if left and _segment_path(path, left[0]).stat().st_size > (point.offset if left[0] == point.segment else 0):
                return
            _remove_source(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise SpoolError(f"the source {path} cannot be deleted: {error}") from error

    def remove_unborn(self, before: float) -> None:
        """Delete what producers left that ended while they made their source, if it has not changed since ``before``.

        Args:
            before: Seconds since 1970. Some time ago: for an instant a folder that is being made is not locked yet.

        Raises:
            SpoolError: the files cannot be deleted.
        """
        try:
            for path in self.directory.glob(f"{CREATING_PREFIX}*"):
                if path.stat().st_mtime < before and not producer_lives(path / LOCK_NAME):
                    _remove_source(path)
        except FileNotFoundError:
            return  # it was finished, or another reader was faster; the next call goes on
        except OSError as error:
            raise SpoolError(f"unfinished sources in {self.directory} cannot be deleted: {error}") from error

    def backlog(self, points: Mapping[str, ResumePoint] | None = None) -> list[SourceBacklog]:
        """What is on disk, by source; ``points`` are the committed resume points, else all is unread."""
        found = []
        for source in self.sources():
            path = self.directory / source
            point = (points or {}).get(source, ResumePoint())
            unread, oldest, numbers = 0, None, _segment_numbers(path)
            for number in numbers:
                if number < point.segment:
                    continue
                with contextlib.suppress(FileNotFoundError):
                    status = _segment_path(path, number).stat()
                    size = status.st_size - (point.offset if number == point.segment else 0)
                    if size > 0 and oldest is None:
                        oldest = status.st_mtime
                    unread += max(0, size)
            found.append(SourceBacklog(source, producer_lives(path / LOCK_NAME), len(numbers), unread, oldest))
        return found

    def _path(self, source: str) -> Path:
        if not source or source != Path(source).name or source == CORRUPT or source.startswith("."):
            raise SpoolError(f"{source!r} is not the name of a source in {self.directory}")
        return self.directory / source

    def set_aside(self, path: Path) -> str:
        """Give a corrupt segment a second name that :meth:`release` does not delete; the newest few are kept."""
        folder = self.directory / CORRUPT
        kept = folder / f"{path.parent.name}-{path.name}"
        try:
            folder.mkdir(mode=0o770, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                kept.hardlink_to(path)
            aside = sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime)
            for old in aside[:-CORRUPT_SEGMENTS_LIMIT]:
                old.unlink(missing_ok=True)
        except OSError as error:
            return f"it could not be set aside: {error}"
        return f"set aside as {kept}"


class _Reading:
    """One call of :meth:`SpoolReader.read`."""

    def __init__(self, reader: SpoolReader, source: str, path: Path, limit: int) -> None:
        self.reader = reader
        self.source = source
        self.path = path
        self.budget = limit
        # Asked before looking at the files: what a dead producer left is then complete.
        self.lives = producer_lives(path / LOCK_NAME)
        self.numbers = _segment_numbers(path)
        self.batches: list[ObservationBatch] = []
        self.problems: list[SpoolProblem] = []

    def run(self, point: ResumePoint) -> Chunk:
        numbers = [number for number in self.numbers if number >= point.segment]
        if not numbers:
            return Chunk((), point, finished=not self.lives)
        if numbers[0] != point.segment:
            if numbers[0] > point.segment + 1 or point.offset:
                detail = f"segments before {numbers[0]} of {self.source} are gone and were not read"
                self._report(ProblemKind.MISSING, max(point.segment, 1), point.offset, 0, detail)
            point = ResumePoint(numbers[0], 0)
        for number, following in zip(numbers, [*numbers[1:], None], strict=True):
            header = None if following is None else self._header(following)
            offset, at_end = self._read_segment(number, point.offset, following, header)
            point = ResumePoint(number, offset)
            if following is None or not at_end:
                break
            # A following segment may begin with a copy of bytes that were already read here.
            skipped = 0 if header is None else min(max(0, offset - header.previous_end), header.carried)
            point = ResumePoint(following, 0 if header is None else header.size + skipped)
        lag = sum(self._size(number) for number in numbers if number >= point.segment) - point.offset
        finished = not self.lives and point.segment == numbers[-1] and lag <= 0
        return Chunk(tuple(self.batches), point, max(0, lag), finished, tuple(self.problems))

    def _read_segment(
        self, number: int, offset: int, following: int | None, following_header: SegmentHeader | None
    ) -> tuple[int, bool]:
        """Read until the segment or the budget ends; returns where it stopped and whether that is the end."""
        path = _segment_path(self.path, number)
        final = following is not None or not self.lives
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            stated_end = size if following_header is None else following_header.previous_end
            end = min(size, stated_end)
            if offset == 0:
                header = self._header(number)
                offset = header.size if header else 0
            while offset < end and self.budget > 0:
                offset, stuck = self._read_records(file.fileno(), number, offset, end)
                if not stuck:
                    continue
                if not final:
                    return offset, False  # an append under way, or a damage to be judged when the segment is closed
                offset = self._step_over(file.fileno(), path, offset, end)
        if offset >= end and size < stated_end and final:
            detail = f"{path} ends {stated_end - size} bytes before where its successor says it ended"
            self._report(ProblemKind.CORRUPT, number, end, stated_end - size, detail)
            return stated_end, True
        return offset, offset >= end

    def _read_records(self, descriptor: int, number: int, offset: int, end: int) -> tuple[int, bool]:
        """Read records from ``offset``; the flag says that the next one is incomplete or damaged."""
        remaining = end - offset
        data = memoryview(os.pread(descriptor, min(max(self.budget, FRAME_BYTES), remaining), offset))
        first, needed = next(records_in(data), (None, 0))
        if first is None and len(data) < needed <= remaining:
            data = memoryview(os.pread(descriptor, needed, offset))
        consumed, stuck = 0, False
        for payload, reached in records_in(data):
            if payload is None:
                stuck = not len(data) < reached <= remaining  # else only this read's budget ended there
                break
            self._decode(payload, number, offset + consumed)
            consumed = reached
        self.budget -= consumed
        return offset + consumed, stuck or not consumed

    def _decode(self, payload: memoryview, number: int, offset: int) -> None:
        try:
            self.batches.append(ObservationBatch.from_bytes(payload))
        except (ValueError, TypeError) as error:
            path = _segment_path(self.path, number)
            detail = f"a record of {path} at {offset} is not a batch ({error}); {self.reader.set_aside(path)}"
            self._report(ProblemKind.CORRUPT, number, offset, len(payload) + FRAME_BYTES, detail)

    def _step_over(self, descriptor: int, path: Path, offset: int, end: int) -> int:
        """Report what cannot be used at ``offset`` of a final segment; returns where reading goes on."""
        number = int(path.name.removesuffix(SEGMENT_SUFFIX))
        rest = memoryview(os.pread(descriptor, end - offset, offset))
        found = next_whole_record(rest, 1)
        reached = end if found is None else offset + found
        _, needed = next(records_in(rest), (None, 0))
        unfinished = needed > len(rest) or not any(rest)
        if found is None and unfinished and number == self.numbers[-1]:
            detail = f"the producer of {path} ended within an append: {reached - offset} bytes at {offset} are ignored"
            self._report(ProblemKind.TORN, number, offset, reached - offset, detail)
            return reached
        aside = self.reader.set_aside(path)
        detail = f"{path} is damaged from {offset} to {reached}; {aside}"
        self._report(ProblemKind.CORRUPT, number, offset, reached - offset, detail)
        return reached

    def _header(self, number: int) -> SegmentHeader | None:
        try:
            with _segment_path(self.path, number).open("rb") as file:
                return SegmentHeader.from_bytes(file.read(HEADER_BYTES_LIMIT))
        except ValueError:
            return None

    def _size(self, number: int) -> int:
        try:
            return _segment_path(self.path, number).stat().st_size
        except FileNotFoundError:
            return 0

    def _report(self, kind: ProblemKind, segment: int, offset: int, size: int, detail: str) -> None:
        self.problems.append(SpoolProblem(kind, self.source, segment, offset, size, detail))


def _segment_path(source: Path, number: int) -> Path:
    return source / f"{number:016d}{SEGMENT_SUFFIX}"


def _segment_numbers(source: Path) -> list[int]:
    """Numbers of the source's segments in order; names that are not ours are left alone."""
    try:
        names = [entry.name for entry in source.iterdir()]
    except FileNotFoundError:
        return []
    stems = (name.removesuffix(SEGMENT_SUFFIX) for name in names if name.endswith(SEGMENT_SUFFIX))
    return sorted(int(stem) for stem in stems if len(stem) == 16 and stem.isascii() and stem.isdigit())


def _remove_source(path: Path) -> None:
    """Delete a source whose producer is gone; the lock goes last, so that an interrupted removal is seen as one."""
    for entry in sorted(path.iterdir()):
        if entry.name.endswith((SEGMENT_SUFFIX, SEGMENT_SUFFIX + NEW_SUFFIX)):
            entry.unlink(missing_ok=True)
    (path / LOCK_NAME).unlink(missing_ok=True)
    path.rmdir()
