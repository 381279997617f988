"""Makes the reports that are due, each once, keeps them and delivers them.

A report that is due is a row before anybody begins it; it is claimed for a while, made, and kept together with the
list of whom to send it to, in one transaction. So it is made once however often the process ends on the way. A delivery
is at least once: whoever dies between sending and noting it sends it again, a mail with the same ``Message-ID``.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import psycopg
import structlog

from ...alerts.notifier import Delivery, Outcome
from ...metrics.configuration.config import Config
from ...metrics.configuration.reports import ReportSchedule
from ...metrics.configuration.secret import SecretError
from ...metrics.specification.flow import FlowSpec
from ...metrics.store import reports as runs
from ...metrics.store.store import Store
from ..figure_types import Period
from ..periods import compared_period
from ..rendering import render
from ..report.files import render_report
from ..report.html import read_pictures, report_html, with_scripts
from ..report.layout import report_values
from ..report.report import build_report
from ..wording import Wording
from .delivery import FOLDER, MAIL, Parcel, deliver_to_folder, deliver_to_notifier, report_link
from .schedule import DueReport, due_reports, last_report

__all__ = ["Reporter"]

_MADE_UP_MOST = 3  # periods of a schedule that are made up after a downtime
_MADE_UP_SECONDS = 62 * 86_400.0
_LEASE_SECONDS = 900.0
_FIRST_PAUSE_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 3_600.0
_ATTEMPTS_MOST = 24  # about a day
_PLAN_SECONDS = 30.0
_EXPIRE_SECONDS = 3_600.0
_DAY_SECONDS = 86_400.0
_TROUBLE_SECONDS = 7 * 86_400.0
_TROUBLES_COUNTED = 1_000
_ERROR_LENGTH = 500
_log = structlog.get_logger("cxgauge.reports")


class _RefusedError(Exception):
    """A report cannot be made, and trying again would not help."""


class Reporter:
    """Makes and delivers scheduled reports until told to stop; several may run, each report is made by one.

    Args:
        store: Where figures, reports and history are.
        config: Gives the configuration in force.
        flows: Gives the flows in force.
        clock: Seconds since 1970 UTC.
        context: TLS settings of mails; the system's authorities by default.

    Attributes:
        troubles: How many reports and deliveries of the last seven days failed or are tried again; ``None`` before the
            first look.
    """

    def __init__(
        self,
        store: Store,
        config: Callable[[], Config],
        flows: Callable[[], Mapping[str, FlowSpec]],
        clock: Callable[[], float] = time.time,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._store, self._config, self._flows, self._clock, self._context = store, config, flows, clock, context
        self._planned_at = float("-inf")
        self._expired_at = float("-inf")
        self.troubles: int | None = None

    def run(self, stop: threading.Event, pause_seconds: float = 5.0) -> None:
        """Work until ``stop``; a report that is being made is finished first. Never raises."""
        while not stop.wait(pause_seconds):
            try:
                self.step(stop.is_set)
            except psycopg.Error as error:
                _log.warning("reports wait for the database", error=type(error).__name__)
            except Exception:  # a fault of ours must not end the thread
                _log.exception("reports failed")

    def step(self, stop: Callable[[], bool] = lambda: False) -> int:
        """Plan, make and deliver everything that is due now; how many reports and deliveries were tried.

        Raises:
            psycopg.Error: the database is away; nothing is lost, call again.
        """
        now = self._clock()
        if now - self._planned_at >= _PLAN_SECONDS:
            self.plan()
            self._planned_at = now
        tried = 0
        while not stop() and (self._make_one() or self._deliver_one()):
            tried += 1
        if now - self._expired_at >= _EXPIRE_SECONDS:
            with self._store.connection() as connection:
                runs.expire_runs(connection, now - self._config().retention.reports_days * _DAY_SECONDS)
            self._expired_at = now
        if tried or self.troubles is None or now == self._planned_at:
            with self._store.connection() as connection:
                self.troubles = len(runs.read_troubles(connection, now - _TROUBLE_SECONDS, _TROUBLES_COUNTED))
        return tried

    def plan(self) -> int:
        """Note the reports that have become due since each schedule is known; how many are new.

        After a downtime the newest three periods of a schedule are made up, none older than two months.
        """
        config, now, new = self._config(), self._clock(), 0
        with self._store.connection() as connection:
            known = runs.known_schedules(connection, [one.name for one in config.reports], now)
            for schedule in config.reports:
                after = max(known[schedule.name], now - _MADE_UP_SECONDS)
                due = list(due_reports(schedule, config.calendar, config.timezone, after, now))
                for one in due[-_MADE_UP_MOST:]:
                    for flow in self._flows_of(schedule):
                        new += runs.add_run(
                            connection, self._id(schedule, flow, one), schedule.name, flow,
                            start=one.period.start, end=one.period.end, due_at=one.due_at, now=now,
                        )  # fmt: skip
        return new

    def trial(self, name: str, flow: str | None = None) -> list[runs.ReportRun]:
        """Make the last report of a schedule now and deliver it once, beside the history's own; what became of it.

        Raises:
            ValueError: there is no such schedule, or nothing to make.
        """
        config, now = self._config(), self._clock()
        schedule = next((one for one in config.reports if one.name == name), None)
        if schedule is None:
            known = ", ".join(one.name for one in config.reports) or "none"
            raise ValueError(f"no report is scheduled as {name!r}; scheduled are: {known}")
        flows = self._flows_of(schedule)
        if flow is not None and flow not in flows:
            raise ValueError(f"schedule {name!r} has no flow {flow!r}; it has {', '.join(flows)}")
        due = last_report(schedule, config.calendar, config.timezone, now)
        if due is None:
            raise ValueError(f"schedule {name!r} had no period yet")
        made = []
        for one in [flow] if flow is not None else flows:
            run_id = f"{self._id(schedule, one, due)}-trial-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%S}"
            with self._store.connection() as connection:
                runs.add_run(
                    connection, run_id, name, one, start=due.period.start, end=due.period.end, due_at=now, now=now,
                    trial=True,
                )  # fmt: skip
            self._make_one(run_id)
            while self._deliver_one(run_id):
                pass
            with self._store.connection() as connection:
                made += runs.read_runs(connection, run_id=run_id)
        return made

    # -- inside ---------------------------------------------------------------------------------------

    def _flows_of(self, schedule: ReportSchedule) -> list[str]:
        return list(self._flows()) if schedule.flows is None else list(schedule.flows)

    def _id(self, schedule: ReportSchedule, flow: str, due: DueReport) -> str:
        day = datetime.fromtimestamp(due.period.end, UTC).astimezone(self._config().timezone)
        return f"{schedule.name}-{flow}-{day:%Y-%m-%d}"

    def _make_one(self, run_id: str | None = None) -> bool:
        now = self._clock()
        with self._store.connection() as connection:
            claimed = runs.claim_run(connection, now, now + _LEASE_SECONDS, run_id)
        if claimed is None:
            return False
        try:
            if claimed.attempts > _ATTEMPTS_MOST:
                raise _RefusedError("given up after too many attempts, see the log")
            self._make(claimed)
        except _RefusedError as error:
            self._fail(claimed, str(error))
        except psycopg.Error:
            raise  # the claim lapses, and the report is made then
        except Exception as error:  # a fault of one report must not hold up the others
            text = f"{type(error).__name__}: {error}"[:_ERROR_LENGTH]
            if claimed.attempts >= _ATTEMPTS_MOST or claimed.trial:
                self._fail(claimed, text)
                return True
            again = now + _pause(claimed.attempts)
            _log.error("a report will be made later", report=claimed.run_id, attempts=claimed.attempts, error=text)
            with self._store.connection() as connection:
                runs.put_off_run(connection, claimed.run_id, text, again)
        return True

    def _fail(self, claimed: runs.ClaimedRun, error: str) -> None:
        _log.error("a report was given up", report=claimed.run_id, error=error)
        with self._store.connection() as connection:
            runs.fail_run(connection, claimed.run_id, error)

    def _make(self, claimed: runs.ClaimedRun) -> None:
        schedule, flow, wording = self._settings(claimed)
        period = Period(claimed.start, claimed.end)
        compared = compared_period(period, schedule.compare, wording.zone)
        report = build_report(self._store, flow, period, compared, wording, now=self._clock())
        files: dict[str, bytes] = {}
        for kind in dict.fromkeys(schedule.formats):
            if kind == "html":  # kept without the scripts, which are many times its size
                content: str | bytes = report_html(report, read_pictures(self._store, report))
            else:
                content = render_report(self._store, report, kind)
            files[kind] = content.encode() if isinstance(content, str) else content
        files[MAIL] = render("report_mail.html.j2", wording, **report_values(report)).encode()
        targets = list(dict.fromkeys(schedule.notifiers)) + ([FOLDER] if schedule.folder is not None else [])
        with self._store.connection() as connection:
            runs.keep_report(
                connection, claimed.run_id, files, targets, now=self._clock(), language=wording.language,
                title=flow.title.in_language(wording.language), status=report.headline.status,
                headline=report.headline.text,
            )  # fmt: skip
        _log.info("report made", report=claimed.run_id, status=report.headline.status, formats=list(schedule.formats))

    def _settings(self, claimed: runs.ClaimedRun) -> tuple[ReportSchedule, FlowSpec, Wording]:
        config = self._config()
        schedule = next((one for one in config.reports if one.name == claimed.schedule), None)
        if schedule is None:
            raise _RefusedError(f"schedule {claimed.schedule} is not configured any more")
        flow = self._flows().get(claimed.flow)
        if flow is None:
            raise _RefusedError(f"flow {claimed.flow} is not declared; correct the schedule, or declare it")
        return schedule, flow, Wording(schedule.language or config.language, config.timezone)

    def _deliver_one(self, run_id: str | None = None) -> bool:
        now = self._clock()
        with self._store.connection() as connection:
            claimed = runs.claim_delivery(connection, now, now + _LEASE_SECONDS, run_id)
        if claimed is None:
            return False
        try:
            delivery = self._deliver(claimed)
        except psycopg.Error:
            raise
        except Exception as error:  # a fault of ours must not hold up the other deliveries
            delivery = Delivery(Outcome.RETRY, f"{type(error).__name__} while delivering")
            _log.exception("a delivery failed", report=claimed.run_id, target=claimed.target)
        detail = delivery.detail[:_ERROR_LENGTH]
        with self._store.connection() as connection:
            if delivery.outcome is Outcome.SENT:
                runs.mark_report_delivered(connection, claimed, self._clock(), detail)
                return True
            over = delivery.outcome is Outcome.REFUSED or claimed.attempts >= _ATTEMPTS_MOST or run_id is not None
            _log.error(
                "a report was not delivered", report=claimed.run_id, target=claimed.target, given_up=over, error=detail
            )
            if over:
                runs.fail_delivery(connection, claimed, detail)
            else:
                pause = max(_pause(claimed.attempts), delivery.retry_after_seconds or 0.0)
                runs.put_off_delivery(connection, claimed, detail, now + pause)
        return True

    def _deliver(self, claimed: runs.ClaimedDelivery) -> Delivery:
        config = self._config()
        with self._store.connection() as connection:
            (run,) = runs.read_runs(connection, run_id=claimed.run_id)
            files = {kind: runs.read_file(connection, run.run_id, kind) or b"" for kind in (*run.formats, MAIL)}
        if "html" in files:
            files["html"] = with_scripts(files["html"].decode()).encode()
        schedule = next((one for one in config.reports if one.name == run.schedule), None)
        if schedule is None:
            return Delivery(Outcome.REFUSED, f"schedule {run.schedule} is not configured any more")
        wording = Wording(schedule.language or config.language, config.timezone)
        parcel = Parcel(run, files, wording, report_link(_external_url(config), run.run_id))
        if claimed.target == FOLDER:
            if schedule.folder is None:
                return Delivery(Outcome.REFUSED, "the schedule has no folder any more")
            return deliver_to_folder(parcel, schedule.folder)
        setting = next((one for one in config.notifiers if one.name == claimed.target), None)
        if setting is None:
            return Delivery(Outcome.REFUSED, f"notifier {claimed.target} is not configured any more")
        return deliver_to_notifier(parcel, setting, schedule.recipients, self._clock, self._context)


def _pause(attempts: int) -> float:
    return float(min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(attempts - 1, 20)))


def _external_url(config: Config) -> str | None:
    try:
        return config.alerts.external_url.reveal() if config.alerts.external_url is not None else None
    except SecretError:
        return None  # without a link rather than not at all
