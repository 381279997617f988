"""The database of an installation: how it is reached, and how the store is kept there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..metrics.configuration.config import Config
    from ..metrics.store.connection import DatabaseSettings
    from ..metrics.store.store import StoreSettings

__all__ = ["may_come_up", "reach_database", "store_settings"]

_TEMPORARY: Final = ("starting up", "shutting down", "recovery mode", "too many", "slots are reserved")


@contextmanager
def reach_database(config: Config) -> Iterator[DatabaseSettings]:
    """How to reach the database; the embedded server is started if it is the one and does not run.

    Raises:
        EmbeddedPostgresError: it cannot be started.
        SecretError: the password cannot be read.
    """
    from ..metrics.store.connection import DatabaseSettings
    from ..metrics.store.embedded import EmbeddedPostgres, default_directory

    with ExitStack() as stack:
        dsn = config.database.conninfo()
        if dsn is None:
            server = EmbeddedPostgres(config.database.embedded_directory or default_directory())
            dsn = stack.enter_context(server).start()
        yield DatabaseSettings(dsn)


def store_settings(config: Config, database: DatabaseSettings) -> StoreSettings:
    """The store of an installation, in ``database``, kept as the configuration says."""
    from ..metrics.store.retention import Retention
    from ..metrics.store.store import StoreSettings

    keep = config.retention
    retention = Retention(keep.observations_days, keep.window_rollups_days, keep.hour_rollups_days)
    return StoreSettings(database, config.window_seconds, retention)


def may_come_up(error: Exception) -> bool:
    """Whether waiting may help: nobody answers yet, or the server says that it is starting, stopping or full.

    A refusal by a server that is up (password, database, rights) stays one until somebody mends the configuration.
    libpq tells the two apart by text alone; a server that speaks another language than English is waited for.
    """
    text = str(error)
    return "FATAL" not in text or any(words in text for words in _TEMPORARY)
