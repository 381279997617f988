from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from cxgauge.dashboards.figure_types import ChangeStatus, Period
from cxgauge.dashboards.improvements import add_improvement, finish_improvement, read_improvements
from cxgauge.dashboards.report.markdown import report_markdown
from cxgauge.dashboards.report.report import build_report
from cxgauge.dashboards.wording import Wording
from cxgauge.metrics.observation import ObservationBatch
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

MakeDay = Callable[..., ObservationBatch]
DAY = 86_400.0


@pytest.fixture
def store(embedded_dsn: str, today: Period, make_day: MakeDay) -> Iterator[Store]:
    """A week ago slow, today fast: the bill only."""
    with Store.open(embedded_dsn) as store:
        store.migrate()
        batches = [make_day(today.start - 7 * DAY, seed=1, factor=1.3), make_day(today.start, seed=2)]
        store.write(batches, "test", StoredPosition(), StoredPosition(0, 1))
        yield store


def _plan(store: Store, flow: FlowSpec, step: str, measure: str = "p50") -> str:
    return add_improvement(
        store, flow, step, measure, "cache it", owner="cards", due="2026-03-13", finding="", now=1_773_000_000.0
    ).id


def test_the_next_report_says_whether_it_helped(
    store: Store, flow: FlowSpec, today: Period, english: Wording, chinese: Wording
) -> None:
    helped, idle, planned = (_plan(store, flow, step) for step in ("bill_total", "log_in", "log_in"))
    assert finish_improvement(store, helped, today.start)
    assert finish_improvement(store, idle, today.start)
    assert not finish_improvement(store, "none", today.start)

    report = build_report(store, flow, today, None, english, now=today.end)
    found = {one.improvement.id: one.change for one in report.improvements}
    assert found[helped].status is ChangeStatus.BETTER
    high = found[helped].high
    assert high is not None
    assert high < 0
    assert found[idle].status in {ChangeStatus.SAME, ChangeStatus.NO_EVIDENCE, ChangeStatus.UNCLEAR}
    assert found[planned].status is ChangeStatus.NOT_COMPARED
    text = report_markdown(report)
    assert "- Bill total, Median: “cache it” (cards), done 2026-03-14 00:00: faster; 1.28 → 1.01 s" in text
    assert "- Log-in, Median: “cache it” (cards) is planned, due 2026-03-13" in text
    assert "改进台账" in report_markdown(build_report(store, flow, today, None, chinese, now=today.end))


def test_the_ledger_is_kept_by_flow(store: Store, flow: FlowSpec) -> None:
    identity = _plan(store, flow, "bill_total", "check:details_present")
    assert [entry.id for entry in read_improvements(store, "bill_inquiry")] == [identity]
    assert read_improvements(store, "other") == []
    assert read_improvements(store)[0].done_at is None


@pytest.mark.parametrize(
    ("step", "measure", "due", "message"),
    [
        ("pay", "p50", "", "step 'pay' is not in flow bill_inquiry; it has log_in, bill_total"),
        ("log_in", "mean", "", "measure 'mean' is not known; write one of p50, p95, p99, good_rate"),
        ("log_in", "p50", "soon", "due='soon' is not a day; write e.g. 2026-04-30"),
    ],
)
def test_entries_that_make_no_sense_are_refused(
    store: Store, flow: FlowSpec, step: str, measure: str, due: str, message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        add_improvement(store, flow, step, measure, "x", owner="", due=due, finding="", now=0.0)
    assert str(caught.value) == message
