"""How far the data of a period can be trusted: coverage, gaps, what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..metrics.quality import Effect, Reason
from ..metrics.rollup import Origin, Rollup
from ..metrics.store.quality import StepQuality, read_quality
from ..metrics.store.store import Store
from .figure_types import DataQuality, FlowFigures, Period, StepDataQuality

__all__ = ["data_quality", "effect_sums", "step_quality", "with_counts"]

_GAPS_SHOWN = 5


def data_quality(rollup: Rollup, period: Period, now: float) -> DataQuality:
    """Coverage of ``period`` as far as it is over at ``now``; probes neither cover nor count.

    A window without data is not always a fault: at night there may be no customer. What the baseline expected is
    the detector's business; this says only what is there.
    """
    seconds = rollup.window_seconds
    end = min(period.end, now)
    windows = max(0, -(-int(end - period.start) // seconds))
    customers = rollup.select(rollup.origin != Origin.PROBE)
    present = np.unique(customers.window_start)
    simulated = customers.origin == Origin.SIMULATED
    answered = int(customers.verdicts[:, :5].sum())
    return DataQuality(
        windows=windows,
        windows_with_data=len(present),
        first=float(present[0]) if len(present) else None,
        last=min(float(present[-1] + seconds), max(now, float(present[-1]))) if len(present) else None,
        gaps=_gaps(present, period.start, end, seconds),
        observations=int(customers.verdicts.sum()),
        simulated=int(customers.verdicts[simulated].sum()),
        probe_observations=int(rollup.verdicts[rollup.origin == Origin.PROBE].sum()),
        unusable_durations=max(0, answered - int(customers.count.sum())),
    )


def _gaps(present: NDArray[np.int64], start: float, end: float, seconds: int) -> tuple[tuple[float, float], ...]:
    """The longest spans without a window, longest first."""
    if len(present) == 0:
        return ((start, end),) if end > start else ()
    lefts = np.concatenate(([start], present + seconds))
    rights = np.concatenate((present, [max(end, present[-1] + seconds)]))
    lengths = rights - lefts
    order = [int(i) for i in np.argsort(-lengths, kind="stable")[:_GAPS_SHOWN] if lengths[i] > 0]
    return tuple((float(lefts[i]), float(rights[i])) for i in order)


def with_counts(store: Store, figures: FlowFigures, now: float) -> FlowFigures:
    """The figures with what came late, twice or not at all of each step, as it was counted by the hour."""
    period = figures.period
    with store.connection() as connection:
        found = read_quality(connection, period.start, min(period.end, max(now, period.start)), [figures.flow, ""])
    nothing: Counter[Reason] = Counter()
    names = [step.step for step in figures.steps]
    checks = {
        step.step: (sum(check.unknown for check in step.checks), sum(check.skipped or 0 for check in step.checks))
        for step in figures.steps
    }
    steps = [
        step_quality(name, found.get((figures.flow, name)), *checks.get(name, (0, 0)))
        for name in [*names, *sorted(step for flow, step in found if flow == figures.flow and step not in names)]
    ]
    unplaced = found[key].amounts if (key := ("", "")) in found else nothing
    quality = replace(figures.quality, steps=tuple(steps), unplaced=_named(unplaced))
    return replace(figures, quality=quality)


def effect_sums(amounts: Mapping[Reason, int]) -> Counter[Effect]:
    """Observations by what became of them; requests and stretches of the spool are no observations."""
    sums: Counter[Effect] = Counter()
    for reason, amount in amounts.items():
        if reason.counts_observations:
            sums[reason.effect] += amount
    return sums


def step_quality(step: str, found: StepQuality | None, unknown: int, skipped: int) -> StepDataQuality:
    """What was counted of a step, and results of its checks that say nothing."""
    amounts: Counter[Reason] = Counter() if found is None else found.amounts
    sums = effect_sums(amounts)
    return StepDataQuality(
        step=step,
        late=amounts[Reason.LATE],
        corrected=amounts[Reason.TIME_CORRECTED],
        merged=amounts[Reason.SERIES_LIMIT],
        duplicates=sums[Effect.LEFT_OUT],
        sent_back=sums[Effect.SENT_BACK],
        lost=sums[Effect.LOST],
        checks_unknown=unknown,
        checks_skipped=skipped,
        reasons=_named(amounts),
    )


def _named(amounts: Mapping[Reason, int]) -> dict[str, int]:
    return {reason.value: amount for reason, amount in sorted(amounts.items()) if amount}
