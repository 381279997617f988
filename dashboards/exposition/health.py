"""The ruler's own health as figures for Prometheus."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ... import __version__
from ...metrics.names import Label
from ...metrics.names import Metric as Name

__all__ = ["HealthFigures", "health_families"]


@dataclass(frozen=True, slots=True)
class HealthFigures:
    """What collection and evaluation say of themselves; ``None`` where a part does not run in this process.

    Attributes:
        dropped: Observations lost since the start, by reason.
        written: Observations written to the store since the start.
        writer_failures: Failed attempts to write since the start.
        writer_lag_seconds: How long the oldest observation waits to be written.
        spool_bytes: Size of the spool on disk.
        spool_limit_bytes: Size from which on observations are refused.
        evaluation_lag_seconds: Age of the newest window that was judged.
        evaluation_duration_seconds: How long the last evaluation took.
        received: What the receiver made of what came in since the start, by result.
        replies: Replies of the receiver by HTTP status.
        dimension_other: Received values beyond a dimension's limit, counted as ``other``, by ``flow.dimension``.
        clock_ahead: Received observations whose sender's clock was ahead.
        across_unknown: Sides of checks between steps whose other side did not come in time, by flow and check.
        across_waiting: Sides kept for others to come.
        report_troubles: Scheduled reports and deliveries of the last seven days that failed or are tried again.
        messages: Messages about alerts since the start, by notifier and outcome (delivered, put_off, given_up).
        push_failures: Pushes of native histograms that did not succeed since the start.
        push_lag_seconds: How long ago Prometheus was last told by a push.
    """

    dropped: Mapping[str, int] = field(default_factory=dict)
    written: int | None = None
    writer_failures: int | None = None
    writer_lag_seconds: float | None = None
    spool_bytes: int | None = None
    spool_limit_bytes: int | None = None
    evaluation_lag_seconds: float | None = None
    evaluation_duration_seconds: float | None = None
    received: Mapping[str, int] = field(default_factory=dict)
    replies: Mapping[str, int] = field(default_factory=dict)
    dimension_other: Mapping[str, int] = field(default_factory=dict)
    clock_ahead: int | None = None
    across_unknown: Mapping[tuple[str, str], int] = field(default_factory=dict)
    across_waiting: int | None = None
    report_troubles: int | None = None
    messages: Mapping[tuple[str, str], int] = field(default_factory=dict)
    push_failures: int | None = None
    push_lag_seconds: float | None = None


def health_families(health: HealthFigures | None) -> Iterator[Metric]:
    """Metric families of ``health``; ``None`` says that it could not be read."""
    readable = GaugeMetricFamily(Name.HEALTH_READABLE, "1 when the figures of the ruler's own health could be read.")
    readable.add_metric([], float(health is not None))
    yield readable
    build = GaugeMetricFamily(
        Name.BUILD_INFO, "Always 1; the labels say which version runs.", labels=[Label.VERSION, Label.PYTHON]
    )
    build.add_metric([__version__, platform.python_version()], 1.0)
    yield build
    if health is None:
        return
    for name, text, label, counts in (
        (Name.DROPPED_TOTAL, "Observations lost since the start, by reason.", Label.REASON, health.dropped),
        (
            Name.RECEIVED_TOTAL,
            "What was received since the start, by what became of it.",
            Label.RESULT,
            health.received,
        ),
        (Name.RECEIVER_REPLIES_TOTAL, "Replies of the receiver, by HTTP status.", Label.STATUS, health.replies),
        (
            Name.DIMENSION_OTHER_TOTAL,
            "Received values beyond the limit of a dimension (flow.dimension), counted as other.",
            Label.DIMENSION,
            health.dimension_other,
        ),
    ):
        if counts or name == Name.DROPPED_TOTAL:
            yield _counts(name, text, label, counts)
    if health.across_unknown:
        text = "Sides of checks between steps whose other side did not come in time."
        unknown = CounterMetricFamily(Name.ACROSS_UNKNOWN_TOTAL, text, labels=[Label.FLOW, Label.CHECK])
        for (flow, check), count in sorted(health.across_unknown.items()):
            unknown.add_metric([flow, check], count)
        yield unknown
    if health.messages:
        messages = CounterMetricFamily(
            Name.MESSAGES_TOTAL,
            "Messages about alerts, by what became of them.",
            labels=[Label.NOTIFIER, Label.OUTCOME],
        )
        for (notifier, outcome), count in sorted(health.messages.items()):
            messages.add_metric([notifier, outcome], count)
        yield messages
    yield from _present(
        CounterMetricFamily,
        (Name.WRITTEN_TOTAL, "Observations written to the store since the start.", health.written),
        (Name.WRITER_FAILURES_TOTAL, "Failed attempts to write since the start.", health.writer_failures),
        (
            Name.CLOCK_AHEAD_TOTAL,
            "Received observations whose sender's clock was ahead.",
            health.clock_ahead,
        ),
        (Name.PUSH_FAILURES_TOTAL, "Pushes of native histograms that did not succeed.", health.push_failures),
    )
    yield from _present(
        GaugeMetricFamily,
        (Name.WRITER_LAG_SECONDS, "How long the oldest observation waits to be written.", health.writer_lag_seconds),
        (Name.ACROSS_WAITING_SIDES, "Sides of checks between steps kept for others to come.", health.across_waiting),
        (Name.PUSH_LAG_SECONDS, "How long ago a push of native histograms last succeeded.", health.push_lag_seconds),
        (
            Name.REPORT_TROUBLES,
            "Scheduled reports and their deliveries of the last seven days that failed or are tried again.",
            health.report_troubles,
        ),
        (Name.SPOOL_BYTES, "Size of the spool on disk.", health.spool_bytes),
        (Name.SPOOL_LIMIT_BYTES, "Spool size from which on observations are refused.", health.spool_limit_bytes),
        (Name.EVALUATION_LAG_SECONDS, "Age of the newest window that was judged.", health.evaluation_lag_seconds),
        (
            Name.EVALUATION_DURATION_SECONDS,
            "How long the last evaluation took.",
            health.evaluation_duration_seconds,
        ),
    )


def _counts(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


def _present(
    family: type[CounterMetricFamily] | type[GaugeMetricFamily], *figures: tuple[str, str, float | None]
) -> Iterator[Metric]:
    for name, text, value in figures:
        if value is not None:
            yield family(name, text, value=value)
