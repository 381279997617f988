"""Calibration of the count tests: rates by cell, hourly shape, over-dispersion, thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.count import count_information
from ..detection.medians import every_nth
from ..detection.settings import DetectionSettings
from ..detection.threshold import correction, solve_threshold
from .membership import Membership
from .runs import run_sums
from .shift import BLOCK_SECONDS, evidence_limit, typical_windows
from .walk import count_peaks
from .workspace import Workspace

__all__ = [
    "_HALF_HOUR_SECONDS",
    "CountHistory",
    "CountTest",
    "calibrate_count_history",
    "calibrate_counts",
    "pair_rates",
]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64

_HALF_HOUR_SECONDS = 1_800.0
_SHAPE_PRIOR = 40.0  # counts that an even shape of the day counts for
_RATE_FLOOR = 1e-5
_DISPERSION_BLOCKS = (1, 8)  # in half hours
_PRIOR_PEAKS = 5.0  # peaks that the theoretical scale of excursions counts for
_RELIEF, _MOST = 1.5, 60.0  # nats by which history may lower and raise a threshold
_SAMPLE = 500  # windows from which typical ones are taken


@dataclass(frozen=True, slots=True)
class CountTest:
    """The test for changes of ``J`` rates.

    Attributes:
        ratios: Ratios tested for, ``[K]``.
        shape: Hourly shape of each rate, ``[24, J]``.
        dispersion: Over-dispersion of a window, ``[J]``.
        threshold: Evidence that is reported, ``[K, J]``; ``inf`` where the channel is not tested.
        limit: The most evidence one window may add, ``[K, J]``.
        expected: Typical expected count of a window, ``[J]``.
        rate: Typical rate, ``[J]``.
    """

    ratios: Floats
    shape: Floats
    dispersion: Floats
    threshold: Floats
    limit: Floats
    expected: Floats
    rate: Floats


@dataclass(frozen=True, slots=True)
class CountHistory:
    """Counts of ``J`` rates over ``T`` windows: by window where anything was ever counted, by half hour for all.

    Attributes:
        windows: ``T``.
        starts: First window of each half hour, ``[B]``.
        hour: Local hour of each half hour, ``[B]``.
        active: Rates of which every window is kept, ``[A]``, in any order.
        place: Place of each rate among those, or -1, ``[J]``.
        failed: Their counts, ``[T, A]`` float32.
        expected: Counts expected from constant rates by cell, likewise.
        half_failed: Counts of all rates by half hour, ``[B, J]``.
        half_expected: Expected counts likewise.
        sample: Expected counts of some windows, ``[N, J]``.
        tried: Trials over the whole history, ``[J]``.
        sample_tried: Trials of some windows, ``[N, J]``.
    """

    windows: int
    starts: Integers
    hour: Integers
    active: Integers
    place: Integers
    failed: Floats
    expected: Floats
    half_failed: Floats
    half_expected: Floats
    sample: Floats
    sample_tried: Floats
    tried: Floats

    @classmethod
    def new(
        cls,
        starts: Integers,
        hour: Integers,
        windows: int,
        rates: int,
        active: Integers,
        space: Workspace | None = None,
    ) -> CountHistory:
        """Nothing counted yet; ``space`` is where the columns are kept."""
        space = space or Workspace()
        failed, expected = (space.zeros(name, (windows, len(active))) for name in ("failed", "expected"))
        half_failed, half_expected = (np.zeros((len(starts), rates)) for _ in range(2))
        number = len(every_nth(np.arange(windows), _SAMPLE))
        sample, sample_tried = (np.zeros((number, rates), dtype=np.float32) for _ in range(2))
        sums = (half_failed, half_expected, sample, sample_tried, np.zeros(rates))
        place = np.full(rates, -1)
        place[active] = np.arange(len(active))
        return cls(windows, starts, hour, active, place, failed, expected, *sums)

    def add_failed(self, counts: Floats, members: Membership) -> None:
        """Add counts of columns ``[T, C]`` to the rates that they are members of."""
        self._active_members(members).add(self.failed, counts)
        members.add(self.half_failed, self._by_half_hour(counts))

    def add_tried(self, trials: Floats, expected: Membership, members: Membership) -> None:
        """Add trials of columns ``[T, C]``; ``expected`` has the rate of each pair for its weight."""
        self._active_members(expected).add(self.expected, trials)
        halves, some = self._by_half_hour(trials), every_nth(trials, _SAMPLE)
        expected.add(self.half_expected, halves)
        expected.add(self.sample, some)
        members.add(self.sample_tried, some)
        members.add(self.tried[None], halves.sum(axis=0)[None])

    def scale_expected(self, rates: Integers, factor: Floats) -> None:
        """Multiply the expected counts of some active rates, which lie together, by ``factor [T, …]``, in place."""
        active = slice(int(self.place[rates[0]]), int(self.place[rates[-1]]) + 1)
        self.expected[:, active] *= factor
        self.half_expected[:, rates] = self._by_half_hour(self.expected[:, active])
        self.sample[:, rates] = every_nth(self.expected[:, active], _SAMPLE)

    def _by_half_hour(self, values: Floats) -> Floats:
        return run_sums(values, self.starts).astype(np.float64)

    def _active_members(self, members: Membership) -> Membership:
        place = self.place[members.target]
        return Membership.of(members.source[place >= 0], place[place >= 0], members.weight[place >= 0])


def pair_rates(failed: Floats, tried: Floats, group: Integers) -> Floats:
    """Failure rate of each (cell, outcome), shrunk to the rate of its group.

    Args:
        failed: Total failures ``[P]``.
        tried: Total trials ``[P]``.
        group: Which pairs belong together, ``[P]``.
    """
    size = int(group.max()) + 1 if len(group) else 0
    group_failed = np.bincount(group, failed, minlength=size)
    group_tried = np.bincount(group, tried, minlength=size)
    common = np.maximum((group_failed + 0.5) / np.maximum(group_tried + 1.0, 1.0), _RATE_FLOOR)[group]
    prior = 5.0 / common  # trials in which the group would expect five failures
    return np.asarray(np.maximum((failed + prior * common) / (tried + prior), _RATE_FLOOR))


def calibrate_counts(
    failed: Floats, expected: Floats, tried: Floats, hour: Integers, rate: Floats, settings: DetectionSettings
) -> CountTest:
    """Learn shape, dispersion and thresholds of ``J`` rates from plain columns.

    Args:
        failed: Counts ``[T, J]`` on consecutive windows.
        expected: Counts expected from constant rates by cell, ``[T, J]``.
        tried: Trials ``[T, J]``.
        hour: Local hour of each window, ``[T]``.
        rate: False alarms a window allowed, ``[J]``; 0 = do not test.
        settings: Ratios, window and spike length.
    """
    windows, rates = failed.shape
    starts = np.arange(0, windows, max(int(_HALF_HOUR_SECONDS / settings.window_seconds), 1))
    history = CountHistory.new(starts, hour[starts], windows, rates, np.arange(rates))
    each = Membership.of(np.arange(rates), np.arange(rates))
    none = Membership.of(np.zeros(0), np.zeros(0))
    history.add_failed(failed.astype(np.float32), each)
    history.add_tried(expected.astype(np.float32), each, none)
    history.add_tried(tried.astype(np.float32), none, each)
    return calibrate_count_history(history, hour, rate, settings)


def calibrate_count_history(
    history: CountHistory, hour: Integers, rate: Floats, settings: DetectionSettings, together: int = 1
) -> CountTest:
    """Learn shape, dispersion and thresholds of ``J`` rates; arguments as for :func:`calibrate_counts`.

    ``together`` windows are counted as one in the history: then the test is run over history with steps as long, and
    by how much it needs more evidence than theory says for such steps is taken over to the theory of single windows.
    """
    channels = len(history.tried)
    shape = np.ones((24, channels))
    for each in range(24):
        rows = history.hour == each
        top, bottom = (part[rows].sum(axis=0) for part in (history.half_failed, history.half_expected))
        shape[each] = (top + _SHAPE_PRIOR) / (bottom + _SHAPE_PRIOR)
    dispersion = _dispersion(history, shape, together)
    ratios = np.array(settings.failure_ratios)
    sampled = history.sample * shape[every_nth(hour, _SAMPLE)] / together
    some = history.tried > 0
    typical, share = typical_windows(np.where(history.sample_tried > 0, sampled, np.nan))
    typical = np.where(some, typical, 1e-9)
    information = np.stack([count_information(level, dispersion, ratios) for level in typical])
    wanted = np.maximum(np.broadcast_to(rate / np.sqrt(len(ratios)), (len(ratios), channels)), 1e-12)
    threshold = solve_threshold(information, share, wanted)
    middle = np.median(information, axis=0)
    stepped = threshold if together == 1 else solve_threshold(information * together, share, wanted * together)
    limit = evidence_limit(threshold, middle, settings)  # of a step as well, so that bursts of a window count as little
    peaks = _peaks(history, hour, shape, dispersion / together, stepped, limit, settings, together)
    more = correction(peaks, rate * BLOCK_SECONDS / settings.window_seconds, prior=_PRIOR_PEAKS)
    threshold = np.maximum(threshold + np.clip(more, -_RELIEF, _MOST), 3.0)
    threshold = np.where(some & (rate > 0), threshold, np.inf)
    mean = np.einsum("bj,bj->j", history.half_expected, shape[history.hour])
    overall = np.divide(mean, history.tried, out=np.zeros(channels), where=some)
    # how far a threshold was raised was found with the old limit: with a higher one excursions would be higher too
    limit = np.minimum(limit, evidence_limit(np.where(np.isfinite(threshold), threshold, 1.0), middle, settings))
    return CountTest(ratios, shape, dispersion, threshold, limit, np.median(typical, axis=0), overall)


def _dispersion(history: CountHistory, shape: Floats, together: int) -> Floats:
    """Long-run over-dispersion of a window: the larger of what sums of half an hour and of four hours show."""
    mean = history.half_expected * shape[history.hour]
    each = history.windows * together / max(len(history.starts), 1)
    found = [_block_dispersion(history.half_failed, mean, length, each * length) for length in _DISPERSION_BLOCKS]
    return np.asarray(np.max(found, axis=0))


def _block_dispersion(failed: Floats, mean: Floats, length: int, windows: float) -> Floats:
    """Over-dispersion that explains the spread of sums of ``length`` half hours, pulled in at six deviations."""
    blocks = len(failed) // length
    if blocks < 4:
        return np.full(failed.shape[1], 0.1)
    y = failed[: blocks * length].reshape(blocks, length, -1).sum(axis=1)
    m = mean[: blocks * length].reshape(blocks, length, -1).sum(axis=1)
    out = np.zeros(failed.shape[1])
    square = (m**2).sum(axis=0)
    # one standard error on the safe side
    error = np.sqrt((2 * m**2 + m).sum(axis=0))
    for _ in range(3):
        edge = 6 * np.sqrt(m * (1 + out / windows * m)) + 1
        excess = (np.clip(y - m, -edge, edge) ** 2 - m).sum(axis=0)
        out = np.divide(np.maximum(excess + error, 0.0), square, out=np.zeros_like(square), where=square > 0) * windows
    return out


def _peaks(
    history: CountHistory,
    hour: Integers,
    shape: Floats,
    dispersion: Floats,
    threshold: Floats,
    limit: Floats,
    settings: DetectionSettings,
    together: int,
) -> Floats:
    """Block maxima of evidence over threshold, ``[B, J]``; without any count there is no evidence."""
    block = max(int(BLOCK_SECONDS / (settings.window_seconds * together)), 1)
    active, ratios = history.active, np.array(settings.failure_ratios)
    peaks = np.broadcast_to(-threshold.min(axis=0), (-(-history.windows // block), len(history.tried))).copy()
    if len(active):
        season = shape[:, active], hour
        test = dispersion[active], threshold[:, active], limit[:, active]
        peaks[:, active] = count_peaks(history.failed, history.expected, season, ratios, *test, block)
    return peaks
