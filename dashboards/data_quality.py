"""How far the data of a period can be trusted: coverage, gaps, what was left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..metrics.rollup import Origin, Rollup
from .figure_types import DataQuality, Period

__all__ = ["data_quality"]

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
