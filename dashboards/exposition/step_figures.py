"""The counters of one step: verdicts, durations by bucket, results of checks, and exemplars that lead to traces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from prometheus_client.samples import Exemplar

from ...metrics.observation import RECORD, SeriesKey
from ...metrics.rollup import ANSWERED
from ...metrics.specification.flow import FlowSpec, StepSpec
from ...metrics.verdict import VERDICT_COUNT, CheckResult
from .buckets import duration_bounds
from .exponential import DurationCounts

__all__ = ["RESULTS", "StepFigures", "by_step", "exemplar_of"]

RESULTS = (CheckResult.PASS, CheckResult.FAIL, CheckResult.UNKNOWN)
_ANSWERED = np.isin(np.arange(VERDICT_COUNT), ANSWERED)
_NO_TRACE = np.void(bytes(16))


class StepFigures:
    """The counters of one step."""

    def __init__(self, flow: FlowSpec, step: StepSpec, durations: DurationCounts | None) -> None:
        self.labels = [flow.name, step.name]
        self.step = step
        self.bounds = np.array([*duration_bounds(step), np.inf])
        self.buckets = np.zeros(len(self.bounds), dtype=np.int64)
        self.exemplars = np.zeros(len(self.bounds), dtype=RECORD)  # the last traced observation of each bucket
        self.durations = durations
        self.sum_seconds = 0.0
        self.timely = 0
        self.verdicts = np.zeros(VERDICT_COUNT, dtype=np.int64)
        self.verdict_exemplars = np.zeros(VERDICT_COUNT, dtype=RECORD)
        self.last_observed_us: int | None = None
        across = [check.name for check in flow.across_of(step.name)]  # recorded with the later answer, of either step
        self.checks = {name: np.zeros(len(RESULTS), dtype=np.int64) for name in (*step.check_names, *across)}

    def carry_over(self, earlier: StepFigures) -> None:
        """Go on from the counters of ``earlier``; the histogram only if its bounds are still the same."""
        self.verdicts, self.verdict_exemplars = earlier.verdicts, earlier.verdict_exemplars
        self.last_observed_us, self.timely = earlier.last_observed_us, earlier.timely
        self.durations = earlier.durations
        self.checks.update({name: counts for name, counts in earlier.checks.items() if name in self.checks})
        if np.array_equal(self.bounds, earlier.bounds):
            self.buckets, self.exemplars, self.sum_seconds = earlier.buckets, earlier.exemplars, earlier.sum_seconds

    def count(self, records: NDArray[np.void]) -> None:
        """Add observations of this step."""
        verdict = records["verdict"]
        self.verdicts += np.bincount(verdict, minlength=VERDICT_COUNT)[:VERDICT_COUNT]
        newest = int(records["observed_at_us"].max())
        self.last_observed_us = newest if self.last_observed_us is None else max(newest, self.last_observed_us)
        _remember(self.verdict_exemplars, verdict, records)
        duration = records["duration_seconds"]
        timed = records[_ANSWERED[verdict] & (duration >= 0) & (duration < np.inf)]
        if len(timed):
            seconds = timed["duration_seconds"]
            position = np.searchsorted(self.bounds, seconds)  # the first bound that is not below
            self.buckets += np.bincount(position, minlength=len(self.bounds))
            self.sum_seconds += float(seconds.sum())
            if self.durations is not None:
                self.durations.add(seconds)
            self.timely += int((seconds <= self.step.timeliness.target_seconds).sum())
            _remember(self.exemplars, position, timed)

    def count_checks(self, names: tuple[str, ...], bits: NDArray[np.int64]) -> None:
        """Add the results of checks; ``names`` are those of the bit pairs of ``bits``."""
        for position, name in enumerate(names):
            if name in self.checks:
                results = np.bincount((bits >> np.int64(2 * position)) & 3, minlength=4)
                self.checks[name] += results[[int(result) for result in RESULTS]]

    def cumulative_buckets(self) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
        """Observations up to each bound, with the exemplar of the bucket that ends there."""
        rows: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        running = np.cumsum(self.buckets).tolist()
        for bound, count, record in zip(self.bounds.tolist(), running, self.exemplars, strict=True):
            name = "+Inf" if bound == np.inf else str(bound)
            example = exemplar_of(record, float(record["duration_seconds"]))
            rows.append((name, count) if example is None else (name, count, example))
        return rows


def by_step(
    table: tuple[SeriesKey, ...], records: NDArray[np.void]
) -> Iterator[tuple[tuple[str, str], NDArray[np.void]]]:
    """The records of each step, in the order they came."""
    numbers: dict[tuple[str, str], int] = {}
    code_of_series = [numbers.setdefault((key.flow, key.step), len(numbers)) for key in table]
    if len(numbers) == 1:
        if len(records):
            yield next(iter(numbers)), records
        return
    code = np.array(code_of_series, dtype=np.int64)[records["series"]] if len(records) else np.empty(0, np.int64)
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code, minlength=len(numbers)))
    for key, number in numbers.items():
        start = int(ends[number - 1]) if number else 0
        rows = order[start : int(ends[number])]
        if len(rows):
            yield key, records[rows]


def _remember(exemplars: NDArray[np.void], position: NDArray[np.integer], records: NDArray[np.void]) -> None:
    """Keep the last traced observation of each position as its exemplar."""
    traced = np.flatnonzero(records["trace_id"] != _NO_TRACE)
    last = np.full(len(exemplars), -1)
    last[position[traced]] = traced  # of several, the last stays
    places = np.flatnonzero(last >= 0)
    exemplars[places] = records[last[places]]


def exemplar_of(record: np.void, value: float) -> Exemplar | None:
    """The exemplar that leads to the trace of ``record``, if it has one."""
    if record["trace_id"] == _NO_TRACE:
        return None
    labels = {"trace_id": record["trace_id"].tobytes().hex()}
    if span := int(record["span_id"]):
        labels["span_id"] = f"{span & 0xFFFF_FFFF_FFFF_FFFF:016x}"
    return Exemplar(labels, value, int(record["observed_at_us"]) / 1e6)
