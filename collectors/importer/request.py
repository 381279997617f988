"""What an import is asked to do, checked before the first row is kept."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ...metrics.configuration.config import Config
from ...metrics.specification.flow import FlowSpec, SpecificationError, flow_files, load_flows
from ...metrics.strict_yaml import read_document
from ...metrics.validation import validate
from ..customer_token import CustomerKeyError, CustomerTokens
from .files import FileFormat, RowReader, guess_format, open_rows
from .mapping import ImportMapping, default_mapping
from .starter import look, starter_flow

__all__ = [
    "ImportRefusedError",
    "ImportRequest",
    "customer_tokens",
    "declared_flows",
    "format_of",
    "mapping_of",
    "reader_of",
    "refuse_undeclared",
    "write_starter",
]

_SAMPLE_ROWS = 1_000
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class ImportRefusedError(ValueError):
    """The import cannot be done as asked; nothing was kept. The message says what to change."""


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What the user asked for; see ``cxgauge import --help``."""

    file: str
    flow: str | None = None
    step: str | None = None
    file_format: str | None = None
    pattern: str | None = None
    mapping: Path | None = None
    time_format: str = "iso"
    timezone: str = "UTC"
    duration_unit: str | None = None
    rejected: Path | None = None
    write_flow: Path | None = None
    again: str | None = None


def format_of(request: ImportRequest) -> FileFormat:
    """The format asked for, or told by pattern or name."""
    if request.again is not None and not _NAME.fullmatch(request.again):
        raise ImportRefusedError(f"--again {request.again!r} is not a name; use letters, digits, - and _, e.g. second")
    if request.file_format is not None:
        return FileFormat(request.file_format)
    if request.pattern is not None:
        return FileFormat.LOG
    found = guess_format(request.file)
    if found is None:
        raise ImportRefusedError(f"{request.file}: the name does not tell the format; give --format")
    return found


def reader_of(request: ImportRequest, file: io.BufferedReader, file_format: FileFormat) -> RowReader:
    """A reader of the opened file."""
    try:
        pattern = re.compile(request.pattern) if request.pattern is not None else None
    except re.error as error:
        raise ImportRefusedError(f"--pattern {request.pattern!r} is not a regular expression: {error}") from error
    return open_rows(file, file_format, pattern=pattern)


def declared_flows(directory: Path, write_flow: Path | None) -> dict[str, FlowSpec]:
    """The declared flows; none yet is fine when one is to be written."""
    if write_flow is not None and write_flow.exists():
        raise ImportRefusedError(f"--write-flow {write_flow} is there already; leave the option out to import with it")
    if not directory.is_dir() or not flow_files(directory):
        if write_flow is None:
            raise ImportRefusedError(
                f"{directory} has no flow; declare one, or give --write-flow {directory}/NAME.yml to start from this "
                "file"
            )
        return {}
    try:
        return load_flows(directory)
    except SpecificationError as error:
        raise ImportRefusedError(str(error)) from error


def mapping_of(
    request: ImportRequest, path: Path, file_format: FileFormat, flows: Mapping[str, FlowSpec]
) -> ImportMapping:
    """What the columns mean: by the mapping file, or by their names."""
    if request.mapping is not None:
        document = read_document(request.mapping)
        mapping = validate(ImportMapping, document)
        if mapping is None:
            raise ImportRefusedError("\n".join(str(fault) for fault in document.faults))
        return mapping
    with path.open("rb") as file:
        columns: set[str] = set()
        for row in islice(reader_of(request, file, file_format).rows(0), _SAMPLE_ROWS):
            columns.update(row.fields or ())
    if request.pattern is not None:
        columns.update(re.compile(request.pattern).groupindex)
    dimensions = {dimension.name for flow in flows.values() for dimension in flow.dimensions}
    return default_mapping(
        columns,
        flow=request.flow,
        step=request.step,
        time_format=request.time_format,
        timezone=request.timezone,
        duration_unit=request.duration_unit,
        dimensions=sorted(dimensions),
    )


def write_starter(
    request: ImportRequest, path: Path, file_format: FileFormat, mapping: ImportMapping, flows: Mapping[str, FlowSpec]
) -> Path | None:
    """Write a starter flow from what is in the file; its path."""
    target = request.write_flow
    name = mapping.flow.value
    if target is None or name is None:
        raise ImportRefusedError("--write-flow needs one flow for all rows; give --flow NAME")
    if name in flows:
        raise ImportRefusedError(f"flow {name} is declared already; leave --write-flow out to import with it")
    with path.open("rb") as file:
        seen = look(reader_of(request, file, file_format).rows(0), mapping)
    text = starter_flow(name, seen, owner="unknown", file_name=Path(request.file).name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, "utf-8")
    return target


def refuse_undeclared(mapping: ImportMapping, flows: Mapping[str, FlowSpec], directory: Path) -> None:
    """Refuse a flow, check or dimension that is not declared."""
    name = mapping.flow.value
    if name is None:
        return
    flow = flows.get(name)
    if flow is None:
        raise ImportRefusedError(
            f"flow {name!r} is not declared in {directory}; declare it, or give --write-flow {directory}/{name}.yml to "
            "start from this file"
        )
    checks = {check.name for step in flow.steps for check in step.checks} | {check.name for check in flow.across}
    dimensions = {dimension.name for dimension in flow.dimensions}
    for kind, given, declared in (("check", mapping.checks, checks), ("dimension", mapping.dimensions, dimensions)):
        for found in given:
            if found not in declared:
                raise ImportRefusedError(
                    f"{kind} {found!r} is not declared in flow {name}; declare it, or leave the column out"
                )


def customer_tokens(config: Config) -> CustomerTokens | None:
    """Tokens with the configured key; ``None`` without one."""
    try:
        if config.recorder.customer_key is not None:
            return CustomerTokens.parse(config.recorder.customer_key.reveal(), "recorder.customer_key")
        return CustomerTokens.from_environment()
    except CustomerKeyError as error:
        raise ImportRefusedError(str(error)) from error
