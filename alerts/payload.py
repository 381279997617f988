"""The JSON form of a message: a stable, versioned contract for machines.

Field names carry their units; times are UTC in ISO 8601. A change that would break a reader raises
:data:`VERSION`; adding a field does not. ``cxgauge`` tests the form against golden files.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ..metrics.deviation import Deviation, DeviationKind
from .alert import Alert
from .attribution import Attribution
from .figures import Figures
from .impact import Estimate
from .titles import Titles

__all__ = ["VERSION", "AlertPayload", "alert_payload"]

VERSION: Literal["1"] = "1"

Unit = Literal["seconds", "ratio", "per_minute"]


class _Payload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ChangePayload(_Payload):
    """How much: ``ratio`` is after divided by before, with its 95 % interval."""

    unit: Unit
    before: float
    after: float
    ratio: float
    ratio_low: float
    ratio_high: float
    observations: int
    observations_before: int


class ScopePayload(_Payload):
    """What it speaks of; an empty flow is the ruler itself."""

    flow: str
    step: str | None
    check: str | None
    dimensions: dict[str, str]


class ContributionPayload(_Payload):
    """One dimension value (or a pair) and the part of the change it explains."""

    dimensions: dict[str, str]
    ratio: float
    ratio_low: float
    ratio_high: float
    share: float
    share_low: float
    share_high: float
    observations: int
    is_new: bool


class AttributionPayload(_Payload):
    """Where the change is; ``within`` and ``mix`` are log-ratios and sum to ``total``."""

    concentration: Literal["some", "everyone", "unknown"]
    total: float
    within: float
    mix: float
    contributions: list[ContributionPayload]
    reason: str


class EstimatePayload(_Payload):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class ImpactPayload(_Payload):
    """Who was hit; null where observations carry no such id."""

    customers: int | None
    customers_seen: int | None
    flow_instances: int | None
    flow_instances_seen: int | None
    completions_lost: EstimatePayload | None
    customers_more: EstimatePayload | None
    flow_instances_more: EstimatePayload | None


class MemberPayload(_Payload):
    """Another scope of the same cause."""

    kind: DeviationKind
    scope: ScopePayload
    change: ChangePayload
    started_at: str
    recovered_at: str | None


class SizePayload(_Payload):
    """How large the alert was at one time, and whom it had hit by then."""

    at: str
    ratio: float
    ratio_low: float
    ratio_high: float
    observations: int
    customers: int | None
    completions_lost: float | None


class NearbyPayload(_Payload):
    """An event close to the beginning; coincidence until shown otherwise."""

    at: str
    ended_at: str | None
    kind: str
    title: str


class AlertPayload(_Payload):
    """One alert as of one moment."""

    id: str
    state: Literal["pending", "firing", "resolved"]
    severity: Literal["info", "warning", "critical"]
    kind: DeviationKind
    scope: ScopePayload
    flow_title: str
    step_title: str
    change: ChangePayload
    started_at: str
    started_low: str
    started_high: str
    detected_at: str
    fired_at: str | None
    resolved_at: str | None
    resolution: Literal["recovered", "accepted", "cancelled"] | None
    owner: str
    assignee: str | None
    acknowledged_by: str | None
    evidence: dict[str, float]
    attribution: AttributionPayload | None
    impact: ImpactPayload | None
    nearby: list[NearbyPayload]
    same_cause: list[MemberPayload]
    history: list[SizePayload]


def alert_payload(alert: Alert, titles: Titles, figures: Figures) -> AlertPayload:
    """The JSON form of an alert; titles are in the language of ``figures``."""
    lead, iso = alert.lead, figures.iso
    return AlertPayload(
        id=alert.id,
        state=alert.state.value,
        severity=alert.severity.value,
        kind=lead.kind,
        scope=_scope(lead),
        flow_title=titles.flow(lead.scope, figures.language),
        step_title=titles.step(lead.scope, figures.language),
        change=_change(lead),
        started_at=iso(lead.started_at),
        started_low=iso(lead.started_low),
        started_high=iso(lead.started_high),
        detected_at=iso(lead.detected_at),
        fired_at=_optional_time(alert.fired_at, figures),
        resolved_at=_optional_time(alert.resolved_at, figures),
        resolution=alert.resolution.value if alert.resolution else None,
        owner=titles.owner(lead.scope),
        assignee=alert.assignee,
        acknowledged_by=alert.acknowledged_by,
        evidence=lead.evidence,
        attribution=_attribution(alert.attribution),
        impact=_impact(alert),
        nearby=[
            NearbyPayload(
                at=iso(event.at),
                ended_at=_optional_time(event.ended_at, figures),
                kind=event.kind,
                title=event.title,
            )
            for event in alert.nearby
        ],
        same_cause=[
            MemberPayload(
                kind=member.deviation.kind,
                scope=_scope(member.deviation),
                change=_change(member.deviation),
                started_at=iso(member.deviation.started_at),
                recovered_at=_optional_time(member.recovered_at, figures),
            )
            for member in alert.members[1:]
        ],
        history=[
            SizePayload(
                at=iso(size.at),
                ratio=_ratio(size.effect),
                ratio_low=_ratio(size.effect_low),
                ratio_high=_ratio(size.effect_high),
                observations=size.observations,
                customers=size.customers,
                completions_lost=size.completions_lost,
            )
            for size in alert.history
        ],
    )


def _optional_time(at: float | None, figures: Figures) -> str | None:
    return None if at is None else figures.iso(at)


def _scope(deviation: Deviation) -> ScopePayload:
    scope = deviation.scope
    return ScopePayload(flow=scope.flow, step=scope.step, check=scope.check, dimensions=dict(scope.dimensions))


def _change(deviation: Deviation) -> ChangePayload:
    unit: Unit = "seconds"
    if deviation.kind in {DeviationKind.FAILING, DeviationKind.IMPROVING, DeviationKind.TAIL}:
        unit = "ratio"
    elif deviation.kind in {DeviationKind.SILENT, DeviationKind.VOLUME}:
        unit = "per_minute"
    return ChangePayload(
        unit=unit,
        before=deviation.before,
        after=deviation.after,
        ratio=_ratio(deviation.effect),
        ratio_low=_ratio(deviation.effect_low),
        ratio_high=_ratio(deviation.effect_high),
        observations=deviation.observations,
        observations_before=deviation.observations_before,
    )


def _ratio(effect: float) -> float:
    return float(f"{math.exp(effect):.6g}")


def _attribution(attribution: Attribution | None) -> AttributionPayload | None:
    if attribution is None:
        return None
    return AttributionPayload(
        concentration=attribution.concentration.value,
        total=attribution.total,
        within=attribution.within,
        mix=attribution.mix,
        contributions=[
            ContributionPayload(
                dimensions=dict(each.dimensions),
                ratio=_ratio(each.effect),
                ratio_low=_ratio(each.effect_low),
                ratio_high=_ratio(each.effect_high),
                share=each.share,
                share_low=each.share_low,
                share_high=each.share_high,
                observations=each.observations,
                is_new=each.is_new,
            )
            for each in attribution.contributions
        ],
        reason=attribution.reason,
    )


def _impact(alert: Alert) -> ImpactPayload | None:
    impact = alert.impact
    if impact is None:
        return None
    return ImpactPayload(
        customers=impact.customers,
        customers_seen=impact.customers_seen,
        flow_instances=impact.flow_instances,
        flow_instances_seen=impact.flow_instances_seen,
        completions_lost=_estimate(impact.completions_lost),
        customers_more=_estimate(impact.customers_more),
        flow_instances_more=_estimate(impact.flow_instances_more),
    )


def _estimate(estimate: Estimate | None) -> EstimatePayload | None:
    return None if estimate is None else EstimatePayload(**_fields(estimate))


def _fields(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
