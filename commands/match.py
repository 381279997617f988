"""``cxgauge match``: what do these spans become?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..collectors.receiver.match_explanation import Explanation

from ._installation import ConfigOption

__all__ = ["MatchFormat", "match"]

_MISSES_SHOWN = 3


class MatchFormat(StrEnum):
    """How the result is printed."""

    TEXT = "text"
    JSON = "json"


def match(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Spans: an OTLP export request, protobuf or JSON.")],
    explain: Annotated[bool, typer.Option("--explain", help="Say which conditions the other spans miss.")] = False,
    config: ConfigOption = None,
    output: Annotated[MatchFormat, typer.Option("--format", help="How to print.")] = MatchFormat.TEXT,
) -> None:
    r"""Show which steps the spans in a file become, by the flows' `match` rules and explicit attributes.

    FILE is what a sender posts to /v1/traces, plain or compressed, or what the OpenTelemetry Collector's file exporter
    writes (a JSON request a line). Exits with 1 when no span becomes a step.

    \b
    Example:  cxgauge match spans.json --explain
    """
    from ..collectors.receiver.match_explanation import explain as explain_spans
    from ..collectors.receiver.match_explanation import read_spans
    from ..collectors.receiver.otlp_decode import MalformedBodyError
    from ..collectors.receiver.request_body import BodyTooLargeError, CorruptBodyError
    from ..metrics.configuration.config import SpecificationError
    from ..metrics.specification.flow import load_flows
    from ._installation import fail, load_config

    settings = load_config(config)
    try:
        flows = load_flows(settings.flows.directory)
        found = explain_spans(read_spans(file), flows)
    except (SpecificationError, MalformedBodyError, CorruptBodyError, BodyTooLargeError) as error:
        raise fail(str(error)) from None
    except (OSError, ValueError) as error:
        raise fail(f"{file} cannot be read: {error}") from None
    if output is MatchFormat.JSON:
        _print_json(found)
    else:
        _print_text(found, explain)
    if not any(one.match for one in found):
        raise typer.Exit(1)


def _print_text(found: list[Explanation], explain: bool) -> None:
    for one in found:
        if one.match is not None:
            typer.echo(f"{one.count:>8}  {one.spans.name}  ->  {one.match.flow.name}.{one.match.step.name}")
            if explain:
                typer.echo(f"          by {one.match.rule}")
                if one.match.also:
                    typer.echo(f"          also matches {', '.join(one.match.also)}; the first in order was taken")
        elif one.refusal is not None:
            typer.echo(f"{one.count:>8}  {one.spans.name}  ->  refused: {one.refusal}")
        else:
            typer.echo(f"{one.count:>8}  {one.spans.name}  ->  no step")
            for miss in one.misses[:_MISSES_SHOWN] if explain else []:
                typer.echo(f"          {miss.place}: {'; '.join(miss.failed)}")
    matched = sum(one.count for one in found if one.match is not None)
    typer.echo(f"{matched} of {sum(one.count for one in found)} spans are steps.", err=True)


def _print_json(found: list[Explanation]) -> None:
    import json

    rows = [
        {
            "name": one.spans.name,
            "kind": one.spans.kind,
            "attributes": dict(one.spans.attributes),
            "count": one.count,
            "flow": one.match.flow.name if one.match is not None else None,
            "step": one.match.step.name if one.match is not None else None,
            "rule": one.match.rule if one.match is not None else None,
            "also": list(one.match.also) if one.match is not None else [],
            "refusal": one.refusal,
            "misses": [{"place": miss.place, "failed": list(miss.failed)} for miss in one.misses],
        }
        for one in found
    ]
    typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
