"""What is normal for each series, learnt from its own history: level, season, noise, and thresholds to match.

A fleet is learnt in parts of some hundred cells, one after the other: memory is bounded by the rows of a part and
its dense columns, some tens of megabytes each. Inside a part everything is done for all series at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.channels import faded_drift
from ..detection.input import Fleet, Measurements
from ..detection.settings import DetectionSettings
from ..detection.shift import Noise
from ..detection.special_days import SpecialDays
from .budget import TAILS, Budget, count_families, divide_budget
from .cells import CellConstants, gather_constants
from .count import calibrate_count_history
from .history_time import HistoryTime
from .parts import FleetPart, divide, put_together
from .pooling import pool_young
from .profile import Profile
from .rates import RateColumns
from .scopes import ScopeColumns, cell_members
from .season import Season
from .shift import ShiftTest, calibrate_shift
from .sources import CellSource, RowSource
from .special_days import SpecialRows, learn_special_days, split_special_days
from .workspace import Workspace

__all__ = ["Profile", "baseline", "learn", "learn_part"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64

PART_CELLS = 64  # cells of a part, whose tests are run over history together
CELLS_AT_ONCE = 64  # cells or scopes that are worked on together: some columns of theirs stay in the cache
_UNTESTED = 1e3  # evidence that is never reached


def baseline(history: Measurements, fleet: Fleet, settings: DetectionSettings | None = None) -> Profile:
    """The baseline of a history: :func:`learn` under the name of its seam."""
    return learn(history, fleet, settings or DetectionSettings())


def learn(
    history: Measurements,
    fleet: Fleet,
    settings: DetectionSettings,
    *,
    excluded: Sequence[tuple[float, float]] = (),
    families: int | None = None,
    span: tuple[float, float] | None = None,
) -> Profile:
    """Learn what is normal.

    Args:
        history: Measurements of past windows, in any order (sorted by cell they are not copied).
        fleet: What is monitored.
        settings: Budget, zone, window length, tested effects.
        excluded: Spans ``(from, to)`` in seconds that must not teach: alarms, incidents, maintenance.
        families: Over how many families the budget is divided, if ``fleet`` is a part of a larger one; see
            :func:`~.budget.count_families`. Then young series do not lean on others yet:
            :func:`~.pooling.pool_young` is for the whole, after :func:`~.parts.join`.
        span: Start of the first and end of the last window of the history of the larger fleet.

    Returns:
        A profile; scopes with too little history carry a reason and are not tested.
    """
    history, special = split_special_days(_without(history, excluded), settings)
    time = HistoryTime.of(history, settings, span)
    parts = divide(fleet, PART_CELLS)
    number = families if families is not None else count_families(fleet)
    space = Workspace()
    profiles = [
        learn_part(RowSource(rows, part.fleet, time, settings), part.fleet, settings, time, number, space)
        for part, rows in _apart(history, fleet, parts)
    ]
    profile = put_together(profiles, parts, fleet)
    profile = replace(profile, special=learn_special_days(profile, SpecialRows.of(special)))
    return pool_young(profile, number) if families is None else profile


def _without(history: Measurements, excluded: Sequence[tuple[float, float]]) -> Measurements:
    keep = np.ones(len(history), dtype=bool)
    for begin, end in excluded:
        keep &= (history.window_start < begin) | (history.window_start >= end)
    return history if keep.all() else history.take(np.flatnonzero(keep))


def _apart(history: Measurements, fleet: Fleet, parts: Sequence[FleetPart]) -> Iterator[tuple[FleetPart, Measurements]]:
    """The rows of each part, sorted by cell, cells counted from 0."""
    ordered = bool((np.diff(history.cell) >= 0).all())
    for part in parts:
        place = np.full(len(fleet.cells), -1)
        place[part.cells] = np.arange(len(part.cells))
        if ordered and len(part.cells) == part.cells[-1] - part.cells[0] + 1:
            begin, end = np.searchsorted(history.cell, [part.cells[0], part.cells[-1] + 1])
            rows = history.cut(int(begin), int(end))
        else:
            inside = np.flatnonzero(place[history.cell] >= 0)
            rows = history.take(inside[np.argsort(history.cell[inside], kind="stable")])
        yield part, replace(rows, cell=place[rows.cell])


def learn_part(
    source: CellSource, fleet: Fleet, settings: DetectionSettings, time: HistoryTime, families: int, space: Workspace
) -> Profile:
    """The profile of a part of a fleet, without special days."""
    windows, cells = time.windows, len(fleet.cells)
    failed, tried = source.totals()
    rates = RateColumns.new(fleet, failed, tried, source.stretches, space)
    columns = ScopeColumns.new(windows, fleet, space)
    learnt: list[tuple[Integers, CellConstants]] = []
    for chosen, figures, outcomes in source.portions(fleet.family, CELLS_AT_ONCE):
        members = cell_members(fleet, chosen)
        columns.add(figures, members)
        rates.add(outcomes, chosen, figures, members, fleet)
        learnt.append((chosen, figures.constants))
    each = gather_constants(learnt)
    budget = divide_budget(
        fleet, settings, np.asarray(columns.seen.any(axis=0)), _tried_channels(fleet, tried), families
    )
    tail_slope = np.array([np.median(each.steepness[inside], axis=0) for inside in fleet.members])
    tail_slope = tail_slope.reshape(-1, len(TAILS))
    volume, mix, shift = _learn_scopes(columns, rates, each, fleet, budget, time, settings, tail_slope, source.together)
    local = source.stretches.local
    hour = np.minimum(local.second // 3600, 23).astype(np.int64)
    traffic = each.seen / windows
    seen = bool(each.seen.any() or tried.any())
    span = time.span_seconds if seen else 0.0
    own_history = np.minimum((windows - columns.first_seen()) * settings.window_seconds, time.span_seconds)
    return Profile(
        fleet=fleet,
        settings=settings,
        learnt_until=time.first + (windows * settings.window_seconds if seen else 0.0),
        span_seconds=span,
        season=each.season,
        scale=each.scale,
        slope=each.slope,
        spread=each.spread,
        known=each.seen > 0,
        traffic=traffic,
        tail_edge=each.tail_edge,
        tail_rate=rates.tail_rate,
        tail_slope=tail_slope,
        pair_rate=rates.rate,
        volume=volume,
        mix=mix,
        shift=shift,
        count=calibrate_count_history(rates.history, hour, budget.counts, settings, source.together),
        reasons=tuple(
            _reason(min(span, age) if age > 0 else span, float(traffic[inside].sum()), scope.dimensions != (), settings)
            for scope, inside, age in zip(fleet.scopes, fleet.members, own_history.tolist(), strict=True)
        ),
        special=SpecialDays.none(cells, len(fleet.scopes)),
        history_seconds=own_history,
    )


def _learn_scopes(
    columns: ScopeColumns, rates: RateColumns, cells: CellConstants, fleet: Fleet, budget: Budget,
    time: HistoryTime, settings: DetectionSettings, tail_slope: Floats, together: int,
) -> tuple[Season, Season, ShiftTest]:  # fmt: skip
    """Seasons of volume and mix, and the shift tests of all quantities ``[3S]``; tails are told of the drift."""
    scopes = len(fleet.scopes)
    shifts = _shifts(scopes, settings)
    mix = cells.season.take(np.array([inside[0] for inside in fleet.members], dtype=np.int64))
    volumes: list[Season] = []
    waiting = _Waiting([], [], [])
    tests: list[ShiftTest] = []
    places: list[Integers] = []
    for begin in range(0, scopes, CELLS_AT_ONCE):
        chosen = np.arange(begin, min(begin + CELLS_AT_ONCE, scopes))
        part = columns.take(chosen)
        residual, variance = part.locations()
        drift = faded_drift(residual, variance)
        if together > 1:
            drift = drift.reshape(-1, together, len(chosen)).mean(axis=1)
        for k in range(len(TAILS)):
            factor = np.exp(drift * tail_slope[chosen, k].astype(np.float32))
            rates.history.scale_expected(len(TAILS) * chosen + k, factor)
        season, moved, error = part.volumes(time.table, seasonal=time.seasonal)
        volumes.append(season)
        waiting.add(chosen, residual, variance)
        waiting.add(chosen + scopes, moved, error)
        if len(part.several):
            season, *terms = part.mixes(time.table, seasonal=time.seasonal)
            mix = mix.replaced(season, chosen[part.several])
            waiting.add(chosen[part.several] + 2 * scopes, terms[0], terms[1])
        if begin + CELLS_AT_ONCE >= scopes or waiting.quantities >= 2 * PART_CELLS:
            place, residuals, variances = waiting.take()
            up = np.concatenate([budget.paged, budget.reported, budget.reported])[place]
            down = np.tile(budget.reported, 3)[place]
            tests.append(calibrate_shift(residuals, variances, shifts[:, place], (up, down), settings))
            places.append(place)
    return Season.joined(volumes).narrow(), mix, _all_quantities(tests, places, shifts)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Residuals and variances of quantities whose tests are to be run together."""

    place: list[Integers]
    residual: list[Floats]
    variance: list[Floats]

    @property
    def quantities(self) -> int:
        return sum(len(each) for each in self.place)

    def add(self, place: Integers, residual: Floats, variance: Floats) -> None:
        self.place.append(place)
        self.residual.append(residual)
        self.variance.append(variance)

    def take(self) -> tuple[Integers, Floats, Floats]:
        """All of them, which then wait no more."""
        found = (
            np.concatenate(self.place),
            np.concatenate(self.residual, axis=1),
            np.concatenate(self.variance, axis=1),
        )
        for each in (self.place, self.residual, self.variance):
            each.clear()
        return found


def _all_quantities(tests: Sequence[ShiftTest], places: Sequence[Integers], shifts: Floats) -> ShiftTest:
    """The tests of all quantities; the mix of a single cell cannot change and is not tested."""
    size = shifts.shape[1]
    place = np.concatenate([*places, np.zeros(0, dtype=np.int64)])

    def scattered(values: Sequence[Floats], otherwise: float) -> Floats:
        out = np.full((*values[0].shape[:-1], size), otherwise, dtype=np.float32)
        out[..., place] = np.concatenate(values, axis=-1)
        return out

    noise = Noise(*(scattered([getattr(test.noise, item.name) for test in tests], 0.0) for item in fields(Noise)))
    threshold = scattered([test.threshold for test in tests], _UNTESTED)
    limit = scattered([test.limit for test in tests], 1.0)
    variance = scattered([test.variance for test in tests], 1.0)
    return ShiftTest(noise, shifts.astype(np.float32), threshold, limit, variance)


def _shifts(scopes: int, settings: DetectionSettings) -> Floats:
    """Shifts tested for, ``[J, 3S]``: of location and of mix as set, of volume larger ones."""
    location = np.log(np.array(settings.effects))
    volume = np.log(np.linspace(1.3, 3.0, len(location)))
    up = np.concatenate([np.tile(each[:, None], (1, scopes)) for each in (location, volume, location)], axis=1)
    return np.concatenate([up, -up])


def _tried_channels(fleet: Fleet, tried: Floats) -> Floats:
    """Whether each failure channel has any trial."""
    columns = tried.shape[1]
    return np.array(
        [float(any(column < columns and tried[cell, column] > 0 for cell, column in channel.pairs))
         for channel in fleet.channels]
    )  # fmt: skip


def _reason(span: float, traffic: float, part: bool, settings: DetectionSettings) -> str:
    if span < settings.minimum_history_seconds:
        return (
            f"history of {span / 60:.0f} minutes is shorter than the {settings.minimum_history_seconds / 60:.0f} needed"
        )
    if part and traffic < settings.minimum_count:
        return f"{traffic:.2f} observations a window are fewer than the {settings.minimum_count:g} needed"
    return "" if traffic > 0 else "no durations in the history"
