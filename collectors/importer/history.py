"""What was imported before, and the lines that were not.

The history is a help, not the truth: which place of a file was reached is kept in the database, in the same
transaction as its observations. The history tells that a file is the longer version of one imported before, and
that the same content is being imported with other settings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, TextIO

from .files import FileIdentity
from .importer import Rejected

__all__ = ["HistoryEntry", "ImportHistory", "RejectedFile"]


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One import.

    Attributes:
        source: Name under which the database keeps the place reached.
        digest: SHA-256 of the first ``size`` bytes of the file.
        size: Bytes of the file when it was imported.
        settings: What the rows were taken for: a digest of mapping, pattern and format.
        name: The file's name then, for people.
        again: Name under which the content was imported once more; empty for the first time.
    """

    source: str
    digest: str
    size: int
    settings: str
    name: str
    again: str = ""

    @property
    def identity(self) -> FileIdentity:
        """The content this entry speaks of."""
        return FileIdentity(self.digest, self.size)


class ImportHistory:
    """A folder with one small JSON file an import."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entries(self) -> list[HistoryEntry]:
        """All entries that can be read; a damaged one is passed over."""
        return list(self._read())

    def _read(self) -> Iterator[HistoryEntry]:
        if not self.folder.is_dir():
            return
        for path in sorted(self.folder.glob("import-*.json")):
            try:
                yield HistoryEntry(**json.loads(path.read_text("utf-8")))
            except (OSError, ValueError, TypeError):
                continue

    def keep(self, entry: HistoryEntry) -> None:
        """Write the entry, in place of an earlier one of the same source."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.folder / f"{entry.source}.json"
        temporary = path.with_suffix(f".{os.getpid()}.new")
        temporary.write_text(json.dumps(asdict(entry), ensure_ascii=False), "utf-8")
        temporary.replace(path)


class RejectedFile:
    """Lines that were not imported: ``line number<TAB>reason<TAB>the line``, readable by the owner only.

    An import that continues keeps the lines up to where it continues and writes the others anew. The file is made
    when the first line is rejected, so that a clean import leaves none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None
        self._continue_after: int | None = None

    def __enter__(self) -> RejectedFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def continue_after(self, number: int) -> None:
        """Drop what a killed run wrote about lines after ``number``; 0 starts the file anew."""
        if not self.path.exists():
            return
        kept = []
        if number > 0:
            with self.path.open(encoding="utf-8", newline="\n") as file:
                kept = [line for line in file if _number_of(line) <= number]
        if not kept:
            self.path.unlink()
            return
        temporary = self.path.with_name(f"{self.path.name}.new")
        with _private(temporary, "w") as file:
            file.writelines(kept)
        temporary.replace(self.path)

    def keep(self, line: Rejected) -> None:
        """Write one line; control characters are escaped, so that one line stays one line."""
        if self._file is None:
            self._file = _private(self.path, "a")
        text = line.text.replace("\\", "\\\\").replace("\t", "\\t").replace("\r", "\\r").replace("\n", "\\n")
        self._file.write(f"{line.number}\t{line.reason}\t{text}\n")

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        if self._file is not None:
            self._file.flush()


def _private(path: Path, mode: Literal["a", "w"]) -> TextIO:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if mode == "w" else os.O_APPEND), 0o600)
    return os.fdopen(descriptor, mode, encoding="utf-8", newline="\n")


def _number_of(line: str) -> int:
    number = line.split("\t", 1)[0]
    return int(number) if number.isdecimal() else 0
