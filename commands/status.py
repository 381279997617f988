"""``cxgauge status``: how are the flows doing right now?"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..dashboards.status import Status
    from ..dashboards.wording import Wording

from ._installation import ConfigOption

__all__ = ["StatusFormat", "status"]


class StatusFormat(StrEnum):
    """How the state is printed."""

    TEXT = "text"
    JSON = "json"


class StatusLanguage(StrEnum):
    """Language of the output."""

    ENGLISH = "en"
    CHINESE = "zh"


def status(
    since: Annotated[str, typer.Option("--from", help="From when on, such as 24h, 7d or today.")] = "24h",
    output: Annotated[StatusFormat, typer.Option("--format", help="text or json.")] = StatusFormat.TEXT,
    language: Annotated[StatusLanguage | None, typer.Option(help="en or zh; by default the configuration's.")] = None,
    config: ConfigOption = None,
) -> None:
    r"""Print the state of every flow and the open alerts; exits with 3 when there is an open alert.

    \b
    Example:  cxgauge status
              cxgauge status --from 7d --format json
    """
    import time

    from ..dashboards.periods import aligned, parse_moment
    from ..dashboards.scheduled.troubles import report_troubles
    from ..dashboards.status import read_status
    from ..dashboards.wording import Wording
    from ..metrics.translation import Language
    from ._installation import fail, load_config, open_store
    from ._report import declared_flows

    settings = load_config(config)
    flows = declared_flows(settings)
    now = time.time()
    chosen: Language = language.value if language else settings.language
    wording = Wording(chosen, settings.timezone)
    try:
        start = parse_moment(since, settings.timezone, now)
        period = aligned(start, now, 3_600 if now - start >= 86_400 else settings.window_seconds)
    except ValueError as error:
        raise fail(str(error)) from None
    with open_store(settings) as store:
        found = read_status(store, flows, period, wording)
        troubles = report_troubles(store, wording, now)
    if output is StatusFormat.JSON:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps({**asdict(found), "reports": troubles}, ensure_ascii=False))
    else:
        _print(found, wording)
        for line in troubles:
            typer.echo(line)
    if found.alerts:
        raise typer.Exit(3)


def _print(found: Status, wording: Wording) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from ..dashboards.status import alert_lines, simulated_line, status_headings, status_lines

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for position, heading in enumerate(status_headings(wording)):
        table.add_column(heading, justify="right" if 2 <= position <= 4 else "left", no_wrap=position not in (0, 3))
    for row in status_lines(found, wording):
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    console.print(wording.period(found.period))
    console.print(table)
    if simulated := simulated_line(found, wording):
        console.print(simulated)
    console.print()
    for line in alert_lines(found, wording):
        console.print(line)
