"""Reading files of past observations: lines or rows with their place, whatever the format.

A *place* is what an interrupted import resumes from: the byte offset just after a line (in the
unpacked stream for gzip), or the number of rows read for Parquet. A file is known by its content,
not by its name, so that a second import of a renamed copy adds nothing, and a log that grew since is
continued where it ended.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Protocol

__all__ = [
    "FileFormat",
    "FileIdentity",
    "Row",
    "RowReader",
    "guess_format",
    "identify",
    "open_rows",
]

_CHUNK_BYTES = 1 << 20
_LINE_BYTES_LIMIT = 1 << 20  # a longer line is not a log line; it is rejected, and the rest of the file is kept
_SOURCE_DIGITS = 20


class FileFormat(StrEnum):
    """What a file of observations is made of."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Row:
    """One line or row.

    Attributes:
        number: Line or row number as a person counts it, from 1.
        place: Where the next line begins; see the module's text.
        fields: Named values, or ``None`` when the line could not be read.
        reason: Why it could not be read; empty when it could.
        text: The line as it stood, for the file of rejected lines.
    """

    number: int
    place: int
    fields: dict[str, Any] | None
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """A file known by its content: ``digest`` is SHA-256 of its first ``size`` bytes (as stored, not unpacked)."""

    digest: str
    size: int

    @property
    def source(self) -> str:
        """The name under which the store keeps how far this file was imported."""
        return f"import-{self.digest[:_SOURCE_DIGITS]}"


class RowReader(Protocol):
    """Yields rows from a place on."""

    def rows(self, place: int) -> Iterator[Row]:
        """Rows whose line begins at or after ``place``."""
        ...


def guess_format(name: str) -> FileFormat | None:
    """The format a file name speaks of, ``None`` when it does not tell; ``.gz`` is looked through."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes if suffix.lower() != ".gz"]
    return {
        ".ndjson": FileFormat.NDJSON,
        ".jsonl": FileFormat.NDJSON,
        ".json": FileFormat.NDJSON,
        ".csv": FileFormat.CSV,
        ".parquet": FileFormat.PARQUET,
        ".log": FileFormat.LOG,
        ".txt": FileFormat.LOG,
    }.get(suffixes[-1] if suffixes else "")


def identify(path: Path, known: Iterable[FileIdentity] = ()) -> tuple[FileIdentity, FileIdentity | None]:
    """Read the file once and return its identity, and the ``known`` one whose content it begins with.

    Args:
        path: The file.
        known: Identities of earlier imports; the longest that is a true prefix of this file wins.

    Returns:
        ``(identity, earlier)``; ``earlier`` is ``None`` when no known file is a prefix of this one, and
        equals ``identity`` when the very same content was seen before.
    """
    digest = hashlib.sha256()
    by_size: dict[int, set[str]] = {}
    for identity in known:
        by_size.setdefault(identity.size, set()).add(identity.digest)
    marks = sorted(size for size in by_size if size > 0)
    earlier: FileIdentity | None = None
    position = 0
    with path.open("rb") as file:
        while True:
            mark = marks[0] if marks else None
            chunk = file.read(_CHUNK_BYTES if mark is None else min(_CHUNK_BYTES, mark - position))
            if not chunk:
                break
            digest.update(chunk)
            position += len(chunk)
            if mark is not None and position == mark:
                marks.pop(0)
                if digest.hexdigest() in by_size[mark]:
                    earlier = FileIdentity(digest.hexdigest(), mark)
    return FileIdentity(digest.hexdigest(), position), earlier


def open_rows(
    stream: IO[bytes], file_format: FileFormat, *, pattern: re.Pattern[str] | None = None, encoding: str = "utf-8"
) -> RowReader:
    """A reader of ``stream`` (seekable or not; gzip is recognised by its first bytes).

    Args:
        stream: Bytes of the file.
        file_format: What the file is made of.
        pattern: For :attr:`FileFormat.LOG`: a regular expression whose named groups are the fields.
        encoding: Of the text; bytes that do not decode make that line a rejected one.

    Raises:
        ValueError: a log without a pattern, or a pattern without named groups.
    """
    if file_format is FileFormat.PARQUET:
        return _ParquetRows(stream)
    if file_format is FileFormat.LOG:
        if pattern is None:
            raise ValueError("format 'log' needs a pattern; give a regular expression with named groups, (?P<step>…)")
        if not pattern.groupindex:
            raise ValueError(
                f"pattern={pattern.pattern!r} has no named group; name the values to keep, such as "
                "(?P<observed_at>…) and (?P<duration_seconds>…)"
            )
        return _LogRows(stream, encoding, pattern)
    if file_format is FileFormat.NDJSON:
        return _NdjsonRows(stream, encoding)
    return _CsvRows(stream, encoding)


class _Lines:
    """Lines of a stream with their number and the place after them; undecodable and over-long ones are marked."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self._stream = _unpacked(stream)
        self._encoding = encoding

    def lines(self, place: int) -> Iterator[tuple[int, int, str, str]]:
        """Yield ``(number, place after it, text, reason)`` for every line beginning at or after ``place``."""
        number, position = 0, 0
        while True:
            raw = self._stream.readline(_LINE_BYTES_LIMIT)
            if not raw:
                return
            size = len(raw)
            too_long = size == _LINE_BYTES_LIMIT and not raw.endswith(b"\n")
            while too_long:  # read the rest of it away, in bounded pieces
                rest = self._stream.readline(_LINE_BYTES_LIMIT)
                size += len(rest)
                if not rest or rest.endswith(b"\n"):
                    break
            number += 1
            position += size
            if position <= place:
                continue
            reason = f"line is longer than {_LINE_BYTES_LIMIT} bytes" if too_long else ""
            text, broken = _decoded(raw[:200] if too_long else raw, self._encoding)
            yield number, position, text.rstrip("\r\n"), reason or broken


def _decoded(raw: bytes, encoding: str) -> tuple[str, str]:
    try:
        return raw.decode(encoding), ""
    except UnicodeDecodeError as error:
        return raw.decode(encoding, "backslashreplace"), f"not {encoding} text: byte {error.start + 1} of the line"


class _NdjsonRows(_Lines):
    def rows(self, place: int) -> Iterator[Row]:
        for number, after, text, broken in self.lines(place):
            if not text.strip():
                continue
            fields, reason = (None, broken) if broken else _json_object(text)
            yield Row(number, after, fields, reason, text)


def _json_object(text: str) -> tuple[dict[str, Any] | None, str]:
    try:
        value = json.loads(text)
    except ValueError as error:
        return None, f"not JSON: {error}"
    except RecursionError:
        return None, "not JSON: nested too deeply"
    if not isinstance(value, dict):
        return None, f"not a JSON object: a {type(value).__name__}; write one object a line"
    return flat(value), ""


def flat(value: dict[str, Any]) -> dict[str, Any]:
    """Nested objects as dotted names (``{"http": {"status": 200}}`` → ``http.status``), four levels deep."""
    if not any(isinstance(item, dict) for item in value.values()):
        return value
    return dict(_flat_items(value, "", 4))


def _flat_items(value: dict[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, dict) and depth > 1:
            yield from _flat_items(item, f"{prefix}{name}.", depth - 1)
        else:
            yield f"{prefix}{name}", item


class _LogRows(_Lines):
    def __init__(self, stream: IO[bytes], encoding: str, pattern: re.Pattern[str]) -> None:
        super().__init__(stream, encoding)
        self._pattern = pattern

    def rows(self, place: int) -> Iterator[Row]:
        search = self._pattern.search
        for number, after, text, broken in self.lines(place):
            if not text.strip():
                continue
            match = None if broken else search(text)
            if match is None:
                yield Row(number, after, None, broken or NO_MATCH, text)
            else:
                yield Row(number, after, {k: v for k, v in match.groupdict().items() if v is not None}, "", text)


NO_MATCH = "does not match the pattern"


class _CsvRows(_Lines):
    """Comma-separated values with a header line; quoted fields may span lines."""

    def rows(self, place: int) -> Iterator[Row]:
        source = _RememberingLines(self.lines(0))
        reader = csv.reader(source, strict=True)
        header: list[str] | None = None
        while True:
            source.begin()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(source.first, source.place, None, f"not CSV: {error}", source.text)
                reader = csv.reader(source, strict=True)
                continue
            if header is None:
                header = [cell.strip().lstrip("\ufeff") for cell in cells]
                _refuse_bad_header(header)
                continue
            if source.place <= place or not cells:
                continue
            yield _csv_row(header, cells, source)


class _RememberingLines:
    """Feeds ``csv.reader`` and remembers the physical lines the current record came from."""

    def __init__(self, lines: Iterator[tuple[int, int, str, str]]) -> None:
        self._lines = lines
        self._parts: list[str] = []
        self.first, self.last, self.place, self.broken = 0, 0, 0, ""

    def begin(self) -> None:
        self._parts, self.first, self.broken = [], self.last + 1, ""

    @property
    def text(self) -> str:
        return "\n".join(self._parts)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, self.place, text, broken = next(self._lines)
        self.last = number
        self.broken = self.broken or broken
        self._parts.append(text)
        return text + "\n"


def _refuse_bad_header(header: Sequence[str]) -> None:
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise ValueError(f"header names {twice[0]!r} twice; rename one column")
    if not any(header):
        raise ValueError("the first line is empty; the first line of a CSV file names its columns")


def _csv_row(header: Sequence[str], cells: Sequence[str], source: _RememberingLines) -> Row:
    reason = source.broken
    if not reason and len(cells) != len(header):
        reason = f"wrong number of values: {len(cells)} for {len(header)} columns"
    fields = None if reason else {name: cell for name, cell in zip(header, cells, strict=True) if name and cell != ""}
    return Row(source.first, source.place, fields, reason, source.text)


class _ParquetRows:
    """Parquet by pyarrow, a row group at a time; needs a seekable stream."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def rows(self, place: int) -> Iterator[Row]:
        try:
            from pyarrow import parquet
        except ImportError as error:
            raise ValueError("format 'parquet' needs pyarrow; install cxgauge[parquet]") from error
        file = parquet.ParquetFile(self._stream)
        number = 0
        for batch in file.iter_batches(batch_size=10_000):
            if number + batch.num_rows <= place:
                number += batch.num_rows
                continue
            for fields in batch.to_pylist():
                number += 1
                if number > place:
                    kept = {name: value for name, value in fields.items() if value is not None}
                    yield Row(number, number, kept, "", json.dumps(fields, ensure_ascii=False, default=str))


def _unpacked(stream: IO[bytes]) -> IO[bytes]:
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(stream)  # type: ignore[type-var]
    if buffered.peek(2)[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=buffered)  # type: ignore[return-value]
    return buffered
