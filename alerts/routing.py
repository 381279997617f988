"""Whom to tell, and when: pure rules over owner, severity, hours and the bank's calendar."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Protocol

import numpy as np

from ..metrics.configuration.notifiers import NotifierSettings
from ..metrics.detection.calendar import WORKDAY, local_time
from ..metrics.detection.settings import DetectionSettings
from .alert import Severity

__all__ = ["BankCalendar", "Calendar", "tell_at", "wants"]

_LOOK_AHEAD_DAYS = 30  # longer than any holiday


class Calendar(Protocol):
    """What routing asks of the bank's calendar."""

    @property
    def zone(self) -> tzinfo:
        """The bank's time zone."""

    def is_workday(self, at: float) -> bool:
        """Whether the local day at a time (seconds since 1970 UTC) is a workday."""


@dataclass(frozen=True, slots=True)
class BankCalendar:
    """The calendar that detection uses: weekends, public holidays, make-up workdays."""

    zone: tzinfo
    settings: DetectionSettings

    def is_workday(self, at: float) -> bool:
        """Whether the local day at a time is a workday."""
        return int(local_time(np.array([at]), self.settings).day_type[0]) == WORKDAY


def wants(notifier: NotifierSettings, severity: Severity, owner: str) -> bool:
    """Whether a notifier is to be told of alerts of this severity and owner."""
    order = list(Severity)
    loud_enough = order.index(severity) >= order.index(Severity(notifier.severity_at_least))
    return loud_enough and (notifier.owners is None or owner in notifier.owners)


def tell_at(notifier: NotifierSettings, severity: Severity, now: float, calendar: Calendar) -> float:
    """When to tell: ``now``, or when the notifier's next hours begin. Nothing is dropped for coming at night."""
    unbound = notifier.hours is None and not notifier.workdays_only
    if unbound or (severity is Severity.CRITICAL and notifier.critical_any_time):
        return now
    today = datetime.fromtimestamp(now, UTC).astimezone(calendar.zone).date()
    for ahead in range(-1, _LOOK_AHEAD_DAYS):  # yesterday's hours may go past midnight
        day = today + timedelta(days=ahead)
        begin, end = _span(notifier.hours)
        opens = _moment(datetime.combine(day, begin), calendar.zone)
        last = day if end > begin else day + timedelta(days=1)
        closes = _moment(datetime.combine(last, end), calendar.zone)
        noon = _moment(datetime.combine(day, time(12)), calendar.zone)
        if closes > now and (not notifier.workdays_only or calendar.is_workday(noon)):
            return max(now, opens)
    return now


def _span(hours: str | None) -> tuple[time, time]:
    """Begin and end of ``08:00-20:00``; the whole day without hours (until midnight: the next day's 00:00)."""
    if hours is None:
        return time(0), time(0)
    begin, _, end = hours.partition("-")
    return time.fromisoformat(begin), time(0) if end == "24:00" else time.fromisoformat(end)


def _moment(local: datetime, zone: tzinfo) -> float:
    return local.replace(tzinfo=zone).timestamp()
