"""The receiver as an ASGI application: all its endpoints around one :class:`~.receiver.Receiver`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from ...metrics.configuration.receiver import ReceiverConfig
from ...metrics.specification.flow import FlowSpec
from ..spool import SpoolWriter
from ..spool.recent_segments import RecentSegments
from .events_api import event_routes
from .observations_api import beacon_routes, observation_routes
from .openapi import description_routes
from .otlp_api import otlp_routes
from .receiver import Receiver
from .sender_tokens import SenderTokens
from .span_shape import ShapeSettings

__all__ = ["receiver_app"]


def receiver_app(
    config: ReceiverConfig,
    flows: Mapping[str, FlowSpec],
    spool: SpoolWriter,
    clock: Callable[[], float],
    *,
    settings: ShapeSettings | None = None,
    tokens: SenderTokens | None = None,
    recent: RecentSegments | None = None,
) -> Starlette:
    """The receiver as an ASGI application; its :class:`Receiver` is ``app.state.receiver``.

    Args:
        config: Addresses and bounds.
        flows: The specifications by name.
        spool: Where observations go; opened with ``sync="always"``, else "accepted" does not mean "on disk".
        clock: Seconds since 1970.
        settings: Which attributes say what; by default as in :class:`~.span_shape.ShapeSettings`.
        tokens: Tokens of senders.
        recent: What was received before a restart.

    Raises:
        ValueError: the spool does not sync before it returns.
    """
    if spool.sync_policy != "always":
        raise ValueError(f"the receiver's spool has sync={spool.sync_policy!r}; accepted means on disk, use 'always'")
    receiver = Receiver(config, flows, spool, clock, settings or ShapeSettings(), tokens, recent)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(receiver.close)

    middleware = []
    if config.allowed_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(config.allowed_origins),
                allow_methods=["POST"],
                allow_headers=["authorization", "content-type", "content-encoding"],
                max_age=600,
            )
        )
    app = Starlette(
        routes=[
            *otlp_routes(receiver),
            *observation_routes(receiver),
            *event_routes(receiver),
            *description_routes(),
            *beacon_routes(),
        ],
        middleware=middleware,
        lifespan=lifespan,
    )
    app.state.receiver = receiver
    return app
