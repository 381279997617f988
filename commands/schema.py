"""``cxgauge schema``: JSON Schema for editors."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["SchemaOf", "schema"]


class SchemaOf(StrEnum):
    """What a schema describes."""

    FLOW = "flow"
    CONFIG = "config"


def schema(
    of: Annotated[SchemaOf, typer.Option("--of", help="Which kind of file.")] = SchemaOf.FLOW,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; standard output by default.")
    ] = None,
) -> None:
    """Print the JSON Schema (draft-07) of flow files or of cxgauge.yml.

    Editors with a YAML language server complete and check with it: write as the first line of a flow file
    "# yaml-language-server: $schema=../flow.schema.json".

    \b
    Example:  cxgauge schema -o flow.schema.json
              cxgauge schema --of config -o config.schema.json
    """  # noqa: D301 - \b is meant: it keeps the lines below as they are
    import json

    from ..metrics.specification.flow_schema import specification_schema

    text = json.dumps(specification_schema("flow" if of is SchemaOf.FLOW else "config"), ensure_ascii=False, indent=2)
    if output is None:
        typer.echo(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        typer.echo(f"{output} cannot be written ({error.strerror}); choose another --output", err=True)
        raise typer.Exit(1) from None
