"""The report's file as a reader has it: in both themes and languages, narrow, printed, without a network."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cxgauge.dashboards.figure_types import Comparison, Period
from cxgauge.dashboards.pdf import html_to_pdf
from cxgauge.dashboards.report.html import read_pictures, report_html, with_scripts
from cxgauge.dashboards.report.report import Report, build_report
from cxgauge.dashboards.wording import Wording
from cxgauge.metrics.observation import ObservationBatch
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

MakeDay = Callable[..., ObservationBatch]
LONG = (
    "信用卡账单分期还款计划查询与提前结清试算及手续费优惠资格确认步骤含历史分期合同与本期应还明细展示以及电子回单下载"
)


@pytest.fixture
def store(migrated_embedded_dsn: str, today: Period, yesterday: Comparison, make_day: MakeDay) -> Iterator[Store]:
    with Store.open(migrated_embedded_dsn) as store:
        store.migrate()
        days = [make_day(yesterday.period.start, seed=1), make_day(today.start, seed=2, factor=1.2, failures=0.02)]
        store.write(days, "test", StoredPosition(), StoredPosition(0, 1))
        yield store


def _file(store: Store, report: Report, folder: Path) -> Path:
    path = folder / "report.html"
    path.write_text(with_scripts(report_html(report, read_pictures(store, report))), "utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_axe_finds_no_serious_fault_in_the_report(
    chromium: Any, axe: str, store: Store, flow: FlowSpec, today: Period, yesterday: Comparison, english: Wording,
    chinese: Wording, tmp_path: Path, scheme: str, language: str,
) -> None:  # fmt: skip
    wording = chinese if language == "zh" else english
    path = _file(store, build_report(store, flow, today, yesterday, wording, now=today.end), tmp_path)
    page = chromium.new_context(color_scheme=scheme, bypass_csp=True).new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    faults = [
        (one["id"], [node["target"] for node in one["nodes"]][:3])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    page.close()
    assert faults == []
    assert asked == [path.as_uri()]


def test_names_of_sixty_characters_break_nothing_on_a_narrow_screen_or_paper(
    chromium: Any, store: Store, today: Period, yesterday: Comparison, chinese: Wording, tmp_path: Path
) -> None:
    steps = "".join(
        f"  - {{name: {name}, title: {{en: {LONG}, zh: {LONG}}}, timeliness: {{target: 2s}}}}\n"
        for name in ("log_in", "bill_total")
    )
    flow = parse_flow(f"name: bill_inquiry\ntitle: {{en: {LONG}, zh: {LONG}}}\nowner: {LONG}\nsteps:\n{steps}")
    report = build_report(store, flow, today, yesterday, chinese, now=today.end)
    path = _file(store, report, tmp_path)
    page = chromium.new_context(viewport={"width": 360, "height": 800}).new_page()
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 703, "height": 1000})  # what A4 leaves between the margins, at 96 dots an inch
    wide = page.evaluate(
        "[...document.querySelectorAll('table, figure, .headline')].filter(e => e.getBoundingClientRect().right > 704)"
        ".map(e => e.className + ' ' + e.getBoundingClientRect().right)"
    )
    page.close()
    assert wide == []


def test_the_printed_report_has_its_chinese_font_in_it(
    store: Store, flow: FlowSpec, today: Period, yesterday: Comparison, chinese: Wording
) -> None:
    report = build_report(store, flow, today, yesterday, chinese, now=today.end)
    pdf = html_to_pdf(report_html(report, read_pictures(store, report)))
    streams = (re.split(rb"\r?\nendstream", part)[0] for part in re.split(rb"stream\r?\n", pdf)[1:])
    plain = pdf + b"".join(_inflated(stream) for stream in streams)
    fonts = set(
        re.findall(rb"/FontName\s*/[A-Z]{6}\+([\w-]+)", plain)
    )  # of fonts that are in the file, cut to what is used
    assert any(re.search(rb"CJK|Hei|Song|WenQuanYi|SourceHan", font) for font in fonts), fonts
    assert len(re.findall(rb"/FontFile[23]?\s", plain)) >= len(fonts)


def _inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""
