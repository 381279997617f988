"""How the running ruler logs."""

from __future__ import annotations

import structlog

__all__ = ["configure_logging"]


def configure_logging() -> None:
    """Lines for people on standard output, with tracebacks that show code but no values.

    structlog's own default prints the local variables of every frame, where secrets and customers' data may be.
    """
    processors = structlog.get_config()["processors"]
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*processors[:-1], renderer])
