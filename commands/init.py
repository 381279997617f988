"""``cxgauge init``: start from a template."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["init"]


def init(
    template: Annotated[
        list[str] | None, typer.Option("--template", "-t", help="Template to start from; may be given several times.")
    ] = None,
    directory: Annotated[Path, typer.Option("--directory", "-d", help="Folder to write to.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the templates and exit.")] = False,
) -> None:
    """Write cxgauge.yml and flows/NAME.yml from a template, with comments.

    A cxgauge.yml that is there is kept, so flows can be added one by one.

    \b
    Example:  cxgauge init --list
              cxgauge init --template bill_inquiry --template transfer
    """  # noqa: D301 - \b is meant: it keeps the lines below as they are
    from ..metrics.specification.template import ExistingFileError, UnknownTemplateError, write_project

    if listed or not template:
        _list()
        if listed:
            return
        typer.echo("\nChoose one: cxgauge init --template bill_inquiry", err=True)
        raise typer.Exit(2)
    try:
        written, kept = write_project(directory, tuple(dict.fromkeys(template)), force=force)
    except (ExistingFileError, UnknownTemplateError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        typer.echo(f"{error.filename} cannot be written ({error.strerror}); choose another --directory", err=True)
        raise typer.Exit(1) from None
    for path in kept:
        typer.echo(f"kept   {path}")
    for path in written:
        typer.echo(f"wrote  {path}")
    typer.echo(f"Adapt them, then: cxgauge check {directory}")


def _list() -> None:
    from ..metrics.specification.template import template_names, template_spec

    for name in template_names():
        spec = template_spec(name)
        steps = " → ".join(step.name for step in spec.steps)
        typer.echo(f"{name:<20} {spec.title.en} · {spec.title.zh}\n{'':<20} {steps}")
