"""What a report reads from the store: rollups fine enough for the period, alerts, deviations."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...alerts.alert import Alert, alert_from_json
from ...metrics.deviation import Deviation, DeviationKind, Scope
from ...metrics.observation import SeriesKey
from ...metrics.rollup import Origin, Rollup
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.named_queries import named_query
from ...metrics.store.store import Store
from ...metrics.store.transitions import Customers, read_customers, read_instances
from ..cost import cost_of
from ..data_quality import with_counts
from ..figure_types import Comparison, FlowFigures, Funnel, Period
from ..figures import comparison_count, flow_figures
from ..funnel import InstanceCounts, empty_funnel, funnel_of
from ..judged import Judged
from ..release_split import RELEASE
from ..usual import usual_range
from .remembered import Remembered

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
_CACHED_MOST = 64
_COLUMNS = (
    "window_start", "series", "origin", "count", "sum_seconds", "sum_log", "sum_log_sq", "buckets", "bucket_counts",
    "offsets", "verdicts", "checks",
)  # fmt: skip
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

    def of_step(self, step: str) -> Rows:
        """Those of one step."""
        keys = {number: key for number, key in self.keys.items() if key.step == step}
        wanted = list(keys)
        earlier = None if self.earlier is None else self.earlier.select(np.isin(self.earlier.series, wanted))
        return Rows(self.rollup.select(np.isin(self.rollup.series, wanted)), earlier, keys)


def read_rows(
    store: Store,
    flow: str,
    step: str | None,
    period: Period,
    compared: Comparison | None,
    *,
    now: float,
    dimensions: Mapping[str, str] | None = None,
) -> Rows:
    """Read both periods: up to three days by the window, longer ones by the hour if they begin and end with one."""
    hours = _by_the_hour(period) and (compared is None or _by_the_hour(compared.period))
    oldest = min(period.start, compared.period.start if compared else period.start)
    if not hours and now - oldest > store.settings.retention.windows_days * 86_400:
        hours = True  # windows are no longer kept
    rollup, keys = store.read_rollups(
        period.start, period.end, flow, step, dimensions=dimensions, hours=hours, origins=_ALL_ORIGINS
    )
    if compared is None or compared.kind.startswith(RELEASE):
        return Rows(rollup, None, keys)
    span = compared.period
    earlier, more = store.read_rollups(
        span.start, span.end, flow, step, dimensions=dimensions, hours=hours, origins=_ALL_ORIGINS
    )
    return Rows(rollup, earlier, {**keys, **more})


def read_bands(store: Store, flow: str, step: str, period: Period) -> list[tuple[float, float, float]]:
    """Hours of a period with the range that is usual in them: ``(start, low, high)``, seconds; none before learning."""
    if store.scope.dimensions:  # baselines are of all customers together
        return usual_range(store, flow, step, period)
    parameters = {"flow": flow, "step": step, "start": period.start, "end": period.end}
    with store.connection() as connection:
        return connection.execute(named_query("report.bands"), parameters).fetchall()


def read_figures(
    store: Store,
    flow: FlowSpec,
    period: Period,
    compared: Comparison | None,
    *,
    now: float,
    funnel: bool = False,
    on_the_spot: bool = True,
    rows: Rows | None = None,
) -> FlowFigures:
    """Read what is kept of both periods and compute every figure; ``funnel`` with that of flow instances and the cost.

    Without ``on_the_spot`` no observations are read: the funnel is that which was counted before, there is no cost.
    The same data give the same figures, so those computed last are kept and given again. ``rows``: if they have been
    read already.
    """
    rows = rows or read_rows(store, flow.name, None, period, compared, now=now)
    together = comparison_count(flow, funnel=True)  # verdicts are the same wherever they are shown
    figures = with_counts(store, _computed(flow, rows, period, compared, now, together), now)
    if not funnel:
        return figures
    return _with_funnel(store, flow, figures, rows.rollup.window_seconds, now, on_the_spot=on_the_spot)


_figures: Remembered[FlowFigures] = Remembered(_CACHED_MOST)
_funnels: Remembered[Funnel] = Remembered(_CACHED_MOST)


def _computed(
    flow: FlowSpec, rows: Rows, period: Period, compared: Comparison | None, now: float, together: int
) -> FlowFigures:
    """The figures, from memory if they were computed from the same data before."""
    elapsed = None if now >= period.end else now // rows.rollup.window_seconds
    digest = hashlib.blake2b(repr((period, compared, elapsed, together)).encode())
    digest.update(flow.model_dump_json().encode())
    digest.update(repr(sorted(rows.keys.items())).encode())
    for rollup in (rows.rollup, rows.earlier):
        if rollup is not None:
            digest.update(str(rollup.window_seconds).encode())
            for column in _COLUMNS:
                digest.update(np.ascontiguousarray(getattr(rollup, column)).tobytes())
    return _figures.get(
        digest.digest(),
        lambda: flow_figures(
            flow, rows.rollup, rows.keys, period, compared, rows.earlier, now=now, comparisons=together
        ),
    )


def _with_funnel(
    store: Store, flow: FlowSpec, figures: FlowFigures, window_seconds: int, now: float, *, on_the_spot: bool
) -> FlowFigures:
    period, compared = figures.period, figures.compared
    together = figures.comparisons or comparison_count(flow, funnel=True)
    judged = Judged(period, compared, window_seconds, together, flow.same_within)
    if compared is not None and compared.kind.startswith(RELEASE):
        funnel = empty_funnel("release")
        return replace(figures, funnel=funnel, cost=cost_of(figures, funnel, None, None, None, None, judged))

    def read(one: Period) -> tuple[InstanceCounts, Customers | None]:
        found = read_instances(store, flow.name, flow.ends, one.start, one.end, now, on_the_spot=on_the_spot)
        counts = InstanceCounts(found, one)
        return counts, read_customers(store, flow.name, one.start, min(one.end, now), now) if on_the_spot else None

    after, customers = read(period)
    before, customers_before = read(compared.period) if compared is not None else (None, None)
    key = hash((after.found, before and before.found, period, compared, together, flow.model_dump_json()))
    funnel = _funnels.get(key, lambda: funnel_of(flow, after, before, judged))
    if not on_the_spot:
        reason = "not_counted" if funnel.reason == "not_kept" else funnel.reason
        return replace(figures, funnel=replace(funnel, reason=reason))
    cost = cost_of(figures, funnel, after, before, customers, customers_before, judged)
    return replace(figures, funnel=funnel, cost=cost)


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
