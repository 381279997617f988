"""From what happened to alerts to messages in the outbox."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from urllib.parse import quote

from ..metrics.configuration.notifiers import AlertmanagerNotifier, EmailNotifier, NotifierSettings
from ..metrics.detection.settings import DetectionSettings
from ..metrics.deviation import Deviation
from ..metrics.specification.flow import FlowSpec
from ..metrics.store.connection import Connection
from ..metrics.store.outbox import enqueue_message
from ..metrics.translation import Language
from .alert import RULER, Alert, Severity, Transition
from .chart import Trend
from .figures import Figures
from .lifecycle import Lifecycle, severity
from .message import Event, Link, Message, compose, events, message_to_json
from .routing import BankCalendar, Calendar, tell_at, wants
from .text import alert_translator
from .titles import FlowTitles, Titles

__all__ = ["Announcer", "Outgoing", "enqueue", "severity_by_flow", "titles_of"]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for one notifier, about the alert's transition ``sequence``, not to be sent before ``tell_at``."""

    notifier: str
    sequence: int
    message: Message
    tell_at: float


@dataclass(frozen=True, slots=True)
class Announcer:
    """Composes messages for those who are to be told.

    Attributes:
        flows: The specification: titles, owners, who is to be told.
        notifiers: Whom there is to tell.
        zone: The bank's time zone.
        language: For notifiers that name none.
        external_url: Address of the pages, for links; none without it.
        calendar: The bank's workdays; by default Monday to Friday.
    """

    flows: Mapping[str, FlowSpec]
    notifiers: Sequence[NotifierSettings]
    zone: tzinfo
    language: Language = "en"
    external_url: str | None = None
    calendar: Calendar | None = None

    @property
    def draws(self) -> bool:
        """Whether anybody gets a picture."""
        return any(isinstance(notifier, EmailNotifier) for notifier in self.notifiers)

    def compose(
        self,
        transitions: Iterable[Transition],
        lifecycle: Lifecycle,
        now: float,
        trends: Mapping[str, Trend | None] | None = None,
    ) -> list[Outgoing]:
        """Compose a message for every notifier concerned, and note that readers know of the alert.

        ``trends`` has what mails draw, by alert id.
        """
        calendar = self.calendar or BankCalendar(self.zone, DetectionSettings(zone=str(self.zone)))
        found: list[Outgoing] = []
        for id_, event in events(transitions, lifecycle.alerts).items():
            alert = lifecycle.alerts[id_]
            for notifier in self.notifiers:
                if self.concerns(notifier, alert, event):
                    trend = (trends or {}).get(id_) if isinstance(notifier, EmailNotifier) else None
                    message = self.message(alert, event, notifier.language or self.language, now, trend)
                    at = tell_at(notifier, alert.severity, now, calendar)
                    found.append(Outgoing(notifier.name, alert.sequence, message, at))
            lifecycle.mark_told(id_)
        return found

    def concerns(self, notifier: NotifierSettings, alert: Alert, event: Event) -> bool:
        """Whether a notifier is to be told: the flow or step names it, and it wants this event, severity and owner.

        Alertmanager is told of states, not of events, see :mod:`.alertmanager`.
        """
        if isinstance(notifier, AlertmanagerNotifier) or (event is Event.RESOLVED and not notifier.resolved):
            return False
        return self.routed(notifier, alert)

    def routed(self, notifier: NotifierSettings, alert: Alert) -> bool:
        """Whether alerts of this flow, step, severity and owner are for this notifier."""
        flow = self.flows.get(alert.flow)
        if not wants(notifier, alert.severity, flow.alert_owner(alert.scope.step) if flow is not None else ""):
            return False
        named = flow.alert_notifiers(alert.scope.step) if flow is not None else None
        return named is None or notifier.name in named

    def message(
        self, alert: Alert, event: Event, language: Language, now: float, trend: Trend | None = None
    ) -> Message:
        """The message in one language."""
        figures = Figures(language, self.zone)
        return compose(alert, event, titles_of(self.flows), figures, now, tuple(self.links(alert, language)), trend)

    def links(self, alert: Alert, language: Language) -> Iterable[Link]:
        """Where to read on: the alert, the flow's report, the runbook."""
        text = alert_translator(language).text
        if self.external_url is not None:
            base = self.external_url.rstrip("/")
            yield Link(text("Alert"), f"{base}/alerts/{quote(alert.id, safe='')}")
            if alert.flow != RULER:
                yield Link(text("Report"), f"{base}/flows/{quote(alert.flow, safe='')}")
        flow = self.flows.get(alert.flow)
        runbook = flow.alert_runbook(alert.scope.step) if flow is not None else None
        if runbook is not None:
            yield Link(text("Runbook"), runbook)


def enqueue(connection: Connection, outgoing: Iterable[Outgoing], now: float) -> None:
    """Put messages into the outbox, in the transaction that stored the transitions they tell of."""
    for each in outgoing:
        text = message_to_json(each.message)
        enqueue_message(connection, each.message.alert_id, each.sequence, each.notifier, text, now, each.tell_at)


def titles_of(flows: Mapping[str, FlowSpec]) -> Titles:
    """The titles that a specification gives."""
    return Titles(
        {
            name: FlowTitles(
                title=flow.title.model_dump(),
                steps={step.name: step.title.model_dump() for step in flow.steps},
                checks={
                    (step.name, check.name): check.title.model_dump()
                    for step in flow.steps
                    for check in step.checks
                    if check.title is not None
                }
                | {
                    (check.counted_step, check.name): check.title.model_dump()
                    for check in flow.across
                    if check.title is not None
                },
                owner=flow.alert_owner(),
                owners={step.name: flow.alert_owner(step.name) for step in flow.steps},
            )
            for name, flow in flows.items()
        }
    )


def severity_by_flow(flows: Mapping[str, FlowSpec], deviation: Deviation) -> Severity:
    """The severity that the step or its flow states; without one, what :func:`.lifecycle.severity` judges."""
    flow = flows.get(deviation.scope.flow)
    if flow is None:
        return severity(deviation)
    own = next((step.alerts for step in flow.steps if step.name == deviation.scope.step), None)
    stated = (own.severity if own else None) or flow.alerts.severity
    return Severity(stated) if stated else severity(deviation)
