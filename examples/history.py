"""Simulated history of the small bank, so that the demonstration has a baseline to hold the present against.

Every observation is marked as simulated (``Source.SIMULATED``); pages and reports say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..metrics.observation import RECORD, ObservationBatch, SeriesKey, Source, check_bits
from ..metrics.specification.flow import FlowSpec
from ..metrics.verdict import CheckResult, Verdict
from .bank import DETAILS_MISSING_RATIO, STEP_LATENCIES
from .clients import APP_VERSIONS, CHANNELS, STEPS_PER_JOURNEY

__all__ = ["SimulatedHistory"]

_BLOCK_SECONDS: Final = 300
_NOISE_SECONDS: Final = 60.0  # the whole bank is a little faster or slower for about this long
_NOISE_LOG_SD: Final = 0.015
_CUSTOMERS: Final = 5_000
_THINK_SECONDS: Final = 0.4


@dataclass(frozen=True, slots=True)
class _Journeys:
    """Customers on their way through a flow: when each asks for the next step, and who it is."""

    asked_at: NDArray[np.float64]
    mix: NDArray[np.int64]
    customer: NDArray[np.void]
    instance: NDArray[np.void]

    def some(self, chosen: NDArray[np.bool_]) -> _Journeys:
        """Those who go on."""
        return _Journeys(self.asked_at[chosen], self.mix[chosen], self.customer[chosen], self.instance[chosen])


@dataclass(frozen=True, slots=True)
class SimulatedHistory:
    """Passages of the bank's steps between two times, as the bank's clients would have made them.

    Attributes:
        flows: Specifications by name; targets and check names come from here.
        start: Seconds since 1970 UTC.
        end: Seconds since 1970 UTC, exclusive.
        journeys_per_second: How often a customer starts over, for the whole bank.
        seed: Of the generator; equal seeds give equal history.
    """

    flows: Mapping[str, FlowSpec]
    start: float
    end: float
    journeys_per_second: float
    seed: int = 0

    def batches(self) -> Iterator[ObservationBatch]:
        """Yield the observations in order of time, a few minutes a batch."""
        generator = np.random.default_rng(self.seed)
        noise = 0.0
        for block_start in np.arange(self.start, self.end, _BLOCK_SECONDS):
            seconds = min(_BLOCK_SECONDS, self.end - block_start)
            path = _wander(generator, noise, int(np.ceil(seconds)))
            noise = float(path[-1])
            yield self._block(generator, float(block_start), float(seconds), path)

    def _block(
        self, generator: np.random.Generator, start: float, seconds: float, noise: NDArray[np.float64]
    ) -> ObservationBatch:
        series: list[SeriesKey] = []
        parts: list[NDArray[np.void]] = []
        for flow in dict.fromkeys(flow for flow, _ in STEPS_PER_JOURNEY):
            count = int(generator.poisson(self.journeys_per_second * seconds))
            journeys = _Journeys(
                asked_at=start + seconds * generator.random(count),
                mix=_mix(generator, count),
                customer=_tokens(generator.integers(1, _CUSTOMERS, count)),
                instance=np.frombuffer(generator.bytes(16 * count), "V16"),
            )
            for step, share in ((step, share) for (of, step), share in STEPS_PER_JOURNEY.items() if of == flow):
                first = len(series)
                series.extend(self._series(flow, step))
                journeys = journeys.some(generator.random(len(journeys.mix)) < share)
                records = self._step(generator, flow, step, first, journeys, start, noise)
                parts.append(records[records["observed_at_us"] < self.end * 1e6])
                thinking = generator.exponential(_THINK_SECONDS, len(records))
                journeys = replace(journeys, asked_at=records["observed_at_us"] / 1e6 + thinking)
        records = np.concatenate(parts)
        return ObservationBatch(tuple(series), records[np.argsort(records["observed_at_us"], kind="stable")])

    def _series(self, flow: str, step: str) -> list[SeriesKey]:
        checks = self.flows[flow].step(step).check_names
        return [
            SeriesKey(flow, step, (("channel", channel), ("app_version", version)), checks)
            for channel, _ in CHANNELS
            for version, _ in APP_VERSIONS
        ]

    def _step(
        self,
        generator: np.random.Generator,
        flow: str,
        step: str,
        first_series: int,
        journeys: _Journeys,
        start: float,
        noise: NDArray[np.float64],
    ) -> NDArray[np.void]:
        spec, latency = self.flows[flow].step(step), STEP_LATENCIES[flow, step]
        count = len(journeys.mix)
        second = np.minimum((journeys.asked_at - start).astype(np.int64), len(noise) - 1)
        records = np.zeros(count, dtype=RECORD)
        log_factor = generator.normal(0.0, latency.log_sd, count) + noise[second]
        records["duration_seconds"] = latency.median_seconds * np.exp(log_factor)
        records["observed_at_us"] = ((journeys.asked_at + records["duration_seconds"]) * 1e6).astype(np.int64)
        records["series"] = first_series + journeys.mix
        records["source"] = Source.SIMULATED
        records["customer"] = journeys.customer
        records["flow_instance"] = journeys.instance
        slow = records["duration_seconds"] > spec.timeliness.target_seconds
        records["verdict"] = np.where(slow, Verdict.SLOW, Verdict.GOOD)
        records["checks"] = check_bits([CheckResult.PASS] * len(spec.checks))
        if step == "bill_details":
            missing = generator.random(count) < DETAILS_MISSING_RATIO
            records["checks"][missing] = check_bits([CheckResult.FAIL, CheckResult.NOT_EVALUATED])
            records["verdict"][missing] = Verdict.INCOMPLETE
        return records


def _mix(generator: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Index of the series within its step: channel first, version second, each by its share."""
    channel = generator.choice(len(CHANNELS), count, p=[share for _, share in CHANNELS])
    version = generator.choice(len(APP_VERSIONS), count, p=[share for _, share in APP_VERSIONS])
    return np.asarray(channel * len(APP_VERSIONS) + version)


def _tokens(numbers: NDArray[np.int64]) -> NDArray[np.void]:
    """Tokens of invented customers; they identify nobody."""
    tokens = np.zeros((len(numbers), 2), dtype="<i8")
    tokens[:, 0] = numbers
    return tokens.view("V16")[:, 0]


def _wander(generator: np.random.Generator, last: float, seconds: int) -> NDArray[np.float64]:
    """One value a second of an Ornstein-Uhlenbeck process, going on from ``last``."""
    keep = float(np.exp(-1 / _NOISE_SECONDS))
    steps = generator.normal(0.0, _NOISE_LOG_SD * np.sqrt(1 - keep**2), seconds)
    path = np.empty(seconds)
    for second, step in enumerate(steps):
        last = keep * last + float(step)
        path[second] = last
    return path
