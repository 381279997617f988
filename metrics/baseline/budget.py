"""How the tolerated false alarms are divided over families of scopes and over the tests of each family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.input import Fleet
from ..detection.settings import MONTH_SECONDS, DetectionSettings

__all__ = ["TAILS", "Budget", "divide_budget"]

Floats = NDArray[Any]  # float64

TAILS = (0.95, 0.995)  # quantiles beyond which observations are counted as tail

# relative weights of the paged tests of a family; those of sub-populations are divided among them
_RESERVE = 0.65  # a part of the budget is kept for what history did not show
_LOCATION, _LOCATION_PARTS = 1.0, 0.2
_TAIL, _TAIL_PARTS = 0.15, 0.05
_BAD, _BAD_PARTS, _BY_CAUSE = 0.4, 0.1, 0.25


@dataclass(frozen=True, slots=True)
class Budget:
    """False alarms a window: paged shifts of scopes ``[S]``, reported ones ``[S]``, and count channels ``[J]``."""

    paged: Floats
    reported: Floats
    counts: Floats


def divide_budget(fleet: Fleet, settings: DetectionSettings, latency: Floats, trials: Floats) -> Budget:
    """Divide the budget; a test without data takes no share.

    Args:
        fleet: Scopes and channels; tails of scopes come first among the count channels, ``len(TAILS)`` each.
        settings: The budget.
        latency: Whether a scope has durations, ``[S]``.
        trials: Whether a channel has trials, ``[len(fleet.channels)]``.
    """
    scopes = len(fleet.scopes)
    families = _families(fleet)
    part = np.array([bool(scope.dimensions) for scope in fleet.scopes])
    channel_scope = np.array([channel.scope for channel in fleet.channels], dtype=np.int64)
    by_cause = np.array([channel.check is not None for channel in fleet.channels], dtype=bool)
    location = np.where(part, _LOCATION_PARTS, _LOCATION) * latency
    tail = np.where(part, _TAIL_PARTS, _TAIL) * latency
    failing = np.where(part[channel_scope], _BAD_PARTS, np.where(by_cause, _BY_CAUSE, _BAD)) * trials
    for family in np.unique(families):
        inside = families == family
        in_channel = inside[channel_scope]
        parts = max(int((part & inside & (latency > 0)).sum()), 1)
        location[inside & part] /= parts
        tail[inside & part] /= parts
        for kind in (part[channel_scope], by_cause & ~part[channel_scope]):
            failing[in_channel & kind] /= max(int((in_channel & kind & (trials > 0)).sum()), 1)
        total = location[inside].sum() + tail[inside].sum() + failing[in_channel].sum()
        if total > 0:
            location[inside] /= total
            tail[inside] /= total
            failing[in_channel] /= total
    count = max(len(np.unique(families)), 1)
    each = settings.false_alarms_per_series_month
    month = _RESERVE * (each if each is not None else settings.false_alarms_per_month / count)
    window = month * settings.window_seconds / MONTH_SECONDS
    tails = np.repeat(tail / len(TAILS), len(TAILS))
    share = np.array([1.0 / (families == families[index]).sum() for index in range(scopes)])
    return Budget(location * window, share * window, np.concatenate([tails, failing]) * window)


def _families(fleet: Fleet) -> Any:
    """Family of each scope: its step's, or one of its own for a whole flow."""
    base = int(fleet.family.max()) + 1 if len(fleet.family) else 0
    return np.array(
        [
            base + index if scope.step is None else int(fleet.family[inside[0]])
            for index, (scope, inside) in enumerate(zip(fleet.scopes, fleet.members, strict=True))
        ],
        dtype=np.int64,
    )
