"""Keyed tokens that stand for customers and flow instances: equal for equal ids, telling nothing about them.

A customer's token is the number of the key (one byte, 1–255) followed by the first 15 bytes of
HMAC-SHA256(key, "customer" NUL id), https://www.rfc-editor.org/rfc/rfc2104. Two customers get the same token
with a probability of n² / 2¹²¹ among n customers: about 10⁻²¹ for 50 million. Without the key nobody can try ids.

Rotation: the first key of the list makes new tokens, the others are kept to find what they made (a customer asks for
the own data, or for their erasure). Observations of one customer under two keys have two tokens: distinct customers
are over-counted in windows that span a rotation, never under-counted.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "KEYS_VARIABLE",
    "TOKEN_BYTES",
    "CustomerKey",
    "CustomerKeyError",
    "CustomerTokens",
    "flow_instance_id",
    "keyed_digest",
    "new_key_line",
]

KEYS_VARIABLE = "CXGAUGE_CUSTOMER_KEYS"
TOKEN_BYTES = 16
_SECRET_BYTES_LEAST = 16
_BLOCK_BYTES = 64
_HEX_ID = re.compile(r"[0-9a-fA-F]{32}")
_HEX_ID_WITH_DASHES = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class CustomerKeyError(ValueError):
    """Customer keys cannot be used as they are written. The text never holds a key."""


@dataclass(frozen=True, slots=True)
class CustomerKey:
    """One key: its number, which tokens carry, and its secret, at least 16 bytes."""

    number: int
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 255:
            raise CustomerKeyError(f"customer key number {self.number} is not from 1 to 255")
        if len(self.secret) < _SECRET_BYTES_LEAST:
            raise CustomerKeyError(
                f"customer key {self.number} has {len(self.secret)} bytes; at least {_SECRET_BYTES_LEAST} are needed, "
                "e.g. the output of `openssl rand -hex 32`"
            )


class CustomerTokens:
    """Makes tokens with the first of ``keys``; safe from any thread.

    Args:
        keys: The current key, then older ones.

    Raises:
        CustomerKeyError: there is no key, or two have one number.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Iterable[CustomerKey]) -> None:
        self._keys = tuple(keys)
        numbers = [key.number for key in self._keys]
        if not numbers:
            raise CustomerKeyError("there is no customer key; write one as `1:` and 64 hexadecimal digits")
        for number in numbers:
            if numbers.count(number) > 1:
                raise CustomerKeyError(f"customer key number {number} is given twice; number keys 1, 2, …")

    @property
    def current(self) -> CustomerKey:
        """The key that makes new tokens."""
        return self._keys[0]

    def by_number(self) -> dict[int, CustomerKey]:
        """All keys by the number that their tokens carry."""
        return {key.number: key for key in self._keys}

    def token(self, customer: object) -> bytes:
        """The token of a customer under the current key, 16 bytes; ``bytes`` are taken as they are, else ``str()``."""
        return _customer_token(self._keys[0], customer)

    def tokens(self, customer: object) -> tuple[bytes, ...]:
        """The customer's tokens under all keys, the current one first: what to look for in the store."""
        return tuple(_customer_token(key, customer) for key in self._keys)

    def flow_instance(self, instance: object) -> bytes:
        """A flow instance as 16 bytes; see :func:`flow_instance_id`, with text that is no id keyed."""
        return flow_instance_id(instance, self._keys[0].secret)

    @classmethod
    def parse(cls, text: str, place: str) -> CustomerTokens:
        """Read keys written as ``number:key``, separated by commas or line ends; ``#`` starts a comment.

        A key is hexadecimal digits, or else taken as UTF-8 text. A single key may leave out its number, 1.

        Args:
            text: The keys, current one first.
            place: Where they come from, for errors.

        Raises:
            CustomerKeyError: names the place and the rule, never the key.
        """
        parts = (
            (part.strip(), number)
            for number, line in enumerate(text.splitlines(), 1)
            for part in line.partition("#")[0].split(",")
        )
        keys = [_parse_key(part, f"{place}:{number}") for part, number in parts if part]
        try:
            return cls(keys)
        except CustomerKeyError as error:
            raise CustomerKeyError(f"{place}: {error}") from None

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> CustomerTokens:
        """Read a key file, see :meth:`parse`.

        Raises:
            CustomerKeyError: it cannot be read, others may read it, or a key is malformed.
        """
        path = Path(path)
        try:
            mode = path.stat().st_mode
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CustomerKeyError(f"{path}: the customer key file cannot be read: {error}") from None
        if mode & stat.S_IRWXO:
            raise CustomerKeyError(f"{path}: everybody may read the customer keys; run `chmod 640 {path}`")
        return cls.parse(text, str(path))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> CustomerTokens | None:
        """Read the keys of the variable ``CXGAUGE_CUSTOMER_KEYS``; None when it is not set or empty.

        Raises:
            CustomerKeyError: a key is malformed.
        """
        text = environment.get(KEYS_VARIABLE, "")
        return cls.parse(text, KEYS_VARIABLE) if text.strip() else None


def flow_instance_id(instance: object, secret: bytes | None = None) -> bytes:
    """A flow instance id as 16 bytes, the same in every process.

    16 bytes and 32 hexadecimal digits (with or without UUID dashes) are the id itself. Any other text is hashed:
    with ``secret`` by HMAC-SHA256, so that it tells nothing; else by SHA-256, which lets anybody try guesses.
    """
    if isinstance(instance, bytes) and len(instance) == TOKEN_BYTES:
        return instance
    text = instance if isinstance(instance, str) else str(instance)
    if _HEX_ID.fullmatch(text) or _HEX_ID_WITH_DASHES.fullmatch(text):
        return bytes.fromhex(text.replace("-", ""))
    data = b"flow instance\0" + text.encode("utf-8", "surrogatepass")
    digest = keyed_digest(secret, data) if secret else hashlib.sha256(data).digest()
    return digest[:TOKEN_BYTES]


def keyed_digest(secret: bytes, data: bytes) -> bytes:
    """HMAC-SHA256 (https://www.rfc-editor.org/rfc/rfc2104), at a third of the cost of ``hmac.digest``.

    The two hashes that begin with the key are kept and copied: OpenSSL would look its algorithm up every time.
    """
    copy_inner, copy_outer = _begun(secret)
    inner, outer = copy_inner(), copy_outer()
    inner.update(data)
    outer.update(inner.digest())
    return outer.digest()


@functools.lru_cache(64)
def _begun(secret: bytes) -> tuple[Callable[[], hashlib._Hash], Callable[[], hashlib._Hash]]:
    block = (hashlib.sha256(secret).digest() if len(secret) > _BLOCK_BYTES else secret).ljust(_BLOCK_BYTES, b"\0")
    inner, outer = (hashlib.sha256(bytes(octet ^ mask for octet in block)) for mask in (0x36, 0x5C))
    return inner.copy, outer.copy


def new_key_line(number: int = 1) -> str:
    """A line with a fresh random key for a key file."""
    return f"{number}:{secrets.token_hex(32)}"


def _customer_token(key: CustomerKey, customer: object) -> bytes:
    data = customer if isinstance(customer, bytes) else str(customer).encode("utf-8", "surrogatepass")
    return bytes((key.number,)) + keyed_digest(key.secret, b"customer\0" + data)[: TOKEN_BYTES - 1]


def _parse_key(text: str, place: str) -> CustomerKey:
    number, separator, secret = text.partition(":")
    if not separator:
        number, secret = "1", text
    if not (number.isascii() and number.isdigit()):
        raise CustomerKeyError(
            f"{place}: a customer key is written as its number, a colon and the key, e.g. 1:9f86d081…"
        )
    try:
        secret_bytes = bytes.fromhex(secret)
    except ValueError:
        secret_bytes = secret.encode()
    try:
        return CustomerKey(int(number), secret_bytes)
    except CustomerKeyError as error:
        raise CustomerKeyError(f"{place}: {error}") from None
