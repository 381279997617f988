"""Counts of tails and failures by window: what the count tests are learnt from.

A channel in which nothing ever failed needs no columns: all that is learnt of it is linear in its trials.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..detection.channels import ChannelMap
from ..detection.input import Fleet, Measurements
from .budget import TAILS
from .cells import CellFigures, Rows
from .count import CountHistory, pair_rates
from .membership import Membership
from .timetable import Timetable
from .workspace import Workspace

__all__ = ["Outcomes", "RateColumns", "RowOutcomes", "cell_totals"]

Floats = NDArray[Any]  # float32 or float64
Integers = NDArray[Any]  # int64


class Outcomes(Protocol):
    """Failures and trials of some cells, window by window or by longer stretches ``[T, C]``."""

    def failures(self, wanted: Set[int]) -> Iterator[tuple[int, Floats]]:
        """Outcome columns with any failure among those wanted, and the failures."""
        ...

    def trials(self, wanted: Set[int]) -> Iterator[tuple[Integers, Floats]]:
        """Outcome columns that have the same trials, any of them wanted, and the trials."""
        ...


@dataclass(frozen=True, slots=True)
class RowOutcomes:
    """Outcomes of rows, window by window."""

    rows: Rows

    def failures(self, wanted: Set[int]) -> Iterator[tuple[int, Floats]]:
        """See :class:`Outcomes`."""
        failed = self.rows.history.failed
        for each in sorted(wanted):
            if each < failed.shape[1] and failed[:, each].any():
                yield each, self.rows.dense(failed[:, each])

    def trials(self, wanted: Set[int]) -> Iterator[tuple[Integers, Floats]]:
        """See :class:`Outcomes`."""
        for alike in _alike(self.rows.history.tried):
            if not wanted.isdisjoint(alike.tolist()):
                yield alike, self.rows.dense(self.rows.history.tried[:, alike[0]])


@dataclass(slots=True)
class RateColumns:
    """Sums over the cells of ``J`` count tests: two tails of every scope, then the failure channels.

    Attributes:
        channels: Pairs of cell and outcome column, and which channel each belongs to.
        rate: Usual failure rate of each pair, ``[P]``.
        tail_rate: Usual share of each cell's observations beyond the tail edges, ``[C, 2]``.
        history: The sums.
    """

    channels: ChannelMap
    rate: Floats
    tail_rate: Floats
    history: CountHistory

    @classmethod
    def new(cls, fleet: Fleet, failed: Floats, tried: Floats, table: Timetable, space: Workspace) -> RateColumns:
        """No cell yet.

        Args:
            fleet: Scopes and channels.
            failed: Failures of each cell by outcome column over the history, ``[C, F]``.
            tried: Trials likewise.
            table: Local time of the windows, or stretches, that are counted by.
            space: Where the columns are kept.
        """
        channels = ChannelMap.of(fleet)
        cell, column = channels.pairs[:, 0], channels.pairs[:, 1]
        there = column < failed.shape[1]
        safe = np.minimum(column, max(failed.shape[1] - 1, 0))
        pair_failed = np.where(there, failed[cell, safe], 0.0) if failed.shape[1] else np.zeros(len(cell))
        pair_tried = np.where(there, tried[cell, safe], 0.0) if failed.shape[1] else np.zeros(len(cell))
        tails = len(fleet.scopes) * len(TAILS)
        ever = np.zeros(len(fleet.channels))
        np.add.at(ever, channels.member_channel, pair_failed[channels.member_pair])
        # channels of one kind lie together, so that the columns of consecutive cells do
        owner = np.array([channel.scope for channel in fleet.channels], dtype=np.int64)
        turn = np.arange(len(owner)) - np.searchsorted(owner, owner)
        failing = np.flatnonzero(ever > 0)
        failing = failing[np.lexsort((failing, turn[failing]))]
        kinds = [np.arange(k, tails, len(TAILS)) for k in range(len(TAILS))]
        active = np.concatenate([*kinds, tails + failing])
        starts, hour = table.half_hours()
        return cls(
            channels,
            pair_rates(pair_failed, pair_tried, channels.group),
            np.zeros((len(fleet.cells), len(TAILS))),
            CountHistory.new(starts, hour, len(table.day), tails + len(fleet.channels), active, space),
        )

    def add(self, outcomes: Outcomes, cells: Integers, figures: CellFigures, members: Membership, fleet: Fleet) -> None:
        """Add some cells: tails of their scopes and failures of their channels."""
        self._add_tails(cells, figures, members, fleet.family[cells])
        place = np.full(len(fleet.cells), -1)
        place[cells] = np.arange(len(cells))
        pairs = self.channels.pairs[self.channels.member_pair]
        here = np.flatnonzero(place[pairs[:, 0]] >= 0)
        source, column = place[pairs[here, 0]], pairs[here, 1]
        target = self.channels.member_channel[here] + self.tail_rate.shape[1] * len(fleet.scopes)
        wanted = set(column.tolist())
        for each, values in outcomes.failures(wanted):
            mine = column == each
            self.history.add_failed(values, Membership.of(source[mine], target[mine]))
        rate, share = self.rate[self.channels.member_pair[here]], self.channels.member_share[here]
        for alike, values in outcomes.trials(wanted):
            mine = np.isin(column, alike)
            expected = Membership.of(source[mine], target[mine], rate[mine])
            trials = Membership.of(source[mine], target[mine], share[mine])
            self.history.add_tried(values, expected, trials)

    def _add_tails(self, cells: Integers, figures: CellFigures, members: Membership, family: Integers) -> None:
        total = figures.trials.sum(axis=0, dtype=np.float64)
        for k in range(len(TAILS)):
            usual = pair_rates(figures.tails[k].sum(axis=0, dtype=np.float64), total, family)
            self.tail_rate[cells, k] = usual
            target = members.target * len(TAILS) + k
            self.history.add_failed(figures.tails[k], Membership.of(members.source, target))
            expected = Membership.of(members.source, target, usual[members.source])
            self.history.add_tried(figures.trials, expected, Membership.of(members.source, target))


def _alike(tried: Floats) -> list[Integers]:
    """Outcome columns that have the same trials, together."""
    left = list(range(tried.shape[1]))
    groups = []
    while left:
        same = [left[0], *(each for each in left[1:] if np.array_equal(tried[:, each], tried[:, left[0]]))]
        groups.append(np.array(same))
        left = [each for each in left if each not in same]
    return groups


def cell_totals(history: Measurements, values: Floats, cells: int) -> Floats:
    """Sums by cell of outcome columns ``[R, F]``, rows sorted by cell."""
    out = np.zeros((cells, values.shape[1]))
    if not len(history):
        return out
    starts = np.flatnonzero(np.concatenate(([True], history.cell[1:] != history.cell[:-1])))
    for alike in _alike(values):
        column = values[:, alike[0]]
        if column.any():
            sums = np.add.reduceat(np.ascontiguousarray(column), starts, dtype=np.float64)
            out[np.ix_(history.cell[starts], alike)] = sums[:, None]
    return out
