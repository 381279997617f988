"""Dimension values kept bounded: allowed lists, limits on distinct values, ``other`` for the rest."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable, Mapping

__all__ = ["DISTINCT_LIMIT", "OTHER", "UNKNOWN", "DimensionValues"]

OTHER = "other"
UNKNOWN = "unknown"
DISTINCT_LIMIT = 100  # of a dimension that states neither values nor limit
_LENGTH_LIMIT = 64


class DimensionValues:
    """Maps given values to bounded ones.

    Known values are looked up without a lock; only a value not seen before takes it. After a fork the
    child has a new lock, so that a thread of the parent that held it cannot block the child.

    Args:
        dimensions: name, allowed values (None = any) and limit of distinct values (None = default) of each.
    """

    def __init__(self, dimensions: Iterable[tuple[str, tuple[str, ...] | None, int | None]]) -> None:
        self._lock = threading.Lock()
        self._entries: list[tuple[str, dict[str, str], int]] = []
        self._overflow: dict[str, int] = {}
        for name, values, limit in dimensions:
            known = {value: value for value in values or ()}
            room = 0 if values is not None else DISTINCT_LIMIT if limit is None else limit
            self._entries.append((name, known, len(known) + room))
            self._overflow[name] = 0
        _alive.add(self)

    def of(self, given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """``(name, value)`` of every dimension; see ``FlowSpec.dimension_values``."""
        result = []
        for name, known, limit in self._entries:
            value = given.get(name)
            bounded = known.get(value) if type(value) is str else None
            if bounded is None:
                bounded = self._new(name, value, known, limit)
            result.append((name, bounded))
        return tuple(result)

    def overflow(self) -> dict[str, int]:
        """How many values of each dimension became ``other``."""
        with self._lock:
            return dict(self._overflow)

    def _new(self, name: str, value: object, known: dict[str, str], limit: int) -> str:
        if value is None or (isinstance(value, str) and value in ("", UNKNOWN)):
            return UNKNOWN
        try:
            text = str(value)
        except Exception:
            text = ""
        if text == OTHER:
            return OTHER
        with self._lock:
            if text in known:
                return text
            if len(known) < limit and len(text) <= _LENGTH_LIMIT and text.isprintable() and text:
                known[text] = text
                return text
            self._overflow[name] += 1
            return OTHER

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()


_alive: weakref.WeakSet[DimensionValues] = weakref.WeakSet()


def _after_fork() -> None:
    for values in _alive:
        values._renew_lock()


os.register_at_fork(after_in_child=_after_fork)
