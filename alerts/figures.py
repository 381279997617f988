"""Figures as people read them: durations, changes, rates, counts, times of day."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from ..metrics.translation import Language

__all__ = ["Figures"]

_MAX_DECIMALS = 4


@dataclass(frozen=True, slots=True)
class Figures:
    """Formats figures in one language and one time zone.

    English sets a space before ``%`` and an en dash in ranges; Chinese sets neither space nor dash but
    ``～``, as banks print it.
    """

    language: Language
    zone: tzinfo

    @property
    def _range(self) -> str:
        return "～" if self.language == "zh" else "–"

    @property
    def _percent(self) -> str:
        return "%" if self.language == "zh" else " %"

    def count(self, value: float) -> str:
        """A whole number with thousands separated: ``3,412``."""
        return f"{round(value):,}"

    def durations(self, before: float, after: float) -> str:
        """Two durations in one unit: ``1.00 → 1.19 s``; more decimals when they would look equal."""
        return self._pair(*self._in_unit(before, after))

    def duration(self, seconds: float) -> str:
        """One duration: ``1.19 s``, ``83 ms``."""
        value, _, unit = self._in_unit(seconds, seconds)
        return f"{value:.{_decimals(value)}f}{unit}"

    def rates(self, before: float, after: float) -> str:
        """Two ratios 0–1 as percentages: ``0.10 → 0.31 %``."""
        return self._pair(before * 100, after * 100, self._percent)

    def per_minute(self, before: float, after: float) -> str:
        """Two volumes: ``52 → 0``, the words are the sentence's."""
        return f"{self.level(before)} → {self.level(after)}"

    def level(self, value: float) -> str:
        """A volume: ``52``, ``0.40``."""
        return f"{value:.2f}" if 0 < abs(value) < 10 and value != round(value) else f"{value:,.0f}"

    def share(self, ratio: float) -> str:
        """A part of a whole: ``81 %``."""
        return f"{ratio * 100:.0f}{self._percent}"

    def change(self, effect: float) -> str:
        """A log-ratio as a change: ``+19 %``, ``-4.2 %``; from a doubling on as a factor: ``×3.1``."""
        ratio = math.exp(effect)
        if ratio >= 2:
            return f"×{_factor(ratio)}"
        return f"{_signed((ratio - 1) * 100)}{self._percent}"

    def interval(self, low: float, high: float) -> str:
        """The interval of a log-ratio, in the form of :meth:`change`: ``18–20 %``, ``×2.2–4.4``."""
        low_ratio, high_ratio = math.exp(low), math.exp(high)
        if high_ratio >= 2:
            return f"×{_factor(low_ratio)}{self._range}{_factor(high_ratio)}"
        low_percent, high_percent = (low_ratio - 1) * 100, (high_ratio - 1) * 100
        dash = self._range if low_percent >= 0 else (" 到 " if self.language == "zh" else " to ")
        inner = self._percent if self.language == "zh" else ""
        return f"{_plain(low_percent)}{inner}{dash}{_plain(high_percent)}{self._percent}"

    def shares(self, low: float, high: float) -> str:
        """The interval of a share: ``70–92 %``."""
        inner = self._percent if self.language == "zh" else ""
        return f"{low * 100:.0f}{inner}{self._range}{high * 100:.0f}{self._percent}"

    def time(self, at: float, now: float) -> str:
        """A time of day in the bank's zone, with the date unless it is the same day as ``now``."""
        moment, today = (datetime.fromtimestamp(each, UTC).astimezone(self.zone) for each in (at, now))
        clock = f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"
        if moment.date() == today.date():
            return clock
        if self.language == "zh":
            return f"{moment.year}年{moment.month}月{moment.day}日 {clock}"
        return f"{moment:%Y-%m-%d} {clock}"

    def zone_name(self, at: float) -> str:
        """The zone's name as configured, or its offset."""
        return getattr(self.zone, "key", None) or f"{datetime.fromtimestamp(at, UTC).astimezone(self.zone):%Z}"

    def iso(self, at: float) -> str:
        """UTC in ISO 8601, for machines."""
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _in_unit(self, before: float, after: float) -> tuple[float, float, str]:
        if max(before, after) < 0.1:
            return before * 1000, after * 1000, " 毫秒" if self.language == "zh" else " ms"
        return before, after, " 秒" if self.language == "zh" else " s"

    def _pair(self, before: float, after: float, unit: str) -> str:
        decimals = min(_decimals(before), _decimals(after)) if before and after else _decimals(max(before, after))
        while decimals < _MAX_DECIMALS and before != after and f"{before:.{decimals}f}" == f"{after:.{decimals}f}":
            decimals += 1
        return f"{before:.{decimals}f} → {after:.{decimals}f}{unit}"


def _decimals(value: float) -> int:
    size = abs(value)
    if size >= 100 or size == 0:
        return 0
    return 1 if size >= 10 else 2


def _plain(percent: float) -> str:
    text = f"{percent:.1f}" if abs(percent) < 9.95 else f"{percent:.0f}"
    return text.removesuffix(".0").replace("-", "−")


def _signed(percent: float) -> str:
    text = _plain(percent)
    return text if text.startswith("−") else f"+{text}"


def _factor(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}"
