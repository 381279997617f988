"""``cxgauge user``: who may sign in to the pages, and what they may do and see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._installation import ConfigOption

if TYPE_CHECKING:
    from ..metrics.configuration.config import Config
    from ..metrics.store.accounts import Account
    from ..metrics.store.connection import Connection
    from ..metrics.store.scope import DataScope

__all__ = ["add", "disable", "enable", "list_users", "password", "role", "scope", "user"]

user = typer.Typer(
    name="user",
    no_args_is_help=True,
    help="Accounts for the pages: make, list and change them. Every change is audited; see docs/how-to/sign-in.md.",
)


class RoleName(StrEnum):
    """What an account may do."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    ENGINEER = "engineer"
    ADMIN = "admin"


Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the account.")]
RoleOption = Annotated[RoleName, typer.Option("--role", help="What the account may do.")]
FlowOption = Annotated[list[str] | None, typer.Option("--flow", help="Flow that may be seen; repeat it. Default: all.")]
DimensionOption = Annotated[
    list[str] | None,
    typer.Option("--dimension", metavar="NAME=VALUE", help="Value that may be seen; repeat it. Default: all."),
]


@user.command("add")
def add(
    name: Name,
    role: RoleOption = RoleName.VIEWER,
    flow: FlowOption = None,
    dimension: DimensionOption = None,
    config: ConfigOption = None,
) -> None:
    r"""Make an account; its password is asked for, or read from standard input.

    \b
    Example:  cxgauge user add li.wei --role engineer
              cxgauge user add wang.fang --flow bill_inquiry --dimension branch=north
    """
    from ..dashboards.access.sign_in import NAME_PATTERN
    from ..metrics.store.accounts import add_account
    from ._audited import checked_scope
    from ._installation import fail, load_config

    settings = load_config(config)
    if not NAME_PATTERN.fullmatch(name):
        raise fail(
            f"name {name!r} cannot be one; use up to 64 lower-case letters, digits, . _ @ -, a letter or digit first"
        )
    seen = checked_scope(settings, flow, dimension)
    hashed = _ask_password(settings, name)
    with _changing(settings) as (connection, audit):
        made = add_account(connection, name, role.value, seen, at=_now(), password=hashed)
        if not made:
            raise fail(f"there is an account {name} already; cxgauge user list shows them")
        audit("account added", name, _given(role.value, seen))
    typer.echo(f"{name} may sign in as {role.value}.", err=True)
    if not settings.sign_in.accounts:
        typer.echo("Set sign_in.accounts: true in the configuration, so that sign-in is asked for.", err=True)


@user.command("list")
def list_users(config: ConfigOption = None) -> None:
    r"""List accounts: name, role, state, data, last sign-in, how they sign in.

    \b
    Example:  cxgauge user list
    """
    from datetime import datetime

    from ..dashboards.access.words import scope_words
    from ..dashboards.wording import Wording
    from ..metrics.store.accounts import read_accounts
    from ._installation import load_config, open_store

    settings = load_config(config)
    with open_store(settings) as store, store.connection() as connection:
        accounts = read_accounts(connection)
    wording = Wording("en", settings.timezone)
    for one in accounts:
        last = "never"
        if one.signed_in_at is not None:
            last = datetime.fromtimestamp(one.signed_in_at // 1, settings.timezone).isoformat()
        state = "disabled" if one.disabled_at else "in use"
        typer.echo(
            f"{one.name:<24}  {one.role:<8}  {state:<8}  {scope_words(one.scope, wording)}  {last}  "
            f"{one.issuer or 'password'}"
        )
    if not accounts:
        typer.echo("no account yet; cxgauge user add NAME --role admin makes one", err=True)


@user.command("disable")
def disable(name: Name, config: ConfigOption = None) -> None:
    r"""Let an account sign in no more, and end its sessions at once.

    \b
    Example:  cxgauge user disable li.wei
    """
    from ..metrics.store.accounts import end_sessions, set_disabled
    from ._installation import load_config

    with _changing(load_config(config)) as (connection, audit):
        account = _account(connection, name)
        set_disabled(connection, account.id, _now())
        ended = end_sessions(connection, account.id)
        audit("account disabled", account.name, {"sessions ended": ended})
    typer.echo(f"{name} is disabled; {ended} sessions ended.", err=True)


@user.command("enable")
def enable(name: Name, config: ConfigOption = None) -> None:
    r"""Let a disabled account sign in again.

    \b
    Example:  cxgauge user enable li.wei
    """
    from ..metrics.store.accounts import set_disabled
    from ._installation import load_config

    with _changing(load_config(config)) as (connection, audit):
        account = _account(connection, name)
        set_disabled(connection, account.id, None)
        audit("account enabled", account.name, {})
    typer.echo(f"{name} may sign in again.", err=True)


@user.command("password")
def password(name: Name, config: ConfigOption = None) -> None:
    r"""Set the password of an account, asked for or read from standard input; its sessions end.

    \b
    Example:  cxgauge user password li.wei
    """
    from ..metrics.store.accounts import end_sessions, set_password
    from ._installation import fail, load_config, open_store

    settings = load_config(config)
    with open_store(settings) as store, store.connection() as connection:
        account = _account(connection, name)
    if account.issuer is not None:
        raise fail(f"{name} signs in at {account.issuer}; its password is kept there")
    hashed = _ask_password(settings, name)
    with _changing(settings) as (connection, audit):
        set_password(connection, account.id, hashed, _now())
        ended = end_sessions(connection, account.id)
        audit("password changed", account.name, {"sessions ended": ended})
    typer.echo(f"The password of {name} is changed; {ended} sessions ended.", err=True)


@user.command("role")
def role(
    name: Name, role: Annotated[RoleName, typer.Argument(help="What the account may do.")], config: ConfigOption = None
) -> None:
    r"""Give an account another role; it counts at its next request.

    \b
    Example:  cxgauge user role li.wei analyst
    """
    from ..metrics.store.accounts import set_access
    from ._installation import load_config

    with _changing(load_config(config)) as (connection, audit):
        account = _own_account(connection, name)
        set_access(connection, account.id, role.value, account.scope)
        audit("access changed", account.name, _given(role.value, account.scope) | {"role before": account.role})
    typer.echo(f"{name} is {role.value} now.", err=True)


@user.command("scope")
def scope(
    name: Name,
    flow: FlowOption = None,
    dimension: DimensionOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Let everything be seen.")] = False,
    config: ConfigOption = None,
) -> None:
    r"""Say which flows and which values of dimensions an account may see, replacing what it might see before.

    \b
    Example:  cxgauge user scope wang.fang --flow bill_inquiry --dimension branch=north
              cxgauge user scope wang.fang --all
    """
    from ..dashboards.access.words import scope_words
    from ..dashboards.wording import Wording
    from ..metrics.store.accounts import set_access
    from ._audited import checked_scope
    from ._installation import fail, load_config

    settings = load_config(config)
    if everything == bool(flow or dimension):
        raise fail("say what may be seen: --flow NAME, --dimension NAME=VALUE, or --all alone")
    seen = checked_scope(settings, flow, dimension)
    with _changing(settings) as (connection, audit):
        account = _own_account(connection, name)
        set_access(connection, account.id, account.role, seen)
        audit("access changed", account.name, _given(account.role, seen))
    typer.echo(f"{name} may see: {scope_words(seen, Wording('en', settings.timezone))}.", err=True)


def _now() -> float:
    import time

    return time.time()


def _account(connection: Connection, name: str) -> Account:
    from ..metrics.store.accounts import read_account
    from ._installation import fail

    account = read_account(connection, name)
    if account is None:
        raise fail(f"there is no account {name!r}; cxgauge user list shows them")
    return account


def _own_account(connection: Connection, name: str) -> Account:
    """An account whose role and data are decided here."""
    from ._installation import fail

    account = _account(connection, name)
    if account.issuer is not None:
        raise fail(f"{name} signs in at {account.issuer}; sign_in.openid.grants decides what it may do and see")
    return account


def _given(role: str, scope: DataScope) -> dict[str, Any]:
    return {
        "role": role,
        "flows": None if scope.flows is None else sorted(scope.flows),
        "dimensions": {name: sorted(values) for name, values in scope.dimensions},
    }


def _ask_password(settings: Config, name: str) -> str:
    """The hash of a password that is typed twice, or is the first line of standard input; never an argument."""
    import sys

    from ..dashboards.access.passwords import Passwords, password_fault
    from ..dashboards.access.words import fault_words
    from ..dashboards.wording import Wording
    from ._installation import fail

    if sys.stdin.isatty():
        text = typer.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True)
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    fault = password_fault(text, name, settings.sign_in.password_length)
    if fault is not None:
        raise fail(fault_words(fault, Wording("en", settings.timezone)))
    return Passwords().hash(text)


@contextmanager
def _changing(settings: Config) -> Iterator[tuple[Connection, Callable[[str, str, dict[str, Any]], None]]]:
    """A transaction, and a function that notes in it what was done."""
    import getpass

    from ..metrics.store.audit import COMMAND_LINE, audit
    from ._audited import changing

    with changing(settings) as connection:

        def note(action: str, subject: str, details: dict[str, Any]) -> None:
            audit(connection, getpass.getuser(), action, subject, details, COMMAND_LINE)

        yield connection, note
