"""Trying scheduled reports from the command line, and their history."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from ._installation import fail

if TYPE_CHECKING:
    from ..dashboards.wording import Wording
    from ..metrics.configuration.config import Config
    from ..metrics.store.reports import ReportRun
    from ..metrics.store.store import Store

__all__ = ["print_history", "try_scheduled"]

_LISTED = 30


def try_scheduled(store: Store, config: Config, name: str, flow: str | None) -> None:
    """Make the last report of a schedule now, deliver it, and say what became of it.

    Raises:
        typer.Exit: there is no such schedule, or a report or delivery failed; the reason has been printed.
    """
    from ..dashboards.scheduled.reporter import Reporter
    from ..dashboards.wording import Wording
    from ._report import declared_flows

    flows = declared_flows(config)
    reporter = Reporter(store, lambda: config, lambda: flows)
    try:
        made = reporter.trial(name, flow)
    except ValueError as error:
        raise fail(str(error)) from None
    wording = Wording(config.language, config.timezone)
    for run in made:
        for line in _lines(run, wording):
            typer.echo(line)
    if any(run.state != "made" or any(each.state != "delivered" for each in run.deliveries) for run in made):
        raise typer.Exit(1)


def print_history(store: Store, config: Config) -> None:
    """Print when each schedule is due next, and the reports made last."""
    from ..dashboards.scheduled.schedule import next_report
    from ..dashboards.wording import Wording
    from ..metrics.store.reports import read_runs

    wording = Wording(config.language, config.timezone)
    now = time.time()
    for schedule in config.reports:
        due = next_report(schedule, config.calendar, config.timezone, now)
        when = "never within 400 days" if due is None else f"next {wording.time(due.due_at)}"
        typer.echo(f"{schedule.name}: every {schedule.every}, {when}")
    if not config.reports:
        typer.echo("no report is scheduled; add one under reports: in the configuration")
    with store.connection() as connection:
        runs = read_runs(connection, limit=_LISTED)
    for run in runs:
        for line in _lines(run, wording):
            typer.echo(line)


def _lines(run: ReportRun, wording: Wording) -> list[str]:
    """A report in a few lines: its period and sentence, or its error, and each delivery."""
    from ..dashboards.scheduled.delivery import FOLDER

    said = (run.headline or "").replace("*", "") or run.error or ""
    lines = [f"{run.run_id} [{run.state}] {wording.days(run.start, run.end)}: {said}"]
    for each in run.deliveries:
        target = "folder" if each.target == FOLDER else each.target
        lines.append(f"  {target}: {each.state}" + (f" ({each.error})" if each.error else ""))
    return lines
