"""Reports that people have made on a page: made beside, bounded, kept, and of nobody's data but what they may see."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cxgauge.dashboards import pdf
from cxgauge.dashboards.figure_types import Period
from cxgauge.dashboards.pages.report_history import report_run_page
from cxgauge.dashboards.pages.request import PageRequest
from cxgauge.dashboards.pdf import PdfBusyError, html_to_pdf
from cxgauge.dashboards.periods import COMPARISONS
from cxgauge.dashboards.scheduled.asked import WAITING_MOST, AskedReports, Order, TooManyReportsError
from cxgauge.dashboards.wording import Wording
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.observation import ObservationBatch
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.store.reports import ReportRun, claim_run, read_file, read_runs
from cxgauge.metrics.store.scope import EVERYTHING, DataScope
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

START, DAY = 1_773_417_600.0, 86_400.0
NOW = START + DAY
KINDS = ", ".join(COMPARISONS)
RELEASE = "release:8.1.0..8.2.0"
APP = DataScope.of(None, {"channel": ["app"]})


class Clock:
    """Time that the test moves."""

    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(embedded_dsn: str, make_day: Callable[..., ObservationBatch]) -> Iterator[Store]:
    with Store.open(embedded_dsn) as opened:
        opened.migrate()
        opened.write([make_day(START, seed=2)], "test", StoredPosition(), StoredPosition(0, 1))
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def asked(store: Store, flow: FlowSpec, clock: Clock, tmp_path: Path) -> AskedReports:
    config = Config.parse("timezone: Asia/Shanghai", "cxgauge.yml", tmp_path)
    return AskedReports(store, lambda: config, lambda: {flow.name: flow}, clock)


def _order(
    *formats: str, by: str = "li.wei", scope: DataScope = EVERYTHING, compare: str = "none", flow: str = "bill_inquiry"
) -> Order:
    return Order(flow, Period(START, NOW), compare, formats or ("json",), "en", scope, by, "here")


def _run(store: Store, run_id: str) -> ReportRun:
    with store.connection() as connection:
        (run,) = read_runs(connection, run_id=run_id)
    return run


def _made(store: Store, run_id: str) -> ReportRun:
    deadline = time.monotonic() + 60
    while (run := _run(store, run_id)).state == "waiting" and time.monotonic() < deadline:
        time.sleep(0.02)
    return run


def test_it_is_made_and_kept_with_who_asked_and_for_what(asked: AskedReports, store: Store) -> None:
    run = _made(store, asked.ask(_order("md", "html", "md", compare="week")))
    assert (run.state, run.asked_by, run.schedule, run.error) == ("made", "li.wei", "", None)
    assert run.formats == ("html", "md")
    assert run.asked == {"compare": "week", "formats": ["md", "html", "md"], "language": "en"}
    assert run.headline
    with store.connection() as connection:
        text = (read_file(connection, run.run_id, "md") or b"").decode()
        noted = connection.execute("SELECT actor, action, subject, address FROM audit").fetchall()
    assert "# Bill inquiry: experience report" in text
    assert noted == [("li.wei", "report asked for", run.run_id, "here")]


def test_it_speaks_of_what_whoever_asked_may_see_and_says_so(asked: AskedReports, store: Store) -> None:
    whole, part = (_made(store, asked.ask(_order("md", scope=scope))) for scope in (EVERYTHING, APP))
    assert part.dimensions == {"channel": ["app"]}
    with store.connection() as connection:
        texts = [(read_file(connection, run.run_id, "md") or b"").decode() for run in (whole, part)]
    assert "# Bill inquiry · channel=app: experience report" in texts[1]
    counted = [re.findall(r"\*\*All steps\*\* \| ([\d,]+) ", text) for text in texts]
    assert int(counted[1][0].replace(",", "")) < int(counted[0][0].replace(",", ""))
    assert "web" not in texts[1]
    web = store.restricted(DataScope.of(None, {"channel": ["web"]}))
    for reader, seen in ((store, 2), (store.restricted(APP), 1), (web, 0)):
        with reader.connection() as connection:
            assert len(read_runs(connection)) == seen
            assert (read_file(connection, part.run_id, "md") is not None) == (reader is not web)


def test_so_many_wait_and_no_more(asked: AskedReports, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AskedReports, "_start", lambda _self: None)  # nobody makes them
    for number in range(WAITING_MOST):
        asked.ask(_order(by=f"person {number // 4}"))
    for who in ("person 0", "somebody else"):
        with pytest.raises(TooManyReportsError) as caught:
            asked.ask(_order(by=who))
        assert str(caught.value) == "12 reports wait to be made; ask again when some of them are there"
    with store.connection() as connection:
        assert len(read_runs(connection)) == WAITING_MOST


def test_one_person_has_so_many_made_an_hour(asked: AskedReports, store: Store, clock: Clock) -> None:
    with store.connection() as connection:
        connection.execute(
            "INSERT INTO report_runs (run_id, schedule, flow, period_start, period_end, due_at, state, trial, "
            "next_attempt_at, asked_by) SELECT 'run ' || n, '', 'bill_inquiry', now(), now(), to_timestamp(%s), "
            "'made', true, now(), 'li.wei' FROM generate_series(1, 30) AS n",
            (NOW - 60,),
        )
    with pytest.raises(TooManyReportsError) as caught:
        asked.ask(_order())
    assert str(caught.value) == "you have asked for 30 reports within the hour; ask again later"
    assert _made(store, asked.ask(_order(by="wang.fang"))).state == "made"
    clock.now = NOW + 3_600
    assert _made(store, asked.ask(_order())).state == "made"


def test_what_a_process_left_behind_is_given_up_and_nobody_else_makes_it(
    asked: AskedReports, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(AskedReports, "_start", lambda _self: None)
        left = asked.ask(_order())
    with store.connection() as connection:
        assert claim_run(connection, NOW + 60, NOW + 120) is None  # the schedules' own
    asked._orders.get()
    clock.now = NOW + 3_600
    asked.ask(_order())
    run = _run(store, left)
    assert (run.state, run.error) == ("failed", "interrupted; ask for it again")


def test_one_that_cannot_be_made_says_why_and_the_next_is_made(
    asked: AskedReports, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXGAUGE_CHROMIUM", "/nowhere/chromium")
    failed, made = (_made(store, asked.ask(_order(kind))) for kind in ("pdf", "json"))
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error.startswith("PdfError: a PDF needs Chromium, and /nowhere/chromium was found; install it")
    assert made.state == "made"


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (_order("doc"), "formats='doc' are not known; choose of md, html, pdf, csv, xlsx, json"),
        (_order(compare="never"), f"--compare 'never' is not known; write one of {KINDS}, or {RELEASE}"),
        (_order(flow="loan"), "flow='loan' is not declared"),
        (_order(scope=DataScope.of(["loan"])), "flow='bill_inquiry' is not declared"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused(asked: AskedReports, store: Store, order: Order, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        asked.ask(order)
    assert str(caught.value) == said
    with store.connection() as connection:
        assert read_runs(connection) == []


def test_no_more_than_two_pdfs_are_printed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "chromium"
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, sys, time\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "(here / f'begun-{time.time_ns()}').touch()\n"
        "while not (here / 'go').exists(): time.sleep(0.02)\n"
        "target = next(a for a in sys.argv if a.startswith('--print-to-pdf=')).partition('=')[2]\n"
        "pathlib.Path(target).write_bytes(b'%PDF')\n",
        "utf-8",
    )
    program.chmod(0o755)
    monkeypatch.setenv(pdf.PROGRAM_VARIABLE, str(program))
    printed: list[bytes] = []
    threads = [threading.Thread(target=lambda: printed.append(html_to_pdf("<p>x"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob("begun-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(PdfBusyError) as caught:
        html_to_pdf("<p>x", wait_seconds=0)
    assert str(caught.value) == "2 other PDFs are being printed; try again in a moment"
    (tmp_path / "go").touch()
    for thread in threads:
        thread.join(30)
    assert printed == [b"%PDF"] * 2
    assert html_to_pdf("<p>x", wait_seconds=0) == b"%PDF"


def test_its_page_waits_for_half_an_hour_and_no_longer(
    asked: AskedReports, store: Store, flow: FlowSpec, clock: Clock, english: Wording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AskedReports, "_start", lambda _self: None)  # nobody makes it
    run_id = asked.ask(_order())
    path, period = f"/reports/{run_id}", Period(START, NOW)
    for after, waits, error, seconds in ((60, True, "", 3), (1_800, False, "interrupted; ask for it again", 0)):
        page = PageRequest(path, english, period, "24h", "previous", NOW + after, live=True)
        values = report_run_page(store, {flow.name: flow}, run_id, page)
        assert values is not None
        assert (values["waits"], values["error"], values["page"].live_seconds) == (waits, error, seconds)
        assert values["origin"] == "asked for by li.wei"
