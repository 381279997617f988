"""One window of a fleet as the follower reads it: residuals of scopes, volumes, mixes, counts of tails and failures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baseline.baseline import Profile
from ..baseline.budget import TAILS
from .calendar import LocalTime, local_time
from .channels import ChannelMap, ShiftInputs, inputs_of_sums, volume_terms
from .clock import Clock
from .follow import Inputs
from .input import Measurements
from .row_figures import row_figures
from .settings import DetectionSettings
from .special_days import SpecialTime
from .sums import CellSums, FailureSums, ScopeSums

__all__ = ["WindowReader"]

Floats = NDArray[Any]  # float64


class WindowReader:
    """Reads windows against a profile and what people have accepted since it was learnt.

    Attributes:
        accepted_level: Levels of cells that people accepted, log-ratios ``[C]``.
        accepted_rate: Rates of pairs of cell and outcome column likewise, ``[P]``; call :meth:`rates_changed`.
        unknown_cells: Rows of cells that the profile does not know, so far.
    """

    def __init__(self, profile: Profile, settings: DetectionSettings, channels: ChannelMap) -> None:
        self._profile, self._settings = profile, settings
        fleet = profile.fleet
        self._scopes = ScopeSums(fleet.members, len(fleet.cells))
        self._clock = Clock(profile, settings)
        self._edge = profile.tail_edge * profile.scale[:, None]
        self._known = np.asarray(profile.known, dtype=bool)
        self._failures = FailureSums(channels, profile.pair_rate, len(fleet.cells), len(fleet.channels))
        self.accepted_level = np.zeros(len(fleet.cells))
        self.accepted_rate = np.zeros(len(channels.pairs))
        self.unknown_cells = 0

    def rates_changed(self) -> None:
        """Go on with :attr:`accepted_rate` as it is now."""
        self._failures.take_rates(self._profile.pair_rate * np.exp(self.accepted_rate))

    def levels(self, at: float) -> Floats:
        """What is usual of each cell (ln seconds), accepted levels included, ``[C]``."""
        local = local_time(np.array([at]), self._settings)
        return np.asarray(self._season(local, self._special(local)) + self.accepted_level)

    def inputs(self, at: float, window: Measurements) -> Inputs:
        """What the follower reads of one window."""
        profile, fleet = self._profile, self._profile.fleet
        rows = self._known_rows(window)
        self.unknown_cells += len(window) - len(rows)
        local = local_time(np.array([at]), self._settings)
        special = self._special(local)
        season = self._season(local, special)
        level = season + self.accepted_level
        add = CellSums(rows.cell, len(fleet.cells))
        deviation, count, tails = self._figures(rows, level, add)
        shift = self._shift_inputs(deviation, season, count)
        expected = profile.volume.at(local)[0] * np.exp(0.0 if special is None else special.volume)
        volume, volume_variance = volume_terms(shift.count, expected)
        if len(rows) == 0:
            volume_variance = np.full_like(volume_variance, np.inf)
        counts = (np.concatenate(each) for each in zip(tails, self._failures.of_window(rows, add), strict=True))
        failed, mean, tried = counts
        hour = int(min(local.second[0] // 3600, 23))
        inputs = Inputs(
            np.concatenate([shift.residual, volume, shift.level - profile.mix.at(local)[0]]),
            np.concatenate([shift.variance, volume_variance, shift.mix_variance]),
            np.tile(shift.count, 3),
            failed,
            mean * profile.count.shape[hour],
            tried,
            expected,
            self._clock.now(at),
        )
        return inputs if special is None else self._on_special_day(inputs, special)

    def deviations(self, at: float, window: Measurements) -> tuple[Floats, Floats]:
        """How far each cell is from its level (log-ratio, clipped), and from how many observations, ``[C]``."""
        rows = self._known_rows(window)
        return self._figures(rows, self.levels(at), CellSums(rows.cell, len(self._profile.fleet.cells)))[:2]

    def _known_rows(self, window: Measurements) -> Measurements:
        known = (window.cell >= 0) & (window.cell < len(self._profile.fleet.cells))
        return window if known.all() else window.take(np.flatnonzero(known))

    def _special(self, local: LocalTime) -> SpecialTime | None:
        return self._profile.special.at(local, self._settings)

    def _season(self, local: LocalTime, special: SpecialTime | None) -> Floats:
        season = self._profile.season.at(local)[0]
        return season if special is None else np.asarray(season + special.level)

    def _figures(self, rows: Measurements, level: Floats, add: CellSums) -> tuple[Floats, Floats, list[Floats]]:
        """Deviations and observations of cells, and of tails of scopes what was counted, expected and tried."""
        profile, cell = self._profile, rows.cell
        own = level[cell]
        edges = [own + self._edge[cell, k] for k in range(len(TAILS))]
        found = row_figures(rows, profile.fleet.grid, own, profile.scale[cell], edges)
        usable = np.isfinite(found.pulled) & self._known[cell]
        count = add(np.where(usable, rows.count, 0.0))
        total = add(np.where(usable, found.pulled, 0.0))
        deviation = np.divide(total, count * profile.slope, out=np.zeros(len(level)), where=count > 0)
        trials = add(found.trials) * self._known
        beyond = [self._scopes(add(each) * self._known) for each in found.beyond]
        usual = [self._scopes(trials * profile.tail_rate[:, k]) for k in range(len(TAILS))]
        every = self._scopes(trials)
        tails = [np.stack(each, axis=1).ravel() for each in (beyond, usual, [every] * len(TAILS))]
        return deviation, count, tails

    def _shift_inputs(self, deviation: Floats, level: Floats, count: Floats) -> ShiftInputs:
        """:func:`~.channels.shift_inputs` for one window, arrays ``[C]`` in and ``[S]`` out."""
        add, weight = self._scopes, count / self._profile.spread
        top, bottom, seen = (add(values) for values in (weight * deviation, weight, count))
        if not add.several.any():
            nothing = np.zeros(len(seen))
            return inputs_of_sums(top, bottom, seen, nothing, nothing, add.several)
        leveled = count * level
        return inputs_of_sums(top, bottom, seen, add(leveled), add(leveled * level), add.several)

    def _on_special_day(self, inputs: Inputs, special: SpecialTime) -> Inputs:
        """Take off what the day may account for; mixes are not judged, nor volume and tails of an unknown kind."""
        fleet = self._profile.fleet
        scopes, tails = len(fleet.scopes), len(fleet.scopes) * len(TAILS)
        level = np.broadcast_to(special.level, len(fleet.cells))
        of_scope = self._scopes(level.astype(np.float64)) / np.array([len(inside) for inside in fleet.members])
        residual, variance = inputs.residual.copy(), inputs.variance.copy()
        location, volume = slice(0, scopes), slice(scopes, 2 * scopes)
        taken = special.within_margin(residual[location], of_scope)
        residual[location] -= taken
        residual[volume] -= special.within_margin(residual[volume], special.volume)
        variance[2 * scopes :] = np.inf
        failed, mean = inputs.failed, inputs.mean
        if not special.seen:
            variance[volume] = np.inf
            failed, mean = failed.copy(), mean.copy()
            failed[:tails], mean[:tails] = 0.0, 0.0
        return replace(inputs, residual=residual, variance=variance, failed=failed, mean=mean, special=taken)
