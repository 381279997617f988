"""What ``cxgauge import`` shows while it works, and when it is done."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..collectors.importer.job import ImportJob, ImportResult

__all__ = ["print_result", "progress_of"]


@contextmanager
def progress_of(job: ImportJob) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, if that is a terminal; gives what the import calls after each batch."""
    if not sys.stderr.isatty():
        yield lambda _place, _rows: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %")]
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("0 rows", total=job.size)

        def show(place: int, rows: int) -> None:
            bar.update(task, completed=place, description=f"{rows:,} rows")

        yield show


def print_result(result: ImportResult, *, as_json: bool) -> None:
    """Print what was done: counts to standard output, notes to standard error."""
    counts = result.counts
    if as_json:
        fields = asdict(counts)
        fields |= {"rejected": dict(counts.rejected), "steps": dict(counts.steps), "source": result.source}
        fields |= {"rejected_file": str(result.rejected_path) if result.rejected_path else None}
        fields |= {"wrote_flow": str(result.wrote_flow) if result.wrote_flow else None, "notes": result.notes}
        typer.echo(json.dumps(fields, ensure_ascii=False))
        return
    for line in _lines(result):
        typer.echo(line)
    for note in result.notes:
        typer.echo(f"note: {note}", err=True)


def _lines(result: ImportResult) -> Iterator[str]:
    counts = result.counts
    if result.wrote_flow:
        yield f"wrote {result.wrote_flow}; correct titles, owner and targets, then: cxgauge check {result.wrote_flow}"
    if counts.resumed_at and not counts.accepted and not counts.rejected_total:
        yield "nothing new: this content is imported already"
        return
    again = " more" if counts.resumed_at else ""
    yield f"imported {counts.accepted:,}{again} observations{_span(counts.first_us, counts.last_us)}"
    for step, number in counts.steps.most_common():
        yield f"  {number:>9,}  {step}"
    if counts.rejected_total:
        yield f"not imported: {counts.rejected_total:,} lines, kept in {result.rejected_path}"
        for reason, number in counts.rejected.most_common():
            yield f"  {number:>9,}  {reason}"


def _span(first_us: int | None, last_us: int | None) -> str:
    if first_us is None or last_us is None:
        return ""
    first, last = (datetime.fromtimestamp(us / 1e6, UTC).isoformat(" ", "seconds")[:19] for us in (first_us, last_us))
    return f" from {first} to {last} UTC"
