"""Entries of the improvement ledger as a table: on the ledger's page, and on those of flows and steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from ...metrics.specification.flow import FlowSpec
from ..figure_types import ChangeFigure, ChangeStatus
from ..improvement_words import customers_words, measure_words, standing_words
from ..improvements import Improvement, standing
from ..report.report import Report
from ..wording import NOTHING, Wording
from .request import PageRequest
from .table import Cell, Cells, Column, Row, Table

__all__ = ["STYLES", "improvement_table", "improvements_of", "is_rate", "ledger_order", "verdict_words"]

STYLES = {"planned": "none", "overdue": "missed", "dropped": "none", "done": "none"}
"""Styles of where entries stand; verdicts have their own name as style."""

_ABSENT = (ChangeStatus.TOO_FEW, ChangeStatus.NOT_COMPARED)


def is_rate(entry: Improvement) -> bool:
    """Whether the figure is a rate; else it is a duration."""
    return entry.measure not in ("p50", "p95", "p99")


def verdict_words(entry: Improvement, change: ChangeFigure, w: Wording) -> str:
    """What the comparison says, in words."""
    return w.status(change, rate=is_rate(entry), failures=entry.measure.startswith("check:"))


def improvements_of(report: Report, asked: PageRequest, step: str | None = None) -> Table:
    """The ledger of a report's flow, of one step if given."""
    zone = report.wording.zone
    kept = [one for one in report.improvements if step in (None, one.improvement.step)]
    kept.sort(key=lambda one: ledger_order(one.improvement, standing(one.improvement, None, asked.now, zone)))
    found: list[tuple[Improvement, ChangeFigure | None]] = [(one.improvement, one.change) for one in kept]
    text = report.wording.translator.text
    empty = text("Nothing is planned, and nothing was done.")
    return improvement_table({report.flow.name: report.flow}, found, asked, empty=empty, of_one=True)


def improvement_table(
    flows: Mapping[str, FlowSpec],
    entries: Sequence[tuple[Improvement, ChangeFigure | None]],
    asked: PageRequest,
    *,
    empty: str = "",
    of_one: bool = False,
) -> Table:
    """Entries with what came of them; ``None`` where that was not judged. ``of_one``: all are of the same flow."""
    w = asked.wording
    text = w.translator.text
    rows = tuple(_row(flows[entry.flow], entry, change, asked, of_one=of_one) for entry, change in entries)
    columns = (
        Column(text("What is done")),
        Column(text("Where")),
        Column(text("Figure")),
        Column(text("Owner")),
        Column(text("Due")),
        Column(text("State")),
        Column(text("In effect since"), unseen=True),
        Column(text("Unit"), unseen=True),
        Column(text("Before"), number=True, unseen=True),
        Column(text("After"), number=True, unseen=True),
        Column(text("Before → after"), number=True, picture=True),
        Column(text("Change (95 % interval)"), text("ratio, of rates a difference"), number=True, interval=True),
        Column(text("Name"), unseen=True),
    )
    note = text("Held against the same hours some weeks before it was in effect, for four weeks at most.")
    return Table("improvements", text("Improvements"), columns, rows, empty=empty, note=note)


def ledger_order(entry: Improvement, stands: str) -> tuple[int, str, float]:
    """Overdue, then planned by the day due (those without last), then done and given up, newest first."""
    place = ("overdue", "planned", "done", "dropped").index(stands)
    moment = entry.done_at or entry.dropped_at or entry.planned_at
    return place, (entry.due or "9") if entry.is_open else "", -moment


def _row(flow: FlowSpec, entry: Improvement, change: ChangeFigure | None, asked: PageRequest, *, of_one: bool) -> Row:
    w = asked.wording
    cells, text = Cells(w), w.translator.text
    stands = standing(entry, change, asked.now, w.zone)
    rate = is_rate(entry)
    compared = change if change is not None and change.status not in _ABSENT else None
    where = _step_title(flow, entry, w)
    if not of_one:
        where = text("{flow} › {step}", flow=flow.title.in_language(w.language), step=where)
    of = w.listed(customers_words(entry))
    since = "" if entry.done_at is None else text("since {at}", at=w.time(entry.done_at // 1))
    return Row(
        (
            cells.words(entry.action, asked.link(f"/improvements/{entry.id}")),
            cells.words(where, asked.link(f"/flows/{flow.name}/steps/{entry.step}"), note=of),
            cells.words(measure_words(flow, entry, w)),
            cells.words(entry.owner or NOTHING),
            Cell(_day(entry.due, w), entry.due, style="nowrap"),
            Cell(standing_words(stands, w), stands, style=STYLES.get(stands, stands), note=since),
            cells.time(entry.done_at),
            cells.words((text("ratio") if rate else text("s")) if compared else ""),
            Cell("", compared.before if compared else None),
            Cell("", compared.after if compared else None),
            Cell(w.levels(compared, rate=rate) if compared else NOTHING),
            Cell(
                w.change(compared, rate=rate) if compared else NOTHING,
                compared.change if compared else None,
                low=compared.low if compared else None,
                high=compared.high if compared else None,
            ),
            cells.words(entry.id),
        ),
        stands,
    )  # fmt: skip


def _step_title(flow: FlowSpec, entry: Improvement, w: Wording) -> str:
    known = next((one for one in flow.steps if one.name == entry.step), None)
    return known.title.in_language(w.language) if known else entry.step


def _day(due: str, w: Wording) -> str:
    """An ISO date as people of this language write it."""
    if not due or w.language != "zh":
        return due or NOTHING
    day = date.fromisoformat(due)
    return f"{day.year}年{day.month}月{day.day}日"
