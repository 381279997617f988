"""``cxgauge report``: what a flow's customers got."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ._installation import ConfigOption

__all__ = ["ReportFormat", "report"]


class ReportFormat(StrEnum):
    """How the report is written."""

    MARKDOWN = "md"
    HTML = "html"
    PDF = "pdf"
    CSV = "csv"
    XLSX = "xlsx"
    JSON = "json"


class ReportLanguage(StrEnum):
    """Language of the report."""

    ENGLISH = "en"
    CHINESE = "zh"


def report(
    flow: Annotated[str | None, typer.Argument(metavar="[FLOW]", help="Name of the flow.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="2026-03-14, 2026-03-14T10:42, 7d (ago), today; by default a week.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="As --from; by default now, or where the data end.")] = None,
    compare: Annotated[
        str, typer.Option(help="previous, week, year, before, none, or release:8.1.0..8.2.0.")
    ] = "previous",
    output: Annotated[ReportFormat | None, typer.Option("--format", help="By default as FILE ends, else md.")] = None,
    language: Annotated[ReportLanguage | None, typer.Option(help="en or zh; by default the configuration's.")] = None,
    file: Annotated[Path | None, typer.Option("--output", "-o", help="Write here instead of standard output.")] = None,
    scheduled: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Try a scheduled report: make its last period's now, and deliver it."),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="List the schedules and the reports made by them.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    r"""Write the report of a flow: how fast and how right its answers were, and what changed.

    \b
    Example:  cxgauge report bill_inquiry
              cxgauge report bill_inquiry --from 2026-03-01 --to 2026-04-01 --language zh -o march.pdf
              cxgauge report --scheduled cards_weekly
              cxgauge report --history
    """
    from ._installation import fail, load_config, open_store
    from ._report import make_report, render, write_report
    from ._scheduled import print_history, try_scheduled

    settings = load_config(config)
    if flow is None and scheduled is None and not history:
        raise fail("which flow? Write its name, as in: cxgauge report bill_inquiry")
    with open_store(settings) as store:
        if history:
            return print_history(store, settings)
        if scheduled is not None:
            return try_scheduled(store, settings, scheduled, flow)
        assert flow is not None  # noqa: S101 - said above
        made = make_report(
            store, settings, flow, start=start, end=end, compare=compare, language=language.value if language else None
        )
        content = render(store, made, output.value if output else _format_of(file))
    return write_report(content, file)


def _format_of(file: Path | None) -> str:
    """The format a file name speaks of; Markdown when it does not."""
    ending = file.suffix.lower().lstrip(".") if file else ""
    return ending if ending in {one.value for one in ReportFormat} else ReportFormat.MARKDOWN.value
