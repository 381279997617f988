"""Passwords: hashed with Argon2id, verified in bounded memory, in the same time whether or not there is an account.

argon2-cffi rather than scrypt of the standard library: Argon2id is the first choice of OWASP
(https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html), hashes carry their parameters, so
that these can grow without anybody noticing, and OpenSSL may be built without scrypt. Parameters are those of RFC 9106
for limited memory: 64 MiB, 3 passes, 4 lanes. Rules follow NIST SP 800-63B: length counts, kinds of characters do not.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

__all__ = ["BusyError", "PasswordFault", "Passwords", "password_fault"]

_LONGEST = 256
_FEWEST_DIFFERENT = 5
_SHORTEST_NAME = 4
_AT_A_TIME = 2
_WAIT_SECONDS = 5.0


class BusyError(RuntimeError):
    """Too many passwords are being verified; ask again in a moment."""


class Passwords:
    """Hashes and verifies; from any thread, two at a time."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._turn = threading.BoundedSemaphore(_AT_A_TIME)

    def hash(self, password: str) -> str:
        """What is kept of a password.

        Raises:
            BusyError: there was no turn within some seconds.
        """
        with _Turn(self._turn):
            return self._hasher.hash(password)

    def verify(self, kept: str | None, password: str) -> bool:
        """Whether it is the password; with ``None`` false, after as long.

        Raises:
            BusyError: there was no turn within some seconds.
        """
        with _Turn(self._turn):
            try:
                self._hasher.verify(kept or _nobody(self._hasher), password[: _LONGEST + 1])
            except (VerificationError, InvalidHashError):
                return False
        return kept is not None

    def is_outdated(self, kept: str) -> bool:
        """Whether it was hashed with other parameters than today's."""
        return self._hasher.check_needs_rehash(kept)


class _Turn:
    """One of the places for work that takes much memory."""

    def __init__(self, places: threading.BoundedSemaphore) -> None:
        self._places = places

    def __enter__(self) -> None:
        if not self._places.acquire(timeout=_WAIT_SECONDS):
            raise BusyError("too many passwords are being verified; try again in a moment")

    def __exit__(self, *_: object) -> None:
        self._places.release()


@cache
def _nobody(hasher: PasswordHasher) -> str:
    return hasher.hash("the password of an account that does not exist")


@dataclass(frozen=True, slots=True)
class PasswordFault:
    """Why a text cannot be a password: ``short``, ``long``, ``repeats`` or ``name``; with the numbers behind it."""

    kind: str
    count: int = 0
    limit: int = 0


def password_fault(password: str, name: str, fewest: int) -> PasswordFault | None:
    """Why it cannot be the password of ``name``; ``None`` if it can."""
    if len(password) < fewest:
        return PasswordFault("short", len(password), fewest)
    if len(password) > _LONGEST:
        return PasswordFault("long", len(password), _LONGEST)
    if len(set(password)) < _FEWEST_DIFFERENT:
        return PasswordFault("repeats", len(set(password)), _FEWEST_DIFFERENT)
    if len(name) >= _SHORTEST_NAME and name.lower() in password.lower():
        return PasswordFault("name")
    return None
