"""``cxgauge notify``: try notifiers, and see what waits to be sent."""

from __future__ import annotations

import json
import time
from typing import Annotated, Literal

import typer

from ._installation import ConfigOption, fail, load_config, open_store

__all__ = ["notify"]

_GIVEN_UP_SECONDS = 7 * 86_400

notify = typer.Typer(help="Try notifiers, and see what waits to be sent.", no_args_is_help=True)


@notify.command("test")
def test_(
    name: Annotated[str, typer.Argument(help="Name of the notifier in the configuration.")],
    config: ConfigOption = None,  # noqa: PT028 (a command, not a test)
) -> None:
    """Send a test message through one notifier, at once, and say what became of it.

    Example:  cxgauge notify test wecom
    """
    from ..alerts.notifier import Outcome
    from ..alerts.notifier_factory import make_notifier
    from ..alerts.notifier_trial import trial_message, try_alertmanager
    from ..metrics.configuration.notifiers import AlertmanagerNotifier

    loaded = load_config(config)
    setting = next((each for each in loaded.notifiers if each.name == name), None)
    if setting is None:
        known = ", ".join(each.name for each in loaded.notifiers)
        raise fail(f"no notifier is called {name!r}; the configuration has {known}")
    language = setting.language or loaded.alerts.language or loaded.language
    if isinstance(setting, AlertmanagerNotifier):
        delivery = try_alertmanager(setting, language)
    else:
        notifier = make_notifier(setting)
        if notifier is None:
            raise fail(f"notifier {name!r} of type {setting.type} cannot be tried")
        try:
            delivery = notifier.send([trial_message(language, loaded.timezone)])
        finally:
            notifier.close()
    if delivery.outcome is not Outcome.SENT:
        raise fail(f"{name}: not delivered, {delivery.detail or delivery.outcome.value}")
    typer.echo(f"{name}: delivered" + (f", {delivery.detail}" if delivery.detail else ""))


@notify.command()
def status(
    format_: Annotated[Literal["text", "json"], typer.Option("--format", help="How to print.")] = "text",
    config: ConfigOption = None,
) -> None:
    """Show what waits to be sent, by notifier, and why; and what was given up in the last seven days.

    Example:  cxgauge notify status
    """
    from datetime import datetime

    from ..metrics.store.outbox import given_up_messages, waiting_messages

    loaded = load_config(config)
    with open_store(loaded) as store, store.connection() as connection:
        waiting = waiting_messages(connection)
        given_up = given_up_messages(connection, time.time() - _GIVEN_UP_SECONDS)
    if format_ == "json":
        rows = [
            {
                "notifier": each.notifier,
                "waiting": each.count,
                "oldest_at": each.oldest_at,
                "next_attempt_at": each.next_attempt_at,
                "last_error": each.last_error,
            }
            for each in waiting
        ]
        lost = [
            {"notifier": each.notifier, "given_up": each.count, "newest_at": each.newest_at, "reason": each.reason}
            for each in given_up
        ]
        typer.echo(json.dumps({"waiting": rows, "given_up": lost}, ensure_ascii=False, indent=2))
        return
    if not waiting:
        typer.echo("nothing waits to be sent")
    for each in waiting:
        oldest, following = (
            datetime.fromtimestamp(at, loaded.timezone) for at in (each.oldest_at, each.next_attempt_at)
        )
        why = f"; last answer: {each.last_error}" if each.last_error else ""
        typer.echo(
            f"{each.notifier}: {each.count} waiting since {oldest:%Y-%m-%d %H:%M}, next try {following:%H:%M:%S}{why}"
        )
    for gone in given_up:
        newest = datetime.fromtimestamp(gone.newest_at, loaded.timezone)
        typer.echo(f"{gone.notifier}: {gone.count} given up, the newest of {newest:%Y-%m-%d %H:%M}: {gone.reason}")
