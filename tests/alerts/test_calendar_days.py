"""What the calendar says of the day on which an alert began, in the bank's zone."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from cxgauge.alerts.calendar_days import calendar_days
from cxgauge.metrics.detection.settings import DetectionSettings

ZONE = ZoneInfo("Asia/Shanghai")
CHINA = DetectionSettings(zone="Asia/Shanghai", country="CN")
SPECIAL = DetectionSettings(
    zone="Asia/Shanghai", special_days={"2026-03-05": "statement", "2026-03-15": "payday", "2026-11-11": "双十一"}
)


def found(when: str, settings: DetectionSettings) -> list[tuple[str, str]]:
    moment = datetime.fromisoformat(when).replace(tzinfo=ZONE).timestamp()
    return [(each.kind, each.title) for each in calendar_days(moment, settings)]


@pytest.mark.parametrize(
    ("when", "settings", "days"),
    [
        ("2024-10-01T10:00", CHINA, [("holiday", "国庆节")]),
        ("2024-09-29T10:00", CHINA, [("workday", "")]),  # a Sunday worked for the holiday
        ("2024-10-16T10:00", CHINA, []),
        ("2024-10-19T10:00", CHINA, []),  # any Saturday
        ("2024-10-01T10:00", SPECIAL, []),
        ("2026-03-05T23:59", SPECIAL, [("statement", "")]),
        ("2026-03-06T00:00", SPECIAL, []),
        ("2026-03-15T00:00", SPECIAL, [("payday", "")]),
        ("2026-11-11T12:00", SPECIAL, [("special", "双十一")]),
    ],
)
def test_what_the_day_is(when: str, settings: DetectionSettings, days: list[tuple[str, str]]) -> None:
    assert found(when, settings) == days


def test_the_day_lasts_from_midnight_to_midnight_of_the_bank() -> None:
    moment = datetime(2026, 3, 5, 12, tzinfo=ZONE).timestamp()
    [day] = calendar_days(moment, SPECIAL)
    assert (day.at, day.ended_at) == (moment - 12 * 3600, moment + 12 * 3600)
