"""Tokens of senders: random, kept as hashes in a file, each for all flows or for some.

A token is ``cxg_<id>_<secret>``: the id (8 hexadecimal digits) is public and names it in lists, logs and the audit;
the secret has 256 random bits, which is why a plain SHA-256 of it is enough
(https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html is about passwords people choose).
The receiver reads the file again when it changes, so that a revoked token ends within a second, without a restart.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

__all__ = ["Sender", "SenderToken", "SenderTokens", "TokensFileError"]

_TOKEN = re.compile(r"cxg_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}")
_LIMIT = 10_000
_CHECK_SECONDS = 0.5


class TokensFileError(ValueError):
    """The tokens file cannot be used. The text never holds a token."""


@dataclass(frozen=True, slots=True)
class SenderToken:
    """A token as it is kept.

    Attributes:
        id: Eight hexadecimal digits that name it.
        name: Whose it is, for people.
        secret_sha256: Hash of the secret, hexadecimal.
        flows: Flows it may send for; None: all.
        created_at: Seconds since 1970.
        revoked_at: When it was revoked; None while it is good.
    """

    id: str
    name: str
    secret_sha256: str
    flows: tuple[str, ...] | None
    created_at: float
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends, as far as a token tells.

    Attributes:
        id: Id of the token; empty for a sender without one.
        name: Its name.
        flows: Flows it may send for; None: all.
    """

    id: str = ""
    name: str = ""
    flows: frozenset[str] | None = None


class SenderTokens:
    """The tokens in a file; the file need not exist, and then there are none.

    Args:
        path: The file; it is made readable for its owner only.
        clock: Seconds since 1970.
        timer: Monotonic seconds, for how often the file is looked at.
    """

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.time, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self._clock = clock
        self._timer = timer
        self._looked_at = float("-inf")
        self._version: tuple[int, int, int] | None = None
        self._tokens: dict[str, SenderToken] = {}

    def add(self, name: str, flows: tuple[str, ...] | None = None) -> tuple[str, SenderToken]:
        """Make a token.

        Args:
            name: Whose it is.
            flows: Flows it may send for; None: all.

        Returns:
            The token itself, which is nowhere else and cannot be had again, and what is kept of it.

        Raises:
            ValueError: the name cannot be one.
            TokensFileError: the file cannot be read or written.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"name={name[:80]!r} cannot name a token; use up to 63 letters, digits, blanks, . _ -")
        token_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        token = SenderToken(token_id, name, _hash(secret), flows, self._clock())
        with self._changing() as tokens:
            if len(tokens) >= _LIMIT:
                raise TokensFileError(f"{self.path} holds {_LIMIT} tokens; delete revoked ones from it")
            tokens[token_id] = token
        return f"cxg_{token_id}_{secret}", token

    def revoke(self, token_id: str) -> SenderToken:
        """End a token; revoking it again changes nothing.

        Raises:
            KeyError: there is no such token.
            TokensFileError: the file cannot be read or written.
        """
        with self._changing() as tokens:
            token = tokens[token_id]
            if token.revoked_at is None:
                token = tokens[token_id] = replace(token, revoked_at=self._clock())
        return token

    def all(self) -> list[SenderToken]:
        """Every token, revoked ones too, oldest first.

        Raises:
            TokensFileError: the file cannot be read.
        """
        return sorted(_read(self.path).values(), key=lambda token: token.created_at)

    @property
    def any_good(self) -> bool:
        """Whether there is a token that has not been revoked.

        Raises:
            TokensFileError: the file cannot be read.
        """
        return any(token.revoked_at is None for token in self.all())

    def sender(self, token: str) -> Sender | None:
        """Whose token it is; None when it is malformed, unknown, wrong or revoked.

        Raises:
            TokensFileError: the file has become unreadable; nobody is let in then.
        """
        self._look()
        found = _TOKEN.fullmatch(token)
        kept = self._tokens.get(found[1]) if found is not None else None
        given = _hash(found[2] if found is not None else token)
        good = hmac.compare_digest(given, kept.secret_sha256 if kept is not None else _hash(""))
        if kept is None or not good or kept.revoked_at is not None:
            return None
        return Sender(kept.id, kept.name, None if kept.flows is None else frozenset(kept.flows))

    def _look(self) -> None:
        now = self._timer()
        if now - self._looked_at < _CHECK_SECONDS:
            return
        try:
            status = self.path.stat()
            version = (status.st_mtime_ns, status.st_size, status.st_ino)
        except FileNotFoundError:
            version = (0, 0, 0)
        except OSError as error:
            raise TokensFileError(f"{self.path} cannot be read: {error}") from None
        if version != self._version:
            self._tokens = _read(self.path)
            self._version = version
        self._looked_at = now

    @contextmanager
    def _changing(self) -> Iterator[dict[str, SenderToken]]:
        """The tokens, locked against other processes; written back whole when the block ends without error."""
        try:
            self.path.parent.mkdir(mode=0o770, parents=True, exist_ok=True)
            lock = os.open(self.path.with_name(self.path.name + ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise TokensFileError(f"{self.path} cannot be written: {error}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            tokens = _read(self.path)
            yield tokens
            _write(self.path, tokens)
        except OSError as error:
            raise TokensFileError(f"{self.path} cannot be written: {error}") from None
        finally:
            os.close(lock)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _read(path: Path) -> dict[str, SenderToken]:
    try:
        if path.stat().st_mode & 0o007:
            raise TokensFileError(f"everybody may read or write {path}; run `chmod 600 {path}`")
        rows = json.loads(path.read_text(encoding="utf-8"))["tokens"]
        tokens = [_token(row) for row in rows]
    except FileNotFoundError:
        return {}
    except TokensFileError:
        raise
    except OSError as error:
        raise TokensFileError(f"{path} cannot be read: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise TokensFileError(f"{path} is not a tokens file; restore it, or delete it and add tokens anew") from None
    return {token.id: token for token in tokens}


def _token(row: Any) -> SenderToken:
    flows = row.pop("flows")
    return SenderToken(flows=None if flows is None else tuple(str(flow) for flow in flows), **row)


def _write(path: Path, tokens: dict[str, SenderToken]) -> None:
    text = json.dumps({"tokens": [asdict(token) for token in tokens.values()]}, ensure_ascii=False, indent=1)
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
