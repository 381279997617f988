"""The way of flow instances through a flow: who reached which step, who gave up where, where they went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..metrics.rollup import Origin
from ..metrics.specification.flow import FlowSpec
from ..metrics.store.transitions import InstanceRow, Instances
from .figure_types import ChangeFigure, Estimate, Funnel, FunnelStep, Passing, Period
from .judged import NOT_COMPARED, Judged
from .step_data import rate_estimate

__all__ = ["InstanceCounts", "empty_funnel", "funnel_of"]

_HOUR = 3_600
_WENT_LISTED = 20


class InstanceCounts:
    """Counts of one period's instances by hour, ready to be compared."""

    def __init__(self, found: Instances, period: Period) -> None:
        self.found, self.period = found, period
        self._first = int(period.start // _HOUR) * _HOUR
        self._hours = max(1, -(-int(period.end - self._first) // _HOUR))
        self.whole = [row for row in found.rows if not row.step]
        self.instances = sum(row.reached for row in self.whole)
        self.given_up = sum(row.given_up for row in self.whole)
        self.hit = sum(row.hit for row in self.whole)
        self.simulated = sum(row.reached for row in self.whole if row.origin == Origin.SIMULATED)
        self.passings: Counter[tuple[str, str]] = Counter()
        for each in found.transitions:
            self.passings[each.from_step, each.to_step] += each.passings

    def of_step(self, step: str) -> list[InstanceRow]:
        """Rows of one step."""
        return [row for row in self.found.rows if row.step == step]

    def by_hour(self, rows: Iterable[InstanceRow], name: str) -> NDArray[np.float64]:
        """``[hours, 2]``: a count of the rows, and the rest of those that reached."""
        result = np.zeros((self._hours, 2))
        for row in rows:
            at = min(max((row.hour - self._first) // _HOUR, 0), self._hours - 1)
            count = getattr(row, name)
            result[at] += count, row.reached - count
        return result

    def reached_by_hour(self, step: str) -> NDArray[np.float64]:
        """``[hours, 2]``: instances that reached a step, and those that did not."""
        mine, every = self.by_hour(self.of_step(step), "reached")[:, 0], self.by_hour(self.whole, "reached")[:, 0]
        return np.stack([mine, np.maximum(every - mine, 0)], axis=1)


def empty_funnel(reason: str) -> Funnel:
    """A funnel of which nothing can be told."""
    return Funnel(0, 0, Estimate(None, None, None, 0, reason), NOT_COMPARED, (), (), reason=reason)


def funnel_of(flow: FlowSpec, after: InstanceCounts, before: InstanceCounts | None, judged: Judged) -> Funnel:
    """The funnel of a period, compared with another one; a comparison needs instances in both."""
    if not after.instances:
        if after.found.under_way and not after.found.missing:
            return replace(empty_funnel("under_way"), under_way=after.found.under_way)
        return empty_funnel("not_kept" if after.found.missing else "none")
    other = before if before is not None and before.instances and not before.found.missing else None

    def change(name: str, rows: str | None, *, worse_is_more: bool) -> ChangeFigure:
        if other is None:
            return NOT_COMPARED
        counts = [each.by_hour(each.whole if rows is None else each.of_step(rows), name) for each in (after, other)]
        if not worse_is_more:
            counts = [each[:, ::-1] for each in counts]
        return judged.share(counts[0], counts[1], worse_is_more=worse_is_more)

    completed = after.instances - after.given_up
    return Funnel(
        instances=after.instances,
        completed=completed,
        completion=rate_estimate(completed, after.instances),
        completion_change=change("given_up", None, worse_is_more=False),
        began=_passings(flow, "", after, other),
        steps=tuple(
            _step(flow, step.name, after, other, judged, change("given_up", step.name, worse_is_more=True))
            for step in flow.steps
        ),
        instances_before=other.instances if other is not None else None,
        simulated=after.simulated,
        under_way=after.found.under_way,
        reason="not_kept" if after.found.missing else "compared_not_kept" if before and before.found.missing else "",
        start=after.found.start,
        end=after.found.end,
    )


def _step(
    flow: FlowSpec,
    step: str,
    after: InstanceCounts,
    before: InstanceCounts | None,
    judged: Judged,
    given_up_change: ChangeFigure,
) -> FunnelStep:
    rows = after.of_step(step)
    reached, given_up = sum(row.reached for row in rows), sum(row.given_up for row in rows)
    reached_change = NOT_COMPARED
    if before is not None:
        reached_change = judged.share(after.reached_by_hour(step), before.reached_by_hour(step), worse_is_more=False)
    return FunnelStep(
        step,
        reached,
        rate_estimate(reached, after.instances),
        reached_change,
        given_up,
        rate_estimate(given_up, reached),
        given_up_change,
        sum(row.hit for row in rows),
        _passings(flow, step, after, before),
    )


def _passings(flow: FlowSpec, step: str, after: InstanceCounts, before: InstanceCounts | None) -> tuple[Passing, ...]:
    """Where instances went from a step, most first."""
    mine = {to: count for (start, to), count in after.passings.items() if start == step}
    total = sum(mine.values())
    then = {to: count for (start, to), count in before.passings.items() if start == step} if before else {}
    total_then = sum(then.values())
    ordered = sorted(mine.items(), key=lambda item: (-item[1], item[0]))[:_WENT_LISTED]
    return tuple(
        Passing(
            to or None,
            _direction(flow, step, to),
            count,
            rate_estimate(count, total),
            then.get(to, 0) / total_then if total_then else None,
        )
        for to, count in ordered
    )


def _direction(flow: FlowSpec, start: str, to: str) -> str:
    if not to:
        return "end"
    if start == to:
        return "again"
    order = [step.name for step in flow.steps]
    if start not in order or to not in order or to in flow.following(start):
        return "next"
    return "back" if order.index(to) < order.index(start) else "ahead"
