"""Which steps are judged already, and why the others are not: "no alert" of a step that nobody judges means nothing."""

from __future__ import annotations

from functools import lru_cache

from ..metrics.baseline.bytes import profile_from_bytes
from ..metrics.store.alerts import newest_baseline, newest_baseline_id
from ..metrics.store.store import Store
from .evaluator import NAME

__all__ = ["judged_flows", "judged_steps"]


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


@lru_cache(maxsize=4)  # a profile of a large fleet has megabytes, and never changes
def _reasons(store: Store, baseline_id: int) -> tuple[tuple[tuple[str, str], str], ...]:
    with store.connection() as connection:
        stored = newest_baseline(connection, NAME, baseline_id)
    if stored is None:
        return ()
    try:
        profile = profile_from_bytes(stored.profile)
    except (ValueError, KeyError, TypeError):
        return ()  # of another version; the evaluator learns anew
    return tuple(
        ((scope.flow, scope.step), reason)
        for scope, reason in zip(profile.fleet.scopes, profile.reasons, strict=True)
        if scope.step is not None and not scope.dimensions and scope.check is None
    )
