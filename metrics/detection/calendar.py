"""Local time for seasons: day type and time of day of each window, with holidays, make-up workdays and bank days."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from .settings import DetectionSettings

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64

__all__ = ["SLOTS_PER_DAY", "WEEKEND", "WORKDAY", "LocalTime", "holiday_name", "is_workday", "local_time"]

SLOTS_PER_DAY = 96  # quarter hours
WORKDAY, WEEKEND = 0, 1
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class LocalTime:
    """Local time of windows, arrays of one length.

    Attributes:
        day: Days since 1970-01-01 of the local date.
        second: Second of the local day at the middle of the window.
        day_type: :data:`WORKDAY` or :data:`WEEKEND` (Saturdays, Sundays and holidays, less make-up workdays).
        weekday: 0 = Monday.
        special: Whether the date is a special day of the bank (payday, statement day, campaign).
    """

    day: Integers
    second: Floats
    day_type: Integers
    weekday: Integers
    special: NDArray[np.bool_]


def local_time(window_start: Floats, settings: DetectionSettings) -> LocalTime:
    """Local time of the middle of each window; the offset to UTC is taken hour by hour (DST changes on the hour)."""
    middle = window_start + settings.window_seconds / 2
    hours, inverse = np.unique(np.floor_divide(middle, 900).astype(np.int64), return_inverse=True)
    offsets = np.array([_offset(settings.zone, int(hour)) for hour in hours])
    local = middle + offsets[inverse]
    day = np.floor_divide(local, _DAY).astype(np.int64)
    days, which = np.unique(day, return_inverse=True)
    special_names = frozenset(settings.special_days)
    kinds = np.array([_day_kind(settings.country, special_names, int(number)) for number in days]).reshape(-1, 2)
    return LocalTime(
        day, local - day * _DAY, kinds[which, 0].astype(np.int64), (day + 3) % 7, kinds[which, 1].astype(np.bool_)
    )


@lru_cache(maxsize=65_536)
def _offset(zone: str, quarter: int) -> float:
    if zone == "UTC":
        return 0.0
    moment = dt.datetime.fromtimestamp(quarter * 900, tz=ZoneInfo(zone))
    offset = moment.utcoffset()
    return offset.total_seconds() if offset is not None else 0.0


@lru_cache(maxsize=65_536)
def _day_kind(country: str, special: frozenset[str], number: int) -> tuple[int, bool]:
    date = dt.date(1970, 1, 1) + dt.timedelta(days=number)
    free = date.weekday() >= 5
    if country:
        calendar = _holidays(country, date.year)
        # a make-up workday is listed by the calendar as a working weekend day
        free = not calendar.is_working_day(date)
    return (WEEKEND if free else WORKDAY), date.isoformat() in special


def holiday_name(country: str, date: dt.date) -> str:
    """What a public holiday is called in its country; empty when the date is none, or without a country."""
    return str(_named_holidays(country, date.year).get(date) or "") if country else ""


def is_workday(country: str, date: dt.date) -> bool:
    """Whether people work on a date: Monday to Friday, less holidays, plus make-up workdays."""
    return bool(_holidays(country, date.year).is_working_day(date)) if country else date.weekday() < 5


@lru_cache(maxsize=64)
def _named_holidays(country: str, year: int) -> Any:
    import holidays

    language = _holidays(country, year).default_language  # whatever the environment's language is
    return holidays.country_holidays(country, years=year, language=language)


@lru_cache(maxsize=64)
def _holidays(country: str, year: int) -> Any:
    import holidays

    return holidays.country_holidays(country, years=year)
