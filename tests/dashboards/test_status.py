from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from cxgauge.alerts.alert import Alert
from cxgauge.alerts.coverage import judged_steps
from cxgauge.alerts.evaluator import NAME
from cxgauge.alerts.learning import LearningSchedule, learn_from_store
from cxgauge.alerts.records import save_lifecycle
from cxgauge.dashboards.figure_types import Period
from cxgauge.dashboards.status import alert_lines, read_status, simulated_line, status_headings, status_lines
from cxgauge.dashboards.wording import Wording
from cxgauge.metrics.baseline.bytes import profile_to_bytes
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.observation import ObservationBatch, Source
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.store.evaluation import add_baseline
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

MakeDay = Callable[..., ObservationBatch]


class _Lifecycle:
    """As much of a lifecycle as saving asks for."""

    def __init__(self, alert: Alert) -> None:
        self.alerts = {alert.id: alert}


def test_state_of_every_flow_and_open_alerts(
    migrated_embedded_dsn: str,
    flow: FlowSpec,
    today: Period,
    english: Wording,
    chinese: Wording,
    make_day: MakeDay,
    alert: Alert,
) -> None:
    idle = parse_flow(
        "name: idle\ntitle: {en: Idle, zh: 空闲}\nowner: me\n"
        "steps: [{name: one, title: {en: One, zh: 一}, timeliness: {target: 1s}}]\n"
    )
    flows = {idle.name: idle, flow.name: flow}
    with Store.open(migrated_embedded_dsn) as store:
        store.migrate()
        batch = make_day(today.start, factor=1.5, source=Source.SIMULATED)
        store.write([batch], "test", StoredPosition(), StoredPosition(0, 1))
        missed = read_status(store, flows, today, english)
        with store.connection() as connection:
            save_lifecycle(connection, {}, _Lifecycle(alert), [])  # type: ignore[arg-type]
        alarmed = read_status(store, flows, today, chinese)

    assert [(one.flow, one.state) for one in missed.flows] == [("bill_inquiry", "missed"), ("idle", "no_data")]
    rows = status_lines(missed, english)
    assert rows[0][:2] == ("Bill inquiry", "objective missed")
    assert rows[0][4] == "8,640*"
    assert simulated_line(missed, english) == "* 8,640 of 8,640 observations are demonstration data, not customers'"
    assert rows[0][5] == "2026-03-15 00:00"
    assert rows[1] == ("Idle", "no data", "–", "–", "0", "–")
    assert len(rows[0]) == len(status_headings(english))
    assert alert_lines(missed, english) == ["No open alert."]

    said = replace(alarmed.alerts[0], text="Bill inquiry got slower at *Total*")
    assert alert_lines(replace(alarmed, alerts=(said,)), english) == [
        "[0123456789ab] Bill inquiry got slower at “Total”"
    ]
    assert alarmed.flows[0].state == "alert"
    assert [one.id for one in alarmed.alerts] == [alert.id]
    assert alert_lines(alarmed, chinese)[0].startswith(
        "[0123456789ab] “账单查询”的“账单总额”自 2026年3月14日 10:42 起变慢"
    )


@pytest.mark.parametrize(
    ("history_days", "state", "english_text", "chinese_text"),
    [(0.5, "fine", "no alert", "无告警"), (2.0, "learning", "still learning", "尚在学习")],
)
def test_a_flow_is_not_called_fine_before_it_is_judged(
    migrated_embedded_dsn: str,
    flow: FlowSpec,
    today: Period,
    english: Wording,
    chinese: Wording,
    make_day: MakeDay,
    history_days: float,
    state: str,
    english_text: str,
    chinese_text: str,
) -> None:
    with Store.open(migrated_embedded_dsn) as store:
        store.migrate()
        store.write([make_day(today.start, factor=0.5)], "test", StoredPosition(), StoredPosition(0, 1))
        assert judged_steps(store) == {}
        assert read_status(store, {flow.name: flow}, today, english).flows[0].state == "learning"
        settings = DetectionSettings(minimum_history_seconds=history_days * 86_400)
        profile = learn_from_store(store, today.end, LearningSchedule(), settings)
        assert profile is not None
        with store.connection() as connection:
            add_baseline(connection, NAME, today.end, (today.start, today.end), profile_to_bytes(profile), {})
        reason = "" if state == "fine" else "history of 1440 minutes is shorter than the 2880 needed"
        assert judged_steps(store) == {("bill_inquiry", "log_in"): reason, ("bill_inquiry", "bill_total"): reason}
        found = read_status(store, {flow.name: flow}, today, english)
        assert found.flows[0].state == state
        assert status_lines(found, english)[0][1] == english_text
        assert status_lines(found, chinese)[0][1] == chinese_text
