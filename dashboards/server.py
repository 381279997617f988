"""An ASGI application served on a thread of its own, so that the process' main thread stays free for signals."""

from __future__ import annotations

import ssl
import threading
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from ..metrics.configuration.receiver import TlsConfig

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["HttpServer"]

_START_SECONDS: Final = 20.0
_DRAIN_SECONDS: Final = 3
_KEEP_ALIVE_SECONDS: Final = 30
_CONNECTIONS_LIMIT: Final = 500


class HttpServer:
    """Serves ``application`` from :meth:`start` to :meth:`stop`, by HTTPS with ``tls``.

    Attributes:
        url: Where it listens, with a slash at the end; empty before the start.

    Raises:
        ValueError: certificate or key cannot be used.
    """

    def __init__(self, application: Starlette, host: str, port: int, tls: TlsConfig | None = None) -> None:
        self.url = ""
        self._scheme = "http" if tls is None else "https"
        authority = None if tls is None or tls.client_authority is None else str(tls.client_authority)
        self._server = _Server(
            uvicorn.Config(
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
                ssl_certfile=None if tls is None else tls.certificate,
                ssl_keyfile=None if tls is None else tls.private_key,
                ssl_ca_certs=authority,
                ssl_cert_reqs=ssl.CERT_REQUIRED if authority else ssl.CERT_NONE,
            )
        )
        if tls is not None:
            _check(tls)
        self._thread = threading.Thread(target=self._run, name="cxgauge-http", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Listen; returns when requests are answered.

        Raises:
            OSError: the address cannot be listened on.
        """
        config = self._server.config
        self._thread.start()
        if not self._server.settled.wait(_START_SECONDS) or not self._server.started:
            self.stop()
            raise OSError(
                f"http.port={config.port} cannot be listened on at {config.host}; end what uses it, or set another port"
            )
        host, port = self._server.servers[0].sockets[0].getsockname()[:2]
        self.url = f"{self._scheme}://{f'[{host}]' if ':' in host else host}:{port}/"

    def stop(self) -> None:
        """Answer what has been asked, then close; may be called twice."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._server.run()
        except SystemExit:  # uvicorn's way to say that it could not listen
            pass
        finally:
            self._server.settled.set()


def _check(tls: TlsConfig) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.private_key)
        if tls.client_authority is not None:
            context.load_verify_locations(tls.client_authority)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"http.tls cannot be used: {error}; check certificate and private_key") from None


class _Server(uvicorn.Server):
    """A server that says when it listens, or could not; on a thread it leaves the process's signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.settled.set()
