"""The evaluator: each closed window is read, judged and stored, with all that follows from it, in one transaction.

What a window leads to (the detector's new state, deviations, alerts, their transitions, messages to send, and how
far the evaluation has come) is committed together. Killed at any moment and started again, the evaluator
goes on with the first window that is not committed, from the state before it, and comes to the same
alerts with the same ids. Two evaluators on one database do not disturb each other: the second finds the
window done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from ..metrics.baseline.baseline import Profile
from ..metrics.detection.input import Measurements
from ..metrics.deviation import Deviation, DeviationKind
from ..metrics.specification.flow import FlowSpec
from ..metrics.store.alerts import lock_alerts, save_deviation
from ..metrics.store.connection import Connection
from ..metrics.store.evaluation import DetectorState, detector_through, save_detector_state, set_progress
from ..metrics.store.store import Store
from .alert import ALERTING, Alert, Transition, TransitionKind
from .announcer import Announcer, enqueue, severity_by_flow
from .baselines import NAME, Baselines, Judge
from .chart import Trend
from .evaluation_settings import EvaluationSettings
from .health import evaluation_health, source_health
from .investigation import investigate, nearby_of, trend_of
from .lifecycle import Lifecycle
from .reckoning import Reckoning
from .records import load_lifecycle, save_lifecycle

__all__ = ["NAME", "Evaluation", "Evaluator"]

_WORTH_INVESTIGATING = frozenset(
    {
        TransitionKind.FIRED,
        TransitionKind.REOPENED,
        TransitionKind.UPDATED,
        TransitionKind.REMINDED,
        TransitionKind.RESOLVED,
    }
)
_log = structlog.get_logger("cxgauge.evaluator")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one tick did.

    Attributes:
        windows: Windows judged.
        through: End of the last one; ``None`` as long as there are no data to learn from.
        lag_seconds: From there to now.
        deviations: All that the detector reported, alerting or not.
        transitions: What happened to alerts.
        learned: Whether a new baseline was taken into use.
        duration_seconds: How long the tick took.
    """

    windows: int = 0
    through: float | None = None
    lag_seconds: float = 0.0
    deviations: tuple[Deviation, ...] = ()
    transitions: tuple[Transition, ...] = ()
    learned: bool = False
    duration_seconds: float = 0.0


@dataclass(slots=True)
class _Found:
    deviations: list[Deviation] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)


class Evaluator:
    """Judges closed windows of a store.

    Args:
        store: Where figures are read and everything is kept; its schema is up to date.
        flows: The specification.
        settings: How windows are judged.
        announcer: Puts messages into the outbox.
        clock: Seconds since 1970 UTC.
        delivered_through: Until when observations have been written as far as collection knows; windows
            beyond it wait, at most ``settings.late_seconds``. ``None`` when nobody knows.
    """

    def __init__(
        self,
        store: Store,
        flows: Mapping[str, FlowSpec],
        settings: EvaluationSettings,
        announcer: Announcer,
        clock: Callable[[], float] = time.time,
        delivered_through: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._store = store
        self._flows = flows
        self._settings = settings
        self._announcer = announcer
        self._clock = clock
        self._delivered_through = delivered_through
        self._loaded: Judge | None = None
        self._baselines = Baselines(store, settings, clock, self._open_deviations)
        self._steps = {name: tuple(step.name for step in flow.steps) for name, flow in flows.items()}
        self._reckoning = Reckoning(store, flows, settings)

    @property
    def profile(self) -> Profile | None:
        """The baseline in force; ``None`` before there is one."""
        return None if self._loaded is None else self._loaded.detector.profile

    # -- one tick -------------------------------------------------------------------------------------

    def tick(self, stop: Callable[[], bool] = lambda: False) -> Evaluation:
        """Judge every window that has closed, then look after the ruler's own health.

        Raises:
            psycopg.Error: the database is away; nothing is lost, call again.
        """
        began = time.monotonic()
        target = self._target()
        before = self._loaded.baseline_id if self._loaded is not None else None
        self._loaded = self._baselines.judge(self._loaded, target)
        learned = self._loaded is not None and self._loaded.baseline_id != before
        found = _Found()
        windows = 0
        loaded = self._loaded
        while loaded is not None and loaded.through < target and not stop():
            self._judge(loaded, found)
            windows += 1
            loaded = self._loaded
            if time.monotonic() - began > self._settings.catch_up_seconds:
                break
        through = loaded.through if loaded is not None else None
        self._look_after_health(through, found)
        if through is not None:
            self._baselines.learn_when_due(through)
        lag = self._clock() - through if through is not None else 0.0
        return Evaluation(
            windows, through, lag, tuple(found.deviations), tuple(found.transitions), learned, time.monotonic() - began
        )

    def run(self, stop: threading.Event, on_tick: Callable[[Evaluation], None] = lambda _: None) -> None:
        """Tick until ``stop``; a database that is away is waited for."""
        pause = min(1.0, self._settings.window_seconds / 4)
        while not stop.is_set():
            try:
                on_tick(self.tick(stop.is_set))
            except Exception as error:
                # Whatever it was, the state in the store is that of the last whole window: go on from there.
                self._loaded = None
                _log.error("evaluation failed, trying again", error=f"{type(error).__name__}: {error}")
                stop.wait(5.0)
            stop.wait(pause)
        self.wait_for_learning()

    def wait_for_learning(self, timeout_seconds: float = 60.0) -> None:
        """Wait for a baseline that is being learnt in the background."""
        self._baselines.wait(timeout_seconds)

    def learn(self) -> bool:
        """Learn a baseline up to the last closed window and store it; False without data."""
        return self._baselines.learn(self._loaded.through if self._loaded is not None else self._target())

    def _target(self) -> float:
        """The end of the newest window that is closed and, as far as is known, fully written."""
        now = self._clock()
        known = self._delivered_through()
        closed = now - self._settings.grace_seconds
        if known is not None:
            closed = min(closed, max(known, now - self._settings.late_seconds))
        window = self._settings.window_seconds
        return closed // window * window

    def _open_deviations(self) -> list[Deviation]:
        """What open alerts are made of and is not over."""
        with self._store.connection() as connection:
            lifecycle = self._lifecycle(connection, self._clock())
        return [
            member.deviation
            for alert in lifecycle.alerts.values()
            if alert.is_open
            for member in alert.members
            if member.recovered_at is None
        ]

    # -- windows --------------------------------------------------------------------------------------

    def _judge(self, loaded: Judge, found: _Found) -> None:
        """Judge the next window, in one transaction; on failure what is in memory is dropped."""
        start, window = loaded.through, self._settings.window_seconds
        end = start + window
        try:
            rollup, keys = self._store.read_rollups(start, end)
            measured = Measurements.from_rollup(rollup, loaded.cells.cells(keys))
            with self._store.connection() as connection, connection.transaction():
                lock_alerts(connection)
                stored = detector_through(connection, NAME)
                if stored is not None and stored > start:
                    self._loaded = None  # somebody else judged it: read what they found
                    return
                lifecycle = self._lifecycle(connection, end)
                before = dict(lifecycle.alerts)
                ends = self._reckoning.accept(loaded, before.values(), start, end)
                deviations = [self._reckoning.completed(each, end) for each in loaded.detector.advance(start, measured)]
                deviations += self._reckoning.guilty(loaded, lifecycle, deviations, end)
                transitions = lifecycle.apply(deviations, end)
                transitions += self._reckoning.estimate_anew(loaded, lifecycle, end)
                self._finish(connection, lifecycle, before, transitions, end)
                deviations += ends
                for deviation in deviations:
                    save_deviation(connection, deviation, _alert_of(deviation, lifecycle))
                state = DetectorState(end, loaded.detector.to_bytes(), {"baseline_id": loaded.baseline_id})
                save_detector_state(connection, NAME, state)
                set_progress(connection, NAME, end, {"observations": int(rollup.observations.sum())})
        except BaseException:
            self._loaded = None
            raise
        loaded.through = end
        found.deviations += deviations
        found.transitions += transitions

    def _lifecycle(self, connection: Connection, now: float) -> Lifecycle:
        severity_of = partial(severity_by_flow, self._flows)
        return load_lifecycle(connection, self._settings.lifecycle, self._steps, severity_of, now)

    def _finish(
        self,
        connection: Connection,
        lifecycle: Lifecycle,
        before: Mapping[str, Alert],
        transitions: list[Transition],
        now: float,
    ) -> None:
        """Find out who is hit, put messages into the outbox, and store alerts and transitions."""
        trends: dict[str, Trend | None] = {}
        for transition in transitions:
            if transition.kind in _WORTH_INVESTIGATING:
                alert = lifecycle.alerts[transition.alert_id]
                attribution, impact = investigate(self._store, self._flows, alert, now)
                if alert.attribution is not None and not alert.is_open:
                    attribution = alert.attribution  # what came after the end would only dilute it
                lifecycle.attach(alert.id, attribution, impact, nearby_of(self._store, alert, self._settings.detection))
                if self._announcer.draws:
                    trends[alert.id] = trend_of(self._store, alert, now)
        outgoing = self._announcer.compose(transitions, lifecycle, now, trends)
        save_lifecycle(connection, before, lifecycle, transitions)
        enqueue(connection, outgoing, now)

    # -- health ---------------------------------------------------------------------------------------

    def _look_after_health(self, through: float | None, found: _Found) -> None:
        """Alerts about the ruler itself: silent sources, late evaluation."""
        now = self._clock()
        detector = self._loaded.detector if self._loaded is not None else None
        wrong = [
            *evaluation_health(through, now, self._settings),
            *source_health(self._store.progress(), detector, now, self._settings),
        ]
        with self._store.connection() as connection, connection.transaction():
            lock_alerts(connection)
            lifecycle = self._lifecycle(connection, now)
            known = [alert for alert in lifecycle.alerts.values() if alert.is_open and alert.flow == ""]
            if not wrong and not known:
                return
            before = dict(lifecycle.alerts)
            scopes = {deviation.scope for deviation in wrong}
            over = [
                replace(alert.lead, kind=DeviationKind.RECOVERED, ends=alert.lead.kind, detected_at=now)
                for alert in known
                if alert.scope not in scopes
            ]
            transitions = lifecycle.apply([*wrong, *over], now)
            self._finish(connection, lifecycle, before, transitions, now)
            found.transitions += transitions


def _alert_of(deviation: Deviation, lifecycle: Lifecycle) -> str | None:
    """The alert a deviation is in."""
    if deviation.kind not in ALERTING:
        return None
    for alert in lifecycle.alerts.values():
        if alert.is_open and any(
            member.deviation.kind is deviation.kind and member.deviation.scope == deviation.scope
            for member in alert.members
        ):
            return alert.id
    return None
