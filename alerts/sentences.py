"""Sentences about deviations and alerts: what happened, where, since when, by how much, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

from ..metrics.deviation import Deviation, DeviationKind, Scope
from ..metrics.translation import Translator
from ..metrics.verdict import Verdict
from .alert import RULER, SOURCE, Alert, AlertState, Resolution, Severity
from .attribution import Attribution, Concentration
from .figures import Figures
from .grouping import DOMINANT_VERDICT
from .titles import Titles, verdict_words

__all__ = ["Sentences", "pairs"]


@dataclass(frozen=True, slots=True)
class Sentences:
    """Sentences about alerts in one language; ``now`` decides whether a time needs its date."""

    titles: Titles
    figures: Figures
    translator: Translator
    now: float

    # -- one line -------------------------------------------------------------------------------------

    def subject(self, alert: Alert) -> str:
        """One line for a list or a mail's subject."""
        text = self.translator.text
        severities = {
            Severity.INFO: text("INFO"),
            Severity.WARNING: text("WARNING"),
            Severity.CRITICAL: text("CRITICAL"),
        }
        mark = severities[alert.severity]
        if alert.state is AlertState.PENDING:
            mark = text("PENDING")
        elif alert.resolution is Resolution.ACCEPTED:
            mark = text("ACCEPTED")
        elif alert.state is AlertState.RESOLVED:
            mark = text("RESOLVED")
        return text("[{mark}] {where}: {brief}", mark=mark, where=self.where(alert.scope), brief=self.brief(alert.lead))

    def short(self, alert: Alert) -> str:
        """One sentence with the figures and the worst group, for a chat."""
        sentence = self.headline(alert)
        if alert.state is AlertState.RESOLVED:
            return sentence
        figures = self.by_how_much(alert.lead)
        if figures:
            sentence = self.translator.text("{sentence}: {figures}", sentence=sentence, figures=figures)
        worst = self.worst(alert.attribution, alert.scope)
        return self.translator.text("{sentence}; {more}", sentence=sentence, more=worst) if worst else sentence

    def headline(self, alert: Alert) -> str:
        """What, where and since when; or how it ended."""
        return self.over(alert) if alert.state is AlertState.RESOLVED else self.what(alert.lead)

    # -- the place ------------------------------------------------------------------------------------

    def where(self, scope: Scope) -> str:
        """The place as a noun: ``Bill inquiry › Total (region=north)``."""
        text = self.translator.text
        language = self.translator.language
        if scope.flow == RULER:
            return text("Measurement")
        place = self.titles.flow(scope, language)
        if scope.step:
            place = f"{place} › {self.titles.step(scope, language)}"
        if scope.dimensions:
            return text("{place} ({dimensions})", place=place, dimensions=pairs(scope.dimensions))
        return place

    def _at(self, scope: Scope) -> str:
        """The place after the flow's name: `` at *Total* for region=north``; may be empty."""
        text = self.translator.text
        step = self.titles.step(scope, self.translator.language)
        at = text(" at *{step}*", step=step) if step else ""
        group = text(" for {dimensions}", dimensions=pairs(scope.dimensions)) if scope.dimensions else ""
        return at + group

    # -- sentences ------------------------------------------------------------------------------------

    def what(self, deviation: Deviation) -> str:  # noqa: PLR0911, PLR0912 (one return a kind)
        """What happened where since when, without figures."""
        text = self.translator.text
        scope, kind = deviation.scope, deviation.kind
        since = self.figures.time(deviation.started_at, self.now)
        if scope.flow == RULER:
            if scope.step == SOURCE:
                return text(
                    "Nothing has arrived from source *{source}* since {since}", source=_name(scope), since=since
                )
            return text("The evaluation is late: nothing after {since} has been judged yet", since=since)
        flow, at = self.titles.flow(scope, self.translator.language), self._at(scope)
        what = self._failure(deviation)
        match kind:
            case DeviationKind.SLOWER:
                return text("{flow} got slower{at} since {since}", flow=flow, at=at, since=since)
            case DeviationKind.TAIL:
                return text("{flow} has more very slow answers{at} since {since}", flow=flow, at=at, since=since)
            case DeviationKind.FAILING if not what:
                return text("{flow} fails more often{at} since {since}", flow=flow, at=at, since=since)
            case DeviationKind.FAILING if scope.check is None or scope.check.startswith("verdict:"):
                return text("{flow} gives more {what}{at} since {since}", flow=flow, what=what, at=at, since=since)
            case DeviationKind.FAILING:
                return text(
                    "{flow} fails the check “{what}” more often{at} since {since}",
                    flow=flow, what=what, at=at, since=since,
                )  # fmt: skip
            case DeviationKind.SILENT:
                return text("{flow} has gone silent{at} since {since}", flow=flow, at=at, since=since)
            case DeviationKind.FASTER:
                return text("{flow} got faster{at} since {since}", flow=flow, at=at, since=since)
            case DeviationKind.IMPROVING:
                return text("{flow} fails less often{at} since {since}", flow=flow, at=at, since=since)
            case DeviationKind.VOLUME if deviation.effect < 0:
                return text("{flow} is used less than usual{at} since {since}", flow=flow, at=at, since=since)
            case DeviationKind.VOLUME:
                return text("{flow} is used more than usual{at} since {since}", flow=flow, at=at, since=since)
            case DeviationKind.MIX:
                return text("The mix of customers of {flow} changed{at} since {since}", flow=flow, at=at, since=since)
            case DeviationKind.CREEP:
                return text("{flow} crept slower in small steps{at} since {since}", flow=flow, at=at, since=since)
            case DeviationKind.RECOVERED:
                return text("{flow} is back to normal{at} since {since}", flow=flow, at=at, since=since)

    def over(self, alert: Alert) -> str:
        """How a resolved alert ended."""
        text = self.translator.text
        scope = alert.scope
        since = self.figures.time(alert.lead.started_at, self.now)
        until = self.figures.time(alert.resolved_at or self.now, self.now)
        if scope.flow == RULER:
            if scope.step == SOURCE:
                return text(
                    "Source *{source}* delivers again since {until}; it had been silent since {since}",
                    source=_name(scope), until=until, since=since,
                )  # fmt: skip
            return text("The evaluation caught up at {until}; it had been late since {since}", until=until, since=since)
        flow, at, brief = self.titles.flow(scope, self.translator.language), self._at(scope), self.brief(alert.lead)
        if alert.resolution is Resolution.ACCEPTED and not alert.accepted_by:
            return text(
                "The level of {flow}{at} since {since} has become the new normal ({brief})",
                flow=flow, at=at, since=since, brief=brief,
            )  # fmt: skip
        if alert.resolution is Resolution.ACCEPTED:
            return text(
                "{by} accepted the level of {flow}{at} since {since} as the new normal ({brief})",
                by=alert.accepted_by or "", flow=flow, at=at, since=since, brief=brief,
            )  # fmt: skip
        return text(
            "{flow} is back to normal{at} since {until}; the trouble began at {since} ({brief})",
            flow=flow, at=at, until=until, since=since, brief=brief,
        )  # fmt: skip

    def brief(self, deviation: Deviation) -> str:
        """The kind and the size in two or three words: ``slower, +19 %``."""
        kind = self.kind(deviation)
        if deviation.scope.flow == RULER or deviation.kind is DeviationKind.SILENT:
            return kind
        return self.translator.text("{kind}, {change}", kind=kind, change=self.figures.change(deviation.effect))

    def kind(self, deviation: Deviation) -> str:
        """The kind in one or two words: ``slower``."""
        text = self.translator.text
        scope = deviation.scope
        if scope.flow == RULER:
            return text("source silent") if scope.step == SOURCE else text("evaluation late")
        if deviation.kind is DeviationKind.SILENT:
            return text("no data")
        return {
            DeviationKind.SLOWER: text("slower"),
            DeviationKind.TAIL: text("more very slow answers"),
            DeviationKind.FASTER: text("faster"),
            DeviationKind.IMPROVING: text("fewer failures"),
            DeviationKind.VOLUME: text("volume"),
            DeviationKind.MIX: text("mix"),
            DeviationKind.CREEP: text("creeping slower"),
            DeviationKind.RECOVERED: text("back to normal"),
        }.get(deviation.kind) or self._failing(deviation)

    def _failing(self, deviation: Deviation) -> str:
        text = self.translator.text
        what = self._failure(deviation)
        if not what:
            return text("more failures")
        if deviation.scope.check is None or deviation.scope.check.startswith("verdict:"):
            return text("more {what}", what=what)
        return text("check {what} fails more often", what=what)

    def _failure(self, deviation: Deviation) -> str:
        """What fails, in words: the check, the verdict, or what most of the additional failures are."""
        dominant = deviation.evidence.get(DOMINANT_VERDICT)
        if deviation.scope.check is None and dominant is not None:
            return verdict_words(Verdict(int(dominant)).label, self.translator)
        return self.titles.check(deviation.scope, self.translator)

    def by_how_much(self, deviation: Deviation) -> str:
        """Levels before and after, the change with its interval, and from how many observations."""
        if deviation.scope.flow == RULER:
            return ""
        text = self.translator.text
        if deviation.kind is DeviationKind.SILENT:
            return text("{expected} a minute are usual", expected=self.figures.level(deviation.before))
        counted = self.translator.plural(
            "{count} observation", "{count} observations", deviation.observations,
            count=self.figures.count(deviation.observations),
        )  # fmt: skip
        return text(
            "{levels} ({change}, {interval}), {counted}",
            levels=self.levels(deviation),
            change=self.figures.change(deviation.effect),
            interval=self.figures.interval(deviation.effect_low, deviation.effect_high),
            counted=counted,
        )

    def levels(self, deviation: Deviation) -> str:
        """Before and after in their own unit."""
        if deviation.kind in {DeviationKind.FAILING, DeviationKind.IMPROVING, DeviationKind.TAIL}:
            return self.figures.rates(deviation.before, deviation.after)
        if deviation.kind in {DeviationKind.SILENT, DeviationKind.VOLUME}:
            return self.figures.per_minute(deviation.before, deviation.after)
        return self.figures.durations(deviation.before, deviation.after)

    def worst(self, attribution: Attribution | None, scope: Scope) -> str:
        """Who is hit, in half a sentence; empty when it is not known, or is what the scope says already."""
        text = self.translator.text
        if attribution is None or attribution.concentration is Concentration.UNKNOWN:
            return ""
        if attribution.concentration is Concentration.EVERYONE or not attribution.contributions:
            return "" if scope.dimensions else text("everyone alike")
        first = attribution.contributions[0]
        if set(first.dimensions) <= set(scope.dimensions):
            return text("{share} of the change of the whole step", share=self.figures.share(first.share))
        return text(
            "worst: {dimensions} ({change}, {share} of the change)",
            dimensions=pairs(first.dimensions),
            change=self.figures.change(first.effect),
            share=self.figures.share(first.share),
        )


def pairs(dimensions: tuple[tuple[str, str], ...]) -> str:
    """Dimension values in one line."""
    return ", ".join(f"{name}={value}" for name, value in dimensions)


def _name(scope: Scope) -> str:
    return dict(scope.dimensions).get("name", "")
