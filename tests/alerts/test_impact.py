"""Who was hit and what it cost: intervals against published figures, and counts against a store of known content."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.alerts.alert import Alert
from cxgauge.alerts.impact import completions_lost, more_hit
from cxgauge.alerts.investigation import impact_of
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.specification.flow import FlowSpec, load_flows
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition
from cxgauge.metrics.verdict import Verdict

BEGAN = 1_767_225_600.0
FLOW = """
name: bill_inquiry
title: {en: Bill, zh: 账单}
owner: cards
steps:
  - {name: total, title: {en: Total, zh: 总额}, timeliness: {target: 1.0s, objective: 0.95}}
  - {name: details, title: {en: Details, zh: 明细}, timeliness: {target: 2.0s, objective: 0.95}}
  - {name: dispute, title: {en: Dispute, zh: 争议}, optional: true, timeliness: {target: 2.0s}}
"""


def test_the_interval_is_newcombes() -> None:
    """56 of 70 against 48 of 80: 0.2 (0.0524 to 0.3339), R. Newcombe 1998, table II, method 10."""
    lost = completions_lost(70, 56, 80, 48)
    assert lost is not None
    assert (lost.value / 80, lost.low / 80, lost.high / 80) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_more_completions_than_usual_are_a_negative_loss() -> None:
    lost = completions_lost(100, 50, 100, 90)
    assert lost is not None
    assert lost.value == pytest.approx(-40)
    assert lost.low < lost.value < lost.high < 0


@pytest.mark.parametrize(("before", "after"), [(0, 10), (10, 0)])
def test_without_starts_nothing_can_be_told(before: int, after: int) -> None:
    assert completions_lost(before, 0, after, 0) is None


@pytest.fixture
def flow(tmp_path: Path) -> FlowSpec:
    path = tmp_path / "bill_inquiry.yml"
    path.write_text(FLOW, encoding="utf-8")
    return load_flows(path)["bill_inquiry"]


@pytest.fixture
def store(migrated_embedded_dsn: str) -> Iterator[Store]:
    with Store.open(migrated_embedded_dsn) as opened:
        opened.migrate()
        yield opened


def instances(start: float, seconds: float, count: int, completed: int, bad: int, first: int) -> ObservationBatch:
    """Flow instances, evenly over a span: the first ``completed`` pass ``details``, the first ``bad`` got it wrong.

    Two flow instances make a customer.
    """
    keys = (SeriesKey("bill_inquiry", "total", (), ()), SeriesKey("bill_inquiry", "details", (), ()))
    records = np.zeros(count + completed, dtype=RECORD)
    number = np.concatenate([np.arange(count), np.arange(completed)])
    records["series"] = np.repeat([0, 1], [count, completed])
    records["observed_at_us"] = (start + seconds * number / count + records["series"]) * 1e6
    records["duration_seconds"] = 0.5
    records["verdict"] = np.where((number < bad) & (records["series"] == 0), Verdict.WRONG, Verdict.GOOD)
    for name, share in (("flow_instance", 1), ("customer", 2)):
        ids = [(first + int(each) // share + 1).to_bytes(16, "big") for each in number]
        records[name] = np.array(ids, dtype="V16")
    return ObservationBatch(keys, records)


def write(store: Store, *batches: ObservationBatch) -> None:
    store.write(list(batches), "test", StoredPosition(), StoredPosition(1, 1))


def test_customers_instances_and_completions_are_counted_on_the_store(
    store: Store, flow: FlowSpec, deviation: Callable[..., Any], fired: Callable[..., Alert]
) -> None:
    write(
        store,
        instances(BEGAN - 3 * 3600, 2 * 3600, 300, 270, 6, 0),
        instances(BEGAN, 1200, 100, 60, 40, 10_000),
        instances(BEGAN + 1260, 240, 50, 0, 0, 20_000),  # may still be under way at the end: no loss yet
    )
    alert = fired(deviation("failing", began=BEGAN, before=0.02, after=0.4, ratio=20.0))
    impact = impact_of(store, flow, alert, BEGAN + 1500)
    # nobody was seen in the 25 minutes before, so that nothing can be said to be more
    assert (impact.customers_more, impact.flow_instances_more) == (None, None)
    assert (impact.customers, impact.customers_seen) == (20, 75)
    assert (impact.flow_instances, impact.flow_instances_seen) == (40, 150)
    assert impact.completions_lost == completions_lost(300, 270, 100, 60)
    assert impact.completions_lost is not None
    assert impact.completions_lost.value == pytest.approx(30)
    assert 15 < impact.completions_lost.low < 30


def test_how_many_more_than_usual_were_hit_is_told_with_an_interval(
    store: Store, flow: FlowSpec, deviation: Callable[..., Any], fired: Callable[..., Alert]
) -> None:
    write(store, instances(BEGAN - 1500, 1500, 200, 180, 10, 0), instances(BEGAN, 1500, 100, 60, 40, 10_000))
    impact = impact_of(store, flow, fired(deviation("failing", began=BEGAN)), BEGAN + 1500)
    assert (impact.flow_instances, impact.flow_instances_seen) == (40, 100)
    assert impact.flow_instances_more == more_hit(10, 200, 40, 100)
    assert impact.flow_instances_more is not None
    assert impact.flow_instances_more.value == pytest.approx(35.0)  # 40 less 5 % of 100
    assert 25 < impact.flow_instances_more.low < 35 < impact.flow_instances_more.high < 46
    assert impact.customers_more == more_hit(5, 100, 20, 50)


@given(st.integers(0, 200), st.integers(1, 200), st.integers(0, 200), st.integers(1, 200))
def test_the_interval_holds_the_figure_and_nobody_more_than_were_seen(
    hit_before: int, seen_before: int, hit: int, seen: int
) -> None:
    more = more_hit(min(hit_before, seen_before), seen_before, min(hit, seen), seen)
    assert more is not None
    assert -seen <= more.low <= more.value <= more.high <= seen


def test_who_was_not_seen_before_cannot_be_compared() -> None:
    assert more_hit(0, 0, 4, 10) is None


def test_too_early_to_speak_of_completions(
    store: Store, flow: FlowSpec, deviation: Callable[..., Any], fired: Callable[..., Alert]
) -> None:
    write(store, instances(BEGAN - 3600, 1800, 100, 90, 0, 0), instances(BEGAN, 240, 50, 10, 5, 1_000))
    impact = impact_of(store, flow, fired(deviation("failing", began=BEGAN)), BEGAN + 300)
    assert (impact.flow_instances, impact.completions_lost) == (5, None)
