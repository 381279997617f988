"""The funnel, the cost and what would be detected, as rows of text."""

from __future__ import annotations

from dataclasses import dataclass

from ..figure_types import Amount, ChangeStatus, Funnel, FunnelStep, Passing
from ..wording import NOTHING, Wording
from .report import Report

__all__ = ["FunnelRow", "cost_lines", "detectable_lines", "funnel_notes", "funnel_rows"]

_WENT_SHOWN = 4
_FEW = 0.005  # would be shown as 0 %


@dataclass(frozen=True, slots=True)
class FunnelRow:
    """One step of the funnel; ``width`` is the share of instances that reached it, for a bar.

    ``status`` is the code of the change of those who gave up, for colours.
    """

    step: str
    reached: str
    share: str
    width: float
    given_up: str
    given_up_share: str
    change: str
    verdict: str
    status: str
    went: str


def funnel_rows(report: Report) -> list[FunnelRow]:
    """The steps in their order; none without flow instances."""
    funnel = report.figures.funnel
    return [] if funnel is None else [_row(report, funnel, step) for step in funnel.steps]


def _row(report: Report, funnel: Funnel, step: FunnelStep) -> FunnelRow:
    w, change = report.wording, step.given_up_change
    compared = change.status not in (ChangeStatus.NOT_COMPARED, ChangeStatus.TOO_FEW)
    return FunnelRow(
        step=report.flow.step(step.step).title.in_language(w.language),
        reached=w.count(step.reached),
        share=w.share(step.reached_share.value),
        width=step.reached / funnel.instances if funnel.instances else 0.0,
        given_up=w.count(step.given_up),
        given_up_share=w.rate(step.given_up_share) if step.reached else NOTHING,
        change=w.change(change, rate=True) if compared else "",
        verdict=_verdict(w, step) if compared else "",
        status=change.status.value,
        went=w.listed([_went(report, each) for each in step.went[:_WENT_SHOWN]]),
    )


def _verdict(w: Wording, step: FunnelStep) -> str:
    text = w.translator.text
    status = step.given_up_change.status
    if status is ChangeStatus.WORSE:
        return text("more give up")
    if status is ChangeStatus.BETTER:
        return text("fewer give up")
    return w.brief(step.given_up_change, rate=True)


def _went(report: Report, passing: Passing) -> str:
    w = report.wording
    text = w.translator.text
    few = passing.share.value is not None and passing.passings and passing.share.value < _FEW
    share = w.percent(passing.share.value) if few else w.share(passing.share.value)
    if passing.to_step is None:
        return text("ended here {share}", share=share)
    known = passing.to_step in report.flow.steps_by_name
    step = report.flow.step(passing.to_step).title.in_language(w.language) if known else passing.to_step
    return {
        "again": text("again {share}", share=share),
        "back": text("back to {step} {share}", step=step, share=share),
    }.get(passing.direction, text("{step} {share}", step=step, share=share))


def funnel_notes(report: Report) -> list[str]:
    """How many flow instances began and were completed; and what is not in the funnel."""
    funnel, w = report.figures.funnel, report.wording
    text = w.translator.text
    if funnel is None:
        return []
    if not report.figures.observations:
        return [text("There is no observation in this period.")]
    lines = []
    if funnel.instances:
        lines.append(
            text("{completed} of {all} flow instances were completed: {rate}",
                 completed=w.count(funnel.completed), all=w.count(funnel.instances), rate=w.rate(funnel.completion))
        )  # fmt: skip
        change = funnel.completion_change
        if change.status not in (ChangeStatus.NOT_COMPARED, ChangeStatus.TOO_FEW):
            against = w.compared(report.figures.compared) if report.figures.compared else ""
            lines.append(
                text("Completion against {against}: {levels}, {change}: {verdict}", against=against,
                     levels=w.levels(change, rate=True), change=w.change(change, rate=True),
                     verdict=w.status(change, rate=True))
            )  # fmt: skip
    if funnel.under_way:
        lines.append(text("{count} flow instances are still under way and left out", count=w.count(funnel.under_way)))
    reasons = {
        "none": text("The observations carry no flow instance, so it cannot be told where customers went."),
        "under_way": text("No flow instance has ended yet: one has when half an hour passes without a step."),
        "release": text("Where customers went is not told by release; compare periods for that."),
        "compared_not_kept": text(
            "The compared period is older than the single observations that are kept; ways are not compared."
        ),
        "not_kept": text("Part of the period is older than the single observations that are kept; it is not in here."),
    }
    if funnel.reason in reasons:
        lines.append(reasons[funnel.reason])
    return lines


def cost_lines(report: Report) -> list[str]:
    """What it cost: answers, customers, flow instances, completions, each against the compared period."""
    cost, funnel, w = report.figures.cost, report.figures.funnel, report.wording
    text = w.translator.text
    if cost is None or not report.figures.observations:
        return []
    counts = [
        (text("{hit} of {all} answers were not good", hit=w.count(cost.bad_answers),
              all=w.count(report.figures.observations)), cost.bad_answers_more)
    ]  # fmt: skip
    if cost.customers is not None:
        said = text(
            "{hit} of {all} customers had an answer that was not good",
            hit=w.count(cost.customers_hit), all=w.count(cost.customers),
        )  # fmt: skip
        counts.append((said, cost.customers_hit_more))
    if cost.instances:
        said = text(
            "{hit} of {all} flow instances had an answer that was not good",
            hit=w.count(cost.instances_hit), all=w.count(cost.instances),
        )  # fmt: skip
        counts.append((said, cost.instances_hit_more))
    lines = [f"{said}{_more(report, more)}" for said, more in counts]
    if funnel is not None and cost.completions_lost is not None:
        lines.append(_lost(report, cost.completions_lost))
    return lines


def _against(report: Report) -> str:
    return report.wording.compared(report.figures.compared) if report.figures.compared else ""


def _more(report: Report, more: Amount | None) -> str:
    """The amount beyond the compared period's share; says so when it may as well be none."""
    w = report.wording
    text = w.translator.text
    if more is None:
        return ""
    values = {"against": _against(report), "range": w.amount_range(more.low, more.high)}
    if more.low <= 0 <= more.high:
        said = text("no evidence that it is more or fewer than at the share of {against} ({range})", **values)
    elif more.value > 0:
        said = text("{count} more than at the share of {against} ({range})", count=w.count(more.value), **values)
    else:
        said = text("{count} fewer than at the share of {against} ({range})", count=w.count(-more.value), **values)
    return text("; {more}", more=said)


def _lost(report: Report, lost: Amount) -> str:
    w = report.wording
    text = w.translator.text
    values = {"against": _against(report), "range": w.amount_range(lost.low, lost.high)}
    if lost.low <= 0 <= lost.high:
        return text("No evidence that completions were lost or won against the share of {against} (lost: {range})",
                    **values)  # fmt: skip
    if lost.value > 0:
        return text("{count} completions were lost against the share of {against} ({range})",
                    count=w.count(lost.value), **values)  # fmt: skip
    won = {"against": values["against"], "range": w.amount_range(-lost.high, -lost.low)}
    return text("{count} more completions than at the share of {against} ({range})", count=w.count(-lost.value), **won)


def detectable_lines(report: Report) -> list[str]:
    """What detection would find of each step within an hour and a day; says why where it would find nothing."""
    w = report.wording
    text = w.translator.text
    lines = []
    for step in report.flow.steps:
        found = report.detectable.get(step.name)
        if found is None:
            continue
        title = step.title.in_language(w.language)
        hour, day = (None if ratio is None else w.relative(ratio).lstrip("+") for ratio in (found.hour, found.day))
        if hour is not None and day is not None and hour != day:
            lines.append(text("{step}: slower by {hour} is found within an hour, by {day} within a day",
                              step=title, hour=hour, day=day))  # fmt: skip
        elif hour is not None:
            lines.append(text("{step}: slower by {hour} is found within an hour", step=title, hour=hour))
        elif day is not None:
            lines.append(text("{step}: slower by {day} is found within a day", step=title, day=day))
        else:
            lines.append(text("{step}: not judged yet", step=title))
    return lines
