"""``cxgauge rules``: Prometheus rules from the flow specification."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..metrics.specification.flow import FlowSpec

__all__ = ["rules"]

rules = typer.Typer(
    help="Prometheus rules from the flow specification: write them, or check files against it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Flows = Annotated[Path, typer.Option("--flows", metavar="PATH", help="Flow file, or folder of flow files.")]
_Start = Annotated[
    str | None,
    typer.Option(
        "--tests-start",
        metavar="TIME",
        help="When test cases begin, 2026-01-05T00:00:00Z (needs promtool 3.9).",
    ),
]
_Tests = Annotated[bool, typer.Option("--tests/--no-tests", help="With test cases for `promtool test rules`.")]


@rules.command()
def prometheus(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder to write to; by default print.")
    ] = None,
    flows: _Flows = Path("flows"),
    tests: _Tests = True,
    tests_start: _Start = None,
) -> None:
    r"""Write recording rules, alerts and their tests: one file a flow, one for the ruler itself.

    Files of flows that are gone are removed; files of others are left alone. In prometheus.yml:
    rule_files: ["DIR/*.rules.yml"]

    \b
    Example:  cxgauge rules prometheus -o rules/
              promtool test rules rules/tests/*.test.yml
    """
    from ..alerts.prometheus.rule_files import rule_files, write_rule_files

    files = rule_files(_load(flows), tests=tests and output is not None, tests_start=_start(tests_start))
    if output is None:
        typer.echo("---\n".join(f"# {name}\n{text}" for name, text in files.items()), nl=False)
        return
    try:
        changed = write_rule_files(files, output)
    except OSError as error:
        typer.echo(
            f"{error.filename or output} cannot be written ({error.strerror}); choose another --output", err=True
        )
        raise typer.Exit(1) from None
    unchanged = len(files) - sum(name in files for name in changed)
    for name in changed:
        typer.echo(f"{'wrote' if name in files else 'removed'} {output / name}")
    if unchanged:
        typer.echo(f"{unchanged} unchanged")


@rules.command()
def check(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the rule files.")],
    flows: _Flows = Path("flows"),
    tests: _Tests = True,
    tests_start: _Start = None,
) -> None:
    r"""Tell where rule files and specification differ; exits with 1 if they do.

    \b
    Example:  cxgauge rules check rules/
    """
    from ..alerts.prometheus.rule_files import compare_rule_files, rule_files

    files = rule_files(_load(flows), tests=tests, tests_start=_start(tests_start))
    differences = compare_rule_files(files, directory)
    for difference in differences:
        typer.echo(str(difference))
    if differences:
        typer.echo(f"{len(differences)} differ; write them with: cxgauge rules prometheus -o {directory}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{len(files)} files are what the specification says.")


def _start(text: str | None) -> int | None:
    from datetime import datetime

    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        typer.echo(f"--tests-start {text!r} is not a time with its zone; write it like 2026-01-05T00:00:00Z", err=True)
        raise typer.Exit(1)
    return int(found.timestamp())


def _load(path: Path) -> dict[str, FlowSpec]:
    from ..metrics.specification.flow import SpecificationError, load_flows

    try:
        return load_flows(path)
    except SpecificationError as error:
        for fault in error.faults:
            typer.echo(str(fault), err=True)
        raise typer.Exit(1) from None
