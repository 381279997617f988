"""Makes the reports that people ask for on a page: one after the other, so many at most, and keeps them.

Whoever asks gets a page that says when it is there; nobody's browser waits. The list of what is to be made is in the
database and bounded; what the process was making when it ended is given up and said so.
"""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psycopg
import structlog

from ...metrics.configuration.config import Config
from ...metrics.specification.flow import FlowSpec
from ...metrics.store import reports as runs
from ...metrics.store.asked_reports import Load, add_asked_report, asked_load, give_up_asked_reports
from ...metrics.store.audit import audit
from ...metrics.store.scope import DataScope
from ...metrics.store.store import Store
from ...metrics.translation import Language
from ..access.scoped_pages import visible_flows
from ..figure_types import Period
from ..periods import compared_period
from ..report.files import REPORT_TYPES, render_report
from ..report.html import read_pictures, report_html
from ..report.report import build_report
from ..wording import Wording

__all__ = ["GIVEN_UP_SECONDS", "INTERRUPTED", "WAITING_MOST", "AskedReports", "Order", "TooManyReportsError", "of_part"]

WAITING_MOST = 12
_OWN_WAITING_MOST = 4
_OWN_PER_HOUR = 30
_HOUR_SECONDS = 3_600.0
GIVEN_UP_SECONDS = 1_800.0
_ERROR_LENGTH = 500
INTERRUPTED = "interrupted; ask for it again"
_log = structlog.get_logger("cxgauge.reports")


class TooManyReportsError(RuntimeError):
    """So many are waiting to be made that no more are taken."""


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody wants.

    Attributes:
        flow: Of which flow.
        period: From when to when.
        compare: What to compare with, as on the command line.
        formats: Names of :data:`..report.files.REPORT_TYPES`.
        language: In which language.
        scope: What whoever asks may see: the report speaks of nothing else.
        by: Who asks.
        address: From where, for the audit.
    """

    flow: str
    period: Period
    compare: str
    formats: Sequence[str]
    language: Language
    scope: DataScope
    by: str
    address: str


def of_part(flow: FlowSpec, scope: DataScope) -> FlowSpec:
    """The flow, its title saying of which customers everything is when the scope shows some of them only."""
    if not scope.dimensions:
        return flow
    part = ", ".join(f"{name}={'|'.join(sorted(values))}" for name, values in scope.dimensions)
    title = flow.title.model_copy(
        update={"en": f"{flow.title.en} · {part}", "zh": f"{flow.title.zh} · {part}" if flow.title.zh else None}
    )
    return flow.model_copy(update={"title": title})


class AskedReports:
    """Takes orders from any thread; a thread of its own makes them.

    Args:
        store: The whole store.
        config: Gives the configuration in force.
        flows: Gives all flows in force.
        clock: Seconds since 1970 UTC.
    """

    def __init__(
        self,
        store: Store,
        config: Callable[[], Config],
        flows: Callable[[], Mapping[str, FlowSpec]],
        clock: Callable[[], float],
    ) -> None:
        self._store, self._config, self._flows, self._clock = store, config, flows, clock
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._orders: queue.Queue[tuple[str, Order]] = queue.Queue()

    def ask(self, order: Order) -> str:
        """Take an order; the id of its report, whose page says when it is there.

        Raises:
            TooManyReportsError: too many wait, or were asked for by the same person.
            ValueError: a format or comparison is not known, or the flow is not.
        """
        unknown = [kind for kind in order.formats if kind not in REPORT_TYPES]
        if unknown or not order.formats:
            raise ValueError(f"formats={', '.join(unknown)!r} are not known; choose of {', '.join(REPORT_TYPES)}")
        compared_period(order.period, order.compare, self._config().timezone)
        if order.flow not in visible_flows(self._flows(), order.scope):
            raise ValueError(f"flow={order.flow!r} is not declared")
        now, run_id = self._clock(), f"{order.flow}-{secrets.token_hex(6)}"
        asked = {"compare": order.compare, "formats": list(order.formats), "language": order.language}
        with self._store.connection() as connection, connection.transaction():
            give_up_asked_reports(connection, now - GIVEN_UP_SECONDS, INTERRUPTED)
            self._refuse_too_many(asked_load(connection, order.by, now - _HOUR_SECONDS))
            period = order.period
            add_asked_report(
                connection, run_id, order.flow, start=period.start, end=period.end, now=now, by=order.by, asked=asked,
                scope=order.scope,
            )  # fmt: skip
            audit(connection, order.by, "report asked for", run_id, {"flow": order.flow, **asked}, order.address)
        self._orders.put((run_id, order))
        self._start()
        return run_id

    @staticmethod
    def _refuse_too_many(load: Load) -> None:
        if load.waiting >= WAITING_MOST or load.own_waiting >= _OWN_WAITING_MOST:
            raise TooManyReportsError(f"{load.waiting} reports wait to be made; ask again when some of them are there")
        if load.own_lately >= _OWN_PER_HOUR:
            raise TooManyReportsError(f"you have asked for {load.own_lately} reports within the hour; ask again later")

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="cxgauge-asked-reports", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            run_id, order = self._orders.get()
            try:
                self._make(run_id, order)
            except psycopg.Error as error:
                _log.error("a report could not be made", report=run_id, error=str(error).strip())
                self._fail(run_id, "the database did not answer; ask for it again")
            except Exception as error:  # a fault of one report must not end the others
                text = f"{type(error).__name__}: {error}"[:_ERROR_LENGTH]
                _log.error("a report was given up", report=run_id, error=text)
                self._fail(run_id, text)

    def _make(self, run_id: str, order: Order) -> None:
        config = self._config()
        wording = Wording(order.language, config.timezone)
        flow = visible_flows(self._flows(), order.scope).get(order.flow)
        if flow is None:
            self._fail(run_id, f"flow {order.flow} is not declared any more")
            return
        store, part = self._store.restricted(order.scope), of_part(flow, order.scope)
        compared = compared_period(order.period, order.compare, wording.zone)
        report = build_report(store, part, order.period, compared, wording, now=self._clock())
        files: dict[str, bytes] = {}
        for kind in dict.fromkeys(order.formats):
            content: str | bytes
            if kind == "html":  # kept without the scripts, which are many times its size
                content = report_html(report, read_pictures(store, report))
            else:
                content = render_report(store, report, kind)
            files[kind] = content.encode() if isinstance(content, str) else content
        with self._store.connection() as connection:
            runs.keep_report(
                connection, run_id, files, (), now=self._clock(), language=order.language,
                title=part.title.in_language(order.language), status=report.headline.status,
                headline=report.headline.text,
            )  # fmt: skip
        _log.info("report made", report=run_id, status=report.headline.status, formats=list(order.formats))

    def _fail(self, run_id: str, error: str) -> None:
        try:
            with self._store.connection() as connection:
                runs.fail_run(connection, run_id, error)
        except psycopg.Error as fault:
            _log.error("a report's end was not noted", report=run_id, error=str(fault).strip())
