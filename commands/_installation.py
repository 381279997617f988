"""What every command that reads or writes figures begins with: the configuration and the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ..metrics.configuration.config import Config
    from ..metrics.store.store import Store

__all__ = ["DEFAULT_CONFIG", "fail", "load_config", "open_store"]

DEFAULT_CONFIG = Path("cxgauge.yml")


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

    from ..metrics.store.connection import DatabaseSettings
    from ..metrics.store.embedded import EmbeddedPostgres, EmbeddedPostgresError, default_directory
    from ..metrics.store.migrations import MigrationError
    from ..metrics.store.retention import Retention
    from ..metrics.store.store import Store, StoreSettings

    with ExitStack() as stack:
        try:
            dsn = config.database.conninfo()
            if dsn is None:
                server = EmbeddedPostgres(config.database.embedded_directory or default_directory())
                dsn = stack.enter_context(server).start()
            retention = Retention(
                config.retention.observations_days,
                config.retention.window_rollups_days,
                config.retention.hour_rollups_days,
            )
            settings = StoreSettings(DatabaseSettings(dsn), config.window_seconds, retention)
            store = stack.enter_context(Store(settings))
            store.migrate()
        except (EmbeddedPostgresError, psycopg.OperationalError) as error:
            raise fail(f"the database cannot be reached: {error}") from None
        except MigrationError as error:
            raise fail(str(error)) from None
        yield store
