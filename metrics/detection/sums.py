"""Sums of cells by scope, and of failures by channel, for one window of a whole fleet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..verdict import VERDICT_COUNT
from .channels import ChannelMap
from .input import Measurements

__all__ = ["CellSums", "FailureSums", "ScopeSums"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64


class CellSums:
    """Adds rows up to cells: most windows have one row a cell, in order, and then nothing needs adding."""

    def __init__(self, cell: Integers, cells: int) -> None:
        self._cell, self._cells = cell, cells
        self._ascending = bool(len(cell) == 0 or (cell[1:] > cell[:-1]).all())
        self._complete = self._ascending and len(cell) == cells

    def __call__(self, values: Floats) -> Floats:
        """Sums by cell ``[C]``; what is given may be what is returned."""
        if self._complete:
            return values
        if not self._ascending:
            return np.bincount(self._cell, values, minlength=self._cells)
        out = np.zeros(self._cells)
        out[self._cell] = values
        return out


class ScopeSums:
    """Adds cells up to scopes.

    Attributes:
        several: Scopes of more than one cell, ``[S]``.
    """

    def __init__(self, members: Sequence[Integers], cells: int) -> None:
        sizes = np.array([len(inside) for inside in members], dtype=np.int64)
        self.several = sizes > 1
        self._cells = np.concatenate([*members, np.zeros(0, dtype=np.int64)])
        self._some = sizes > 0
        self._starts = (np.cumsum(sizes) - sizes)[self._some]
        self._alone = bool((sizes == 1).all())
        self._same = self._alone and np.array_equal(self._cells, np.arange(cells))

    @property
    def same(self) -> bool:
        """Whether scopes are cells: one each, in the same order."""
        return self._same

    def __call__(self, values: Floats) -> Floats:
        """Sums by scope of ``values [..., C]``; what is given may be what is returned."""
        if self._same:
            return values
        picked = values.take(self._cells, axis=-1)
        if self._alone:
            return np.asarray(picked)
        if self._some.all():
            return np.asarray(np.add.reduceat(picked, self._starts, axis=-1))
        out = np.zeros((*values.shape[:-1], len(self._some)))
        out[..., self._some] = np.add.reduceat(picked, self._starts, axis=-1)
        return out


class FailureSums:
    """Adds failures, failures expected and trials of a window up to failure channels.

    Failures are few: each is looked up. Trials are many, but those of all verdicts of a row are alike, so that one
    number stands for them.
    """

    def __init__(self, channels: ChannelMap, rate: Floats, cells: int, number: int) -> None:
        """``rate`` is the usual failure rate of each pair, ``[P]``."""
        self._channels, self._cells, self._number = channels, cells, number
        self._columns = int(channels.pairs[:, 1].max(initial=-1)) + 1
        self._used = np.unique(channels.pairs[:, 1]).tolist()
        self._pair_of = np.full(cells * self._columns, -1, dtype=np.int32)
        self._pair_of[channels.pairs[:, 0] * self._columns + channels.pairs[:, 1]] = np.arange(len(channels.pairs))
        by_pair = np.argsort(channels.member_pair, kind="stable")
        self._channel_of_pair = channels.member_channel[by_pair]
        self._first_of_pair = np.searchsorted(channels.member_pair[by_pair], np.arange(len(channels.pairs) + 1))
        verdicts = channels.pairs[:, 1] < VERDICT_COUNT
        source = np.where(verdicts, 0, channels.pairs[:, 1] - VERDICT_COUNT + 1)[channels.member_pair]
        self._sources = int(source.max(initial=0)) + 1
        key = (channels.member_channel * self._sources + source) * cells + channels.pairs[:, 0][channels.member_pair]
        keys, self._place = np.unique(key, return_inverse=True)
        self._value = ((keys // cells) % self._sources) * cells + keys % cells
        channel = keys // (cells * self._sources)
        self._channel_starts = np.searchsorted(channel, np.arange(number))
        self._share = np.bincount(self._place, channels.member_share, minlength=len(keys))
        self.take_rates(rate)

    def take_rates(self, rate: Floats) -> None:
        """Go on with other usual rates of pairs, ``[P]``."""
        self._rate = rate
        self._weight = np.bincount(self._place, rate[self._channels.member_pair], minlength=len(self._share))

    def of_window(self, rows: Measurements, add: CellSums) -> tuple[Floats, Floats, Floats]:
        """Failures, failures expected and trials of each channel."""
        if not self._number:
            return np.zeros(0), np.zeros(0), np.zeros(0)
        tried = rows.tried
        width = tried.shape[1]
        verdicts = [column for column in self._used if column < min(VERDICT_COUNT, width)]
        alike = len(verdicts) > 0 and all(
            np.array_equal(tried[:, verdicts[0]], tried[:, each]) for each in verdicts[1:]
        )
        if not alike or any(column >= width for column in self._used if column < VERDICT_COUNT):
            return self._failed(rows), *self._unlike(rows, add)
        values = np.zeros((self._sources, self._cells))
        values[0] = add(tried[:, verdicts[0]])
        for source in range(1, min(self._sources, width - VERDICT_COUNT + 1)):
            values[source] = add(tried[:, VERDICT_COUNT + source - 1])
        picked = values.ravel().take(self._value)
        mean, total = (np.add.reduceat(picked * each, self._channel_starts) for each in (self._weight, self._share))
        return self._failed(rows), mean, total

    def _failed(self, rows: Measurements) -> Floats:
        pairs, counts = [], []
        for column in self._used:
            if column < rows.failed.shape[1]:
                values = rows.failed[:, column]
                hit = np.flatnonzero(values)
                pairs.append(self._pair_of[rows.cell[hit] * self._columns + column])
                counts.append(values[hit])
        if not pairs:
            return np.zeros(self._number)
        pair, count = np.concatenate(pairs), np.concatenate(counts)
        pair, count = pair[pair >= 0], count[pair >= 0]
        first = self._first_of_pair[pair]
        many = self._first_of_pair[pair + 1] - first
        member = np.repeat(first - (np.cumsum(many) - many), many) + np.arange(many.sum())
        return np.bincount(self._channel_of_pair[member], np.repeat(count, many), minlength=self._number)

    def _unlike(self, rows: Measurements, add: CellSums) -> tuple[Floats, Floats]:
        """Expected failures and trials where verdicts have trials of their own."""
        channels, columns = self._channels, rows.tried.shape[1]
        tried = np.zeros((columns + 1, self._cells))
        for column in range(columns):
            tried[column] = add(rows.tried[:, column])
        of_pair = tried[np.minimum(channels.pairs[:, 1], columns), channels.pairs[:, 0]]
        pair, channel = channels.member_pair, channels.member_channel
        return (
            np.bincount(channel, (of_pair * self._rate)[pair], minlength=self._number),
            np.bincount(channel, channels.member_share * of_pair[pair], minlength=self._number),
        )
