"""The way through a flow as a table: who reached which step, who gave up there, where the others went."""

from __future__ import annotations

from dataclasses import replace

from ..figure_types import FunnelStep, Passing, Period
from ..report.report import Report
from .request import PageRequest
from .table import Cells, Column, Row, Table

__all__ = ["funnel_table"]

_WENT_SHOWN = 3


def funnel_table(report: Report, asked: PageRequest, here: str | None = None) -> Table:
    """One row a step, in the flow's order; the row of the step ``here`` is marked."""
    w, funnel = report.wording, report.figures.funnel
    text = w.translator.text
    reasons = {
        "none": text("Observations carry no flow instance, so that nobody's way can be followed."),
        "under_way": text("No flow instance has ended yet: one has when half an hour passes without a step."),
        "release": text("Not told when releases are compared."),
        "not_kept": text("Part of the period is older than what is kept of single observations."),
        "not_counted": text("Part of the period has not been counted yet; “The way through the flow” below counts it."),
    }
    reason = reasons.get(funnel.reason, "") if funnel else ""
    known = funnel is not None and not reason and funnel.instances > 0
    rows = tuple(_row(report, asked, one, one.step == here) for one in funnel.steps) if funnel and known else ()
    count, ratio = text("count"), text("ratio")
    columns = (
        Column(text("Step")),
        Column(text("Flow instances"), count, number=True),
        Column(text("Of all"), ratio, number=True, interval=True),
        Column(text("Gave up here"), count, number=True),
        Column(text("Of those here"), ratio, number=True, interval=True),
        Column(text("Had a bad answer"), count, number=True),
        Column(text("Went on to")),
    )
    note = ""
    if funnel and known:
        note = text(
            "{count} flow instances began in the period; {rate} were completed.",
            count=w.count(funnel.instances), rate=w.rate(funnel.completion),
        )  # fmt: skip
        if funnel.start is not None and funnel.end is not None:
            counted = Period(funnel.start, funnel.end // 1)
            if counted != report.figures.period:
                note += " " + text("They began {period}.", period=w.period(counted))
        if funnel.under_way:
            note += " " + text("{count} more are under way.", count=w.count(funnel.under_way))
    empty = reason or text("No flow instance in this period.")
    return Table("funnel", text("The way through the flow"), columns, rows, empty=empty, note=note)


def _row(report: Report, asked: PageRequest, one: FunnelStep, here: bool) -> Row:
    w = report.wording
    cells = Cells(w)
    title = report.flow.step(one.step).title.in_language(w.language)
    href = "" if here else asked.link(f"/flows/{report.flow.name}/steps/{one.step}")
    reached = replace(cells.rate(one.reached_share), bar=one.reached_share.value)
    return Row(
        (
            cells.words(title, href),
            cells.count(one.reached),
            reached,
            cells.count(one.given_up),
            cells.rate(one.given_up_share),
            cells.count(one.hit),
            cells.words(w.translator.text("; ").join(_went(report, passing) for passing in one.went[:_WENT_SHOWN])),
        ),
        "here" if here else "",
    )


def _went(report: Report, passing: Passing) -> str:
    w = report.wording
    text = w.translator.text
    where = text("the end") if passing.to_step is None else passing.to_step
    if passing.to_step is not None and any(step.name == passing.to_step for step in report.flow.steps):
        where = report.flow.step(passing.to_step).title.in_language(w.language)
    return text("{where} {share}", where=where, share=w.share(passing.share.value))
