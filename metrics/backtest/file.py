"""Recordings for ``cxgauge backtest``: CSV (gz accepted) to columns, and events to CSV."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMNS", "EVENT_COLUMNS", "Recording", "RecordingError", "read_recording", "write_events"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64

COLUMNS = ("series", "minute", "group", "n", "sum_log", "sum_sq", "hist", "fails")
EVENT_COLUMNS = ("series", "minute", "change_minute", "effect", "lo", "hi", "kind")

_CHUNK = 200_000
_SEPARATORS = str.maketrans(":;|,/", "     ")
_NUMBERS = ("minute", "n", "sum_log", "sum_sq", "fails")


class RecordingError(ValueError):
    """A recording cannot be read; the text says file, line, value, rule and remedy."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Rows of a recording in columns; NaN where a field was empty.

    Attributes:
        names: Names of the series.
        groups: Names of the groups.
        series: Index into ``names`` ``[R]``.
        minute: Minutes since a Monday 00:00 ``[R]``.
        group: Index into ``groups`` ``[R]``.
        n: Observations.
        sum_log: Sum of ln seconds.
        sum_sq: Sum of squared ln seconds.
        fails: Failed checks.
        offsets: Histogram of row ``i`` is ``buckets[offsets[i]:offsets[i+1]]``, ``[R+1]``.
        buckets: Bucket numbers.
        bucket_counts: Observations a bucket.
        line: Line of each series' first row, for messages.
        path: The file, for messages.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    series: Integers
    minute: Integers
    group: Integers
    n: Floats
    sum_log: Floats
    sum_sq: Floats
    fails: Floats
    offsets: Integers
    buckets: Integers
    bucket_counts: Floats
    line: dict[str, int]
    path: str = ""

    def __len__(self) -> int:
        return len(self.series)


def read_recording(path: Path) -> Recording:
    """Read a recording.

    Args:
        path: CSV with the header ``series,minute,group,n,sum_log,sum_sq,hist,fails`` (columns by name, only
            ``series`` and ``minute`` must be there); gzip is recognised by its first bytes.

    Raises:
        RecordingError: the header or a row is not as it must be.
        OSError: the file cannot be opened.
    """
    reader = _Reader(path)
    with _open(path) as stream:
        rows = csv.reader(stream)
        try:
            header = next(rows, None)
            reader.take_header(header)
            for first_line, chunk in _chunks(rows):
                reader.take(first_line, chunk)
        except (csv.Error, UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
            raise RecordingError(f"{path}:{rows.line_num}: the file is not readable CSV ({error})") from error
    return reader.result()


def write_events(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write events, one a row, with their header; a name ending in ``.gz`` is compressed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(EVENT_COLUMNS)
    writer.writerows(rows)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def _open(path: Path) -> IO[str]:
    with path.open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    if packed:
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _chunks(rows: Any) -> Iterator[tuple[int, list[list[str]]]]:
    chunk: list[list[str]] = []
    first = rows.line_num + 1
    for row in rows:
        chunk.append(row)
        if len(chunk) >= _CHUNK:
            yield first, chunk
            chunk, first = [], rows.line_num + 1
    if chunk:
        yield first, chunk


class _Reader:
    """Collects chunks of rows as arrays."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place: dict[str, int] = {}
        self._width = 0
        self._names: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._lines: dict[str, int] = {}
        self._parts: list[dict[str, Any]] = []

    def take_header(self, header: list[str] | None) -> None:
        if header is None:
            self._width = len(COLUMNS)
            return
        names = [name.strip() for name in header]
        for name in ("series", "minute"):
            if name not in names:
                raise RecordingError(
                    f"{self._path}:1: header={','.join(header)!r} has no column {name!r}; write {','.join(COLUMNS)}"
                )
        self._place = {name: names.index(name) for name in COLUMNS if name in names}
        self._width = len(names)

    def take(self, first_line: int, rows: list[list[str]]) -> None:
        lines = np.arange(first_line, first_line + len(rows))
        if any(len(row) != self._width for row in rows):
            for line, row in zip(lines, rows, strict=True):
                if row and len(row) != self._width:
                    raise RecordingError(
                        f"{self._path}:{line}: the row has {len(row)} fields, the header {self._width}; "
                        "write one field a column, empty if unknown"
                    )
            keep = [index for index, row in enumerate(rows) if row]
            rows, lines = [rows[index] for index in keep], lines[keep]
            if not rows:
                return
        columns = list(zip(*rows, strict=True))
        empty = ("",) * len(rows)
        raw = {name: columns[self._place[name]] if name in self._place else empty for name in COLUMNS}
        part: dict[str, Any] = {name: self._numbers(name, raw[name], lines) for name in _NUMBERS}
        self._check(part, lines)
        part["series"] = self._codes(raw["series"], self._names, lines, "series")
        part["group"] = self._codes(raw["group"], self._groups, lines, "group")
        part |= self._histograms(raw["hist"], lines)
        self._parts.append(part)

    def _numbers(self, name: str, values: Sequence[str], lines: Integers) -> Floats:
        try:
            return np.array([value or "nan" for value in values], dtype=np.float64)
        except ValueError:
            for line, value in zip(lines, values, strict=True):
                try:
                    float(value or "nan")
                except ValueError:
                    raise RecordingError(
                        f"{self._path}:{line}: {name}={value!r} is not a number; write digits, or nothing if unknown"
                    ) from None
            raise

    def _check(self, part: dict[str, Any], lines: Integers) -> None:
        minute = part["minute"]
        self._refuse(~(np.isfinite(minute) & (minute == np.floor(minute))), "minute", minute, lines,
                     "is not a whole number of minutes; write minutes since a Monday 00:00")  # fmt: skip
        for name in ("n", "fails"):
            value = part[name]
            self._refuse((value < 0) | np.isinf(value), name, value, lines, "is not a count; write a number ≥ 0")
        for name in ("sum_log", "sum_sq"):
            self._refuse(np.isinf(part[name]), name, part[name], lines, "is not finite; write the sum")
        many = part["fails"] > part["n"]
        self._refuse(many, "fails", part["fails"], lines, "is more than n; count failures among them")

    def _refuse(self, bad: Floats, name: str, values: Floats, lines: Integers, rule: str) -> None:
        if bad.any():
            index = int(np.argmax(bad))
            value = "" if np.isnan(values[index]) else f"{values[index]:g}"
            raise RecordingError(f"{self._path}:{lines[index]}: {name}={value} {rule}")

    def _codes(self, values: Sequence[str], known: dict[str, int], lines: Integers, name: str) -> Integers:
        for value in dict.fromkeys(values):
            if name == "series":
                if not value:
                    line = lines[values.index(value)]
                    raise RecordingError(f"{self._path}:{line}: series= is empty; name the series of each row")
                if value not in self._lines:
                    self._lines[value] = int(lines[values.index(value)])
            known.setdefault(value, len(known))
        return np.array([known[value] for value in values], dtype=np.int64)

    def _histograms(self, values: Sequence[str], lines: Integers) -> dict[str, Any]:
        pairs = np.array([value.count(":") for value in values], dtype=np.int64)
        joined = " ".join(values).translate(_SEPARATORS).split()
        try:
            numbers = np.array(joined, dtype=np.float64)
        except ValueError:
            numbers = np.full(1, np.nan)
        if len(numbers) != 2 * pairs.sum() or (len(numbers) and not np.isfinite(numbers).all()):
            self._bad_histogram(values, lines)
        buckets, counts = numbers[0::2], numbers[1::2]
        wrong = (buckets != np.floor(buckets)) | (counts < 0)
        if wrong.any():
            row = int(np.repeat(np.arange(len(pairs)), pairs)[int(np.argmax(wrong))])
            self._bad_histogram(values[row : row + 1], lines[row : row + 1])
        return {"pairs": pairs, "buckets": buckets.astype(np.int64), "counts": counts}

    def _bad_histogram(self, values: Sequence[str], lines: Integers) -> None:
        for line, value in zip(lines, values, strict=True):
            try:
                numbers = [float(item) for item in value.translate(_SEPARATORS).split()]
                whole = all(item == int(item) for item in numbers[0::2]) and all(item >= 0 for item in numbers[1::2])
                good = len(numbers) == 2 * value.count(":") and whole
            except (ValueError, OverflowError):
                good = False
            if not good:
                rule = "is not a list of bucket:count pairs; write e.g. '31:4 32:7'"
                raise RecordingError(f"{self._path}:{line}: hist={value[:60]!r} {rule}")

    def result(self) -> Recording:
        parts = self._parts

        def column(name: str, kind: Any) -> Any:
            return np.concatenate([part[name] for part in parts]).astype(kind) if parts else np.zeros(0, dtype=kind)

        pairs = column("pairs", np.int64)
        return Recording(
            tuple(self._names),
            tuple(self._groups),
            column("series", np.int64),
            column("minute", np.int64),
            column("group", np.int64),
            column("n", np.float64),
            column("sum_log", np.float64),
            column("sum_sq", np.float64),
            column("fails", np.float64),
            np.concatenate(([0], np.cumsum(pairs))),
            column("buckets", np.int64),
            column("counts", np.float64),
            self._lines,
            str(self._path),
        )
