"""The sections of the configuration. A key that ends in ``_seconds`` is a plain number; others carry their unit."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from ..specification.scalar_types import (
    Bytes,
    Duration,
    DurationOrZero,
    FilePath,
    PositiveInt,
    Seconds,
    StrictModel,
    Text,
    refuse,
)
from .secret import AddressReference, DsnReference, SecretReference, SecretsModel

__all__ = [
    "AlertsConfig",
    "CalendarConfig",
    "CalendarDay",
    "DatabaseConfig",
    "DetectionConfig",
    "FlowsConfig",
    "PrometheusConfig",
    "RecorderConfig",
    "RetentionConfig",
    "SpoolConfig",
]


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1_000_000:
        raise refuse("is not a number above 0; write e.g. 1.0")
    return float(value)


def _spike_ratio(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 1.05 <= value <= 100:
        raise refuse("is not a ratio from 1.05 to 100; write e.g. 1.3")
    return float(value)


def _spike_windows(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 30:
        raise refuse("is not a number of windows from 1 to 30; write e.g. 3")
    return value


def _date(value: object) -> dt.date:
    try:
        return value if isinstance(value, dt.date) else dt.date.fromisoformat(str(value))
    except ValueError:
        raise refuse('is not a date; write it in quotes, e.g. "2026-01-31"') from None


def _day_of_month(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 31:
        raise refuse("is not a day of the month; write a number from 1 to 31")
    return value


def _country(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch("[A-Z]{2}", value):
        raise refuse("is not a country code; write two capitals, e.g. CN")
    return value


Country = Annotated[str, BeforeValidator(_country), WithJsonSchema({"type": "string", "pattern": "^[A-Z]{2}$"})]
PositiveNumber = Annotated[
    float,
    BeforeValidator(_number),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 1_000_000}),
]
SpikeRatio = Annotated[
    float, BeforeValidator(_spike_ratio), WithJsonSchema({"type": "number", "minimum": 1.05, "maximum": 100})
]
SpikeWindows = Annotated[
    int, BeforeValidator(_spike_windows), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 30})
]
Date = Annotated[
    dt.date, BeforeValidator(_date), WithJsonSchema({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"})
]
DayOfMonth = Annotated[
    int, BeforeValidator(_day_of_month), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 31})
]


class FlowsConfig(StrictModel):
    """Where the flow specifications are."""

    directory: FilePath = Field(default="flows", validate_default=True, description="Folder of the `*.yml` flow files.")


class DatabaseConfig(SecretsModel):
    """Where figures are kept: an own PostgreSQL (15 or later, TimescaleDB used when there), or the embedded one."""

    dsn: DsnReference | None = Field(
        default=None, description="PostgreSQL address without password. Without it the embedded server is used."
    )
    password: SecretReference | None = Field(default=None, description="Password for `dsn`.")
    embedded_directory: FilePath | None = Field(
        default=None, description="Folder of the embedded server; by default one in the user's state folder."
    )

    def conninfo(self) -> str | None:
        """The connection string for psycopg with the password in it (never log it); None for the embedded server.

        Raises:
            SecretError: a referenced secret cannot be read.
        """
        if self.dsn is None:
            return None
        address = self.dsn.reveal()
        if self.password is None:
            return address
        from psycopg.conninfo import make_conninfo

        return make_conninfo(address, password=self.password.reveal())


class SpoolConfig(StrictModel):
    """Where accepted observations wait on disk for the writer."""

    directory: FilePath = Field(default="data/spool", validate_default=True, description="Folder of the segments.")
    fsync: Literal["always", "interval"] = Field(
        default="always",
        description=(
            "`always`: accepted means synced, a power failure loses nothing. `interval`: killing the process loses "
            "nothing, a power failure at most `fsync_interval_seconds`."
        ),
    )
    fsync_interval_seconds: Seconds = Field(default=1.0, description="Time between syncs with `fsync: interval`.")
    segment_bytes: Bytes = Field(default=16 << 20, description="A segment is closed at this size, ...")
    segment_age_seconds: Seconds = Field(default=60.0, description="... or at this age.")
    limit_bytes: Bytes = Field(
        default=1 << 30,
        description="Size of the folder beyond which new observations are refused, counted and alerted.",
    )
    age_limit_seconds: Duration = Field(
        default="7d",
        alias="age_limit",
        validate_default=True,
        description="Age of the oldest segment with the same effect.",
    )
    minimum_free_bytes: Bytes = Field(default=64 << 20, description="Space on the disk that is left to others.")


class RecorderConfig(SecretsModel):
    """The recorder inside the bank's own applications."""

    buffer_limit: PositiveInt = Field(
        default=65_536, description="Observations kept in memory at most; more are dropped and counted."
    )
    flush_interval_seconds: Seconds = Field(default=0.2, description="Time between flushes to the spool.")
    customer_key: SecretReference | None = Field(
        default=None, description="Key of the HMAC that turns customer ids into tokens; without it none are kept."
    )


class RetentionConfig(StrictModel):
    """How long figures are kept, in days."""

    observations_days: PositiveInt = Field(default=14, description="Single observations.")
    window_rollups_days: PositiveInt = Field(default=90, description="Rollups of a window (a minute).")
    hour_rollups_days: PositiveInt = Field(
        default=1_100, description="Rollups of an hour: three years for year on year."
    )
    reports_days: PositiveInt = Field(default=400, description="Scheduled reports with their files.")


class PrometheusConfig(SecretsModel):
    """Push of durations to Prometheus as native histograms, beside what it scrapes; off without an address."""

    otlp_url: AddressReference | None = Field(
        default=None,
        description="OTLP endpoint, `http://127.0.0.1:9090/api/v1/otlp/v1/metrics`; nothing is pushed without one.",
    )
    otlp_interval_seconds: Duration = Field(
        default="15s", alias="otlp_interval", validate_default=True, description="Time between two pushes."
    )
    otlp_timeout_seconds: Duration = Field(
        default="10s", alias="otlp_timeout", validate_default=True, description="How long to wait for the answer."
    )
    otlp_instance: Text | None = Field(
        default=None, description="Label `instance` of what is pushed; by default the name of the host."
    )
    token: SecretReference | None = Field(default=None, description="Bearer token.")
    username: Text | None = Field(default=None, description="Account for HTTP basic authentication.")
    password: SecretReference | None = Field(default=None, description="Password of the account.")


class DetectionConfig(StrictModel):
    """How deviations are found."""

    false_alarms_per_month: PositiveNumber = Field(
        default=1.0, description="False alarms in 30 days that you will tolerate, for the whole fleet."
    )
    minimum_history_days: PositiveNumber = Field(
        default=1.0, description="Series with less history are not judged yet."
    )
    history_days: PositiveNumber = Field(default=28.0, description="History that baselines are learnt from.")
    learn_interval_seconds: Duration = Field(
        default="1d", alias="learn_interval", validate_default=True, description="Time between learning baselines anew."
    )
    grace_seconds: Seconds = Field(default=15.0, description="Time after the end of a window before it is judged.")
    spike_windows: SpikeWindows = Field(
        default=3, description="Longest disturbance, in windows, that is no alarm if it is a spike."
    )
    spike_effect: SpikeRatio = Field(
        default=1.3,
        description="What a spike is: durations change by this ratio or more. Smaller changes alarm a window earlier.",
    )


class AlertsConfig(StrictModel):
    """How alerts live."""

    pending_for_seconds: DurationOrZero = Field(
        default="0s",
        alias="pending_for",
        validate_default=True,
        description="Time a deviation must last before its alert fires; detection waited for evidence already.",
    )
    resend_seconds: Duration = Field(
        default="4h", alias="resend", validate_default=True, description="Time between reminders of an open alert."
    )
    no_data_after_seconds: Duration = Field(
        default="5m",
        alias="no_data_after",
        validate_default=True,
        description="Silence of a collector that is an alert.",
    )
    language: Literal["en", "zh"] | None = Field(
        default=None, description="Language of alerts; the general one by default."
    )
    external_url: AddressReference | None = Field(
        default=None, description="Address of the pages, for links in alerts."
    )


class CalendarDay(StrictModel):
    """One day that is not like its weekday."""

    date: Date = Field(description="The day, in quotes.")
    kind: Literal["holiday", "workday", "statement", "payday", "campaign"] = Field(
        description="`workday` is a make-up workday on a weekend."
    )
    name: Text | None = Field(default=None, description="What people read.")


class CalendarConfig(StrictModel):
    """Days that are not like others, so that they are not called deviations."""

    country: Country | None = Field(
        default=None, description="Country of public holidays and make-up workdays, e.g. CN."
    )
    statement_days: tuple[DayOfMonth, ...] = Field(
        default=(), description="Days of the month on which bills are issued."
    )
    paydays: tuple[DayOfMonth, ...] = Field(default=(), description="Days of the month on which salaries come.")
    month_end: bool = Field(default=False, description="Whether the last day of each month is not like others.")
    days: tuple[CalendarDay, ...] = Field(default=(), description="Single days, also against the country's calendar.")
