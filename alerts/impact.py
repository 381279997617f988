"""Who was hit by a change, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Estimate", "Impact"]


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
    where observations carry no such id. ``completions_lost`` compares with the baseline's completion rate.
    """

    customers: int | None
    customers_seen: int | None
    flow_instances: int | None
    flow_instances_seen: int | None
    completions_lost: Estimate | None = None
