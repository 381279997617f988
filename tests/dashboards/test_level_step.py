from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.dashboards.intervals import Resamples
from cxgauge.dashboards.level_step import level_step


def _counts(random: np.random.Generator, rates: np.ndarray, size: int = 400) -> np.ndarray:
    bad = random.binomial(size, np.clip(rates, 0, 1))
    return np.stack([size - bad, bad], axis=1).astype(np.int64)


@pytest.mark.parametrize("at", [30, 84, 120])
def test_the_step_is_found_where_it_is(at: int) -> None:
    random = np.random.default_rng(1)
    rates = np.where(np.arange(168) < at, 0.1, 0.2)
    found = level_step(_counts(random, np.full(168, 0.1)), _counts(random, rates))
    assert found is not None
    assert abs(found - at) <= 2


def test_days_that_differ_are_no_step() -> None:
    found = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        days = [np.repeat(random.normal(0.2, 0.02, 7), 24) for _ in range(2)]
        found += level_step(*(_counts(random, rates) for rates in days)) is not None
    assert found <= 2


def test_a_change_from_the_first_block_on_is_no_step() -> None:
    random = np.random.default_rng(2)
    assert level_step(_counts(random, np.full(168, 0.1)), _counts(random, np.full(168, 0.2))) is None


@pytest.mark.parametrize(("before", "after"), [(20, 20), (168, 100)])
def test_few_or_unpaired_blocks_have_none(before: int, after: int) -> None:
    random = np.random.default_rng(3)
    assert level_step(_counts(random, np.full(before, 0.1)), _counts(random, np.linspace(0, 1, after))) is None


def test_a_step_does_not_pass_for_noise() -> None:
    random = np.random.default_rng(4)
    before = _counts(random, np.full(168, 0.1))
    after = _counts(random, np.where(np.arange(168) < 84, 0.1, 0.2))
    change = Resamples.of(before, after).change(lambda counts: counts[:, 1] / counts.sum(axis=1), sampling_error=0.001)
    assert change is not None
    assert change.value == pytest.approx(0.05, abs=0.003)
    assert change.high - change.low < 0.02  # the step taken for noise would make it 0.08


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=48, max_size=120))
def test_any_counts_give_a_place_inside_or_none(counts: list[tuple[int, int]]) -> None:
    values = np.array(counts, dtype=np.int64)
    found = level_step(values[::-1].copy(), values)
    assert found is None or 0 < found < len(values)
