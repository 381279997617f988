from __future__ import annotations

import re
from zoneinfo import ZoneInfo

import pytest

from cxgauge.dashboards.figure_types import Period
from cxgauge.dashboards.periods import aligned, compared_period, parse_moment

SHANGHAI = ZoneInfo("Asia/Shanghai")
NEW_YORK = ZoneInfo("America/New_York")
NOW = 1_773_456_789.0  # 2026-03-14T02:53:09Z, 10:53 in Shanghai
DAY = 86_400.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("today", 1_773_417_600.0),
        ("90m", NOW - 5_400),
        ("7d", NOW - 7 * DAY),
        ("2026-03-14", 1_773_417_600.0),
        ("2026-03-14 10:42", 1_773_456_120.0),
        ("2026-03-14T10:42:00+00:00", 1_773_484_920.0),
        ("2026-03-14T10:42Z", 1_773_484_920.0),
    ],
)
def test_moments_are_meant_in_the_banks_zone(text: str, expected: float) -> None:
    assert parse_moment(text, SHANGHAI, NOW) == expected


def test_other_text_is_no_moment() -> None:
    message = (
        "'14/3' is not a time; write a day (2026-03-14), a time (2026-03-14T10:42), now, today, or 7d for "
        "seven days ago"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_moment("14/3", SHANGHAI, NOW)


def test_periods_are_whole_windows() -> None:
    assert aligned(61.0, 119.0, 60) == Period(60.0, 120.0)
    assert aligned(60.0, 120.0, 60) == Period(60.0, 120.0)


def test_reversed_period_is_refused() -> None:
    message = "--to 1970-01-01T00:01Z is not after --from 1970-01-01T00:02Z; swap them"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        aligned(120.0, 60.0, 60)


@pytest.mark.parametrize(
    ("hours", "kind", "days", "notes"),
    [
        (3, "previous", 1, ("other_weekdays",)),
        (24, "previous", 1, ("other_weekdays",)),
        (25, "previous", 2, ("other_weekdays",)),
        (7 * 24, "previous", 7, ()),
        (30 * 24, "previous", 30, ()),
        (3, "week", 7, ()),
        (8 * 24, "week", 14, ()),
        (3, "year", 364, ()),
    ],
)
def test_compared_period_has_the_same_hours_of_the_day(
    hours: int, kind: str, days: int, notes: tuple[str, ...]
) -> None:
    period = Period(NOW, NOW + hours * 3600)
    comparison = compared_period(period, kind, SHANGHAI)

    assert comparison is not None
    assert comparison.period == Period(period.start - days * DAY, period.end - days * DAY)
    assert comparison.notes == notes


def test_a_clock_change_between_the_periods_is_said() -> None:
    period = Period(parse_moment("2026-03-08", NEW_YORK, NOW), parse_moment("2026-03-09", NEW_YORK, NOW))
    comparison = compared_period(period, "week", NEW_YORK)

    assert period.seconds == 23 * 3600
    assert comparison is not None
    assert comparison.period.seconds == DAY
    assert comparison.notes == ("clock_change",)


def test_no_comparison() -> None:
    assert compared_period(Period(0, 60), "none", SHANGHAI) is None


def test_unknown_comparison_is_refused() -> None:
    message = "--compare 'month' is not known; write one of previous, week, year, before, none, or release:8.1.0..8.2.0"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        compared_period(Period(0, 60), "month", SHANGHAI)
