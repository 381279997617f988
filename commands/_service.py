"""The running ruler: everything ``cxgauge up`` starts, reloads and drains, in one process.

This is the only place that knows all parts. Each runs on a thread of its own and waits for what it needs
(database, spool) by itself, so that none of them can stop another.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg
import structlog

from ..alerts.alert import alert_from_json
from ..alerts.evaluator import Evaluation
from ..alerts.installation import alerting
from ..collectors.receiver.server import ReceiverServer
from ..collectors.spool import ProblemKind, SpoolReader
from ..collectors.writer import Writer
from ..dashboards.access.listening import OPEN, UnprotectedPagesError, refuse_unprotected
from ..dashboards.exposition.alerts import baseline_durations
from ..dashboards.exposition.exposition import Exposition
from ..dashboards.exposition.health import HealthFigures
from ..dashboards.exposition.push import HistogramPush
from ..dashboards.http import HttpParts, application
from ..dashboards.scheduled.reporter import Reporter
from ..dashboards.server import HttpServer
from ..metrics.change_event import ChangeEvent
from ..metrics.configuration.config import Config
from ..metrics.observation import ObservationBatch
from ..metrics.quality import OF_RECORDERS
from ..metrics.specification.flow import FlowSpec, load_flows
from ..metrics.store.alerts import read_current_alerts
from ..metrics.store.audit import COMMAND_LINE, audit
from ..metrics.store.events import put_events
from ..metrics.store.store import Store
from ..metrics.strict_yaml import SpecificationError
from ._database import may_come_up, reach_database, store_settings
from ._housekeeping import count_ways, keep_house
from ._judging import Judging

__all__ = ["Installation", "Service", "changed_parts", "load_installation"]

_log = structlog.get_logger("cxgauge.service")
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 15.0
_TITLE_LENGTH: Final = 256
_DETAIL_LENGTH: Final = 1024


@dataclass(frozen=True, slots=True)
class Installation:
    """What was read from disk: the configuration and the flows it names."""

    config: Config
    flows: Mapping[str, FlowSpec]


def load_installation(path: Path) -> Installation:
    """Read configuration and flows.

    Raises:
        SpecificationError: either has faults.
    """
    config = Config.load(path)
    return Installation(config, load_flows(config.flows.directory))


def changed_parts(before: Installation, after: Installation) -> dict[str, str]:
    """What differs, by name: flows added, removed and changed, and sections of the configuration; no values."""
    old, new = before.flows, after.flows
    parts = {
        "flows_added": sorted(set(new) - set(old)),
        "flows_removed": sorted(set(old) - set(new)),
        "flows_changed": sorted(name for name in set(new) & set(old) if new[name] != old[name]),
        "sections": [
            name
            for name in type(after.config).model_fields
            if getattr(after.config, name) != getattr(before.config, name)
        ],
    }
    return {name: ", ".join(names) for name, names in parts.items() if names}


class Service:
    """Collects, evaluates, notifies and serves until told to stop.

    Args:
        path: The configuration file; read again by :meth:`reload`.
        clock: Seconds since 1970 UTC.

    Attributes:
        installation: The configuration and flows in force: the last ones without faults.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.installation = load_installation(path)
        refuse_unprotected(self.installation.config)
        self.clock = clock
        self._stack = ExitStack()
        self._stop_collecting = threading.Event()
        self._threads: dict[str, threading.Thread] = {}
        self._judging: Judging | None = None
        self.evaluation: Evaluation | None = None

    # -- life -----------------------------------------------------------------------------------------

    def start(self, given_up: threading.Event | None = None) -> bool:
        """Start everything; returns when requests are answered and observations are taken.

        What is sent is accepted first of all: a database that is away is waited for, and meanwhile the spool fills.

        Args:
            given_up: Ends that wait when set.

        Returns:
            Whether everything runs; False only when the wait was given up.

        Raises:
            EmbeddedPostgresError: the embedded server cannot be started.
            psycopg.Error: the database refuses us, or its schema cannot be brought up to date.
            OSError: an address cannot be listened on.
            SpoolError: the spool cannot be opened.
        """
        try:
            return self._start(given_up or threading.Event())
        except BaseException:
            self.stop()
            raise

    def _start(self, given_up: threading.Event) -> bool:
        config, flows = self.installation.config, self.installation.flows
        self.receiver = ReceiverServer(config, flows, self.clock)
        self.receiver.start()
        self._stack.callback(self.receiver.stop)
        database = self._stack.enter_context(reach_database(config))
        self.store = self._stack.enter_context(Store(store_settings(config, database), clock=self.clock))
        if not self._bring_up_to_date(given_up):
            return False
        pushed = config.prometheus.otlp_url is not None
        self.exposition = Exposition(flows, health=self._health, clock=self.clock, exponential=pushed)
        self.push = HistogramPush(config.prometheus, self.exposition.durations, self.clock) if pushed else None
        self.reader = SpoolReader(config.spool.directory)
        self.writer = Writer(self.store, self.reader, on_committed=self._count, clock=self.clock)
        self.writer.measure_lag()  # what waits from before the start must be judged with its own windows
        self._stack.callback(self._drain)
        self._run("writer", self.writer.run, self._stop_collecting)
        self._run("housekeeping", keep_house, self.store, self._stop_collecting)
        if self.push is not None:
            self._run("push", self.push.run, self._stop_collecting)
        self._run(
            "transitions", count_ways, self.store, lambda: self.installation.flows, self.clock, self._stop_collecting
        )
        self.reporter = Reporter(
            self.store, lambda: self.installation.config, lambda: self.installation.flows, self.clock
        )
        self._run("reports", self.reporter.run, self._stop_collecting)
        self._run("events", self.receiver.receiver.journal.run, self._put_events, self._stop_collecting)
        self._judging = self._judge()
        self.http = HttpServer(application(self._http_parts()), config.http.host, config.http.port, config.http.tls)
        self.http.start()
        if not config.sign_in.is_required:
            _log.info("pages are open", url=self.http.url, to=OPEN)
        self._stack.callback(self.http.stop)
        return True

    def _bring_up_to_date(self, given_up: threading.Event) -> bool:
        """Migrate, as soon as the database is there; False when that was given up."""
        pause_seconds = _FIRST_PAUSE_SECONDS
        while not given_up.is_set():
            try:
                _, remarks = self.store.migrate()
            except psycopg.OperationalError as error:
                if not may_come_up(error):
                    raise
                _log.warning("waiting for the database; what is sent is kept in the spool", error=str(error).strip())
                given_up.wait(pause_seconds)
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
            else:
                for remark in remarks:
                    _log.info("schema", remark=remark)
                return True
        return False

    def stop(self) -> None:
        """Take nothing more, write what was taken, judge what has closed, tell whom it concerns, and end."""
        if self._judging is not None:
            self._judging.stop()
        self._stack.close()

    def reload(self) -> bool:
        """Read configuration and flows again; with faults, keep those in force. True when the new ones are in force.

        Flows, detection, alerts and notifiers change at once. Database, spool, addresses, keys and window length are
        those of the start; a change of them is reported and waits for a restart.
        """
        try:
            found = load_installation(self.path)
        except SpecificationError as error:
            _log.error("reload refused, the last good configuration stays", faults=str(error).splitlines())
            return False
        for section in ("database", "spool", "http", "receiver", "recorder", "prometheus", "window_seconds"):
            if getattr(found.config, section) != getattr(self.installation.config, section):
                _log.warning("reload: this changes with a restart only", section=section)
        changed = changed_parts(self.installation, found)
        listening = {"http": self.installation.config.http}  # until a restart: who may ask depends on where we listen
        found = Installation(found.config.model_copy(update=listening), found.flows)
        try:
            refuse_unprotected(found.config)
        except UnprotectedPagesError as error:
            _log.error("reload refused, the last good configuration stays", faults=[str(error)])
            return False
        self._note_change(changed)
        self.installation = found
        self.exposition.reload(found.flows)
        self.receiver.receiver.reload(found.flows)
        if self._judging is not None:
            self._judging.stop()
        self._judging = self._judge()
        _log.info("reloaded", flows=len(found.flows))
        return True

    def _note_change(self, changed: dict[str, str]) -> None:
        """Keep, as an event, what a reload changed; by names only."""
        if not changed:
            return
        title = ", ".join(dict.fromkeys(", ".join(changed.values()).split(", ")))
        shown = title if len(title) <= _TITLE_LENGTH else f"{title[: _TITLE_LENGTH - 1]}…"
        details: dict[str, str | bool | int | float] = {name: value[:_DETAIL_LENGTH] for name, value in changed.items()}
        at = datetime.fromtimestamp(self.clock(), UTC)
        event = ChangeEvent(kind="configuration", title=shown, at=at, details=details, id=uuid.uuid4().hex)
        try:
            self.receiver.receiver.journal.append([event])
        except OSError as error:
            _log.error("a reload was not noted among the events", error=str(error))
        try:
            with self.store.connection() as connection:
                audit(connection, "", "configuration reloaded", shown, details, COMMAND_LINE)
        except psycopg.Error as error:
            _log.error("a reload was not noted in the audit", error=str(error).strip())

    def lifeless(self) -> list[str]:
        """Names of the parts whose thread has ended although nobody told it to: a fault of ours."""
        threads = dict(self._threads)
        if self._judging is not None:
            threads |= self._judging.threads
        return [name for name, thread in threads.items() if not thread.is_alive()]

    def waiting_for(self) -> list[str]:
        """Why the ruler cannot do its work at the moment, in words; empty when it is ready."""
        reasons = []
        if self.writer.progress.last_error is not None:
            reasons.append(f"writer: {self.writer.progress.last_error}")
        if self.evaluation is None:
            reasons.append("evaluation: has not begun")
        return reasons

    def written_through(self) -> float:
        """Until when what has come in is in the database: windows beyond it are not judged yet."""
        return self.clock() - self.writer.progress.lag_seconds

    # -- inside ---------------------------------------------------------------------------------------

    def _run(self, name: str, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name=f"cxgauge-{name}", daemon=True)
        self._threads[name] = thread
        thread.start()

    def _http_parts(self) -> HttpParts:
        return HttpParts(
            self.store,
            config=lambda: self.installation.config,
            flows=lambda: self.installation.flows,
            metrics=self.exposition.render,
            not_ready=self.waiting_for,
            unhealthy=lambda: [f"{name} has ended" for name in self.lifeless()],
            health=self._health,
            clock=self.clock,
        )

    def _put_events(self, events: Iterable[ChangeEvent]) -> None:
        with self.store.connection() as connection, connection.transaction():
            put_events(connection, events)

    def _count(self, batches: list[ObservationBatch]) -> None:
        for batch in batches:
            self.exposition.observe(batch)

    def _health(self) -> HealthFigures:
        progress, evaluation = self.writer.progress, self.evaluation
        receiver, across = self.receiver.receiver, self.receiver.across
        counters = receiver.counters
        judging = self._judging
        return HealthFigures(
            messages={} if judging is None else judging.messages(),
            dropped={"refused": progress.refused}
            | {kind.value: progress.counts[kind.value] for kind in ProblemKind}
            | {reason.value: progress.quality[reason] for reason in OF_RECORDERS if progress.quality[reason]},
            received={
                "accepted": counters.observations,
                "ignored": counters.ignored,
                "duplicate": counters.duplicates,
                "refused": counters.refused,
            },
            replies={str(status): count for status, count in receiver.replies.items()},
            dimension_other=receiver.mapper.dimension_other,
            clock_ahead=receiver.mapper.clock_ahead,
            across_unknown=dict(across.unknown),
            across_waiting=across.waiting,
            push_failures=None if self.push is None else self.push.failures,
            push_lag_seconds=None if self.push is None else self.push.lag_seconds,
            written=progress.observations,
            writer_failures=progress.failures,
            writer_lag_seconds=progress.lag_seconds,
            spool_bytes=progress.lag_bytes,
            spool_limit_bytes=self.installation.config.spool.limit_bytes,
            report_troubles=self.reporter.troubles,
            evaluation_lag_seconds=None if evaluation is None else evaluation.lag_seconds,
            evaluation_duration_seconds=None if evaluation is None else evaluation.duration_seconds,
        )

    def _drain(self) -> None:
        self.receiver.stop()
        self._stop_collecting.set()
        for thread in self._threads.values():
            thread.join()

    def _judge(self) -> Judging:
        parts = alerting(
            self.installation.config, self.installation.flows, self.store, self.clock, self.written_through
        )

        def ticked(evaluation: Evaluation) -> None:
            if evaluation.transitions or self.evaluation is None:
                with self.store.connection() as connection:
                    self.exposition.set_alerts(map(alert_from_json, read_current_alerts(connection, self.clock())))
            profile = parts.evaluator.profile
            if profile is not None:
                self.exposition.set_baselines(baseline_durations(profile, self.clock()))
            self.evaluation = evaluation

        return Judging(parts, ticked)
