"""The demonstration: a bank that is measured, two faults, and the two alerts that follow.

Everything runs as in production, each part in a process of its own: the database, the bank with the recorder,
its customers over loopback, and ``cxgauge up``. Only the history before the start is simulated, and marked so.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import expm1
from pathlib import Path
from typing import Any, Final

import httpx2

from ..alerts.alert import RULER, alert_from_json
from ..alerts.announcer import titles_of
from ..alerts.figures import Figures
from ..alerts.message import Event, compose, plain
from ..metrics.change_event import ChangeEvent
from ..metrics.deviation import Deviation
from ..metrics.specification.flow import FlowSpec, load_flows
from ..metrics.store.alerts import read_current_alerts
from ..metrics.store.embedded import EmbeddedPostgres
from ..metrics.store.events import put_events
from ..metrics.store.store import Store
from ..metrics.store.write import StoredPosition
from .bank import FLOWS_DIRECTORY, STEP_LATENCIES
from .clients import journeys_per_second
from .history import SimulatedHistory
from .processes import await_answer, free_port, module_process, require_free, require_running

__all__ = ["FAULTS", "FAULTY_STEPS", "RELEASE", "Demonstration", "DemonstrationSettings", "FoundAlert", "Result"]

_POLL_SECONDS: Final = 0.5
_HISTORY_SOURCE: Final = "simulated-history"
_RAMP_SECONDS: Final = 5.0
_KEY_VARIABLE: Final = "CXGAUGE_DEMO_KEY"
_KEYS: Final = {_KEY_VARIABLE: "an invented bank needs no secret"}

FAULTS: Final[dict[str, Any]] = {"slowdown": {"bill_total": 1.2}, "details_missing_ratio": 0.05}
"""What breaks: bill_total goes from 1.0 s to 1.2 s, and every twentieth bill shows its total without details."""

RELEASE: Final = "bill-service 8.3.0"
"""What brings the faults; reported as an event, as a deployment pipeline does."""

FAULTY_STEPS: Final = {("bill_inquiry", "bill_total"): "slower", ("bill_inquiry", "bill_details"): "failing"}
"""The alerts that must come, and no others."""


@dataclass(frozen=True, slots=True)
class DemonstrationSettings:
    """How large and how long the demonstration is.

    Attributes:
        customers: At the same time.
        window_seconds: Length of a window; short, so that minutes suffice.
        history_seconds: Simulated history that baselines are learnt from.
        healthy_seconds: How long the bank runs without faults first.
        limit_seconds: After this long since the start it gives up.
        settle_seconds: How long it goes on after both alerts, to see whether anything else is alerted.
        port: Where the pages are; 0 takes a free port.
        language: Of the pages and alerts.
    """

    customers: int = 120
    window_seconds: int = 5
    history_seconds: float = 3 * 3600.0
    healthy_seconds: float = 30.0
    limit_seconds: float = 170.0
    settle_seconds: float = 10.0
    port: int = 0
    language: str = "en"


@dataclass(frozen=True, slots=True)
class FoundAlert:
    """One alert as the demonstration reports it; ``effect`` is relative: 0.2 is 20 % slower, or 20 % more failures."""

    flow: str
    step: str | None
    kind: str
    effect: float
    effect_low: float
    effect_high: float
    observations: int
    started_at: float
    detected_at: float


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it; ``exact`` says whether exactly the injected faults were found."""

    alerts: tuple[FoundAlert, ...]
    silent_steps: tuple[str, ...]
    observations: int
    seconds: float
    exact: bool


@dataclass(slots=True)
class Demonstration:
    """Runs the demonstration in ``directory``; ``say`` gets a line of text whenever something happens."""

    directory: Path
    settings: DemonstrationSettings
    say: Callable[[str], None]
    started: float = field(default_factory=time.monotonic)
    url: str = ""

    def run(self, stay: Callable[[], None] | None = None, look: Callable[[str], None] | None = None) -> Result:
        """Start everything, break the bank, wait for the alerts.

        Args:
            stay: Called before everything is ended.
            look: Called with the pages' address as soon as they answer.

        Raises:
            DemonstrationError: a part did not start.
        """
        flows = load_flows(FLOWS_DIRECTORY)
        require_free(self.settings.port)
        with ExitStack() as stack:
            self.say("starting an embedded PostgreSQL …")
            server = stack.enter_context(EmbeddedPostgres(self.directory / "postgres"))
            stack.callback(server.remove)
            dsn = server.start()
            store = stack.enter_context(Store.open(dsn, window_seconds=self.settings.window_seconds))
            store.migrate()
            port, bank_port = self.settings.port or free_port(), free_port()
            self.url, bank_url = f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{bank_port}"
            config = str(self._write_configuration(dsn, port))
            bank = ("cxgauge.examples.bank", "--config", config, "--port", str(bank_port))
            self._start(stack, f"{bank_url}/-/healthy", "bank", *bank)
            customers = ("cxgauge.examples.clients", "--url", bank_url, "--count", str(self.settings.customers))
            walking = stack.enter_context(module_process(self.directory / "customers.log", *customers))
            # The customers' first seconds overlap with the history, so that no window between them is empty.
            self._write_history(store, flows, time.time() + _RAMP_SECONDS)
            self._start(stack, f"{self.url}-/ready", "ruler", "cxgauge", "up", "--config", config)
            self.say(f"the pages are open: {self.pages}")
            if look is not None:
                look(self.pages)
            result = self._watch(store, flows, bank_url)
            require_running(walking, self.directory / "customers.log")
            if stay is not None:
                stay()
            return result
        raise AssertionError("unreachable")

    @property
    def pages(self) -> str:
        """Address of the first page, with the span in which the faults show."""
        return f"{self.url}?span=1h"

    # -- setting up ---------------------------------------------------------------------------------------

    def _write_history(self, store: Store, flows: Mapping[str, FlowSpec], end: float) -> None:
        end -= end % self.settings.window_seconds
        start = end - self.settings.history_seconds
        rate = journeys_per_second(self.settings.customers)
        history, written = SimulatedHistory(flows, start, end, rate), 0
        position = StoredPosition(0, 0)
        for number, batch in enumerate(history.batches(), 1):
            following = StoredPosition(0, number)
            store.write([batch], _HISTORY_SOURCE, position, following)
            position, written = following, written + len(batch)
        store.compact()
        self.say(f"wrote {written:,} observations of simulated history ({self.settings.history_seconds / 3600:.0f} h)")

    def _write_configuration(self, dsn: str, port: int) -> Path:
        shutil.copytree(FLOWS_DIRECTORY, self.directory / "flows", dirs_exist_ok=True)
        path = self.directory / "cxgauge.yml"
        settings = self.settings
        path.write_text(
            f"language: {settings.language}\n"
            f"window_seconds: {settings.window_seconds}\n"
            f"database: {{dsn: {json.dumps(dsn)}}}\n"
            f"http: {{port: {port}}}\n"
            "flows: {directory: flows}\n"
            "spool: {directory: spool}\n"
            f"recorder: {{customer_key: {json.dumps(f'env:{_KEY_VARIABLE}')}}}\n"
            "receiver: {port: 0}\n"
            "detection: {minimum_history_days: 0.05, history_days: 1, grace_seconds: 2}\n",
            encoding="utf-8",
        )
        return path

    def _start(self, stack: ExitStack, url: str, name: str, module: str, *arguments: str) -> None:
        log = self.directory / f"{name}.log"
        await_answer(url, stack.enter_context(module_process(log, module, *arguments, environment=_KEYS)), log)

    # -- watching -----------------------------------------------------------------------------------------

    def _watch(self, store: Store, flows: Mapping[str, FlowSpec], bank_url: str) -> Result:
        self._pause(self.settings.healthy_seconds)
        httpx2.put(f"{bank_url}/faults", json=FAULTS, timeout=5.0, trust_env=False).raise_for_status()
        release = ChangeEvent(
            kind="deployment", title=RELEASE, version="8.3.0", flow="bill_inquiry", at=datetime.now(UTC), id="release"
        )
        with store.connection() as connection, connection.transaction():
            put_events(connection, [release])
        self.say(f"{RELEASE} breaks the bank: bill_total goes from 1.0 s to 1.2 s, 5 % of the bills lose their details")
        found: dict[str, FoundAlert] = {}
        settled: float | None = None
        while self._seconds() < self.settings.limit_seconds and (settled is None or time.monotonic() < settled):
            for alert_id, alert, text in self._firing(store, flows):
                if alert_id not in found:
                    self.say(f"\nALERT after {self._seconds():.0f} s\n{text}")
                found[alert_id] = alert
            if settled is None and {(one.flow, one.step) for one in found.values()} >= set(FAULTY_STEPS):
                settled = time.monotonic() + self.settings.settle_seconds
            time.sleep(_POLL_SECONDS)
        return self._result(store, tuple(found.values()))

    def _firing(self, store: Store, flows: Mapping[str, FlowSpec]) -> Iterator[tuple[str, FoundAlert, str]]:
        """Alerts people were told of, each with its id and its text in full."""
        figures = Figures("zh" if self.settings.language == "zh" else "en", UTC)
        with store.connection() as connection:
            alerts = [alert_from_json(document) for document in read_current_alerts(connection, 0.0)]
        for alert in alerts:
            if alert.fired_at is not None and alert.flow != RULER:
                message = compose(alert, Event.FIRING, titles_of(flows), figures, time.time())
                yield alert.id, _found(alert.lead), plain(message)

    def _result(self, store: Store, alerts: tuple[FoundAlert, ...]) -> Result:
        alerted = {(alert.flow, alert.step) for alert in alerts}
        kinds = {(alert.flow, alert.step): alert.kind for alert in alerts}
        silent = tuple(f"{flow}/{step}" for flow, step in STEP_LATENCIES if (flow, step) not in alerted)
        observations = sum(one.observations for one in store.progress() if one.source != _HISTORY_SOURCE)
        exact = len(alerts) == len(FAULTY_STEPS) and kinds == FAULTY_STEPS
        return Result(alerts, silent, observations, round(self._seconds(), 1), exact)

    def _pause(self, seconds: float) -> None:
        self.say(f"{self.settings.customers} customers use the healthy bank for {seconds:.0f} s …")
        time.sleep(seconds)

    def _seconds(self) -> float:
        return time.monotonic() - self.started


def _found(deviation: Deviation) -> FoundAlert:
    scope = deviation.scope
    return FoundAlert(
        scope.flow,
        scope.step,
        deviation.kind.value,
        expm1(deviation.effect),
        expm1(deviation.effect_low),
        expm1(deviation.effect_high),
        deviation.observations,
        deviation.started_at,
        deviation.detected_at,
    )
