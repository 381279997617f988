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

__all__ = [
    "SLOTS_PER_DAY",
    "WEEKEND",
    "WORKDAY",
    "LocalTime",
    "holiday_name",
    "is_workday",
    "local_time",
    "special_kinds",
]

SLOTS_PER_DAY = 96  # quarter hours
WORKDAY, WEEKEND = 0, 1
_DAY = 86_400
_MONDAY, _FRIDAY, _SATURDAY, _SUNDAY = 0, 4, 5, 6


@dataclass(frozen=True, slots=True)
class LocalTime:
    """Local time of windows, arrays of one length.

    Attributes:
        day: Days since 1970-01-01 of the local date.
        second: Second of the local day at the middle of the window.
        day_type: :data:`WORKDAY` or :data:`WEEKEND` (Saturdays, Sundays and holidays, less make-up workdays).
        weekday: The day of the week that the date is like, 0 = Monday: a free day between Monday and Friday is like a
            Sunday, a make-up Saturday like a Friday, a make-up Sunday like a Monday.
        special: Which special day of the bank the date is (payday, statement day, campaign): 0 = none, else one more
            than the position in :func:`special_kinds`.
    """

    day: Integers
    second: Floats
    day_type: Integers
    weekday: Integers
    special: Integers


def local_time(window_start: Floats, settings: DetectionSettings) -> LocalTime:
    """Local time of the middle of each window; the offset to UTC is taken hour by hour (DST changes on the hour)."""
    middle = window_start + settings.window_seconds / 2
    hours, inverse = np.unique(np.floor_divide(middle, 900).astype(np.int64), return_inverse=True)
    offsets = np.array([_offset(settings.zone, int(hour)) for hour in hours])
    local = middle + offsets[inverse]
    day = np.floor_divide(local, _DAY).astype(np.int64)
    days, which = np.unique(day, return_inverse=True)
    dates = [dt.date(1970, 1, 1) + dt.timedelta(days=int(number)) for number in days]
    free = np.array([not is_workday(settings, date) for date in dates], dtype=bool)
    weekday = np.array([_acting_weekday(date, free=no_work) for date, no_work in zip(dates, free, strict=True)])
    special = np.array(_special(dates, settings), dtype=np.int64)
    return LocalTime(
        day,
        local - day * _DAY,
        np.where(free, WEEKEND, WORKDAY).astype(np.int64)[which],
        weekday.astype(np.int64)[which],
        special[which],
    )


def special_kinds(settings: DetectionSettings) -> tuple[str, ...]:
    """The names of the bank's special days, each once, in alphabetical order."""
    return tuple(sorted(set(settings.special_days.values())))


def holiday_name(country: str, date: dt.date) -> str:
    """What a public holiday is called in its country; empty when the date is none, or without a country."""
    return str(_named_holidays(country, date.year).get(date) or "") if country else ""


def is_workday(settings: DetectionSettings, date: dt.date) -> bool:
    """Whether people work on a date: Monday to Friday, less holidays, plus make-up workdays.

    The bank's own days go before the calendar of the country.
    """
    text = date.isoformat()
    if text in settings.workdays:
        return True
    if text in settings.holidays:
        return False
    return _is_workday_of(settings.country, date)


@lru_cache(maxsize=65_536)
def _is_workday_of(country: str, date: dt.date) -> bool:
    # a make-up workday is listed by the calendar as a working weekend day
    return bool(_holidays(country, date.year).is_working_day(date)) if country else date.weekday() < _SATURDAY


def _acting_weekday(date: dt.date, *, free: bool) -> int:
    weekday = date.weekday()
    if free:
        return weekday if weekday >= _SATURDAY else _SUNDAY
    return {_SATURDAY: _FRIDAY, _SUNDAY: _MONDAY}.get(weekday, weekday)


def _special(dates: list[dt.date], settings: DetectionSettings) -> list[int]:
    names = [settings.special_days.get(date.isoformat()) for date in dates]
    if not any(names):
        return [0] * len(dates)
    number = {name: index + 1 for index, name in enumerate(special_kinds(settings))}
    return [number.get(name or "", 0) for name in names]


@lru_cache(maxsize=65_536)
def _offset(zone: str, quarter: int) -> float:
    if zone == "UTC":
        return 0.0
    moment = dt.datetime.fromtimestamp(quarter * 900, tz=ZoneInfo(zone))
    offset = moment.utcoffset()
    return offset.total_seconds() if offset is not None else 0.0


@lru_cache(maxsize=64)
def _named_holidays(country: str, year: int) -> Any:
    import holidays

    language = _holidays(country, year).default_language  # whatever the environment's language is
    return holidays.country_holidays(country, years=year, language=language)


@lru_cache(maxsize=64)
def _holidays(country: str, year: int) -> Any:
    import holidays

    return holidays.country_holidays(country, years=year)
