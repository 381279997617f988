"""The deviations an alert is made of: which are the same, which end with which; pure functions."""

from __future__ import annotations

from dataclasses import replace

from ..metrics.deviation import Deviation, Scope
from .alert import RULER, Alert, Member, Severity
from .attribution import Concentration
from .guilty_step import is_derived

__all__ = ["describe", "same", "with_derived", "with_narrower", "worse"]


def describe(deviation: Deviation) -> str:
    """A terse name of what and where, for the audit trail."""
    scope = deviation.scope
    where = ",".join(f"{name}={value}" for name, value in scope.dimensions)
    parts = [part for part in (scope.flow if scope.flow != RULER else "", scope.step, scope.check) if part]
    return f"{deviation.kind.value} {'/'.join(parts)}{{{where}}}"


def with_narrower(alert: Alert, members: tuple[Member, ...], now: float) -> tuple[Member, ...]:
    """When the lead is over, so are the sub-populations in it, unless the change was found to be theirs.

    Sub-populations have less traffic, so their own tests take longer to see the same recovery.
    """
    lead = members[0]
    concentrated = alert.attribution is not None and alert.attribution.concentration is Concentration.SOME
    if lead.recovered_at is None or concentrated:
        return members
    return tuple(
        replace(member, recovered_at=now)
        if member.recovered_at is None and _narrower(lead.deviation.scope, member.deviation.scope)
        else member
        for member in members
    )


def _narrower(whole: Scope, part: Scope) -> bool:
    return whole.flow == part.flow and whole.step in {None, part.step} and set(whole.dimensions) < set(part.dimensions)


def same(first: Deviation, other: Deviation) -> bool:
    """Whether both say the same of the same scope."""
    return first.kind is other.kind and first.scope == other.scope


def worse(first: Severity, other: Severity) -> Severity:
    """The louder one."""
    return max(first, other, key=list(Severity).index)


def with_derived(members: tuple[Member, ...], now: float) -> tuple[Member, ...]:
    """What was derived from other members is over when they all are: the detector does not follow it by itself."""
    real = [member for member in members if not is_derived(member.deviation)]
    if not real or any(member.recovered_at is None for member in real):
        return members
    rebased = any(member.rebased for member in real)
    return tuple(
        member if member.recovered_at is not None else replace(member, recovered_at=now, rebased=rebased)
        for member in members
    )
