"""How the tolerated false alarms are divided over families of scopes and over the tests of each family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.input import Fleet
from ..detection.settings import MONTH_SECONDS, DetectionSettings

__all__ = ["TAILS", "Budget", "count_families", "divide_budget"]

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


def divide_budget(
    fleet: Fleet, settings: DetectionSettings, latency: Floats, trials: Floats, families: int | None = None
) -> Budget:
    """Divide the budget; a test without data takes no share.

    Args:
        fleet: Scopes and channels; tails of scopes come first among the count channels, ``len(TAILS)`` each.
        settings: The budget.
        latency: Whether a scope has durations, ``[S]``.
        trials: Whether a channel has trials, ``[len(fleet.channels)]``.
        families: Over how many families the fleet's budget is divided, if ``fleet`` is a part of it only.
    """
    family = _families(fleet)
    part = np.array([bool(scope.dimensions) for scope in fleet.scopes], dtype=bool)
    channel_scope = np.array([channel.scope for channel in fleet.channels], dtype=np.int64)
    by_cause = np.array([channel.check is not None for channel in fleet.channels], dtype=bool)
    of_channel, of_part = family[channel_scope], part[channel_scope]
    size = int(family.max()) + 1 if len(family) else 0

    def add(values: Floats, which: Any) -> Floats:
        return np.bincount(which, values, minlength=size)

    def shared(values: Floats, which: Any, among: Any, present: Any) -> Floats:
        """``values``, of those among which a share is divided: over how many of their family are present."""
        number = np.maximum(add(among & present, which), 1)[which]
        return np.where(among, values / number, values)

    location = shared(np.where(part, _LOCATION_PARTS, _LOCATION) * latency, family, part, latency > 0)
    tail = shared(np.where(part, _TAIL_PARTS, _TAIL) * latency, family, part, latency > 0)
    failing = np.where(of_part, _BAD_PARTS, np.where(by_cause, _BY_CAUSE, _BAD)) * trials
    for among in (of_part, by_cause & ~of_part):
        failing = shared(failing, of_channel, among, trials > 0)
    total = add(location, family) + add(tail, family) + add(failing, of_channel)
    total = np.where(total > 0, total, 1.0)
    number = families if families is not None else count_families(fleet)
    each = settings.false_alarms_per_series_month
    month = _RESERVE * (each if each is not None else settings.false_alarms_per_month / max(number, 1))
    window = month * settings.window_seconds / MONTH_SECONDS
    tails = np.repeat(tail / total[family] / len(TAILS), len(TAILS))
    share = 1.0 / add(np.ones(len(family)), family)[family]
    return Budget(
        location / total[family] * window,
        share * window,
        np.concatenate([tails, failing / total[of_channel]]) * window,
    )


def count_families(fleet: Fleet) -> int:
    """Over how many families the budget is divided: steps, and flows of several steps."""
    return max(len(np.unique(_families(fleet))), 1)


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
