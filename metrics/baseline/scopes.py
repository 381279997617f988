"""From cells to scopes: what the shift tests and the volumes of scopes are learnt from, window by window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.channels import volume_terms
from ..detection.input import Fleet
from .cells import CellFigures
from .membership import Membership
from .season import Season
from .season_fit import fit_season
from .timetable import Timetable
from .walk import ABSENT
from .workspace import Workspace

__all__ = ["ScopeColumns", "cell_members"]

Floats = NDArray[Any]  # float32
Integers = NDArray[Any]  # int64


def cell_members(fleet: Fleet, cells: Integers) -> Membership:
    """Which scopes some cells belong to; cells are counted from 0 among those given."""
    place = np.full(len(fleet.cells), -1)
    place[cells] = np.arange(len(cells))
    scope = np.repeat(np.arange(len(fleet.scopes)), [len(inside) for inside in fleet.members])
    cell = place[np.concatenate([*fleet.members, np.zeros(0, dtype=np.int64)])]
    return Membership.of(cell[cell >= 0], scope[cell >= 0])


@dataclass(frozen=True, slots=True)
class ScopeColumns:
    """Sums over the cells of each of ``S`` scopes, ``[T, S]``; first and second moments only where there are several.

    Attributes:
        top: Σ weight · deviation, with weight = count / spread.
        bottom: Σ weight.
        seen: Observations.
        several: Scopes with more than one cell, ``[M]``.
        first: Σ count · level of those, ``[T, M]``.
        second: Σ count · level² of those.
    """

    top: Floats
    bottom: Floats
    seen: Floats
    several: Integers
    first: Floats
    second: Floats

    @classmethod
    def new(cls, windows: int, fleet: Fleet, space: Workspace) -> ScopeColumns:
        """No cell yet; ``space`` is where the columns are kept."""
        shape = (windows, len(fleet.scopes))
        several = np.flatnonzero([len(inside) > 1 for inside in fleet.members])
        top, bottom, seen = (space.zeros(name, shape) for name in ("top", "bottom", "seen"))
        first, second = (np.zeros((windows, len(several))) for _ in range(2))
        return cls(top, bottom, seen, several, first, second)

    def add(self, figures: CellFigures, members: Membership) -> None:
        """Add some cells."""
        weight = figures.count * (1.0 / figures.constants.spread).astype(np.float32)
        members.add(self.bottom, weight)
        weight *= figures.deviation
        members.add(self.top, weight)
        members.add(self.seen, figures.count)
        inside = np.isin(members.target, self.several)
        if inside.any():
            some = Membership.of(members.source[inside], np.searchsorted(self.several, members.target[inside]))
            level = figures.predicted.astype(np.float64)
            leveled = figures.count * level
            some.add(self.first, leveled)
            leveled *= level
            some.add(self.second, leveled)

    def take(self, scopes: Integers) -> ScopeColumns:
        """Some consecutive scopes."""
        part = slice(int(scopes[0]), int(scopes[-1]) + 1)
        inside = (self.several >= part.start) & (self.several < part.stop)
        own = (self.several[inside] - part.start, self.first[:, inside], self.second[:, inside])
        return ScopeColumns(self.top[:, part], self.bottom[:, part], self.seen[:, part], *own)

    def first_seen(self) -> Integers:
        """The first window with an observation; as many as there are without any."""
        some = self.seen > 0
        return np.where(some.any(axis=0), some.argmax(axis=0), len(some))

    def locations(self) -> tuple[Floats, Floats]:
        """Residuals and sampling variances of locations, both ``[T, S]``; :data:`ABSENT` without data."""
        some = self.bottom > 0
        variance = np.divide(1.0, self.bottom, out=np.full_like(self.bottom, ABSENT), where=some)
        return np.where(some, self.top * variance, np.float32(0.0)), variance

    def volumes(self, table: Timetable, *, seasonal: bool) -> tuple[Season, Floats, Floats]:
        """The season of traffic, and residuals and variances of its logarithm, both ``[T, S]``."""
        each = np.arange(self.seen.shape[1])
        season, expected = fit_season(self.seen, np.ones_like(self.seen), table, each, seasonal=seasonal)
        residual, variance = volume_terms(self.seen, expected)
        return season, residual, np.minimum(variance, np.float32(ABSENT))

    def mixes(self, table: Timetable, *, seasonal: bool) -> tuple[Season, Floats, Floats]:
        """The season of the expected level of scopes with several cells, residuals and variances, ``[T, M]``."""
        count = self.seen[:, self.several]
        some = count > 0
        total = np.where(some, count, 1.0)
        mean = np.where(some, self.first / total, 0.0)
        between = np.maximum(self.second / total - mean**2, 1e-6)
        season, usual = fit_season(mean, count, table, np.arange(len(self.several)), seasonal=seasonal)
        variance = np.where(some, between / total, ABSENT)
        return season, (mean - usual).astype(np.float32), variance.astype(np.float32)
