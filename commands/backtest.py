"""``cxgauge backtest``: the detector on recordings, so that anyone can try it on their past."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["backtest"]


def backtest(
    history: Annotated[Path, typer.Option(help="Recording to learn from: CSV, or CSV packed by gzip.")],
    input_: Annotated[Path, typer.Option("--input", help="Recording to judge, minute by minute.")],
    output: Annotated[Path, typer.Option(help="Where to write the events (CSV; .gz packs it).")],
    false_alarms_per_series_month: Annotated[
        float, typer.Option(min=1e-6, help="False alarms to tolerate for each series in 30 days.")
    ] = 1.0,
    bucket_lo: Annotated[float, typer.Option(help="Lower end of histogram bucket 0, as ln seconds.")] = -4.0,
    bucket_width: Annotated[float, typer.Option(help="Width of a histogram bucket in ln seconds.")] = 0.125,
) -> None:
    r"""Judge a recording by a history, online: nothing at minute t uses data after t.

    Both files have the header series,minute,group,n,sum_log,sum_sq,hist,fails (minute = minutes since a Monday 00:00,
    hist = bucket:count pairs, fields may be empty). A stream <id>@<name> is judged by history series <name>,
    a stream <id> by series T. One event a row: series,minute,change_minute,effect,lo,hi,kind.

    \b
    Example:  cxgauge backtest --history past.csv.gz --input today.csv --output events.csv
    """
    from ..metrics.backtest import run_backtest
    from ..metrics.backtest_file import RecordingError, read_recording, write_events
    from ..metrics.detection_input import BucketGrid
    from ..metrics.detection_settings import DetectionSettings

    if not bucket_width > 0:
        raise typer.BadParameter(f"--bucket-width={bucket_width:g} is not above 0")
    settings = DetectionSettings(false_alarms_per_series_month=false_alarms_per_series_month)
    try:
        past, stream = read_recording(history), read_recording(input_)
        events = run_backtest(past, stream, settings, BucketGrid(bucket_lo, bucket_width))
        write_events(output, (event.row() for event in events))
    except RecordingError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        typer.echo(f"{error.filename}: {error.strerror}", err=True)
        raise typer.Exit(1) from error
    paged = sum(event.kind in ("up", "tail", "fail") for event in events)
    typer.echo(f"{len(stream.names)} series followed, {paged} alarms, {len(events) - paged} other events: {output}")
