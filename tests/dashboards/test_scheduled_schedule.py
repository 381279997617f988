"""When reports are due: weeks, months, statement days, days of 23 and 25 hours."""

from __future__ import annotations

from datetime import datetime, tzinfo
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.dashboards.scheduled.schedule import due_reports, last_report, next_report
from cxgauge.metrics.configuration.reports import ReportSchedule
from cxgauge.metrics.configuration.sections import CalendarConfig

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
NONE = CalendarConfig()


def schedule(**settings: Any) -> ReportSchedule:
    return ReportSchedule.model_validate({"name": "a", **settings})


def at(text: str, zone: tzinfo = SHANGHAI) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def due(
    one: ReportSchedule, after: str, until: str, zone: tzinfo = SHANGHAI, calendar: CalendarConfig = NONE
) -> list[tuple[str, str, str]]:
    """Due time, start and end, as local text."""

    def local(moment: float) -> str:
        return f"{datetime.fromtimestamp(moment, zone):%m-%d %H:%M}"

    found = due_reports(one, calendar, zone, at(after, zone), at(until, zone))
    return [(local(each.due_at), local(each.period.start), local(each.period.end)) for each in found]


def test_a_day_is_yesterday() -> None:
    assert due(schedule(every="day", time="07:30"), "2026-03-14 07:30", "2026-03-16 07:30") == [
        ("03-15 07:30", "03-14 00:00", "03-15 00:00"),
        ("03-16 07:30", "03-15 00:00", "03-16 00:00"),
    ]


def test_a_week_ends_before_its_weekday() -> None:
    assert due(schedule(every="week", weekday="thursday"), "2026-03-01", "2026-03-14") == [
        ("03-05 07:00", "02-26 00:00", "03-05 00:00"),
        ("03-12 07:00", "03-05 00:00", "03-12 00:00"),
    ]


def test_a_month_and_one_that_lacks_the_day() -> None:
    assert due(schedule(every="month"), "2026-02-15", "2026-03-15") == [("03-01 07:00", "02-01 00:00", "03-01 00:00")]
    assert due(schedule(every="month", day=31), "2026-01-30", "2026-04-30 12:00") == [
        ("01-31 07:00", "12-31 00:00", "01-31 00:00"),
        ("02-28 07:00", "01-31 00:00", "02-28 00:00"),
        ("03-31 07:00", "02-28 00:00", "03-31 00:00"),
        ("04-30 07:00", "03-31 00:00", "04-30 00:00"),
    ]


def test_after_statement_days() -> None:
    calendar = CalendarConfig.model_validate({"statement_days": [5, 20]})
    assert due(schedule(every="month", day="statement"), "2026-03-01", "2026-03-31", calendar=calendar) == [
        ("03-06 07:00", "02-21 00:00", "03-06 00:00"),
        ("03-21 07:00", "03-06 00:00", "03-21 00:00"),
    ]
    end = CalendarConfig.model_validate({"statement_days": [31]})
    assert due(schedule(every="month", day="statement", days_after=3), "2026-02-25", "2026-04-04", calendar=end) == [
        ("03-03 07:00", "02-03 00:00", "03-03 00:00"),
        ("04-03 07:00", "03-03 00:00", "04-03 00:00"),
    ]


def test_a_single_statement_day_covers_thirty_days() -> None:
    calendar = CalendarConfig.model_validate({"days": [{"date": "2026-03-05", "kind": "statement"}]})
    assert due(schedule(every="month", day="statement"), "2026-01-01", "2026-12-01", calendar=calendar) == [
        ("03-06 07:00", "02-04 00:00", "03-06 00:00")
    ]


def test_the_clock_that_jumps_and_the_one_that_repeats_an_hour() -> None:
    daily = schedule(every="day", time="02:30")
    assert due(daily, "2026-03-28 12:00", "2026-03-30 12:00", BERLIN) == [
        ("03-29 03:30", "03-28 00:00", "03-29 00:00"),
        ("03-30 02:30", "03-29 00:00", "03-30 00:00"),
    ]
    spring, autumn = (
        next(due_reports(daily, NONE, BERLIN, at(day, BERLIN), at(day, BERLIN) + 2 * 86_400))
        for day in ("2026-03-29 12:00", "2026-10-25 12:00")
    )
    assert (spring.period.seconds, autumn.period.seconds) == (23 * 3_600, 25 * 3_600)
    assert len(due(daily, "2026-10-24 12:00", "2026-10-25 12:00", BERLIN)) == 1


def test_next_and_last() -> None:
    now = at("2026-03-14 12:00")
    weekly = schedule(every="week")
    following, before = next_report(weekly, NONE, SHANGHAI, now), last_report(weekly, NONE, SHANGHAI, now)
    assert following is not None
    assert before is not None
    assert following.due_at == at("2026-03-16 07:00")
    assert before.period.end == following.period.start == at("2026-03-09")
    assert next_report(schedule(every="month", day="statement"), NONE, SHANGHAI, now) is None


@pytest.mark.parametrize("zone", [SHANGHAI, BERLIN, ZoneInfo("Australia/Lord_Howe")], ids=str)
@given(
    one=st.sampled_from(
        [
            schedule(every="day", time="02:15"),
            schedule(every="week", weekday="sunday", time="02:30"),
            schedule(every="month", day=30),
            schedule(every="month", day="statement", days_after=2),
        ]
    ),
    cuts=st.lists(st.integers(0, 200 * 86_400), min_size=1, max_size=5).map(sorted),
)
def test_periods_follow_on_each_other_however_time_is_cut(zone: tzinfo, one: ReportSchedule, cuts: list[int]) -> None:
    calendar = CalendarConfig.model_validate({"statement_days": [12, 31]})
    start = at("2026-02-01", zone)
    bounds = [start, *(start + cut for cut in cuts), start + 200 * 86_400]
    whole = list(due_reports(one, calendar, zone, bounds[0], bounds[-1]))
    pieces = [each for a, b in pairwise(bounds) for each in due_reports(one, calendar, zone, a, b)]

    assert pieces == whole
    assert all(left.period.end == right.period.start for left, right in pairwise(whole))
    assert all(each.due_at > each.period.end for each in whole)
