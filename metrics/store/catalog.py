"""Numbers of series and positions of checks: looked up in memory, made in the database when new."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from ..observation import CHECKS_PER_STEP_LIMIT, SeriesKey
from .connection import Connection, Database
from .named_queries import named_query

__all__ = ["OTHER", "Catalog", "Resolved", "storable_text"]

OTHER = "other"
"""Dimension value of the series that takes what exceeds a step's cap."""

_CACHE_LIMIT = 50_000  # keys beyond twice the series there are: those of overflowing steps
_TEXT_LIMIT = 256  # characters of a name or dimension value; what is longer is cut
_LOCK = "cxgauge catalog "
_Identity = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A batch's series table in the store's numbers.

    Attributes:
        ids: [S] series id of each entry.
        positions: For each entry the store's position of each of its checks, −1 where a step has no position left;
            None where the batch's own positions are the store's.
        overflowed: [S] whether the entry was beyond its step's cap and went to ``other``.
    """

    ids: NDArray[np.int64]
    positions: tuple[tuple[int, ...] | None, ...]
    overflowed: NDArray[np.bool_]


class Catalog:
    """Maps :class:`SeriesKey` to series ids and check positions; thread-safe.

    New series and checks are committed in a short transaction of their own under an advisory lock, so writers agree.
    A number given out stays valid for good: series and checks are never deleted.
    """

    def __init__(self, database: Database, series_per_step_limit: int) -> None:
        self._database = database
        self._limit = series_per_step_limit
        self._lock = threading.RLock()
        self._loaded = False
        self._loaded_newest = (-1, -1)
        self._ids: dict[_Identity, int] = {}
        self._keys: dict[int, SeriesKey] = {}
        self._per_step: Counter[tuple[str, str]] = Counter()
        self._checks: dict[tuple[str, str], list[str]] = {}
        self._resolved: dict[SeriesKey, tuple[int, tuple[int, ...] | None, bool]] = {}

    def forget(self) -> None:
        """Read everything anew at the next use, after the database may have been replaced."""
        with self._lock:
            self._loaded = False

    def series(self) -> dict[int, SeriesKey]:
        """All series as the database has them now; ``checks`` are the step's, in the store's positions."""
        with self._lock:
            self._ensure_loaded()
            if self._newest() != self._loaded_newest:
                self._load()
            return dict(self._keys)

    def series_of(self, ids: Iterable[int], check_widths: Iterable[int] | None = None) -> dict[int, SeriesKey]:
        """The keys of the series with ``ids``.

        Args:
            ids: Series ids that were read from the database.
            check_widths: For each id, how many check positions were read with it; names are read anew if fewer are
                known.
        """
        wanted = {int(number): width for number, width in zip(ids, check_widths or repeat(0), strict=False)}
        with self._lock:
            self._ensure_loaded()
            keys = self._keys
            if any(number not in keys or len(keys[number].checks) < width for number, width in wanted.items()):
                self._load()  # another writer made some since
            return {number: keys[number] for number in wanted}

    def _take_checks(self, checks: dict[tuple[str, str], list[str]]) -> None:
        """Remember the checks of steps, and put them into the keys of the steps' series."""
        changed = {step: tuple(names) for step, names in checks.items() if self._checks.get(step) != names}
        self._checks.update(checks)
        if changed:
            for number, key in self._keys.items():
                names = changed.get((key.flow, key.step))
                if names is not None:
                    self._keys[number] = SeriesKey(key.flow, key.step, key.dimensions, names)

    def _names(self, key: SeriesKey) -> list[str]:
        return self._checks.get((key.flow, key.step), [])

    def resolve(self, keys: Sequence[SeriesKey]) -> Resolved:
        """Numbers of ``keys``, made if they are new.

        Raises:
            psycopg.Error: something was new and the database could not be asked.
        """
        with self._lock:
            self._ensure_loaded()
            missing = [key for key in keys if key not in self._resolved]
            if missing:
                if len(self._resolved) + len(missing) > max(_CACHE_LIMIT, 2 * len(self._ids)):
                    self._resolved.clear()
                    missing = list(keys)
                storable = [_storable(key) for key in missing]
                try:
                    self._make(storable)
                except BaseException:
                    self._loaded = False  # numbers of a transaction that was rolled back may have been remembered
                    raise
                for key, stored in zip(missing, storable, strict=True):
                    self._resolved[key] = self._number(stored)
            found = [self._resolved[key] for key in keys]
        return Resolved(
            np.array([one[0] for one in found], dtype=np.int64),
            tuple(one[1] for one in found),
            np.array([one[2] for one in found], dtype=bool),
        )

    def _number(self, key: SeriesKey) -> tuple[int, tuple[int, ...] | None, bool]:
        identity = _identity(key)
        overflowed = identity not in self._ids
        number = self._ids[_identity(_other(key)) if overflowed else identity]
        known = self._names(key)
        positions = tuple(known.index(name) if name in known else -1 for name in key.checks)
        straight = positions == tuple(range(len(positions)))
        return number, None if straight else positions, overflowed

    def _make(self, keys: Sequence[SeriesKey]) -> None:
        """Create what is new among ``keys``, as far as the caps allow."""
        new = [key for key in keys if _identity(key) not in self._ids and not self._complete(key)]
        checks = [key for key in keys if self._unknown_checks(key)]
        if not new and not checks:
            return
        lock = _LOCK + self._database.settings.schema
        with self._database.connection() as connection:
            with connection.transaction():
                connection.execute(named_query("server.lock_transaction"), (lock,))
                self._read_steps(connection, {(key.flow, key.step) for key in new})
                self._add_series(connection, new)
            with connection.transaction():
                connection.execute(named_query("server.lock_transaction"), (lock,))
                for key in checks:
                    self._add_checks(connection, key)

    def _complete(self, key: SeriesKey) -> bool:
        """Whether the step has reached its cap and its ``other`` is there."""
        return self._per_step[key.flow, key.step] >= self._limit and _identity(_other(key)) in self._ids

    def _unknown_checks(self, key: SeriesKey) -> list[str]:
        known = self._names(key)
        return [] if len(known) >= CHECKS_PER_STEP_LIMIT else [name for name in key.checks if name not in known]

    def _add_series(self, connection: Connection, keys: Sequence[SeriesKey]) -> None:
        wanted: dict[_Identity, SeriesKey] = {}
        counts = Counter(self._per_step)
        for key in keys:
            identity = _identity(key)
            if identity in self._ids or identity in wanted:
                continue
            if counts[key.flow, key.step] >= self._limit:
                key, identity = _other(key), _identity(_other(key))  # noqa: PLW2901 - it stands for the step's rest
                if identity in self._ids or identity in wanted:
                    continue
            else:
                counts[key.flow, key.step] += 1
            wanted[identity] = key
        if wanted:
            flows, steps, dimensions = (list(column) for column in zip(*wanted, strict=True))
            parameters = {"flows": flows, "steps": steps, "dimensions": dimensions}
            rows = connection.execute(named_query("write.add_series"), parameters).fetchall()
            for (number,), key in zip(rows, wanted.values(), strict=True):
                self._remember(number, key)

    def _add_checks(self, connection: Connection, key: SeriesKey) -> None:
        rows = connection.execute(named_query("write.checks_of_step"), (key.flow, key.step)).fetchall()
        known = [name for _, name in rows]
        for name in dict.fromkeys(key.checks):
            if name not in known and len(known) < CHECKS_PER_STEP_LIMIT:
                connection.execute(named_query("write.add_check"), (key.flow, key.step, len(known), name))
                known.append(name)
        self._take_checks({(key.flow, key.step): known})

    def _read_steps(self, connection: Connection, steps: set[tuple[str, str]]) -> None:
        ordered = sorted(steps)
        parameters = {"flows": [flow for flow, _ in ordered], "steps": [step for _, step in ordered]}
        for number, flow, step, dimensions in connection.execute(named_query("write.series_of_steps"), parameters):
            self._remember(number, _key(flow, step, dimensions))

    def _remember(self, number: int, key: SeriesKey) -> None:
        identity = _identity(key)
        if identity not in self._ids:
            self._ids[identity] = number
            checks = tuple(self._checks.get((key.flow, key.step), ()))
            self._keys[number] = SeriesKey(key.flow, key.step, tuple(sorted(key.dimensions)), checks)
            self._per_step[key.flow, key.step] += 1

    def _ensure_loaded(self) -> None:
        if not self._loaded:
            self._ids.clear()
            self._keys.clear()
            self._per_step.clear()
            self._resolved.clear()
            self._checks.clear()
            self._load()
            self._loaded = True

    def _newest(self) -> tuple[int, int]:
        """Changes with every new series and check: numbers are given out one after the other, none is deleted."""
        with self._database.connection() as connection:
            row = connection.execute(named_query("write.newest_series")).fetchone()
        return (0, 0) if row is None else (int(row[0]), int(row[1]))

    def _load(self) -> None:
        self._loaded_newest = self._newest()  # before what is read: what comes between is read again
        with self._database.connection() as connection:
            for number, flow, step, dimensions in connection.execute(named_query("write.all_series")):
                self._remember(number, _key(flow, step, dimensions))
            checks: dict[tuple[str, str], list[str]] = {}
            for flow, step, _, name in connection.execute(named_query("write.all_checks")):
                checks.setdefault((flow, step), []).append(name)
        self._take_checks(checks)


def _identity(key: SeriesKey) -> _Identity:
    return key.flow, key.step, key.canonical_dimensions()


def _storable(key: SeriesKey) -> SeriesKey:
    """The key with texts that the database takes: no NUL, no half characters, nothing endless."""
    return SeriesKey(
        storable_text(key.flow),
        storable_text(key.step),
        tuple((storable_text(name), storable_text(value)) for name, value in key.dimensions),
        tuple(storable_text(name) for name in key.checks),
    )


def storable_text(value: str) -> str:
    """A text that the database takes: no NUL, no half characters, nothing endless."""
    return value.replace("\0", "�").encode("utf-8", "replace").decode()[:_TEXT_LIMIT]


def _key(flow: str, step: str, dimensions: dict[str, str]) -> SeriesKey:
    return SeriesKey(flow, step, tuple(sorted(dimensions.items())))


def _other(key: SeriesKey) -> SeriesKey:
    return SeriesKey(key.flow, key.step, tuple((name, OTHER) for name, _ in key.dimensions))
