"""An alert as a value: its state, what it is made of and what people did about it.

Values are frozen; :mod:`.lifecycle` makes new ones. They travel to the store as JSON
(:func:`to_json`, :func:`alert_from_json`), whose field names are a stable, documented form.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase

from pydantic import TypeAdapter

from ..metrics.deviation import Deviation, DeviationKind, Scope
from .attribution import Attribution
from .impact import Impact

__all__ = [
    "ALERTING",
    "CALENDAR_KINDS",
    "EVALUATION",
    "RULER",
    "SOURCE",
    "Alert",
    "AlertState",
    "Member",
    "NearbyEvent",
    "Resolution",
    "Severity",
    "Silence",
    "SizeAt",
    "Transition",
    "TransitionKind",
    "alert_from_json",
    "alert_id",
    "bounded",
    "to_json",
]

ALERTING = frozenset({DeviationKind.SLOWER, DeviationKind.TAIL, DeviationKind.FAILING, DeviationKind.SILENT})

RULER = ""
"""The flow name of alerts about the ruler itself; their step is :data:`SOURCE` or :data:`EVALUATION`."""

SOURCE = "source"
"""A source of observations stopped delivering; the scope's dimension ``name`` says which."""

EVALUATION = "evaluation"
"""The evaluation is late: what happened meanwhile is not known yet."""

_EFFECT_LIMIT = math.log(1e6)  # beyond a millionfold an effect is a direction, and JSON knows no infinity


class AlertState(StrEnum):
    """Where an alert is in its life."""

    PENDING = "pending"  # seen, held back while other scopes of the same cause may still join
    FIRING = "firing"
    RESOLVED = "resolved"


class Resolution(StrEnum):
    """Why an alert is over."""

    RECOVERED = "recovered"  # the detector found the old level again
    ACCEPTED = "accepted"  # a person declared the new level normal
    CANCELLED = "cancelled"  # recovered while still pending: nobody was told


class Severity(StrEnum):
    """How loudly to say it."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class TransitionKind(StrEnum):
    """One step in the life of an alert; each is kept in the audit trail."""

    OPENED = "opened"
    JOINED = "joined"  # a further scope of the same cause
    UPDATED = "updated"  # the effect changed materially
    FIRED = "fired"
    REOPENED = "reopened"  # came back soon after it was resolved
    RECOVERED = "recovered"  # one scope is over, others are not
    RESOLVED = "resolved"
    REMINDED = "reminded"
    MUTED = "muted"
    UNMUTED = "unmuted"
    ACKNOWLEDGED = "acknowledged"
    ASSIGNED = "assigned"
    COMMENTED = "commented"
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class Member:
    """One deviation inside an alert, as last reported.

    ``known_effect`` is the effect readers were last told; an update far from it is announced. ``rebased``: it is over
    as the detector has taken the new level for normal.
    """

    deviation: Deviation
    joined_at: float
    known_effect: float
    recovered_at: float | None = None
    rebased: bool = False


CALENDAR_KINDS = frozenset({"holiday", "workday", "statement", "payday", "month_end", "special"})


@dataclass(frozen=True, slots=True)
class NearbyEvent:
    """Something close to the beginning of an alert, such as a release: coincidence until shown otherwise.

    ``kind`` is that of an event, or one of :data:`CALENDAR_KINDS` for what the bank's calendar says of the day.
    """

    at: float
    kind: str
    title: str
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class SizeAt:
    """How large an alert was at one time: the effect of its lead with its 95 % interval, and whom it had hit."""

    at: float
    effect: float
    effect_low: float
    effect_high: float
    observations: int
    customers: int | None = None
    completions_lost: float | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """One cause, seen in one or more scopes; ``members[0]`` leads and gives the alert its text.

    Times are seconds since 1970 UTC. ``sequence`` counts the transitions so far. ``muted_by`` is the
    id of the silence that holds messages back; ``told`` says whether readers know of the alert. ``history`` holds its
    sizes, oldest first: as it was found, and as estimated anew since.
    """

    id: str
    state: AlertState
    severity: Severity
    members: tuple[Member, ...]
    opened_at: float
    updated_at: float
    sequence: int = 0
    fired_at: float | None = None
    resolved_at: float | None = None
    resolution: Resolution | None = None
    acknowledged_at: float | None = None
    acknowledged_by: str | None = None
    assignee: str | None = None
    accepted_by: str | None = None
    muted_by: str | None = None
    told: bool = False
    reminded_at: float | None = None
    attribution: Attribution | None = None
    impact: Impact | None = None
    nearby: tuple[NearbyEvent, ...] = ()
    first_severity: Severity | None = None  # when it opened: a label elsewhere, which must not change
    history: tuple[SizeAt, ...] = ()

    @property
    def severity_at_first(self) -> Severity:
        """The severity it opened with."""
        return self.first_severity or self.severity

    @property
    def lead(self) -> Deviation:
        """The deviation the alert is named after."""
        return self.members[0].deviation

    @property
    def scope(self) -> Scope:
        """The scope of the lead."""
        return self.lead.scope

    @property
    def flow(self) -> str:
        """The flow; :data:`RULER` when the alert is about the ruler itself."""
        return self.lead.scope.flow

    @property
    def is_open(self) -> bool:
        """Whether it is pending or firing."""
        return self.state is not AlertState.RESOLVED


@dataclass(frozen=True, slots=True)
class Transition:
    """One step in an alert's life: who did what when. ``by`` is empty when the evaluator did it."""

    alert_id: str
    sequence: int
    kind: TransitionKind
    at: float
    by: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Silence:
    """A span in which matching alerts are kept but nobody is told.

    ``flow``, ``step`` and ``kind`` are patterns (``*`` matches anything); ``dimensions`` must all be
    in the alert's scope. A maintenance window also keeps its minutes from teaching the baseline. ``ended_by`` ended it
    early.
    """

    id: str
    starts_at: float
    ends_at: float
    author: str
    comment: str
    flow: str = "*"
    step: str = "*"
    kind: str = "*"
    dimensions: tuple[tuple[str, str], ...] = ()
    maintenance: bool = False
    ended_by: str = ""

    def matches(self, alert: Alert, now: float) -> bool:
        """Whether the silence holds this alert's messages back at ``now``."""
        scope = alert.scope
        return (
            self.starts_at <= now < self.ends_at
            and fnmatchcase(scope.flow, self.flow)
            and fnmatchcase(scope.step or "", self.step)
            and fnmatchcase(alert.lead.kind.value, self.kind)
            and set(self.dimensions) <= set(scope.dimensions)
        )


def alert_id(deviation: Deviation, opened_at: float) -> str:
    """A short id that follows from what is alerted and when, so that a replay makes the same one."""
    scope = deviation.scope
    text = repr((scope.flow, scope.step, scope.dimensions, scope.check, deviation.kind.value, opened_at))
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def bounded(deviation: Deviation) -> Deviation:
    """The same deviation with its effect and evidence finite, so that it can be written as JSON."""

    def limit(value: float) -> float:
        return 0.0 if math.isnan(value) else max(-_EFFECT_LIMIT, min(_EFFECT_LIMIT, value))

    return replace(
        deviation,
        effect=limit(deviation.effect),
        effect_low=limit(deviation.effect_low),
        effect_high=limit(deviation.effect_high),
        evidence={name: value for name, value in deviation.evidence.items() if math.isfinite(value)},
    )


_ALERT = TypeAdapter(Alert)


def to_json(alert: Alert) -> str:
    """The alert as one JSON object."""
    return _ALERT.dump_json(alert).decode()


def alert_from_json(text: str | bytes) -> Alert:
    """Read what :func:`to_json` wrote.

    Raises:
        pydantic.ValidationError: the text is not an alert.
    """
    return _ALERT.validate_json(text)
