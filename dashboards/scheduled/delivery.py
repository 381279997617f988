"""Sending a report that was made: by mail with its files, to a chat as a link, or into a folder."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from markupsafe import escape

from ...alerts.alert import Severity
from ...alerts.message import Event, Link, Message
from ...alerts.notifier import Delivery, Outcome
from ...alerts.notifier_factory import make_notifier
from ...alerts.notifiers.smtp import new_mail, send_mail
from ...metrics.configuration.notifiers import EmailNotifier, NotifierSettings
from ...metrics.store.reports import ReportRun
from ...metrics.translation import Language
from ..report.files import REPORT_TYPES
from ..wording import Wording

__all__ = ["FOLDER", "MAIL", "Parcel", "deliver_to_folder", "deliver_to_notifier", "report_link"]

FOLDER = "folder:"
"""Target of a delivery into a folder; no notifier can be called so."""
MAIL = "mail"
"""Kept beside a report's files: the body of mails."""
_ATTACHED_MOST_BYTES = 15 << 20
_SUBJECT_LENGTH = 160


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is delivered.

    Attributes:
        run: The report.
        files: Contents by format, and the mail's body under :data:`MAIL`.
        wording: Language and zone of its texts.
        link: Where it can be read; empty when the pages have no address for others.
    """

    run: ReportRun
    files: dict[str, bytes]
    wording: Wording
    link: str = ""

    @property
    def subject(self) -> str:
        """One line: the flow and the days."""
        text = self.wording.translator.text
        title = self.run.title or self.run.flow
        return text("[Report] {flow}, {days}", flow=title, days=self.wording.days(self.run.start, self.run.end))

    @property
    def file_name(self) -> str:
        """Name of its files, without ending."""
        return f"{self.run.flow}-{self.wording.day(self.run.start)}"


def report_link(external_url: str | None, run_id: str) -> str:
    """The permalink of a report; empty without an address of the pages."""
    return "" if external_url is None else f"{external_url.rstrip('/')}/reports/{quote(run_id, safe='')}"


def deliver_to_notifier(
    parcel: Parcel,
    setting: NotifierSettings,
    recipients: tuple[str, ...] | None,
    clock: Callable[[], float],
    context: ssl.SSLContext | None = None,
) -> Delivery:
    """Send it: files by mail, to chats the first sentence and the link. Trouble is an outcome, not an exception."""
    if isinstance(setting, EmailNotifier):
        return _by_mail(parcel, setting, recipients, clock(), context)
    notifier = make_notifier(setting, clock)
    if notifier is None:
        return Delivery(Outcome.REFUSED, f"notifier {setting.name} takes alerts only")
    try:
        return notifier.send([_message(parcel)])
    finally:
        notifier.close()


def _message(parcel: Parcel) -> Message:
    run, text = parcel.run, parcel.wording.translator.text
    language: Language = parcel.wording.language
    links = (Link(text("Report"), parcel.link),) if parcel.link else ()
    headline = run.headline or ""
    data = {
        "version": "1",
        "event": Event.REPORT.value,
        "idempotency_key": run.run_id,
        "report": {
            "id": run.run_id, "schedule": run.schedule, "flow": run.flow, "title": run.title, "start": run.start,
            "end": run.end, "status": run.status, "headline": headline.replace("*", ""), "formats": list(run.formats),
        },
        "links": {link.label: link.url for link in links},
    }  # fmt: skip
    return Message(
        key=run.run_id,
        event=Event.REPORT,
        severity=Severity.INFO,
        language=language,
        alert_id=run.run_id,
        subject=parcel.subject,
        short=headline,
        headline=headline,
        not_concluded="",
        links=links,
        data=data,
    )


def _by_mail(
    parcel: Parcel,
    setting: EmailNotifier,
    recipients: tuple[str, ...] | None,
    now: float,
    context: ssl.SSLContext | None,
) -> Delivery:
    run, text = parcel.run, parcel.wording.translator.text
    headline = (run.headline or "").replace("*", "")
    subject = f"{parcel.subject}: {headline}" if parcel.wording.language == "en" else f"{parcel.subject}：{headline}"
    shortened = subject if len(subject) <= _SUBJECT_LENGTH else f"{subject[: _SUBJECT_LENGTH - 1]}…"
    mail = new_mail(setting, shortened, f"report-{run.run_id}", now, recipients)
    mail.set_content("\n\n".join(part for part in (parcel.subject, headline, parcel.link) if part) + "\n")
    body = parcel.files.get(MAIL, b"").decode()
    left_out = []
    room = _ATTACHED_MOST_BYTES
    attached = []
    for kind in REPORT_TYPES:
        content = parcel.files.get(kind)
        if content is None:
            continue
        if len(content) > room:
            left_out.append(kind)
            continue
        room -= len(content)
        attached.append((kind, content))
    note = ""
    if left_out:
        note = text("Too large to attach: {formats}.", formats=", ".join(left_out))
    words = text("Read it on the pages")
    link = f'<p><a href="{escape(parcel.link)}">{words}</a></p>' if parcel.link else ""
    mail.add_alternative(body.replace("<!-- links -->", f"{link}<p>{note}</p>" if note else link), subtype="html")
    for kind, content in attached:
        main, _, sub = REPORT_TYPES[kind].partition(";")[0].partition("/")
        mail.add_attachment(content, maintype=main, subtype=sub, filename=f"{parcel.file_name}.{kind}")
    return send_mail(setting, mail, recipients, context)


def deliver_to_folder(parcel: Parcel, folder: Path) -> Delivery:
    """Write the files into a folder, each whole or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind in REPORT_TYPES:
            content = parcel.files.get(kind)
            if content is not None:
                _write_whole(folder / f"{parcel.run.run_id}.{kind}", content)
    except OSError as error:
        return Delivery(Outcome.RETRY, f"{error.filename or folder} cannot be written: {error.strerror}")
    return Delivery(Outcome.SENT)


def _write_whole(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
