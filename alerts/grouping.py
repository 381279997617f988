"""When two deviations have one cause: pure rules, no state.

One cause shows in many places at once: in a step over everyone and in its narrower scopes, in the
steps after it, in the flow as a whole; as a higher median, a longer tail and more late answers. What
these share is the flow, the family and the time at which it began. Two deviations are taken for one
cause when all three agree; a later onset in the same flow is a new cause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from ..metrics.deviation import Deviation, DeviationKind, Scope
from ..metrics.verdict import Verdict
from .alert import RULER, SOURCE

__all__ = ["DOMINANT_VERDICT", "Family", "affinity", "family", "lead_order", "one_cause", "provisional"]


DOMINANT_VERDICT = "dominant_verdict"
"""Evidence: the verdict that most of the additional failures have, as its number."""


class Family(StrEnum):
    """What kind of trouble it is."""

    LATENCY = "latency"
    ACCURACY = "accuracy"
    AVAILABILITY = "availability"


_LATE = frozenset(f"verdict:{verdict.label}" for verdict in (Verdict.SLOW, Verdict.TIMEOUT))
_UNAVAILABLE = frozenset(f"verdict:{verdict.label}" for verdict in (Verdict.ERROR, Verdict.ABANDONED))


def family(deviation: Deviation) -> Family:
    """The family of a deviation; late answers are latency, errors and silence are availability.

    Failures of no named kind count as what most of them are, if that is known (:data:`DOMINANT_VERDICT`).
    """
    if deviation.kind in {DeviationKind.SLOWER, DeviationKind.TAIL}:
        return Family.LATENCY
    check = deviation.scope.check
    dominant = deviation.evidence.get(DOMINANT_VERDICT)
    if check is None and dominant is not None:
        check = f"verdict:{Verdict(int(dominant)).label}"
    if check in _LATE:
        return Family.LATENCY
    if deviation.kind is DeviationKind.FAILING and check is not None and check not in _UNAVAILABLE:
        return Family.ACCURACY
    return Family.AVAILABILITY


def one_cause(first: Deviation, other: Deviation, tolerance_seconds: float) -> bool:
    """Whether ``other`` is explained by the cause of ``first``.

    Errors, abandoned flows and silence follow from any other trouble of the same flow, so they group
    with both other families; slow answers and wrong answers never group with each other. Everything
    that begins when a source goes silent is explained by it.
    """
    near = (
        other.started_low <= first.started_high + tolerance_seconds
        and first.started_low <= other.started_high + tolerance_seconds
    )
    if first.scope.flow != other.scope.flow:
        return near and (_overrides(first, other) or _overrides(other, first))
    if first.scope.flow == RULER:
        return first.scope == other.scope
    families = {family(first), family(other)}
    return near and (len(families) == 1 or Family.AVAILABILITY in families)


def affinity(first: Deviation, other: Deviation) -> tuple[bool, float]:
    """Sort key among the alerts that would explain ``other``: the same family first, then the nearest onset."""
    return family(first) is not family(other), abs(first.started_at - other.started_at)


def provisional(deviation: Deviation) -> bool:
    """Whether a plainer sight of the same cause may follow: a step instead of its flow, everyone instead of some."""
    scope = deviation.scope
    if scope.flow == RULER:
        return False
    unnamed = deviation.kind is DeviationKind.FAILING and (scope.check is None or scope.check.startswith("verdict:"))
    return scope.step is None or bool(scope.dimensions) or unnamed or deviation.kind is DeviationKind.TAIL


def _overrides(first: Deviation, other: Deviation) -> bool:
    """Whether ``first`` says that a source delivers nothing, which explains any step's silence."""
    return first.scope.flow == RULER and first.scope.step == SOURCE and other.kind is DeviationKind.SILENT


def lead_order(
    deviation: Deviation, steps: Mapping[str, Sequence[str]]
) -> tuple[bool, bool, int, int, int, bool, float, str]:
    """Sort key: the first of one cause is the earliest step, over everyone, by the plainest measure."""
    scope: Scope = deviation.scope
    order = steps.get(scope.flow, ())
    position = order.index(scope.step) if scope.step in order else len(order)
    return (
        scope.flow != RULER,
        family(deviation) is Family.AVAILABILITY,  # errors and silence follow from slow or wrong answers
        position,
        len(scope.dimensions),
        list(DeviationKind).index(deviation.kind),
        (scope.check or "verdict:").startswith("verdict:"),  # a check says more than the verdict it leads to
        deviation.started_at,
        repr(scope),
    )
