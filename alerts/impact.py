"""Who was hit by a change, and what it cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Estimate", "Impact", "completions_lost", "more_hit"]

_Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Impact:
    """What customers saw of a change since it began.

    ``customers`` and ``flow_instances`` got a bad answer (not in time or not right) in the alert's
    scope since it started, of ``customers_seen`` and ``flow_instances_seen`` who passed there; ``None``
    where observations carry no such id. These are counts of what was seen. ``…_more`` is by how many they exceed what
    the share hit before would give, and ``completions_lost`` compares with the former completion rate: estimates.
    """

    customers: int | None
    customers_seen: int | None
    flow_instances: int | None
    flow_instances_seen: int | None
    completions_lost: Estimate | None = None
    customers_more: Estimate | None = None
    flow_instances_more: Estimate | None = None


def completions_lost(started_before: int, completed_before: int, started: int, completed: int) -> Estimate | None:
    """How many flow instances would have been completed at the former completion rate, and were not.

    The interval is Newcombe's for a difference of proportions (R. Newcombe, Statistics in Medicine 17, 1998,
    873-890, method 10), times the instances started. ``None`` when nothing was started in either span. It
    compares two spans of time and does not say that the alert's cause is why customers left.
    """
    if started_before <= 0 or started <= 0:
        return None
    before, low_before, high_before = _wilson(completed_before, started_before)
    after, low_after, high_after = _wilson(completed, started)
    difference = before - after
    down = math.hypot(before - low_before, high_after - after)
    up = math.hypot(high_before - before, after - low_after)
    return Estimate(difference * started, (difference - down) * started, (difference + up) * started)


def more_hit(hit_before: int, seen_before: int, hit: int, seen: int) -> Estimate | None:
    """How many more were hit than at the former share of those seen; the interval is that of :func:`completions_lost`.

    The two spans should be of one length: whoever comes several times is likelier to be hit once in a longer one.
    ``None`` when nobody was seen in either span.
    """
    return completions_lost(seen_before, seen_before - hit_before, seen, seen - hit)


def _wilson(successes: int, trials: int) -> tuple[float, float, float]:
    """A proportion and its 95 % score interval (E. Wilson, JASA 22, 1927, doi:10.1080/01621459.1927.10502953)."""
    rate, z2 = successes / trials, _Z95**2
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    return rate, max(0.0, centre - half), min(1.0, centre + half)
