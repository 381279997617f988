"""Following flow instances, held against a loop that follows one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cxgauge.metrics.flow_instances import (
    GAP_SECONDS,
    LONGEST_SECONDS,
    SLICE_SECONDS,
    InstanceCount,
    Passages,
    PassingCount,
    follow,
)

PLACES = (("bill", "details", True), ("bill", "total", False), ("loan", "apply", False), ("loan", "sign", True))
Row = tuple[int, int, int, int, int, int]  # place, instance, answered, waited (seconds), verdict, origin


def passages(rows: Sequence[Row]) -> Passages:
    table = np.array(rows, dtype=np.int64).reshape(-1, 6)
    answered = table[:, 2] * 1_000_000
    return Passages(
        place=table[:, 0],
        high=np.where(table[:, 1] % 2 == 0, 7, 9).astype(np.uint64),  # halves repeat: both are needed to tell apart
        low=(table[:, 1] // 2).astype(np.uint64),
        verdict=table[:, 4],
        origin=table[:, 5],
        answered_us=answered,
        asked_us=answered - table[:, 3] * 1_000_000,
        places=PLACES,
    )


def brute_force(
    rows: Sequence[Row], start: float, end: float, open_since: float | None
) -> tuple[Counter[tuple[object, ...]], Counter[tuple[object, ...]]]:
    """Counts as rows, their last figure taken as how often they occur."""
    visits: list[list[Row]] = []
    by_instance: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        by_instance.setdefault((PLACES[row[0]][0], row[1]), []).append(row)
    for mine in by_instance.values():
        last = None
        for row in sorted(mine, key=lambda row: row[2]):
            if last is None or row[2] - last > GAP_SECONDS:
                visits.append([])
            visits[-1].append(row)
            last = row[2]
    instances: Counter[tuple[object, ...]] = Counter()
    passings: Counter[tuple[object, ...]] = Counter()
    for visit in visits:
        began = visit[0][2]
        if not start <= began < end:
            continue
        flow, origin, at = PLACES[visit[0][0]][0], max(row[5] for row in visit), began // SLICE_SECONDS * SLICE_SECONDS
        followed = [row for row in visit if row[2] < began + LONGEST_SECONDS]
        if open_since is not None and max(row[2] for row in followed) >= open_since:
            instances[flow, at, "", origin, "under way"] += 1
            continue
        completed = any(row[4] <= 4 and PLACES[row[0]][2] for row in followed)
        asked = sorted(followed, key=lambda row: (row[2] - row[3], row[2], PLACES[row[0]][1]))
        way = [PLACES[row[0]][1] for row in asked]
        for step in ["", *set(way)]:
            here = [row for row in asked if step in ("", PLACES[row[0]][1])]
            instances[flow, at, step, origin, "reached"] += 1
            instances[flow, at, step, origin, "given up"] += not completed and step in ("", way[-1])
            instances[flow, at, step, origin, "hit"] += any(row[4] != 0 for row in here)
        for one, other in zip(["", *way], [*way, ""], strict=True):
            passings[flow, at, one, other, origin] += 1
    return instances, passings


def counted(found: tuple[list[InstanceCount], list[PassingCount]]) -> tuple[Counter[object], Counter[object]]:
    instances: Counter[object] = Counter()
    for one in found[0]:
        names = ("reached", "given up", "hit", "under way")
        for name, count in zip(names, (one.reached, one.given_up, one.hit, one.under_way), strict=True):
            instances[one.flow, one.slice_start, one.step, one.origin, name] += count
    keys = [(one.flow, one.slice_start, one.from_step, one.to_step, one.origin) for one in found[1]]
    assert len(set(keys)) == len(keys)
    return instances, Counter(dict(zip(keys, (one.passings for one in found[1]), strict=True)))


rows = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(0, 5), st.integers(0, 20_000), st.sampled_from([0, 1, 30]),
        st.sampled_from([0, 0, 1, 4, 5, 7]), st.sampled_from([0, 0, 2]),
    ),
    max_size=60,
    unique_by=lambda row: (row[0] // 2, row[1], row[2]),  # which of two equal times came first is nobody's business
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(rows, st.integers(0, 10_000), st.integers(0, 12_000), st.none() | st.integers(0, 22_000))
def test_what_is_counted_is_what_a_loop_counts(
    found: list[Row], start: int, length: int, open_since: int | None
) -> None:
    instances, passings = counted(follow(passages(found), start, start + length, open_since))
    expected_instances, expected_passings = brute_force(found, start, start + length, open_since)
    assert +instances == +expected_instances
    assert passings == expected_passings


@settings(max_examples=50, deadline=None)
@given(rows, st.integers(1, 19_999))
def test_a_span_may_be_cut_anywhere(found: list[Row], cut: int) -> None:
    whole = counted(follow(passages(found), 0, 20_001))
    left, right = (
        counted(follow(passages([row for row in found if a - GAP_SECONDS <= row[2] < b + LONGEST_SECONDS]), a, b))
        for a, b in ((0, cut), (cut, 20_001))
    )
    assert (+(left[0] + right[0]), left[1] + right[1]) == (+whole[0], whole[1])


def test_nothing_gives_nothing() -> None:
    assert follow(passages([]), 0, 100) == ([], [])
    assert follow(passages([(0, 1, 500, 0, 0, 0)]), 0, 100) == ([], [])
