"""What is normal for single cells: scale, shape, season; and their windows as dense columns for the scopes above.

Rows come sorted by cell. Locations need of a histogram only what lies beyond the clip, tails only what lies
beyond their edges, and both lie at the ends of a row: one comparison with the lowest edge of the cell's
whole history leaves a tenth of the entries to look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.input import BucketGrid, Measurements
from .budget import TAILS
from .location import CLIP
from .season import Season
from .season_fit import fit_season
from .timetable import Timetable

__all__ = [
    "LEAST_SCALE",
    "SCORE_BINS",
    "SCORE_WIDTH",
    "CellConstants",
    "CellFigures",
    "Rows",
    "gather_constants",
    "learn_cells",
    "score_moments",
]

Floats = NDArray[Any]  # float64, dense columns float32
Integers = NDArray[Any]  # int64

_SHAPE_OBSERVATIONS = 20_000  # of a cell, from which the shape of its durations is learnt
_SHAPE_ROWS = (500, 4_000)  # windows of a cell that are looked at for it, at least and at most
_PARTS = 5  # a bucket's observations are spread over its width in so many parts
SCORE_WIDTH, SCORE_BINS = 0.1, 160  # standard deviations; from -8 to 8
LEAST_SCALE = 0.15  # log-sd: durations that hardly vary would be clipped at next to no change
_CENTRAL = (0.1587, 0.8413)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of ``C`` cells sorted by cell, and where each lies in a dense array of ``T`` windows.

    Attributes:
        history: The rows; ``cell`` counts from 0 here.
        cells: Number of cells.
        windows: Number of windows.
        number: Window of each row.
        bounds: Rows of cell ``c`` are ``bounds[c]:bounds[c + 1]``.
        single: Whether no two rows have the same window and cell.
    """

    history: Measurements
    cells: int
    windows: int
    number: Integers
    bounds: Integers
    single: bool

    @classmethod
    def of(cls, history: Measurements, cells: int, windows: int, number: Integers) -> Rows:
        """Lay out rows that are sorted by cell."""
        bounds = np.searchsorted(history.cell, np.arange(cells + 1))
        place = history.cell * windows + number
        return cls(history, cells, windows, number, bounds, bool((np.diff(place) > 0).all()))

    def dense(self, values: Floats) -> Floats:
        """Sums of ``values`` by window and cell ``[T, C]``, float32."""
        place = self.history.cell * self.windows + self.number
        size = self.cells * self.windows
        if self.single:
            flat = np.zeros(size, dtype=np.float32)
            flat[place] = values
        else:
            flat = np.bincount(place, values, minlength=size).astype(np.float32)
        return np.ascontiguousarray(flat.reshape(self.cells, self.windows).T)

    def of_cell(self, cell: int) -> tuple[slice, slice]:
        """Rows and histogram entries of a cell."""
        rows = slice(int(self.bounds[cell]), int(self.bounds[cell + 1]))
        offsets = self.history.offsets
        return rows, slice(int(offsets[rows.start]), int(offsets[rows.stop]))


@dataclass(frozen=True, slots=True)
class CellConstants:
    """What is learnt of ``C`` cells.

    Attributes:
        season: Levels.
        scale: Standard deviation of log duration, ``[C]``.
        slope: Share of observations inside the clip, ``[C]``.
        spread: Variance of one observation's contribution to the location, ``[C]``.
        tail_edge: Where tails begin, in deviations above the level, ``[C, 2]``.
        steepness: By how much the logarithm of the tails grows with the location, ``[C, 2]``.
        seen: Observations over the whole history, ``[C]``.
    """

    season: Season
    scale: Floats
    slope: Floats
    spread: Floats
    tail_edge: Floats
    steepness: Floats
    seen: Floats


@dataclass(frozen=True, slots=True)
class CellFigures:
    """What is learnt of ``C`` cells, and their windows as columns, float32.

    Attributes:
        constants: What is learnt.
        count: Observations ``[T, C]``.
        predicted: Level as predicted from other folds of days ``[T, C]``.
        deviation: Location minus that ``[T, C]``.
        tails: Observations beyond each edge, ``[T, C]`` each, or by longer stretches.
        trials: Observations with a histogram, likewise.
    """

    constants: CellConstants
    count: Floats
    predicted: Floats
    deviation: Floats
    tails: tuple[Floats, ...]
    trials: Floats


def gather_constants(learnt: Sequence[tuple[Integers, CellConstants]]) -> CellConstants:
    """What was learnt of all cells, from portions of them and their places."""
    order = np.argsort(np.concatenate([cells for cells, _ in learnt]), kind="stable")
    each = [constants for _, constants in learnt]
    values = {
        item.name: np.concatenate([getattr(one, item.name) for one in each])[order]
        for item in fields(CellConstants)
        if item.name != "season"
    }
    return CellConstants(season=Season.joined([one.season for one in each]).take(order), **values)


def learn_cells(rows: Rows, grid: BucketGrid, table: Timetable, family: Integers, *, seasonal: bool) -> CellFigures:
    """Learn what is normal for cells.

    Args:
        rows: Their rows.
        grid: The histogram grid.
        table: Local time of the windows.
        family: Family of each cell.
        seasonal: Whether there is enough history for a season.
    """
    count = rows.dense(rows.history.count)
    level = _rough_level(rows, grid, count, table, family, seasonal=seasonal)
    scale, counts = _shapes(rows, grid, level)
    slope, spread, tail_edge, steepness = score_moments(counts, scale)
    # an edge within the bucket that the level is in would count a share of everything
    tail_edge = np.maximum(tail_edge, grid.width / scale[:, None])
    pulled, *tails, trials = _pulled(rows, grid, level, scale, tail_edge)
    share = (1.0 / slope).astype(np.float32)
    x = np.divide(pulled, count, out=np.zeros_like(count), where=count > 0)
    x *= share
    x += level
    weight = count * (1.0 / spread).astype(np.float32)
    season, predicted = fit_season(x, weight, table, family, seasonal=seasonal)
    x -= predicted
    seen = count.sum(axis=0, dtype=np.float64)
    constants = CellConstants(season.narrow(), scale, slope, spread, tail_edge, steepness, seen)
    return CellFigures(constants, count, predicted, x, tuple(tails), trials)


def _rough_level(
    rows: Rows, grid: BucketGrid, count: Floats, table: Timetable, family: Integers, *, seasonal: bool
) -> Floats:
    """A first level of each window and cell from plain means, ``[T, C]``."""
    history = rows.history
    sums = history.sum_log
    if np.isnan(sums).any():
        row = np.repeat(np.arange(len(history)), np.diff(history.offsets))
        middles = np.bincount(row, history.bucket_counts * grid.middle(history.buckets), minlength=len(history))
        sums = np.where(np.isnan(sums), middles, sums)
    mean = rows.dense(np.nan_to_num(sums))
    np.divide(mean, count, out=mean, where=count > 0)
    season, _ = fit_season(mean, count, table, family, seasonal=seasonal)
    return table.spread_out([season], None)


def _shapes(rows: Rows, grid: BucketGrid, level: Floats) -> tuple[Floats, Floats]:
    """Robust scales ``[C]``, and standardised deviations from the level as counts ``[C, 160]``.

    The scale is the half-width of the central 68 %. A bucket's observations are spread evenly over its width, so that
    a coarse grid does not look discrete.
    """
    scale, counts = np.full(rows.cells, 0.5), np.zeros((rows.cells, SCORE_BINS))
    edges = (np.arange(SCORE_BINS + 1) - SCORE_BINS // 2) * SCORE_WIDTH
    for cell in range(rows.cells):
        inside, _ = rows.of_cell(cell)
        sample = _sample(rows.history, inside)
        position, weight = _positions(rows, grid, level[:, cell], sample)
        if not len(position):
            scale[cell] = _scale_of_sums(rows.history, inside, 0.5)
            continue
        least = int(position.min())
        fine = np.bincount(position - least, weight)
        fine = np.convolve(fine, np.full(_PARTS, 1 / _PARTS))  # part p of the entry at i is at i + p - 2
        below = np.concatenate(([0.0], np.cumsum(fine)))
        ends = (np.arange(len(below)) + least - _PARTS // 2 - 0.5) * (grid.width / _PARTS)
        low, high = np.interp(np.array(_CENTRAL) * below[-1], below, ends)
        scale[cell] = max((high - low) / 2, LEAST_SCALE)
        inner = np.interp(edges * scale[cell], ends, below)
        inner[0], inner[-1] = 0.0, below[-1]  # what is further out counts in the outermost bins
        counts[cell] = np.diff(inner)
    return scale, counts


def _sample(history: Measurements, inside: slice) -> Integers:
    """Rows of a cell that suffice to know a distribution, evenly spaced, the same ones every time."""
    size = inside.stop - inside.start
    seen = float(history.count[inside].sum()) / max(size, 1)
    wanted = int(np.clip(_SHAPE_OBSERVATIONS / max(seen, 1e-9), *_SHAPE_ROWS))
    if size <= wanted:
        return np.arange(inside.start, inside.stop)
    return np.asarray(inside.start + (np.arange(wanted) * (size / wanted)).astype(np.int64))


def _positions(rows: Rows, grid: BucketGrid, level: Floats, sample: Integers) -> tuple[Integers, Floats]:
    """Distance of histogram entries from the level in fifths of a bucket, and their observations."""
    offsets = rows.history.offsets
    lengths = offsets[sample + 1] - offsets[sample]
    ends = np.cumsum(lengths)
    entry = np.repeat(offsets[sample] - ends + lengths, lengths) + np.arange(int(ends[-1]) if len(ends) else 0)
    middle = (level[rows.number[sample]] - grid.low) / grid.width - 0.5
    position = np.rint((rows.history.buckets[entry] - np.repeat(middle, lengths)) * _PARTS)
    return position.astype(np.int64), rows.history.bucket_counts[entry].astype(np.float64)


def _scale_of_sums(history: Measurements, inside: slice, otherwise: float) -> float:
    """Without histograms: the median over windows of the standard deviation that sums of squares show."""
    count, total, square = (
        each[inside].astype(np.float64) for each in (history.count, history.sum_log, history.sum_log_sq)
    )
    some = (count > 1) & np.isfinite(square)
    if not some.any():
        return otherwise
    within = (square[some] - total[some] ** 2 / count[some]) / (count[some] - 1)
    return max(float(np.sqrt(max(float(np.median(within)), 0.0))), LEAST_SCALE / 3)


def score_moments(counts: Floats, scale: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Share of observations inside the clip, variance of one observation's share, edges of the tails, their steepness.

    ``counts [C, 160]`` are standardised deviations from the level in bins of a tenth, from -8 to 8. Twenty
    observations of a normal law are added, so that a young cell is not taken at its word.
    """
    middle = (np.arange(SCORE_BINS) - SCORE_BINS // 2 + 0.5) * SCORE_WIDTH
    normal = np.exp(-(middle**2) / 2)
    counts = counts + 20 * normal / normal.sum()
    share = counts / counts.sum(axis=1, keepdims=True)
    slope = share[:, np.abs(middle) < CLIP].sum(axis=1)
    pulled = np.clip(middle, -CLIP, CLIP)
    variance = share @ pulled**2 - (share @ pulled) ** 2
    below = np.cumsum(share, axis=1)
    edges = np.array([np.interp(TAILS, row, middle + SCORE_WIDTH / 2) for row in below])
    edges = edges.reshape(len(scale), len(TAILS))
    beyond = np.array([np.interp(edge - 0.3, middle, row) for row, edge in zip(below, edges, strict=True)])
    steepness = np.log(np.maximum(1 - beyond.reshape(edges.shape), 1e-9) / (1 - np.array(TAILS))) / 0.3
    return slope, variance / slope**2 * scale**2, edges, np.clip(steepness, 0.0, 4.0) / scale[:, None]


def _pulled(rows: Rows, grid: BucketGrid, level: Floats, scale: Floats, tail_edge: Floats) -> tuple[Floats, ...]:
    """Pulled-in deviations as in :func:`~.location.pulled_in_sum`, tails as in ``tail_count``, entries; ``[T, C]``."""
    out = tuple(np.zeros((rows.cells, rows.windows), dtype=np.float32) for _ in range(2 + len(TAILS)))
    for cell in range(rows.cells):
        inside, _ = rows.of_cell(cell)
        if inside.stop == inside.start:
            continue
        number = rows.number[inside]
        edges = CLIP * float(scale[cell]), tuple(tail_edge[cell] * scale[cell])
        figures = _pulled_of_cell(rows, cell, grid, np.ascontiguousarray(level[:, cell])[number], edges)
        for target, values in zip(out, figures, strict=True):
            if rows.single:
                target[cell, number] = values
            else:
                np.add.at(target[cell], number, values)
    return tuple(np.ascontiguousarray(each.T) for each in out)


def _pulled_of_cell(
    rows: Rows, cell: int, grid: BucketGrid, level: Floats, edges: tuple[float, tuple[float, ...]]
) -> tuple[Floats, ...]:
    history = rows.history
    inside, entries = rows.of_cell(cell)
    size = inside.stop - inside.start
    clip, tail_edges = edges
    lengths = np.diff(history.offsets[inside.start : inside.stop + 1])
    buckets, amounts = history.buckets[entries], history.bucket_counts[entries]
    row = np.repeat(np.arange(size, dtype=np.int32), lengths)
    middle = (level - grid.low) / grid.width - 0.5  # of the level, as a bucket number
    trials = _row_sums(amounts, history.offsets[inside.start : inside.stop + 1] - entries.start)
    reach = min(clip, *tail_edges) / grid.width - 1.0
    upper = np.flatnonzero(buckets > np.floor(float(middle.min()) + reach))
    lower = np.flatnonzero(buckets < np.ceil(float(middle.max()) - clip / grid.width))
    up_row, up_amount = row[upper], amounts[upper]
    above = (buckets[upper] - middle[up_row]) * grid.width  # ln s above the level
    beyond = np.bincount(up_row, up_amount * np.maximum(above - clip, 0.0), minlength=size)
    low_row = row[lower]
    under = (buckets[lower] - middle[low_row]) * grid.width
    beyond += np.bincount(low_row, amounts[lower] * np.minimum(under + clip, 0.0), minlength=size)
    tails = [
        np.bincount(up_row, up_amount * np.clip((above - edge) / grid.width + 0.5, 0.0, 1.0), minlength=size)
        for edge in tail_edges
    ]
    count, total = history.count[inside], history.sum_log[inside]
    exact = total - count * level
    pulled = exact - beyond
    if not (np.isfinite(exact).all() and lengths.all()):
        from_buckets = np.bincount(row, amounts * ((buckets - middle[row]) * grid.width), minlength=size)
        most = 4 * clip / CLIP * np.sqrt(count)
        whole = np.where(np.isnan(exact), np.where(lengths > 0, from_buckets, np.nan), exact)
        pulled = np.nan_to_num(np.where(lengths > 0, whole - beyond, np.clip(whole, -most, most)))
    return pulled, *tails, trials


def _row_sums(values: Floats, offsets: Integers) -> Floats:
    """Sums of values between offsets, 0 where there are none."""
    if not len(values):
        return np.zeros(len(offsets) - 1)
    sums = np.add.reduceat(np.append(values, 0), np.minimum(offsets[:-1], len(values)))
    return np.where(np.diff(offsets) > 0, sums, 0)
