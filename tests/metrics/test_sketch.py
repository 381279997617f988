"""The sketch against exact quantiles: the bound holds for every distribution, quantile and merge."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.metrics.sketch import (
    MAX_BUCKET,
    MIN_BUCKET,
    RELATIVE_ERROR,
    bucket_seconds,
    bucket_upper_seconds,
    buckets_of,
    fraction_at_most,
    merge_sketches,
    quantile,
    sketch_of,
)

durations = st.lists(st.floats(1e-6, 86_400, allow_nan=False), min_size=1, max_size=200)
ratios = st.floats(0, 1)
TOLERANCE = RELATIVE_ERROR * (1 + 1e-9)


@given(values=durations, q=ratios)
def test_quantile_is_within_one_percent_of_the_exact_one(values: list[float], q: float) -> None:
    exact = float(np.quantile(values, q))
    assert quantile(*sketch_of(values), q) == pytest.approx(exact, rel=TOLERANCE)


@given(values=durations)
def test_bucket_covers_its_values(values: list[float]) -> None:
    buckets = buckets_of(values)
    assert (bucket_upper_seconds(buckets) >= np.array(values) * (1 - 1e-9)).all()
    assert (bucket_upper_seconds(buckets - 1) <= np.array(values) * (1 + 1e-9)).all()
    assert np.abs(bucket_seconds(buckets) / values - 1).max() <= TOLERANCE


@given(parts=st.lists(durations, min_size=1, max_size=5))
def test_merged_sketches_equal_the_sketch_of_the_union(parts: list[list[float]]) -> None:
    sketches = [sketch_of(part) for part in parts]
    merged = merge_sketches(np.concatenate([b for b, _ in sketches]), np.concatenate([c for _, c in sketches]))
    union = sketch_of([value for part in parts for value in part])
    assert (merged[0] == union[0]).all()
    assert (merged[1] == union[1]).all()


@given(values=st.lists(st.floats(1e-3, 10), min_size=1, max_size=100), factor=st.floats(0.01, 1000), q=ratios)
def test_the_unit_does_not_matter(values: list[float], factor: float, q: float) -> None:
    scaled = quantile(*sketch_of(np.array(values) * factor), q)
    assert scaled == pytest.approx(float(np.quantile(values, q)) * factor, rel=TOLERANCE)


@given(values=durations, seconds=st.floats(1e-6, 86_400))
def test_fraction_is_the_exact_one_at_a_duration_within_two_percent(values: list[float], seconds: float) -> None:
    found = fraction_at_most(*sketch_of(values), seconds)
    exact = np.array(values)
    low = (exact <= seconds / 1.0201).mean()
    high = (exact <= seconds * 1.0201).mean()
    assert low - 1e-9 <= found <= high + 1e-9


def test_durations_outside_the_range_are_counted_in_the_outermost_buckets() -> None:
    assert buckets_of([0.0, 1e-9, 1e-6]).tolist() == [MIN_BUCKET] * 3
    assert buckets_of([86_400, 1e9]).tolist() == [MAX_BUCKET] * 2
    assert buckets_of([1.0]).tolist() == [0]


@pytest.mark.parametrize(
    ("values", "text"), [([1.0, -0.5], "-0.5"), ([1.0, math.nan], "nan"), ([1.0, math.inf], "inf")]
)
def test_impossible_durations_are_refused(values: list[float], text: str) -> None:
    with pytest.raises(ValueError) as refused:
        buckets_of(values)
    assert str(refused.value) == (
        f"duration {text} at position 1 is not a finite number of seconds ≥ 0; count such observations by verdict only"
    )


def test_an_empty_sketch_has_no_quantile() -> None:
    assert math.isnan(quantile([], [], 0.5))
    assert math.isnan(fraction_at_most([], [], 1.0))


def test_percent_instead_of_ratio_is_refused() -> None:
    with pytest.raises(ValueError) as refused:
        quantile([0], [1], 95)
    assert str(refused.value) == "quantile q=95 is not within 0–1; write the 95th percentile as 0.95"
