"""What the calendar says of the day on which an alert began, in the bank's zone."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from cxgauge.alerts.calendar_days import calendar_days
from cxgauge.alerts.evaluation_settings import detection_settings
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.detection.settings import DetectionSettings

ZONE = ZoneInfo("Asia/Shanghai")
CHINA = DetectionSettings(zone="Asia/Shanghai", country="CN")
SPECIAL = DetectionSettings(
    zone="Asia/Shanghai", special_days={"2026-03-05": "statement", "2026-03-15": "payday", "2026-11-11": "双十一"}
)
OWN = DetectionSettings(zone="Asia/Shanghai", workdays=("2026-05-09",), holidays=("2026-05-11",))


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
        ("2026-05-09T12:00", OWN, [("workday", "")]),  # a Saturday
        ("2026-05-11T12:00", OWN, [("holiday", "")]),  # a Monday on which the bank is closed
    ],
)
def test_what_the_day_is(when: str, settings: DetectionSettings, days: list[tuple[str, str]]) -> None:
    assert found(when, settings) == days


def test_the_day_lasts_from_midnight_to_midnight_of_the_bank() -> None:
    moment = datetime(2026, 3, 5, 12, tzinfo=ZONE).timestamp()
    [day] = calendar_days(moment, SPECIAL)
    assert (day.at, day.ended_at) == (moment - 12 * 3600, moment + 12 * 3600)


def test_the_configuration_reaches_the_detector() -> None:
    config = Config.model_validate(
        {
            "timezone": "Asia/Shanghai",
            "calendar": {
                "country": "CN",
                "statement_days": [5, 31],
                "paydays": [10, 30],
                "month_end": True,
                "days": [
                    {"date": "2026-05-09", "kind": "workday"},
                    {"date": "2026-05-11", "kind": "holiday", "name": "closed"},
                    {"date": "2026-06-10", "kind": "campaign", "name": "618"},
                    {"date": "2026-07-11", "kind": "payday"},
                ],
            },
        }
    )
    settings = detection_settings(config)
    assert (settings.country, settings.holidays, settings.workdays) == ("CN", ("2026-05-11",), ("2026-05-09",))
    june = {date[8:]: name for date, name in settings.special_days.items() if date.startswith("2026-06")}
    assert june == {"05": "statement", "10": "618", "30": "payday"}  # a payday goes before the end of the month
    july = {date[8:]: name for date, name in settings.special_days.items() if date.startswith("2026-07")}
    assert july == {"05": "statement", "10": "payday", "11": "payday", "30": "payday", "31": "statement"}
    assert settings.special_days["2026-02-28"] == "month_end"


def test_what_a_spike_is_reaches_detection_from_the_configuration() -> None:
    settings = detection_settings(Config.parse("detection: {spike_windows: 5, spike_effect: 1.5}\n"))
    assert (settings.spike_windows, settings.spike_effect) == (5, 1.5)
    assert settings.with_spike(None, 2.0) == detection_settings(
        Config.parse("detection: {spike_windows: 5, spike_effect: 2}\n")
    )
