"""Figures of many flows at once: counts only, so that fifty flows answer in a blink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..metrics.specification.flow import FlowSpec
from ..metrics.store.named_queries import named_query
from ..metrics.store.store import Store
from .figure_types import Budget, Estimate, Period
from .figures import rate_estimate
from .series import point_seconds

__all__ = ["FlowSummary", "StepSummary", "flow_state", "read_overview"]


@dataclass(frozen=True, slots=True)
class StepSummary:
    """Counts of one step in a period."""

    step: str
    observations: int
    good: int
    good_rate: Estimate
    budget: Budget


@dataclass(frozen=True, slots=True)
class FlowSummary:
    """Counts of one flow in a period.

    Attributes:
        flow: Its specification.
        observations: All of them but probes'.
        simulated: Demonstration data among them.
        good: Good answers.
        good_rate: With its interval.
        budget: Error budget of all steps together.
        steps: By step, in the flow's order.
        points: ``(good, all)`` by span of time, in order, for a small line.
        alerts: Ids of its open alerts, gravest first.
        last_at: End of the last window with data; ``None`` without any in the period.
    """

    flow: FlowSpec
    observations: int
    simulated: int
    good: int
    good_rate: Estimate
    budget: Budget
    steps: tuple[StepSummary, ...]
    points: tuple[tuple[int, int], ...]
    alerts: tuple[str, ...]
    last_at: float | None


def read_overview(store: Store, flows: Mapping[str, FlowSpec], period: Period) -> list[FlowSummary]:
    """Count what every declared flow gave in ``period``; flows with open alerts first, then by budget left.

    A period of a day or more that begins with an hour is read from hours.
    """
    hours = period.seconds >= 86_400 and not period.start % 3_600
    span = max(point_seconds(period, store.settings.window_seconds), 3_600 if hours else 0)
    parameters = {"start": period.start, "end": period.end, "span": span}
    query = named_query("report.overview_hours" if hours else "report.overview_windows")
    with store.connection() as connection:
        rows = connection.execute(query, parameters).fetchall()
        open_alerts = connection.execute(named_query("report.open_alerts")).fetchall()
    keys = store.series()
    steps: dict[str, list[_StepSum]] = {}
    points: dict[str, dict[int, tuple[int, int]]] = {}
    for series, flow, start, good, every, simulated, last in rows:
        if series is None:
            points.setdefault(flow, {})[int(start)] = (good, every)
        else:
            steps.setdefault(flow, []).append(_StepSum(keys[series].step, good, every, simulated, last))
    alerts: dict[str, list[str]] = {}
    for flow, identity in open_alerts:
        alerts.setdefault(flow, []).append(identity)
    starts = range(int(period.start // span * span), int(period.end), span)
    found = [
        _summary(flow, steps.get(name, []), points.get(name, {}), starts, alerts.get(name, []))
        for name, flow in flows.items()
    ]
    return sorted(found, key=_urgency)


def flow_state(summary: FlowSummary, judged: bool) -> str:
    """``alert``, ``missed`` (its objective), ``fine``, ``learning`` (no step of it is judged yet) or ``no_data``."""
    left = summary.budget.left
    if summary.alerts:
        return "alert"
    if not summary.observations:
        return "no_data"
    if left is not None and left < 0:
        return "missed"
    return "fine" if judged else "learning"


@dataclass(frozen=True, slots=True)
class _StepSum:
    step: str
    good: int
    every: int
    simulated: int
    last: float


def _summary(
    flow: FlowSpec,
    rows: Sequence[_StepSum],
    points: Mapping[int, tuple[int, int]],
    starts: range,
    alerts: Sequence[str],
) -> FlowSummary:
    steps = []
    for step in flow.steps:
        mine = [row for row in rows if row.step == step.name]
        good, every = sum(row.good for row in mine), sum(row.every for row in mine)
        steps.append(
            StepSummary(step.name, every, good, rate_estimate(good, every), _budget(step.good_objective, good, every))
        )
    good, every = sum(row.good for row in rows), sum(row.every for row in rows)
    allowed = sum(step.budget.allowed for step in steps)
    objective = 1 - allowed / every if every else min(step.good_objective for step in flow.steps)
    return FlowSummary(
        flow=flow,
        observations=every,
        simulated=sum(row.simulated for row in rows),
        good=good,
        good_rate=rate_estimate(good, every),
        budget=Budget(objective, allowed, every - good, 1 - (every - good) / allowed if allowed > 0 else None),
        steps=tuple(steps),
        points=tuple(points.get(start, (0, 0)) for start in starts),
        alerts=tuple(alerts),
        last_at=max((row.last for row in rows), default=None),
    )


def _budget(objective: float, good: int, every: int) -> Budget:
    allowed = (1 - objective) * every
    return Budget(objective, allowed, every - good, 1 - (every - good) / allowed if allowed > 0 else None)


def _urgency(summary: FlowSummary) -> tuple[bool, bool, float, str]:
    left = summary.budget.left
    return not summary.alerts, summary.observations == 0, left if left is not None else 1.0, summary.flow.name
