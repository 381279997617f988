"""The simulated history of the demonstration: marked, ordered, reproducible, and like the bank it stands for."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from cxgauge.examples.bank import DETAILS_MISSING_RATIO, FLOWS_DIRECTORY, STEP_LATENCIES
from cxgauge.examples.clients import STEPS_PER_JOURNEY
from cxgauge.examples.history import SimulatedHistory
from cxgauge.metrics.observation import ObservationBatch, Source
from cxgauge.metrics.specification.flow import load_flows
from cxgauge.metrics.verdict import CheckResult, Verdict

START, SECONDS, RATE = 1_700_000_000.0, 1_000.0, 30.0


@pytest.fixture(scope="module")
def batches() -> list[ObservationBatch]:
    return list(SimulatedHistory(load_flows(FLOWS_DIRECTORY), START, START + SECONDS, RATE, seed=3).batches())


def test_every_observation_is_marked_as_simulated_and_lies_in_the_span(batches: list[ObservationBatch]) -> None:
    for batch in batches:
        assert (batch.records["source"] == Source.SIMULATED).all()
        assert (np.diff(batch.records["observed_at_us"]) >= 0).all()
    assert batches[0].records["observed_at_us"][0] >= START * 1e6
    assert batches[-1].records["observed_at_us"][-1] < (START + SECONDS) * 1e6


def test_equal_seeds_give_equal_history(batches: list[ObservationBatch]) -> None:
    again = SimulatedHistory(load_flows(FLOWS_DIRECTORY), START, START + SECONDS, RATE, seed=3).batches()
    assert [batch.to_bytes() for batch in again] == [batch.to_bytes() for batch in batches]


@pytest.mark.parametrize(("flow", "step"), STEP_LATENCIES)
def test_steps_have_the_banks_latency_and_traffic(batches: list[ObservationBatch], flow: str, step: str) -> None:
    durations = np.concatenate([_of(batch, flow, step)["duration_seconds"] for batch in batches])
    latency, expected = STEP_LATENCIES[flow, step], RATE * SECONDS * STEPS_PER_JOURNEY[flow, step]
    assert abs(len(durations) - expected) < 6 * expected**0.5
    assert np.log(durations).mean() == pytest.approx(log(latency.median_seconds), abs=0.03)
    assert np.log(durations).std() == pytest.approx(latency.log_sd, abs=0.02)


def test_totals_without_details_are_incomplete_as_often_as_in_the_bank(batches: list[ObservationBatch]) -> None:
    records = np.concatenate([_of(batch, "bill_inquiry", "bill_details") for batch in batches])
    incomplete = records["verdict"] == Verdict.INCOMPLETE
    expected = len(records) * DETAILS_MISSING_RATIO
    assert abs(incomplete.sum() - expected) < 6 * expected**0.5
    assert (records["checks"][incomplete] == CheckResult.FAIL).all()  # the sum is not evaluated without details


def _of(batch: ObservationBatch, flow: str, step: str) -> np.ndarray:
    wanted = [index for index, key in enumerate(batch.series) if (key.flow, key.step) == (flow, step)]
    return batch.records[np.isin(batch.records["series"], wanted)]
