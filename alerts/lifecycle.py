"""The life of alerts: pending, firing, resolved; one cause, one alert. Pure: no clock, no I/O.

:class:`Lifecycle` holds the alerts that matter now (open ones, and those resolved recently enough to come
back). :meth:`Lifecycle.apply` takes the deviations of one closed window and returns what happened as
:class:`Transition` values; the same input in the same order gives the same alerts with the same ids.

A deviation that repeats one already known updates it. One with the same cause joins an open alert
(:mod:`.grouping`), reopens one just resolved, or opens a new one. An alert waits in ``pending`` while the
other scopes of its cause cross their thresholds, so that the first message names the first step; once
it fires, its lead stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..metrics.deviation import Deviation, DeviationKind, Scope
from .alert import (
    ALERTING,
    RULER,
    Alert,
    AlertState,
    Member,
    NearbyEvent,
    Resolution,
    Severity,
    Silence,
    Transition,
    TransitionKind,
    alert_id,
    bounded,
)
from .attribution import Attribution, Concentration
from .grouping import Family, affinity, family, lead_order, one_cause, provisional
from .impact import Impact

__all__ = ["REBASED", "Lifecycle", "LifecycleSettings", "UnknownAlertError", "severity"]


REBASED = "rebased"
"""Evidence of a recovery that is none: the detector took the new level for normal after a long time."""


class UnknownAlertError(LookupError):
    """No open alert has this id."""


@dataclass(frozen=True, slots=True)
class LifecycleSettings:
    """Times in seconds; the defaults suit windows of one minute.

    Attributes:
        pending_seconds: How long every alert waits before it fires.
        settle_seconds: How long an alert waits at least whose lead is not yet the plainest sight of its
            cause (a sub-population, a whole flow, failures of unknown kind) while better ones may come.
        group_seconds: How far apart two estimated starts may be and still be one cause.
        reopen_seconds: A deviation this soon after the alert was resolved reopens it.
        remind_seconds: A firing alert nobody acknowledged is said again after this; 0 = never.
        material_change: An update is announced when the effect moved by this part of what was last
            told (a log-ratio against a log-ratio).
    """

    pending_seconds: float = 0.0
    settle_seconds: float = 60.0
    group_seconds: float = 900.0
    reopen_seconds: float = 1800.0
    remind_seconds: float = 86400.0
    material_change: float = 0.5


def severity(deviation: Deviation) -> Severity:
    """Critical: wrong answers, silence, and anything at least half as bad again; else a warning."""
    if family(deviation) is Family.ACCURACY or deviation.kind is DeviationKind.SILENT:
        return Severity.CRITICAL
    return Severity.CRITICAL if deviation.effect >= math.log(1.5) else Severity.WARNING


class Lifecycle:
    """The alerts that matter now, and the rules by which they change.

    Args:
        settings: Times and thresholds.
        steps: Ordered step names of each flow: the earliest step of one cause leads.
        alerts: Alerts to go on with (from the store).
        silences: Silences and maintenance windows.
        severity_of: Judges a deviation; :func:`severity` unless the flow says otherwise.
    """

    def __init__(
        self,
        settings: LifecycleSettings,
        steps: Mapping[str, Sequence[str]],
        alerts: Iterable[Alert] = (),
        silences: Iterable[Silence] = (),
        severity_of: Callable[[Deviation], Severity] = severity,
    ) -> None:
        self._settings = settings
        self._steps = steps
        self._silences = tuple(silences)
        self._severity_of = severity_of
        self._alerts = {alert.id: alert for alert in alerts}
        self._transitions: list[Transition] = []
        self._rebased: set[str] = set()

    @property
    def alerts(self) -> Mapping[str, Alert]:
        """All alerts held, by id."""
        return self._alerts

    def apply(self, deviations: Iterable[Deviation], now: float) -> list[Transition]:
        """Take in what the detector said of the window that ended at ``now``; return what happened."""
        self._transitions = []
        self._rebased = set()
        for deviation in sorted(deviations, key=lambda each: lead_order(each, self._steps)):
            if deviation.kind is DeviationKind.RECOVERED:
                self._recover(deviation, now)
            elif deviation.kind in ALERTING:
                self._take_in(bounded(deviation), now)
        for alert in self._in_order():
            self._advance(alert, now)
        return self._transitions

    # -- what people do -------------------------------------------------------------------------------

    def acknowledge(self, id_: str, by: str, now: float, note: str = "") -> list[Transition]:
        """Somebody looks at it: reminders stop."""
        return self._by_hand(id_, TransitionKind.ACKNOWLEDGED, by, now, note, acknowledged_at=now, acknowledged_by=by)

    def assign(self, id_: str, to: str, by: str, now: float) -> list[Transition]:
        """Give it to a person or a team."""
        return self._by_hand(id_, TransitionKind.ASSIGNED, by, now, to, assignee=to)

    def comment(self, id_: str, text: str, by: str, now: float) -> list[Transition]:
        """Add a remark to the audit trail."""
        return self._by_hand(id_, TransitionKind.COMMENTED, by, now, text)

    def accept(self, id_: str, by: str, now: float, note: str = "") -> list[Transition]:
        """Declare the new level normal: the alert is over, and the baseline may learn from it."""
        transitions = self._by_hand(id_, TransitionKind.ACCEPTED, by, now, note, accepted_by=by)
        self._transitions = transitions
        alert = self._open(id_)
        self._resolve(alert, Resolution.ACCEPTED, now)
        return self._transitions

    def attach(
        self,
        id_: str,
        attribution: Attribution | None,
        impact: Impact | None,
        nearby: tuple[NearbyEvent, ...] = (),
    ) -> None:
        """Add what was found out about who is hit and what happened nearby; no transition of its own."""
        self._alerts[id_] = replace(self._alerts[id_], attribution=attribution, impact=impact, nearby=nearby)

    def mark_told(self, id_: str) -> None:
        """Note that a message about the alert was handed to the notifiers."""
        alert = self._alerts[id_]
        members = tuple(replace(member, known_effect=member.deviation.effect) for member in alert.members)
        self._alerts[id_] = replace(alert, told=True, members=members)

    def forget(self, now: float) -> None:
        """Drop alerts resolved too long ago to be reopened (they stay in the store)."""
        limit = now - self._settings.reopen_seconds
        self._alerts = {
            id_: alert for id_, alert in self._alerts.items() if alert.resolved_at is None or alert.resolved_at >= limit
        }

    # -- what the detector says -----------------------------------------------------------------------

    def _take_in(self, deviation: Deviation, now: float) -> None:
        known = self._holder(deviation)
        if known is not None:
            self._update(*known, deviation, now)
            return
        group = self._settings.group_seconds
        explaining = [alert for alert in self._in_order() if alert.is_open and one_cause(alert.lead, deviation, group)]
        if explaining:
            self._join(min(explaining, key=lambda alert: affinity(alert.lead, deviation)), deviation, now)
            return
        for alert in self._in_order():
            if self._may_reopen(alert, deviation, now):
                self._reopen(alert, deviation, now)
                return
        judged = self._severity_of(deviation)
        alert = Alert(
            id=alert_id(deviation, now),
            state=AlertState.PENDING,
            severity=judged,
            first_severity=judged,
            members=(Member(deviation, now, deviation.effect),),
            opened_at=now,
            updated_at=now,
        )
        self._record(alert, TransitionKind.OPENED, now)

    def _in_order(self) -> list[Alert]:
        """Oldest first, whatever way they came in: a restart changes no decision."""
        return sorted(self._alerts.values(), key=lambda alert: (alert.opened_at, alert.id))

    def _holder(self, deviation: Deviation) -> tuple[Alert, int] | None:
        """The open alert that knows this kind in this scope, and the member's position."""
        for alert in self._in_order():
            if alert.is_open:
                for position, member in enumerate(alert.members):
                    if _same(member.deviation, deviation):
                        return alert, position
        return None

    def _update(self, alert: Alert, position: int, deviation: Deviation, now: float) -> None:
        member = alert.members[position]
        returned = member.recovered_at is not None
        if deviation == member.deviation and not returned:
            return
        severity_now = _worse(alert.severity, self._severity_of(deviation))
        escalated = severity_now is not alert.severity
        updated = replace(member, deviation=deviation, recovered_at=None)
        alert = replace(
            alert,
            members=(*alert.members[:position], updated, *alert.members[position + 1 :]),
            severity=severity_now,
            updated_at=now,
        )
        moved = abs(deviation.effect - member.known_effect)
        material = moved >= self._settings.material_change * abs(member.known_effect) > 0.0 or escalated
        if returned:
            self._record(alert, TransitionKind.JOINED, now, note=describe(deviation))
        elif position == 0 and material and alert.state is AlertState.FIRING:
            told = replace(updated, known_effect=deviation.effect)
            self._record(replace(alert, members=(told, *alert.members[1:])), TransitionKind.UPDATED, now)
        else:
            self._alerts[alert.id] = alert

    def _join(self, alert: Alert, deviation: Deviation, now: float) -> None:
        members = (*alert.members, Member(deviation, now, deviation.effect))
        pending = alert.state is AlertState.PENDING
        if pending:
            members = tuple(sorted(members, key=lambda member: lead_order(member.deviation, self._steps)))
        severity_now = _worse(alert.severity, self._severity_of(deviation))
        escalated = severity_now is not alert.severity and alert.state is AlertState.FIRING
        first = severity_now if pending else alert.first_severity
        alert = replace(alert, members=members, severity=severity_now, first_severity=first, updated_at=now)
        alert = self._record(alert, TransitionKind.JOINED, now, note=describe(deviation))
        if escalated:
            self._record(alert, TransitionKind.UPDATED, now, note=severity_now.value)

    def _may_reopen(self, alert: Alert, deviation: Deviation, now: float) -> bool:
        return (
            alert.resolution is Resolution.RECOVERED
            and alert.resolved_at is not None
            and now - alert.resolved_at <= self._settings.reopen_seconds
            and any(_same(member.deviation, deviation) for member in alert.members)
        )

    def _reopen(self, alert: Alert, deviation: Deviation, now: float) -> None:
        members = tuple(
            Member(deviation, member.joined_at, deviation.effect) if _same(member.deviation, deviation) else member
            for member in alert.members
        )
        alert = replace(
            alert,
            state=AlertState.FIRING,
            members=members,
            severity=self._severity_of(deviation),
            resolved_at=None,
            resolution=None,
            acknowledged_at=None,
            acknowledged_by=None,
            reminded_at=None,
            updated_at=now,
        )
        self._record(alert, TransitionKind.REOPENED, now, note=describe(deviation))

    def _recover(self, recovery: Deviation, now: float) -> None:
        for alert in self._in_order():
            if not alert.is_open:
                continue
            over = [
                member.recovered_at is None
                and member.deviation.scope == recovery.scope
                and recovery.ends in {None, member.deviation.kind}
                for member in alert.members
            ]
            if not any(over):
                continue
            members = tuple(
                replace(member, recovered_at=now) if ended else member
                for member, ended in zip(alert.members, over, strict=True)
            )
            members = _with_narrower(alert, members, now)
            alert = replace(alert, members=members, updated_at=now)  # noqa: PLW2901
            if recovery.evidence.get(REBASED):
                self._rebased.add(alert.id)
            if any(member.recovered_at is None for member in members):
                self._record(alert, TransitionKind.RECOVERED, now, note=describe(recovery))
            else:
                self._alerts[alert.id] = alert  # _advance resolves it

    def _advance(self, alert: Alert, now: float) -> None:
        """Time passes: resolve, fire, mute, remind."""
        if alert.is_open and all(member.recovered_at is not None for member in alert.members):
            resolution = Resolution.ACCEPTED if alert.id in self._rebased else Resolution.RECOVERED
            self._resolve(alert, resolution if alert.state is AlertState.FIRING else Resolution.CANCELLED, now)
            return
        if not alert.is_open:
            return
        alert = self._mute(alert, now)
        if alert.state is AlertState.PENDING:
            if now - alert.opened_at >= self._wait(alert):
                self._record(replace(alert, state=AlertState.FIRING, fired_at=now), TransitionKind.FIRED, now)
            return
        said = alert.reminded_at or alert.fired_at or now
        due = 0 < self._settings.remind_seconds <= now - said
        if due and alert.acknowledged_at is None and alert.muted_by is None:
            self._record(replace(alert, reminded_at=now), TransitionKind.REMINDED, now)

    def _wait(self, alert: Alert) -> float:
        settle = self._settings.settle_seconds if provisional(alert.lead) else 0.0
        return max(self._settings.pending_seconds, settle)

    def _mute(self, alert: Alert, now: float) -> Alert:
        silence = next((each for each in self._silences if each.matches(alert, now)), None)
        muted_by = silence.id if silence else None
        if muted_by == alert.muted_by:
            return alert
        kind = TransitionKind.UNMUTED if silence is None else TransitionKind.MUTED
        note = "" if silence is None else silence.comment
        return self._record(replace(alert, muted_by=muted_by), kind, now, note=note)

    def _resolve(self, alert: Alert, resolution: Resolution, now: float) -> None:
        alert = replace(alert, state=AlertState.RESOLVED, resolved_at=now, resolution=resolution, updated_at=now)
        self._record(alert, TransitionKind.RESOLVED, now, note=resolution.value)

    def _by_hand(
        self, id_: str, kind: TransitionKind, by: str, now: float, note: str, **changes: str | float
    ) -> list[Transition]:
        self._transitions = []
        alert = self._open(id_)
        self._record(replace(alert, updated_at=now, **changes), kind, now, by=by, note=note)  # type: ignore[arg-type]
        return self._transitions

    def _open(self, id_: str) -> Alert:
        alert = self._alerts.get(id_)
        if alert is None or not alert.is_open:
            known = ", ".join(each.id for each in self._alerts.values() if each.is_open) or "none"
            raise UnknownAlertError(f"alert {id_!r} is not open; open alerts: {known}")
        return alert

    def _record(self, alert: Alert, kind: TransitionKind, at: float, *, by: str = "", note: str = "") -> Alert:
        alert = replace(alert, sequence=alert.sequence + 1)
        self._alerts[alert.id] = alert
        self._transitions.append(Transition(alert.id, alert.sequence, kind, at, by, note))
        return alert


def describe(deviation: Deviation) -> str:
    """A terse name of what and where, for the audit trail."""
    scope = deviation.scope
    where = ",".join(f"{name}={value}" for name, value in scope.dimensions)
    parts = [part for part in (scope.flow if scope.flow != RULER else "", scope.step, scope.check) if part]
    return f"{deviation.kind.value} {'/'.join(parts)}{{{where}}}"


def _with_narrower(alert: Alert, members: tuple[Member, ...], now: float) -> tuple[Member, ...]:
    """When the lead is over, so are the sub-populations in it, unless the change was found to be theirs.

    Sub-populations have less traffic, so their own tests take longer to see the same recovery.
    """
    lead = members[0]
    concentrated = alert.attribution is not None and alert.attribution.concentration is Concentration.SOME
    if lead.recovered_at is None or concentrated:
        return members
    return tuple(
        replace(member, recovered_at=now)
        if member.recovered_at is None and _narrower(lead.deviation.scope, member.deviation.scope)
        else member
        for member in members
    )


def _narrower(whole: Scope, part: Scope) -> bool:
    return whole.flow == part.flow and whole.step in {None, part.step} and set(whole.dimensions) < set(part.dimensions)


def _same(first: Deviation, other: Deviation) -> bool:
    return first.kind is other.kind and first.scope == other.scope


def _worse(first: Severity, other: Severity) -> Severity:
    return max(first, other, key=list(Severity).index)
