"""What all endpoints of the receiver share: who may send, how much, and when a request is on disk."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping

import structlog
from starlette.requests import Request
from starlette.responses import Response

from ...metrics.configuration.receiver import ReceiverConfig, is_loopback
from ...metrics.specification.flow import FlowSpec
from ..spool import SpoolWriter
from ..spool.recent_segments import RecentSegments
from .duplicate_window import DuplicateWindow
from .event_journal import EventJournal
from .intake import Intake, IntakeCounters, Mapped
from .observation_mapper import ObservationMapper
from .otlp_mapping import OtlpMapper
from .refusal import ForeignPageError, TooMuchError, UnknownSenderError, refusal_of, request_reason
from .request_body import BodyTooLargeError, InFlight, expand, read_body
from .sender_limits import SenderLimits, within_scope
from .sender_tokens import Sender, SenderTokens
from .span_shape import ShapeSettings

__all__ = ["Receiver"]

_CONFIRM_SECONDS = 8.0  # within the 10 s after which exporters give up


class Receiver:
    """The state behind the endpoints; each endpoint is a module of its own that is given it.

    Args:
        config: Addresses and bounds.
        flows: The specifications by name.
        spool: Where observations go; of policy ``always``.
        clock: Seconds since 1970.
        settings: Which attributes say what.
        tokens: Tokens of senders; without them nobody who shows one is let in.
        recent: What was received before a restart, so that a retry of it is recognised.

    Attributes:
        in_flight: Memory held by request bodies.
        replies: Number of replies by HTTP status.
        received_bytes: Bytes of bodies as they were sent.
        window: Memory of seen spans.
        flows: The specifications in force.
        journal: Where events go, beside the spool's folder.
    """

    def __init__(
        self,
        config: ReceiverConfig,
        flows: Mapping[str, FlowSpec],
        spool: SpoolWriter,
        clock: Callable[[], float],
        settings: ShapeSettings,
        tokens: SenderTokens | None = None,
        recent: RecentSegments | None = None,
    ) -> None:
        self.config = config
        self._tokens = tokens
        self._tokens_required = config.tokens_required or not is_loopback(config.host)
        self._limits = SenderLimits(config.sender_bytes_per_second)
        self.window = DuplicateWindow(config.duplicate_window)
        self._recent = recent
        if recent is not None:
            recent.seed(self.window)
        self.in_flight = InFlight(config.in_flight_bytes_limit)
        self.replies: dict[int, int] = {}
        self.received_bytes = 0
        self._clock = clock
        self._settings = settings
        self.flows = dict(flows)
        self.journal = EventJournal(spool.directory.parent / "events")
        self.mapper = OtlpMapper(flows, settings, clock)
        self.observations = ObservationMapper(flows, settings, clock)
        across = settings.across
        self._intake = Intake(
            spool,
            self.window,
            waiting_limit=config.waiting_limit,
            before_append=None if across is None else across.commit,
            now_and_then=self._tidy,
            when_full=None if recent is None else recent.make_room,
            clock=clock,
        )
        self._log = structlog.get_logger("cxgauge.receiver")

    @property
    def counters(self) -> IntakeCounters:
        """What came in since start."""
        return self._intake.counters

    def reload(self, flows: Mapping[str, FlowSpec]) -> None:
        """Use other specifications from the next request on."""
        if self._settings.across is not None:
            self._settings.across.use(flows)
        self.flows = dict(flows)
        self.observations = ObservationMapper(flows, self._settings, self._clock)
        self.mapper = OtlpMapper(flows, self._settings, self._clock)

    def _tidy(self) -> None:
        """Runs on the intake thread every few seconds."""
        if self._settings.across is not None:
            self._settings.across.expire(self._clock())
        if self._recent is not None:
            self._recent.tidy(time.time())

    def close(self) -> None:
        """Confirm what waits and stop; the spool stays open."""
        self._intake.close()

    async def take(self, request: Request, work: Callable[[bytes], Mapped]) -> Mapped:
        """Read the body of ``request`` within bounds, have ``work`` done on it and wait until the disk has it.

        Raises:
            Exception: one of those that :meth:`refusal` knows; nothing of the request was kept then, but for
                ``TimeoutError`` and disk errors, where that is not known and a retry is recognised as one.
        """
        async with self.body(request) as (sender, expanded):

            def judged() -> Mapped:
                return within_scope(work(expanded()), sender)

            return await asyncio.wait_for(asyncio.wrap_future(self._intake.submit(judged)), _CONFIRM_SECONDS)

    @contextlib.asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[tuple[Sender, Callable[[], bytes]]]:
        """Who sends ``request``, and a function that unpacks its body; the memory for it is held within.

        Raises:
            Exception: one of those that :meth:`refusal` knows.
        """
        config = self.config
        origin = request.headers.get("origin")
        if origin is not None and origin not in config.allowed_origins:
            # A page may post text without asking first, and any page can reach a receiver on its reader's machine.
            raise ForeignPageError(f"pages of {origin[:100]} may not send; add it to receiver.allowed_origins")
        address = request.client.host if request.client is not None else ""
        authorization = request.headers.get("authorization", "")
        sender = self.admitted(authorization, request.query_params.get("token", ""), address)
        encoding = request.headers.get("content-encoding", "").strip().lower()
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced[:20]) > config.body_bytes_limit:
            raise BodyTooLargeError(f"the body is larger than the limit of {config.body_bytes_limit} bytes")
        pieces = await read_body(
            request.stream(),
            limit=config.body_bytes_limit,
            timeout_seconds=config.body_timeout,
            room=self.in_flight,
        )
        size = sum(map(len, pieces))
        self.charge(sender, address, size)

        try:
            yield sender, lambda: expand(pieces, encoding, config.body_bytes_limit)
        finally:
            self.in_flight.release(size)

    def submit(self, work: Callable[[], Mapped], timeout_seconds: float) -> Mapped:
        """Have ``work`` done and wait until the disk has what it brings; for callers on threads of their own.

        Raises:
            Exception: one of those that :meth:`refusal` knows.
        """
        return self._intake.submit(work).result(timeout_seconds)

    def now(self) -> float:
        """Seconds since 1970."""
        return self._clock()

    def charge(self, sender: Sender, address: str, size: int) -> None:
        """Count ``size`` bytes that a sender sent."""
        self.received_bytes += size
        self._limits.charge(sender.id or address, size)

    def admitted(self, authorization: str, page_token: str, address: str) -> Sender:
        """Who sends.

        Args:
            authorization: The header of that name.
            page_token: A token given another way, as a beacon cannot set headers.
            address: Where the request comes from.

        Raises:
            UnknownSenderError: the token is no good, or there is none and one is needed.
            TooMuchError: the sender has used up its allowance.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            token = page_token
        sender = Sender()
        if token:
            found = None if self._tokens is None else self._tokens.sender(token.strip())
            if found is None:
                raise UnknownSenderError(
                    "the token is not known or has been revoked; ask for one made by cxgauge token add"
                )
            sender = found
        elif self._tokens_required:
            raise UnknownSenderError("a token is needed; send Authorization: Bearer with one made by cxgauge token add")
        if self._limits.exceeded(sender.id or address):
            limit = self.config.sender_bytes_per_second
            raise TooMuchError(f"this sender has sent more than {limit} bytes a second; send less, or raise the limit")
        return sender

    def refusal(self, error: Exception) -> tuple[int, str]:
        """HTTP status and message for an error of :meth:`take`, which is counted; see :func:`~.refusal.refusal_of`."""
        self.count_refused(error)
        return refusal_of(error, self._log)

    def count_refused(self, error: Exception) -> None:
        """Count a request that was not read, for the quality of the data."""
        reason = request_reason(error)
        if reason is not None:
            self._intake.count_request(reason)

    def note(self, response: Response) -> Response:
        """Count a reply."""
        self.replies[response.status_code] = self.replies.get(response.status_code, 0) + 1
        return response
