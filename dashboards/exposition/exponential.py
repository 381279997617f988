"""Durations in exponential buckets, and as OTLP exponential histograms: Prometheus' native histograms.

Bucket ``k`` of scale ``s`` holds ``(b^k, b^(k+1)]`` seconds with ``b = 2^(2^-s)``
(https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram). The scale is the coarsest whose
buckets are no wider than those of the store's sketch: 6, ``b = 1.0109`` beside γ = 1.02. Durations are counted as
they are, not by way of the sketch, so its error does not add: whatever point of the right bucket a query answers, it is
off by at most ``b − 1 = 1.1 %``.

Counts go from the start of the process (cumulative), which is what Prometheus takes; it refuses deltas. A push that is
lost loses nothing but resolution in time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
    Metric,
    ResourceMetrics,
    ScopeMetrics,
)

from ...metrics.names import Instrument, InstrumentationScope, Label
from ...metrics.sketch import GAMMA

__all__ = ["BASE", "RELATIVE_ERROR", "SCALE", "DurationCounts", "DurationPoint", "export_requests"]

SCALE = math.ceil(-math.log2(math.log2(GAMMA)))
"""The coarsest scale whose buckets are no wider than the sketch's; Prometheus takes −4 to 8."""
BASE = 2.0 ** (2.0**-SCALE)
RELATIVE_ERROR = BASE - 1
"""Largest relative error of a quantile that lies in the right bucket: 0.0109."""
_LOWEST = math.floor(math.log(1e-6) / math.log(BASE))
_HIGHEST = math.ceil(math.log(86_400) / math.log(BASE))
_PER_DOUBLING = 2.0**SCALE


@dataclass(frozen=True, slots=True)
class DurationPoint:
    """The durations of one step since ``started_at`` (seconds since 1970 UTC).

    Attributes:
        flow: Name of the flow.
        step: Name of the step.
        started_at: Since when is counted.
        offset: Index of the first of ``counts``.
        counts: Durations by bucket, without empty ones at the ends.
        zeros: Durations of exactly 0 s.
        sum_seconds: Sum of the durations.
    """

    flow: str
    step: str
    started_at: float
    offset: int
    counts: NDArray[np.int64]
    zeros: int
    sum_seconds: float

    @property
    def count(self) -> int:
        """How many durations there are."""
        return int(self.counts.sum()) + self.zeros


class DurationCounts:
    """Durations of one step by exponential bucket; what lies outside 1 µs to a day is in the outermost ones."""

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self._counts = np.zeros(_HIGHEST - _LOWEST + 1, dtype=np.int64)
        self._zeros = 0
        self._sum_seconds = 0.0

    def add(self, seconds: NDArray[np.floating]) -> None:
        """Count durations, finite and not negative."""
        positive = np.asarray(seconds[seconds > 0], dtype=np.float64)
        buckets = np.ceil(np.log2(positive) * _PER_DOUBLING).astype(np.int64) - 1
        self._counts += np.bincount(np.clip(buckets, _LOWEST, _HIGHEST) - _LOWEST, minlength=len(self._counts))
        self._zeros += len(seconds) - len(positive)
        self._sum_seconds += float(positive.sum())

    def point(self, flow: str, step: str) -> DurationPoint:
        """What has been counted up to now, as a copy."""
        used = np.flatnonzero(self._counts)
        first, last = (int(used[0]), int(used[-1])) if len(used) else (-_LOWEST, -_LOWEST - 1)
        counts = self._counts[first : last + 1].copy()
        return DurationPoint(flow, step, self.started_at, first + _LOWEST, counts, self._zeros, self._sum_seconds)


def export_requests(
    points: Sequence[DurationPoint], now: float, resource: dict[str, str], points_a_request: int = 500
) -> Iterator[bytes]:
    """OTLP requests with the points, each of bounded size.

    Args:
        points: The durations of each step.
        now: The time of the points, seconds since 1970 UTC.
        resource: Who says so; Prometheus makes ``service.name`` and ``service.instance.id`` job and instance.
        points_a_request: How many points a request holds at most.
    """
    for start in range(0, len(points), points_a_request):
        metric = Metric(name=Instrument.STEP_DURATION, unit="s", description="Duration of answered observations.")
        metric.exponential_histogram.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        for point in points[start : start + points_a_request]:
            metric.exponential_histogram.data_points.append(_data_point(point, now))
        metrics = ResourceMetrics(scope_metrics=[ScopeMetrics(metrics=[metric])])
        metrics.scope_metrics[0].scope.name = InstrumentationScope.EXPOSITION
        metrics.resource.attributes.extend(_attribute(name, value) for name, value in resource.items())
        yield ExportMetricsServiceRequest(resource_metrics=[metrics]).SerializeToString()


def _data_point(point: DurationPoint, now: float) -> ExponentialHistogramDataPoint:
    data = ExponentialHistogramDataPoint(
        attributes=[_attribute(Label.FLOW, point.flow), _attribute(Label.STEP, point.step)],
        start_time_unix_nano=int(point.started_at * 1e9),
        time_unix_nano=int(now * 1e9),
        count=point.count,
        sum=point.sum_seconds,
        scale=SCALE,
        zero_count=point.zeros,
    )
    data.positive.offset = point.offset
    data.positive.bucket_counts.extend(point.counts.tolist())
    return data


def _attribute(name: str, value: str) -> KeyValue:
    return KeyValue(key=name, value=AnyValue(string_value=value))
