"""``cxgauge up``: the running ruler."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ._installation import DEFAULT_CONFIG, fail

__all__ = ["up"]


def up(
    config: Annotated[Path, typer.Option("--config", "-c", help="Configuration file.")] = DEFAULT_CONFIG,
) -> None:
    """Collect, evaluate, notify and serve pages until SIGTERM or Ctrl-C.

    What is sent is accepted first; a database that is away is waited for. Reads the spool and receives OpenTelemetry,
    writes to the database (the embedded one unless the configuration names another), judges every window, sends
    alerts, and serves pages, /metrics, /-/healthy and /-/ready. SIGHUP reads configuration and flows again and keeps
    the last good ones if they have faults. SIGTERM drains: what was accepted is written before the process ends.

    Example:  cxgauge up --config cxgauge.yml
    """
    import psycopg

    from ..collectors.spool import SpoolError
    from ..dashboards.access.listening import OPEN
    from ..metrics.configuration.secret import SecretError
    from ..metrics.store.embedded import EmbeddedPostgresError
    from ..metrics.store.migrations import MigrationError
    from ..metrics.strict_yaml import SpecificationError
    from ._service import Service
    from ._unkeyed import REMEDY, unkeyed_checks

    signals = _Signals()
    try:
        service = Service(config)
        running = service.start(signals.end)
    except SpecificationError as error:
        raise fail(str(error)) from None
    except psycopg.OperationalError as error:
        raise fail(f"the database cannot be reached: {error}") from None
    except (EmbeddedPostgresError, MigrationError, SpoolError, SecretError, OSError, ValueError) as error:
        raise fail(str(error)) from None  # UnprotectedError and UnprotectedPagesError are ValueErrors
    if not running:
        service.stop()
        return
    typer.echo(f"pages on {service.http.url}   receiving on {service.receiver.url}")
    if not service.installation.config.sign_in.is_required:
        typer.echo(f"pages are {OPEN}")

    def warn() -> None:
        missing = unkeyed_checks(service.installation.config, service.installation.flows)
        if missing is not None:
            typer.echo(f"warning: {missing}; {REMEDY}", err=True)

    def reload() -> None:
        service.reload()
        warn()

    warn()
    signals.wait(reload)
    typer.echo("draining …")
    service.stop()


class _Signals:
    """SIGTERM, SIGINT and SIGHUP, taken from now on and acted on by :meth:`wait`, not in their handler.

    Attributes:
        end: Set by SIGTERM and SIGINT.
    """

    def __init__(self) -> None:
        self._wake, self.end, self._reread = threading.Event(), threading.Event(), threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._take)

    def _take(self, number: int, _frame: object) -> None:
        (self._reread if number == signal.SIGHUP else self.end).set()
        self._wake.set()

    def wait(self, reload: Callable[[], object]) -> None:
        """Return at SIGTERM or SIGINT, at once if it has come already; call ``reload`` at SIGHUP."""
        while not self.end.is_set():
            self._wake.wait()
            self._wake.clear()
            if self._reread.is_set():
                self._reread.clear()
                reload()
