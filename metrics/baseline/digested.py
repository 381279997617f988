"""Cells as digests of days: what learning needs without every window's histogram.

Locations are taken about the level of their hour, as the digest tells them, and put together with it. The shape of the
distribution is summed over all hours; tails, which each hour counted from its own level on, are told from the season's
by what the shape says of the share beyond either. Tails and outcomes are counted by stretches of five minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.calendar import local_time
from ..detection.settings import DetectionSettings
from ..digest.day import BIN_SECONDS, CLIP, DAY_SECONDS, HOURS, SHAPE_REACH, DayDigests
from ..verdict import VERDICT_COUNT
from .budget import TAILS
from .cells import LEAST_SCALE, SCORE_BINS, SCORE_WIDTH, CellConstants, CellFigures, score_moments
from .history_time import HistoryTime
from .rates import Outcomes
from .season import Season
from .season_fit import fit_season
from .timetable import Timetable

__all__ = ["DigestSource"]

Floats = NDArray[Any]  # float32 or float64
Integers = NDArray[Any]  # int64

_CENTRAL = (0.1587, 0.8413)
_FINE = 0.05  # of the scale: steps of the pooled distribution
_FINE_REACH = 128
_NORMAL = 20.0  # observations of a normal law beside those seen
_NORMAL_INSIDE = 0.9281  # of it within the clip
_MOST_TOLD_ANEW = 4.0
_LEVEL_SECONDS = 900  # levels of the season are taken so often to tell tails from there


@dataclass(frozen=True, slots=True)
class _Shape:
    """The distribution of each cell about the levels of its hours.

    Attributes:
        step: Width of a step (ln), ``[C]``.
        below: Observations below ``(i − 128) · step``, ``[C, 257]``.
    """

    step: Floats
    below: Floats

    @classmethod
    def of(cls, rows: DayDigests, cells: int) -> _Shape:
        """Summed over the days of each cell, which may have been digested by different rulers."""
        hist = rows.shape.sum(axis=1, dtype=np.float32).reshape(cells, -1, rows.shape.shape[2])
        seen, width = hist.sum(axis=2), rows.shape_width().reshape(cells, -1)
        scale = rows.ruler[:, 0].reshape(cells, -1)
        total = seen.sum(axis=1)
        usual = np.divide((seen * scale).sum(axis=1), total, out=np.full(cells, 0.5, dtype=np.float32), where=total > 0)
        step = _FINE * usual
        ends = (np.arange(2 * _FINE_REACH + 1) - _FINE_REACH).astype(np.float32)
        position = (ends * step[:, None])[:, None] / width[..., None] + SHAPE_REACH
        position = np.clip(position, 0, hist.shape[2] - 1e-3)
        bin_number = position.astype(np.int64)
        below = np.concatenate([np.zeros_like(hist[..., :1]), np.cumsum(hist, axis=2)], axis=2)
        low = np.take_along_axis(below, bin_number, axis=2)
        high = np.take_along_axis(below, bin_number + 1, axis=2)
        found = (low + (high - low) * (position - bin_number)).sum(axis=1)
        found[:, 0], found[:, -1] = 0.0, total
        return cls(step.astype(np.float64), found.astype(np.float64))

    @property
    def ends(self) -> Integers:
        return np.arange(2 * _FINE_REACH + 1) - _FINE_REACH

    def moments(self, least: float) -> tuple[Floats, tuple[Floats, Floats, Floats, Floats]]:
        """Robust scales, and what :func:`~.cells.score_moments` says of the distributions."""
        cells = len(self.step)
        scale, counts = np.full(cells, 0.5), np.zeros((cells, SCORE_BINS))
        edges = (np.arange(SCORE_BINS + 1) - SCORE_BINS // 2) * SCORE_WIDTH
        for cell in np.flatnonzero(self.below[:, -1] > 0).tolist():
            below, ends = self.below[cell], self.ends * self.step[cell]
            low, high = np.interp(np.array(_CENTRAL) * below[-1], below, ends)
            scale[cell] = max((high - low) / 2, least)
            inner = np.interp(edges * scale[cell], ends, below)
            inner[0], inner[-1] = 0.0, below[-1]
            counts[cell] = np.diff(inner)
        return scale, score_moments(counts, scale)

    def inside(self, reach: Floats) -> Floats:
        """Share of each cell's observations within ``±reach [C, D]`` (ln) of the level."""
        total = self.below[:, -1:]
        high, low = (self._at(side * reach / self.step[:, None]) for side in (1, -1))
        return np.asarray((high - low + _NORMAL * _NORMAL_INSIDE) / (total + _NORMAL))

    def beyond(self, distance: Floats) -> Floats:
        """Logarithm of the share beyond distances ``[C, …]`` (ln) above the level."""
        total = self.below[:, -1:]
        share = 1.0 - self._at(distance / self.step[:, None]) / np.maximum(total, 1.0)
        least = 0.5 / np.maximum(total, _NORMAL)
        return np.asarray(np.log(np.maximum(share, least)))

    def _at(self, position: Floats) -> Floats:
        place = np.clip(position + _FINE_REACH, 0, 2 * _FINE_REACH - 1e-6)
        low = place.astype(np.int64)
        below = np.take_along_axis(self.below, low, axis=1)
        return np.asarray(below + (np.take_along_axis(self.below, low + 1, axis=1) - below) * (place - low))


@dataclass(frozen=True, slots=True)
class DigestSource:
    """Cells as rows of digests: a row a cell and UTC day, cell after cell.

    Attributes:
        rows: The digests, what must not teach taken out: see :meth:`without`.
        first_day: Start of the first day.
        time: The windows to learn from, whole stretches of five minutes.
        stretches: Local time of those stretches.
        settings: For the length of a window and the bank's zone.
    """

    rows: DayDigests
    first_day: float
    time: HistoryTime
    stretches: Timetable
    settings: DetectionSettings

    @classmethod
    def of(
        cls, rows: DayDigests, first_day: float, time: HistoryTime, stretches: Timetable, settings: DetectionSettings
    ) -> DigestSource:
        """Lay out digests; windows longer than those judged count for the first of those that they are of."""
        rows = rows.coarsened(int(np.lcm(rows.window_seconds, int(settings.window_seconds))))
        return cls(rows, first_day, time, stretches, settings)

    @staticmethod
    def stretches_of(time: HistoryTime, settings: DetectionSettings) -> Timetable:
        """Local time of the stretches of five minutes of a history."""
        by_stretch = replace(settings, window_seconds=float(BIN_SECONDS))
        number = round(time.windows * settings.window_seconds / BIN_SECONDS)
        return Timetable.of(local_time(time.first + BIN_SECONDS * np.arange(number), by_stretch))

    @property
    def together(self) -> int:
        """See :class:`~.sources.CellSource`."""
        return round(BIN_SECONDS / self.settings.window_seconds)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.rows) // self.days

    @property
    def days(self) -> int:
        """Number of UTC days."""
        end = self.time.first + self.time.windows * self.settings.window_seconds
        return max(round(-(-(end - self.first_day) // DAY_SECONDS)), 1)

    def totals(self) -> tuple[Floats, Floats]:
        """See :class:`~.sources.CellSource`."""
        verdicts, checks = (
            each.sum(axis=2, dtype=np.float64).reshape(self.cells, self.days, each.shape[1]).sum(axis=1)
            for each in (self.rows.verdicts, self.rows.checks)
        )
        passed, failed = np.split(checks, 2, axis=1)
        everyone = np.repeat(verdicts.sum(axis=1, keepdims=True), VERDICT_COUNT, axis=1)
        return np.concatenate([verdicts, failed], axis=1), np.concatenate([everyone, passed + failed], axis=1)

    def portions(self, family: Integers, cells: int) -> Iterator[tuple[Integers, CellFigures, Outcomes]]:
        """See :class:`~.sources.CellSource`."""
        for begin in range(0, self.cells, cells):
            chosen = np.arange(begin, min(begin + cells, self.cells))
            part = replace(self, rows=self.rows.take(slice(begin * self.days, (int(chosen[-1]) + 1) * self.days)))
            yield chosen, part.learn(family[chosen]), _DigestOutcomes(part)

    def learn(self, family: Integers) -> CellFigures:
        """What is learnt of the cells, and their windows as columns."""
        shape = _Shape.of(self.rows, self.cells)
        scale, (slope, spread, tail_edge, steepness) = shape.moments(LEAST_SCALE)
        count, x = self.locations(shape)
        weight = count * (1.0 / spread).astype(np.float32)
        season, predicted = fit_season(x, weight, self.time.table, family, seasonal=self.time.seasonal)
        x -= predicted
        tails = self._tails(shape, season, tail_edge * scale[:, None])
        trials = count.reshape(-1, self.together, self.cells).sum(axis=1)
        seen = count.sum(axis=0, dtype=np.float64)
        constants = CellConstants(season.narrow(), scale, slope, spread, tail_edge, steepness, seen)
        return CellFigures(constants, count, predicted, x, tails, trials)

    def locations(self, shape: _Shape | None = None) -> tuple[Floats, Floats]:
        """Observations and locations (ln seconds) of every window and cell, ``[T, C]`` float32."""
        known = shape or _Shape.of(self.rows, self.cells)
        reach = CLIP * self.rows.ruler[:, 0].reshape(self.cells, self.days)
        inside = known.inside(reach).reshape(-1, 1).astype(np.float32)
        per_day = self.rows.count.shape[1]
        x = self.rows.pulled / inside
        x += np.repeat(np.nan_to_num(self.rows.level), per_day // HOURS, axis=1)
        return self._by_window(self.rows.count), self._by_window(x)

    def _tails(self, shape: _Shape, season: Season, edge: Floats) -> tuple[Floats, ...]:
        """Observations beyond the edges above the season's level, from those beyond the edges above the hour's."""
        per_level = _LEVEL_SECONDS // BIN_SECONDS
        first = self.time.first // _LEVEL_SECONDS * _LEVEL_SECONDS
        end = self.time.first + len(self.stretches.day) * BIN_SECONDS
        starts = np.arange(first, end, _LEVEL_SECONDS)
        settings = replace(self.settings, window_seconds=float(_LEVEL_SECONDS))
        usual = season.at(local_time(starts, settings)).T  # [C, Q]
        hour = ((starts - self.first_day) // 3600).astype(np.int64)
        level = np.nan_to_num(self.rows.level).reshape(self.cells, -1)[:, hour]
        own = np.nan_to_num(self.rows.edges()).reshape(self.cells, -1, len(TAILS))[:, hour]
        skip = round((self.time.first - first) / BIN_SECONDS)
        found = []
        for tail in range(len(TAILS)):
            wanted = shape.beyond(usual + edge[:, tail, None] - level)
            factor = np.exp(wanted - shape.beyond(own[..., tail] - level))
            factor = np.clip(factor, 1 / _MOST_TOLD_ANEW, _MOST_TOLD_ANEW).astype(np.float32)
            counted = self.by_stretch(self.rows.tails[:, tail])
            repeated = np.repeat(factor, per_level, axis=1)[:, skip : skip + len(counted)]
            counted *= repeated.T
            found.append(counted)
        return tuple(found)

    def by_stretch(self, values: Integers) -> Floats:
        """Counts of rows ``[R, 288]`` as columns of stretches, ``[T', C]`` float32."""
        begin = round((self.time.first - self.first_day) / BIN_SECONDS)
        return self._columns(values, begin, len(self.stretches.day))

    def _by_window(self, values: Floats) -> Floats:
        """Values of rows as columns of windows ``[T, C]`` float32."""
        window = self.settings.window_seconds
        begin = round((self.time.first - self.first_day) / self.rows.window_seconds)
        longer = round(self.rows.window_seconds / window)
        if longer == 1:
            return self._columns(values, begin, self.time.windows)
        out = np.zeros((self.time.windows, self.cells), dtype=np.float32)
        out[::longer] = self._columns(values, begin, -(-self.time.windows // longer))
        return out

    def _columns(self, values: Any, begin: int, size: int) -> Floats:
        every = values.reshape(self.cells, -1)[:, begin : begin + size]
        return np.ascontiguousarray(every.T.astype(np.float32))


@dataclass(frozen=True, slots=True)
class _DigestOutcomes:
    """Outcomes of digests, by stretches of five minutes."""

    source: DigestSource

    def failures(self, wanted: Set[int]) -> Iterator[tuple[int, Floats]]:
        """See :class:`~.rates.Outcomes`."""
        rows = self.source.rows
        for column in sorted(wanted):
            values = self._failed(rows, column)
            if values is not None and values.any():
                yield column, self.source.by_stretch(values)

    def trials(self, wanted: Set[int]) -> Iterator[tuple[Integers, Floats]]:
        """See :class:`~.rates.Outcomes`."""
        rows = self.source.rows
        yield np.arange(VERDICT_COUNT), self.source.by_stretch(rows.verdicts.sum(axis=1))
        positions = rows.check_positions
        for column in sorted(wanted):
            position = column - VERDICT_COUNT
            if 0 <= position < positions:
                tried = rows.checks[:, position] + rows.checks[:, positions + position]
                yield np.array([column]), self.source.by_stretch(tried)

    @staticmethod
    def _failed(rows: DayDigests, column: int) -> Integers | None:
        if column < VERDICT_COUNT:
            return np.asarray(rows.verdicts[:, column])
        position = column - VERDICT_COUNT
        return rows.checks[:, rows.check_positions + position] if position < rows.check_positions else None
