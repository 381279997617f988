"""What a report reads from the store: rollups fine enough for the period, alerts, deviations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...alerts.alert import Alert, alert_from_json
from ...metrics.deviation import Deviation, DeviationKind, Scope
from ...metrics.observation import SeriesKey
from ...metrics.rollup import Origin, Rollup
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.named_queries import named_query
from ...metrics.store.store import Store
from ..figure_types import Comparison, FlowFigures, Period
from ..figures import flow_figures
from ..release_split import RELEASE

__all__ = [
    "FlowHistory",
    "Rows",
    "flow_span",
    "read_alerts",
    "read_bands",
    "read_deviations",
    "read_figures",
    "read_rows",
]

_ALL_ORIGINS = tuple(Origin)
_LISTED = 500
_HOUR = 3_600
_WINDOWS_SECONDS_MOST = 3 * 86_400  # a longer period is read by the hour: sixty times fewer rows


@dataclass(frozen=True, slots=True)
class FlowHistory:
    """From when to when there is any data of a flow; ``None`` without any."""

    first: float | None
    last: float | None


def flow_span(store: Store, flow: str) -> FlowHistory:
    """Start of the flow's first window, end of its last."""
    series = [number for number, key in store.series().items() if key.flow == flow]
    with store.connection() as connection:
        row = connection.execute(named_query("report.span_of_flow"), {"series": series}).fetchone()
    if row is None or row[0] is None:
        return FlowHistory(None, None)
    return FlowHistory(float(row[0]), float(row[1]) + store.settings.window_seconds)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rollups of a period and, if there is one, of the compared one; equally fine."""

    rollup: Rollup
    earlier: Rollup | None
    keys: dict[int, SeriesKey]


def read_rows(
    store: Store, flow: str, step: str | None, period: Period, compared: Comparison | None, *, now: float
) -> Rows:
    """Read both periods: up to three days by the window, longer ones by the hour if they begin and end with one."""
    hours = _by_the_hour(period) and (compared is None or _by_the_hour(compared.period))
    oldest = min(period.start, compared.period.start if compared else period.start)
    if not hours and now - oldest > store.settings.retention.windows_days * 86_400:
        hours = True  # windows are no longer kept
    rollup, keys = store.read_rollups(period.start, period.end, flow, step, hours=hours, origins=_ALL_ORIGINS)
    if compared is None or compared.kind.startswith(RELEASE):
        return Rows(rollup, None, keys)
    span = compared.period
    earlier, more = store.read_rollups(span.start, span.end, flow, step, hours=hours, origins=_ALL_ORIGINS)
    return Rows(rollup, earlier, {**keys, **more})


def read_bands(store: Store, flow: str, step: str, period: Period) -> list[tuple[float, float, float]]:
    """Hours of a period with the range that is usual in them: ``(start, low, high)``, seconds; none before learning."""
    parameters = {"flow": flow, "step": step, "start": period.start, "end": period.end}
    with store.connection() as connection:
        return connection.execute(named_query("report.bands"), parameters).fetchall()


def read_figures(
    store: Store, flow: FlowSpec, period: Period, compared: Comparison | None, *, now: float
) -> FlowFigures:
    """Read the rollups of both periods and compute every figure."""
    rows = read_rows(store, flow.name, None, period, compared, now=now)
    return flow_figures(flow, rows.rollup, rows.keys, period, compared, rows.earlier, now=now)


def _by_the_hour(period: Period) -> bool:
    return period.seconds > _WINDOWS_SECONDS_MOST and not period.start % _HOUR and not period.end % _HOUR


def read_alerts(store: Store, flow: str, period: Period) -> tuple[Alert, ...]:
    """Alerts that were open at any time of the period, oldest first."""
    parameters = {"flow": flow, "start": period.start, "end": period.end, "limit": _LISTED}
    with store.connection() as connection:
        rows = connection.execute(named_query("report.alerts_of_period"), parameters).fetchall()
    return tuple(alert_from_json(row[0]) for row in rows)


def read_deviations(store: Store, flow: str, period: Period) -> tuple[Deviation, ...]:
    """Deviations detected in the period, oldest first."""
    parameters = {"flow": flow, "start": period.start, "end": period.end, "limit": _LISTED}
    with store.connection() as connection:
        rows = connection.execute(named_query("report.deviations_of_period"), parameters).fetchall()
    return tuple(_deviation(row) for row in rows)


_NUMBERS = (
    "detected_at", "started_at", "started_low", "started_high", "effect", "effect_low", "effect_high", "before",
    "after", "observations", "observations_before",
)  # fmt: skip


def _deviation(row: tuple[Any, ...]) -> Deviation:
    kind, flow, step, dimensions, check, *numbers, evidence = row
    scope = Scope(flow, step, tuple(sorted(dimensions.items())), check)
    values: dict[str, Any] = dict(zip(_NUMBERS, numbers, strict=True))
    return Deviation(kind=DeviationKind(kind), scope=scope, evidence=dict(evidence), **values)
