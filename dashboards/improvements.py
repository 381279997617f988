"""The improvement ledger: what a team decided to do about a finding, and whether the step really got better since.

An entry is planned at first, then done at a certain time, or given up. From the time it is done every report compares
the step's figure since then with the same hours some weeks before, with the same interval and verdict as any
comparison. Pages and the command line write it through the same functions; each writes the audit in the same
transaction.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, tzinfo
from typing import Any

from ..metrics.specification.flow import FlowSpec
from ..metrics.store.audit import COMMAND_LINE, audit
from ..metrics.store.improvements import (
    Improvement,
    TrailRow,
    insert_improvement,
    lock_improvement,
    note_improvement,
    read_ledger,
    read_trail,
    update_improvement,
)
from ..metrics.store.store import Store
from .figure_types import ChangeFigure, ChangeStatus, Period, StepFigures
from .figures import flow_figures
from .periods import aligned, compared_period
from .report.data import read_figures, read_rows
from .wording import Wording

__all__ = [
    "MEASURES",
    "Actor",
    "Improvement",
    "Outcome",
    "add_improvement",
    "change_improvement",
    "close_improvement",
    "finish_improvement",
    "outcomes",
    "read_improvement",
    "read_improvements",
    "standing",
]

MEASURES = ("p50", "p95", "p99", "good_rate")
_LONGEST_SECONDS = 28 * 86_400
_HOURS_SECONDS = 3 * 86_400  # a longer time is told in whole hours,
_QUARTERS_SECONDS = 6 * 3_600  # and one beyond this in quarters of an hour
_FRESH_SECONDS = 900
_CACHED_MOST = 1_000
_TOLD = (ChangeStatus.BETTER, ChangeStatus.WORSE, ChangeStatus.SAME)
_TEXT_LIMIT = 1_000
_NAME_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Actor:
    """Who writes, and from where: for the trail and the audit."""

    name: str = ""
    address: str = COMMAND_LINE


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether it helped: ``change`` is against the same hours some weeks before it was done."""

    improvement: Improvement
    change: ChangeFigure


_cache: OrderedDict[tuple[object, ...], ChangeFigure] = OrderedDict()
_cache_lock = threading.Lock()


# -- writing -----------------------------------------------------------------------------------------------------


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
    note: str = "",
    dimensions: Mapping[str, str] | None = None,
    by: Actor | None = None,
) -> Improvement:
    """Write down what is going to be done.

    Raises:
        ValueError: the flow has no such step, check or dimension, the measure is not known, nothing is said of what is
            done, or the day due is no date.
    """
    known = next((one for one in flow.steps if one.name == step), None)
    if known is None:
        raise ValueError(
            f"step {step!r} is not in flow {flow.name}; it has {', '.join(one.name for one in flow.steps)}"
        )
    checks = [f"check:{name}" for name in known.check_names]
    if measure not in (*MEASURES, *checks):
        raise ValueError(f"measure {measure!r} is not known; write one of {', '.join((*MEASURES, *checks))}")
    for name in dimensions or {}:
        if name not in {one.name for one in flow.dimensions}:
            declared = ", ".join(one.name for one in flow.dimensions) or "none"
            raise ValueError(f"dimension {name!r} is not declared in flow {flow.name}; it has {declared}")
    entry = Improvement(
        secrets.token_hex(4), flow.name, step, measure, action[:_TEXT_LIMIT].strip(), owner[:_NAME_LIMIT].strip(), due,
        finding[:_TEXT_LIMIT], now, None, note[:_TEXT_LIMIT].strip(), dict(dimensions or {}),
    )  # fmt: skip
    _refuse_faults(entry)
    actor = by or Actor()
    with store.connection() as connection, connection.transaction():
        insert_improvement(connection, entry)
        details = _given(entry)
        note_improvement(connection, entry.id, actor.name, "planned", details, now)
        place = {"flow": flow.name, "step": step, "measure": measure}
        audit(connection, actor.name, "improvement planned", entry.id, place | details, actor.address)
    return entry


def change_improvement(
    store: Store,
    identity: str,
    *,
    by: Actor,
    now: float,
    action: str | None = None,
    owner: str | None = None,
    due: str | None = None,
    note: str | None = None,
) -> Improvement | None:
    """Change what is going to be done, by whom, until when, or the note; ``None`` when there is no such entry.

    Raises:
        ValueError: nothing is said of what is done, or the day due is no date.
    """
    wanted = {"action": action, "owner": owner, "due": due, "note": note}
    given = {name: value.strip()[:_TEXT_LIMIT] for name, value in wanted.items() if value is not None}
    return _change(store, identity, "changed", by, now, given)


def finish_improvement(
    store: Store, identity: str, at: float, *, by: Actor | None = None, now: float | None = None
) -> bool:
    """Say since when it is in effect; false when there is no such entry.

    Raises:
        ValueError: that is still to come.
    """
    moment = time.time() if now is None else now
    if at > moment:
        raise ValueError(f"done at {_iso(at)} is still to come; say it when it is in effect")
    values = {"done_at": at, "dropped_at": None}
    return _change(store, identity, "done", by or Actor(), moment, values) is not None


def close_improvement(store: Store, identity: str, *, by: Actor, now: float, reopen: bool = False) -> bool:
    """Give an entry up, or (``reopen``) take it up again as planned; false when there is no such entry."""
    values = {"done_at": None, "dropped_at": None if reopen else now}
    return _change(store, identity, "reopened" if reopen else "dropped", by, now, values) is not None


def _change(
    store: Store, identity: str, action: str, by: Actor, now: float, values: Mapping[str, Any]
) -> Improvement | None:
    with store.connection() as connection, connection.transaction():
        before = lock_improvement(connection, identity)
        if before is None:
            return None
        after = replace(before, **values)
        _refuse_faults(after)
        details = {name: _written(value) for name, value in values.items() if getattr(before, name) != value}
        if not details:
            return before
        update_improvement(connection, after)
        note_improvement(connection, identity, by.name, action, details, now)
        audit(connection, by.name, f"improvement {action}", identity, details, by.address)
    return after


def _refuse_faults(entry: Improvement) -> None:
    if not entry.action:
        raise ValueError("action='' is empty; say what is going to be done")
    if entry.due:
        try:
            date.fromisoformat(entry.due)
        except ValueError:
            raise ValueError(f"due={entry.due!r} is not a day; write e.g. 2026-04-30") from None


def _given(entry: Improvement) -> dict[str, Any]:
    wanted = {"action": entry.action, "owner": entry.owner, "due": entry.due, "finding": entry.finding}
    given = wanted | {"note": entry.note, "dimensions": entry.dimensions}
    return {name: value for name, value in given.items() if value}


def _written(value: Any) -> Any:
    return _iso(value) if isinstance(value, float) else value


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# -- reading -----------------------------------------------------------------------------------------------------


def read_improvements(store: Store, flow: str | None = None) -> list[Improvement]:
    """The ledger, oldest first; of one flow or of all."""
    with store.connection() as connection:
        return read_ledger(connection, flow)


def read_improvement(store: Store, identity: str) -> tuple[Improvement, list[TrailRow]] | None:
    """One entry and what happened to it; ``None`` when there is none."""
    with store.connection() as connection:
        found = next(iter(read_ledger(connection, identity=identity)), None)
        return None if found is None else (found, read_trail(connection, identity))


def standing(entry: Improvement, change: ChangeFigure | None, now: float, zone: tzinfo) -> str:
    """Where an entry stands: ``planned``, ``overdue``, ``dropped``, ``done`` (not judged here), or its verdict.

    A verdict is ``better``, ``worse``, ``same`` (its interval leaves no room for a change of any use) or ``too_few``
    (not enough data to say).
    """
    if entry.dropped_at is not None:
        return "dropped"
    if entry.done_at is None:
        today = f"{datetime.fromtimestamp(now, UTC).astimezone(zone):%Y-%m-%d}"
        return "overdue" if entry.due and entry.due < today else "planned"
    if change is None:
        return "done"
    return change.status.value if change.status in _TOLD else ChangeStatus.TOO_FEW.value


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
    length = end - entry.done_at
    step = 3_600 if length > _HOURS_SECONDS else 900 if length > _QUARTERS_SECONDS else store.settings.window_seconds
    since = aligned(entry.done_at, end, step)
    period = (
        since if since.start >= entry.done_at else Period(since.start + step, max(since.end, since.start + 2 * step))
    )
    key = (store.settings.database, store.scope, repr(entry), period, str(wording.zone), now // _FRESH_SECONDS)
    with _cache_lock:
        known = _cache.get(key)
    if known is None:
        known = _compared(store, flow, entry, period, wording, now)
        with _cache_lock:
            _cache[key] = known
            while len(_cache) > _CACHED_MOST:
                _cache.popitem(last=False)
    return known


def _compared(
    store: Store, flow: FlowSpec, entry: Improvement, period: Period, wording: Wording, now: float
) -> ChangeFigure:
    compared = compared_period(period, "week", wording.zone)
    alone = _only(flow, entry.step)
    if not entry.dimensions:
        figures = read_figures(store, alone, period, compared, now=now)
    else:
        rows = read_rows(store, flow.name, entry.step, period, compared, now=now, dimensions=entry.dimensions)
        figures = flow_figures(alone, rows.rollup, rows.keys, period, compared, rows.earlier, now=now)
    return _figure(figures.steps[0], entry.measure)


def _only(flow: FlowSpec, step: str) -> FlowSpec:
    """The flow with this step only, so that one figure is judged and not all of them."""
    return flow.model_copy(update={"steps": (flow.step(step),), "across": ()})


def _figure(step: StepFigures, measure: str) -> ChangeFigure:
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
