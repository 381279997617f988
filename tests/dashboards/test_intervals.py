from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.dashboards.intervals import Resamples, rank_interval, student_quantile, wilson_interval


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [  # Newcombe 1998, table I, method 3 (Wilson without continuity correction)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_as_published(successes: int, total: int, low: float, high: float) -> None:
    interval = wilson_interval(successes, total)
    assert interval is not None
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


def test_no_observation_has_no_rate() -> None:
    assert wilson_interval(0, 0) is None


@given(st.integers(1, 10_000_000), st.floats(0, 1))
def test_wilson_interval_encloses_the_rate(total: int, share: float) -> None:
    interval = wilson_interval(round(total * share), total)
    assert interval is not None
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


@pytest.mark.parametrize(
    ("total", "quantile", "expected"),
    [  # David & Nagaraja: P(X(2) < median < X(9)) = 0.979 for n = 10; medians of few have no such interval
        (10, 0.5, (2, 9)),
        (5, 0.5, None),
        (100, 0.5, (40, 61)),
        (100, 0.95, (90, 100)),
        (50, 0.95, None),
    ],
)
def test_ranks_around_a_quantile(total: int, quantile: float, expected: tuple[int, int] | None) -> None:
    assert rank_interval(total, quantile) == expected


@given(st.integers(1, 2_000_000), st.sampled_from([0.5, 0.95, 0.99]))
def test_ranks_enclose_the_quantiles_own_rank(total: int, quantile: float) -> None:
    ranks = rank_interval(total, quantile)
    if ranks is not None:
        assert 1 <= ranks[0] <= total * quantile + 1
        assert total * quantile <= ranks[1] <= total


def test_rank_interval_covers_as_promised() -> None:
    random = np.random.default_rng(7)
    samples = np.sort(random.random((4000, 200)), axis=1)
    ranks = rank_interval(200, 0.9)
    assert ranks is not None
    covered = (samples[:, ranks[0] - 1] <= 0.9) & (samples[:, ranks[1] - 1] >= 0.9)
    assert 0.945 <= covered.mean() <= 0.985


@pytest.mark.parametrize(
    ("probability", "freedom", "expected"),
    [(0.975, 7, 2.3646), (0.975, 30, 2.0423), (0.995, 10, 3.1693), (0.975, 1_000_000, 1.95997)],
)
def test_student_quantiles_as_tabulated(probability: float, freedom: int, expected: float) -> None:
    assert student_quantile(probability, freedom) == pytest.approx(expected, rel=1e-3)


def _share(counts: np.ndarray) -> np.ndarray:
    return np.asarray(counts[:, 0] / counts.sum(axis=1))


def _counts(random: np.random.Generator, blocks: int, rates: np.ndarray, size: int) -> np.ndarray:
    bad = random.binomial(size, rates)
    assert bad.shape == (blocks,)
    return np.stack([bad, size - bad], axis=1).astype(np.int64)


def test_noise_common_to_a_block_widens_the_interval() -> None:
    random = np.random.default_rng(1)
    sampling = (2 * 0.1 * 0.9 / 48_000) ** 0.5
    calm = Resamples.of(*(_counts(random, 48, np.full(48, 0.1), 1000) for _ in range(2)))
    rough = Resamples.of(*(_counts(random, 48, random.uniform(0.05, 0.15, 48), 1000) for _ in range(2)))

    quiet, loud = (each.change(_share, sampling_error=sampling) for each in (calm, rough))

    assert quiet is not None
    assert loud is not None
    assert loud.high - loud.low > 2 * (quiet.high - quiet.low)
    assert loud.blocks >= 8


def test_time_of_day_that_both_periods_share_does_not_widen_it() -> None:
    random = np.random.default_rng(2)
    season = 0.1 + 0.08 * np.sin(np.arange(48) / 48 * 2 * np.pi)
    sampling = (2 * 0.1 * 0.9 / 48_000) ** 0.5
    change = Resamples.of(_counts(random, 48, season, 1000), _counts(random, 48, season, 1000)).change(
        _share, sampling_error=sampling
    )
    assert change is not None
    assert change.high - change.low < 1.8 * 2 * 1.96 * sampling


def test_more_comparisons_need_more_evidence() -> None:
    random = np.random.default_rng(3)
    resamples = Resamples.of(*(_counts(random, 16, np.full(16, 0.1), 500) for _ in range(2)))
    one = resamples.change(_share, sampling_error=0.001, comparisons=1)
    many = resamples.change(_share, sampling_error=0.001, comparisons=30)
    assert one is not None
    assert many is not None
    assert (many.low, many.high) == (one.low, one.high)
    assert many.surely > one.surely == pytest.approx((one.high - one.low) / 2)
    assert many.detectable > many.surely


def test_empty_period_has_no_change() -> None:
    full = np.array([[1, 9]] * 10)
    with np.errstate(invalid="ignore"):
        assert Resamples.of(np.zeros((10, 2), dtype=np.int64), full).change(_share, sampling_error=0.1) is None
