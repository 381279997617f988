"""``cxgauge backtest``: the detector on recordings, so that anyone can try it on their past."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..metrics.translation import Language

__all__ = ["backtest"]


class BacktestLanguage(StrEnum):
    """Language of table and picture."""

    ENGLISH = "en"
    CHINESE = "zh"


def backtest(
    history: Annotated[Path | None, typer.Option(help="Recording to learn from: CSV, or CSV packed by gzip.")] = None,
    input_: Annotated[Path | None, typer.Option("--input", help="Recording to judge, minute by minute.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Where to write the events (CSV; .gz packs it), or with --flow the picture."
        ),
    ] = None,
    flow: Annotated[str | None, typer.Option(help="Judge this flow of the own store instead of a recording.")] = None,
    start: Annotated[str, typer.Option("--from", help="With --flow: a day, a time, or 7d for days ago.")] = "1d",
    end: Annotated[str, typer.Option("--to", help="With --flow: end of the span to judge.")] = "now",
    false_alarms_per_series_month: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            help="False alarms to tolerate for each series in 30 days; 1 by default, with --flow the configuration's.",
        ),
    ] = None,
    spike_windows: Annotated[
        int | None,
        typer.Option(min=1, max=30, help="Longest spike, in windows, that is no alarm; 3, or the configuration's."),
    ] = None,
    spike_effect: Annotated[
        float | None,
        typer.Option(min=1.05, max=100, help="Ratio of durations that makes a spike; 1.3, or the configuration's."),
    ] = None,
    nulls: Annotated[
        bool,
        typer.Option("--nulls", help="Nothing was wrong in what is judged: check the promise on it."),
    ] = False,
    bucket_lo: Annotated[float, typer.Option(help="Lower end of histogram bucket 0, as ln seconds.")] = -4.0,
    bucket_width: Annotated[float, typer.Option(help="Width of a histogram bucket in ln seconds.")] = 0.125,
    language: Annotated[
        BacktestLanguage | None, typer.Option(help="en or zh; by default English, with --flow the configuration's.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="With --flow: configuration file.")] = None,
) -> None:
    r"""Judge a recording, or a flow's stored past, by a history, online: nothing at minute t uses data after t.

    With --flow, the stored windows from --from to --to are judged by what was before; a table of alarms is printed,
    with their delay beside the limit that theory sets, and -o writes a picture (HTML) with events marked. With --nulls
    the alerts that they make are held against the promise, but for those in incidents and maintenance you told of.

    Both files have the header series,minute,group,n,sum_log,sum_sq,hist,fails (minute = minutes since a Monday 00:00,
    hist = bucket:count pairs, fields may be empty). A stream <id>@<name> is judged by history series <name>,
    a stream <id> by series T. One event a row: series,minute,change_minute,effect,lo,hi,kind.

    \b
    Example:  cxgauge backtest --history past.csv.gz --input today.csv --output events.csv
    Example:  cxgauge backtest --flow bill_inquiry --from 2d --to now -o backtest.html
    Example:  cxgauge backtest --flow bill_inquiry --from 7d --nulls --language zh
    Example:  cxgauge backtest --nulls --history past.csv.gz --input quiet.csv.gz --output events.csv
    """
    chosen: Language | None = None if language is None else "zh" if language is BacktestLanguage.CHINESE else "en"
    if flow is not None:
        if history is not None or input_ is not None:
            raise typer.BadParameter("--flow reads the own store; leave out --history and --input")
        from ._backtest import backtest_store

        budget = false_alarms_per_series_month
        spike = spike_windows, spike_effect
        backtest_store(flow, start, end, config, output, budget, spike, nulls=nulls, language=chosen)
        return
    if history is None or input_ is None or output is None:
        raise typer.BadParameter("--history, --input and --output are needed, or --flow for the own store")
    from ..dashboards.backtest_words import promise_lines, recording_line
    from ..metrics.backtest.backtest import promise_of, run_backtest
    from ..metrics.backtest.file import RecordingError, read_recording, write_events
    from ..metrics.detection.input import BucketGrid
    from ..metrics.detection.settings import DetectionSettings

    if not bucket_width > 0:
        raise typer.BadParameter(f"--bucket-width={bucket_width:g} is not above 0")
    budget = false_alarms_per_series_month or 1.0
    settings = DetectionSettings(false_alarms_per_series_month=budget).with_spike(spike_windows, spike_effect)
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
    if nulls:
        for line in promise_lines(promise_of(stream, paged, budget), 0, chosen or "en"):
            typer.echo(line)
    typer.echo(recording_line(len(stream.names), paged, len(events) - paged, output, chosen or "en"))
