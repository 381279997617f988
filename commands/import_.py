"""``cxgauge import``: past observations from a file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ._installation import ConfigOption

__all__ = ["ImportFormat", "import_"]


class ImportFormat(StrEnum):
    """What the file is made of."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"
    LOG = "log"


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file, .gz too; - reads standard input.")],
    flow: Annotated[str | None, typer.Option(help="Flow of all rows; else a column flow.")] = None,
    step: Annotated[str | None, typer.Option(help="Step of all rows; else a column step.")] = None,
    file_format: Annotated[
        ImportFormat | None, typer.Option("--format", help="By default as the file's name ends.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="For logs: regular expression whose named groups are the columns.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="YAML file that says what columns mean; see docs/how-to/import.md.")
    ] = None,
    time_format: Annotated[
        str, typer.Option(help="iso, unix, unix_ms, unix_us, unix_ns, or as strptime has it.")
    ] = "iso",
    timezone: Annotated[
        str | None, typer.Option(help="Zone of times that carry none; by default the configuration's.")
    ] = None,
    duration_unit: Annotated[
        str | None, typer.Option(help="s, ms, us or ns; by default as the column's name ends, else s.")
    ] = None,
    rejected: Annotated[
        Path | None, typer.Option(help="Where lines that cannot be used are kept; FILE.rejected by default.")
    ] = None,
    write_flow: Annotated[
        Path | None, typer.Option(help="Write a starter flow file from what is in the file, then import with it.")
    ] = None,
    again: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Import the same content once more under NAME; it counts twice."),
    ] = None,
    config: ConfigOption = None,
    output: Annotated[str, typer.Option("--output", help="How to print the counts: text or json.")] = "text",
) -> None:
    r"""Import past observations from NDJSON, CSV, Parquet or log lines.

    An import that was interrupted goes on where it stopped, the same content is never counted twice, and a log that
    grew since is continued. Lines that cannot be used are kept aside with their reason.

    \b
    Example:  cxgauge import bills.csv --flow bill_inquiry --timezone Asia/Shanghai
              cxgauge import access.log.gz --flow web --write-flow flows/web.yml \
                --pattern '\[(?P<observed_at>[^]]+)\] "(?P<step>\S+ \S+).*" (?P<status>\d+) .* (?P<duration_ms>\d+)$' \
                --time-format '%d/%b/%Y:%H:%M:%S %z'
    """
    from ..collectors.importer.job import ImportJob, ImportRefusedError, ImportRequest
    from ._import_progress import print_result, progress_of
    from ._installation import fail, load_config, open_store

    settings = load_config(config)
    request = ImportRequest(
        file=file,
        flow=flow,
        step=step,
        file_format=file_format.value if file_format else None,
        pattern=pattern,
        mapping=mapping,
        time_format=time_format,
        timezone=timezone or str(settings.timezone),
        duration_unit=duration_unit,
        rejected=rejected,
        write_flow=write_flow,
        again=again,
    )
    try:
        with ImportJob.prepare(request, settings) as job, open_store(settings) as store, progress_of(job) as progress:
            result = job.run(store, progress)
    except ImportRefusedError as error:
        raise fail(str(error)) from None
    print_result(result, as_json=output == "json")
