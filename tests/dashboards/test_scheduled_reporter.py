"""Scheduled reports on a real database, sent over a real SMTP server and to a real HTTP service."""

from __future__ import annotations

import email
import email.policy
import http.server
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cxgauge.dashboards.figure_types import Period
from cxgauge.dashboards.pdf import PROGRAM_VARIABLE
from cxgauge.dashboards.scheduled.reporter import Reporter
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.observation import ObservationBatch
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.store.reports import ReportRun, claim_run, read_file, read_runs, read_troubles
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

DAY = 86_400.0
HOUR = 3_600.0
MakeDay = Callable[..., ObservationBatch]


@dataclass
class Services:
    """A mail server and a webhook: what they took, and whether they are out of order."""

    smtp: int = 0
    http: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    posts: list[Any] = field(default_factory=list)
    answer: bytes = b"250 ok"


@pytest.fixture
def outside() -> Iterator[Services]:
    state = Services()

    class Smtp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 localhost\r\n")
            to: list[str] = []
            while line := self.rfile.readline():
                command = line.split(b" ")[0].strip().upper()
                answer = b"250 ok"
                if command == b"QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                if command == b"MAIL":
                    answer = state.answer
                if command == b"RCPT":
                    to.append(line.decode().split("<")[1].split(">")[0])
                if command == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = []
                    while (part := self.rfile.readline()) != b".\r\n":
                        lines.append(part.removeprefix(b"."))
                    mail = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                    assert isinstance(mail, EmailMessage)
                    state.mails.append(mail)
                    state.recipients.append(to)
                self.wfile.write(answer + b"\r\n")

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state.posts.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    servers = [socketserver.ThreadingTCPServer(("127.0.0.1", 0), Smtp), http.server.HTTPServer(("127.0.0.1", 0), Hook)]
    state.smtp, state.http = (server.server_address[1] for server in servers)
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in servers]
    for thread in threads:
        thread.start()
    yield state
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def store(migrated_embedded_dsn: str, today: Period, make_day: MakeDay) -> Iterator[Store]:
    with Store.open(migrated_embedded_dsn) as store:
        store.migrate()
        batches = [make_day(today.start - DAY, seed=1), make_day(today.start, seed=2, factor=1.2)]
        store.write(batches, "test", StoredPosition(), StoredPosition(0, 1))
        yield store


class Ruler:
    """A reporter with a configuration that tests change, and a clock that they move."""

    def __init__(self, store: Store, flow: FlowSpec, services: Services, clock: Any, folder: Path) -> None:
        self.store, self.services, self.clock, self.folder = store, services, clock, folder
        self.flows = {flow.name: flow}
        self.reports = (
            "  - {name: daily, every: day, time: '07:00', compare: previous, formats: [html, csv], "
            "notifiers: [mail, hook], folder: out}\n"
        )
        self.reporter = self.restarted()

    def restarted(self) -> Reporter:
        """As after the process began anew."""
        return Reporter(self.store, self.config, lambda: self.flows, self.clock)

    def config(self) -> Config:
        text = (
            "timezone: Asia/Shanghai\nalerts: {external_url: 'https://cx.bank.example/'}\nnotifiers:\n"
            f"  - {{name: mail, type: email, host: 127.0.0.1, port: {self.services.smtp}, security: none, "
            "sender: 'CX <cx@bank.example>', recipients: [cards@bank.example]}\n"
            f"  - {{name: hook, type: webhook, url: 'http://127.0.0.1:{self.services.http}/hook'}}\n"
            f"reports:\n{self.reports}"
        )
        return Config.parse(text, directory=self.folder)

    def at(self, moment: float) -> int:
        """Work at this time."""
        self.clock.now = moment
        return self.reporter.step()

    def runs(self) -> list[ReportRun]:
        with self.store.connection() as connection:
            return read_runs(connection)


@pytest.fixture
def ruler(store: Store, flow: FlowSpec, outside: Services, clock: Any, tmp_path: Path, today: Period) -> Ruler:
    ruler = Ruler(store, flow, outside, clock, tmp_path)
    ruler.at(today.end)  # since when the schedule is known
    return ruler


def test_a_report_is_made_once_kept_and_sent_everywhere(ruler: Ruler, today: Period) -> None:
    assert ruler.at(today.end + 7 * HOUR - 1) == 0
    assert ruler.at(today.end + 7 * HOUR + 30) == 4
    assert ruler.restarted().step() == 0
    (run,) = ruler.runs()

    assert (run.run_id, run.state, run.status, run.formats) == (
        "daily-bill_inquiry-2026-03-15", "made", "worse", ("csv", "html"),
    )  # fmt: skip
    assert (run.start, run.end, run.due_at) == (today.start, today.end, today.end + 7 * HOUR)
    assert {(each.target, each.state) for each in run.deliveries} == {
        ("mail", "delivered"), ("hook", "delivered"), ("folder:", "delivered"),
    }  # fmt: skip
    with ruler.store.connection() as connection:
        kept = read_file(connection, run.run_id, "csv")
    assert kept == (ruler.folder / "out/daily-bill_inquiry-2026-03-15.csv").read_bytes()
    assert sorted(path.name for path in (ruler.folder / "out").iterdir()) == [
        "daily-bill_inquiry-2026-03-15.csv",
        "daily-bill_inquiry-2026-03-15.html",
    ]


def test_the_mail_has_the_figures_and_the_files(ruler: Ruler, today: Period) -> None:
    ruler.at(today.end + 8 * HOUR)
    (mail,), ((recipient,),) = ruler.services.mails, ruler.services.recipients
    (run,) = ruler.runs()
    assert run.headline is not None

    assert recipient == "cards@bank.example"
    assert mail["Subject"].startswith(
        "[Report] Bill inquiry, 2026-03-14: Bill inquiry got slower at Bill total than in"
    )
    assert mail["Message-ID"] == "<report-daily-bill_inquiry-2026-03-15@cxgauge.invalid>"
    body = mail.get_body(("html",))
    assert body is not None
    assert "Bill inquiry got slower at <em>Bill total</em>" in body.get_content()
    assert 'href="https://cx.bank.example/reports/daily-bill_inquiry-2026-03-15"' in body.get_content()
    attached = {part.get_filename(): part for part in mail.iter_attachments()}
    assert set(attached) == {"bill_inquiry-2026-03-14.html", "bill_inquiry-2026-03-14.csv"}
    assert "<svg" in attached["bill_inquiry-2026-03-14.html"].get_content()


def test_a_chat_gets_the_first_sentence_and_the_link(ruler: Ruler, today: Period) -> None:
    ruler.at(today.end + 8 * HOUR)
    (post,), (run,) = ruler.services.posts, ruler.runs()
    assert run.headline is not None

    assert post["event"] == "report"
    assert post["report"]["headline"] == run.headline.replace("*", "")
    assert post["links"] == {"Report": "https://cx.bank.example/reports/daily-bill_inquiry-2026-03-15"}


def test_in_chinese_and_to_other_people(ruler: Ruler, today: Period) -> None:
    settings = "language: zh, formats: [md], notifiers: [mail], recipients: [h@bank.example]"
    ruler.reports = f"  - {{name: daily, every: day, {settings}}}\n"
    ruler.at(today.end + 8 * HOUR)
    (mail,), (to,) = ruler.services.mails, ruler.services.recipients

    assert to == ["h@bank.example"]
    assert mail["Subject"].startswith("【报告】账单查询，2026年3月14日：“账单查询”在“账单总额”比上一期变慢：")


def test_what_was_missed_is_made_up_within_bounds(ruler: Ruler, today: Period) -> None:
    ruler.at(today.end + 6.3 * DAY)

    assert [run.run_id for run in ruler.runs()] == [f"daily-bill_inquiry-2026-03-{day}" for day in (21, 20, 19)]
    assert {run.state for run in ruler.runs()} == {"made"}


def test_a_new_schedule_does_not_reach_back(ruler: Ruler, today: Period) -> None:
    ruler.reports += "  - {name: weekly, every: week, weekday: saturday}\n"
    ruler.at(today.end + 8 * HOUR)
    ruler.at(today.end + 6 * DAY + 8 * HOUR)

    assert {run.schedule for run in ruler.runs()} == {"daily", "weekly"}
    assert [run.due_at for run in ruler.runs() if run.schedule == "weekly"] == [today.end + 6 * DAY + 7 * HOUR]


def test_a_mail_server_that_is_down_gets_it_later(ruler: Ruler, today: Period) -> None:
    ruler.services.answer = b"451 later"
    ruler.at(today.end + 7 * HOUR)
    with ruler.store.connection() as connection:
        (trouble,) = read_troubles(connection, today.end)
    assert (trouble.target, trouble.state, trouble.error) == ("mail", "waiting", "127.0.0.1 answered 451")
    assert len(ruler.services.posts) == 1

    ruler.services.answer = b"250 ok"
    assert ruler.at(today.end + 7 * HOUR + 59) == 0
    assert ruler.at(today.end + 7 * HOUR + 61) == 1
    assert len(ruler.services.mails) == 1
    with ruler.store.connection() as connection:
        assert read_troubles(connection, today.end) == []


def test_a_report_that_cannot_be_made_is_tried_again_then_given_up(
    ruler: Ruler, today: Period, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROGRAM_VARIABLE, "/nowhere/chromium")
    ruler.reports = "  - {name: daily, every: day, formats: [pdf]}\n"
    moment = today.end + 7 * HOUR
    assert ruler.at(moment) == 1
    (run,) = ruler.runs()
    assert (run.state, run.attempts) == ("waiting", 1)
    assert run.error == (
        "PdfError: a PDF needs Chromium, and /nowhere/chromium was found; install it (apt-get install chromium "
        "fonts-noto-cjk), or name the program in CXGAUGE_CHROMIUM"
    )
    for _ in range(23):
        moment += HOUR
        ruler.at(moment)
    assert [(one.state, one.attempts) for one in ruler.runs() if one.run_id == run.run_id] == [("failed", 24)]


def test_a_flow_that_is_not_declared_is_said(ruler: Ruler, today: Period) -> None:
    ruler.reports = "  - {name: daily, every: day, flows: [nothing]}\n"
    ruler.at(today.end + 7 * HOUR)

    (run,) = ruler.runs()
    assert (run.state, run.error) == ("failed", "flow nothing is not declared; correct the schedule, or declare it")


def test_whoever_dies_over_a_report_leaves_it_to_others(ruler: Ruler, today: Period) -> None:
    ruler.clock.now = today.end + 7 * HOUR
    ruler.reporter.plan()
    with ruler.store.connection() as connection:
        assert claim_run(connection, ruler.clock.now, ruler.clock.now + 900) is not None
    assert ruler.restarted().step() == 0
    assert ruler.at(ruler.clock.now + 901) == 4
    assert [run.state for run in ruler.runs()] == ["made"]


def test_two_at_once_make_each_report_once(ruler: Ruler, today: Period) -> None:
    ruler.reports = "".join(f"  - {{name: r{n}, every: day, formats: [csv], notifiers: [hook]}}\n" for n in range(4))
    ruler.clock.now = today.end + 1
    ruler.reporter.plan()
    ruler.clock.now = today.end + 7 * HOUR
    both = [threading.Thread(target=ruler.restarted().step) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()

    assert [(run.state, run.attempts) for run in ruler.runs()] == [("made", 1)] * 4
    assert sorted(post["report"]["schedule"] for post in ruler.services.posts) == ["r0", "r1", "r2", "r3"]


def test_a_trial_does_not_take_the_place_of_the_report(ruler: Ruler, today: Period) -> None:
    ruler.clock.now = today.end + 8 * HOUR
    (made,) = ruler.reporter.trial("daily")
    assert (made.trial, made.state) == (True, "made")
    assert len(ruler.services.mails) == 1

    ruler.at(ruler.clock.now)
    assert [run.trial for run in ruler.runs()] == [True, False]
    with pytest.raises(ValueError) as caught:
        ruler.reporter.trial("yearly")
    assert str(caught.value) == "no report is scheduled as 'yearly'; scheduled are: daily"


def test_history_is_bounded(ruler: Ruler, today: Period) -> None:
    ruler.at(today.end + 7 * HOUR)
    ruler.reports = "  - {name: other, every: month}\n"
    ruler.at(today.end + 402 * DAY)

    assert "daily" not in {run.schedule for run in ruler.runs()}
    with ruler.store.connection() as connection:
        assert read_file(connection, "daily-bill_inquiry-2026-03-15", "html") is None


def test_it_stops_when_told_and_survives_a_database_that_is_away(ruler: Ruler, flow: FlowSpec) -> None:
    stop = threading.Event()

    def away() -> Config:
        stop.set()
        raise psycopg.OperationalError("away")

    Reporter(ruler.store, away, dict, ruler.clock).run(stop, pause_seconds=0.0)
    assert stop.is_set()
