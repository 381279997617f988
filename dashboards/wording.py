"""Figures as people read them: one rounding for reports, pages and pictures, in English and Chinese."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from math import floor, log10
from pathlib import Path

from ..alerts.figures import Figures
from ..metrics.specification.flow import FlowSpec
from ..metrics.store.scope import DataScope
from ..metrics.translation import Language, Translator, translator
from .figure_types import ChangeFigure, ChangeStatus, Comparison, Conclusion, Estimate, Period
from .release_split import RELEASE, releases_of

__all__ = ["NOTHING", "Wording"]

NOTHING = "–"
_MINUS = "−"
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
"""English whatever the process's locale is."""


@dataclass(frozen=True, slots=True)
class Wording:
    """Puts figures into words of one language and times into one zone."""

    language: Language
    zone: tzinfo

    @property
    def translator(self) -> Translator:
        """The catalogue of this package."""
        return translator(Path(__file__).with_name("locale"), self.language)

    @property
    def figures(self) -> Figures:
        """The figures of alerts' texts, so that a report and an alert write alike."""
        return Figures(self.language, self.zone)

    @property
    def _percent(self) -> str:
        return "%" if self.language == "zh" else " %"

    @property
    def _range(self) -> str:
        return "～" if self.language == "zh" else "–"

    @property
    def _points(self) -> str:
        return " 个百分点" if self.language == "zh" else " pp"

    # -- numbers ----------------------------------------------------------------------------------------

    def count(self, value: float | None) -> str:
        """A whole number with thousands separated."""
        return NOTHING if value is None else f"{round(value):,}"

    def seconds(self, value: float | None) -> str:
        """A duration with three figures and its unit."""
        return NOTHING if value is None else _in_unit(value, *self._unit(value))

    def duration(self, estimate: Estimate) -> str:
        """A duration with its interval: ``1.19 s (1.17–1.21)``."""
        interval = self.duration_interval(estimate)
        return f"{self.seconds(estimate.value)} ({interval})" if interval else self.seconds(estimate.value)

    def duration_interval(self, estimate: Estimate) -> str:
        """The interval of a duration in the unit of the figure, without it: ``1.17–1.21``; empty without one."""
        if estimate.value is None or estimate.low is None or estimate.high is None:
            return ""
        factor, _ = self._unit(estimate.value)
        decimals = _decimals(estimate.value * factor)
        return f"{estimate.low * factor:.{decimals}f}{self._range}{estimate.high * factor:.{decimals}f}"

    def seconds_range(self, low: float, high: float) -> str:
        """A range of durations in one unit: ``0.97–1.04 s``."""
        factor, unit = self._unit(high)
        decimals = _decimals(high * factor)
        return f"{low * factor:.{decimals}f}{self._range}{high * factor:.{decimals}f}{unit}"

    def level(self, seconds: float, top_seconds: float) -> str:
        """A level of an axis that reaches to ``top_seconds``, in the unit of that."""
        factor, unit = self._unit(top_seconds)
        return f"{seconds * factor:g}{unit}"

    def percent(self, ratio: float | None) -> str:
        """A ratio 0–1 in per cent, with two figures of what is rarer: ``99.31 %``, ``0.10 %``."""
        if ratio is None:
            return NOTHING
        return f"{ratio * 100:.{0 if ratio in (0, 1) else _rate_decimals(ratio)}f}{self._percent}"

    def rate(self, estimate: Estimate) -> str:
        """A rate with its interval: ``99.31 % (99.28–99.34)``."""
        interval = self.rate_interval(estimate)
        return f"{self.percent(estimate.value)} ({interval})" if interval else self.percent(estimate.value)

    def rate_interval(self, estimate: Estimate) -> str:
        """The interval of a rate in per cent, without the sign: ``99.28–99.34``; empty without one."""
        if estimate.value is None or estimate.low is None or estimate.high is None:
            return ""
        width = (estimate.high - estimate.low) * 100
        needed = 0 if width <= 0 else min(4, max(0, -floor(log10(width))))
        decimals = max(_rate_decimals(estimate.value), needed)
        low, high = (f"{end * 100:.{0 if end in (0, 1) else decimals}f}" for end in (estimate.low, estimate.high))
        return f"{low}{self._range}{high}"

    def plain_percent(self, ratio: float) -> str:
        """A level of an axis in per cent, without needless decimals."""
        return f"{round(ratio * 100, 6):g}{self._percent}"

    def share(self, ratio: float | None) -> str:
        """A part of a whole in whole per cent: ``39 %``."""
        return NOTHING if ratio is None else f"{_signless(f'{ratio * 100:.0f}')}{self._percent}"

    def amount_range(self, low: float, high: float) -> str:
        """An interval of a number of something: ``310 to 520``, ``−12 to 40``."""
        to = "～" if self.language == "zh" else " to "
        return f"{_signless(f'{low:.0f}', f'{low:,.0f}')}{to}{_signless(f'{high:.0f}', f'{high:,.0f}')}"

    def listed(self, parts: Sequence[str]) -> str:
        """Several things in one line."""
        return ("，" if self.language == "zh" else ", ").join(parts)

    # -- changes ----------------------------------------------------------------------------------------

    def levels(self, change: ChangeFigure, *, rate: bool = False) -> str:
        """Before and after: ``1.00 → 1.19 s``."""
        if change.before is None or change.after is None:
            return NOTHING
        if not rate:
            return self.figures.durations(change.before, change.after)
        decimals = max(_rate_decimals(change.before), _rate_decimals(change.after))
        before, after = (
            f"{level * 100:.{0 if level in (0, 1) else decimals}f}" for level in (change.before, change.after)
        )
        return f"{before} → {after}{self._percent}"

    def change(self, change: ChangeFigure, *, rate: bool = False) -> str:
        """The change with its interval: ``+19 % (+18 to +20)``, in points for rates: ``−0.41 pp (−0.52 to −0.30)``."""
        if change.change is None or change.low is None or change.high is None:
            return NOTHING
        decimals = _change_decimals(change.low, change.high)
        value, low, high = (f"{part * 100:+.{decimals}f}" for part in (change.change, change.low, change.high))
        unit = self._points if rate else self._percent
        if self.language == "zh":
            return f"{_signless(value)}{unit}（{_signless(low)}～{_signless(high)}）"
        return f"{_signless(value)}{unit} ({_signless(low)} to {_signless(high)})"

    def relative(self, change: float) -> str:
        """A relative change without its interval: ``+19 %``, ``−0.4 %``."""
        percent = change * 100
        return f"{_signless(f'{percent:+.{0 if abs(percent) >= 10 else 1}f}')}{self._percent}"

    def brief(self, change: ChangeFigure, *, rate: bool = False, failures: bool = False) -> str:
        """The verdict of a comparison in a table that has a column for what would have been seen."""
        text = self.translator.text
        if change.status is ChangeStatus.NO_EVIDENCE:
            return text("not enough data")
        if change.status is ChangeStatus.UNCLEAR:
            return text("not enough data: may be chance")
        return self.status(change, rate=rate, failures=failures)

    def status(self, change: ChangeFigure, *, rate: bool = False, failures: bool = False) -> str:
        """The verdict of a comparison in words; says what would have been seen when nothing was."""
        text = self.translator.text
        if change.status is ChangeStatus.NO_EVIDENCE and change.detectable is not None:
            return text("not enough data to say: no evidence of a change, yet only {detectable} or more would have "
                        "been seen", detectable=self.detectable(change, rate=rate))  # fmt: skip
        if rate:
            worse, better = (text("more failures"), text("fewer failures")) if failures else (
                text("worse"), text("better"))  # fmt: skip
            margin = self.plain_percent(change.margin or 0)
            margin = (text("{margin} of the failures", margin=margin) if failures else
                      text("{margin} of the bad answers", margin=margin))  # fmt: skip
        else:
            worse, better, margin = text("slower"), text("faster"), self.plain_percent(change.margin or 0)
        nonzero = not rate or {change.before, change.after}.isdisjoint({0.0, 1.0})  # else no ratio says anything
        if change.within_margin and change.status in (ChangeStatus.WORSE, ChangeStatus.BETTER):
            said = worse if change.status is ChangeStatus.WORSE else better
            return text("{verdict}, by less than {margin}", verdict=said, margin=margin)
        return {
            ChangeStatus.WORSE: worse,
            ChangeStatus.BETTER: better,
            ChangeStatus.SAME: text("the same within {margin}", margin=margin) if nonzero else text("the same"),
            ChangeStatus.NO_EVIDENCE: text("not enough data to say: no evidence of a change"),
            ChangeStatus.UNCLEAR: text("not enough data to say: it may be chance among so many comparisons"),
            ChangeStatus.TOO_FEW: text("too few observations to compare"),
            ChangeStatus.NOT_COMPARED: text("not compared"),
        }[change.status]

    def conclusion(self, conclusion: Conclusion, *, failures: bool = False) -> str:
        """What a comparison says of a step's latency, or of its correctness."""
        text = self.translator.text
        return {
            Conclusion.WORSE: text("more failures") if failures else text("slower"),
            Conclusion.BETTER: text("fewer failures") if failures else text("faster"),
            Conclusion.SAME: text("the same"),
            Conclusion.NOT_ENOUGH_DATA: text("not enough data"),
            Conclusion.NOT_COMPARED: text("not compared"),
        }[conclusion]

    def detectable(self, change: ChangeFigure, *, rate: bool = False) -> str:
        """The smallest worsening that would have been seen, unsigned."""
        if change.detectable is None:
            return NOTHING
        decimals = _change_decimals(0, change.detectable)
        unit = self._points if rate else self._percent
        return f"{change.detectable * 100:.{decimals}f}{unit}"

    # -- times ------------------------------------------------------------------------------------------

    def time(self, at: float | None) -> str:
        """A time with its date in the bank's zone."""
        if at is None:
            return NOTHING
        moment = datetime.fromtimestamp(at, UTC).astimezone(self.zone)
        clock = f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"
        if self.language == "zh":
            return f"{moment.year}年{moment.month}月{moment.day}日 {clock}"
        return f"{moment:%Y-%m-%d} {clock}"

    def since(self, at: float, until: float) -> str:
        """A moment in a sentence about a period that ends ``until`` then: ``14 March 10:42``; another year is said."""
        moment, end = (datetime.fromtimestamp(one, UTC).astimezone(self.zone) for one in (at, until))
        if self.language == "zh":
            year = f"{moment.year}年" if moment.year != end.year else ""
            return f"{year}{moment.month}月{moment.day}日 {moment:%H:%M}"
        year = f" {moment.year}" if moment.year != end.year else ""
        return f"{moment.day} {_MONTHS[moment.month - 1]}{year} {moment:%H:%M}"

    def tick(self, at: float, span_seconds: float) -> str:
        """A time below a chart, as short as the chart's span allows."""
        moment = datetime.fromtimestamp(at, UTC).astimezone(self.zone)
        if span_seconds <= 600:
            return f"{moment:%H:%M:%S}"
        if span_seconds <= 86_400:
            return f"{moment:%H:%M}"
        day = (
            f"{moment.month}月{moment.day}日"
            if self.language == "zh"
            else f"{moment.day} {_MONTHS[moment.month - 1][:3]}"
        )
        return day if span_seconds > 5 * 86_400 else f"{day} {moment:%H:%M}"

    def span_name(self, name: str) -> str:
        """A span up to now as a link says it: ``24h`` in English, ``24 小时`` in Chinese."""
        units = {"h": " 小时", "d": " 天"}
        return f"{name[:-1]}{units[name[-1]]}" if self.language == "zh" else f"{name[:-1]} {name[-1]}"

    def period(self, period: Period) -> str:
        """From when to when; the end of a period within one day without its date."""
        to = " 至 " if self.language == "zh" else " – "
        start, end = self.time(period.start), self.time(period.end)
        day, _, _ = start.rpartition(" ")
        return f"{start}{to}{end.removeprefix(f'{day} ')}"

    def day(self, at: float) -> str:
        """The day of a time, for names of files: ``2026-03-14``."""
        return f"{datetime.fromtimestamp(at, UTC).astimezone(self.zone):%Y-%m-%d}"

    def days(self, start: float, end: float) -> str:
        """The days of a period that begins and ends with one: ``2026-03-09 – 2026-03-15``; one day alone."""
        moments = [datetime.fromtimestamp(at, UTC).astimezone(self.zone) for at in (start, end - 1)]
        chinese = self.language == "zh"
        first, last = (f"{at.year}年{at.month}月{at.day}日" if chinese else f"{at:%Y-%m-%d}" for at in moments)
        return first if first == last else (" 至 " if chinese else " – ").join((first, last))

    def length(self, seconds: float) -> str:
        """A length of time: ``3 h 20 min``."""
        text = self.translator.text
        minutes = round(seconds / 60)
        days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
        if seconds < 60:
            return text("{count} s", count=round(seconds))
        parts = [
            text("{count} d", count=days) if days else "",
            text("{count} h", count=hours) if hours else "",
            text("{count} min", count=rest) if rest and not days else "",
        ]
        return " ".join(part for part in parts if part) or text("{count} min", count=0)

    def zone_name(self, at: float) -> str:
        """The zone's name."""
        return self.figures.zone_name(at)

    # -- names ------------------------------------------------------------------------------------------

    def compared(self, comparison: Comparison) -> str:
        """What the period is compared with, as it stands in a sentence."""
        text = self.translator.text
        if comparison.kind.startswith(RELEASE):
            return text("release {version}", version=releases_of(comparison.kind)[0])
        return {
            "previous": text("the period before"),
            "before": text("the time right before"),
            "week": text("the week before"),
            "year": text("the year before"),
        }.get(comparison.kind, comparison.kind)

    def check_title(self, flow: FlowSpec, step: str, check: str) -> str:
        """A check's title, or its name."""
        known = [one for spec in flow.steps if spec.name == step for one in spec.checks if one.name == check]
        across = [one for one in flow.across if one.name == check]
        title = next((one.title for one in (*known, *across) if one.title is not None), None)
        return title.in_language(self.language) if title else check

    def part(self, scope: DataScope) -> str:
        """Which data somebody sees, by the names of flows and values."""
        flows = [] if scope.flows is None else [", ".join(sorted(scope.flows)) or NOTHING]
        return "; ".join([*flows, *(f"{name}={'|'.join(sorted(values))}" for name, values in scope.dimensions)])

    def verdict(self, label: str) -> str:
        """A verdict's name."""
        text = self.translator.text
        return {
            "good": text("good"),
            "slow": text("slow"),
            "stale": text("stale"),
            "incomplete": text("incomplete"),
            "wrong": text("wrong"),
            "abandoned": text("abandoned"),
            "timeout": text("timeout"),
            "error": text("error"),
        }[label]

    def _unit(self, seconds: float) -> tuple[float, str]:
        if seconds < 0.1:
            return 1000.0, " 毫秒" if self.language == "zh" else " ms"
        return 1.0, " 秒" if self.language == "zh" else " s"


def _in_unit(value: float, factor: float, unit: str) -> str:
    return f"{value * factor:.{_decimals(value * factor)}f}{unit}"


def _decimals(value: float) -> int:
    """Decimals that leave three figures, at most four."""
    if value <= 0:
        return 0
    return min(4, max(0, 2 - floor(log10(value))))


def _rate_decimals(ratio: float) -> int:
    rarer = min(ratio, 1 - ratio) * 100
    return 2 if rarer <= 0 else min(4, max(1, 1 - floor(log10(rarer))))


def _change_decimals(low: float, high: float) -> int:
    """Decimals of a percentage that leave two figures of the interval's width."""
    width = abs(high - low) * 100
    return 2 if width <= 0 else min(3, max(0, 1 - floor(log10(width))))


def _signless(text: str, shown: str = "") -> str:
    """With a true minus sign, and no sign before zero; ``shown`` is the same number as it is to be read."""
    return (shown or text).lstrip("+-") if float(text) == 0 else (shown or text).replace("-", _MINUS)
