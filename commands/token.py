"""``cxgauge token``: who may send to the receiver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..metrics.configuration.config import Config

from ._installation import ConfigOption

__all__ = ["add", "list_tokens", "revoke", "token"]

token = typer.Typer(
    name="token", no_args_is_help=True, help="Tokens of senders: make, list and revoke them. Every change is audited."
)


@token.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose token it is, for lists and the audit.")],
    flow: Annotated[
        list[str] | None, typer.Option("--flow", help="Flow it may send for; repeat it. Default: all.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    r"""Make a token and print it; it is kept as a hash only and cannot be shown again.

    \b
    Example:  cxgauge token add bill-service --flow bill_inquiry
    """
    from ..collectors.receiver.sender_tokens import TokensFileError
    from ..metrics.configuration.config import SpecificationError
    from ..metrics.specification.flow import load_flows
    from ._installation import fail, load_config

    settings = load_config(config)
    try:
        known = load_flows(settings.flows.directory) if flow else {}
    except SpecificationError as error:
        raise fail(str(error)) from None
    for one in flow or ():
        if one not in known:
            raise fail(
                f"--flow {one} is not a flow of {settings.flows.directory}; known are {', '.join(sorted(known))}"
            )
    try:
        with _audited(settings) as audit:
            text, made = _tokens(settings).add(name, tuple(flow) if flow else None)
            audit("token added", made.id, {"name": made.name, "flows": list(flow) if flow else None})
    except (TokensFileError, ValueError) as error:
        raise fail(str(error)) from None
    typer.echo(text)
    typer.echo(f"Token {made.id} for {made.name}. Send it as `Authorization: Bearer {text[:13]}…`.", err=True)


@token.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The eight digits after `cxg_`.")],
    config: ConfigOption = None,
) -> None:
    r"""End a token; the receiver refuses it within a second.

    \b
    Example:  cxgauge token revoke 3f9a01c2
    """
    from ..collectors.receiver.sender_tokens import TokensFileError
    from ._installation import fail, load_config

    settings = load_config(config)
    try:
        with _audited(settings) as audit:
            ended = _tokens(settings).revoke(token_id)
            audit("token revoked", ended.id, {"name": ended.name})
    except KeyError:
        raise fail(f"there is no token {token_id}; `cxgauge token list` shows them") from None
    except TokensFileError as error:
        raise fail(str(error)) from None
    typer.echo(f"Token {ended.id} of {ended.name} is revoked.", err=True)


@token.command("list")
def list_tokens(config: ConfigOption = None) -> None:
    r"""List tokens: id, state, flows, name; never the tokens themselves.

    \b
    Example:  cxgauge token list
    """
    import datetime as dt

    from ..collectors.receiver.sender_tokens import TokensFileError
    from ._installation import fail, load_config

    settings = load_config(config)
    try:
        tokens = _tokens(settings).all()
    except TokensFileError as error:
        raise fail(str(error)) from None
    for one in tokens:
        made = dt.datetime.fromtimestamp(one.created_at, settings.timezone).isoformat(timespec="seconds")
        state = "good" if one.revoked_at is None else "revoked"
        typer.echo(
            f"{one.id}  {state:<7}  {made}  {'all flows' if one.flows is None else ','.join(one.flows)}  {one.name}"
        )


def _tokens(config: Config) -> Any:
    from ..collectors.receiver.server import sender_tokens

    return sender_tokens(config)


@contextmanager
def _audited(config: Config) -> Iterator[Callable[[str, str, dict[str, Any]], None]]:
    """A function that writes to the audit; the store is reached first, so that no act goes unaudited for lack of it."""
    import getpass

    from ..metrics.store.audit import COMMAND_LINE
    from ..metrics.store.audit import audit as note
    from ._installation import open_store

    with open_store(config) as store:

        def write(action: str, subject: str, details: dict[str, Any]) -> None:
            with store.connection() as connection:
                note(connection, getpass.getuser(), action, subject, details, COMMAND_LINE)

        yield write
