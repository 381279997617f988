"""What the bank's calendar says of the day on which an alert began."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from zoneinfo import ZoneInfo

from ..metrics.detection.calendar import holiday_name, is_workday
from ..metrics.detection.settings import DetectionSettings
from .alert import NearbyEvent

__all__ = ["calendar_days"]

_SATURDAY = 5
_NAMED = frozenset({"statement", "payday", "month_end"})


def calendar_days(moment: float, settings: DetectionSettings) -> tuple[NearbyEvent, ...]:
    """Holiday, make-up workday, statement day, payday, campaign: whatever the local date of ``moment`` is."""
    zone = ZoneInfo(settings.zone)
    date = dt.datetime.fromtimestamp(moment, zone).date()
    start, end = (dt.datetime.combine(date + dt.timedelta(days=more), dt.time(), zone).timestamp() for more in (0, 1))
    return tuple(NearbyEvent(start, kind, title, end) for kind, title in _kinds(date, settings))


def _kinds(date: dt.date, settings: DetectionSettings) -> Iterator[tuple[str, str]]:
    name = holiday_name(settings.country, date)
    works = is_workday(settings, date)
    if not works and (name or date.isoformat() in settings.holidays):
        yield "holiday", name
    elif date.weekday() >= _SATURDAY and works:
        yield "workday", ""
    special = settings.special_days.get(date.isoformat())
    if special is not None:
        yield (special, "") if special in _NAMED else ("special", special)
