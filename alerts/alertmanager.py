"""Prometheus Alertmanager: the state of alerts, posted again and again.

Alertmanager is not told events but what is true now (https://prometheus.io/docs/alerting/latest/clients/): every resend
interval all firing alerts are posted with an ``endsAt`` four intervals ahead, so that they end by themselves should
this process be gone for long, and what has ended is posted with its end for a quarter of an hour, as Prometheus does.
Nothing is lost while Alertmanager is away: what fires is posted when it is back, and an alert that fired and ended
in between is posted as firing first, with its true times, so that it is told of. Nothing is doubled: labels identify
an alert and never change, and Alertmanager deduplicates by them.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
import structlog

from ..metrics.configuration.notifiers import AlertmanagerNotifier
from ..metrics.configuration.secret import SecretError
from ..metrics.deviation import DeviationKind
from ..metrics.names import Label
from ..metrics.store.alerts import read_current_alerts
from ..metrics.store.outbox import alertmanager_posts, note_alertmanager_post
from ..metrics.store.store import Store
from .alert import RULER, Alert, AlertState, Resolution, alert_from_json
from .announcer import Announcer
from .figures import Figures
from .http import HttpCaller, encode
from .message import Event
from .notifier import Delivery, Outcome

__all__ = ["AlertmanagerSender", "Posted", "post_alerts"]

_RESOLVED_KEPT_SECONDS = 900.0  # as resolvedRetention in prometheus/rules/alerting.go
_LOST_KEPT_SECONDS = 7 * 86400.0  # an alert that ended unseen is told of for a week
_ENDS_AFTER_INTERVALS = 4
_log = structlog.get_logger("cxgauge.notifications")


@dataclass(frozen=True, slots=True)
class Posted:
    """What one round posted, and what Alertmanager said; ``None`` when there was nothing to post."""

    firing: int = 0
    resolved: int = 0
    delivery: Delivery | None = None


@dataclass(slots=True)
class AlertmanagerSender:
    """Keeps one Alertmanager up to date.

    Attributes:
        store: Where alerts are.
        settings: Address, account, resend interval.
        announcer: Texts, links and who is to be told.
        clock: Seconds since 1970 UTC.
    """

    store: Store
    settings: AlertmanagerNotifier
    announcer: Announcer
    clock: Callable[[], float] = time.time
    _caller: HttpCaller | None = field(default=None)

    def step(self) -> Posted:
        """Post what is true now.

        Raises:
            psycopg.Error: the database is away; call again.
        """
        now = self.clock()
        with self.store.connection() as connection:
            documents = read_current_alerts(connection, now - _LOST_KEPT_SECONDS)
            told = alertmanager_posts(connection, self.settings.name)
        bodies: list[dict[str, Any]] = []
        fired: list[str] = []
        ended: list[str] = []
        for alert in (alert_from_json(document) for document in documents):
            if not self._concerned(alert):
                continue
            first, over = told.get(alert.id, (None, None))
            if alert.is_open or self._must_fire_first(alert, first, now):
                if alert.is_open and alert.muted_by is not None and first is None:
                    continue
                bodies.append(self._body(alert, now, ends=None))
                fired.append(alert.id)
            elif first is not None and (over is None or now - over < _RESOLVED_KEPT_SECONDS):
                bodies.append(self._body(alert, now, ends=alert.resolved_at))
                ended.append(alert.id)
        if not bodies:
            return Posted()
        delivery = self._post(bodies)
        if delivery.outcome is Outcome.SENT:
            with self.store.connection() as connection, connection.transaction():
                note_alertmanager_post(connection, self.settings.name, fired, ended, now)
        else:
            _log.warning("Alertmanager did not take the alerts, trying again", detail=delivery.detail)
        return Posted(len(fired), len(ended), delivery)

    def run(self, stop: threading.Event) -> None:
        """Post every resend interval until ``stop``, and soon after a change."""
        state: tuple[tuple[str, str], ...] = ()
        due = 0.0
        while not stop.is_set():
            try:
                now, current = self.clock(), self._state()
                if current != state or now >= due:
                    posted = self.step()
                    state, due = current, now + self.settings.resend_seconds
                    if posted.delivery is not None and posted.delivery.outcome is not Outcome.SENT:
                        due = now + min(15.0, self.settings.resend_seconds)
            except psycopg.Error as error:
                _log.error("alerts cannot be read, trying again", error=type(error).__name__)
            stop.wait(min(2.0, self.settings.resend_seconds))
        self.close()

    def close(self) -> None:
        """Give connections back."""
        if self._caller is not None:
            self._caller.close()

    def _state(self) -> tuple[tuple[str, str], ...]:
        with self.store.connection() as connection:
            documents = read_current_alerts(connection, self.clock() - _RESOLVED_KEPT_SECONDS)
        alerts = [alert_from_json(document) for document in documents]
        return tuple((alert.id, f"{alert.state}{alert.muted_by}") for alert in alerts)

    def _concerned(self, alert: Alert) -> bool:
        if alert.state is AlertState.PENDING or alert.resolution is Resolution.CANCELLED:
            return False
        return self.announcer.routed(self.settings, alert)

    def _must_fire_first(self, alert: Alert, first: float | None, now: float) -> bool:
        """Whether an alert that is over has to be shown as firing: it was never seen, or too briefly to be told of."""
        if alert.muted_by is not None and first is None:
            return False
        if first is None:
            return alert.told
        return now - first < self.settings.resend_seconds

    def _body(self, alert: Alert, now: float, ends: float | None) -> dict[str, Any]:
        language = self.settings.language or self.announcer.language
        event = Event.RESOLVED if ends is not None else Event.FIRING
        message = self.announcer.message(alert, event, language, now)
        scope, iso = alert.scope, Figures(language, self.announcer.zone).iso
        labels = {
            "alertname": _alertname(alert),
            "cxgauge_alert": alert.id,
            Label.FLOW: scope.flow,
            Label.STEP: scope.step or "",
            Label.KIND: alert.lead.kind.value,
            Label.CHECK: scope.check or "",
            Label.SEVERITY: alert.severity_at_first.value,
            Label.OWNER: message.data["alert"]["owner"],
            **{f"dimension_{name}": value for name, value in scope.dimensions},
        }
        facts = "\n".join(f"{fact.label}: {fact.value}" for fact in message.facts)
        return {
            "labels": {name: value for name, value in labels.items() if value},
            "annotations": {
                "summary": message.subject,
                "description": message.short,
                "facts": facts,
                "not_concluded": message.not_concluded,
                **{f"link_{number}": f"{link.label}: {link.url}" for number, link in enumerate(message.links, 1)},
            },
            "startsAt": iso(alert.fired_at or alert.opened_at),
            "endsAt": iso(ends if ends is not None else now + _ENDS_AFTER_INTERVALS * self.settings.resend_seconds),
            "generatorURL": next((link.url for link in message.links), ""),
        }

    def _post(self, bodies: list[dict[str, Any]]) -> Delivery:
        if self._caller is None:
            self._caller = HttpCaller(self.settings.timeout_seconds)
        return post_alerts(self._caller, self.settings, bodies)


def post_alerts(caller: HttpCaller, settings: AlertmanagerNotifier, bodies: list[dict[str, Any]]) -> Delivery:
    """POST alerts to ``/api/v2/alerts``."""
    headers: dict[str, str] = {}
    try:
        url = settings.url.reveal().rstrip("/") + "/api/v2/alerts"
        if settings.token is not None:
            headers["authorization"] = f"Bearer {settings.token.reveal()}"
        elif settings.username is not None and settings.password is not None:
            account = f"{settings.username}:{settings.password.reveal()}"
            headers["authorization"] = f"Basic {base64.b64encode(account.encode()).decode()}"
    except SecretError as error:
        return Delivery(Outcome.RETRY, str(error))
    return caller.post(url, encode(bodies), headers)[0]


def _alertname(alert: Alert) -> str:
    if alert.flow == RULER:
        return {"source": "CxgaugeSourceSilent"}.get(alert.scope.step or "", "CxgaugeEvaluationLate")
    return {
        DeviationKind.SLOWER: "CxgaugeStepSlower",
        DeviationKind.TAIL: "CxgaugeStepTail",
        DeviationKind.FAILING: "CxgaugeStepFailing",
        DeviationKind.SILENT: "CxgaugeStepSilent",
    }.get(alert.lead.kind, "CxgaugeDeviation")
