"""``cxgauge alerts``: see alerts, and say what is done about them."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ._installation import ConfigOption, fail, load_config, open_store

if TYPE_CHECKING:
    from ..alerts.alert import Alert
    from ..alerts.installation import Alerting
    from ..metrics.store.store import Store

__all__ = ["alerts"]

alerts = typer.Typer(help="See alerts, and say what is done about them.", no_args_is_help=True)

FormatOption = Annotated[Literal["text", "json"], typer.Option("--format", help="How to print.")]
ByOption = Annotated[str, typer.Option("--by", help="Who does it; your user name by default.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the alert, or how it begins.")]
_ALL = ("pending", "firing", "resolved")
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


@contextmanager
def _opened(config_path: Path | None) -> Iterator[tuple[Store, Alerting]]:
    from ..alerts.installation import alerting
    from ..metrics.specification.flow import flow_files, read_flows

    config = load_config(config_path)
    directory = config.flows.directory
    flows, faults = read_flows(flow_files(directory) if directory.is_dir() else [])
    if faults:
        raise fail("\n".join(str(fault) for fault in faults))
    with open_store(config) as store:
        yield store, alerting(config, flows, store)


@alerts.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Resolved alerts too.")] = False,
    flow: Annotated[str | None, typer.Option(help="Only this flow.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    format_: FormatOption = "text",
    config: ConfigOption = None,
) -> None:
    """List open alerts, newest first.

    Example:  cxgauge alerts list --all --flow bill_inquiry
    """
    from ..alerts.alert import alert_from_json
    from ..metrics.store.alerts import read_alerts

    with _opened(config) as (store, alerting):
        with store.connection() as connection:
            documents = read_alerts(connection, _ALL if everything else _ALL[:2], flow, limit=limit)
        found = [alert_from_json(document) for document in documents]
        if format_ == "json":
            typer.echo(json.dumps([_payload(alerting, alert) for alert in found], ensure_ascii=False, indent=2))
            return
        if not found:
            typer.echo("no open alerts" if not everything else "no alerts")
        for alert in found:
            message = _message(alerting, alert)
            whose = alert.assignee or message.data["alert"]["owner"]
            typer.echo(f"{alert.id}  {message.subject}" + (f"  ({whose})" if whose else ""))
            typer.echo(f"{'':14}{message.short}")


@alerts.command()
def show(id_: IdArgument, format_: FormatOption = "text", config: ConfigOption = None) -> None:
    """Show one alert in full, with its evidence and what was done about it.

    Example:  cxgauge alerts show 3f9a
    """
    from ..alerts.alert import Transition, TransitionKind, alert_from_json
    from ..alerts.figures import Figures
    from ..alerts.message import plain
    from ..dashboards.pages.alert import transition_words
    from ..dashboards.wording import Wording
    from ..metrics.store.alerts import read_alert, read_transitions

    with _opened(config) as (store, alerting):
        with store.connection() as connection:
            document = read_alert(connection, id_)
            if document is None:
                raise fail(f"no single alert's id begins with {id_!r}; see the ids with: cxgauge alerts list --all")
            alert = alert_from_json(document)
            trail = read_transitions(connection, alert.id)
        figures = Figures(alerting.announcer.language, alerting.announcer.zone)
        if format_ == "json":
            steps = [
                {"at": figures.iso(each.at), "kind": each.kind, "by": each.actor, "note": each.note} for each in trail
            ]
            typer.echo(json.dumps({**_payload(alerting, alert), "trail": steps}, ensure_ascii=False, indent=2))
            return
        typer.echo(plain(_message(alerting, alert)))
        words = Wording(alerting.announcer.language, alerting.announcer.zone)
        for each in trail:
            kind = TransitionKind(each.kind)
            what = transition_words(Transition(alert.id, 0, kind, each.at), words)
            moment = datetime.fromtimestamp(each.at, alerting.announcer.zone)
            typer.echo(f"{moment:%Y-%m-%d %H:%M:%S}  " + " · ".join(filter(None, (what, each.actor, each.note))))


@alerts.command()
def acknowledge(
    id_: IdArgument,
    note: Annotated[str, typer.Option(help="What you are going to do.")] = "",
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """Say that you look at an alert: reminders stop.

    Example:  cxgauge alerts acknowledge 3f9a --note "rolling back 8.2.0"
    """
    _act(config, lambda actions, by: actions.acknowledge(id_, by, note), by, "acknowledged")


@alerts.command()
def assign(
    id_: IdArgument,
    to: Annotated[str, typer.Argument(help="Person or team.")],
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """Give an alert to a person or a team.

    Example:  cxgauge alerts assign 3f9a cards-backend
    """
    _act(config, lambda actions, by: actions.assign(id_, to, by), by, f"assigned to {to}")


@alerts.command()
def comment(
    id_: IdArgument,
    text: Annotated[str, typer.Argument(help="The remark.")],
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """Add a remark to an alert.

    Example:  cxgauge alerts comment 3f9a "began with release 8.2.0"
    """
    _act(config, lambda actions, by: actions.comment(id_, text, by), by, "commented")


@alerts.command()
def accept(
    id_: IdArgument,
    note: Annotated[str, typer.Option(help="Why the new level is all right.")] = "",
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """Declare an alert's new level normal: it ends, and the baseline learns from the time since it began.

    Example:  cxgauge alerts accept 3f9a --note "the new check takes 0.2 s, agreed with product"
    """
    _act(config, lambda actions, by: actions.accept(id_, by, note), by, "accepted as the new normal")


@alerts.command()
def silence(
    comment: Annotated[str, typer.Argument(help="Why nobody is to be told.")],
    length: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 1d.")] = "1h",
    flow: Annotated[str, typer.Option(help="Only flows of this name; * stands for anything.")] = "*",
    step: Annotated[str, typer.Option(help="Only steps of this name; * stands for anything.")] = "*",
    kind: Annotated[str, typer.Option(help="Only alerts of this kind: slower, tail, failing, silent.")] = "*",
    dimension: Annotated[list[str] | None, typer.Option(help="Only this dimension value: region=north.")] = None,
    maintenance: Annotated[bool, typer.Option(help="Also keep the time from teaching the baseline.")] = False,
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """Hold back messages for a while; alerts are still found and kept.

    Example:  cxgauge alerts silence "core banking upgrade" --for 3h --flow "transfer*" --maintenance
    """
    pairs = tuple(_pair(text) for text in dimension or ())
    with _opened(config) as (_, alerting):
        try:
            made = alerting.actions.silence(
                _seconds(length), by or getpass.getuser(), comment, flow=flow, step=step, kind=kind, dimensions=pairs,
                maintenance=maintenance,
            )  # fmt: skip
        except ValueError as error:
            raise fail(str(error)) from None
    typer.echo(
        f"silence {made.id} until {datetime.fromtimestamp(made.ends_at, alerting.announcer.zone):%Y-%m-%d %H:%M}"
    )


@alerts.command("end-silence")
def end_silence(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Id of the silence, or its beginning.")],
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """End a silence now; the page of silences lists them.

    Example:  cxgauge alerts end-silence 5ed4
    """
    from ..alerts.actions import UnknownSilenceError

    with _opened(config) as (_, alerting):
        try:
            ended = alerting.actions.end_silence(id_, by or getpass.getuser())
        except UnknownSilenceError as error:
            raise fail(str(error)) from None
    typer.echo(f"silence {ended.id} ended")


def _act(config: Path | None, act: Any, by: str, done: str) -> None:
    from ..alerts.lifecycle import UnknownAlertError

    with _opened(config) as (_, alerting):
        try:
            alert = act(alerting.actions, by or getpass.getuser())
        except UnknownAlertError as error:
            raise fail(str(error)) from None
        typer.echo(f"{alert.id} {done}")


def _message(alerting: Alerting, alert: Alert) -> Any:
    import time

    from ..alerts.message import Event

    return alerting.announcer.message(alert, Event.FIRING, alerting.announcer.language, time.time())


def _payload(alerting: Alerting, alert: Alert) -> dict[str, Any]:
    payload: dict[str, Any] = _message(alerting, alert).data["alert"]
    return payload


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise typer.BadParameter(f"{text!r} is not a dimension value; write name=value, e.g. region=north")
    return name, value


def _seconds(text: str) -> float:
    unit = _UNITS.get(text[-1:])
    try:
        if unit is None:
            raise ValueError
        return float(text[:-1]) * unit
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a length of time; write e.g. 30m, 2h or 1d") from None
