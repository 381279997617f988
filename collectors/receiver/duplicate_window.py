"""Recently seen span ids, so that a sender's retry does not count twice.

A table of 64-bit fingerprints in buckets of eight; a new fingerprint takes the place of the bucket's oldest. It
forgets, it never grows: what it cannot do is tell a retry that comes after the window has been overwritten, and,
with a probability it states, it takes a new span for one it has seen.
"""

from __future__ import annotations

import secrets

import numpy as np
from numpy.typing import NDArray

__all__ = ["DuplicateWindow"]

_SLOTS = 8
_UINT64 = np.uint64


class DuplicateWindow:
    """A bounded memory of ``(trace id, span id)`` pairs; not safe for several threads.

    Args:
        capacity: How many pairs are remembered, rounded up to a power of two; 8 bytes each. A pair is forgotten
            when eight newer ones have fallen into its bucket: seldom before ``capacity / 2`` newer pairs have come.
        fingerprint_bits: Bits of a pair that are compared, at most 64; fewer only serve to measure
            :attr:`false_positive_rate`.

    Raises:
        ValueError: a capacity or width that makes no sense.
    """

    def __init__(self, capacity: int = 1 << 20, *, fingerprint_bits: int = 64) -> None:
        if capacity < _SLOTS:
            raise ValueError(f"capacity={capacity} must be at least {_SLOTS}")
        if not 8 <= fingerprint_bits <= 64:
            raise ValueError(f"fingerprint_bits={fingerprint_bits} must be from 8 to 64")
        self._buckets = 1 << max(0, (capacity - 1).bit_length() - 3)
        self._table: NDArray[np.uint64] = np.zeros((self._buckets, _SLOTS), dtype=_UINT64)
        self._next = np.zeros(self._buckets, dtype=np.uint8)
        self._mask = _UINT64((1 << fingerprint_bits) - 1)
        self._fingerprint_bits = fingerprint_bits
        # Keys of its own for every process: a sender cannot choose ids that collide with another sender's.
        self._keys = np.frombuffer(secrets.token_bytes(24), dtype=_UINT64) | _UINT64(1)

    @property
    def capacity(self) -> int:
        """How many pairs fit."""
        return self._buckets * _SLOTS

    @property
    def false_positive_rate(self) -> float:
        """Highest probability that a new pair is taken for a seen one: eight comparisons of a fingerprint's bits.

        By the union bound over the slots of one bucket, ``8 / 2**fingerprint_bits`` (4.3e-19 at 64 bits).
        """
        return float(_SLOTS / 2.0**self._fingerprint_bits)

    def admit(self, trace_ids: NDArray[np.void], span_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Remember pairs and say which are new.

        Args:
            trace_ids: 16-byte ids, dtype ``V16``.
            span_ids: 64-bit ids, same length; 0 means that there is none, and such a row is always new.

        Returns:
            True where the pair has neither been seen nor occurs earlier in the same arguments.
        """
        fingerprints, buckets, whole = self._hash(trace_ids, span_ids)
        named = span_ids != 0
        known = (self._table[buckets] == fingerprints[:, None]).any(axis=1) & named
        new: NDArray[np.bool_] = ~known
        ordered = np.sort(whole)
        if np.count_nonzero(ordered[1:] == ordered[:-1]):
            _, first = np.unique(whole, return_index=True)
            repeated = np.ones(len(new), dtype=bool)
            repeated[first] = False
            new &= ~(repeated & named)
        kept = new & named
        self._insert(fingerprints[kept], buckets[kept])
        return new

    def forget(self, trace_ids: NDArray[np.void], span_ids: NDArray[np.int64]) -> None:
        """Take pairs back that :meth:`admit` remembered, because they were not kept after all."""
        fingerprints, buckets, _ = self._hash(trace_ids, span_ids)
        row, slot = np.nonzero(self._table[buckets] == fingerprints[:, None])
        self._table[buckets[row], slot] = 0

    def _insert(self, fingerprints: NDArray[np.uint64], buckets: NDArray[np.int64]) -> None:
        """Write each fingerprint into the next slot of its bucket; several may share a bucket."""
        order = np.argsort(buckets, kind="stable")
        ordered = buckets[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else ordered
        counts = np.diff(np.r_[starts, len(ordered)])
        rank = np.arange(len(ordered)) - np.repeat(starts, counts)
        slots = (self._next[ordered] + rank) % _SLOTS
        self._table[ordered, slots] = fingerprints[order]
        touched = ordered[starts]
        self._next[touched] = (self._next[touched] + counts) % _SLOTS

    def _hash(
        self, trace_ids: NDArray[np.void], span_ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.uint64]]:
        """Fingerprint (never 0, which marks an empty slot) and bucket of each pair, and all 64 bits of its hash."""
        halves = np.ascontiguousarray(trace_ids).view(_UINT64).reshape(-1, 2)
        mixed = _mix(span_ids.astype(np.int64).view(_UINT64) ^ self._keys[0])
        mixed = _mix(mixed ^ halves[:, 0] * self._keys[1])
        mixed = _mix(mixed ^ halves[:, 1] * self._keys[2])
        buckets = (_mix(mixed + self._keys[0]) & _UINT64(self._buckets - 1)).astype(np.int64)
        fingerprints = mixed & self._mask
        fingerprints[fingerprints == 0] = 1
        return fingerprints, buckets, mixed


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (https://doi.org/10.1145/2714064.2660195): every input bit moves every output bit."""
    values = (values ^ (values >> _UINT64(30))) * _UINT64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> _UINT64(27))) * _UINT64(0x94D049BB133111EB)
    return values ^ (values >> _UINT64(31))
