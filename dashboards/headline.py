"""The one sentence a report begins with: the gravest thing the period has to say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log, log1p

from ..alerts.alert import ALERTING, RULER, Alert, AlertState, Severity
from ..alerts.figures import Figures
from ..alerts.sentences import Sentences
from ..alerts.text import alert_translator
from ..alerts.titles import FlowTitles, Titles
from ..metrics.deviation import DeviationKind
from ..metrics.specification.flow import FlowSpec
from .figure_types import ChangeFigure, ChangeStatus, Conclusion, FlowFigures, StepFigures
from .release_split import RELEASE, releases_of
from .wording import Wording

__all__ = ["Headline", "flow_titles", "headline", "sentences"]

_MEDIAN_FIRST = 1.5  # the median speaks for most customers: a higher percentile leads only if it moved far more
_SEVERITIES = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)


@dataclass(frozen=True, slots=True)
class Headline:
    """What the report says first.

    Attributes:
        status: ``alert``, ``worse``, ``better``, ``same`` (of every step), ``no_evidence``, ``unclear``, ``too_few``,
            ``level`` (nothing was compared) or ``no_data``.
        text: One sentence.
        objective: One sentence on the objective of good answers; empty without data.
        step: The step it speaks of, if it is one.
        alert: Id of the alert it repeats, if it does.
    """

    status: str
    text: str
    objective: str = ""
    step: str | None = None
    alert: str | None = None


@dataclass(frozen=True, slots=True)
class _Finding:
    """A figure of a step that was compared."""

    step: StepFigures | None
    change: ChangeFigure
    measure: str
    rate: bool
    check: str = ""


def flow_titles(flow: FlowSpec) -> FlowTitles:
    """The titles of a flow in the form that texts of alerts want."""
    checks = {
        (step.name, check.name): {"en": check.title.en, "zh": check.title.zh}
        for step in flow.steps
        for check in step.checks
        if check.title is not None
    }
    return FlowTitles(
        title={"en": flow.title.en, "zh": flow.title.zh},
        steps={step.name: {"en": step.title.en, "zh": step.title.zh} for step in flow.steps},
        checks=checks,
        owner=flow.owner,
    )


def sentences(flow: FlowSpec, wording: Wording) -> Sentences:
    """Sentences about alerts of one flow, always with dates: a report is read later."""
    titles = Titles({flow.name: flow_titles(flow)})
    return Sentences(titles, wording.figures, alert_translator(wording.language), now=0.0)


def headline(flow: FlowSpec, figures: FlowFigures, alerts: Sequence[Alert], wording: Wording) -> Headline:
    """Choose and write the sentence: an alert before a comparison, what is worse before what is better."""
    text = wording.translator.text
    title = flow.title.in_language(wording.language)
    if not figures.observations:
        return Headline("no_data", text("No observation of {flow} in this period", flow=title))
    objective = _objective(flow, figures, wording)
    alert = _gravest(alerts)
    if alert is not None:
        return Headline("alert", _of_alert(flow, figures, alert, wording), objective, alert.scope.step, alert.id)
    if figures.compared is None or not figures.good_rate_change.observations_before:
        return Headline("level", text("{flow}: {rate} of {count} answers were good", flow=title,
                        rate=wording.percent(figures.good_rate.value), count=wording.count(figures.observations)),
                        objective)  # fmt: skip
    return _of_comparison(flow, figures, wording, objective)


@dataclass(frozen=True, slots=True)
class _ReportFigures(Figures):
    """Figures of alerts with times as a sentence about a period says them."""

    until: float = 0.0

    def time(self, at: float, now: float) -> str:
        del now
        return Wording(self.language, self.zone).since(at, self.until)


def _of_alert(flow: FlowSpec, figures: FlowFigures, alert: Alert, wording: Wording) -> str:
    """What, where, since when, by how much, and how many customers were hit; an alert that is over says so."""
    text = wording.translator.text
    own = _ReportFigures(wording.language, wording.zone, figures.period.end)
    say = Sentences(Titles({flow.name: flow_titles(flow)}), own, alert_translator(wording.language), now=0.0)
    if alert.state is AlertState.RESOLVED:
        return say.headline(alert)
    lead = alert.lead
    amount = say.by_how_much(lead)
    if lead.kind is not DeviationKind.SILENT:
        amount = text("{levels} ({change}, {interval})", levels=say.levels(lead), change=own.change(lead.effect),
                      interval=own.interval(lead.effect_low, lead.effect_high))  # fmt: skip
    sentence = text("{sentence}: {figures}", sentence=say.what(lead), figures=amount)
    customers = alert.impact.customers if alert.impact else None
    if customers:
        hit = text("{count} customers had a bad answer", count=wording.count(customers))
        sentence = text("{sentence}; {more}", sentence=sentence, more=hit)
    return sentence


def _of_comparison(flow: FlowSpec, figures: FlowFigures, wording: Wording, objective: str) -> Headline:
    text = wording.translator.text
    title = _title(flow, figures, wording)
    against = wording.compared(figures.compared) if figures.compared else ""
    findings = list(_findings(figures))
    for status in (ChangeStatus.WORSE, ChangeStatus.BETTER):
        found = [finding for finding in findings if finding.change.status is status]
        if any(not finding.change.within_margin for finding in found) or (found and not _other(findings, status)):
            lead = max(found, key=_weight)
            sentence = _sentence(flow, title, lead, against, wording)
            return Headline(status.value, sentence, objective, lead.step.step if lead.step else None)
    told = (ChangeStatus.SAME, ChangeStatus.NO_EVIDENCE, ChangeStatus.UNCLEAR)
    judged = [one.change for one in findings if one.change.status in told]
    if not judged:
        sentence = text("Too few observations to compare {flow} with {against}", flow=title, against=against)
        return Headline("too_few", sentence, objective)
    if any(change.status is ChangeStatus.UNCLEAR for change in judged):
        sentence = text(
            "No clear evidence that {flow} changed against {against}: single figures differ, as chance among so many "
            "comparisons may have it",
            flow=title, against=against,
        )  # fmt: skip
        return Headline("unclear", sentence, objective)
    if all(_is_same(step) for step in figures.steps if step.observations):
        same = flow.same_within
        sentence = text(
            "{flow} is the same as in {against}: at every step durations are within {durations}, failures within "
            "{failures}",
            flow=title, against=against, durations=f"±{wording.plain_percent(same.durations)}",
            failures=f"±{wording.plain_percent(same.failures)}",
        )  # fmt: skip
        return Headline("same", sentence, objective)
    return Headline("no_evidence", _no_evidence(title, against, figures, findings, wording), objective)


def _other(findings: list[_Finding], status: ChangeStatus) -> bool:
    """Whether something changed the other way by more than the margin."""
    changed = {ChangeStatus.WORSE, ChangeStatus.BETTER} - {status}
    return any(one.change.status in changed and not one.change.within_margin for one in findings)


def _title(flow: FlowSpec, figures: FlowFigures, wording: Wording) -> str:
    """The flow's title, with the newer release if releases are compared."""
    title = flow.title.in_language(wording.language)
    if figures.compared is None or not figures.compared.kind.startswith(RELEASE):
        return title
    release = wording.translator.text("release {version}", version=releases_of(figures.compared.kind)[1])
    return f"{title}（{release}）" if wording.language == "zh" else f"{title} ({release})"


def _is_same(step: StepFigures) -> bool:
    return step.latency.conclusion is Conclusion.SAME and step.correctness.conclusion is Conclusion.SAME


def _no_evidence(title: str, against: str, figures: FlowFigures, findings: list[_Finding], wording: Wording) -> str:
    """Says at how many steps the data suffice to say "the same", and what would have been seen at the busiest step."""
    text = wording.translator.text
    medians = [one for one in findings if one.measure == "p50" and one.change.detectable is not None]
    if not medians:
        return text("No evidence that {flow} changed against {against}, and not enough data to say that it is the same",
                    flow=title, against=against)  # fmt: skip
    best = max(medians, key=lambda one: one.change.observations)
    values = {"flow": title, "against": against, "detectable": wording.detectable(best.change)}
    same = [
        sum(found.conclusion is Conclusion.SAME for found in one)
        for one in ([step.latency for step in figures.steps], [step.correctness for step in figures.steps])
    ]
    if any(same):
        return text(
            "No evidence that {flow} changed against {against}: durations are the same at {latency} of {steps} steps, "
            "failures at {correctness}; for the rest there are not enough data to say so",
            latency=same[0], correctness=same[1], steps=len(figures.steps), **values,
        )  # fmt: skip
    return text(
        "No evidence that {flow} changed against {against}, and not enough data to say that it is the same; at its "
        "busiest step a median slower by {detectable} or more would have been seen",
        **values,
    )  # fmt: skip


def _sentence(  # noqa: PLR0911 (one a text)
    flow: FlowSpec, title: str, finding: _Finding, against: str, wording: Wording
) -> str:
    text = wording.translator.text
    change = finding.change
    values = {
        "flow": title,
        "step": flow.step(finding.step.step).title.in_language(wording.language) if finding.step else "",
        "against": against,
        "levels": wording.levels(change, rate=finding.rate),
        "change": wording.change(change, rate=finding.rate),
        "measure": _measure(finding.measure, wording),
    }
    worse = change.status is ChangeStatus.WORSE
    if finding.check:
        check = wording.check_title(flow, finding.step.step if finding.step else "", finding.check)
        if worse:
            return text("{flow} fails the check *{check}* more often at *{step}* than in {against}: {levels}, {change}",
                        check=check, **values)  # fmt: skip
        return text("{flow} fails the check *{check}* less often at *{step}* than in {against}: {levels}, {change}",
                    check=check, **values)  # fmt: skip
    if finding.measure == "failures":
        if worse:
            return text("{flow} gave more wrong or failed answers at *{step}* than in {against}: {levels}, {change}",
                        **values)  # fmt: skip
        return text("{flow} gave fewer wrong or failed answers at *{step}* than in {against}: {levels}, {change}",
                    **values)  # fmt: skip
    if finding.rate:
        if finding.step is None:
            if worse:
                return text("{flow} gave fewer good answers than in {against}: {levels}, {change}", **values)
            return text("{flow} gave more good answers than in {against}: {levels}, {change}", **values)
        if worse:
            return text("{flow} gave fewer good answers at *{step}* than in {against}: {levels}, {change}", **values)
        return text("{flow} gave more good answers at *{step}* than in {against}: {levels}, {change}", **values)
    if worse:
        return text("{flow} got slower at *{step}* than in {against}: {measure} {levels}, {change}", **values)
    return text("{flow} got faster at *{step}* than in {against}: {measure} {levels}, {change}", **values)


def _measure(name: str, wording: Wording) -> str:
    text = wording.translator.text
    return {"p50": text("median"), "p95": text("95th percentile"), "p99": text("99th percentile")}.get(name, name)


def _findings(figures: FlowFigures) -> Iterator[_Finding]:
    yield _Finding(None, figures.good_rate_change, "good_rate", rate=True)
    for step in figures.steps:
        yield _Finding(step, step.p50_change, "p50", rate=False)
        yield _Finding(step, step.p95_change, "p95", rate=False)
        yield _Finding(step, step.p99_change, "p99", rate=False)
        yield _Finding(step, step.good_rate_change, "good_rate", rate=True)
        yield _Finding(step, step.failures_change, "failures", rate=True)
        for check in step.checks:
            yield _Finding(step, check.change, "check", rate=True, check=check.check)


def _weight(finding: _Finding) -> tuple[bool, int, float]:
    """What matters first; wrong answers before slow ones, a step before the whole flow; by size on a common scale."""
    change = finding.change
    failures = finding.measure == "failures"
    rank = 4 if finding.check else 3 if failures else 2 if not finding.rate else 1 if finding.step else 0
    return not change.within_margin, rank, _size(finding)


def _size(finding: _Finding) -> float:
    change = finding.change
    if change.change is None or change.before is None:
        return 0.0
    if not finding.rate:
        size = abs(log1p(max(change.change, -0.999_999)))
        return size * (_MEDIAN_FIRST if finding.measure == "p50" else 1.0)
    failing = finding.check or finding.measure == "failures"
    bad = [rate if failing else 1 - rate for rate in (change.before, change.before + change.change)]
    return abs(log(max(bad[1], 1e-9) / max(bad[0], 1e-9)))


def _gravest(alerts: Sequence[Alert]) -> Alert | None:
    told = [
        alert for alert in alerts if alert.flow != RULER and alert.lead.kind in ALERTING and alert.fired_at is not None
    ]
    return min(
        told,
        key=lambda alert: (not alert.is_open, _SEVERITIES.index(alert.severity), -abs(alert.lead.effect)),
        default=None,
    )


def _objective(flow: FlowSpec, figures: FlowFigures, wording: Wording) -> str:
    text = wording.translator.text
    budget = figures.budget
    values = {
        "rate": wording.percent(figures.good_rate.value),
        "objective": wording.percent(budget.objective),
        "left": wording.share(budget.left),
        "used": wording.share(1 - budget.left if budget.left is not None else None),
    }
    if budget.left is None:
        return text("{rate} of answers were good; every answer should be", **values)
    if budget.left < 0:
        return text(
            "The objective of {objective} good answers is missed with {rate}: {used} of the error budget is used",
            **values,
        )
    missed = [
        flow.step(step.step).title.in_language(wording.language)
        for step in figures.steps
        if step.budget.left is not None and step.budget.left < 0
    ]
    if missed:
        return text(
            "The objective of {objective} good answers is met with {rate} ({left} of the error budget is left), but "
            "not at {steps}",
            steps=wording.listed(missed), **values,
        )  # fmt: skip
    return text(
        "The objective of {objective} good answers is met with {rate}: {left} of the error budget is left", **values
    )
