"""What detection reads: cells, the scopes they add up to, and columns of windowed measurements.

A *cell* is a leaf series (flow, step, dimension values). A *scope* is what is monitored: a step over
everyone, a whole flow, or one sub-population; it is a set of cells, and its test is stratified by
cell so that a change of mix between cells of different speed moves nothing. The arrays here are the
whole contract between the store (or a file) and the detection core, which does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..deviation import Scope
from ..observation import SeriesKey
from ..rollup import Rollup
from ..sketch import LOG_GAMMA
from ..verdict import VERDICT_COUNT, Verdict

__all__ = ["SKETCH_GRID", "BucketGrid", "Channel", "Fleet", "Measurements", "concatenate"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64


@dataclass(frozen=True, slots=True)
class BucketGrid:
    """A grid that is linear in log duration: bucket ``b`` covers ``low + width·b`` to ``low + width·(b+1)`` of ln s."""

    low: float
    width: float

    def middle(self, buckets: Integers) -> Floats:
        """The logarithm of seconds in the middle of each bucket."""
        return self.low + self.width * (buckets.astype(np.float64) + 0.5)


SKETCH_GRID = BucketGrid(-LOG_GAMMA, LOG_GAMMA)
"""The grid of the product's own sketches."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """Rows of (window, cell), in columns; the rows of one window need no order, several rows a cell add up.

    Attributes:
        window_start: Seconds since 1970 UTC, ``[R]``.
        cell: Index into :attr:`Fleet.cells`, ``[R]``; an index beyond the profile's fleet is a cell not learnt yet.
        count: Observations with a duration, ``[R]``.
        sum_log: Sum of ln seconds, ``[R]``; NaN where it is not known.
        sum_log_sq: Sum of squared ln seconds, ``[R]``; NaN where it is not known.
        offsets: Histogram of row ``i`` is ``buckets[offsets[i]:offsets[i+1]]``, ``[R+1]``.
        buckets: Bucket numbers on :attr:`Fleet.grid`, integers of any width.
        bucket_counts: Observations in each of ``buckets``.
        failed: Failures by outcome column, ``[R, F]``.
        tried: Trials by outcome column, ``[R, F]``.
    """

    window_start: Floats
    cell: Integers
    count: Floats
    sum_log: Floats
    sum_log_sq: Floats
    offsets: Integers
    buckets: Integers
    bucket_counts: Floats
    failed: Floats
    tried: Floats

    def __len__(self) -> int:
        return int(self.cell.shape[0])

    def take(self, rows: Integers) -> Measurements:
        """The rows given by index, in that order."""
        lengths = np.diff(self.offsets)[rows]
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        source = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Measurements(
            self.window_start[rows],
            self.cell[rows],
            self.count[rows],
            self.sum_log[rows],
            self.sum_log_sq[rows],
            offsets,
            self.buckets[source],
            self.bucket_counts[source],
            self.failed[rows],
            self.tried[rows],
        )

    def narrow(self) -> Measurements:
        """The same in fewer bytes: bucket numbers of 16 bits, counts in single precision (exact up to 16 million)."""
        low, high = (int(self.buckets.min()), int(self.buckets.max())) if len(self.buckets) else (0, 0)
        fits = np.iinfo(np.int16).min <= low and high <= np.iinfo(np.int16).max
        return replace(
            self,
            count=self.count.astype(np.float32),
            buckets=self.buckets.astype(np.int16) if fits else self.buckets,
            bucket_counts=self.bucket_counts.astype(np.float32),
            failed=np.asfortranarray(self.failed, dtype=np.float32),
            tried=np.asfortranarray(self.tried, dtype=np.float32),
        )

    def cut(self, begin: int, end: int) -> Measurements:
        """Consecutive rows, not copied."""
        rows, first = slice(begin, end), int(self.offsets[begin])
        entries = slice(first, int(self.offsets[end]))
        return Measurements(
            self.window_start[rows],
            self.cell[rows],
            self.count[rows],
            self.sum_log[rows],
            self.sum_log_sq[rows],
            self.offsets[begin : end + 1] - first,
            self.buckets[entries],
            self.bucket_counts[entries],
            self.failed[rows],
            self.tried[rows],
        )

    def windows(self) -> Iterable[tuple[float, Measurements]]:
        """The rows window by window, in order of time."""
        order = np.argsort(self.window_start, kind="stable")
        starts, first = np.unique(self.window_start[order], return_index=True)
        for start, rows in zip(starts, np.split(order, first[1:]), strict=True):
            yield float(start), self.take(rows)

    @classmethod
    def from_rollup(cls, rollup: Rollup, cell_of_series: Mapping[int, int]) -> Measurements:
        """Rows of a rollup (grid: :data:`SKETCH_GRID`); outcome columns as in :meth:`Fleet.build`.

        Args:
            rollup: Rows by window, series and origin.
            cell_of_series: Cell of each series number of the rollup; rows of other series are left out.
        """
        numbers = np.array(sorted(cell_of_series), dtype=np.int64)
        cells = np.array([cell_of_series[int(number)] for number in numbers], dtype=np.int64)
        place = np.searchsorted(numbers, rollup.series)
        wanted = np.zeros(len(rollup.series), dtype=bool)
        inside = place < len(numbers)
        wanted[inside] = numbers[place[inside]] == rollup.series[inside]
        everyone = rollup.verdicts.sum(axis=1, keepdims=True)
        tried = np.concatenate(
            [np.broadcast_to(everyone, rollup.verdicts.shape), rollup.checks[:, :, :2].sum(axis=2)], axis=1
        )
        rows = cls(
            rollup.window_start.astype(np.float64),
            np.where(wanted, cells[np.where(wanted, place, 0)], -1) if len(numbers) else np.full(len(wanted), -1),
            rollup.count.astype(np.float64),
            rollup.sum_log,
            rollup.sum_log_sq,
            rollup.offsets.astype(np.int64),
            rollup.buckets,
            rollup.bucket_counts.astype(np.float64),
            np.asfortranarray(np.concatenate([rollup.verdicts, rollup.checks[:, :, 1]], axis=1), dtype=np.float64),
            np.asfortranarray(tried, dtype=np.float64),
        )
        return rows if wanted.all() else rows.take(np.flatnonzero(wanted))

    @classmethod
    def empty(cls, outcome_columns: int = 0) -> Measurements:
        """No rows."""
        none = np.zeros(0)
        index = np.zeros(0, dtype=np.int64)
        outcomes = np.zeros((0, outcome_columns))
        start = np.zeros(1, dtype=np.int64)
        return cls(none, index, none, none, none, start, index, none, outcomes, outcomes)


def concatenate(parts: Sequence[Measurements]) -> Measurements:
    """The rows of all parts, one after the other."""
    if not parts:
        return Measurements.empty()
    shifts = np.cumsum([0] + [int(part.offsets[-1]) for part in parts[:-1]])
    offsets = [part.offsets[:-1] + shift for part, shift in zip(parts, shifts, strict=True)]
    total = np.array([shifts[-1] + int(parts[-1].offsets[-1])])
    return Measurements(
        np.concatenate([part.window_start for part in parts]),
        np.concatenate([part.cell for part in parts]),
        np.concatenate([part.count for part in parts]),
        np.concatenate([part.sum_log for part in parts]),
        np.concatenate([part.sum_log_sq for part in parts]),
        np.concatenate([*offsets, total]),
        np.concatenate([part.buckets for part in parts]),
        np.concatenate([part.bucket_counts for part in parts]),
        _stacked([part.failed for part in parts]),
        _stacked([part.tried for part in parts]),
    )


def _stacked(parts: Sequence[Floats]) -> Floats:
    """Outcome columns one under the other; columns that a part does not have are 0 there. Laid out by column."""
    columns = max(part.shape[1] for part in parts)
    out = np.zeros((columns, sum(len(part) for part in parts)), dtype=np.result_type(*parts))
    first = 0
    for part in parts:
        out[: part.shape[1], first : first + len(part)] = part.T
        first += len(part)
    return out.T


@dataclass(frozen=True, slots=True)
class Channel:
    """A failure rate to watch: in ``scope`` (index), the sum of ``(cell, outcome column)`` pairs.

    ``check`` is as in :class:`~.deviation.Scope`: the name of a check, ``verdict:<label>``, or ``None`` for every
    answer that was not fit to use (verdict stale or worse).
    """

    scope: int
    check: str | None
    pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything that is monitored: cells, scopes over them, failure channels, and the histogram grid.

    ``family`` gives each cell the number of its step: cells of a family share seasons and priors.
    ``parent`` gives each scope the scope above it (a sub-population's step, a step's flow), or -1:
    when both deviate at once, one cause makes one deviation, that of the widest scope.
    """

    cells: tuple[SeriesKey, ...]
    family: Integers
    scopes: tuple[Scope, ...]
    members: tuple[Integers, ...]
    parent: Integers
    channels: tuple[Channel, ...]
    grid: BucketGrid

    @classmethod
    def build(cls, cells: Sequence[SeriesKey], grid: BucketGrid, *, flows: bool = True, parts: bool = True) -> Fleet:
        """The scopes of a set of series: each step, each flow with more than one step, each dimension value.

        Outcome columns are the eight verdicts in their numeric order, then the checks of the cell in
        the order of ``SeriesKey.checks``.

        Args:
            cells: The leaf series; their order is the order of :attr:`Measurements.cell`.
            grid: The histogram grid of the measurements.
            flows: Whether to monitor whole flows as well.
            parts: Whether to monitor single dimension values as well.
        """
        names = sorted({(key.flow, key.step) for key in cells})
        number = {name: index for index, name in enumerate(names)}
        family = np.array([number[key.flow, key.step] for key in cells], dtype=np.int64)
        members: dict[Scope, list[int]] = {Scope(flow, step): [] for flow, step in names}
        parents: dict[Scope, Scope] = {}
        for index, key in enumerate(cells):
            step = Scope(key.flow, key.step)
            members[step].append(index)
            for name, value in key.dimensions if parts else ():
                part = Scope(key.flow, key.step, ((name, value),))
                members.setdefault(part, []).append(index)
                parents[part] = step
        steps_of: dict[str, list[Scope]] = {}
        for flow_name, step_name in names:
            steps_of.setdefault(flow_name, []).append(Scope(flow_name, step_name))
        for flow, steps in steps_of.items() if flows else ():
            if len(steps) > 1:
                members[Scope(flow)] = [index for each in steps for index in members[each]]
                parents.update((each, Scope(flow)) for each in steps)
        scopes = [
            scope
            for scope, inside in members.items()
            if not (scope.dimensions and len(inside) == len(members[parents[scope]]))
        ]
        scopes.sort(key=lambda scope: (scope.flow, scope.step or "", scope.dimensions))
        position = {scope: index for index, scope in enumerate(scopes)}
        return cls(
            tuple(cells),
            family,
            tuple(scopes),
            tuple(np.array(members[scope], dtype=np.int64) for scope in scopes),
            np.array([position.get(parents[s], -1) if s in parents else -1 for s in scopes], dtype=np.int64),
            tuple(_channels(cells, scopes, members)),
            grid,
        )


def _channels(cells: Sequence[SeriesKey], scopes: Sequence[Scope], members: dict[Scope, list[int]]) -> list[Channel]:
    """Failure channels: all bad answers for every scope; single verdicts and checks for whole steps."""
    bad = [verdict for verdict in Verdict if verdict >= Verdict.STALE]
    channels: list[Channel] = []
    for index, scope in enumerate(scopes):
        inside = members[scope]
        channels.append(Channel(index, None, tuple((cell, int(verdict)) for cell in inside for verdict in bad)))
        if scope.step is None or scope.dimensions:
            continue
        channels.extend(
            Channel(index, f"verdict:{verdict.label}", tuple((cell, int(verdict)) for cell in inside))
            for verdict in bad
        )
        for check in sorted({name for cell in inside for name in cells[cell].checks}):
            pairs = [
                (cell, VERDICT_COUNT + cells[cell].checks.index(check))
                for cell in inside
                if check in cells[cell].checks
            ]
            channels.append(Channel(index, check, tuple(pairs)))
    return channels
