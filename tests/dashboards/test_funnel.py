"""The funnel and the cost of a change: counts that are known, intervals, and what is said when nothing can be told."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import numpy as np
import pytest

from cxgauge.dashboards.figure_types import ChangeStatus, Comparison, FlowFigures, Period
from cxgauge.dashboards.report.data import read_figures
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition
from cxgauge.metrics.verdict import Verdict

DAY = 86_400.0
START = 1_773_417_600.0  # 2026-03-14 00:00 in Shanghai
TODAY = Period(START, START + DAY)
YESTERDAY = Comparison("previous", Period(START - DAY, START))
STEPS = ("total", "details", "dispute")


@pytest.fixture(scope="module")
def flow() -> FlowSpec:
    return parse_flow(
        "name: bill\ntitle: {en: Bill, zh: 账单}\nowner: cards\nsteps:\n"
        "  - {name: total, title: {en: Total, zh: 总额}, timeliness: {target: 2s}}\n"
        "  - {name: details, title: {en: Details, zh: 明细}, timeliness: {target: 2s}}\n"
        "  - {name: dispute, title: {en: Dispute, zh: 争议}, optional: true, timeliness: {target: 2s}}\n"
    )


@pytest.fixture
def store(migrated_embedded_dsn: str) -> Iterator[Store]:
    with Store.open(migrated_embedded_dsn) as store:
        store.migrate()
        yield store


def day(start: float, seed: int, *, gives_up: float, bad: float = 0.1, journeys: int = 2_000) -> ObservationBatch:
    """A day of journeys total → details, of which a share gives up after the total, and a share of totals is wrong."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(journeys):
        instance, customer = uuid.uuid5(uuid.NAMESPACE_URL, f"{seed}-{number}").bytes, number % 700 + 1
        at = float(start + random.uniform(0, DAY - 60))
        rows.append((at, 0, Verdict.WRONG if random.random() < bad else Verdict.GOOD, instance, customer))
        if random.random() >= gives_up:
            rows.append((at + 20, 1, Verdict.GOOD, instance, customer))
    records = np.zeros(len(rows), dtype=RECORD)
    for record, (at, step, verdict, instance, customer) in zip(records, rows, strict=True):
        record["observed_at_us"], record["duration_seconds"], record["series"] = int(at * 1e6), 1.0, step
        record["verdict"], record["flow_instance"] = verdict, instance
        record["customer"] = customer.to_bytes(16, "little")
    return ObservationBatch(tuple(SeriesKey("bill", step) for step in STEPS), records)


def figures(
    store: Store, flow: FlowSpec, *days: ObservationBatch, compared: Comparison | None = YESTERDAY
) -> FlowFigures:
    store.write(list(days), "test", StoredPosition(), StoredPosition(0, 1))
    return read_figures(store, flow, TODAY, compared, now=TODAY.end + 4 * 3_600, funnel=True)


def test_more_who_give_up_and_more_who_are_hit_are_seen(store: Store, flow: FlowSpec) -> None:
    found = figures(store, flow, day(START - DAY, 1, gives_up=0.1), day(START, 2, gives_up=0.3, bad=0.2))
    funnel, cost = found.funnel, found.cost
    assert funnel is not None
    assert cost is not None

    total, details, dispute = funnel.steps
    assert (funnel.instances, total.reached, details.reached, dispute.reached) == (2_000, 2_000, funnel.completed, 0)
    assert total.given_up == 2_000 - funnel.completed
    assert total.given_up_change.status is ChangeStatus.WORSE
    assert funnel.completion_change.status is ChangeStatus.WORSE
    assert details.reached_change.status is ChangeStatus.WORSE
    assert [(each.to_step, each.direction) for each in total.went] == [("details", "next"), (None, "end")]
    assert total.went[0].passings == details.reached
    assert total.went[1].share_before == pytest.approx(0.1, abs=0.03)
    assert cost.completions_lost is not None
    assert cost.completions_lost.low < 400 < cost.completions_lost.high
    assert cost.hit_change.status is ChangeStatus.WORSE
    assert cost.instances_hit_more is not None
    assert cost.instances_hit_more.low < 200 < cost.instances_hit_more.high
    assert cost.bad_answers == found.observations - found.good
    assert cost.customers == 700
    assert cost.customers_hit_more is not None
    assert cost.customers_hit_more.low > 0


def test_no_change_is_no_evidence(store: Store, flow: FlowSpec) -> None:
    found = figures(store, flow, day(START - DAY, 1, gives_up=0.1), day(START, 2, gives_up=0.1))
    assert found.funnel is not None
    assert found.cost is not None

    changes = [found.funnel.completion_change, found.cost.hit_change]
    changes += [step.given_up_change for step in found.funnel.steps[:2]]
    assert {change.status for change in changes} == {ChangeStatus.NO_EVIDENCE}
    assert found.cost.completions_lost is not None
    assert found.cost.completions_lost.low < 0 < found.cost.completions_lost.high


def test_without_a_comparison_counts_remain(store: Store, flow: FlowSpec) -> None:
    found = figures(store, flow, day(START, 2, gives_up=0.1), compared=None)
    assert found.funnel is not None
    assert found.cost is not None

    assert found.funnel.completion.value == pytest.approx(0.9, abs=0.03)
    assert found.funnel.completion_change.status is ChangeStatus.NOT_COMPARED
    assert (found.cost.completions_lost, found.cost.instances_hit_more) == (None, None)
    assert found.cost.customers_hit is not None


def test_observations_without_an_instance_make_no_funnel(store: Store, flow: FlowSpec) -> None:
    batch = day(START, 2, gives_up=0.1, journeys=50)
    batch.records["flow_instance"] = b"\0" * 16
    found = figures(store, flow, batch, compared=None)
    assert found.funnel is not None
    assert found.cost is not None

    assert (found.funnel.reason, found.funnel.instances, found.funnel.steps) == ("none", 0, ())
    assert found.cost.bad_answers > 0


def test_what_is_not_kept_is_said(store: Store, flow: FlowSpec) -> None:
    store.write([day(START, 2, gives_up=0.1, journeys=50)], "test", StoredPosition(), StoredPosition(0, 1))
    store.compact()
    found = read_figures(store, flow, TODAY, None, now=TODAY.end + 40 * DAY, funnel=True)
    assert found.funnel is not None
    assert found.cost is not None

    assert found.funnel.reason == "not_kept"
    assert (found.cost.customers, found.cost.customers_hit) == (None, None)


def test_figures_of_the_same_data_are_not_computed_again(store: Store, flow: FlowSpec) -> None:
    first = figures(store, flow, day(START, 2, gives_up=0.1, journeys=50), compared=None)
    again = read_figures(store, flow, TODAY, None, now=TODAY.end + 9 * 3_600, funnel=True)
    store.write([day(START, 3, gives_up=0.1, journeys=1)], "test", StoredPosition(0, 1), StoredPosition(0, 2))
    more = read_figures(store, flow, TODAY, None, now=TODAY.end + 9 * 3_600, funnel=True)

    assert again.steps is first.steps
    assert more.observations == first.observations + 2


def test_instances_that_are_all_under_way_are_not_taken_for_none(store: Store, flow: FlowSpec) -> None:
    store.write([day(START, 3, gives_up=0.1, journeys=50)], "test", StoredPosition(), StoredPosition(0, 1))
    with store.connection() as connection:
        ((first,),) = connection.execute(
            "SELECT extract(epoch FROM min(observed_at))::float8 FROM observations"
        ).fetchall()
    period = Period(first // 60 * 60, first // 60 * 60 + 120)
    found = read_figures(store, flow, period, None, now=period.end, funnel=True).funnel
    assert found is not None
    assert (found.reason, found.instances) == ("under_way", 0)
    assert found.under_way >= 1
