"""The report as rows of text: what the Markdown and the HTML template both lay out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...alerts.alert import Alert, AlertState, Resolution
from ..figure_types import ChangeFigure, ChangeStatus, Period, StepFigures
from ..headline import sentences
from ..improvement_words import customers_words, measure_words
from ..quality_words import quality_numbers, unplaced_line
from ..release_split import RELEASE
from ..wording import NOTHING, Wording
from .report import Report

__all__ = [
    "AlertRow",
    "ChangeRow",
    "alert_rows",
    "change_rows",
    "comparison_notes",
    "improvement_lines",
    "method",
    "mix_lines",
    "not_compared",
    "other_deviations",
    "quality",
    "quality_rows",
    "step_title",
    "too_few_steps",
]


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One compared figure; ``name`` is that of its step, ``status`` the code of ``ChangeStatus``, for colours."""

    name: str
    step: str
    measure: str
    levels: str
    change: str
    detectable: str
    verdict: str
    status: str


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One alert of the period."""

    id: str
    began: str
    what: str
    state: str
    handling: str
    open: bool


def too_few_steps(report: Report) -> list[str]:
    """Titles of the steps of which nothing could be compared."""
    return [
        report.flow.step(step.step).title.in_language(report.wording.language)
        for step in report.figures.steps
        if not any(_comparable(change) for change in _changes(step))
    ]


def _comparable(change: ChangeFigure) -> bool:
    return change.status not in (ChangeStatus.TOO_FEW, ChangeStatus.NOT_COMPARED)


def _changes(step: StepFigures) -> list[ChangeFigure]:
    durations = [step.p50_change, step.p95_change, step.p99_change]
    rates = [step.good_rate_change, step.failures_change]
    return [*durations, *rates, *(check.change for check in step.checks)]


def change_rows(report: Report) -> list[ChangeRow]:
    """Compared figures: the flow's rate first, then those of each step of which anything could be compared."""
    w, f = report.wording, report.figures
    text = w.translator.text
    rows = []
    if _comparable(f.good_rate_change):
        rows.append(_row(w, "", text("All steps"), text("Good answers"), f.good_rate_change, rate=True))
    for step in f.steps:
        if not any(_comparable(change) for change in _changes(step)):
            continue
        title = report.flow.step(step.step).title.in_language(w.language)
        rows += [
            _row(w, step.step, title, text("Median"), step.p50_change),
            _row(w, step.step, title, text("95th percentile"), step.p95_change),
            _row(w, step.step, title, text("99th percentile"), step.p99_change),
            _row(w, step.step, title, text("Good answers"), step.good_rate_change, rate=True),
            _row(w, step.step, title, text("Wrong or failed"), step.failures_change, rate=True, failures=True),
        ]
        for check in step.checks:
            name = text("Failures of “{check}”", check=w.check_title(report.flow, step.step, check.check))
            rows.append(_row(w, step.step, title, name, check.change, rate=True, failures=True))
    return rows


def _row(
    w: Wording,
    name: str,
    step: str,
    measure: str,
    change: ChangeFigure,
    *,
    rate: bool = False,
    failures: bool = False,
) -> ChangeRow:
    return ChangeRow(
        name,
        step,
        measure,
        w.levels(change, rate=rate),
        w.change(change, rate=rate),
        w.detectable(change, rate=rate),
        w.brief(change, rate=rate, failures=failures),
        change.status.value,
    )


def mix_lines(report: Report, step: StepFigures) -> list[str]:
    """How much of a step's change is other customers, and which groups changed differently from the rest."""
    w, split = report.wording, step.split
    text = w.translator.text
    changed = (ChangeStatus.WORSE, ChangeStatus.BETTER, ChangeStatus.UNCLEAR)
    if split is None or step.p50_change.status not in changed:
        return []
    titles = {one.name: one.title.in_language(w.language) for one in report.flow.dimensions if one.title is not None}
    lines = [
        text("On average {total}: {within} for customers alike, {mix} because the mix of customers changed",
             total=w.relative(split.total), within=w.relative(split.within), mix=w.relative(split.mix))
    ]  # fmt: skip
    lines += [
        text("{group}: {effect} ({low} to {high}), {share} of the change, {count} answers",
             group=w.listed([f"{titles.get(name, name)}={value}" for name, value in part.dimensions.items()]),
             effect=w.relative(part.effect), low=w.relative(part.effect_low), high=w.relative(part.effect_high),
             share=w.share(part.share), count=w.count(part.observations))
        for part in split.parts
    ]  # fmt: skip
    if not split.parts and not split.reason:
        lines.append(text("All groups changed alike, as far as the data can tell"))
    return lines


def improvement_lines(report: Report) -> list[str]:
    """The improvement ledger, one sentence an entry."""
    w = report.wording
    text = w.translator.text
    lines = []
    for outcome in report.improvements:
        entry, change = outcome.improvement, outcome.change
        rate = entry.measure not in ("p50", "p95", "p99")
        values = {
            "step": w.listed([report.flow.step(entry.step).title.in_language(w.language), *customers_words(entry)]),
            "measure": measure_words(report.flow, entry, w), "action": entry.action, "owner": entry.owner or NOTHING,
        }  # fmt: skip
        if entry.dropped_at is not None:
            lines.append(text("{step}, {measure}: “{action}” ({owner}) was given up", **values))
        elif entry.done_at is None:
            lines.append(text("{step}, {measure}: “{action}” ({owner}) is planned, due {due}",
                              due=entry.due or NOTHING, **values))  # fmt: skip
        else:
            failures = entry.measure.startswith("check:")
            lines.append(text(
                "{step}, {measure}: “{action}” ({owner}), done {at}: {verdict}; {levels}, {change}",
                at=w.time(entry.done_at), verdict=w.status(change, rate=rate, failures=failures),
                levels=w.levels(change, rate=rate), change=w.change(change, rate=rate), **values,
            ))  # fmt: skip
    return lines


def not_compared(report: Report) -> str:
    """Why nothing is compared though it was asked for."""
    text = report.wording.translator.text
    if not report.figures.observations:
        return text("There is no observation in this period, so nothing can be compared.")
    if not report.figures.good_rate_change.observations_before:
        return text("There is no observation of the flow in the compared period: it may be newer than that.")
    return text("There are too few observations in one of the periods to compare anything.")


def comparison_notes(report: Report) -> list[str]:
    """What makes the comparison weaker than it looks."""
    text = report.wording.translator.text
    known = {
        "other_weekdays": text("The compared period has other days of the week: customers may behave differently"),
        "other_hours": text("The compared period has other hours of the day: customers may behave differently"),
        "clock_change": text("The clocks were changed between the periods: they differ in length"),
    }
    figures, w = report.figures, report.wording
    lines = [known[note] for note in (figures.compared.notes if figures.compared else ()) if note in known]
    if figures.simulated_before:
        lines.append(
            text("{count} of {total} observations of the compared period are demonstration data, not customers'",
                 count=w.count(figures.simulated_before), total=w.count(figures.good_rate_change.observations_before))
        )  # fmt: skip
    return lines


def alert_rows(report: Report) -> list[AlertRow]:
    """Alerts of the period, oldest first."""
    say = sentences(report.flow, report.wording)
    return [
        AlertRow(
            alert.id,
            report.wording.time(alert.lead.started_at),
            say.short(alert)
            if alert.is_open
            else _with_amount(say.what(alert.lead), say.by_how_much(alert.lead), report.wording),
            _state(alert, report.wording),
            "; ".join(_handling(alert, report.wording)),
            alert.is_open,
        )
        for alert in report.alerts
    ]


def _with_amount(sentence: str, figures: str, w: Wording) -> str:
    return w.translator.text("{sentence}: {figures}", sentence=sentence, figures=figures) if figures else sentence


def _state(alert: Alert, w: Wording) -> str:
    text = w.translator.text
    if alert.state is AlertState.RESOLVED:
        reasons = {
            Resolution.RECOVERED: text("over since {at}", at=w.time(alert.resolved_at)),
            Resolution.ACCEPTED: text("accepted as normal on {at}", at=w.time(alert.resolved_at)),
        }
        return reasons.get(
            alert.resolution or Resolution.RECOVERED, text("over since {at}", at=w.time(alert.resolved_at))
        )
    return text("open") if alert.state is AlertState.FIRING else text("pending")


def _handling(alert: Alert, w: Wording) -> Iterator[str]:
    text = w.translator.text
    if alert.acknowledged_by:
        yield text("acknowledged by {who} on {at}", who=alert.acknowledged_by, at=w.time(alert.acknowledged_at))
    elif alert.is_open:
        yield text("nobody has acknowledged it")
    if alert.assignee:
        yield text("assigned to {who}", who=alert.assignee)


def other_deviations(report: Report) -> list[str]:
    """Deviations of the period that are not the lead or member of an alert shown above."""
    say = sentences(report.flow, report.wording)
    shown = {
        (member.deviation.kind, member.deviation.scope, member.deviation.started_at)
        for alert in report.alerts
        for member in alert.members
    }
    return [
        _with_amount(say.what(deviation), say.by_how_much(deviation), report.wording)
        for deviation in report.deviations
        if (deviation.kind, deviation.scope, deviation.started_at) not in shown
    ]


def quality(report: Report) -> list[str]:
    """How far the data can be trusted, in sentences."""
    w, q = report.wording, report.figures.quality
    text = w.translator.text
    lines = []
    if q.windows:
        share = w.share(q.windows_with_data / q.windows)
        lines.append(
            text("There are observations in {share} of the period's windows ({with_data} of {windows})",
                 share=share, with_data=w.count(q.windows_with_data), windows=w.count(q.windows))
        )  # fmt: skip
    if q.gaps and q.observations:
        start, end = q.gaps[0]
        lines.append(
            text("Longest span without any: {length}, {period}",
                 length=w.length(end - start), period=w.period(Period(start, end)))
        )  # fmt: skip
    if q.simulated:
        lines.append(text("{count} observations are simulated", count=w.count(q.simulated)))
    if q.probe_observations:
        lines.append(text("{count} observations of probes are left out", count=w.count(q.probe_observations)))
    if q.unusable_durations:
        lines.append(
            text("{count} answers had no usable duration: they count in the rates and not in the percentiles",
                 count=w.count(q.unusable_durations))
        )  # fmt: skip
    if line := unplaced_line(q.unplaced, w):
        lines.append(line)
    late = report.generated_at - report.figures.period.end
    if late < 0:
        lines.append(text("The period is not over yet: figures are up to {at}", at=w.time(report.generated_at)))
    return lines


def quality_rows(report: Report) -> list[tuple[str, tuple[int, ...]]]:
    """What came late, twice or not at all, and checks that say nothing, by step: its title and the amounts."""
    return [(step_title(report, one.step), quality_numbers(one)) for one in report.figures.quality.steps]


def step_title(report: Report, step: str) -> str:
    """The title of a step; of one that is not declared its name, and words where none is known."""
    if not step:
        return report.wording.translator.text("step not known")
    known = any(one.name == step for one in report.flow.steps)
    return report.flow.step(step).title.in_language(report.wording.language) if known else step


def method(report: Report) -> list[str]:
    """What the figures are and are not."""
    text = report.wording.translator.text
    lines = [
        text("A good answer is fast, right and complete; the rate counts all answers, errors and timeouts among them."),
        text("Percentiles describe answers that arrived, with at most 1 % error of the sketch; their intervals are "
             "those of order statistics, those of rates are Wilson's (95 %)."),
        text("These intervals speak of chance among customers. Comparisons also count the noise that the customers of "
             "a time share, by resampling blocks of time."),
    ]  # fmt: skip
    if report.usual:
        lines.append(text("“Usual” is what the baseline expects of the median in single windows of these hours, in 95 "
                          "of 100 of them."))  # fmt: skip
    if report.figures.compared:
        lines.append(text("“Not enough data to say” is no proof that nothing changed: each row says which change would "
                          "have been seen in four of five cases."))  # fmt: skip
        if report.figures.compared.kind.startswith(RELEASE):
            lines.append(
                text(
                    "Releases are compared at the newer one's mix of customers and hours, by all other dimensions; "
                    "what no dimension tells is not evened out. The figures are those of the newer release."
                )
            )
        elif report.figures.period.seconds < 7 * 86_400:
            lines.append(text("Days differ even when nothing happens; comparisons of less than a week allow for 1 % of "
                              "the durations and 5 % of the failures."))  # fmt: skip
    return lines
