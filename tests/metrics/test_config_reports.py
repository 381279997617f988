"""Scheduled reports in the configuration: defaults, and faults with their places."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxgauge.metrics.configuration.config import Config, SpecificationError


def faults(text: str) -> str:
    with pytest.raises(SpecificationError) as caught:
        Config.parse(text)
    return str(caught.value)


def test_defaults() -> None:
    (schedule,) = Config.parse("reports: [{name: weekly, folder: out}]", directory=Path("/bank")).reports
    assert (schedule.every, schedule.weekday, schedule.time, schedule.compare) == (
        "week",
        "monday",
        "07:00",
        "previous",
    )
    assert (schedule.compare, schedule.formats, schedule.flows, schedule.notifiers) == ("previous", ("html",), None, ())
    assert schedule.folder == Path("/bank/out")
    assert Config.parse("language: en").reports == ()


def test_notifiers_must_be_there_and_take_reports() -> None:
    text = faults(
        "notifiers:\n"
        "  - {name: chat, type: slack, url: env:X}\n"
        "  - {name: pager, type: pagerduty, routing_key: env:X}\n"
        "reports:\n"
        "  - {name: a, notifiers: [chat, pager, mail]}\n"
    )
    assert text == (
        "cxgauge.yml:5: reports[0].notifiers[1]='pager' is of type pagerduty, which takes alerts only; choose a mail "
        "or chat notifier\n"
        "cxgauge.yml:5: reports[0].notifiers[2]='mail' is no notifier; declared are chat, pager"
    )


def test_times_days_and_names() -> None:
    text = faults(
        "reports:\n"
        "  - {name: a, time: '00:05'}\n"
        "  - {name: a, every: month, day: 32}\n"
        "  - {name: b, every: month, day: statement}\n"
        "  - {name: c, formats: []}\n"
    )
    assert text.splitlines() == [
        (
            "cxgauge.yml:2: reports[0].time='00:05' is too early, figures of the last hour are not settled; write "
            "00:10 or later"
        ),
        "cxgauge.yml:3: reports[1].day='32' is not a day of the month; write a number from 1 to 31, or statement",
        "cxgauge.yml:3: reports[1].name='a' is the name of reports[0] already; choose another",
        "cxgauge.yml:4: reports[2].day='statement' needs calendar.statement_days, and there are none; add them",
        "cxgauge.yml:5: reports[3].formats has 0 entries, at least 1; add some",
    ]


def test_a_statement_day_in_the_calendar_is_enough() -> None:
    for calendar in ("{statement_days: [5]}", "{days: [{date: '2026-03-05', kind: statement}]}"):
        text = f"calendar: {calendar}\nreports: [{{name: a, every: month, day: statement}}]"
        assert Config.parse(text).reports[0].day == "statement"
