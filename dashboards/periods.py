"""Periods of time as people ask for them, and the period each is compared with."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from math import ceil, floor

from .figure_types import Comparison, Period
from .release_split import RELEASE, releases_of

__all__ = ["COMPARISONS", "DEFAULT_DAYS", "aligned", "compared_period", "parse_moment", "right_before"]

DEFAULT_DAYS = 7
COMPARISONS = ("previous", "week", "year", "before", "none")
_DAY = 86_400
_RELATIVE = re.compile(r"(\d{1,5})([mhdw])")
_UNITS = {"m": 60, "h": 3_600, "d": _DAY, "w": 7 * _DAY}


def parse_moment(text: str, zone: tzinfo, now: float) -> float:
    """Seconds since 1970 UTC of ``2026-03-14``, ``2026-03-14 10:42``, ISO 8601, ``now``, ``today``, or ``7d`` (ago).

    A day means its start, and a time without a zone is meant in ``zone``.

    Raises:
        ValueError: the text is none of these.
    """
    if text == "now":
        return now
    if text == "today":
        today = datetime.fromtimestamp(now, UTC).astimezone(zone).date()
        return datetime.combine(today, time(), zone).timestamp()
    ago = _RELATIVE.fullmatch(text)
    if ago:
        return now - int(ago[1]) * _UNITS[ago[2]]
    try:
        if len(text) == len("2026-03-14"):
            return datetime.combine(date.fromisoformat(text), time(), zone).timestamp()
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a time; write a day (2026-03-14), a time (2026-03-14T10:42), now, today, or 7d for "
            "seven days ago"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()


def aligned(start: float, end: float, window_seconds: int) -> Period:
    """The period from the window of ``start`` up to the end of the window before ``end``.

    Raises:
        ValueError: ``end`` is not after ``start``.
    """
    if not end > start:
        raise ValueError(f"--to {_iso(end)} is not after --from {_iso(start)}; swap them")
    first = floor(start / window_seconds) * window_seconds
    return Period(float(first), float(max(first + window_seconds, ceil(end / window_seconds) * window_seconds)))


def compared_period(period: Period, kind: str, zone: tzinfo) -> Comparison | None:
    """The period that ``period`` is compared with.

    ``previous`` is the last equally long one at the same hours of the day, ``week`` the same hours seven days (or as
    many weeks as it takes) earlier, ``year`` 52 weeks earlier, so that weekdays meet weekdays;
    ``before`` is the time right before the period, at whatever hours of the day; ``none`` is none.
    ``release:8.1.0..8.2.0`` compares two releases within the period itself.

    Raises:
        ValueError: another kind.
    """
    if kind == "none":
        return None
    if kind.startswith(RELEASE):
        releases_of(kind)
        return Comparison(kind, period)
    if kind not in COMPARISONS:
        raise ValueError(
            f"--compare {kind!r} is not known; write one of {', '.join(COMPARISONS)}, or release:8.1.0..8.2.0"
        )
    if kind == "before":
        return right_before(period)
    unit = _DAY if kind == "previous" else 7 * _DAY
    days = ceil(period.seconds / unit) * unit // _DAY if kind != "year" else 52 * 7
    earlier = Period(_days_before(period.start, days, zone), _days_before(period.end, days, zone))
    notes = []
    if days % 7 and period.seconds < 7 * _DAY:
        notes.append("other_weekdays")
    if earlier.seconds != period.seconds:
        notes.append("clock_change")
    return Comparison(kind, earlier, tuple(notes))


def right_before(period: Period) -> Comparison:
    """The equally long time that ends where the period begins: other hours of the day, unless it is whole days."""
    notes = () if period.seconds % _DAY == 0 else ("other_hours",)
    return Comparison("before", Period(period.start - period.seconds, period.start), notes)


def _days_before(moment: float, days: int, zone: tzinfo) -> float:
    """The same time of day in ``zone``, ``days`` earlier: a day may have 23 or 25 hours."""
    local = datetime.fromtimestamp(moment, UTC).astimezone(zone)
    wall = local.replace(tzinfo=None) - timedelta(days=days)
    return wall.replace(tzinfo=zone).timestamp()


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="minutes").replace("+00:00", "Z")
