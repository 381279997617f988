"""Which steps are judged already, and why the others are not: "no alert" of a step that nobody judges means nothing."""

from __future__ import annotations

from functools import lru_cache

from ..metrics.baseline.baseline import Profile
from ..metrics.baseline.bytes import profile_from_bytes
from ..metrics.detection.minimum_change import MinimumChange, minimum_detectable_change
from ..metrics.deviation import Scope
from ..metrics.store.evaluation import newest_baseline, newest_baseline_id
from ..metrics.store.store import Store
from .evaluator import NAME

__all__ = ["judged_flows", "judged_steps", "step_sensitivity"]


def judged_flows(store: Store) -> frozenset[str]:
    """Names of the flows of which at least one step is judged."""
    return frozenset(flow for (flow, _), reason in judged_steps(store).items() if not reason)


def judged_steps(store: Store) -> dict[tuple[str, str], str]:
    """Why the duration of each measured step is not judged, by ``(flow, step)``; "" where it is.

    What the newest baseline does not know is not in it: steps without any observation when it was learnt.
    """
    with store.connection() as connection:
        newest = newest_baseline_id(connection, NAME)
    return {} if newest is None else dict(_reasons(store, newest))


def step_sensitivity(store: Store, flow: str, step: str, horizon_seconds: float) -> MinimumChange | None:
    """The smallest slow-down of a step found within the horizon; ``None`` before anything is learnt."""
    with store.connection() as connection:
        newest = newest_baseline_id(connection, NAME)
    profile = None if newest is None else _profile(store, newest)
    return None if profile is None else minimum_detectable_change(profile, Scope(flow, step), horizon_seconds)


@lru_cache(maxsize=1)  # megabytes for a large fleet
def _profile(store: Store, baseline_id: int) -> Profile | None:
    with store.connection() as connection:
        stored = newest_baseline(connection, NAME, baseline_id)
    if stored is None:
        return None
    try:
        return profile_from_bytes(stored.profile)
    except (ValueError, KeyError, TypeError):
        return None  # of another version; the evaluator learns anew


@lru_cache(maxsize=4)
def _reasons(store: Store, baseline_id: int) -> tuple[tuple[tuple[str, str], str], ...]:
    profile = _profile(store, baseline_id)
    if profile is None:
        return ()
    return tuple(
        ((scope.flow, scope.step), reason)
        for scope, reason in zip(profile.fleet.scopes, profile.reasons, strict=True)
        if scope.step is not None and not scope.dimensions and scope.check is None
    )
