"""What a bank may set about detection, with the defaults the promise was checked with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

__all__ = ["MONTH_SECONDS", "DetectionSettings"]

MONTH_SECONDS = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class DetectionSettings:
    """Settings of :func:`~.baseline.learn` and :class:`~.detector.Detector`.

    Attributes:
        window_seconds: Length of a window.
        zone: IANA time zone of the bank: profiles are kept in local time.
        country: Holiday calendar (``holidays`` country code), or empty for none.
        false_alarms_per_month: Paged false alarms tolerated for the whole fleet in 30 days.
        false_alarms_per_series_month: The same for each family of scopes (step); when set, the fleet figure is ignored.
        effects: Ratios of duration tested for, each as a lasting change up and down.
        failure_ratios: Ratios of failure rate tested for.
        spike_windows: A disturbance of at most this many windows must not alarm if it is a spike,
        spike_effect: that is, if durations change by this ratio or more; smaller ones, beyond noise, may alarm earlier.
        slow_correlation_seconds: Correlation time of the slow wander of the level.
        minimum_history_seconds: With less history a scope is not tested.
        season_history_seconds: With less history no season is learnt.
        minimum_count: Mean observations a window below which a sub-population is not a scope of its own.
        resolve_evidence: Evidence (nats) at which a deviation counts as over.
        rebase_seconds: After this long a change of level is accepted as the new normal unless a person decided.
        silent_evidence: Evidence (nats) at which missing observations are called silence.
        special_days: Name of each special day of the bank (payday, statement day, campaign) by ISO date.
        holidays: ISO dates on which the bank is free, whatever the country's calendar says.
        workdays: ISO dates on which the bank works, whatever the country's calendar says.
    """

    window_seconds: float = 60.0
    zone: str = "UTC"
    country: str = ""
    false_alarms_per_month: float = 1.0
    false_alarms_per_series_month: float | None = None
    effects: tuple[float, ...] = (1.05, 1.1, 1.2, 1.5)
    failure_ratios: tuple[float, ...] = (1.5, 2.0, 4.0, 10.0)
    spike_windows: int = 3
    spike_effect: float = 1.3
    slow_correlation_seconds: float = 43_200.0
    minimum_history_seconds: float = 3_600.0
    season_history_seconds: float = 2 * 86_400.0
    minimum_count: float = 1.0
    resolve_evidence: float = 7.0
    rebase_seconds: float = 3 * 86_400.0
    silent_evidence: float = 14.0
    special_days: dict[str, str] = field(default_factory=dict)
    holidays: tuple[str, ...] = ()
    workdays: tuple[str, ...] = ()

    def with_spike(self, windows: int | None, effect: float | None) -> DetectionSettings:
        """The same with another :attr:`spike_windows` and :attr:`spike_effect`; ``None`` leaves one as it is."""
        return replace(
            self,
            spike_windows=self.spike_windows if windows is None else windows,
            spike_effect=self.spike_effect if effect is None else effect,
        )
