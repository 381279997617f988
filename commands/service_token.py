"""``cxgauge service-token``: programs that read the pages and reports."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ._installation import ConfigOption

__all__ = ["service_token"]

service_token = typer.Typer(
    no_args_is_help=True,
    help="Tokens of programs that read pages and reports: make, list and revoke them. Every change is audited.",
)


class TokenRole(StrEnum):
    """What a program may do."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    ENGINEER = "engineer"


@service_token.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the program; unique among tokens in use.")],
    role: Annotated[TokenRole, typer.Option("--role", help="What it may do.")] = TokenRole.VIEWER,
    flow: Annotated[
        list[str] | None, typer.Option("--flow", help="Flow that it may see; repeat it. Default: all.")
    ] = None,
    dimension: Annotated[
        list[str] | None,
        typer.Option("--dimension", metavar="NAME=VALUE", help="Value that it may see; repeat it. Default: all."),
    ] = None,
    days: Annotated[float, typer.Option(help="After how many days it ends, 400 at most.")] = 90,
    config: ConfigOption = None,
) -> None:
    r"""Make a token and print it; it is kept as a hash only and cannot be shown again.

    \b
    Example:  cxgauge service-token add nightly-export --flow bill_inquiry --days 180
    """
    import getpass
    import time

    from ..dashboards.access.service_tokens import make_token
    from ..metrics.store.audit import COMMAND_LINE
    from ._audited import changing, checked_scope
    from ._installation import fail, load_config

    settings = load_config(config)
    scope = checked_scope(settings, flow, dimension)
    try:
        with changing(settings) as connection:
            text, token = make_token(
                connection, name, role.value, scope, days, by=getpass.getuser(), at=time.time(), address=COMMAND_LINE
            )
    except ValueError as error:
        raise fail(str(error)) from None
    typer.echo(text)
    typer.echo(f"Token {token.id} for {name}. Send it as `Authorization: Bearer cxs_{token.id}_…`.", err=True)


@service_token.command("list")
def list_tokens(config: ConfigOption = None) -> None:
    r"""List tokens: id, program, role, state, data, end, last use.

    \b
    Example:  cxgauge service-token list
    """
    import time
    from datetime import datetime

    from ..dashboards.access.words import scope_words
    from ..dashboards.wording import Wording
    from ..metrics.store.service_tokens import read_service_tokens
    from ._installation import load_config, open_store

    settings = load_config(config)
    with open_store(settings) as store, store.connection() as connection:
        tokens = read_service_tokens(connection)
    wording, now = Wording("en", settings.timezone), time.time()

    def moment(at: float | None) -> str:
        return "never" if at is None else datetime.fromtimestamp(at // 1, settings.timezone).isoformat()

    for one in tokens:
        state = "revoked" if one.revoked_at is not None else "in use" if one.is_good(now) else "expired"
        typer.echo(
            f"{one.id}  {one.name:<24}  {one.role:<8}  {state:<7}  {scope_words(one.scope, wording)}  "
            f"ends {moment(one.expires_at)}  used {moment(one.used_at)}"
        )
    if not tokens:
        typer.echo("no token yet; cxgauge service-token add NAME makes one", err=True)


@service_token.command("revoke")
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="Id or name of the token.")], config: ConfigOption = None
) -> None:
    r"""End a token at once.

    \b
    Example:  cxgauge service-token revoke nightly-export
    """
    import getpass
    import time

    from ..dashboards.access.service_tokens import revoke_token
    from ..metrics.store.audit import COMMAND_LINE
    from ._audited import changing
    from ._installation import fail, load_config

    with changing(load_config(config)) as connection:
        name = revoke_token(connection, token, by=getpass.getuser(), at=time.time(), address=COMMAND_LINE)
    if name is None:
        raise fail(f"no token {token!r} is in use; cxgauge service-token list shows them")
    typer.echo(f"The token of {name} is revoked.", err=True)
