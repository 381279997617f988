"""Tables of the pages: built once, shown as HTML and given as CSV, so that both say the same.

Every cell has its text for people and its value for machines; the HTML carries the value beside the text
(``<data value="…">``) and the CSV has exactly that: durations in seconds, ratios 0–1, times with their zone.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite

from ..figure_types import Budget, Estimate
from ..wording import Wording

__all__ = ["Cell", "Cells", "Chip", "Column", "Row", "Table", "table_csv"]

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        heading: What stands above it.
        unit: Unit of its values, for the CSV's header; empty for words.
        number: Whether it is aligned as a number.
        interval: Whether cells have an interval: two more columns in the CSV.
        wide: Whether it is left out on narrow screens.
        picture: Whether it only shows what other columns say: not in the CSV.
        unseen: Whether only the CSV has it, because another column shows it.
    """

    heading: str
    unit: str = ""
    number: bool = False
    interval: bool = False
    wide: bool = False
    picture: bool = False
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Chip:
    """A small labelled sign inside a cell; ``state`` is a class for its colour and its sign."""

    text: str
    state: str
    href: str = ""
    said: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        text: For people.
        value: For machines, in the column's unit; ``None`` where there is none.
        note: Small print below, such as an interval.
        href: Where the text leads.
        style: A class, such as a status.
        low: Lower end of the interval.
        high: Upper end.
        bar: Share 0–1 of a bar to draw; ``None`` for no bar.
        line: Path of a small line to draw.
        chips: Signs to draw instead of the text.
        emphasis: Whether ``*words*`` of the text are emphasised.
    """

    text: str
    value: Value = None
    note: str = ""
    href: str = ""
    style: str = ""
    low: float | None = None
    high: float | None = None
    bar: float | None = None
    line: str = ""
    chips: tuple[Chip, ...] = ()
    emphasis: bool = False

    @property
    def machine(self) -> str:
        """The value as HTML and CSV carry it."""
        return _written(self.value)


@dataclass(frozen=True, slots=True)
class Row:
    """Cells in the order of the columns; the first names the row."""

    cells: tuple[Cell, ...]
    style: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a name for links, a title for people and what to say when it is empty."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    foot: Row | None = None
    empty: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Cells:
    """Makes cells in one wording."""

    w: Wording

    def words(self, text: str, href: str = "", *, style: str = "", note: str = "", emphasis: bool = False) -> Cell:
        """A cell of words."""
        value = text.replace("*", "") if emphasis else text
        return Cell(text, value, href=href, style=style, note=note, emphasis=emphasis)

    def count(self, number: int | None) -> Cell:
        """A number of things; zero is soft."""
        return Cell(self.w.count(number), number, style="" if number else "zero")

    def seconds(self, value: float | None) -> Cell:
        """A duration."""
        known = value if value is not None and isfinite(value) else None
        return Cell(self.w.seconds(known), known)

    def duration(self, estimate: Estimate) -> Cell:
        """A duration with its interval."""
        note = self.w.duration_interval(estimate)
        return Cell(self.w.seconds(estimate.value), estimate.value, note=note, low=estimate.low, high=estimate.high)

    def rate(self, estimate: Estimate) -> Cell:
        """A ratio with its interval."""
        note = self.w.rate_interval(estimate)
        return Cell(self.w.percent(estimate.value), estimate.value, note=note, low=estimate.low, high=estimate.high)

    def ratio(self, value: float | None) -> Cell:
        """A ratio in per cent."""
        return Cell(self.w.percent(value), value)

    def share(self, value: float | None, *, bar: bool = False) -> Cell:
        """A part of a whole in whole per cent, with a bar if wanted."""
        return Cell(self.w.share(value), value, bar=value if bar else None)

    def budget(self, budget: Budget) -> Cell:
        """What is left of an error budget, as a bar and in per cent, with the objective below."""
        note = self.w.translator.text("objective {rate}", rate=self.w.percent(budget.objective))
        return Cell(self.w.share(budget.left), budget.left, note=note, bar=budget.left)

    def time(self, at: float | None) -> Cell:
        """A moment, in the bank's zone."""
        value = None if at is None else datetime.fromtimestamp(at // 1, self.w.zone).isoformat()
        return Cell(self.w.time(None if at is None else at // 1), value, style="nowrap")

    def chips(self, chips: Sequence[Chip]) -> Cell:
        """Signs; in the CSV their words."""
        said = "; ".join(chip.said or chip.text for chip in chips)
        return Cell(said, said, chips=tuple(chips))


def table_csv(table: Table, w: Wording) -> str:
    """The table as CSV: comma, CRLF and quotes as in RFC 4180, headings with units, rows as on the page.

    Begins with a byte order mark, without which Excel takes Chinese for something else. Words that a spreadsheet would
    take for a formula get an apostrophe in front.
    """
    kept = [number for number, column in enumerate(table.columns) if not column.picture]
    output = io.StringIO()
    writer = csv.writer(output)
    writer.writerow([heading for number in kept for heading in _headings(table.columns[number], w)])
    for row in (*table.rows, *([table.foot] if table.foot else [])):
        writer.writerow([field for number in kept for field in _fields(table.columns[number], row.cells[number])])
    return "\ufeff" + output.getvalue()


def _headings(column: Column, w: Wording) -> Iterator[str]:
    text = w.translator.text
    with_unit = text("{figure} ({unit})", figure=column.heading, unit=column.unit) if column.unit else column.heading
    yield with_unit
    if column.interval:
        yield text("{figure}, lower end", figure=with_unit)
        yield text("{figure}, upper end", figure=with_unit)


def _fields(column: Column, cell: Cell) -> Iterator[str]:
    yield _safe(cell.value)
    if column.interval:
        yield _written(cell.low)
        yield _written(cell.high)


def _safe(value: Value) -> str:
    """No text of a table may become a formula (https://owasp.org/www-community/attacks/CSV_Injection)."""
    text = _written(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA_STARTS) else text


def _written(value: Value) -> str:
    """All digits that a value has."""
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)
