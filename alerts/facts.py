"""The labelled facts of an alert: size, beginning, who is hit, evidence, and what is not concluded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..metrics.deviation import Deviation, DeviationKind
from .alert import CALENDAR_KINDS, RULER, Alert, AlertState, NearbyEvent, Resolution
from .attribution import Attribution, Concentration, Contribution
from .guilty_step import DERIVED
from .impact import Estimate, Impact
from .sentences import Sentences, pairs

__all__ = ["Fact", "Facts"]

_WORST_LISTED = 3
_ALSO_LISTED = 6
_LAG_IN_MINUTES = 3600.0
_MIX_WORTH_SAYING = 0.1  # of the whole change


@dataclass(frozen=True, slots=True)
class Fact:
    """One labelled line of the long form."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Collects the facts of an alert in the language of ``say``."""

    say: Sentences

    def of(self, alert: Alert) -> Iterator[Fact]:
        """The facts of an alert, most important first."""
        text = self.say.translator.text
        lead = alert.lead
        if lead.scope.flow != RULER:
            yield from self._size(lead)
        yield Fact(text("Began"), self._began(lead))
        yield from self._since(alert)
        yield from self._who(alert)
        also = self._also(alert)
        if also:
            yield Fact(text("Same cause"), also)
        if alert.nearby:
            yield Fact(text("Nearby events"), self._nearby(alert))
        evidence = self._evidence(lead)
        if evidence:
            yield Fact(text("Evidence"), evidence)
        yield from self._people(alert)

    def _size(self, lead: Deviation) -> Iterator[Fact]:
        text = self.say.translator.text
        if lead.kind is DeviationKind.SILENT:
            yield Fact(text("Change"), text("{levels} observations a minute", levels=self.say.levels(lead)))
            return
        quantile = lead.evidence.get("quantile")
        if lead.kind is DeviationKind.TAIL and quantile is not None:
            beyond = self.say.figures.share(quantile)
            yield Fact(text("Very slow"), text("slower than {share} of the answers used to be", share=beyond))
        yield Fact(
            text("Change"),
            text(
                "{levels}, {change} (95 % interval {interval})",
                levels=self.say.levels(lead),
                change=self.say.figures.change(lead.effect),
                interval=self.say.figures.interval(lead.effect_low, lead.effect_high),
            ),
        )
        yield Fact(
            text("Observations"),
            text(
                "{after} since then, {before} before",
                after=self.say.figures.count(lead.observations),
                before=self.say.figures.count(lead.observations_before),
            ),
        )

    def _began(self, lead: Deviation) -> str:
        text = self.say.translator.text
        time = self.say.figures.time
        return text(
            "{since} (between {low} and {high}; seen at {detected}), {zone}",
            since=time(lead.started_at, self.say.now),
            low=time(lead.started_low, self.say.now),
            high=time(lead.started_high, self.say.now),
            detected=time(lead.detected_at, self.say.now),
            zone=self.say.figures.zone_name(self.say.now),
        )

    def _since(self, alert: Alert) -> Iterator[Fact]:
        """How large it looked when it was found, if it has been estimated anew since; and how it ended."""
        text = self.say.translator.text
        if len(alert.history) > 1:
            first, last = alert.history[0], alert.history[-1]
            yield Fact(
                text("At first"),
                text(
                    "{change} ({interval}) when it was found; estimated anew at {time} from what came after",
                    change=self.say.figures.change(first.effect),
                    interval=self.say.figures.interval(first.effect_low, first.effect_high),
                    time=self.say.figures.time(last.at, self.say.now),
                ),
            )
        if alert.state is AlertState.RESOLVED and alert.scope.flow != RULER:
            yield Fact(text("Ended"), self._ended(alert))

    def _ended(self, alert: Alert) -> str:
        text = self.say.translator.text
        time = self.say.figures.time(alert.resolved_at or self.say.now, self.say.now)
        if alert.resolution is not Resolution.ACCEPTED:
            return text("{time}: it has recovered", time=time)
        if alert.accepted_by:
            return text("{time}: {by} accepted the level as normal", time=time, by=alert.accepted_by)
        since = self.say.figures.time(alert.lead.detected_at, self.say.now)
        return text(
            "{time}: taken for normal, as the level has lasted since {since}; it has not recovered",
            time=time, since=since,
        )  # fmt: skip

    def _who(self, alert: Alert) -> Iterator[Fact]:
        text = self.say.translator.text
        attribution, impact = alert.attribution, alert.impact
        if attribution is not None:
            yield Fact(text("Who is hit"), self._concentration(attribution))
            if abs(attribution.mix) >= _MIX_WORTH_SAYING * abs(attribution.total) > 0:
                yield Fact(
                    text("Mix"),
                    text(
                        "within groups {within}, by a changed mix of customers {mix}",
                        within=self.say.figures.change(attribution.within),
                        mix=self.say.figures.change(attribution.mix),
                    ),
                )
        if impact is not None:
            yield from self._impact(impact)

    def _concentration(self, attribution: Attribution) -> str:
        text = self.say.translator.text
        if attribution.concentration is Concentration.UNKNOWN:
            return text("not enough data to tell")
        if attribution.concentration is Concentration.EVERYONE or not attribution.contributions:
            return text("everyone alike, as far as the data can tell")
        return text("; ").join(self._contribution(each) for each in attribution.contributions[:_WORST_LISTED])

    def _contribution(self, contribution: Contribution) -> str:
        text = self.say.translator.text
        values = {
            "dimensions": pairs(contribution.dimensions),
            "change": self.say.figures.change(contribution.effect),
            "interval": self.say.figures.interval(contribution.effect_low, contribution.effect_high),
            "share": self.say.figures.share(contribution.share),
            "shares": self.say.figures.shares(contribution.share_low, contribution.share_high),
        }
        if contribution.is_new:
            return text(
                "{dimensions}, new, {change} against comparable customers ({interval}), "
                "{share} of the change ({shares})",
                **values,
            )
        return text("{dimensions} {change} ({interval}), {share} of the change ({shares})", **values)

    def _impact(self, impact: Impact) -> Iterator[Fact]:
        text, count = self.say.translator.text, self.say.figures.count
        if impact.customers is not None and impact.customers_seen:
            counted = text(
                "{hit} of {seen} got a late, wrong or failed answer",
                hit=count(impact.customers), seen=count(impact.customers_seen),
            )  # fmt: skip
            yield Fact(text("Customers"), self._more(counted, impact.customers_more))
        if impact.flow_instances is not None and impact.flow_instances_seen:
            counted = text("{hit} of {seen}", hit=count(impact.flow_instances), seen=count(impact.flow_instances_seen))
            yield Fact(text("Flow instances"), self._more(counted, impact.flow_instances_more))
        lost = impact.completions_lost
        if lost is not None:
            yield Fact(
                text("Completions lost"),
                text(
                    "{lost} ({low} to {high}) against the usual completion rate",
                    lost=count(lost.value), low=count(lost.low), high=count(lost.high),
                ),
            )  # fmt: skip

    def _more(self, counted: str, more: Estimate | None) -> str:
        """A count, and by how many it is more than before."""
        if more is None:
            return counted
        text, count = self.say.translator.text, self.say.figures.count
        values = {"counted": counted, "low": count(more.low), "high": count(more.high)}
        return text("{counted}; {more} more than usual ({low} to {high})", more=count(more.value), **values)

    def _also(self, alert: Alert) -> str:
        text = self.say.translator.text
        others = [member for member in alert.members[1:] if member.recovered_at is None or not alert.is_open]
        lead = alert.lead
        told = {(self.say.where(lead.scope), self.say.kind(lead))}
        found: list[str] = []
        for member in others:  # a verdict and the failures it makes up are one thing to a reader
            where, kind = self.say.where(member.deviation.scope), self.say.kind(member.deviation)
            if (where, kind) not in told:
                told.add((where, kind))
                found.append(text("{where}: {brief}", where=where, brief=self.say.brief(member.deviation)))
        listed = found[:_ALSO_LISTED]
        if len(found) > _ALSO_LISTED:
            listed.append(text("and {count} more", count=len(found) - _ALSO_LISTED))
        return text("; ").join(listed)

    def _nearby(self, alert: Alert) -> str:
        """What happened close to the beginning, with the lag."""
        text = self.say.translator.text
        return text("; ").join(self._near(event, alert.lead.started_at) for event in alert.nearby)

    def _near(self, event: NearbyEvent, began: float) -> str:
        text = self.say.translator.text
        words = {
            "deployment": text("deployment"),
            "configuration": text("configuration change"),
            "campaign": text("campaign"),
            "incident": text("incident"),
            "maintenance": text("maintenance"),
            "holiday": text("holiday"),
            "workday": text("make-up workday"),
            "statement": text("statement day"),
            "payday": text("payday"),
            "month_end": text("end of the month"),
            "special": text("special day"),
        }
        kind = words.get(event.kind, event.kind)
        what = text("{kind} {title}", kind=kind, title=event.title) if event.title else kind
        if event.kind in CALENDAR_KINDS:
            return text("{what} that day", what=what)
        minutes = f"{abs(event.at - began) / 60:.0f}"
        if event.at > began:
            return text("{title}, {minutes} min after", title=what, minutes=minutes)
        if began - event.at > _LAG_IN_MINUTES and event.ended_at is not None and event.ended_at >= began:
            return text("{what}, going on since {at}", what=what, at=self.say.figures.time(event.at, self.say.now))
        return text("{title}, {minutes} min before", title=what, minutes=minutes)

    def _evidence(self, lead: Deviation) -> str:
        text = self.say.translator.text
        statistic, threshold = lead.evidence.get("statistic"), lead.evidence.get("threshold")
        missing = lead.evidence.get("missing")
        derived = lead.evidence.get(DERIVED)
        if derived is not None:
            return text(
                "the alarm was raised by the flow as a whole or a later step; over the same time this step moved by "
                "{errors} times its standard error",
                errors=f"{derived:.1f}",
            )
        if missing is not None:
            return text(
                "{count} observations that were expected since then did not come", count=self.say.figures.count(missing)
            )
        if statistic is None or threshold is None:
            return ""
        return text(
            "the sum of evidence for a lasting change reached {statistic}; {threshold} raises an alarm "
            "(learnt from this series' own past for the false alarms you tolerate)",
            statistic=f"{statistic:.1f}",
            threshold=f"{threshold:.1f}",
        )

    def _people(self, alert: Alert) -> Iterator[Fact]:
        text = self.say.translator.text
        owner = self.say.titles.owner(alert.scope)
        if owner:
            yield Fact(text("Owner"), owner)
        if alert.assignee:
            yield Fact(text("Assigned to"), alert.assignee)
        if alert.acknowledged_by and alert.acknowledged_at is not None:
            at = self.say.figures.time(alert.acknowledged_at, self.say.now)
            yield Fact(text("Acknowledged"), text("by {by} at {at}", by=alert.acknowledged_by, at=at))

    def not_concluded(self, alert: Alert) -> str:
        """What must not be read into the alert."""
        text = self.say.translator.text
        if alert.lead.kind is DeviationKind.SILENT:
            return text("No data is neither health nor failure: this does not say whether customers are affected.")
        if alert.state is AlertState.RESOLVED:
            return text("This does not say why it began, nor why it ended.")
        return text(
            "This does not say why. Releases and other events close in time are coincidence until shown "
            "otherwise. The interval describes the time since the start; it does not promise that the change lasts."
        )
