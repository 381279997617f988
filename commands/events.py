"""``cxgauge events``: note what happened around the flows, and list it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._installation import ConfigOption, fail, load_config, open_store

if TYPE_CHECKING:
    from ..metrics.change_event import ChangeEvent
    from ..metrics.configuration.config import Config
    from ..metrics.store.events import StoredEvent

__all__ = ["events"]

events = typer.Typer(
    help="Deployments, configuration changes, campaigns, incidents, maintenance: listed beside alerts near them.",
    no_args_is_help=True,
)


@events.command()
def add(
    title: Annotated[str, typer.Argument(metavar="TITLE", help="What people read, in one line.")],
    kind: Annotated[
        str, typer.Option(help="deployment, configuration, campaign, incident or maintenance.")
    ] = "deployment",
    at: Annotated[str, typer.Option(help="When it began: 2026-03-14T10:42, now, or 2h for two hours ago.")] = "now",
    ended_at: Annotated[str | None, typer.Option(help="When it ended, if it lasted.")] = None,
    flow: Annotated[str | None, typer.Option(help="The flow it concerns; all by default.")] = None,
    step: Annotated[str | None, typer.Option(help="The step it concerns.")] = None,
    version: Annotated[str | None, typer.Option(help="The version put into service.")] = None,
    detail: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="More; repeat it.")] = None,
    id_: Annotated[
        str | None, typer.Option("--id", help="Unique in its flow: given again, the event is changed, not doubled.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    r"""Note an event.

    \b
    Example:  cxgauge events add "bill-service 8.2.0" --flow bill_inquiry --version 8.2.0
    """
    from ..metrics.store.events import put_events

    settings = load_config(config)
    given = {"kind": kind, "title": title, "flow": flow, "step": step, "version": version, "id": id_}
    event = _event(settings, given, at, ended_at, detail or [])
    with open_store(settings) as store, store.connection() as connection, connection.transaction():
        put_events(connection, [event])
    typer.echo(event.id)


@events.command("list")
def list_(
    flow: Annotated[str | None, typer.Option(help="Only those of this flow and of all flows.")] = None,
    start: Annotated[str, typer.Option("--from", help="Begin of the span: a day, a time, or 7d for days ago.")] = "30d",
    end: Annotated[str | None, typer.Option("--to", help="End of the span; by default none.")] = (None),
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    format_: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
    config: ConfigOption = None,
) -> None:
    r"""List events, newest first.

    \b
    Example:  cxgauge events list --flow bill_inquiry --from 7d
    """
    import time

    from ..metrics.store.events import events_within

    if format_ not in ("text", "json"):
        raise fail(f"--format={format_!r} is neither text nor json")
    settings = load_config(config)
    now = time.time()
    first = _moment(settings, "--from", start, now)
    last = 4_102_444_800.0 if end is None else _moment(settings, "--to", end, now)
    with open_store(settings) as store, store.connection() as connection:
        found = events_within(connection, first, last, flow, limit=limit)
    if format_ == "json":
        typer.echo(json.dumps([_document(event) for event in found], ensure_ascii=False, indent=2))
        return
    for event in found:
        typer.echo(_line(event, settings))
    if not found:
        typer.echo("no events")


def _event(config: Config, given: dict[str, Any], at: str, ended_at: str | None, detail: list[str]) -> ChangeEvent:
    import time
    import uuid

    from pydantic import ValidationError

    from ..metrics.change_event import ChangeEvent
    from ..metrics.specification.flow import SpecificationError, load_flows

    now = time.time()
    details = {}
    for pair in detail:
        name, mark, value = pair.partition("=")
        if not mark:
            raise fail(f"--detail={pair!r} has no '='; write NAME=VALUE")
        details[name] = value
    if given["flow"] is not None:
        try:
            flows = load_flows(config.flows.directory)
        except SpecificationError as error:
            raise fail(str(error)) from None
        if given["flow"] not in flows:
            raise fail(f"--flow={given['flow']!r} is not a flow; known are {', '.join(sorted(flows))}")
        steps = [step.name for step in flows[given["flow"]].steps]
        if given["step"] is not None and given["step"] not in steps:
            raise fail(f"--step={given['step']!r} is not a step of {given['flow']}; known are {', '.join(steps)}")
    began = _moment(config, "--at", at, now)
    ended = None if ended_at is None else _moment(config, "--ended-at", ended_at, now)
    try:
        return ChangeEvent.model_validate(
            {
                **given,
                "id": given["id"] or uuid.uuid4().hex,
                "at": datetime.fromtimestamp(began, UTC),
                "ended_at": None if ended is None else datetime.fromtimestamp(ended, UTC),
                "details": details,
            }
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise fail(f"{place}: {message[:1].lower()}{message[1:]}" if place else message) from None


def _moment(config: Config, option: str, text: str, now: float) -> float:
    from ..dashboards.periods import parse_moment

    try:
        return parse_moment(text, config.timezone, now)
    except ValueError as error:
        raise fail(f"{option}: {error}") from None


def _line(event: StoredEvent, config: Config) -> str:
    moment = datetime.fromtimestamp(event.at, config.timezone)
    until = "" if event.ended_at is None else f" until {datetime.fromtimestamp(event.ended_at, config.timezone):%F %T}"
    place = " › ".join(part for part in (event.flow or "all flows", event.step) if part)
    version = f" ({event.version})" if event.version and event.version not in event.title else ""
    return f"{moment:%F %T}{until}  {event.kind}  {place}  {event.title}{version}"


def _document(event: StoredEvent) -> dict[str, Any]:
    def iso(at: float | None) -> str | None:
        return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")

    return {
        "kind": event.kind,
        "title": event.title,
        "at": iso(event.at),
        "ended_at": iso(event.ended_at),
        "flow": event.flow,
        "step": event.step,
        "version": event.version,
        "details": event.details,
        "id": event.identity,
    }
