"""Who is hit by an alert and what it costs: read from the store when an alert is told of.

The span since the change began is compared with one before it. Everything here may fail without harm: an alert
is told without these facts rather than late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import psycopg
import structlog
from numpy.typing import NDArray

from ..metrics.detection.settings import DetectionSettings
from ..metrics.deviation import Deviation, DeviationKind, Scope
from ..metrics.observation import SeriesKey
from ..metrics.rollup import Rollup
from ..metrics.specification.flow import FlowSpec
from ..metrics.store.evaluation import completions
from ..metrics.store.events import events_near
from ..metrics.store.store import Store
from ..metrics.verdict import Verdict
from .alert import RULER, Alert, NearbyEvent
from .attribution import Attribution, CellCounts, attribute_failures, attribute_latency
from .calendar_days import calendar_days
from .chart import Trend
from .impact import Estimate, Impact, completions_lost, more_hit

__all__ = ["attribution_of", "dominant_verdict", "impact_of", "investigate", "nearby_of", "trend_of"]

_BEFORE_SECONDS = 6 * 3600.0
_AFTER_LIMIT_SECONDS = 6 * 3600.0
_HOUR_SECONDS = 3600.0
_EVENTS_LISTED = 5
_TREND_SECONDS = 3 * 3600.0
_COMPLETION_SECONDS = 300.0  # instances that began later may still be under way
_BAD = tuple(verdict for verdict in Verdict if verdict >= Verdict.STALE)
_LATE_OR_BAD = tuple(verdict for verdict in Verdict if verdict > Verdict.GOOD)
_log = structlog.get_logger("cxgauge.evaluator")


def investigate(
    store: Store, flows: Mapping[str, FlowSpec], alert: Alert, now: float
) -> tuple[Attribution | None, Impact | None]:
    """Attribution and impact of an alert as of ``now``; ``None`` for what cannot be told."""
    if alert.flow == RULER or alert.lead.kind is DeviationKind.SILENT:
        return None, None
    try:
        return attribution_of(store, alert, now), impact_of(store, flows.get(alert.flow), alert, now)
    except (psycopg.Error, ValueError, ArithmeticError) as error:
        _log.error("an alert goes without attribution", alert=alert.id, error=f"{type(error).__name__}: {error}")
        return None, None


def nearby_of(store: Store, alert: Alert, settings: DetectionSettings) -> tuple[NearbyEvent, ...]:
    """What happened near the beginning: events, nearest first, then what the bank's calendar says of the day.

    Events that began from an hour before the change to ten minutes after it, or were going on then; none of them when
    they cannot be read.
    """
    began, scope = alert.lead.started_at, alert.scope
    start, end = began - _HOUR_SECONDS, began + _HOUR_SECONDS / 6
    try:
        with store.connection() as connection:
            found = events_near(connection, began, start, end, scope.flow, scope.step, limit=_EVENTS_LISTED)
    except psycopg.Error as error:
        _log.error("an alert goes without nearby events", alert=alert.id, error=type(error).__name__)
        found = []
    events = tuple(NearbyEvent(each.at, each.kind, each.title, each.ended_at) for each in found)
    return events + calendar_days(began, settings)


def trend_of(store: Store, alert: Alert, now: float) -> Trend | None:
    """Levels of the alert's scope over the last hours, for a picture; ``None`` without data."""
    scope, lead = alert.scope, alert.lead
    if alert.flow == RULER or lead.kind is DeviationKind.SILENT:
        return None
    start = min(lead.started_at, now) - _TREND_SECONDS
    rollup, keys = store.read_rollups(start, now, scope.flow, scope.step, dimensions=dict(scope.dimensions))
    if not len(rollup):
        return None
    window = rollup.window_seconds
    place = ((rollup.window_start - rollup.window_start.min()) // window).astype(np.int64)
    if lead.kind is DeviationKind.SLOWER:
        top, bottom = rollup.sum_log, rollup.count.astype(np.float64)
    else:
        numbers = sorted(keys)
        counts = [_counts(rollup.select(place == at), numbers, keys, scope.check) for at in range(int(place.max()) + 1)]
        totals = [(float(each.failed.sum()), float(each.tried.sum())) for each in counts]
        return _trend(rollup, window, [failed / tried if tried else None for failed, tried in totals], lead)
    sums, seen = np.bincount(place, top), np.bincount(place, bottom)
    levels = [float(np.exp(total / count)) if count else None for total, count in zip(sums, seen, strict=True)]
    return _trend(rollup, window, levels, lead)


def _trend(rollup: Rollup, window: float, levels: Sequence[float | None], lead: Deviation) -> Trend:
    return Trend(float(rollup.window_start.min()), float(window), tuple(levels), lead.started_at, lead.before)


def dominant_verdict(store: Store, deviation: Deviation, now: float) -> Verdict | None:
    """The verdict that most of the additional failures since a deviation began have; ``None`` when there are none."""
    scope, began = deviation.scope, deviation.started_at
    rates = []
    for start, end in ((began - _BEFORE_SECONDS, began), (began, now)):
        rollup, _ = store.read_rollups(start, end, scope.flow, scope.step, dimensions=dict(scope.dimensions))
        verdicts = rollup.verdicts.sum(axis=0)
        rates.append(verdicts / max(int(verdicts.sum()), 1))
    more = (rates[1] - rates[0])[list(_BAD)]
    return _BAD[int(more.argmax())] if more.max() > 0 else None


def attribution_of(store: Store, alert: Alert, now: float) -> Attribution | None:
    """Which dimension values carry the change of the step (or flow); ``None`` when there is nothing to tell apart.

    Over everyone who passes the step, also when the alert speaks of a sub-population: whether the others
    are hit too is what readers ask next.
    """
    lead, scope = alert.lead, alert.scope
    began, until = lead.started_at, min(now, lead.started_at + _AFTER_LIMIT_SECONDS)
    after, keys_after = store.read_rollups(began, until, scope.flow, scope.step)
    before, keys_before = store.read_rollups(began - _BEFORE_SECONDS, began, scope.flow, scope.step)
    keys = keys_before | keys_after
    numbers = sorted(keys)
    if len(numbers) < 2:
        return None
    failing = lead.kind is DeviationKind.FAILING
    check = scope.check if failing else None
    columns = [_counts(rollup, numbers, keys, check) for rollup in (before, after)]
    cells = [_labels(keys[number], scope) for number in numbers]
    return (attribute_failures if failing else attribute_latency)(cells, *columns)


def _labels(key: SeriesKey, scope: Scope) -> dict[str, str]:
    """What tells cells apart: their dimensions, and the step if the scope is a whole flow."""
    return dict(key.dimensions) if scope.step is not None else {**dict(key.dimensions), "step": key.step}


def _counts(rollup: Rollup, numbers: Sequence[int], keys: Mapping[int, SeriesKey], check: str | None) -> CellCounts:
    """Totals by series; failures are those of the check, the verdict, or all that was not fit to use."""
    row = np.searchsorted(np.array(numbers), rollup.series)

    def total(values: NDArray[Any]) -> NDArray[Any]:
        return np.bincount(row, values.astype(np.float64), minlength=len(numbers))

    tried, failed = total(rollup.observations), np.zeros(len(numbers))
    if check is None:
        failed = total(rollup.verdicts[:, list(_BAD)].sum(axis=1))
    elif check.startswith("verdict:"):
        failed = total(rollup.verdicts[:, Verdict[check.removeprefix("verdict:").upper()]])
    else:
        tried = np.zeros(len(numbers))
        for index, number in enumerate(numbers):
            names = keys[number].checks
            if check in names and names.index(check) < rollup.checks.shape[1]:
                passed, not_passed = rollup.checks[row == index, names.index(check), :2].sum(axis=0)
                tried[index], failed[index] = passed + not_passed, not_passed
    return CellCounts(total(rollup.count), total(rollup.sum_log), total(rollup.sum_log_sq), tried, failed)


def impact_of(store: Store, flow: FlowSpec | None, alert: Alert, now: float) -> Impact:
    """Customers and flow instances hit since the change began, and completions lost."""
    scope, began = alert.scope, alert.lead.started_at
    until = min(now, began + _AFTER_LIMIT_SECONDS)
    dimensions = dict(scope.dimensions)
    bad = _BAD if alert.lead.kind is DeviationKind.FAILING else _LATE_OR_BAD
    spans = ((began, until), (2 * began - until, began))  # since then, and as long before
    (hit, seen), (hit_before, seen_before) = (
        (
            store.customers_hit(start, end, scope.flow, scope.step, dimensions=dimensions, verdicts=bad),
            store.customers_hit(start, end, scope.flow, scope.step, dimensions=dimensions),
        )
        for start, end in spans
    )
    return Impact(
        customers=hit.customers if seen.customers else None,
        customers_seen=seen.customers or None,
        flow_instances=hit.flow_instances if seen.flow_instances else None,
        flow_instances_seen=seen.flow_instances or None,
        completions_lost=_lost(store, flow, scope, began, until) if flow is not None else None,
        customers_more=more_hit(hit_before.customers, seen_before.customers, hit.customers, seen.customers),
        flow_instances_more=more_hit(
            hit_before.flow_instances, seen_before.flow_instances, hit.flow_instances, seen.flow_instances
        ),
    )


def _lost(store: Store, flow: FlowSpec, scope: Scope, began: float, until: float) -> Estimate | None:
    """Completions lost among the flow instances that had time to complete."""
    if len(flow.steps) < 2 or until - began <= _COMPLETION_SECONDS:
        return None
    first, last = flow.steps[0].name, flow.ends
    wanted = set(scope.dimensions)
    series = {
        number: key for number, key in store.series().items() if key.flow == flow.name and wanted <= set(key.dimensions)
    }
    entry = [number for number, key in series.items() if key.step == first]
    final = [number for number, key in series.items() if key.step in last]
    with store.connection() as connection:
        before = completions(connection, began - _BEFORE_SECONDS, began - _COMPLETION_SECONDS, began, entry, final)
        after = completions(connection, began, until - _COMPLETION_SECONDS, until, entry, final)
    return completions_lost(*before, *after)
