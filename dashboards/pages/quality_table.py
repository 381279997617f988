"""Tables of what came late, twice or not at all, and of checks, whose results may say nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...metrics.quality import Effect, Reason
from ..figure_types import StepFigures
from ..quality_words import effect_words, quality_headings, quality_numbers, reason_words
from ..report.report import Report
from ..report.view import step_title
from ..wording import Wording
from .table import Cell, Cells, Column, Row, Table

__all__ = ["check_table", "quality_columns", "quality_table", "reason_rows", "reasons_table", "urgency"]

_FAULTS = (Effect.LOST, Effect.SENT_BACK)
_ASKS_FOR_A_LOOK = frozenset(
    reason
    for reason in Reason
    if reason.effect is Effect.LOST and (reason.counts_observations or reason in (Reason.CORRUPT, Reason.MISSING))
)


def quality_columns(w: Wording) -> tuple[Column, ...]:
    """Columns for amounts in the order of :func:`quality_numbers`."""
    return tuple(Column(heading, w.translator.text("count"), number=True) for heading in quality_headings(w))


def quality_table(report: Report) -> Table:
    """By step of a flow: what belongs beside its figures."""
    w = report.wording
    cells, text = Cells(w), w.translator.text
    rows = tuple(
        Row((cells.words(step_title(report, one.step)), *(cells.count(amount) for amount in quality_numbers(one))))
        for one in report.figures.quality.steps
    )
    note = text(
        "Late, corrected and merged observations are in the figures, duplicates once, those sent back if they were "
        "sent again; lost ones are not. Counted by whole hours."
    )
    title = text("Late, doubled and lost")
    return Table("left_out", title, (Column(text("Step")), *quality_columns(w)), rows, note=note)


def reasons_table(report: Report, step: str) -> Table:
    """Of one step, by reason."""
    w = report.wording
    text = w.translator.text
    mine = [one for one in report.figures.quality.steps if one.step == step]
    amounts = {Reason(reason): amount for one in mine for reason, amount in one.reasons.items()}
    columns = (
        Column(text("Reason")), Column(text("What became of it")), Column(text("Count"), text("count"), number=True),
    )  # fmt: skip
    empty = text("Nothing came late, twice or not at all, as far as is known.")
    title, note = text("Late, doubled and lost"), text("Counted by whole hours.")
    return Table("left_out", title, columns, tuple(reason_rows(amounts, (), w)), empty=empty, note=note)


def reason_rows(amounts: Mapping[Reason, int], first: Sequence[Cell], w: Wording) -> list[Row]:
    """A row a reason, after the cells given; what is missing in the figures stands out."""
    cells, words, effects = Cells(w), reason_words(w), effect_words(w)

    def style(reason: Reason) -> str:
        if reason in _ASKS_FOR_A_LOOK:
            return "alert"
        return "missed" if reason.effect in _FAULTS else ""

    return [
        Row(
            (
                *first,
                Cell(words[reason], reason.value),
                cells.words(effects[reason.effect], style=style(reason)),
                cells.count(amount),
            )
        )
        for reason, amount in sorted(amounts.items(), key=lambda item: urgency(*item))
        if amount
    ]


def urgency(reason: Reason, amount: int) -> tuple[bool, int]:
    """What is missing comes first, then what is more."""
    return reason.effect not in _FAULTS, -amount


def check_table(report: Report, steps: Sequence[StepFigures], *, with_step: bool) -> Table:
    """The checks of some steps: how many answers each judged, and of how many it says nothing."""
    w = report.wording
    cells, text = Cells(w), w.translator.text
    rows = tuple(
        Row(
            (
                *((cells.words(step_title(report, step.step)),) if with_step else ()),
                cells.words(w.check_title(report.flow, step.step, check.check)),
                cells.count(check.passed + check.failed),
                cells.count(check.failed),
                cells.rate(check.failure_rate),
                cells.count(check.unknown),
                cells.count(check.skipped),
            )
        )
        for step in steps
        for check in step.checks
    )
    count = text("count")
    columns = (
        *((Column(text("Step")),) if with_step else ()),
        Column(text("Check")),
        Column(text("Judged"), count, number=True),
        Column(text("Failed"), count, number=True),
        Column(text("Failure rate"), text("ratio"), number=True, interval=True),
        Column(text("Unknown"), count, number=True),
        Column(text("Skipped"), count, number=True),
    )
    note = text("Skipped: there was no answer, or none was shown to the check.")
    return Table("checks", text("Checks of the answers"), columns, rows, empty=text("No check is declared."), note=note)
