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
from dataclasses import replace

from ..metrics.detection.events import REBASED
from ..metrics.deviation import Deviation, DeviationKind
from .alert import (
    ALERTING,
    Alert,
    AlertState,
    Member,
    NearbyEvent,
    Resolution,
    Severity,
    Silence,
    SizeAt,
    Transition,
    TransitionKind,
    alert_id,
    bounded,
)
from .attribution import Attribution
from .grouping import Family, affinity, family, lead_order, one_cause, provisional
from .impact import Impact
from .lifecycle_settings import LifecycleSettings
from .members import describe, same, with_derived, with_narrower, worse

__all__ = ["Lifecycle", "LifecycleSettings", "UnknownAlertError", "severity"]

_SIZES_KEPT = 100


class UnknownAlertError(LookupError):
    """No open alert has this id."""


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

    @property
    def alerts(self) -> Mapping[str, Alert]:
        """All alerts held, by id."""
        return self._alerts

    def apply(self, deviations: Iterable[Deviation], now: float) -> list[Transition]:
        """Take in what the detector said of the window that ended at ``now``; return what happened."""
        self._transitions = []
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
        alert = self._alerts[id_]
        history = alert.history
        if history and impact is not None:
            lost = impact.completions_lost.value if impact.completions_lost is not None else None
            latest = replace(history[-1], customers=impact.customers, completions_lost=lost)
            history = (*history[:-1], latest)
        self._alerts[id_] = replace(alert, attribution=attribution, impact=impact, nearby=nearby, history=history)

    def re_estimate(self, deviation: Deviation, id_: str, now: float) -> list[Transition]:
        """Take a new estimate of an alert's size; readers get a message only if it has become materially worse.

        Args:
            deviation: The lead with its size as of now.
            id_: The alert.
            now: The end of the window.
        """
        self._transitions = []
        alert, deviation = self._alerts[id_], bounded(deviation)
        lead = replace(alert.members[0], deviation=deviation)
        known = lead.known_effect
        severity_now = worse(alert.severity, self._severity_of(deviation))
        grown = deviation.effect_low >= known + self._settings.material_change * abs(known)
        alert = replace(
            alert,
            members=(lead, *alert.members[1:]),
            severity=severity_now if grown else alert.severity,
            history=_bounded_history((*alert.history, _size(deviation, now))),
            updated_at=now,
        )
        self._alerts[id_] = alert
        if grown:
            told = replace(lead, known_effect=deviation.effect)
            self._record(replace(alert, members=(told, *alert.members[1:])), TransitionKind.UPDATED, now)
        return self._transitions

    def is_news(self, deviation: Deviation) -> bool:
        """Whether no open alert has this deviation or its cause."""
        group = self._settings.group_seconds
        return self._holder(deviation) is None and not any(
            alert.is_open and one_cause(alert.lead, deviation, group) for alert in self._in_order()
        )

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
                    if same(member.deviation, deviation):
                        return alert, position
        return None

    def _update(self, alert: Alert, position: int, deviation: Deviation, now: float) -> None:
        member = alert.members[position]
        returned = member.recovered_at is not None
        if deviation == member.deviation and not returned:
            return
        severity_now = worse(alert.severity, self._severity_of(deviation))
        escalated = severity_now is not alert.severity
        updated = replace(member, deviation=deviation, recovered_at=None, rebased=False)
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
        severity_now = worse(alert.severity, self._severity_of(deviation))
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
            and any(same(member.deviation, deviation) for member in alert.members)
        )

    def _reopen(self, alert: Alert, deviation: Deviation, now: float) -> None:
        members = tuple(
            Member(deviation, member.joined_at, deviation.effect) if same(member.deviation, deviation) else member
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
            history=_bounded_history((*alert.history, _size(deviation, now))),
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
            rebased = bool(recovery.evidence.get(REBASED))
            members = tuple(
                replace(member, recovered_at=now, rebased=rebased) if ended else member
                for member, ended in zip(alert.members, over, strict=True)
            )
            members = with_derived(with_narrower(alert, members, now), now)
            alert = replace(alert, members=members, updated_at=now)  # noqa: PLW2901
            if any(member.recovered_at is None for member in members):
                self._record(alert, TransitionKind.RECOVERED, now, note=describe(recovery))
            else:
                self._alerts[alert.id] = alert  # _advance resolves it

    def _advance(self, alert: Alert, now: float) -> None:
        """Time passes: resolve, fire, mute, remind."""
        if alert.is_open and all(member.recovered_at is not None for member in alert.members):
            resolution = Resolution.ACCEPTED if alert.members[0].rebased else Resolution.RECOVERED
            self._resolve(alert, resolution if alert.state is AlertState.FIRING else Resolution.CANCELLED, now)
            return
        if not alert.is_open:
            return
        alert = self._mute(alert, now)
        if alert.state is AlertState.PENDING:
            if now - alert.opened_at >= self._wait(alert):
                first = _size(alert.lead, alert.lead.detected_at)
                fired = replace(alert, state=AlertState.FIRING, fired_at=now, history=(*alert.history, first))
                self._record(fired, TransitionKind.FIRED, now)
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


def _size(deviation: Deviation, at: float) -> SizeAt:
    return SizeAt(at, deviation.effect, deviation.effect_low, deviation.effect_high, deviation.observations)


def _bounded_history(history: tuple[SizeAt, ...]) -> tuple[SizeAt, ...]:
    """The first size and the latest ones."""
    return history if len(history) <= _SIZES_KEPT else (history[0], *history[-(_SIZES_KEPT - 1) :])
