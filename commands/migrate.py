"""``cxgauge migrate``: bring the database's schema up to date."""

from __future__ import annotations

from typing import Annotated

import typer

from ._installation import ConfigOption

__all__ = ["migrate"]


def migrate(
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be done; change nothing.")] = False,
    config: ConfigOption = None,
) -> None:
    r"""Bring the database's schema up to date, one migration after the other, each in a transaction.

    Safe to run again and beside running programs. `cxgauge up` does the same when it starts.

    \b
    Example:  cxgauge migrate --plan
              cxgauge migrate
    """
    import psycopg

    from ..metrics.configuration.secret import SecretError
    from ..metrics.store.embedded import EmbeddedPostgresError
    from ..metrics.store.migrations import MigrationError
    from ..metrics.store.migrations import migrate as apply
    from ..metrics.store.migrations import plan as make_plan
    from ._database import reach_database
    from ._installation import fail, load_config

    settings = load_config(config)
    remarks: list[str] = []
    try:
        with reach_database(settings) as database:
            if plan:
                todo = make_plan(database)
            else:
                todo, remarks = apply(database)
    except (EmbeddedPostgresError, SecretError, psycopg.OperationalError) as error:
        raise fail(f"the database cannot be reached: {error}") from None
    except (MigrationError, psycopg.Error) as error:
        raise fail(str(error).strip()) from None
    for migration in todo.pending:
        typer.echo(f"{'would apply' if plan else 'applied'} {migration.name} (SHA-256 {migration.checksum[:12]}…)")
    if not todo.pending:
        typer.echo(f"schema {database.schema!r} is up to date at version {todo.version}")
    for remark in remarks:
        typer.echo(remark, err=True)
