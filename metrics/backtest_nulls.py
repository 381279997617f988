"""Promised against observed false alarms, on a history in which nothing is known to have happened.

Each history series is split in two spans of time; each is judged by what was learnt from the other. Every alarm counts
as false, so a history with incidents shows more than the promise. A half is a shorter history than the whole: thresholds
learnt from all of it are better, not worse, founded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .backtest import run_backtest
from .backtest_file import Recording
from .detection_input import BucketGrid
from .detection_settings import DetectionSettings

__all__ = ["NullCheck", "check_nulls"]

_MONTH_MINUTES = 43_200.0
_WEEK_MINUTES = 10_080
_PAGED = frozenset({"up", "tail", "fail"})
_Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class NullCheck:
    """What was observed: ``alarms`` in ``series_months``, and the promise for one series-month."""

    series: int
    series_months: float
    alarms: int
    promised: float

    @property
    def observed(self) -> float:
        """False alarms a series-month."""
        return self.alarms / self.series_months

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of :attr:`observed`: exact Poisson limits by Wilson and Hilferty (doi:10.1073/pnas.17.12.684).

        It takes alarms for independent.
        """
        low = _chi_square(2 * self.alarms, -_Z95) / 2 if self.alarms else 0.0
        return low / self.series_months, _chi_square(2 * self.alarms + 2, _Z95) / 2 / self.series_months

    @property
    def kept(self) -> bool | None:
        """Whether the promise was kept; ``None`` when the history is too short to tell."""
        low, high = self.interval
        if high <= self.promised:
            return True
        return False if low > self.promised else None


def check_nulls(history: Recording, settings: DetectionSettings, grid: BucketGrid) -> NullCheck:
    """Judge each half of a history by the other.

    The cut is at a whole week where the history is long enough, else in the middle.

    Raises:
        RecordingError: the history cannot be followed.
    """
    first, last = int(history.minute.min()), int(history.minute.max()) + 1
    middle = (first + last) // 2
    weeks = round((middle - first) / _WEEK_MINUTES) * _WEEK_MINUTES
    cut = first + weeks if 0 < weeks < last - first else middle
    early, late = _rows(history, history.minute < cut), _rows(history, history.minute >= cut)
    alarms, minutes, names = 0, 0, set[str]()
    for past, stream in ((early, late), (late, early)):
        shared = [name for name in stream.names if name in past.names]
        chosen = _named(stream, shared)
        if not shared:
            continue
        events = run_backtest(past, chosen, settings, grid)
        alarms += sum(event.kind in _PAGED for event in events)
        for number in range(len(shared)):
            at = chosen.minute[chosen.series == number]
            minutes += int(at.max() - at.min()) + 1
        names |= set(shared)
    promised = settings.false_alarms_per_series_month
    return NullCheck(
        len(names), max(minutes, 1) / _MONTH_MINUTES, alarms,
        settings.false_alarms_per_month if promised is None else promised,
    )  # fmt: skip


def _rows(recording: Recording, keep: np.typing.NDArray[np.bool_]) -> Recording:
    """Some rows, with the series that have any."""
    rows = np.flatnonzero(keep)
    lengths = np.diff(recording.offsets)[rows]
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    source = np.repeat(recording.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
    numbers, series = np.unique(recording.series[rows], return_inverse=True)
    names = tuple(recording.names[number] for number in numbers)
    return Recording(
        names, recording.groups, series, recording.minute[rows], recording.group[rows], recording.n[rows],
        recording.sum_log[rows], recording.sum_sq[rows], recording.fails[rows], offsets, recording.buckets[source],
        recording.bucket_counts[source], {name: recording.line.get(name, 0) for name in names}, recording.path,
    )  # fmt: skip


def _named(recording: Recording, names: list[str]) -> Recording:
    """The series of these names, each to be judged by the history series of the same name."""
    wanted = [number for number, name in enumerate(recording.names) if name in names]
    found = _rows(recording, np.isin(recording.series, wanted))
    streams = tuple(f"{name}@{name}" for name in found.names)
    return Recording(
        streams, found.groups, found.series, found.minute, found.group, found.n, found.sum_log, found.sum_sq,
        found.fails, found.offsets, found.buckets, found.bucket_counts, {}, found.path,
    )  # fmt: skip


def _chi_square(freedom: int, z: float) -> float:
    """Quantile of chi-square for a standard normal quantile ``z``."""
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + z * math.sqrt(part)) ** 3)
