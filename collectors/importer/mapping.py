"""What each column of an imported file means.

Without a mapping, columns (or named groups of a pattern) speak by their names: ``flow``, ``step``,
``observed_at`` or ``started_at``, ``duration_seconds`` / ``duration_ms`` / ``duration_us``, ``verdict``,
``status`` (an HTTP status code), ``customer``, ``flow_instance``, ``trace_id``, ``span_id``, ``check_<name>``,
and the names of the flow's dimensions. A mapping file says it for files whose columns are called otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ...metrics.verdict import CheckResult, Verdict

__all__ = [
    "CheckColumn",
    "Column",
    "DurationColumn",
    "FieldError",
    "ImportMapping",
    "StepColumn",
    "StepRule",
    "TimeColumn",
    "TimeReader",
    "default_mapping",
    "route_title",
    "step_name",
]

_UNITS_A_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNIX_MICROSECONDS = {"unix": 1e6, "unix_ms": 1e3, "unix_us": 1.0, "unix_ns": 1e-3}
_EARLIEST_US = 0
_LATEST_US = 4_102_444_800_000_000  # 2100-01-01: a later time is a wrong unit, not a future


class FieldError(ValueError):
    """One value of one row that cannot be used; the row is rejected with this text as the reason.

    ``kind`` is the reason without the row's own values, for counting.
    """

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Model):
    """A value of each row: of ``column``, or the constant ``value``; ``values`` translates what stands there."""

    column: str | None = None
    value: str | None = None
    values: dict[str, str] = Field(default_factory=dict)
    default: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_origin(self) -> Column:
        if (self.column is None) == (self.value is None):
            raise ValueError("give either column (a column's name) or value (the same for every row)")
        return self

    def read(self, fields: Mapping[str, Any]) -> str | None:
        """The text for this row; ``None`` when the row has none and there is no default."""
        if self.column is None:
            return self.value
        found = fields.get(self.column)
        if found is None or found == "":
            return self.default
        text = found if isinstance(found, str) else _plain(found)
        return self.values.get(text, text) if self.values else text


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class StepRule(_Model):
    """Rows whose step column matches the regular expression ``match`` belong to ``step``; first match wins."""

    match: str
    step: str

    @field_validator("match")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        return value


class StepColumn(Column):
    """The step: by rules, or made a name from the column's text (``GET /v2/servers`` → ``get_v2_servers``)."""

    rules: tuple[StepRule, ...] = ()
    otherwise: Literal["name", "reject"] = "name"


class TimeColumn(Column):
    """A point in time: ``format`` is ``iso``, ``unix``, ``unix_ms``, ``unix_us``, ``unix_ns`` or a strptime format."""

    format: str = "iso"
    timezone: str = "UTC"

    @field_validator("timezone")
    @classmethod
    def _exists(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except Exception as error:
            raise ValueError(f"{value!r} is not a time zone; write one such as Asia/Shanghai or UTC") from error
        return value


class DurationColumn(Column):
    """How long the answer took."""

    unit: Literal["s", "ms", "us", "ns"] = "s"

    def seconds(self, fields: Mapping[str, Any]) -> float:
        """Seconds for this row.

        Raises:
            FieldError: missing, not a number, negative or longer than a day.
        """
        text = self.read(fields)
        if text is None:
            raise FieldError(f"{self.column or 'duration'} is missing; a row needs a duration", "no duration")
        try:
            seconds = float(text) / _UNITS_A_SECOND[self.unit]
        except ValueError:
            raise FieldError(f"{self.column}={text[:40]!r} is not a number of {self.unit}", "bad duration") from None
        if not 0 <= seconds <= 86_400:
            raise FieldError(
                f"{self.column}={text[:40]!r} {self.unit} is not between 0 and 86400 seconds", "duration out of range"
            )
        return seconds


class CheckColumn(Column):
    """The result of one check as the file has it; a value in neither list is ``unknown``."""

    passed: tuple[str, ...] = Field(("pass", "true", "1", "ok", "yes"), alias="pass")
    failed: tuple[str, ...] = Field(("fail", "false", "0", "no"), alias="fail")

    def result(self, fields: Mapping[str, Any]) -> CheckResult:
        """The result for this row; not evaluated when the row says nothing."""
        text = self.read(fields)
        if text is None:
            return CheckResult.NOT_EVALUATED
        folded = text.strip().lower()
        if folded in self.passed:
            return CheckResult.PASS
        return CheckResult.FAIL if folded in self.failed else CheckResult.UNKNOWN


class ImportMapping(_Model):
    """The whole mapping; exactly one of ``observed_at`` (the answer arrived) and ``started_at`` (it was asked for)."""

    flow: Column
    step: StepColumn
    duration: DurationColumn
    observed_at: TimeColumn | None = None
    started_at: TimeColumn | None = None
    verdict: Column | None = None
    status: Column | None = None
    dimensions: dict[str, Column] = Field(default_factory=dict)
    checks: dict[str, CheckColumn] = Field(default_factory=dict)
    customer: Column | None = None
    flow_instance: Column | None = None
    trace_id: Column | None = None
    span_id: Column | None = None

    @model_validator(mode="after")
    def _one_time(self) -> ImportMapping:
        if (self.observed_at is None) == (self.started_at is None):
            raise ValueError("give exactly one of observed_at (the answer arrived) and started_at (it was asked for)")
        return self

    def read_verdict(self, fields: Mapping[str, Any]) -> Verdict | None:
        """What the row itself says of its verdict, ``None`` when it says nothing.

        An HTTP status of 408 or 504 is a timeout, any other of 500 and above an error; below that the
        status says nothing: a 404 may be the right answer.

        Raises:
            FieldError: a verdict of another name, or a status that is no number.
        """
        found = self.verdict.read(fields) if self.verdict else None
        if found is not None:
            try:
                return Verdict[found.strip().upper()]
            except KeyError:
                names = ", ".join(verdict.label for verdict in Verdict)
                text = f"verdict={found[:40]!r} is not one of {names}; translate it with values:"
                raise FieldError(text, "unknown verdict") from None
        status = self.status.read(fields) if self.status else None
        if status is None:
            return None
        if not status.isdecimal():
            raise FieldError(f"status={status[:40]!r} is not an HTTP status code", "bad status")
        code = int(status)
        if code in (408, 504):
            return Verdict.TIMEOUT
        return Verdict.ERROR if code >= 500 else None


class TimeReader:
    """Turns the text of a :class:`TimeColumn` into microseconds since 1970 UTC.

    A local time that occurs twice when clocks are set back is taken as its first occurrence.
    """

    def __init__(self, column: TimeColumn) -> None:
        self._column = column
        self._zone = ZoneInfo(column.timezone)
        self._factor = _UNIX_MICROSECONDS.get(column.format)

    def microseconds(self, fields: Mapping[str, Any]) -> int:
        """The time of this row.

        Raises:
            FieldError: missing, not of the declared format, or not between 1970 and 2100.
        """
        name = self._column.column
        raw = fields.get(name) if name else None
        if isinstance(raw, datetime):
            return self._within(self._from_datetime(raw), str(raw))
        text = self._column.read(fields)
        if text is None:
            raise FieldError(f"{name or 'observed_at'} is missing; a row needs a time", "no time")
        try:
            if self._factor is not None:
                return self._within(self._from_number(text), text)
            if self._column.format == "iso":
                return self._within(self._from_datetime(datetime.fromisoformat(text)), text)
            return self._within(self._from_datetime(datetime.strptime(text, self._column.format)), text)  # noqa: DTZ007
        except FieldError:
            raise
        except (ValueError, OverflowError):
            text = f"{name}={text[:40]!r} is not a time of format {self._column.format}"
            raise FieldError(text, "bad time") from None

    def _from_number(self, text: str) -> int:
        if self._factor == 1.0 and text.isdecimal():
            return int(text)
        return round(float(text) * (self._factor or 1.0))

    def _from_datetime(self, moment: datetime) -> int:
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=self._zone)
        return (aware - _EPOCH) // _MICROSECOND

    def _within(self, microseconds: int, text: str) -> int:
        if not _EARLIEST_US <= microseconds <= _LATEST_US:
            raise FieldError(
                f"{self._column.column}={text[:40]!r} is not between 1970 and 2100; "
                f"is the format {self._column.format} right?",
                "time out of range",
            )
        return microseconds


def step_name(text: str) -> str:
    """A step's name from any text, such as a route: lower case, identifiers and query strings left out.

    Parts of a path that are numbers, UUIDs or long hexadecimal strings become ``id``, so that
    ``GET /v2/54fadb41…/servers/17?x=1`` and its like are one step, ``get_v2_id_servers_id``.
    """
    path = text.split("?", 1)[0]
    parts = [_IDENTIFIER.sub("id", part) for part in re.split(r"[/\s]+", path)]
    name = re.sub(r"[^a-z0-9]+", "_", "_".join(part for part in parts if part).lower()).strip("_")
    if not name:
        raise FieldError(f"step={text[:40]!r} makes no name; give rules: that say which step it is", "bad step")
    return (name if name[0].isalpha() else f"step_{name}")[:63].rstrip("_")


def route_title(text: str) -> str:
    """The text with identifiers shown as ``{id}`` and without its query string: what people read of a route."""
    path = text.split("?", 1)[0]
    return "".join("{id}" if _IDENTIFIER.match(part) else part for part in re.split(r"([/\s]+)", path)).strip()


_IDENTIFIER = re.compile(r"^(\d+|[0-9a-fA-F]{16,}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$")


def default_mapping(
    columns: Iterable[str],
    *,
    flow: str | None,
    step: str | None,
    time_format: str,
    timezone: str,
    duration_unit: str | None = None,
    dimensions: Iterable[str] = (),
) -> ImportMapping:
    """The mapping that the columns' own names speak of; see the module's text.

    Raises:
        ValueError: no duration, no time, or neither a column nor an option for flow or step.
    """
    names = set(columns)
    have = ", ".join(sorted(names)) or "none"
    duration = _first(names, ("duration_seconds", "duration_ms", "duration_us", "duration_ns", "duration"))
    moment = _first(names, ("observed_at", "started_at"))
    if duration is None:
        raise ValueError(f"no duration among the columns ({have}); name one duration_seconds or duration_ms, or map it")
    if moment is None:
        raise ValueError(f"no time among the columns ({have}); name one observed_at or started_at, or map it")
    for name, option in (("flow", flow), ("step", step)):
        if option is None and name not in names:
            raise ValueError(f"no {name} among the columns ({have}); give --{name}, or map it")
    unit = duration_unit or {"duration_ms": "ms", "duration_us": "us", "duration_ns": "ns"}.get(duration, "s")
    plain = {n: n for n in ("verdict", "status", "customer", "flow_instance", "trace_id", "span_id") if n in names}
    return ImportMapping.model_validate(
        {
            "flow": {"value": flow} if flow is not None else "flow",
            "step": {"value": step} if step is not None else {"column": "step"},
            "duration": {"column": duration, "unit": unit},
            moment: {"column": moment, "format": time_format, "timezone": timezone},
            "checks": {n.removeprefix("check_"): n for n in sorted(names) if n.startswith("check_")},
            "dimensions": {name: name for name in dimensions if name in names},
            **plain,
        }
    )


def _first(names: set[str], wanted: Iterable[str]) -> str | None:
    return next((name for name in wanted if name in names), None)
