"""Settings of scheduled reports: of which flows, how often, in which forms, and to whom."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from ..specification.scalar_types import FilePath, Name, StrictModel, Text, refuse

__all__ = ["ReportSchedule", "report_rules"]

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_EARLIEST = "00:10"
_WITHOUT_LINKS = ("pagerduty", "alertmanager")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _time(value: object) -> str:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise refuse("is not a time of day; write it in quotes, e.g. '07:30'")
    if value < _EARLIEST:
        raise refuse(f"is too early, figures of the last hour are not settled; write {_EARLIEST} or later")
    return value


def _day(value: object) -> int | str:
    if value == "statement":
        return "statement"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 31:
        raise refuse("is not a day of the month; write a number from 1 to 31, or statement")
    return value


def _days(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 20:
        raise refuse("is not a number of days; write a number from 0 to 20")
    return value


TimeOfDay = Annotated[
    str, BeforeValidator(_time), WithJsonSchema({"type": "string", "pattern": "^[0-2][0-9]:[0-5][0-9]$"})
]
ReportDay = Annotated[
    int | Literal["statement"],
    BeforeValidator(_day),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 31}, {"const": "statement"}]}),
]
Days = Annotated[int, BeforeValidator(_days), WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 20})]
Format = Literal["html", "pdf", "xlsx", "csv", "md", "json"]


class ReportSchedule(StrictModel):
    """A report that is made again and again; days and times are those of the bank's time zone."""

    name: Name = Field(description="Unique; part of the report's address.")
    flows: tuple[Name, ...] | None = Field(default=None, description="Of which flows; of all by default.")
    every: Literal["day", "week", "month"] = Field(
        default="week", description="How much a report covers; it ends at the midnight before it is made."
    )
    weekday: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"] = Field(
        default="monday", description="With `every: week`: the day on which it is made."
    )
    day: ReportDay = Field(
        default=1,
        description=(
            "With `every: month`: the day on which it is made (the month's last where it has no such day), or "
            "`statement`: `days_after` days after each statement day of the calendar, covering the time since "
            "the one before."
        ),
    )
    days_after: Days = Field(default=1, description="With `day: statement`: 1 covers the statement day itself.")
    time: TimeOfDay = Field(default="07:00", description="Time of day at which it is made.")
    compare: Literal["previous", "week", "year", "none"] = Field(
        default="previous", description="With which period it compares."
    )
    formats: Annotated[tuple[Format, ...], Field(min_length=1)] = Field(
        default=("html",), description="Forms that are kept, and attached to mails."
    )
    language: Literal["en", "zh"] | None = Field(default=None, description="The general language by default.")
    notifiers: tuple[Name, ...] = Field(
        default=(), description="Who gets it: mails with the files, chats with the first sentence and a link."
    )
    recipients: tuple[Text, ...] | None = Field(
        default=None, description="Mail addresses instead of those of the mail notifiers.", max_length=100
    )
    folder: FilePath | None = Field(default=None, description="Folder to write the files to as well.")


def report_rules(data: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Broken rules between schedules, notifiers and the calendar, with their places."""
    schedules = data.get("reports")
    notifiers = data.get("notifiers")
    kinds = {
        one.get("name"): one.get("type")
        for one in (notifiers if isinstance(notifiers, list) else ())
        if isinstance(one, dict)
    }
    if not isinstance(notifiers, list):
        kinds = {"log": "log"}
    names: dict[str, int] = {}
    for index, schedule in enumerate(schedules if isinstance(schedules, list) else ()):
        if not isinstance(schedule, dict):
            continue
        name = schedule.get("name")
        if isinstance(name, str):
            if name in names:
                yield ("reports", index, "name"), f"is the name of reports[{names[name]}] already; choose another"
            names.setdefault(name, index)
        given = schedule.get("notifiers")
        for place, notifier in enumerate(given if isinstance(given, list) else ()):
            if isinstance(notifier, str):
                yield from _notifier_rules(("reports", index, "notifiers", place), notifier, kinds)
        if schedule.get("day") == "statement" and not _has_statement_days(data.get("calendar")):
            yield ("reports", index, "day"), "needs calendar.statement_days, and there are none; add them"


def _notifier_rules(
    place: tuple[str | int, ...], notifier: str, kinds: Mapping[Any, Any]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if notifier not in kinds:
        known = ", ".join(str(name) for name in kinds)
        yield place, f"is no notifier; declared are {known}"
    elif kinds[notifier] in _WITHOUT_LINKS:
        yield place, f"is of type {kinds[notifier]}, which takes alerts only; choose a mail or chat notifier"


def _has_statement_days(calendar: Any) -> bool:
    if not isinstance(calendar, dict):
        return False
    days = calendar.get("days")
    listed = any(
        isinstance(day, dict) and day.get("kind") == "statement" for day in (days if isinstance(days, list) else ())
    )
    return bool(calendar.get("statement_days")) or listed
