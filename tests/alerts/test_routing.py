from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cxgauge.alerts.alert import Severity
from cxgauge.alerts.routing import BankCalendar, tell_at, wants
from cxgauge.metrics.configuration.notifiers import LogNotifier
from cxgauge.metrics.detection.settings import DetectionSettings

SHANGHAI = ZoneInfo("Asia/Shanghai")


def notifier(**changes: Any) -> LogNotifier:
    return LogNotifier.model_validate({"name": "log", "type": "log", **changes})


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI).timestamp()


@dataclass(frozen=True)
class Weekdays:
    zone: ZoneInfo = SHANGHAI

    def is_workday(self, at: float) -> bool:
        return datetime.fromtimestamp(at, self.zone).weekday() < 5


@pytest.mark.parametrize(
    ("changes", "severity", "owner", "wanted"),
    [
        ({}, Severity.INFO, "cards", True),
        ({"severity_at_least": "warning"}, Severity.INFO, "cards", False),
        ({"severity_at_least": "warning"}, Severity.WARNING, "cards", True),
        ({"severity_at_least": "critical"}, Severity.WARNING, "cards", False),
        ({"owners": ["cards"]}, Severity.WARNING, "cards", True),
        ({"owners": ["loans"]}, Severity.CRITICAL, "cards", False),
    ],
)
def test_who_wants_what(changes: dict[str, Any], severity: Severity, owner: str, wanted: bool) -> None:
    assert wants(notifier(**changes), severity, owner) is wanted


# 2026-01-02 is a Friday
@pytest.mark.parametrize(
    ("changes", "now", "told"),
    [
        ({}, "2026-01-03T03:00", "2026-01-03T03:00"),
        ({"hours": "08:00-20:00"}, "2026-01-02T12:00", "2026-01-02T12:00"),
        ({"hours": "08:00-20:00"}, "2026-01-02T03:00", "2026-01-02T08:00"),
        ({"hours": "08:00-20:00"}, "2026-01-02T20:00", "2026-01-03T08:00"),
        ({"hours": "20:00-08:00"}, "2026-01-02T03:00", "2026-01-02T03:00"),
        ({"hours": "20:00-08:00"}, "2026-01-02T12:00", "2026-01-02T20:00"),
        ({"hours": "08:00-24:00"}, "2026-01-02T23:59", "2026-01-02T23:59"),
        ({"workdays_only": True}, "2026-01-02T23:59", "2026-01-02T23:59"),
        ({"workdays_only": True}, "2026-01-03T12:00", "2026-01-05T00:00"),
        ({"hours": "08:00-20:00", "workdays_only": True}, "2026-01-02T21:00", "2026-01-05T08:00"),
        ({"hours": "20:00-08:00", "workdays_only": True}, "2026-01-03T03:00", "2026-01-03T03:00"),
    ],
)
def test_when_it_is_told(changes: dict[str, Any], now: str, told: str) -> None:
    assert tell_at(notifier(**changes), Severity.WARNING, at(now), Weekdays()) == at(told)


def test_critical_alerts_do_not_wait_unless_they_are_to() -> None:
    night = at("2026-01-03T03:00")
    assert tell_at(notifier(hours="08:00-20:00"), Severity.CRITICAL, night, Weekdays()) == night
    patient = notifier(hours="08:00-20:00", critical_any_time=False)
    assert tell_at(patient, Severity.CRITICAL, night, Weekdays()) == at("2026-01-03T08:00")


def test_the_banks_calendar_knows_holidays_and_make_up_workdays() -> None:
    calendar = BankCalendar(SHANGHAI, DetectionSettings(zone="Asia/Shanghai", country="CN"))
    holiday, make_up, saturday = at("2025-10-01T12:00"), at("2025-10-11T12:00"), at("2025-11-15T12:00")
    assert [calendar.is_workday(day) for day in (holiday, make_up, saturday)] == [False, True, False]


def test_a_calendar_without_workdays_does_not_hold_messages_for_ever() -> None:
    @dataclass(frozen=True)
    class Never(Weekdays):
        def is_workday(self, at: float) -> bool:
            return False

    assert tell_at(notifier(workdays_only=True), Severity.WARNING, 1000.0, Never()) == 1000.0
