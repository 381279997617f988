"""An ASGI application served on a thread of its own, so that the process' main thread stays free for signals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import uvicorn

from ..collectors.threaded_server import ThreadedServer, tls_options
from ..metrics.configuration.receiver import TlsConfig

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["HttpServer"]

_DRAIN_SECONDS: Final = 3
_KEEP_ALIVE_SECONDS: Final = 30
_CONNECTIONS_LIMIT: Final = 500


class HttpServer:
    """Serves ``application`` from :meth:`start` to :meth:`stop`, by HTTPS with ``tls``.

    Raises:
        ValueError: certificate or key cannot be used.
    """

    def __init__(self, application: Starlette, host: str, port: int, tls: TlsConfig | None = None) -> None:
        config = uvicorn.Config(
            application,
            host=host,
            port=port,
            access_log=False,
            log_config=None,
            lifespan="off",
            limit_concurrency=_CONNECTIONS_LIMIT,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_DRAIN_SECONDS,
            server_header=False,
            proxy_headers=False,  # the access control believes declared proxies only
            ws="none",
            **tls_options(tls, "http"),
        )
        self._server = ThreadedServer(config, name="cxgauge-http", section="http")

    @property
    def url(self) -> str:
        """Where it listens, with a slash at the end; empty before the start."""
        return self._server.url and f"{self._server.url}/"

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._server.alive

    def start(self) -> None:
        """Listen; returns when requests are answered.

        Raises:
            OSError: the address cannot be listened on.
        """
        self._server.start()

    def stop(self) -> None:
        """Answer what has been asked, then close; may be called twice."""
        self._server.stop()
