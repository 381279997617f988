"""The receiver as a server on a thread of its own: sockets, TLS, time limits, start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ...metrics.configuration.config import Config, SpoolConfig
from ...metrics.configuration.receiver import ReceiverConfig, is_loopback
from ...metrics.observation import RECORD
from ...metrics.specification.flow import FlowSpec
from ..across import AcrossJudge
from ..customer_token import CustomerTokens
from ..spool import SpoolWriter
from ..spool.recent_segments import RecentSegments
from ..threaded_server import ThreadedServer, tls_options
from .app import receiver_app
from .otlp_grpc import GrpcServer
from .receiver import Receiver
from .sender_tokens import SenderTokens
from .span_shape import ShapeSettings

__all__ = ["ReceiverServer", "UnprotectedError", "across_file", "sender_tokens", "shape_settings"]

_DRAIN_SECONDS = 5
_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 1024
_ROW_BYTES = RECORD.itemsize


class UnprotectedError(ValueError):
    """The receiver would listen to the network without knowing its senders."""


def shape_settings(config: Config) -> ShapeSettings:
    """Which attributes say what, by the configuration.

    Raises:
        SecretError: the customer key cannot be read.
        CustomerKeyError: it is malformed.
    """
    key = config.recorder.customer_key
    tokens = CustomerTokens.from_environment() if key is None else CustomerTokens.parse(key.reveal(), str(key))
    receiver = config.receiver
    return ShapeSettings(
        receiver.dimension_attributes, receiver.instance_attributes, receiver.customer_attributes, tokens
    )


def across_file(config: Config) -> Path:
    """Where checks between steps keep the side that waits: beside the spool's folder, for all processes that use it."""
    return config.spool.directory.parent / "across.sqlite3"


def sender_tokens(config: Config) -> SenderTokens:
    """The senders' tokens, by default in ``sender-tokens.json`` beside the spool's folder."""
    return SenderTokens(config.receiver.tokens_file or config.spool.directory.parent / "sender-tokens.json")


class ReceiverServer:
    """Receives over HTTP until told to stop.

    Args:
        config: The configuration; ``receiver``, ``spool`` and ``recorder.customer_key`` are read.
        flows: The specifications by name.
        clock: Seconds since 1970.

    Attributes:
        receiver: Counters, and :meth:`~cxgauge.collectors.receiver.receiver.Receiver.reload`.
        spool: Its own source in the spool, which syncs before it answers whatever ``spool.fsync`` says.
        url: Where it listens, once started.
        across: Judges checks between steps.
        grpc_port: Where it listens for gRPC, once started; None without ``receiver.grpc_port``.

    Raises:
        UnprotectedError: it would listen beyond loopback without any token.
        SpoolError: the spool cannot be opened.
        ValueError: the certificate or key cannot be used.
        MissingExtraError: ``receiver.grpc_port`` is set without the extra ``otlp-grpc``.
    """

    def __init__(self, config: Config, flows: Mapping[str, FlowSpec], clock: Callable[[], float]) -> None:
        tokens = sender_tokens(config)
        _refuse_unprotected(config.receiver, tokens)
        tls = tls_options(config.receiver.tls, "receiver")
        settings = shape_settings(config)
        self.across = AcrossJudge(flows, across_file(config))  # also without such checks: a reload may bring some
        settings = replace(settings, across=self.across)
        recent = RecentSegments(config.spool.directory.parent / "recent", config.receiver.duplicate_window * _ROW_BYTES)
        self.spool = _open_spool(config.spool, recent)
        app = receiver_app(config.receiver, flows, self.spool, clock, settings=settings, tokens=tokens, recent=recent)
        self.receiver: Receiver = app.state.receiver
        self.url = ""
        self.grpc_port: int | None = None
        self._grpc: GrpcServer | None = None
        if config.receiver.grpc_port is not None:
            self._grpc = GrpcServer(self.receiver, config.receiver.host, config.receiver.grpc_port)
        self._server = ThreadedServer(
            _uvicorn_config(app, config.receiver, tls), name="cxgauge-receiver", section="receiver"
        )

    def start(self) -> None:
        """Listen; returns when requests are taken.

        Raises:
            OSError: the address cannot be listened on.
        """
        try:
            self._server.start()
        except OSError:
            self.stop()
            raise
        if self._grpc is not None:
            self._grpc.start()
            self.grpc_port = self._grpc.port
        self.url = self._server.url

    def stop(self) -> None:
        """Take no more, confirm what has come in, close the spool; may be called twice."""
        self._server.stop()
        if self._grpc is not None:
            self._grpc.stop()
        self.receiver.close()
        self.spool.close()
        self.across.close()

    def __enter__(self) -> ReceiverServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _DeadlineProtocol(H11Protocol):
    """Closes a connection whose first request has not come in time; uvicorn's own time limit begins after a reply."""

    header_seconds = 10.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._deadline = self.loop.call_later(self.header_seconds, transport.close)

    def handle_events(self) -> None:
        had = self.cycle
        super().handle_events()
        if self._deadline is not None and self.cycle is not had:
            self._deadline.cancel()
            self._deadline = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        had = self.cycle
        super().on_response_complete()
        if self.cycle is had and not self.transport.is_closing():
            # The next request's head must be whole in time too, once its first byte ends the keep-alive limit.
            self._deadline = self.loop.call_later(self.timeout_keep_alive + self.header_seconds, self.transport.close)


def _uvicorn_config(app: Any, config: ReceiverConfig, tls: dict[str, Any]) -> uvicorn.Config:
    protocol = type("DeadlineProtocol", (_DeadlineProtocol,), {"header_seconds": config.header_timeout})
    return uvicorn.Config(
        app,
        host=config.host,
        port=config.port,
        http=protocol,
        ws="none",
        limit_concurrency=config.connection_limit,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        access_log=False,
        log_config=None,
        server_header=False,
        **tls,
    )


def _open_spool(config: SpoolConfig, recent: RecentSegments) -> SpoolWriter:
    return SpoolWriter(
        config.directory,
        "receiver",
        sync="always",
        segment_bytes=config.segment_bytes,
        segment_age_seconds=config.segment_age_seconds,
        maximum_bytes=config.limit_bytes,
        maximum_age_seconds=config.age_limit_seconds,
        minimum_free_bytes=config.minimum_free_bytes,
        files=recent.files(),
    )


def _refuse_unprotected(config: ReceiverConfig, tokens: SenderTokens) -> None:
    if is_loopback(config.host) or tokens.any_good:
        return
    raise UnprotectedError(
        f"receiver.host='{config.host}' listens beyond this machine, and there is no sender token: anybody could "
        "send; run `cxgauge token add NAME`, or listen on 127.0.0.1"
    )
