"""Times by which alerts live."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LifecycleSettings"]


@dataclass(frozen=True, slots=True)
class LifecycleSettings:
    """Times in seconds; the defaults suit windows of one minute.

    Attributes:
        pending_seconds: How long every alert waits before it fires.
        settle_seconds: How long an alert waits at least whose lead is not yet the plainest sight of its
            cause (a sub-population, a whole flow, failures of unknown kind) while better ones may come.
        group_seconds: How far apart two estimated starts may be and still be one cause.
        reopen_seconds: A deviation this soon after the alert was resolved reopens it.
        remind_seconds: A firing alert nobody acknowledged is said again after this; 0 = never.
        material_change: An update is announced when the effect moved by this part of what was last
            told (a log-ratio against a log-ratio).
    """

    pending_seconds: float = 0.0
    settle_seconds: float = 60.0
    group_seconds: float = 900.0
    reopen_seconds: float = 1800.0
    remind_seconds: float = 86400.0
    material_change: float = 0.5
