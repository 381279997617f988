"""The windows of a history and their local time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..detection.calendar import local_time
from ..detection.input import Measurements
from ..detection.settings import DetectionSettings
from .timetable import Timetable

__all__ = ["HistoryTime"]


@dataclass(frozen=True, slots=True)
class HistoryTime:
    """The windows of a history.

    Attributes:
        first: Start of the first (seconds since 1970 UTC).
        windows: Their number.
        table: Their local time.
        seasonal: Whether they are enough for seasons.
        span_seconds: Length of the history; the windows may go beyond it by less than one stretch.
    """

    first: float
    windows: int
    table: Timetable
    seasonal: bool
    span_seconds: float

    @classmethod
    def of(
        cls, history: Measurements, settings: DetectionSettings, span: tuple[float, float] | None = None
    ) -> HistoryTime:
        """The windows of some rows, or of a span."""
        window = settings.window_seconds
        first, windows = 0.0, 1
        if span is not None:
            first, windows = span[0], max(round((span[1] - span[0]) / window), 1)
        elif len(history):
            first = float(history.window_start.min())
            windows = round((float(history.window_start.max()) - first) / window) + 1
        return cls._laid_out(first, windows, settings, windows * window)

    @classmethod
    def stretched(cls, settings: DetectionSettings, span: tuple[float, float], stretch_seconds: int) -> HistoryTime:
        """The windows of a span, and those around it that make whole stretches."""
        first = span[0] // stretch_seconds * stretch_seconds
        end = max(-(-span[1] // stretch_seconds) * stretch_seconds, first + stretch_seconds)
        return cls._laid_out(first, round((end - first) / settings.window_seconds), settings, span[1] - span[0])

    @classmethod
    def _laid_out(cls, first: float, windows: int, settings: DetectionSettings, span_seconds: float) -> HistoryTime:
        table = Timetable.of(local_time(first + settings.window_seconds * np.arange(windows), settings))
        return cls(first, windows, table, span_seconds >= settings.season_history_seconds, span_seconds)
