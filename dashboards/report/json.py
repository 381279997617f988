"""The report as JSON: figures at full precision, for programs; docs/reference/report.schema.json is its schema."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from ...alerts.alert import Alert
from ...metrics.deviation import Deviation
from ..figure_types import FlowFigures
from ..headline import Headline, sentences
from ..improvements import Outcome
from .report import Detectable, Report, Usual

__all__ = ["SCHEMA_VERSION", "ReportDocument", "report_json", "report_schema"]

SCHEMA_VERSION = "1"
"""Raised when a field changes its meaning or goes; new fields do not raise it."""


@dataclass(frozen=True, slots=True)
class FlowHeader:
    """Which flow."""

    name: str
    title: str
    owner: str


@dataclass(frozen=True, slots=True)
class StepTitle:
    """What a step and its checks are called."""

    step: str
    title: str
    checks: dict[str, str]


@dataclass(frozen=True, slots=True)
class DeviationLine:
    """A deviation; ``effect`` is a log-ratio (``ln 1.2`` for +20 %), with its 95 % interval."""

    kind: str
    step: str | None
    check: str | None
    dimensions: dict[str, str]
    text: str
    detected_at: float
    started_at: float
    effect: float
    effect_low: float
    effect_high: float
    before: float
    after: float
    observations: int
    observations_before: int


@dataclass(frozen=True, slots=True)
class AlertLine:
    """An alert with its handling."""

    id: str
    state: str
    severity: str
    text: str
    deviation: DeviationLine
    fired_at: float | None
    resolved_at: float | None
    resolution: str | None
    acknowledged_at: float | None
    acknowledged_by: str | None
    assignee: str | None
    customers: int | None


@dataclass(frozen=True, slots=True)
class ReportDocument:
    """The whole report. Durations are seconds, ratios 0–1, times seconds since 1970 UTC."""

    schema_version: str
    language: str
    timezone: str
    generated_at: float
    flow: FlowHeader
    headline: Headline
    figures: FlowFigures
    titles: tuple[StepTitle, ...]
    alerts: tuple[AlertLine, ...]
    deviations: tuple[DeviationLine, ...]
    improvements: tuple[Outcome, ...] = ()
    detectable: dict[str, Detectable] = field(default_factory=dict)
    usual: dict[str, Usual] = field(default_factory=dict)


_DOCUMENT = TypeAdapter(ReportDocument)


def report_json(report: Report) -> str:
    """The report as one JSON object, indented."""
    return _DOCUMENT.dump_json(_document(report), indent=2).decode() + "\n"


def report_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of :func:`report_json`."""
    return _DOCUMENT.json_schema(mode="serialization")


def _document(report: Report) -> ReportDocument:
    flow, wording = report.flow, report.wording
    title = flow.title.in_language(wording.language)
    return ReportDocument(
        schema_version=SCHEMA_VERSION,
        language=wording.language,
        timezone=wording.zone_name(report.figures.period.start),
        generated_at=report.generated_at,
        flow=FlowHeader(flow.name, title, flow.owner),
        headline=report.headline,
        figures=report.figures,
        titles=tuple(
            StepTitle(
                step.step,
                flow.step(step.step).title.in_language(wording.language),
                {check.check: wording.check_title(flow, step.step, check.check) for check in step.checks},
            )
            for step in report.figures.steps
        ),
        alerts=tuple(_alert(report, alert) for alert in report.alerts),
        deviations=tuple(_deviation(report, deviation) for deviation in report.deviations),
        improvements=report.improvements,
        detectable=dict(report.detectable),
        usual=dict(report.usual),
    )


def _alert(report: Report, alert: Alert) -> AlertLine:
    return AlertLine(
        id=alert.id,
        state=alert.state.value,
        severity=alert.severity.value,
        text=sentences(report.flow, report.wording).short(alert),
        deviation=_deviation(report, alert.lead),
        fired_at=alert.fired_at,
        resolved_at=alert.resolved_at,
        resolution=alert.resolution.value if alert.resolution else None,
        acknowledged_at=alert.acknowledged_at,
        acknowledged_by=alert.acknowledged_by,
        assignee=alert.assignee,
        customers=alert.impact.customers if alert.impact else None,
    )


def _deviation(report: Report, deviation: Deviation) -> DeviationLine:
    return DeviationLine(
        kind=deviation.kind.value,
        step=deviation.scope.step,
        check=deviation.scope.check,
        dimensions=dict(deviation.scope.dimensions),
        text=sentences(report.flow, report.wording).what(deviation),
        detected_at=deviation.detected_at,
        started_at=deviation.started_at,
        effect=deviation.effect,
        effect_low=deviation.effect_low,
        effect_high=deviation.effect_high,
        before=deviation.before,
        after=deviation.after,
        observations=deviation.observations,
        observations_before=deviation.observations_before,
    )


if __name__ == "__main__":
    print(json.dumps(report_schema(), indent=2, ensure_ascii=False))
