"""Counts of what was late, doubled or lost: how they travel, and that they are written exactly once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey, Source
from cxgauge.metrics.quality import Effect, QualityCounts, Reason, counts_of, is_counts
from cxgauge.metrics.store.evaluation import set_progress
from cxgauge.metrics.store.quality import read_quality
from cxgauge.metrics.store.retention import Retention
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import Part, ResumePointMismatch, StoredPosition

NOW = 1_767_225_600.0
HOUR = 3_600
names = st.sampled_from(["", "bill", "转账"])


def counts(*entries: tuple[str, int, float, str, str]) -> QualityCounts:
    found = QualityCounts()
    for reason, amount, at, flow, step in entries:
        found.add(reason, amount, at, flow, step)
    return found


def amounts(store: Store, start: float = NOW - HOUR, end: float = NOW, **chosen: Any) -> dict[Any, dict[str, int]]:
    with store.connection() as connection:
        found = read_quality(connection, start, end, **chosen)
    return {place: {reason.value: amount for reason, amount in one.amounts.items()} for place, one in found.items()}


@given(st.lists(st.tuples(st.sampled_from(list(Reason)), st.integers(1, 10**9), st.integers(0, 99), names, names)))
def test_counts_survive_the_spool(entries: list[tuple[Reason, int, int, str, str]]) -> None:
    found = counts(*((reason, amount, NOW - HOUR * back, flow, step) for reason, amount, back, flow, step in entries))
    batch = ObservationBatch.from_bytes(found.batch().to_bytes())
    assert len(batch) == 0
    assert is_counts(batch) is bool(entries)
    assert counts_of(batch, NOW).amounts == found.amounts
    assert all(hour % HOUR == 0 for hour, *_ in found.amounts)


def test_many_places_are_put_together_and_none_is_lost() -> None:
    many = counts(*(("late", 1, NOW + HOUR * (n % 24), "bill", f"step_{n}") for n in range(5_000)))
    assert set(counts_of(many.batch(), NOW + 9e6).amounts) == {(NOW + HOUR * n, "bill", "", "late") for n in range(24)}
    more = counts(*(("late", 2, NOW, f"flow_{n}", "") for n in range(5_000)))
    assert counts_of(more.batch(), NOW).amounts == {(NOW, "", "", "late"): 10_000}


def test_a_batch_of_observations_is_none_of_counts_and_strange_counts_do_no_harm() -> None:
    keys = (SeriesKey("bill", "total", (("channel", "app"),)),)
    assert not is_counts(ObservationBatch(keys, np.zeros(0, dtype=RECORD)))
    fields = ("cxgauge.reason", "cxgauge.hour", "cxgauge.amount")
    values = [("tomorrow's", "1767222000", "3"), ("late", "-1", "4"), ("late", "9" * 11, "5"), ("late", "0", "many")]
    strange = ObservationBatch(
        tuple(SeriesKey("bill", "", tuple(zip(fields, each, strict=True))) for each in values),
        np.zeros(0, dtype=RECORD),
    )
    assert counts_of(strange, NOW).amounts == {
        (NOW - HOUR, "bill", "", "other"): 3, (NOW, "bill", "", "late"): 9
    }  # fmt: skip


def test_every_reason_says_what_it_means_for_the_figures() -> None:
    kinds = Counter(reason.effect for reason in Reason)
    assert kinds == {Effect.KEPT: 3, Effect.LEFT_OUT: 2, Effect.SENT_BACK: 2, Effect.LOST: 15}


def test_counts_are_written_with_their_batches_once(store: Store, make_batch: Any) -> None:
    batch = make_batch(20)
    part = Part(
        "spool/a", [batch, counts(("duplicate", 3, NOW - 10, "bill_inquiry", "step_0")).batch()], StoredPosition(),
        StoredPosition(1, 1),
    )  # fmt: skip
    assert store.write_parts([part]).observations == 20
    with pytest.raises(ResumePointMismatch):
        store.write_parts([part])
    store.write_parts([Part("spool/b", part.batches[1:], StoredPosition(), StoredPosition(1, 1))], rehearse=True)
    assert amounts(store) == {("bill_inquiry", "step_0"): {"duplicate": 3}}
    store.write_parts([Part("spool/b", part.batches[1:], StoredPosition(), StoredPosition(1, 1))])
    assert amounts(store) == {("bill_inquiry", "step_0"): {"duplicate": 6}}
    assert amounts(store, NOW, NOW + HOUR) == {}
    assert amounts(store, flows=["other"]) == {}


def test_late_is_what_came_after_its_window_was_judged(store: Store, make_batch: Any) -> None:
    def write(source: str, *, kind: Source = Source.RECORDER) -> int:
        batch = make_batch(4, series=[SeriesKey("f", "s"), SeriesKey("f", "t")], source=kind)
        times = [NOW - 121, NOW - 120, NOW - 3_700, NOW - 61]
        batch.records["observed_at_us"] = [int(time * 1_000_000) for time in times]
        batch.records["series"] = [0, 1, 1, 0]
        return store.write([batch], source, StoredPosition(), StoredPosition(1, 1)).late

    assert write("before anything is judged") == 0
    with store.connection() as connection:
        set_progress(connection, "fleet", NOW - 120, {})
    assert write("import", kind=Source.IMPORT) == 0
    assert write("late") == 2
    assert amounts(store, NOW - 7_200, NOW) == {("f", "s"): {"late": 1}, ("f", "t"): {"late": 1}}
    assert amounts(store, NOW - 3_600, NOW) == {("f", "s"): {"late": 1}}
    with store.connection() as connection:
        set_progress(connection, "fleet", NOW - 60, {})
    assert write("later") == 4


def test_corrected_times_and_series_beyond_the_limit_are_counted_by_step(make_store: Any, make_batch: Any) -> None:
    store = make_store(series_per_step_limit=2)
    keys = [SeriesKey("f", "s", (("region", f"r{n}"),)) for n in range(5)]
    batch = make_batch(5, series=keys, start=NOW - 20, end=NOW - 10)
    batch.records["series"] = range(5)
    batch.records["observed_at_us"][:2] = [0, int((NOW + 4_000) * 1e6)]
    store.write([batch], "a", StoredPosition(), StoredPosition(1, 1))
    found = amounts(store, NOW - HOUR, NOW + HOUR)
    assert found == {("f", "s"): {"series_limit": 3, "time_corrected": 2}}


def test_counts_are_kept_as_long_as_hours(make_store: Any) -> None:
    store = make_store(retention=Retention(10, 20, 30))
    old = counts(("late", 1, NOW - 31 * 86_400, "f", "s"), ("late", 2, NOW - 29 * 86_400, "f", "s"))
    store.write([old.batch()], "a", StoredPosition(), StoredPosition(1, 1))
    store.expire()
    assert amounts(store, NOW - 40 * 86_400, NOW) == {("f", "s"): {"late": 2}}
