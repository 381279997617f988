"""Building and writing a report for the command line."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import typer

from ._installation import fail

if TYPE_CHECKING:
    from ..dashboards.figure_types import Period
    from ..dashboards.report.report import Report
    from ..metrics.configuration.config import Config
    from ..metrics.specification.flow import FlowSpec
    from ..metrics.store.store import Store

__all__ = ["declared_flow", "declared_flows", "make_report", "render", "write_report"]


def declared_flows(config: Config) -> dict[str, FlowSpec]:
    """The declared flows by name.

    Raises:
        typer.Exit: there is none, or one has faults; all of them have been printed.
    """
    from ..metrics.specification.flow import SpecificationError, load_flows

    try:
        return load_flows(config.flows.directory)
    except SpecificationError as error:
        raise fail(str(error)) from None


def declared_flow(config: Config, name: str) -> FlowSpec:
    """The declared flow of this name.

    Raises:
        typer.Exit: there is none; the message says which there are.
    """
    flows = declared_flows(config)
    if name not in flows:
        raise fail(f"flow {name!r} is not declared in {config.flows.directory}; declared are {', '.join(flows)}")
    return flows[name]


def make_report(
    store: Store,
    config: Config,
    flow_name: str,
    *,
    start: str | None,
    end: str | None,
    compare: str,
    language: str | None,
) -> Report:
    """Build the report that the options ask for.

    Raises:
        typer.Exit: an option cannot be used; the reason has been printed.
    """
    from ..dashboards.periods import compared_period
    from ..dashboards.report.report import build_report
    from ..dashboards.wording import Wording

    flow = declared_flow(config, flow_name)
    now = time.time()
    wording = Wording(cast(Literal["en", "zh"], language or config.language), config.timezone)
    try:
        period = _period(store, config, flow_name, start, end, now)
        compared = compared_period(period, compare, config.timezone)
    except ValueError as error:
        raise fail(str(error)) from None
    try:
        return build_report(store, flow, period, compared, wording, now=now)
    except ValueError as error:
        raise fail(str(error)) from None


def _period(store: Store, config: Config, flow: str, start: str | None, end: str | None, now: float) -> Period:
    """The period asked for; without ``--to`` up to now, or up to the end of data that ended long ago."""
    from ..dashboards.periods import DEFAULT_DAYS, aligned, parse_moment
    from ..dashboards.report.data import flow_span

    last = now
    if end is not None:
        last = parse_moment(end, config.timezone, now)
    elif start is None:
        newest = flow_span(store, flow).last
        if newest is not None and newest < now - DEFAULT_DAYS * 86_400:
            last = newest
            typer.echo(f"the data of {flow} end before the last {DEFAULT_DAYS} days: reporting their end", err=True)
    if start is None and end is None:
        last = -(-last // 3_600) * 3_600  # whole hours, so that hour rollups serve
    first = parse_moment(start, config.timezone, now) if start is not None else last - DEFAULT_DAYS * 86_400
    return aligned(first, last, config.window_seconds)


def render(store: Store, made: Report, output: str) -> str | bytes:
    """The report in the format asked for.

    Raises:
        typer.Exit: something the format needs is not installed; the reason has been printed.
    """
    from ..dashboards.pdf import PdfError
    from ..dashboards.report.files import render_report

    try:
        return render_report(store, made, output)
    except (PdfError, ValueError) as error:
        raise fail(str(error)) from None


def write_report(content: str | bytes, file: Path | None) -> None:
    """Write to a file or to standard output; bytes do not go to a terminal.

    Raises:
        typer.Exit: it cannot be written; the reason has been printed.
    """
    data = content.encode() if isinstance(content, str) else content
    if file is None:
        if isinstance(content, bytes) and sys.stdout.isatty():
            raise fail("this format is not for a terminal; give -o FILE")
        typer.echo(content, nl=False)
        return
    try:
        file.write_bytes(data)
    except OSError as error:
        raise fail(f"{file} cannot be written: {error.strerror}") from None
