"""``cxgauge check``: is the specification right?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..metrics.configuration.config import Config
    from ..metrics.strict_yaml import Document, Fault

__all__ = ["CheckFormat", "check"]


class CheckFormat(StrEnum):
    """How faults are printed."""

    TEXT = "text"
    JSON = "json"


def check(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH...", help="Flow files, configuration files, or folders of them."),
    ] = None,
    output: Annotated[CheckFormat, typer.Option("--format", help="How to print faults.")] = CheckFormat.TEXT,
) -> None:
    """Check flow and configuration files; print every fault with its line and remedy.

    A folder with a cxgauge.yml stands for that file and the flow folder it names. Pages that anybody on the network
    could read are a fault, as `cxgauge up` refuses them. Exits with 1 when there is any fault.

    \b
    Example:  cxgauge check flows/
              cxgauge check . --format json
    """  # noqa: D301 - \b is meant: it keeps the lines below as they are
    from ..metrics.specification.flow_check import check_paths, counts
    from ._unkeyed import REMEDY, unkeyed_checks

    report = check_paths(paths or [Path()])
    for config, document in zip(report.configs, report.config_documents, strict=True):
        report.faults.extend(_refused(config, document))
    if output is CheckFormat.JSON:
        _print_json([(fault.path, fault.line, fault.place, fault.text) for fault in report.faults])
    else:
        for fault in report.faults:
            typer.echo(str(fault))
    for config in report.configs:
        missing = unkeyed_checks(config, report.flows)
        if missing is not None:
            typer.echo(f"warning: {missing}; {REMEDY}", err=True)
    if report.faults:
        faulty = len({fault.path for fault in report.faults})
        summary = (
            f"{_number(len(report.faults), 'fault')} in {faulty} of {_number(max(len(report.files), faulty), 'file')}"
        )
        typer.echo(summary, err=True)
        raise typer.Exit(1)
    flows, steps, checks = counts(report.flows)
    summary = f"{_number(flows, 'flow')} with {_number(steps, 'step')} and {_number(checks, 'check')}"
    files = _number(len(report.files), "file")
    typer.echo(f"No fault in {files}: {summary}.", err=output is CheckFormat.JSON)


def _refused(config: Config, document: Document) -> list[Fault]:
    """Why ``cxgauge up`` would not start with this configuration."""
    from ..dashboards.access.listening import UnprotectedPagesError, refuse_unprotected
    from ..metrics.strict_yaml import Fault

    try:
        refuse_unprotected(config)
    except UnprotectedPagesError as error:
        return [Fault(document.path, document.line(("http", "host")), "http.host", str(error))]
    return []


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _print_json(faults: list[tuple[str, int, str, str]]) -> None:
    import json

    keys = ("path", "line", "place", "text")
    typer.echo(json.dumps([dict(zip(keys, fault, strict=True)) for fault in faults], ensure_ascii=False, indent=2))
