"""Which verdict an exception means: the caller ran out of time, the customer went away, or something failed."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Iterable

from ...metrics.verdict import Verdict

__all__ = ["TIMEOUT_NAMES", "ExceptionVerdicts"]

TIMEOUT_NAMES = frozenset(
    {
        "aiohttp.client_exceptions.ServerTimeoutError",
        "botocore.exceptions.ConnectTimeoutError",
        "botocore.exceptions.ReadTimeoutError",
        "httpcore.TimeoutException",
        "httpx.TimeoutException",
        "httpx2.TimeoutException",
        "psycopg.errors.QueryCanceled",
        "psycopg_pool.PoolTimeout",
        "pymongo.errors.ExecutionTimeout",
        "pymongo.errors.NetworkTimeout",
        "redis.exceptions.TimeoutError",
        "requests.exceptions.Timeout",
        "sqlalchemy.exc.TimeoutError",
        "urllib3.exceptions.TimeoutError",
    }
)
"""Exceptions of widespread libraries that mean a timeout without deriving from :class:`TimeoutError`."""

_ABANDONED = (asyncio.CancelledError, concurrent.futures.CancelledError, GeneratorExit)
_TYPES_LIMIT = 1024


class ExceptionVerdicts:
    """Maps exception types to verdicts; used by one thread.

    Args:
        timeouts: Further exceptions that mean a timeout: types, or names such as ``bank.core.HostTimeout``.
    """

    def __init__(self, timeouts: Iterable[type[BaseException] | str] = ()) -> None:
        given = tuple(timeouts)
        types = [item for item in given if isinstance(item, type)]
        self._types: tuple[type[BaseException], ...] = (TimeoutError, *types)
        self._names = TIMEOUT_NAMES | {item for item in given if isinstance(item, str)}
        self._known: dict[type[BaseException], Verdict] = {}

    def verdict(self, kind: type[BaseException]) -> Verdict:
        """``TIMEOUT``, ``ABANDONED`` or ``ERROR``."""
        found = self._known.get(kind)
        if found is None:
            found = self._find(kind)
            if len(self._known) < _TYPES_LIMIT:  # types made at run time must not fill the memory
                self._known[kind] = found
        return found

    def _find(self, kind: type[BaseException]) -> Verdict:
        if issubclass(kind, _ABANDONED):
            return Verdict.ABANDONED
        if issubclass(kind, self._types) or any(_qualified_name(base) in self._names for base in kind.__mro__):
            return Verdict.TIMEOUT
        return Verdict.ERROR


def _qualified_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
