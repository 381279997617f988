"""The database of an installation as it is: reached, but not brought up to date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..metrics.configuration.config import Config
    from ..metrics.store.connection import DatabaseSettings

__all__ = ["reach_database"]


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
