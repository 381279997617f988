"""The configuration ``cxgauge.yml``: where things are, what is kept how long, whom to tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from ..specification.check import Zone, utc
from ..specification.scalar_types import StrictModel, refuse
from ..strict_yaml import Document, Location, SpecificationError, read_document, read_text
from ..validation import raise_together, validate
from .http import HttpConfig
from .notifiers import AnyNotifier, LogNotifier
from .receiver import ReceiverConfig
from .reports import ReportSchedule, report_rules
from .secret import Secret, SecretError
from .sections import (
    AlertsConfig,
    CalendarConfig,
    CalendarDay,
    DatabaseConfig,
    DetectionConfig,
    FlowsConfig,
    PrometheusConfig,
    RecorderConfig,
    RetentionConfig,
    SpoolConfig,
)
from .sign_in import SignInConfig

__all__ = [
    "AlertsConfig",
    "CalendarConfig",
    "CalendarDay",
    "Config",
    "DatabaseConfig",
    "DetectionConfig",
    "FlowsConfig",
    "HttpConfig",
    "PrometheusConfig",
    "RecorderConfig",
    "RetentionConfig",
    "Secret",
    "SecretError",
    "SignInConfig",
    "SpecificationError",
    "SpoolConfig",
    "read_config",
]


_WINDOWS = tuple(seconds for seconds in range(60, 0, -1) if 60 % seconds == 0)


def _window(value: object) -> int:
    if isinstance(value, bool) or value not in _WINDOWS:
        raise refuse(f"does not divide a minute; write one of {', '.join(str(seconds) for seconds in _WINDOWS)}")
    return int(str(value))


Window = Annotated[int, BeforeValidator(_window), WithJsonSchema({"type": "integer", "enum": list(_WINDOWS)})]


class Config(StrictModel):
    """Everything an installation may set; each key has a default.

    Relative paths count from the folder of the file.
    """

    language: Literal["en", "zh"] = Field(default="en", description="Language of pages, reports and alerts.")
    timezone: Zone = Field(
        default=utc(), description="IANA time zone of the bank, for seasons and for what people read."
    )
    window_seconds: Window = Field(
        default=60, description="Length of a window of figures; must divide 60. Keep it once figures have been stored."
    )
    flows: FlowsConfig = Field(default=FlowsConfig(), description="Flow specifications.")
    database: DatabaseConfig = Field(default=DatabaseConfig(), description="Where figures are kept.")
    spool: SpoolConfig = Field(default=SpoolConfig(), description="Where observations wait on disk.")
    recorder: RecorderConfig = Field(default=RecorderConfig(), description="The recorder inside applications.")
    receiver: ReceiverConfig = Field(default=ReceiverConfig(), description="Where spans and beacons come in.")
    retention: RetentionConfig = Field(default=RetentionConfig(), description="How long figures are kept.")
    http: HttpConfig = Field(default=HttpConfig(), description="Pages, API and metrics.")
    sign_in: SignInConfig = Field(default=SignInConfig(), description="Who may see and do what.")
    prometheus: PrometheusConfig = Field(default=PrometheusConfig(), description="Push of native histograms.")
    detection: DetectionConfig = Field(default=DetectionConfig(), description="How deviations are found.")
    alerts: AlertsConfig = Field(default=AlertsConfig(), description="How alerts live.")
    notifiers: tuple[AnyNotifier, ...] = Field(
        default=(LogNotifier(name="log", type="log"),), max_length=50, description="Whom to tell; by default the log."
    )
    calendar: CalendarConfig = Field(default=CalendarConfig(), description="Days that are not like others.")
    reports: tuple[ReportSchedule, ...] = Field(default=(), max_length=100, description="Reports made on a schedule.")

    @model_validator(mode="wrap")
    @classmethod
    def _whole(cls, data: Any, handler: Any) -> Any:
        if not isinstance(data, dict):
            return handler(data)
        sections: dict[str, Any] = {name: {} for name in _SECTIONS if name not in data}
        # absent sections are validated too: their paths count from the file's folder as well
        return raise_together(cls.__name__, lambda: handler({**data, **sections}), list(_broken_rules(data)))

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read a configuration file.

        Raises:
            SpecificationError: the file cannot be used; ``faults`` has everything that is wrong.
        """
        config, document = read_config(Path(path))
        if config is None:
            raise SpecificationError(tuple(document.faults))
        return config

    @classmethod
    def parse(cls, text: str, path: str = "cxgauge.yml", directory: Path | None = None) -> Config:
        """Read a configuration from YAML text; relative paths count from ``directory`` if given.

        Raises:
            SpecificationError: the text cannot be used.
        """
        document = read_text(text, path)
        config = validate(cls, document, {"directory": directory})
        if config is None:
            raise SpecificationError(tuple(document.faults))
        return config


_SECTIONS = (
    "flows",
    "database",
    "spool",
    "recorder",
    "receiver",
    "retention",
    "http",
    "sign_in",
    "prometheus",
    "detection",
    "alerts",
    "calendar",
)


def read_config(path: Path) -> tuple[Config | None, Document]:
    """Read a configuration file without raising: the configuration if it has no fault, and the document with faults."""
    document = read_document(path)
    return validate(Config, document, {"directory": path.parent}), document


def _broken_rules(data: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    yield from _database_rules(data.get("database"))
    yield from _retention_rules(data.get("retention"))
    yield from _sign_in_rules(data.get("sign_in"), data.get("http"))
    yield from report_rules(data)
    notifiers = data.get("notifiers")
    names: dict[str, int] = {}
    for index, notifier in enumerate(notifiers if isinstance(notifiers, list) else ()):
        name = notifier.get("name") if isinstance(notifier, dict) else None
        if isinstance(name, str):
            if name in names:
                yield ("notifiers", index, "name"), f"is the name of notifiers[{names[name]}] already; choose another"
            names.setdefault(name, index)


def _database_rules(database: Any) -> Iterator[tuple[Location, str]]:
    if not isinstance(database, dict):
        return
    addressed = "dsn" in database or "dsn_file" in database
    if addressed and "embedded_directory" in database:
        yield ("database", "embedded_directory"), "has no use beside dsn; keep one of the two"
    for key in ("password", "password_file"):
        if key in database and not addressed:
            yield ("database", key), "has no use without dsn; add dsn, or remove it"


def _retention_rules(retention: Any) -> Iterator[tuple[Location, str]]:
    if not isinstance(retention, dict):
        return
    defaults = RetentionConfig()
    windows = retention.get("window_rollups_days", defaults.window_rollups_days)
    hours = retention.get("hour_rollups_days", defaults.hour_rollups_days)
    if isinstance(windows, int) and isinstance(hours, int) and hours < windows:
        key = "hour_rollups_days" if "hour_rollups_days" in retention else "window_rollups_days"
        yield ("retention", key), f"makes hours ({hours}) be kept shorter than windows ({windows}); swap them"


def _sign_in_rules(sign_in: Any, http: Any) -> Iterator[tuple[Location, str]]:
    if isinstance(sign_in, dict) and sign_in.get("openid") and not (isinstance(http, dict) and http.get("public_url")):
        rule = (
            "needs http.public_url, to which the provider sends people back; set it, e.g. https://cxgauge.bank.example"
        )
        yield ("sign_in", "openid"), rule
