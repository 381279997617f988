"""The report as a workbook: sheets as people read them, with units in the headers, and one with every figure.

Numbers are numbers at full precision, shown with as many digits as they bear; shares are shown in per cent.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Any

from ..figure_types import ChangeFigure, Estimate
from ..quality_words import quality_headings
from ..wording import Wording
from .conclusion_view import conclusion_rows
from .report import Report
from .table import figure_headers, figure_rows
from .view import alert_rows, change_rows, quality, quality_rows

__all__ = ["report_xlsx"]

_COUNT, _SECONDS, _SHARE, _PLAIN = "#,##0", "0.000", "0.000%", ""
_FIGURE = "0.######"


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A sheet: its name, headers, the number format of each column, widths and rows."""

    name: str
    headers: Sequence[str]
    formats: Sequence[str]
    widths: Sequence[int]
    rows: Sequence[Sequence[object]]


def report_xlsx(report: Report) -> bytes:
    """A workbook with the sheets about, steps, changes, verdicts, checks, funnel, alerts and figures.

    Raises:
        ValueError: the package that writes workbooks is not installed.
    """
    try:
        import xlsxwriter
    except ImportError as error:
        raise ValueError("format 'xlsx' needs XlsxWriter; install cxgauge[xlsx]") from error
    data = io.BytesIO()
    with xlsxwriter.Workbook(data, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}) as book:
        formats = {number: book.add_format({"num_format": number} if number else {}) for number in
                   (_COUNT, _SECONDS, _SHARE, _PLAIN, _FIGURE)}  # fmt: skip
        bold = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
        for sheet in _sheets(report):
            _write(book.add_worksheet(sheet.name), sheet, bold, formats)
        title = report.flow.title.in_language(report.wording.language)
        book.set_properties({"title": title, "created": datetime.fromtimestamp(report.generated_at, UTC)})
    return data.getvalue()


def _write(page: Any, sheet: _Sheet, bold: Any, formats: dict[str, Any]) -> None:
    for column, width in enumerate(sheet.widths):
        page.set_column(column, column, width)
    page.set_landscape()
    page.fit_to_pages(1, 0)
    if sheet.headers:
        page.write_row(0, 0, sheet.headers, bold)
        page.freeze_panes(1, 0)
        page.repeat_rows(0)
        page.autofilter(0, 0, max(1, len(sheet.rows)), len(sheet.headers) - 1)
    for number, row in enumerate(sheet.rows, 1 if sheet.headers else 0):
        for column, cell in enumerate(row):
            if isinstance(cell, str):
                page.write_string(number, column, cell)
            elif cell is not None:
                page.write_number(number, column, cell, formats[sheet.formats[column]])


def _sheets(report: Report) -> Iterator[_Sheet]:
    yield _about(report)
    yield _steps(report)
    if report.figures.compared is not None:
        yield _conclusions(report)
        yield _changes(report)
    yield _verdicts(report)
    yield _checks(report)
    if report.figures.funnel is not None and report.figures.funnel.instances:
        yield _funnel(report)
    yield _alerts(report)
    yield _quality(report)
    text, headers = _text(report), figure_headers()
    rows = [astuple(row) for row in figure_rows(report)]
    formats = [_PLAIN] * 4 + [_FIGURE] * (len(headers) - 4)
    yield _Sheet(text("Figures"), headers, formats, (18, 24, 34, 10, *[14] * (len(headers) - 4)), rows)


def _text(report: Report) -> Any:
    return report.wording.translator.text


def _title(report: Report, step: str) -> str:
    return report.flow.step(step).title.in_language(report.wording.language)


def _unit(w: Wording, name: str, unit: str) -> str:
    """A header with its unit: ``Median (s)``."""
    return f"{name}（{unit}）" if w.language == "zh" else f"{name} ({unit})"


def _interval(w: Wording, name: str, unit: str) -> tuple[str, str, str]:
    """Headers of a figure with its interval."""
    text = w.translator.text
    low, high = text("{figure}, lower 95 %", figure=name), text("{figure}, upper 95 %", figure=name)
    return _unit(w, name, unit), _unit(w, low, unit), _unit(w, high, unit)


def _ends(estimate: Estimate) -> tuple[float | None, float | None, float | None]:
    return estimate.value, estimate.low, estimate.high


def _about(report: Report) -> _Sheet:
    w, f, text = report.wording, report.figures, _text(report)
    rows: list[tuple[object, ...]] = [
        (text("{flow}: experience report", flow=report.flow.title.in_language(w.language)),),
        (report.headline.text.replace("*", ""),),
        (report.headline.objective,),
        (text("Period"), w.period(f.period), w.zone_name(f.period.start)),
        (text("Compared with"), w.period(f.compared.period) if f.compared else "–"),
        (text("Owner"), report.flow.owner),
        *((line,) for line in quality(report)),
        (text("Made by cxgauge on {at}", at=w.time(report.generated_at // 1)),),
    ]
    return _Sheet(text("About"), (), [_PLAIN] * 3, (40, 44, 20), rows)


def _steps(report: Report) -> _Sheet:
    w, text = report.wording, _text(report)
    seconds, share = text("s"), "%"
    headers = (
        text("Step"), _unit(w, text("Observations"), text("count")),
        *_interval(w, text("Median"), seconds), *_interval(w, text("95th percentile"), seconds),
        *_interval(w, text("99th percentile"), seconds), _unit(w, text("Target"), seconds),
        *_interval(w, text("Good answers"), share), _unit(w, text("Objective"), share),
        _unit(w, text("Error budget left"), share), _unit(w, text("Wrong or failed"), share),
    )  # fmt: skip
    formats = (_PLAIN, _COUNT, *[_SECONDS] * 10, *[_SHARE] * 6)
    rows = [
        (
            _title(report, step.step), step.observations, *_ends(step.p50), *_ends(step.p95), *_ends(step.p99),
            step.target_seconds, *_ends(step.good_rate), step.budget.objective, step.budget.left, step.failures.value,
        )
        for step in report.figures.steps
    ]  # fmt: skip
    return _Sheet(text("Steps"), headers, formats, (24, *[13] * (len(headers) - 1)), rows)


def _conclusions(report: Report) -> _Sheet:
    text = _text(report)
    headers = (
        text("Step"), text("What"), text("Verdict"), text("Deciding figure"), text("Before → after"),
        text("Change (95 % interval)"), text("Smallest change found"),
    )  # fmt: skip
    rows = [
        (row.step, row.about, row.conclusion, row.figure, row.levels, row.change, row.detectable)
        for row in conclusion_rows(report)
    ]
    return _Sheet(text("Verdict by step"), headers, [_PLAIN] * 7, (24, 14, 24, 26, 20, 34, 20), rows)


def _changes(report: Report) -> _Sheet:
    w, text = report.wording, _text(report)
    ratio = text("ratio, of rates a difference")
    headers = (
        text("Step"), text("Figure"), text("Unit"), text("Before"), text("After"),
        *_interval(w, text("Change"), ratio), _unit(w, text("Smallest change found"), ratio), text("Verdict"),
    )  # fmt: skip
    rows = [
        (*row[:2], text("s") if seconds else "%", change.before, change.after, change.change, change.low, change.high,
         change.detectable, row[2])
        for row, change, seconds in _changed(report)
    ]  # fmt: skip
    formats = (_PLAIN, _PLAIN, _PLAIN, _FIGURE, _FIGURE, _SHARE, _SHARE, _SHARE, _SHARE, _PLAIN)
    return _Sheet(text("Changes"), headers, formats, (24, 30, 8, *[14] * 6, 28), rows)


def _changed(report: Report) -> Iterator[tuple[tuple[str, str, str], ChangeFigure, bool]]:
    """The rows of the table of changes with the figures they show; the last says whether these are seconds."""
    steps = {step.step: step for step in report.figures.steps}
    places: dict[str, int] = {}
    for row in change_rows(report):
        if not row.name:
            yield (row.step, row.measure, row.verdict), report.figures.good_rate_change, False
            continue
        step, place = steps[row.name], places.get(row.name, 0)
        places[row.name] = place + 1
        changes = (
            step.p50_change, step.p95_change, step.p99_change, step.good_rate_change, step.failures_change,
            *(check.change for check in step.checks),
        )  # fmt: skip
        yield (row.step, row.measure, row.verdict), changes[place], place < 3


def _verdicts(report: Report) -> _Sheet:
    w, f, text = report.wording, report.figures, _text(report)
    headers = (text("Step"), *(_unit(w, w.verdict(label), text("count")) for label in f.verdicts))
    rows = [(_title(report, step.step), *step.verdicts.values()) for step in f.steps]
    return _Sheet(text("Verdicts"), headers, [_PLAIN, *[_COUNT] * len(f.verdicts)], (24, *[14] * len(f.verdicts)), rows)


def _checks(report: Report) -> _Sheet:
    w, text = report.wording, _text(report)
    count = text("count")
    headers = (
        text("Step"), text("Check"), _unit(w, text("Passed"), count), _unit(w, text("Failed"), count),
        *_interval(w, text("Failure rate"), "%"), _unit(w, text("Unknown"), count), _unit(w, text("Skipped"), count),
    )  # fmt: skip
    rows = [
        (_title(report, step.step), w.check_title(report.flow, step.step, check.check), check.passed, check.failed,
         *_ends(check.failure_rate), check.unknown, check.skipped)
        for step in report.figures.steps
        for check in step.checks
    ]  # fmt: skip
    formats = (_PLAIN, _PLAIN, _COUNT, _COUNT, _SHARE, _SHARE, _SHARE, _COUNT, _COUNT)
    return _Sheet(text("Checks of the answers"), headers, formats, (24, 34, *[14] * 7), rows)


def _quality(report: Report) -> _Sheet:
    w, text = report.wording, _text(report)
    headings = quality_headings(w)
    headers = (text("Step"), *(_unit(w, heading, text("count")) for heading in headings))
    rows = [(title, *amounts) for title, amounts in quality_rows(report)]
    formats = (_PLAIN, *[_COUNT] * len(headings))
    return _Sheet(text("Late, doubled and lost"), headers, formats, (24, *[16] * len(headings)), rows)


def _funnel(report: Report) -> _Sheet:
    w, funnel, text = report.wording, report.figures.funnel, _text(report)
    assert funnel is not None  # noqa: S101 - the caller's condition
    count = text("count")
    headers = (
        text("Step"), _unit(w, text("Reached"), count), _unit(w, text("Of all"), "%"),
        _unit(w, text("Gave up here"), count), *_interval(w, text("Of those who reached it"), "%"),
    )  # fmt: skip
    rows = [
        (_title(report, step.step), step.reached, step.reached_share.value, step.given_up, *_ends(step.given_up_share))
        for step in funnel.steps
    ]
    formats = (_PLAIN, _COUNT, _SHARE, _COUNT, _SHARE, _SHARE, _SHARE)
    return _Sheet(text("Where customers went"), headers, formats, (24, *[16] * 6), rows)


def _alerts(report: Report) -> _Sheet:
    text = _text(report)
    rows = [(row.id, row.began, row.what.replace("*", ""), row.state, row.handling) for row in alert_rows(report)]
    headers = ("id", text("Began"), text("What"), text("State"), text("Handling"))
    return _Sheet(text("Alerts"), headers, [_PLAIN] * 5, (16, 20, 90, 24, 40), rows)
