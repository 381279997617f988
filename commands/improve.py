"""``cxgauge improve``: the ledger of what is done about findings, and whether it helped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ._installation import ConfigOption, fail, load_config, open_store

if TYPE_CHECKING:
    from ..dashboards.improvements import Actor

__all__ = ["improve"]

improve = typer.Typer(
    help="Write down what is done about a finding; reports say whether it helped.", no_args_is_help=True
)


@improve.command()
def add(
    flow: Annotated[str, typer.Argument(metavar="FLOW", help="Name of the flow.")],
    step: Annotated[str, typer.Argument(metavar="STEP", help="Name of the step.")],
    action: Annotated[str, typer.Argument(help="What is going to be done.")],
    measure: Annotated[str, typer.Option(help="p50, p95, p99, good_rate or check:NAME.")] = "p95",
    owner: Annotated[str, typer.Option(help="Who does it; the flow's owner by default.")] = "",
    due: Annotated[str, typer.Option(help="Until which day, such as 2026-04-30.")] = "",
    finding: Annotated[str, typer.Option(help="What was found, such as the id of an alert.")] = "",
    note: Annotated[str, typer.Option(help="Anything else.")] = "",
    dimension: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="For these customers only; repeat it. Default: all.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Plan an improvement.

    Example:  cxgauge improve add bill_inquiry bill_total "cache the statement" --measure p95 --due 2026-04-30
    """
    import time

    from ..dashboards.improvements import add_improvement
    from ._report import declared_flow

    settings = load_config(config)
    spec = declared_flow(settings, flow)
    with open_store(settings) as store:
        try:
            entry = add_improvement(
                store, spec, step, measure, action, owner=owner or spec.owner, due=due, finding=finding,
                now=time.time(), note=note, dimensions=dict(map(_pair, dimension or ())), by=_actor(),
            )  # fmt: skip
        except ValueError as error:
            raise fail(str(error)) from None
    typer.echo(f"planned {entry.id}; when it is done: cxgauge improve done {entry.id}")


@improve.command()
def done(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id of the improvement.")],
    at: Annotated[str, typer.Option(help="When it took effect: a day, a time, now, or 2d for two days ago.")] = "now",
    config: ConfigOption = None,
) -> None:
    """Say that an improvement took effect; from then on reports measure it.

    Example:  cxgauge improve done 3f9a01bc --at 2026-04-12T02:00
    """
    import time

    from ..dashboards.improvements import finish_improvement
    from ..dashboards.periods import parse_moment

    settings = load_config(config)
    try:
        moment = parse_moment(at, settings.timezone, time.time())
    except ValueError as error:
        raise fail(str(error)) from None
    with open_store(settings) as store:
        try:
            known = finish_improvement(store, identity, moment, by=_actor())
        except ValueError as error:
            raise fail(str(error)) from None
    if not known:
        raise fail(_unknown(identity))
    typer.echo(f"done {identity}; the next report of its flow says whether it helped")


@improve.command()
def change(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id of the improvement.")],
    action: Annotated[str | None, typer.Option(help="What is going to be done.")] = None,
    owner: Annotated[str | None, typer.Option(help="Who does it.")] = None,
    due: Annotated[str | None, typer.Option(help="Until which day, such as 2026-04-30.")] = None,
    note: Annotated[str | None, typer.Option(help="Anything else.")] = None,
    config: ConfigOption = None,
) -> None:
    """Change what is going to be done, by whom, until when, or the note.

    Example:  cxgauge improve change 3f9a01bc --owner cards --due 2026-05-31
    """
    import time

    from ..dashboards.improvements import change_improvement

    with open_store(load_config(config)) as store:
        try:
            changed = change_improvement(
                store, identity, by=_actor(), now=time.time(), action=action, owner=owner, due=due, note=note
            )
        except ValueError as error:
            raise fail(str(error)) from None
    if changed is None:
        raise fail(_unknown(identity))
    typer.echo(f"changed {identity}")


@improve.command()
def drop(
    identity: Annotated[str, typer.Argument(metavar="ID", help="Id of the improvement.")],
    reopen: Annotated[bool, typer.Option("--reopen", help="Take it up again instead.")] = False,
    config: ConfigOption = None,
) -> None:
    """Give an improvement up; it stays in the ledger.

    Example:  cxgauge improve drop 3f9a01bc
    """
    import time

    from ..dashboards.improvements import close_improvement

    with open_store(load_config(config)) as store:
        if not close_improvement(store, identity, by=_actor(), now=time.time(), reopen=reopen):
            raise fail(_unknown(identity))
    typer.echo(f"{'planned again' if reopen else 'given up'}: {identity}")


@improve.command("list")
def list_(
    flow: Annotated[str | None, typer.Option(help="Only this flow.")] = None, config: ConfigOption = None
) -> None:
    """List planned and finished improvements.

    Example:  cxgauge improve list --flow bill_inquiry
    """
    from ..dashboards.improvements import read_improvements
    from ..dashboards.wording import Wording

    settings = load_config(config)
    wording = Wording(settings.language, settings.timezone)
    with open_store(settings) as store:
        entries = read_improvements(store, flow)
    for entry in entries:
        state = f"done {wording.time(entry.done_at)}" if entry.done_at else f"planned, due {entry.due or '–'}"
        state = f"given up {wording.time(entry.dropped_at)}" if entry.dropped_at else state
        typer.echo(
            f"{entry.id}  {entry.flow} › {entry.step} ({entry.measure}): {entry.action}  [{entry.owner}; {state}]"
        )
    if not entries:
        typer.echo("nothing planned yet; plan something with: cxgauge improve add")


def _actor() -> Actor:
    import getpass

    from ..dashboards.improvements import Actor

    return Actor(getpass.getuser())


def _unknown(identity: str) -> str:
    return f"no improvement has the id {identity!r}; see them with: cxgauge improve list"


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise fail(f"--dimension {text} is not NAME=VALUE; write e.g. channel=app")
    return name, value
