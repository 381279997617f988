"""What Prometheus reads: histograms, counters and gauges of every step, and the ruler's own health.

Fed by whole batches: a batch of thousands of observations costs a few array operations, and the metric families
are made from the arrays when somebody asks. Label values come from the flow specification only, so what is sent
cannot make the number of series grow. One process exports: the one that writes to the store, after the
commit, so that the counters agree with it.

What the figures mean:

* The histogram holds *answered* observations, as the store's sketch does (see ``metrics.rollup``): an outage
  answered by quick errors must not look like a speed-up.
* ``cxgauge_timely_observations_total`` counts the answered ones that were not slower than the target.
* Simulated, probed and imported observations are not of now or not of customers: they are counted in
  ``cxgauge_uncounted_observations_total`` by reason and in nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ...alerts.alert import Alert
from ...metrics.names import Label
from ...metrics.names import Metric as Name
from ...metrics.observation import ObservationBatch, SeriesKey, Source
from ...metrics.specification.flow import FlowSpec
from ...metrics.verdict import Verdict
from .alerts import alert_families
from .exponential import DurationCounts, DurationPoint
from .health import HealthFigures, health_families
from .step_figures import RESULTS, StepFigures, by_step, exemplar_of

__all__ = ["Exposition", "HealthFigures"]

_log = logging.getLogger(__name__)
_STEP = [Label.FLOW, Label.STEP]
_UNCOUNTED = {Source.PROBE: "probe", Source.IMPORT: "import", Source.SIMULATED: "simulated"}
_UNKNOWN_STEP = "unknown_step"
_RATIO_WINDOW_SECONDS = 300.0
_RATIO_PARTS = 10


@dataclass(slots=True)
class _Part:
    """Good and all answers that arrived within one part of the ratio's window."""

    number: int
    good: Counter[tuple[str, str]]
    total: Counter[tuple[str, str]]


class Exposition(Collector):
    """Metrics of the flows given, in a registry of their own.

    Safe from any thread. :meth:`render` never raises on account of ``health``.

    Args:
        flows: The flow specifications: they decide which labels there are.
        health: Called at each scrape for the ruler's own health.
        clock: Seconds since 1970 UTC.
        process_metrics: Whether to add ``process_*`` (CPU, memory, file descriptors).
        exponential: Whether to count durations in exponential buckets too, for :meth:`durations`.
    """

    def __init__(
        self,
        flows: Mapping[str, FlowSpec],
        *,
        health: Callable[[], HealthFigures] = HealthFigures,
        clock: Callable[[], float] = time.time,
        process_metrics: bool = True,
        exponential: bool = False,
    ) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._health = health
        self._clock = clock
        self._exponential = exponential
        self._lock = threading.Lock()
        self._steps: dict[tuple[str, str], StepFigures] = {}
        self._uncounted: Counter[str] = Counter()
        self._parts: deque[_Part] = deque()
        self._baselines: dict[tuple[str, str], float] = {}
        self._alerts: tuple[Alert, ...] = ()
        self.reload(flows)
        self.registry.register(self)
        if process_metrics:
            ProcessCollector(registry=self.registry)

    def reload(self, flows: Mapping[str, FlowSpec]) -> None:
        """Take over a new specification; counters of steps that are still there go on."""
        with self._lock:
            steps = {
                (flow.name, step.name): StepFigures(
                    flow, step, DurationCounts(self._clock()) if self._exponential else None
                )
                for flow in flows.values()
                for step in flow.steps
            }
            for key, figures in steps.items():
                if key in self._steps:
                    figures.carry_over(self._steps[key])
            self._steps = steps

    def observe(self, batch: ObservationBatch) -> None:
        """Count a batch; observations of flows and steps that are not specified are counted as such."""
        records, table = self._countable(batch)
        with self._lock:
            for key, rows in by_step(table, records):
                self._observe_step(key, rows, table)

    def set_baselines(self, seconds: Mapping[tuple[str, str], float]) -> None:
        """Replace what is usual now: typical duration by ``(flow, step)``."""
        with self._lock:
            self._baselines = dict(seconds)

    def set_alerts(self, alerts: Iterable[Alert]) -> None:
        """Replace the alerts; resolved ones are left out."""
        with self._lock:
            self._alerts = tuple(alert for alert in alerts if alert.is_open)

    def durations(self) -> list[DurationPoint]:
        """The durations of every step in exponential buckets; none unless they are counted."""
        with self._lock:
            return [
                figures.durations.point(*figures.labels)
                for figures in self._steps.values()
                if figures.durations is not None
            ]

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The exposition and its content type, in the format that the ``Accept`` header prefers."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def describe(self) -> Iterable[Metric]:
        """Nothing: the families depend on the specification."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The metric families as they are now."""
        try:
            health: HealthFigures | None = self._health()
        except Exception:
            _log.exception("the ruler's own health could not be read")
            health = None
        with self._lock:
            families = [
                *self._specified(),
                *self._counted(),
                self._good_answer_ratio(),
                self._baseline_durations(),
                *alert_families(self._alerts),
            ]
        yield from families
        yield from health_families(health)

    def _countable(self, batch: ObservationBatch) -> tuple[NDArray[np.void], tuple[SeriesKey, ...]]:
        records = batch.records
        left_out = np.isin(records["source"], [int(source) for source in _UNCOUNTED])
        if left_out.any():
            counts = np.bincount(records["source"][left_out], minlength=max(_UNCOUNTED) + 1)
            with self._lock:
                self._uncounted.update({reason: int(counts[source]) for source, reason in _UNCOUNTED.items()})
            records = records[~left_out]
        return records, batch.series

    def _observe_step(self, key: tuple[str, str], records: NDArray[np.void], table: tuple[SeriesKey, ...]) -> None:
        figures = self._steps.get(key)
        if figures is None:
            self._uncounted[_UNKNOWN_STEP] += len(records)
            return
        figures.count(records)
        part = self._part()
        part.good[key] += int((records["verdict"] == Verdict.GOOD).sum())
        part.total[key] += len(records)
        for number in np.unique(records["series"]):
            if names := table[int(number)].checks:
                figures.count_checks(names, records["checks"][records["series"] == number])

    def _part(self) -> _Part:
        number = int(self._clock() / (_RATIO_WINDOW_SECONDS / _RATIO_PARTS))
        self._forget_before(number - _RATIO_PARTS)
        if not self._parts or self._parts[-1].number < number:
            self._parts.append(_Part(number, Counter(), Counter()))
        return self._parts[-1]

    def _forget_before(self, number: int) -> None:
        while self._parts and self._parts[0].number < number:
            self._parts.popleft()

    def _specified(self) -> Iterator[Metric]:
        target = GaugeMetricFamily(Name.STEP_TARGET_SECONDS, "An answer slower than this is slow.", labels=_STEP)
        objective = GaugeMetricFamily(
            Name.OBJECTIVE_RATIO, "Share of answers promised, by kind of promise.", labels=[*_STEP, Label.OBJECTIVE]
        )
        for figures in self._steps.values():
            step = figures.step
            target.add_metric(figures.labels, step.timeliness.target_seconds)
            objective.add_metric([*figures.labels, "timeliness"], step.timeliness.objective)
            objective.add_metric([*figures.labels, "accuracy"], step.accuracy_objective)
            objective.add_metric([*figures.labels, "good_answer"], step.good_objective)
        yield target
        yield objective

    def _counted(self) -> Iterator[Metric]:
        duration = HistogramMetricFamily(
            Name.STEP_DURATION_SECONDS, "Duration of answered observations of a step.", labels=_STEP
        )
        verdicts = CounterMetricFamily(
            Name.OBSERVATIONS_TOTAL, "Observations by verdict; the worst wins.", labels=[*_STEP, Label.VERDICT]
        )
        timely = CounterMetricFamily(
            Name.TIMELY_OBSERVATIONS_TOTAL, "Answered observations not slower than the target.", labels=_STEP
        )
        checks = CounterMetricFamily(
            Name.CHECKS_TOTAL, "Results of accuracy checks.", labels=[*_STEP, Label.CHECK, Label.RESULT]
        )
        last = GaugeMetricFamily(
            Name.LAST_OBSERVATION_SECONDS, "When the newest observation arrived (seconds since 1970).", labels=_STEP
        )
        for figures in self._steps.values():
            duration.add_metric(figures.labels, buckets=figures.cumulative_buckets(), sum_value=figures.sum_seconds)
            timely.add_metric(figures.labels, figures.timely)
            for verdict in Verdict:
                count, exemplar = int(figures.verdicts[verdict]), exemplar_of(figures.verdict_exemplars[verdict], 1.0)
                verdicts.add_metric([*figures.labels, verdict.label], count, exemplar=exemplar)
            for check, results in figures.checks.items():
                for result, count in zip(RESULTS, results.tolist(), strict=True):
                    checks.add_metric([*figures.labels, check, result.label], count)
            if figures.last_observed_us is not None:
                last.add_metric(figures.labels, figures.last_observed_us / 1e6)
        uncounted = CounterMetricFamily(
            Name.UNCOUNTED_OBSERVATIONS_TOTAL,
            "Observations that are in none of the other figures, by reason.",
            labels=[Label.REASON],
        )
        for reason in (*_UNCOUNTED.values(), _UNKNOWN_STEP):
            uncounted.add_metric([reason], self._uncounted[reason])
        yield from (duration, verdicts, timely, checks, last, uncounted)

    def _good_answer_ratio(self) -> Metric:
        family = GaugeMetricFamily(
            Name.GOOD_ANSWER_RATIO, "Share of fast, right and complete answers of the last five minutes.", labels=_STEP
        )
        self._forget_before(int(self._clock() / (_RATIO_WINDOW_SECONDS / _RATIO_PARTS)) - _RATIO_PARTS)
        good: Counter[tuple[str, str]] = sum((part.good for part in self._parts), Counter())
        total: Counter[tuple[str, str]] = sum((part.total for part in self._parts), Counter())
        for key in self._steps:
            if total[key]:
                family.add_metric(list(key), good[key] / total[key])
        return family

    def _baseline_durations(self) -> Metric:
        family = GaugeMetricFamily(
            Name.BASELINE_DURATION_SECONDS, "Typical duration (geometric mean) usual at this time.", labels=_STEP
        )
        for key, seconds in self._baselines.items():
            if key in self._steps:
                family.add_metric(list(key), seconds)
        return family
