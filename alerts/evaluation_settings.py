"""Settings of the evaluation, from the configuration of an installation."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass, field
from datetime import date

from ..metrics.configuration.config import Config
from ..metrics.detection.settings import DetectionSettings
from .learning import LearningSchedule
from .lifecycle import LifecycleSettings

__all__ = ["EvaluationSettings"]

_YEARS = (2020, 2040)  # for days of the month


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How windows are judged.

    Attributes:
        window_seconds: Length of a window; that of the store.
        grace_seconds: How long after its end a window is judged: what arrives later is too late.
        detection: Settings of baseline and detector.
        learning: What the baseline is learnt from, and when.
        lifecycle: How alerts live.
        no_data_seconds: Silence of all sources that is an alert, when traffic is expected.
        late_seconds: How far the evaluation may be behind before that is an alert.
        catch_up_seconds: How long one tick may work through a backlog before it reports how far it is.
    """

    window_seconds: int = 60
    grace_seconds: float = 15.0
    detection: DetectionSettings = field(default_factory=DetectionSettings)
    learning: LearningSchedule = field(default_factory=LearningSchedule)
    lifecycle: LifecycleSettings = field(default_factory=LifecycleSettings)
    no_data_seconds: float = 300.0
    late_seconds: float = 300.0
    catch_up_seconds: float = 30.0

    @classmethod
    def of(cls, config: Config) -> EvaluationSettings:
        """The settings an installation asks for; times that make no sense below a window's length follow it."""
        window = config.window_seconds
        return cls(
            window_seconds=window,
            grace_seconds=config.detection.grace_seconds,
            detection=detection_settings(config),
            learning=LearningSchedule(config.detection.history_days * 86400.0, config.detection.learn_interval_seconds),
            lifecycle=LifecycleSettings(
                pending_seconds=config.alerts.pending_for_seconds,
                settle_seconds=float(window),
                group_seconds=15.0 * window,
                reopen_seconds=30.0 * window,
                remind_seconds=config.alerts.resend_seconds,
            ),
            no_data_seconds=config.alerts.no_data_after_seconds,
        )


def detection_settings(config: Config) -> DetectionSettings:
    """What detection is told: window, zone, calendar and budget."""
    return DetectionSettings(
        window_seconds=float(config.window_seconds),
        zone=config.timezone.key,
        country=config.calendar.country or "",
        false_alarms_per_month=config.detection.false_alarms_per_month,
        minimum_history_seconds=config.detection.minimum_history_days * 86400.0,
        spike_windows=config.detection.spike_windows,
        spike_effect=config.detection.spike_effect,
        special_days=_special_days(config),
        holidays=_days_of_kind(config, "holiday"),
        workdays=_days_of_kind(config, "workday"),
    )


def _days_of_kind(config: Config, kind: str) -> tuple[str, ...]:
    return tuple(str(day.date) for day in config.calendar.days if day.kind == kind)


def _special_days(config: Config) -> dict[str, str]:
    """ISO dates of month ends, statement days, paydays and campaigns; of several on one day the last kind counts."""
    calendar = config.calendar
    found: dict[str, str] = {}
    if calendar.month_end:
        for year in range(*_YEARS):
            for month in range(1, 13):
                found[date(year, month, monthrange(year, month)[1]).isoformat()] = "month_end"
    for kind, days in (("statement", calendar.statement_days), ("payday", calendar.paydays)):
        for year in range(*_YEARS):
            for month in range(1, 13):
                for day in days:
                    try:
                        found[date(year, month, day).isoformat()] = kind
                    except ValueError:  # no such day in this month
                        continue
    for special in calendar.days:
        if special.kind in {"statement", "payday", "campaign"}:
            found[str(special.date)] = special.name or special.kind
    return found
