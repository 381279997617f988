"""The report of a flow: figures, alerts and words put together, before any format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...alerts.alert import Alert
from ...metrics.deviation import Deviation
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.store import Store
from ..figure_types import Comparison, FlowFigures, Period
from ..headline import Headline, headline
from ..improvements import Outcome, outcomes, read_improvements
from ..wording import Wording
from .data import read_alerts, read_deviations, read_figures

__all__ = ["Report", "build_report", "compose_report"]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a report says.

    Attributes:
        flow: The flow's specification.
        figures: Its figures.
        headline: What comes first.
        alerts: Alerts that were open in the period.
        deviations: Deviations detected in the period, those of alerts among them.
        improvements: Entries of the improvement ledger of this flow, and whether they helped.
        generated_at: When it was made, seconds since 1970 UTC.
        wording: Language and time zone.
    """

    flow: FlowSpec
    figures: FlowFigures
    headline: Headline
    alerts: tuple[Alert, ...]
    deviations: tuple[Deviation, ...]
    generated_at: float
    wording: Wording
    improvements: tuple[Outcome, ...] = ()


def build_report(
    store: Store,
    flow: FlowSpec,
    period: Period,
    compared: Comparison | None,
    wording: Wording,
    *,
    now: float,
    funnel: bool = True,
) -> Report:
    """Read and compute the report of ``flow`` in ``period``; without ``funnel`` in a blink, and nobody's way is told."""
    figures = read_figures(store, flow, period, compared, now=now, funnel=funnel)
    alerts = read_alerts(store, flow.name, period)
    deviations = read_deviations(store, flow.name, period)
    entries = [
        entry
        for entry in read_improvements(store, flow.name)
        if entry.planned_at < period.end and any(step.name == entry.step for step in flow.steps)
    ]
    found = outcomes(store, flow, entries, wording, until=period.end, now=now)
    return replace(compose_report(flow, figures, alerts, deviations, wording, now=now), improvements=tuple(found))


def compose_report(
    flow: FlowSpec,
    figures: FlowFigures,
    alerts: Sequence[Alert],
    deviations: Sequence[Deviation],
    wording: Wording,
    *,
    now: float,
) -> Report:
    """Put what was read and computed into words; pure."""
    first = headline(flow, figures, alerts, wording)
    return Report(flow, figures, first, tuple(alerts), tuple(deviations), now, wording)
