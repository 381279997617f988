"""The report of a flow: figures, alerts and words put together, before any format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, isfinite, log

from ...alerts.alert import Alert
from ...alerts.coverage import step_sensitivity
from ...metrics.deviation import Deviation
from ...metrics.specification.flow import FlowSpec
from ...metrics.store.store import Store
from ..figure_types import Comparison, FlowFigures, Period
from ..headline import Headline, headline
from ..improvements import Outcome, outcomes, read_improvements
from ..periods import right_before
from ..wording import Wording
from .data import Rows, flow_span, read_alerts, read_bands, read_deviations, read_figures, read_rows

__all__ = ["Detectable", "Report", "Usual", "build_report", "compose_report"]

_HOUR_SECONDS = 3_600.0
_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Detectable:
    """The smallest lasting slow-down (0.1 = 10 %) of a step found within an hour and a day, in half of all cases.

    ``None`` where none would be found in that time; at the mean traffic of the history that was learnt from.
    """

    hour: float | None
    day: float | None


@dataclass(frozen=True, slots=True)
class Usual:
    """What the baseline calls usual of a step in these hours: the range of typical durations, seconds.

    It is that of 95 of 100 single windows, so a whole period lies well inside if all is as usual.
    """

    low: float
    high: float


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
        rows: What the figures were computed from, for what else is to be told of it.
        detectable: By step, which slow-down detection would find how soon; empty before a baseline is learnt.
        usual: By step, which median the baseline calls usual; empty before a baseline is learnt.
    """

    flow: FlowSpec
    figures: FlowFigures
    headline: Headline
    alerts: tuple[Alert, ...]
    deviations: tuple[Deviation, ...]
    generated_at: float
    wording: Wording
    improvements: tuple[Outcome, ...] = ()
    detectable: Mapping[str, Detectable] = field(default_factory=dict)
    usual: Mapping[str, Usual] = field(default_factory=dict)
    rows: Rows | None = None


def build_report(
    store: Store,
    flow: FlowSpec,
    period: Period,
    compared: Comparison | None,
    wording: Wording,
    *,
    now: float,
    funnel: bool = True,
    on_the_spot: bool = True,
) -> Report:
    """Read and compute the report of ``flow`` in ``period``.

    Args:
        store: The store.
        flow: The flow.
        period: The period.
        compared: With what it is compared.
        wording: Language and time zone.
        now: Seconds since 1970 UTC.
        funnel: Whether the way of flow instances is told.
        on_the_spot: Whether observations are read for it where nothing was counted, and the cost is told, which needs
            them: both may take seconds.
    """
    compared = _with_data(store, flow, period, compared)
    rows = read_rows(store, flow.name, None, period, compared, now=now)
    figures = read_figures(store, flow, period, compared, now=now, funnel=funnel, on_the_spot=on_the_spot, rows=rows)
    alerts = read_alerts(store, flow.name, period)
    deviations = read_deviations(store, flow.name, period)
    entries = [
        entry
        for entry in read_improvements(store, flow.name)
        if entry.planned_at < period.end
        and (entry.dropped_at is None or entry.dropped_at >= period.start)
        and any(step.name == entry.step for step in flow.steps)
    ]
    found = outcomes(store, flow, entries, wording, until=period.end, now=now)
    composed = compose_report(flow, figures, alerts, deviations, wording, now=now)
    detectable = _detectable(store, flow) if funnel and on_the_spot else {}  # pages tell it elsewhere
    usual = _usual(store, flow, figures) if funnel and on_the_spot else {}
    return replace(composed, improvements=tuple(found), detectable=detectable, usual=usual, rows=rows)


def _with_data(store: Store, flow: FlowSpec, period: Period, compared: Comparison | None) -> Comparison | None:
    """The comparison asked for; the time right before, if the flow is so young that only that has data."""
    if compared is None or compared.kind != "previous" or compared.period.end == period.start:
        return compared
    first = flow_span(store, flow.name).first
    nearer = right_before(period)
    return nearer if first is not None and compared.period.end <= first < nearer.period.end else compared


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


def _detectable(store: Store, flow: FlowSpec) -> dict[str, Detectable]:
    if store.scope.dimensions:  # what is learnt is of all customers together
        return {}
    found = {}
    for step in flow.steps:
        changes = [step_sensitivity(store, flow.name, step.name, horizon) for horizon in (_HOUR_SECONDS, _DAY_SECONDS)]
        values = [each.ratio - 1 if each is not None and isfinite(each.ratio) else None for each in changes]
        if changes[0] is not None:
            found[step.name] = Detectable(values[0], values[1])
    return found


def _usual(store: Store, flow: FlowSpec, figures: FlowFigures) -> dict[str, Usual]:
    """The usual range in the hours with data, in the mean of its logarithm."""
    quality, found = figures.quality, {}
    if quality.first is None or quality.last is None:
        return {}
    span = Period(quality.first // _HOUR_SECONDS * _HOUR_SECONDS, quality.last)
    for step in flow.steps:
        bands = [(low, high) for _, low, high in read_bands(store, flow.name, step.name, span) if 0 < low <= high]
        if bands:
            low, high = (exp(sum(map(log, ends)) / len(bands)) for ends in zip(*bands, strict=True))
            found[step.name] = Usual(low, high)
    return found
