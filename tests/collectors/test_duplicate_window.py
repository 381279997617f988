"""The memory of seen spans: what it remembers, what it forgets, how often it errs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxgauge.collectors.receiver.duplicate_window import DuplicateWindow

Ids = tuple[NDArray[np.void], NDArray[np.int64]]


def ids(pairs: list[tuple[int, int]]) -> Ids:
    traces = np.frombuffer(b"".join(trace.to_bytes(16, "big") for trace, _ in pairs), dtype="V16")
    return traces, np.array([span for _, span in pairs], dtype=np.int64)


def random_ids(count: int, seed: int) -> Ids:
    generator = np.random.default_rng(seed)
    return np.frombuffer(generator.bytes(16 * count), dtype="V16"), generator.integers(1, 2**62, count)


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 3)), max_size=12),
        max_size=6,
    )
)
def test_it_agrees_with_a_set_while_nothing_is_forgotten(batches: list[list[tuple[int, int]]]) -> None:
    window, seen = DuplicateWindow(4096), set[tuple[int, int]]()
    for batch in batches:
        expected = []
        for pair in batch:
            expected.append(pair[1] == 0 or pair not in seen)
            seen.add(pair)
        assert window.admit(*ids(batch)).tolist() == expected if batch else True


def test_what_is_forgotten_on_purpose_is_new_again() -> None:
    window = DuplicateWindow(4096)
    first, second = ids([(1, 1), (1, 2)]), ids([(1, 2)])
    window.admit(*first)
    window.forget(*second)
    assert window.admit(*first).tolist() == [False, True]


def test_newer_pairs_push_out_the_oldest() -> None:
    window = DuplicateWindow(1024)
    old, recent = random_ids(300, seed=1), random_ids(300, seed=2)
    window.admit(*old)
    window.admit(*random_ids(20_000, seed=3))
    window.admit(*recent)
    assert window.admit(*old).mean() > 0.99
    assert window.admit(*recent).mean() < 0.2


def test_half_a_window_is_remembered_almost_whole() -> None:
    window = DuplicateWindow(1 << 16)
    half = random_ids(1 << 15, seed=4)
    window.admit(*half)
    assert window.admit(*half).sum() < 0.03 * len(half[1])


def test_the_false_positive_rate_is_the_stated_one() -> None:
    window = DuplicateWindow(1 << 12, fingerprint_bits=12)
    window.admit(*random_ids(1 << 14, seed=5))  # full
    probes = 200_000
    wrong = 0
    for seed in range(10):
        fresh = random_ids(probes // 10, seed=100 + seed)
        fingerprints, buckets, _ = window._hash(*fresh)
        wrong += int((window._table[buckets] == fingerprints[:, None]).any(axis=1).sum())
    stated = window.false_positive_rate
    assert stated == 8 / 4096
    # binomial, three standard deviations either way; the union bound is nearly reached in a full table
    deviation = 3 * (stated * probes) ** 0.5
    assert stated * probes - deviation < wrong < stated * probes + deviation
    assert DuplicateWindow().false_positive_rate == 8 / 2**64


def test_memory_is_what_the_capacity_says() -> None:
    window = DuplicateWindow(1 << 16)
    before = window._table.nbytes
    for seed in range(10):
        window.admit(*random_ids(50_000, seed))
    assert window.capacity == 1 << 16
    assert window._table.nbytes == before == 8 << 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"capacity": 7}, "capacity=7 must be at least 8"),
        ({"fingerprint_bits": 65}, "fingerprint_bits=65 must be from 8 to 64"),
    ],
)
def test_sizes_that_make_no_sense(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        DuplicateWindow(**arguments)
