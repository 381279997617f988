"""Mails against a real SMTP server on loopback, over TLS too."""

import email
import email.policy
import socketserver
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxgauge.alerts.chart import Trend, trend_png
from cxgauge.alerts.message import Message
from cxgauge.alerts.notifier import Delivery, Outcome
from cxgauge.alerts.notifiers.email import EmailNotifier
from cxgauge.metrics.configuration.notifiers import EmailNotifier as Settings

CERTIFICATE = Path(__file__).with_name("localhost.pem")  # self-signed, for this test only
TREND = Trend(0.0, 60.0, (*([1.0, 1.02, None, 0.99] * 30), *([1.2] * 20)), 7200.0, 1.0)


@dataclass
class MailServer:
    """A server that takes mails and answers as told."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    logins: list[bytes] = field(default_factory=list)
    secure: list[bool] = field(default_factory=list)
    answers: dict[str, bytes] = field(default_factory=dict)  # by command: another answer than "250 ok"
    refused: set[str] = field(default_factory=set)


@pytest.fixture
def server() -> Iterator[MailServer]:
    state = MailServer()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.use(self.request)
            self.say(b"220 localhost ready")
            to: list[str] = []
            while line := self.file.readline():
                command = line.split(b" ")[0].strip().upper().decode()
                if command in state.answers:
                    self.say(state.answers[command])
                elif command == "EHLO":
                    self.say(b"250-localhost\r\n250-STARTTLS\r\n250-AUTH PLAIN\r\n250 SMTPUTF8")
                elif command == "STARTTLS":
                    self.say(b"220 go ahead")
                    try:
                        secured = context.wrap_socket(self.socket, server_side=True)
                    except ssl.SSLError:
                        return
                    self.file.close()
                    self.use(secured)
                elif command == "AUTH":
                    state.logins.append(line.split(b" ")[2].strip())
                    self.say(b"235 welcome")
                elif command == "RCPT":
                    address = line.decode().split("<")[1].split(">")[0]
                    accepted = address not in state.refused
                    to += [address] if accepted else []
                    self.say(b"250 ok" if accepted else b"550 no such user")
                elif command == "DATA":
                    self.say(b"354 go on")
                    self.take(to)
                elif command == "QUIT":
                    self.say(b"221 bye")
                    return
                else:
                    self.say(b"250 ok")

        def use(self, connection: Any) -> None:
            self.socket = connection
            self.file = connection.makefile("rb")

        def finish(self) -> None:
            self.file.close()
            self.socket.close()

        def say(self, text: bytes) -> None:
            self.socket.sendall(text + b"\r\n")

        def take(self, to: list[str]) -> None:
            lines = []
            while (line := self.file.readline()) != b".\r\n":
                lines.append(line[1:] if line.startswith(b"..") else line)
            mail = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            state.mails.append(mail)
            state.recipients.append(list(to))
            state.secure.append(isinstance(self.socket, ssl.SSLSocket))
            self.say(state.answers.get("END", b"250 queued"))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        state.port = listening.server_address[1]
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield state
        listening.shutdown()
        thread.join(5)


@pytest.fixture
def make(server: MailServer, tmp_path: Path) -> Callable[..., EmailNotifier]:
    def build(**changes: Any) -> EmailNotifier:
        (tmp_path / "password").write_text("s3cret")
        values = {
            "name": "mail", "type": "email", "host": "localhost", "port": server.port, "security": "none",
            "sender": "cxgauge <cx@bank.example>", "recipients": ["ops@bank.example", "王丽 <wangli@bank.example>"],
            "timeout": "5s", **changes,
        }  # fmt: skip
        if "username" in changes:
            values["password"] = f"file:{tmp_path}/password"
        trusting = ssl.create_default_context(cafile=CERTIFICATE)
        return EmailNotifier(Settings.model_validate(values), lambda: 1_767_235_500.0, trusting)

    return build


def test_a_mail_in_plain_text_html_and_picture(
    make: Any, server: MailServer, messages_by_language: dict[str, Message]
) -> None:
    message = replace(messages_by_language["zh"], trend=TREND)
    assert make().send([message]) == Delivery(Outcome.SENT, "")
    (mail,) = server.mails
    assert mail["Subject"] == message.subject
    assert mail["To"] == "ops@bank.example, 王丽 <wangli@bank.example>"
    assert mail["From"] == "cxgauge <cx@bank.example>"
    assert mail["Date"] == "Thu, 01 Jan 2026 02:45:00 -0000"
    assert mail["Message-ID"] == f"<{message.key}@cxgauge.invalid>"
    assert mail["References"] == f"<{message.alert_id}@cxgauge.invalid>"
    assert mail["Auto-Submitted"] == "auto-generated"
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert message.short in plain.get_content()
    assert message.short in html.get_content()
    assert 'src="cid:trend"' in html.get_content()
    (picture,) = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    assert picture["Content-ID"] == "<trend>"
    assert picture.get_content() == trend_png(TREND)


def test_a_mail_without_a_trend_has_no_picture(make: Any, server: MailServer, message: Message) -> None:
    make().send([message])
    assert [part.get_content_type() for part in server.mails[0].walk()] == [
        "multipart/alternative", "text/plain", "text/html",
    ]  # fmt: skip


def test_mails_about_one_alert_are_one_conversation_and_a_copy_can_be_told(
    make: Any, server: MailServer, message: Message
) -> None:
    make().send([message])
    make().send([message])
    make().send([replace(message, key=f"{message.alert_id}-9")])
    assert len({mail["References"] for mail in server.mails}) == 1
    first, copy, later = (mail["Message-ID"] for mail in server.mails)
    assert first == copy != later


def test_starttls_and_log_in(make: Any, server: MailServer, message: Message) -> None:
    assert make(security="starttls", username="cx").send([message]).outcome is Outcome.SENT
    assert server.secure == [True]
    assert server.logins == [b"AGN4AHMzY3JldA=="]  # NUL cx NUL s3cret


def test_a_certificate_nobody_vouches_for_is_not_trusted(server: MailServer, message: Message) -> None:
    values = {
        "name": "m",
        "type": "email",
        "host": "localhost",
        "port": server.port,
        "sender": "a@b.c",
        "recipients": ["x@y.z"],
    }
    delivery = EmailNotifier(Settings.model_validate(values)).send([message])
    assert delivery == Delivery(Outcome.RETRY, "localhost cannot be reached (SSLCertVerificationError)")
    assert server.mails == []


def test_one_refused_recipient_does_not_hold_up_the_others(make: Any, server: MailServer, message: Message) -> None:
    server.refused = {"ops@bank.example"}
    assert make().send([message]) == Delivery(Outcome.SENT, "localhost refused 1 of 2 recipients")
    assert server.recipients == [["wangli@bank.example"]]
    server.refused.add("wangli@bank.example")
    assert make().send([message]) == Delivery(Outcome.RETRY, "localhost refused all recipients")


@pytest.mark.parametrize(
    ("command", "answer", "delivery"),
    [
        ("MAIL", b"451 greylisted", Delivery(Outcome.RETRY, "localhost answered 451")),
        ("MAIL", b"550 sender unknown", Delivery(Outcome.RETRY, "localhost answered 550")),
        ("END", b"452 disk full", Delivery(Outcome.RETRY, "localhost answered 452")),
        ("END", b"554 looks like spam", Delivery(Outcome.REFUSED, "localhost answered 554")),
        ("AUTH", b"535 wrong password", Delivery(Outcome.RETRY, "localhost answered 535")),
    ],
)
def test_what_the_server_says(
    command: str, answer: bytes, delivery: Delivery, make: Any, server: MailServer, message: Message
) -> None:
    server.answers[command] = answer
    assert make(**({"username": "cx"} if command == "AUTH" else {})).send([message]) == delivery


def test_a_server_that_is_away(make: Any, message: Message) -> None:
    assert make(port=1).send([message]) == Delivery(
        Outcome.RETRY, "localhost cannot be reached (ConnectionRefusedError)"
    )


def test_a_subject_cannot_add_headers(make: Any, server: MailServer, message: Message) -> None:
    make().send([replace(message, subject="a\r\nBcc: evil@example.com\r\n b")])
    assert server.mails[0]["Subject"] == "a Bcc: evil@example.com b"
    assert server.mails[0]["Bcc"] is None


def pixels(png: bytes) -> np.ndarray:
    """Decode what ``trend_png`` writes."""
    width, height = int.from_bytes(png[16:20]), int.from_bytes(png[20:24])
    at, data = 8, b""
    while at < len(png):
        length, kind = int.from_bytes(png[at : at + 4]), png[at + 4 : at + 8]
        assert zlib.crc32(png[at + 4 : at + 8 + length]) == int.from_bytes(png[at + 8 + length : at + 12 + length])
        data += png[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    raw = np.frombuffer(zlib.decompress(data), dtype=np.uint8).reshape(height, 1 + 3 * width)
    return raw[:, 1:].reshape(height, width, 3)


def test_the_picture_shows_the_change() -> None:
    png = trend_png(TREND)
    assert png is not None
    image = pixels(png)
    blue = (image[:, :, 2] > 140) & (image[:, :, 0] < 60)
    columns = image.shape[1]
    before, after = np.nonzero(blue[:, : columns // 2])[0].mean(), np.nonzero(blue[:, int(columns * 0.9) :])[0].mean()
    assert after < before - 80  # higher up
    shaded = (image == [255, 242, 229]).all(axis=2).any(axis=0)
    assert not shaded[: int(columns * 0.8)].any()
    assert shaded[int(columns * 0.9)]


@pytest.mark.parametrize("values", [(), (None, None), (1.0,), (1.0, None)])
def test_no_picture_of_nothing(values: tuple[float | None, ...]) -> None:
    assert trend_png(Trend(0.0, 60.0, values, 0.0, 1.0)) is None


@pytest.mark.parametrize("values", [(1.0, 1.0), (0.0, 0.0), (1e-9, 1e9)])
def test_a_picture_of_extremes(values: tuple[float, ...]) -> None:
    assert trend_png(Trend(100.0, 60.0, values, 1e12, 1.0)) is not None
