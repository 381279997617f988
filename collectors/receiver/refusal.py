"""What is said to a sender whose request is not taken: which HTTP status, and how much of the reason."""

from __future__ import annotations

from typing import Any

from ...metrics.quality import Reason
from ..spool import SpoolError, SpoolFull
from .event_journal import JournalFullError
from .intake import IntakeFull
from .otlp_decode import MalformedBodyError
from .request_body import (
    BodyTooLargeError,
    CorruptBodyError,
    NoRoomError,
    SlowBodyError,
    UnsupportedEncodingError,
)
from .sender_tokens import TokensFileError

__all__ = ["ForeignPageError", "TooMuchError", "UnknownSenderError", "refusal_of", "request_reason"]


class UnknownSenderError(Exception):
    """The sender did not show a good token."""


class ForeignPageError(Exception):
    """A web page of an origin that is not on the allow-list."""


class TooMuchError(Exception):
    """The sender sends more than it may."""


_STATUS_OF: tuple[tuple[type[Exception], int], ...] = (
    (UnknownSenderError, 401),
    (ForeignPageError, 403),
    (TooMuchError, 429),
    (TokensFileError, 503),
    (BodyTooLargeError, 413),
    (CorruptBodyError, 400),
    (MalformedBodyError, 400),
    (UnsupportedEncodingError, 415),
    (SlowBodyError, 408),
    (NoRoomError, 503),
    (IntakeFull, 503),
    (SpoolFull, 429),
    (JournalFullError, 429),
    (SpoolError, 503),
    (OSError, 503),
    (TimeoutError, 503),
)


_SENT_BACK = (TooMuchError, TokensFileError, NoRoomError, IntakeFull)
_REFUSED = (
    UnknownSenderError, ForeignPageError, BodyTooLargeError, CorruptBodyError, MalformedBodyError,
    UnsupportedEncodingError, SlowBodyError,
)  # fmt: skip


def request_reason(error: Exception) -> Reason | None:
    """What a request that was never read is counted as; ``None`` where its observations are, or nothing is known."""
    if isinstance(error, _SENT_BACK):
        return Reason.REQUEST_NOT_TAKEN
    return Reason.REQUEST_REFUSED if isinstance(error, _REFUSED) else None


def refusal_of(error: Exception, log: Any) -> tuple[int, str]:
    """HTTP status and message for an error; what is nobody's business is only logged.

    Args:
        error: Why a request was not taken.
        log: A structlog logger.
    """
    for kind, status in _STATUS_OF:
        if isinstance(error, kind):
            if status == 503 or isinstance(error, (SpoolFull, JournalFullError)):
                log.warning("refused", reason=str(error), kind=kind.__name__)
                return status, f"not accepted, try again: {_public_reason(error)}"
            return status, str(error)
    log.error("failed", exc_info=error)
    return 500, "an internal error; the log of cxgauge says more"


def _public_reason(error: Exception) -> str:
    if isinstance(error, (IntakeFull, NoRoomError)):
        return "too much is being received at once"
    if isinstance(error, SpoolFull):
        return "the spool is full"
    if isinstance(error, JournalFullError):
        return "too many events wait for the database"
    if isinstance(error, TimeoutError):
        return "the disk did not confirm in time"
    if isinstance(error, TokensFileError):
        return "tokens cannot be checked"
    return "the disk failed"
