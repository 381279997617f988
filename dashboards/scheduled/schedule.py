"""When scheduled reports are due, and of which periods: pure arithmetic on the bank's days."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from ...metrics.configuration.reports import WEEKDAYS, ReportSchedule
from ...metrics.configuration.sections import CalendarConfig
from ..figure_types import Period

__all__ = ["DueReport", "due_reports", "last_report", "next_report"]

_LONGEST_DAYS = 400  # between two statement days, and how far back or ahead is looked
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DueReport:
    """A report of ``period`` that is made at ``due_at``."""

    due_at: float
    period: Period


def due_reports(
    schedule: ReportSchedule, calendar: CalendarConfig, zone: tzinfo, after: float, until: float
) -> Iterator[DueReport]:
    """The reports due in (``after``, ``until``], oldest first; at most 400 days of them.

    A time of day that the clocks leave out is the moment they jump over, and one they repeat is the first of both; so
    each day has its report, once.
    """
    last = _local(until, zone)
    day = max(_local(after, zone), last - _LONGEST_DAYS * _DAY)
    while day <= last:
        if _ends_on(schedule, calendar, day):
            due = _moment(day, time.fromisoformat(schedule.time), zone)
            if after < due <= until:
                yield DueReport(due, Period(_midnight(_before(schedule, calendar, day), zone), _midnight(day, zone)))
        day += _DAY


def next_report(schedule: ReportSchedule, calendar: CalendarConfig, zone: tzinfo, now: float) -> DueReport | None:
    """The next report after ``now``; ``None`` when there is none within 400 days."""
    return next(due_reports(schedule, calendar, zone, now, now + _LONGEST_DAYS * 86_400.0), None)


def last_report(schedule: ReportSchedule, calendar: CalendarConfig, zone: tzinfo, now: float) -> DueReport | None:
    """The newest report that was due at ``now``; ``None`` when there was none within 400 days."""
    found = list(due_reports(schedule, calendar, zone, now - _LONGEST_DAYS * 86_400.0, now))
    return found[-1] if found else None


def _ends_on(schedule: ReportSchedule, calendar: CalendarConfig, day: date) -> bool:
    """Whether a period ends with the midnight in which ``day`` begins."""
    if schedule.every == "day":
        return True
    if schedule.every == "week":
        return day.weekday() == WEEKDAYS.index(schedule.weekday)
    if schedule.day == "statement":
        return _is_statement_day(calendar, day - schedule.days_after * _DAY)
    return day.day == _clamped(day, int(schedule.day))


def _before(schedule: ReportSchedule, calendar: CalendarConfig, day: date) -> date:
    """Where the period that ends on ``day`` begins: where the one before ended."""
    for back in range(1, _LONGEST_DAYS):
        if _ends_on(schedule, calendar, day - back * _DAY):
            return day - back * _DAY
    return day - 30 * _DAY  # a first single statement day


def _is_statement_day(calendar: CalendarConfig, day: date) -> bool:
    listed = any(one.date == day and one.kind == "statement" for one in calendar.days)
    return listed or any(day.day == _clamped(day, one) for one in calendar.statement_days)


def _clamped(day: date, wanted: int) -> int:
    """A day of the month of ``day``: its last where it has no such day."""
    return min(wanted, monthrange(day.year, day.month)[1])


def _local(moment: float, zone: tzinfo) -> date:
    return datetime.fromtimestamp(moment, UTC).astimezone(zone).date()


def _midnight(day: date, zone: tzinfo) -> float:
    return _moment(day, time(), zone)


def _moment(day: date, at: time, zone: tzinfo) -> float:
    return datetime.combine(day, at, zone).timestamp()
