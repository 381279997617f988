"""The words of a backtest: table, summary and legend, in English and Chinese."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path

from ..metrics.backtest.promise import Promise
from ..metrics.backtest.store import Alarm
from ..metrics.deviation import DeviationKind
from ..metrics.specification.flow import FlowSpec
from ..metrics.store.events import StoredEvent
from ..metrics.translation import Language, Translator, translator

__all__ = ["BacktestWords", "promise_lines", "recording_line"]

_NONE = "–"


@dataclass(frozen=True, slots=True)
class BacktestWords:
    """Puts what a backtest of a flow found into words; times are in ``zone``."""

    flow: FlowSpec
    language: Language
    zone: tzinfo

    @property
    def translator(self) -> Translator:
        """The catalogue of this package."""
        return _catalogue(self.language)

    def header(self) -> tuple[str, ...]:
        """Heads of the table's columns."""
        text = self.translator.text
        return (
            text("scope"), text("kind"), text("started"), text("found"), text("effect"), text("95 % interval"),
            text("delay"), text("limit"), text("ended"),
        )  # fmt: skip

    def row(self, alarm: Alarm) -> tuple[str, ...]:
        """One finding."""
        text, found = self.translator.text, alarm.deviation
        kind = self.kind(found.kind)
        return (
            self.place(alarm),
            kind if alarm.paged else text("{kind} (reported)", kind=kind),
            self.time(found.started_at),
            self.time(found.detected_at),
            _change(found.effect),
            text("{low} to {high}", low=_change(found.effect_low), high=_change(found.effect_high)),
            self._minutes(alarm.delay_seconds),
            _NONE if alarm.limit_seconds is None else self._minutes(alarm.limit_seconds),
            _NONE if alarm.ended_at is None else self.time(alarm.ended_at),
        )

    def place(self, alarm: Alarm) -> str:
        """The scope: the step by name, in Chinese by its title."""
        scope = alarm.deviation.scope
        step = next((each for each in self.flow.steps if each.name == scope.step), None)
        place = scope.step or self.translator.text("(whole flow)")
        if step is not None and self.language != "en":
            place = step.title.in_language(self.language)
        return place + "".join(f" {name}={value}" for name, value in scope.dimensions) + (
            f" {scope.check}" if scope.check else ""
        )  # fmt: skip

    def kind(self, kind: DeviationKind) -> str:
        """The kind of a finding; in English its name in tables and files."""
        text = self.translator.text
        return {
            DeviationKind.SLOWER: text("slower"),
            DeviationKind.TAIL: text("tail"),
            DeviationKind.FAILING: text("failing"),
            DeviationKind.SILENT: text("silent"),
            DeviationKind.FASTER: text("faster"),
            DeviationKind.IMPROVING: text("improving"),
            DeviationKind.VOLUME: text("volume"),
            DeviationKind.MIX: text("mix"),
            DeviationKind.CREEP: text("creep"),
            DeviationKind.RECOVERED: text("recovered"),
        }[kind]

    def time(self, at: float) -> str:
        """A local time."""
        return f"{datetime.fromtimestamp(at, self.zone):%Y-%m-%d %H:%M:%S}"

    def event(self, event: StoredEvent) -> str:
        """An event's mark in the picture."""
        return f"{self.time(event.at)} {event.title}"

    def summary(self, judged: int, scopes: int, days: tuple[float, float], alarms: Sequence[Alarm]) -> str:
        """How much was judged and found; ``days`` are those judged and those of history."""
        return self.translator.text(
            "{judged} of {scopes} scopes judged over {days} days after {history} days of history: "
            "{alarms} alarms, {reported} reported",
            judged=judged,
            scopes=scopes,
            days=f"{days[0]:.2f}",
            history=f"{days[1]:.2f}",
            alarms=sum(alarm.paged for alarm in alarms),
            reported=sum(not alarm.paged for alarm in alarms),
        )

    def nothing(self) -> str:
        """That there is no alarm."""
        return self.translator.text("no alarms")

    def not_judged(self, reasons: Sequence[str]) -> list[str]:
        """Why scopes were not judged, each reason once; "" is none."""
        text = self.translator.text
        return [
            text("not judged: {count} scopes, {reason}", count=reasons.count(reason), reason=reason)
            for reason in sorted({reason for reason in reasons if reason})
        ]

    def picture(self, path: Path) -> str:
        """Where the picture is."""
        return self.translator.text("picture: {path}", path=path)

    def promise(self, promise: Promise, left_out: int) -> list[str]:
        """The promise beside what was observed, if nothing was wrong in the span."""
        return promise_lines(promise, left_out, self.language)

    def _minutes(self, seconds: float) -> str:
        return self.translator.text("{minutes} min", minutes=f"{seconds / 60:.1f}")


def _change(effect: float) -> str:
    ratio = math.exp(max(min(effect, 50.0), -50.0))
    return f"×{ratio:.2g}" if ratio >= 2 else f"{(ratio - 1) * 100:+.1f} %"


def promise_lines(promise: Promise, left_out: int, language: Language) -> list[str]:
    """The promise beside what was observed, if nothing was wrong in what was judged; ``left_out`` alerts apart."""
    text = _catalogue(language).text
    if promise.months == 0:
        return [text("no data, so nothing can be said about the promise")]
    low, high = promise.interval
    lines = [
        text(
            "promised {promised}, observed {observed} false alarms a series-month "
            "(95 % interval {low} to {high}; {alarms} in {months} series-months)",
            promised=f"{promise.promised:g}", observed=f"{promise.observed:.2f}", low=f"{low:.2f}",
            high=f"{high:.2f}", alarms=promise.alarms, months=f"{promise.months:.2f}",
        )
    ]  # fmt: skip
    if left_out:
        lines.append(text("{count} alerts in incidents and maintenance were left out", count=left_out))
    if promise.is_broken:
        lines.append(text("more than promised, beyond chance: was nothing wrong in this span?"))
    elif high > promise.promised:
        lines.append(text("the span is too short to say that the promise is kept; it is not seen to be broken"))
    else:
        lines.append(text("the promise is kept"))
    return lines


def recording_line(series: int, alarms: int, others: int, path: Path, language: Language) -> str:
    """How much of a recording was judged and found, and where the events are."""
    return _catalogue(language).text(
        "{series} series followed, {alarms} alarms, {others} other events: {path}",
        series=series,
        alarms=alarms,
        others=others,
        path=path,
    )


def _catalogue(language: Language) -> Translator:
    return translator(Path(__file__).with_name("locale"), language)
