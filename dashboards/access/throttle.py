"""Back-off after failed tries to sign in: by account and address, by account, and by address; in bounded memory.

One who mistypes is not bothered. One who guesses at one account from one address waits ever longer. Guesses at one
account from many addresses, or at many accounts from one, are slowed as well, the former only as far as the owner can
bear: nobody can be locked out for long by somebody else. Names that do not exist count alike.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Throttle"]

_KEPT = 10_000
_FORGET_SECONDS = 3_600.0


@dataclass(frozen=True, slots=True)
class _Limit:
    """So many tries are free; from then on the wait doubles from a second to ``longest_seconds``."""

    free: int
    longest_seconds: float

    def wait(self, failures: int) -> float:
        if failures < self.free:
            return 0.0
        return min(self.longest_seconds, 2.0 ** min(failures - self.free, 30))


@dataclass(frozen=True, slots=True)
class _Failures:
    count: int
    last_at: float


_BOTH = _Limit(free=5, longest_seconds=900.0)
_ACCOUNT = _Limit(free=20, longest_seconds=60.0)
_ADDRESS = _Limit(free=50, longest_seconds=300.0)


class Throttle:
    """Counts failures; safe from any thread.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[_Limit, OrderedDict[tuple[str, ...], _Failures]] = {
            limit: OrderedDict() for limit in (_BOTH, _ACCOUNT, _ADDRESS)
        }

    def begin(self, name: str, address: str) -> float:
        """Seconds to wait before a try; 0 when it may be made now, and then it counts as failed until it succeeds.

        Counting before the password is verified leaves no gap for tries at the same moment.
        """
        with self._lock:
            now = self._clock()
            places = self._places(name, address)
            wait = max(self._left(limit, key, now) for limit, key in places)
            if wait > 0:
                return wait
            for limit, key in places:
                known = self._known(limit, key, now)
                self._failures[limit][key] = _Failures((known.count if known else 0) + 1, now)
                self._failures[limit].move_to_end(key)
                while len(self._failures[limit]) > _KEPT:
                    self._failures[limit].popitem(last=False)
            return 0.0

    def succeeded(self, name: str, address: str) -> None:
        """The try was good: forget failures at this account from this address, and take the try back elsewhere."""
        with self._lock:
            for limit, key in self._places(name, address):
                known = self._failures[limit].get(key)
                if known is None:
                    continue
                if limit is _BOTH or known.count <= 1:
                    del self._failures[limit][key]
                else:
                    self._failures[limit][key] = _Failures(known.count - 1, known.last_at)

    def _places(self, name: str, address: str) -> tuple[tuple[_Limit, tuple[str, ...]], ...]:
        name, network = name[:64].casefold(), _network(address)
        return (_BOTH, (name, network)), (_ACCOUNT, (name,)), (_ADDRESS, (network,))

    def _known(self, limit: _Limit, key: tuple[str, ...], now: float) -> _Failures | None:
        known = self._failures[limit].get(key)
        return known if known is not None and now - known.last_at < _FORGET_SECONDS else None

    def _left(self, limit: _Limit, key: tuple[str, ...], now: float) -> float:
        known = self._known(limit, key, now)
        return 0.0 if known is None else known.last_at + limit.wait(known.count) - now


def _network(address: str) -> str:
    """The address; of IPv6 the /64, which is what one household or server has."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
