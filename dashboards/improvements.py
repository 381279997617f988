"""The improvement ledger: what a team decided to do about a finding, and whether the step really got better since.

An entry lives in the table of events (kind ``improvement``): planned at first, then done at a certain time. From then
on every report compares the step's figure since that time with the same hours some weeks before, with the same interval
and verdict as any comparison.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from ..metrics.specification.flow import FlowSpec
from ..metrics.store.named_queries import named_query
from ..metrics.store.store import Store
from .figure_types import ChangeFigure, ChangeStatus, Period, StepFigures
from .periods import aligned, compared_period
from .report.data import read_figures
from .wording import Wording

__all__ = [
    "MEASURES",
    "Improvement",
    "Outcome",
    "add_improvement",
    "finish_improvement",
    "outcomes",
    "read_improvements",
]

MEASURES = ("p50", "p95", "p99", "good_rate")
_LONGEST_SECONDS = 28 * 86_400


@dataclass(frozen=True, slots=True)
class Improvement:
    """One entry of the ledger; ``measure`` is of :data:`MEASURES`, or ``check:NAME``; ``due`` an ISO date or empty."""

    id: str
    flow: str
    step: str
    measure: str
    action: str
    owner: str
    due: str
    finding: str
    planned_at: float
    done_at: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether it helped: ``change`` is against the same hours some weeks before it was done."""

    improvement: Improvement
    change: ChangeFigure


def add_improvement(
    store: Store,
    flow: FlowSpec,
    step: str,
    measure: str,
    action: str,
    *,
    owner: str,
    due: str,
    finding: str,
    now: float,
) -> Improvement:
    """Write down what is going to be done.

    Raises:
        ValueError: the flow has no such step or check, the measure is not known, or the day due is no date.
    """
    known = next((one for one in flow.steps if one.name == step), None)
    if known is None:
        raise ValueError(
            f"step {step!r} is not in flow {flow.name}; it has {', '.join(one.name for one in flow.steps)}"
        )
    checks = [f"check:{name}" for name in known.check_names]
    if measure not in (*MEASURES, *checks):
        raise ValueError(f"measure {measure!r} is not known; write one of {', '.join((*MEASURES, *checks))}")
    if due:
        try:
            date.fromisoformat(due)
        except ValueError:
            raise ValueError(f"due={due!r} is not a day; write e.g. 2026-04-30") from None
    entry = Improvement(secrets.token_hex(4), flow.name, step, measure, action, owner, due, finding, now, None)
    details = {"id": entry.id, "measure": measure, "owner": owner, "due": due, "finding": finding}
    with store.connection() as connection:
        connection.execute(
            named_query("report.add_improvement"),
            {"at": now, "flow": flow.name, "step": step, "title": action, "details": json.dumps(details)},
        )
    return entry


def finish_improvement(store: Store, identity: str, at: float) -> bool:
    """Say when it was done; false when there is no such entry."""
    with store.connection() as connection:
        done = connection.execute(named_query("report.finish_improvement"), {"id": identity, "at": at})
        return done.rowcount == 1


def read_improvements(store: Store, flow: str | None = None) -> list[Improvement]:
    """The ledger, oldest first; of one flow or of all."""
    with store.connection() as connection:
        rows = connection.execute(named_query("report.improvements"), {"flow": flow}).fetchall()
    return [_improvement(*row) for row in rows]


def _improvement(
    at: float, done: float | None, flow: str, step: str, title: str, details: dict[str, Any]
) -> Improvement:
    named = {name: str(details[name]) for name in ("id", "measure", "owner", "due", "finding")}
    return Improvement(flow=flow, step=step, action=title, planned_at=at, done_at=done, **named)


def outcomes(
    store: Store, flow: FlowSpec, entries: Sequence[Improvement], wording: Wording, *, until: float, now: float
) -> list[Outcome]:
    """Whether each entry helped, as far as can be told ``until`` then; planned ones are not compared."""
    return [Outcome(entry, _outcome(store, flow, entry, wording, until, now)) for entry in entries]


def _outcome(
    store: Store, flow: FlowSpec, entry: Improvement, wording: Wording, until: float, now: float
) -> ChangeFigure:
    if entry.done_at is None or entry.done_at >= until:
        return ChangeFigure(ChangeStatus.NOT_COMPARED)
    end = min(until, now, entry.done_at + _LONGEST_SECONDS)
    step = 3_600 if end - entry.done_at > 3 * 86_400 else store.settings.window_seconds
    since = aligned(entry.done_at, end, step)
    period = (
        since if since.start >= entry.done_at else Period(since.start + step, max(since.end, since.start + 2 * step))
    )
    compared = compared_period(period, "week", wording.zone)
    alone = _only(flow, entry.step)
    figures = read_figures(store, alone, period, compared, now=now)
    return _change(figures.steps[0], entry.measure)


def _only(flow: FlowSpec, step: str) -> FlowSpec:
    """The flow with this step only, so that one figure is judged and not all of them."""
    return flow.model_copy(update={"steps": (flow.step(step),), "across": ()})


def _change(step: StepFigures, measure: str) -> ChangeFigure:
    if measure.startswith("check:"):
        name = measure.removeprefix("check:")
        return next((one.change for one in step.checks if one.check == name), ChangeFigure(ChangeStatus.NOT_COMPARED))
    changes = {
        "p50": step.p50_change,
        "p95": step.p95_change,
        "p99": step.p99_change,
        "good_rate": step.good_rate_change,
    }
    return changes.get(measure, ChangeFigure(ChangeStatus.NOT_COMPARED))
