from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cxgauge.collectors.importer.mapping import (
    CheckColumn,
    DurationColumn,
    FieldError,
    ImportMapping,
    TimeColumn,
    TimeReader,
    default_mapping,
    step_name,
)
from cxgauge.metrics.verdict import CheckResult, Verdict

MAY_16 = 1_494_892_800_008_000  # 2017-05-16 00:00:00.008 UTC


@pytest.mark.parametrize(
    ("column", "text", "expected"),
    [
        ({}, "2017-05-16 00:00:00.008", MAY_16),
        ({}, "2017-05-16 00:00:00,008", MAY_16),
        ({}, "2017-05-16T08:00:00.008+08:00", MAY_16),
        ({"timezone": "Asia/Shanghai"}, "2017-05-16 08:00:00.008", MAY_16),
        ({"timezone": "Asia/Shanghai"}, "2017-05-16T00:00:00.008Z", MAY_16),
        ({"format": "%d/%b/%Y:%H:%M:%S %z"}, "16/May/2017:08:00:00 +0800", MAY_16 - 8000),
        ({"format": "unix"}, "1494892800.008", MAY_16),
        ({"format": "unix_ms"}, "1494892800008", MAY_16),
        ({"format": "unix_us"}, "1494892800008000", MAY_16),
        ({"format": "unix_ns"}, "1494892800008000000", MAY_16),
    ],
)
def test_times(column: dict[str, Any], text: str, expected: int) -> None:
    assert TimeReader(TimeColumn(column="t", **column)).microseconds({"t": text}) == expected


@pytest.mark.parametrize(
    ("column", "fields", "message"),
    [
        ({}, {}, "t is missing; a row needs a time"),
        ({}, {"t": "yesterday"}, "t='yesterday' is not a time of format iso"),
        (
            {"format": "unix"},
            {"t": "1494892800008"},
            "t='1494892800008' is not between 1970 and 2100; is the format unix right?",
        ),
        ({"format": "unix"}, {"t": "nan"}, "t='nan' is not a time of format unix"),
    ],
)
def test_bad_times_say_why(column: dict[str, Any], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FieldError) as caught:
        TimeReader(TimeColumn(column="t", **column)).microseconds(fields)
    assert str(caught.value) == message


@pytest.mark.parametrize(("unit", "text", "expected"), [("s", "1.5", 1.5), ("ms", "1500", 1.5), ("us", "20", 2e-5)])
def test_durations(unit: Any, text: str, expected: float) -> None:
    assert DurationColumn(column="d", unit=unit).seconds({"d": text}) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "d is missing; a row needs a duration"),
        ({"d": "fast"}, "d='fast' is not a number of s"),
        ({"d": "-1"}, "d='-1' s is not between 0 and 86400 seconds"),
        ({"d": "nan"}, "d='nan' s is not between 0 and 86400 seconds"),
    ],
)
def test_bad_durations_say_why(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FieldError) as caught:
        DurationColumn(column="d").seconds(fields)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "expected"),
    [("OK", CheckResult.PASS), (True, CheckResult.PASS), ("0", CheckResult.FAIL), ("?", CheckResult.UNKNOWN)],
)
def test_check_results(value: Any, expected: CheckResult) -> None:
    assert CheckColumn.model_validate("c").result({"c": value}) is expected


def test_absent_check_is_not_evaluated() -> None:
    assert CheckColumn.model_validate("c").result({}) is CheckResult.NOT_EVALUATED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET /v2/54fadb412c4e40cdbaed9335e4c35a9e/servers/detail", "get_v2_id_servers_detail"),
        ("/bills/17?page=2", "bills_id"),
        ("/x/9bc36dd9-91c5-4314-898a-47625eb93b09", "x_id"),
        ("2013-10-17", "step_2013_10_17"),
        ("z" * 80, "z" * 63),
    ],
)
def test_step_names_from_routes(text: str, expected: str) -> None:
    assert step_name(text) == expected


def test_text_without_letters_makes_no_step() -> None:
    with pytest.raises(FieldError) as caught:
        step_name("账单")
    assert str(caught.value) == "step='账单' makes no name; give rules: that say which step it is"


def _mapping(**more: Any) -> ImportMapping:
    return ImportMapping.model_validate(
        {"flow": {"value": "f"}, "step": "s", "duration": {"column": "d"}, "observed_at": {"column": "t"}, **more}
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"v": "Slow"}, Verdict.SLOW),
        ({"v": "T/O"}, Verdict.TIMEOUT),
        ({"st": "503"}, Verdict.ERROR),
        ({"st": 504}, Verdict.TIMEOUT),
        ({"st": "404"}, None),
        ({}, None),
    ],
)
def test_verdicts(fields: dict[str, Any], expected: Verdict | None) -> None:
    mapping = _mapping(verdict={"column": "v", "values": {"T/O": "timeout"}}, status="st")
    assert mapping.read_verdict(fields) is expected


def test_unknown_verdict_says_what_there_is() -> None:
    with pytest.raises(FieldError) as caught:
        _mapping(verdict="v").read_verdict({"v": "meh"})
    assert str(caught.value) == (
        "verdict='meh' is not one of good, slow, stale, incomplete, wrong, abandoned, timeout, error; "
        "translate it with values:"
    )


def test_two_times_are_refused() -> None:
    with pytest.raises(ValidationError, match="give exactly one of observed_at"):
        _mapping(started_at={"column": "t0"})


def test_default_mapping_goes_by_names() -> None:
    mapping = default_mapping(
        ["step", "started_at", "duration_ms", "status", "check_total", "channel", "colour"],
        flow="bill",
        step=None,
        time_format="iso",
        timezone="Asia/Shanghai",
        dimensions=["channel", "region"],
    )

    assert mapping.flow.value == "bill"
    assert mapping.duration.unit == "ms"
    assert mapping.started_at is not None
    assert mapping.started_at.timezone == "Asia/Shanghai"
    assert set(mapping.checks) == {"total"}
    assert set(mapping.dimensions) == {"channel"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            ["a"],
            "no duration among the columns (a); name one duration_seconds or duration_ms, or map it",
        ),
        (["duration"], "no time among the columns (duration); name one observed_at or started_at, or map it"),
        (["duration", "observed_at"], "no flow among the columns (duration, observed_at); give --flow, or map it"),
    ],
)
def test_default_mapping_says_what_is_missing(columns: list[str], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        default_mapping(columns, flow=None, step=None, time_format="iso", timezone="UTC")
    assert str(caught.value) == message
