"""What every command that reads or writes figures begins with: the configuration and the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..metrics.configuration.config import Config
    from ..metrics.store.store import Store

__all__ = ["DEFAULT_CONFIG", "ConfigOption", "fail", "load_config", "open_store"]

DEFAULT_CONFIG = Path("cxgauge.yml")
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="Configuration file; ./cxgauge.yml if it is there.")
]


def fail(message: str) -> typer.Exit:
    """Say what is wrong on standard error; raise what this returns."""
    typer.echo(message, err=True)
    return typer.Exit(1)


def load_config(path: Path | None) -> Config:
    """The configuration at ``path``; without one ``cxgauge.yml`` if it is there, else the defaults.

    Raises:
        typer.Exit: the file cannot be used; its faults have been printed.
    """
    from ..metrics.configuration.config import Config, SpecificationError

    try:
        if path is not None or DEFAULT_CONFIG.is_file():
            return Config.load(path or DEFAULT_CONFIG)
        return Config.parse("{}", str(DEFAULT_CONFIG), Path.cwd())
    except SpecificationError as error:
        raise fail(str(error)) from None


@contextmanager
def open_store(config: Config) -> Iterator[Store]:
    """The store of an installation, its schema up to date; the embedded server is started if it is needed.

    Raises:
        typer.Exit: the database cannot be reached or its schema not be brought up to date; the reason has been printed.
    """
    import psycopg

    from ..metrics.store.embedded import EmbeddedPostgresError
    from ..metrics.store.migrations import MigrationError
    from ..metrics.store.store import Store
    from ._database import reach_database, store_settings

    with ExitStack() as stack:
        try:
            database = stack.enter_context(reach_database(config))
            store = stack.enter_context(Store(store_settings(config, database)))
            store.migrate()
        except (EmbeddedPostgresError, psycopg.OperationalError) as error:
            raise fail(f"the database cannot be reached: {error}") from None
        except MigrationError as error:
            raise fail(str(error)) from None
        yield store
