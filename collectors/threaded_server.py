"""A uvicorn server on a thread of its own, which says when it listens and leaves the process's signals alone."""

from __future__ import annotations

import ssl
import threading
from typing import Any

import uvicorn

from ..metrics.configuration.receiver import TlsConfig

__all__ = ["ThreadedServer", "tls_options"]

_START_SECONDS = 20.0


class ThreadedServer:
    """Serves from :meth:`start` to :meth:`stop`.

    Args:
        config: What is served, and where.
        name: Name of the thread.
        section: Section of the configuration that address and port come from, for errors.

    Attributes:
        url: Where it listens, without a slash at the end; empty before the start.
    """

    def __init__(self, config: uvicorn.Config, *, name: str, section: str) -> None:
        self.url = ""
        self._section = section
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._failure: BaseException | None = None

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Listen; returns when requests are taken.

        Raises:
            OSError: the address cannot be listened on, or the application does not start.
        """
        config = self._server.config
        self._thread.start()
        if not self._server.settled.wait(_START_SECONDS) or self._failure is not None or not self._server.started:
            self.stop()
            if isinstance(self._failure, Exception):
                raise OSError(f"{self._section} cannot start: {self._failure}") from self._failure
            raise OSError(  # uvicorn has ended by SystemExit, and logged the system's words
                f"{self._section}.port={config.port} cannot be listened on at {config.host}; "
                "end what uses it, or set another port"
            )
        host, port = self._server.servers[0].sockets[0].getsockname()[:2]
        scheme = "https" if config.is_ssl else "http"
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def stop(self) -> None:
        """Answer what has been asked, then close; may be called twice, and before the start."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._server.run()
        except (Exception, SystemExit) as error:
            self._failure = error
        finally:
            self._server.settled.set()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.settled.set()


def tls_options(tls: TlsConfig | None, section: str) -> dict[str, Any]:
    """Arguments for ``uvicorn.Config``.

    Args:
        tls: Certificate, key, and who signs the clients' certificates; None: no TLS.
        section: Section of the configuration, for errors.

    Raises:
        ValueError: certificate, key or authority cannot be used.
    """
    if tls is None:
        return {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.private_key)
        if tls.client_authority is not None:
            context.load_verify_locations(tls.client_authority)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"{section}.tls cannot be used: {error}; check certificate and private_key") from None
    return {
        "ssl_certfile": tls.certificate,
        "ssl_keyfile": tls.private_key,
        "ssl_ca_certs": None if tls.client_authority is None else str(tls.client_authority),
        "ssl_cert_reqs": ssl.CERT_NONE if tls.client_authority is None else ssl.CERT_REQUIRED,
    }
