"""The report as HTML, PDF, CSV and workbook: the same figures, and nothing needed beside the file."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from cxgauge.dashboards.figure_types import Comparison, Period
from cxgauge.dashboards.pdf import PROGRAM_VARIABLE, PdfError, find_chromium, html_to_pdf
from cxgauge.dashboards.report.html import read_pictures, report_html, with_scripts
from cxgauge.dashboards.report.json import report_json
from cxgauge.dashboards.report.markdown import report_markdown
from cxgauge.dashboards.report.report import Report, build_report
from cxgauge.dashboards.report.table import figure_rows, report_csv
from cxgauge.dashboards.report.workbook import report_xlsx
from cxgauge.dashboards.wording import Wording
from cxgauge.metrics.observation import ObservationBatch
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

MakeDay = Callable[..., ObservationBatch]


@pytest.fixture
def store(migrated_embedded_dsn: str, today: Period, yesterday: Comparison, make_day: MakeDay) -> Iterator[Store]:
    with Store.open(migrated_embedded_dsn) as store:
        store.migrate()
        batches = [make_day(yesterday.period.start, seed=1), make_day(today.start, seed=2, factor=1.2, failures=0.01)]
        store.write(batches, "test", StoredPosition(), StoredPosition(0, 1))
        yield store


@pytest.fixture
def report(store: Store, flow: FlowSpec, today: Period, yesterday: Comparison, english: Wording) -> Report:
    return build_report(store, flow, today, yesterday, english, now=today.end)


def test_figures_agree_in_every_format(store: Store, report: Report) -> None:
    document: dict[str, Any] = json.loads(report_json(report))
    rows = list(csv.DictReader(io.StringIO(report_csv(report))))
    html = report_html(report, read_pictures(store, report))
    markdown = report_markdown(report)
    for step, figures in zip(document["figures"]["steps"], report.figures.steps, strict=True):
        mine = {row["figure"]: row for row in rows if row["step"] == step["step"]}
        for name, measure in (("p50", "duration_p50"), ("p95", "duration_p95"), ("good_rate", "good_answer_rate")):
            assert float(mine[measure]["value"]) == step[name]["value"]
            assert float(mine[measure]["low_95"]) == step[name]["low"]
            assert float(mine[measure]["change"]) == step[f"{name}_change"]["change"]
            assert mine[measure]["verdict"] == step[f"{name}_change"]["status"]
        for text in (report.wording.seconds(figures.p95.value), report.wording.percent(figures.good_rate.value)):
            assert text in html
            assert text in markdown


def test_csv_has_units_and_marks_what_a_spreadsheet_would_run(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(report_csv(report))))
    assert {row["unit"] for row in rows} == {"count", "share", "seconds", "verdict"}
    assert len(rows) == len(figure_rows(report))
    from cxgauge.dashboards.report.table import _safe

    assert (_safe("=1+1"), _safe("-2"), _safe(-2), _safe("a")) == ("'=1+1", "'-2", -2, "a")


def test_workbook_has_numbers_as_numbers(report: Report) -> None:
    book = openpyxl.load_workbook(io.BytesIO(report_xlsx(report)))
    assert book.sheetnames == [
        "About", "Steps", "Verdict by step", "Changes", "Verdicts", "Checks of the answers", "Alerts",
        "Late, doubled and lost", "Figures",
    ]  # fmt: skip
    sheet = book["Figures"]
    headers = [cell.value for cell in sheet[1]]
    found = {
        (row[headers.index("step")].value, row[headers.index("figure")].value): row[headers.index("value")].value
        for row in sheet.iter_rows(min_row=2)
    }
    assert found["bill_total", "duration_p95"] == pytest.approx(report.figures.steps[1].p95.value, rel=1e-14)
    assert found["bill_total", "observations"] == report.figures.steps[1].observations
    assert report.headline.text.replace("*", "") in [cell.value for cell in book["About"]["A"]]


@pytest.mark.parametrize(
    ("language", "sheets", "headers"),
    [
        (
            "en",
            ("Steps", "Changes"),
            ("Median (s)", "Median, lower 95 % (s)", "Good answers (%)", "Observations (count)"),
        ),
        ("zh", ("步骤", "变化"), ("中位数（秒）", "中位数，95% 下限（秒）", "良好应答（%）", "观测数（次）")),
    ],
)
def test_sheets_for_people_have_units_formats_and_every_digit(
    store: Store, flow: FlowSpec, today: Period, yesterday: Comparison, language: str, sheets: tuple[str, str],
    headers: tuple[str, ...], english: Wording, chinese: Wording,
) -> None:  # fmt: skip
    report = build_report(store, flow, today, yesterday, chinese if language == "zh" else english, now=today.end)
    book = openpyxl.load_workbook(io.BytesIO(report_xlsx(report)))
    steps = [[cell.value for cell in row] for row in book[sheets[0]].iter_rows()]
    column = {name: steps[0].index(name) for name in headers}
    for row, figures in zip(steps[1:], report.figures.steps, strict=True):
        given = (figures.p50.value, figures.p50.low, figures.good_rate.value, figures.observations)
        assert [row[column[name]] for name in headers] == pytest.approx(given, rel=1e-15)
    formats = [book[sheets[0]].cell(2, column[name] + 1).number_format for name in headers]
    assert formats == ["0.000", "0.000", "0.000%", "#,##0"]
    changes = list(book[sheets[1]].iter_rows(min_row=2, values_only=True))
    assert len(changes) == 1 + 5 + 6
    total = report.figures.steps[1]
    shown = [row[3:9] for row in changes[6:]]
    known = [total.p50_change, total.p95_change, total.p99_change, total.good_rate_change, total.failures_change]
    for found, change in zip(shown, [*known, total.checks[0].change], strict=True):
        expected = (change.before, change.after, change.change, change.low, change.high, change.detectable)
        assert found == pytest.approx(expected, rel=1e-15)


def test_html_is_one_file_that_needs_no_script(store: Store, report: Report) -> None:
    html = report_html(report, read_pictures(store, report))
    assert re.findall("<script(?! type=.application/json. class=.chart-data.>)", html) == []
    assert re.findall(r'(?:src|href)="[^"]*"', html) == []
    assert html.count("<svg") >= 6
    assert "Cards | bills" in html
    assert "Distribution of durations" in html


def test_scripts_are_in_the_file_and_allowed_by_their_hash_only(store: Store, report: Report) -> None:
    html = with_scripts(report_html(report, read_pictures(store, report)))
    scripts = re.findall("<script>(.*?)</script>", html, re.DOTALL)
    hashes = {base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts}
    policy = re.findall('http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert len(scripts) == 2
    assert policy[0].startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-")
    assert set(re.findall("'sha256-([^']*)'", policy[0])) == hashes


def test_charts_answer_in_chromium_and_print_without_a_script(
    store: Store, report: Report, chromium: Any, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(with_scripts(report_html(report, read_pictures(store, report))), "utf-8")
    errors: list[str] = []
    page = chromium.new_page()
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector(".echart canvas")
    assert page.locator(".echart").count() == 6
    assert page.locator("figure.chart > svg").first.is_hidden()
    page.emulate_media(media="print")
    assert page.locator("figure.chart > svg").first.is_visible()
    assert page.locator(".echart").first.is_hidden()
    assert errors == []
    still = chromium.new_context(java_script_enabled=False).new_page()
    still.goto(path.as_uri())
    assert still.locator("figure.chart > svg").first.is_visible()


def test_titles_and_names_are_escaped(store: Store, today: Period, english: Wording) -> None:
    hostile = parse_flow(
        "name: bill_inquiry\ntitle: {en: '</style><script>x</script>', zh: 恶意}\nowner: '<b>'\n"
        "steps: [{name: bill_total, title: {en: '<i>', zh: 一}, timeliness: {target: 1s}}]\n"
    )
    report = build_report(store, hostile, today, None, english, now=today.end)
    html = report_html(report, read_pictures(store, report))
    assert "<script>" not in html
    assert "<i>" not in html


_GLYPHS = """characters => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 48;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.font = "32px " + getComputedStyle(document.body).fontFamily;
  const drawn = character => {
    context.clearRect(0, 0, 48, 48);
    context.fillText(character, 4, 38);
    return context.getImageData(0, 0, 48, 48).data.join();
  };
  const missing = drawn("\\uFFFE"), empty = drawn(" ");
  return characters.filter(character => [missing, empty].includes(drawn(character)));
}"""


def test_every_chinese_character_has_a_glyph_and_the_pdf_is_made(
    chromium: Any, store: Store, flow: FlowSpec, today: Period, yesterday: Comparison, chinese: Wording
) -> None:
    report = build_report(store, flow, today, yesterday, chinese, now=today.end)
    html = report_html(report, read_pictures(store, report))
    page = chromium.new_page()
    page.set_content(html)
    characters = sorted({character for character in page.inner_text("body") if not character.isspace()})
    lacking = page.evaluate(_GLYPHS, characters)
    page.close()

    assert {"账", "单", "本", "期"} <= set(characters)
    assert lacking == []
    assert html_to_pdf(html).startswith(b"%PDF-")


def test_missing_chromium_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(PROGRAM_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(PdfError) as caught:
        find_chromium()
    assert str(caught.value) == (
        f"a PDF needs Chromium, and {tmp_path}/none was found; install it (apt-get install chromium fonts-noto-cjk), "
        "or name the program in CXGAUGE_CHROMIUM"
    )


def test_chromium_that_prints_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\necho no display >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv(PROGRAM_VARIABLE, str(program))
    with pytest.raises(PdfError) as caught:
        html_to_pdf("<p>")
    assert str(caught.value) == f"{program} did not print the report (exit code 3): no display"
