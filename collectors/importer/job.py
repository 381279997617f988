"""One import from beginning to end: what is asked for, checked before the first row is kept, and then done."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...metrics.configuration.config import Config
from ...metrics.specification.flow import FlowSpec, load_flow
from ...metrics.store.store import Store
from ..customer_token import CustomerTokens
from .files import FileFormat, identify
from .history import HistoryEntry, ImportHistory, RejectedFile
from .importer import ImportCounts, RowConverter, StoreDestination, import_rows
from .mapping import ImportMapping
from .request import (
    ImportRefusedError,
    ImportRequest,
    customer_tokens,
    declared_flows,
    format_of,
    mapping_of,
    reader_of,
    refuse_undeclared,
    write_starter,
)

__all__ = ["ImportJob", "ImportRefusedError", "ImportRequest", "ImportResult"]

STDIN = "-"
_MANY_ROWS = 100_000  # from then on the database's statistics are worth renewing


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What was done.

    Attributes:
        source: Name under which the place reached is kept.
        counts: Counts of this run.
        rejected_path: Where rejected lines are; ``None`` when there are none.
        wrote_flow: The starter flow file, if one was written.
        notes: Things the user should know.
    """

    source: str
    counts: ImportCounts
    rejected_path: Path | None
    wrote_flow: Path | None
    notes: tuple[str, ...]


class ImportJob:
    """A checked import; :meth:`run` does it."""

    def __init__(
        self,
        request: ImportRequest,
        path: Path,
        file_format: FileFormat,
        mapping: ImportMapping,
        flows: Mapping[str, FlowSpec],
        tokens: CustomerTokens | None,
        history: ImportHistory,
        *,
        wrote_flow: Path | None = None,
    ) -> None:
        self._request, self._path, self._format = request, path, file_format
        self._mapping, self._flows, self._tokens = mapping, flows, tokens
        self._history = history
        self._wrote_flow = wrote_flow
        self.rejected_path = request.rejected or _beside(path, request.file, history.folder)

    @property
    def size(self) -> int | None:
        """Places of the whole file, for a progress bar; ``None`` when it is packed and so not known."""
        if self._format is FileFormat.PARQUET:
            return None
        with self._path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        return None if packed else self._path.stat().st_size

    @classmethod
    @contextmanager
    def prepare(cls, request: ImportRequest, config: Config) -> Iterator[ImportJob]:
        """Check everything that can be checked before the first row; standard input is kept in a file meanwhile.

        Raises:
            ImportRefusedError: the request cannot be done.
        """
        folder = config.spool.directory.parent / "imports"
        if request.file == STDIN:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.NamedTemporaryFile(dir=folder, prefix="stdin-") as kept:
                shutil.copyfileobj(sys.stdin.buffer, kept)
                kept.flush()
                yield cls._prepared(request, config, Path(kept.name), folder)
        else:
            path = Path(request.file)
            if not path.is_file():
                raise ImportRefusedError(f"{path} is not a file; give a file, or - for standard input")
            yield cls._prepared(request, config, path, folder)

    @classmethod
    def _prepared(cls, request: ImportRequest, config: Config, path: Path, folder: Path) -> ImportJob:
        try:
            file_format = format_of(request)
            flows = declared_flows(config.flows.directory, request.write_flow)
            mapping = mapping_of(request, path, file_format, flows)
            wrote = write_starter(request, path, file_format, mapping, flows) if request.write_flow else None
            if wrote is not None:
                flow = load_flow(wrote)
                flows = {**flows, flow.name: flow}
            refuse_undeclared(mapping, flows, config.flows.directory)
            tokens = customer_tokens(config)
        except (ValueError, OSError) as error:
            raise error if isinstance(error, ImportRefusedError) else ImportRefusedError(str(error)) from error
        return cls(request, path, file_format, mapping, flows, tokens, ImportHistory(folder), wrote_flow=wrote)

    def run(self, store: Store, progress: Callable[[int, int], None] = lambda _place, _rows: None) -> ImportResult:
        """Import what is not imported yet.

        Raises:
            ImportRefusedError: the same content was imported with other settings.
            psycopg.Error: the database refused; what was committed stays, and a new run goes on from there.
        """
        entry = self._entry()
        self._history.keep(entry)
        notes = []
        if self._mapping.customer is not None and self._tokens is None:
            notes.append("no customer key is configured (recorder.customer_key), so customers are not kept")
        with self._path.open("rb") as file, RejectedFile(self.rejected_path) as rejected:
            counts = import_rows(
                reader_of(self._request, file, self._format),
                RowConverter(self._flows, self._mapping, self._tokens),
                StoreDestination(store),
                entry.source,
                rejected=rejected,
                progress=progress,
            )
        if counts.accepted >= _MANY_ROWS:
            store.analyze()
        if counts.damage:
            notes.append(counts.damage)
        kept = self.rejected_path if self.rejected_path.exists() else None
        return ImportResult(entry.source, counts, kept, self._wrote_flow, tuple(notes))

    def _entry(self) -> HistoryEntry:
        """The history's entry of this import: a new one, or the one of the content this file begins with."""
        again = self._request.again or ""
        mine = [entry for entry in self._history.entries() if entry.again == again]
        identity, earlier = identify(self._path, [entry.identity for entry in mine])
        settings = self._settings_digest()
        before = next((entry for entry in mine if entry.identity == earlier), None) if earlier else None
        if before is not None and before.settings != settings:
            raise ImportRefusedError(
                f"{self._request.file}: the same content was imported as {before.name} with other settings, and would "
                "count twice; repeat those settings, or give --again NAME to count it once more"
            )
        source = before.source if before else identity.source + (f"-{again}" if again else "")
        return HistoryEntry(source, identity.digest, identity.size, settings, Path(self._request.file).name, again)

    def _settings_digest(self) -> str:
        text = "\n".join([self._mapping.model_dump_json(), self._request.pattern or "", self._format.value])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _beside(path: Path, name: str, folder: Path) -> Path:
    """Where rejected lines go: beside the file, or among our own data where we may not write there."""
    if name == STDIN:
        return Path("stdin.rejected")
    return (path.parent if os.access(path.parent, os.W_OK) else folder) / f"{path.name}.rejected"
