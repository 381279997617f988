"""``cxgauge reconcile``: is what customers were shown what the system of record says?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..collectors.reconcile import Reconciliation
    from ..metrics.configuration.secret import Secret

from ._installation import ConfigOption

__all__ = ["ReconcileFormat", "reconcile"]


class ReconcileFormat(StrEnum):
    """How the result is printed."""

    TEXT = "text"
    JSON = "json"


def reconcile(
    flow: Annotated[str, typer.Argument(metavar="FLOW", help="Name of the flow.")],
    value: Annotated[str, typer.Argument(metavar="STEP.VALUE", help="A value that a check between steps uses.")],
    dsn: Annotated[str | None, typer.Option(help="PostgreSQL of the reference: env:NAME or file:PATH.")] = None,
    sql: Annotated[str | None, typer.Option(help="Query that gives flow instance and value.")] = None,
    url: Annotated[str | None, typer.Option(help="Endpoint: an address, env:NAME or file:PATH.")] = None,
    authorization: Annotated[str | None, typer.Option(help="Its Authorization: env:NAME or file:PATH.")] = None,
    file: Annotated[Path | None, typer.Option(help="File of the reference: .csv, or JSON lines.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="How many shown values to draw; all by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes the draw repeatable.")] = None,
    config: ConfigOption = None,
    output: Annotated[ReconcileFormat, typer.Option("--format", help="How to print.")] = ReconcileFormat.TEXT,
) -> None:
    r"""Compare shown values with the system of record, by keyed tokens; no value is kept or printed.

    The reference is one of --sql with --dsn (read-only), --url (JSON lines) or --file. Its rows are flow instance, as
    the application gave it, and value. Exits with 1 when any value differs.

    \b
    Example:  cxgauge reconcile bill_inquiry bill_total.total --dsn env:CORE_DSN \
                --sql "SELECT statement_id, total FROM statements WHERE issued_on = current_date"
    """
    from ..collectors.customer_token import CustomerKeyError
    from ..collectors.receiver.server import across_file, shape_settings
    from ..collectors.reconcile import UnreadableReferenceError, shown_tokens
    from ..collectors.reconcile import reconcile as compare
    from ..metrics.configuration.config import SecretError, SpecificationError
    from ..metrics.specification.flow import load_flows
    from ._installation import fail, load_config

    settings = load_config(config)
    try:
        rows = _reference(dsn, sql, url, authorization, file)
        flows = load_flows(settings.flows.directory)
        if flow not in flows:
            raise fail(f"{flow} is not a flow of {settings.flows.directory}; known are {', '.join(sorted(flows))}")
        tokens = shape_settings(settings).tokens
        if tokens is None:
            raise fail("there is no key to make tokens with; set recorder.customer_key")
        check, shown = shown_tokens(across_file(settings), flows[flow], value)
        found = compare(shown, rows, check, tokens, sample=sample, seed=seed)
    except (SpecificationError, SecretError, CustomerKeyError, UnreadableReferenceError, OSError, ValueError) as error:
        raise fail(str(error)) from None
    if output is ReconcileFormat.JSON:
        _print_json(found)
    else:
        _print_text(found)
    if found.differing:
        raise typer.Exit(1)


def _reference(
    dsn: str | None, sql: str | None, url: str | None, authorization: str | None, file: Path | None
) -> Iterator[tuple[object, object]]:
    from ..collectors.reconcile import reference_from_file, reference_from_http, reference_from_sql

    if sum(one is not None for one in (sql, url, file)) != 1 or (sql is None) != (dsn is None):
        raise ValueError("give one reference: --sql with --dsn, --url, or --file")
    if sql is not None and dsn is not None:
        return reference_from_sql(_secret("--dsn", dsn), sql)
    if url is not None:
        header = {} if authorization is None else {"Authorization": _secret("--authorization", authorization)}
        return reference_from_http(_secret("--url", url, plain=True), header)
    assert file is not None  # noqa: S101 - exactly one is given
    return reference_from_file(file)


def _secret(option: str, text: str, *, plain: bool = False) -> Secret:
    from ..metrics.configuration.secret import Secret

    kind, _, name = text.partition(":")
    if kind == "env" and name:
        return Secret(variable=name)
    if kind == "file" and name:
        return Secret(file=Path(name))
    if plain and kind in ("http", "https"):
        return Secret(plain=text)
    raise ValueError(f"{option} is a secret; write env:NAME or file:PATH, not the secret itself")


def _print_text(found: Reconciliation) -> None:
    typer.echo(f"shown      {found.shown:>10}")
    typer.echo(f"sampled    {found.sampled:>10}")
    typer.echo(f"matched    {found.matched:>10}")
    typer.echo(f"differing  {found.differing:>10}")
    typer.echo(f"missing    {found.missing:>10}   not in the reference")
    if found.other_key:
        typer.echo(f"other key  {found.other_key:>10}   tokens of a key that is not known any more")
    if found.unreadable:
        typer.echo(f"unreadable {found.unreadable:>10}   rows of the reference")
    if found.error_rate is None or found.interval is None:
        typer.echo("Nothing could be compared.")
        return
    low, high = found.interval
    typer.echo(f"error rate {found.error_rate:.4%} (95 % interval {low:.4%} to {high:.4%})")


def _print_json(found: Reconciliation) -> None:
    import json
    from dataclasses import asdict

    low, high = found.interval if found.interval is not None else (None, None)
    rate = {"error_rate": found.error_rate, "error_rate_low": low, "error_rate_high": high}
    typer.echo(json.dumps({**asdict(found), **rate}, indent=2))
