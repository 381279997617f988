from __future__ import annotations

from collections.abc import Callable

from cxgauge.alerts.alert import Alert
from cxgauge.alerts.records import save_lifecycle
from cxgauge.dashboards.figure_types import Period
from cxgauge.dashboards.status import alert_lines, read_status, status_headings, status_lines
from cxgauge.dashboards.wording import Wording
from cxgauge.metrics.flow import FlowSpec, parse_flow
from cxgauge.metrics.observation import ObservationBatch, Source
from cxgauge.metrics.store import Store
from cxgauge.metrics.store_write import StoredPosition

MakeDay = Callable[..., ObservationBatch]


class _Lifecycle:
    """As much of a lifecycle as saving asks for."""

    def __init__(self, alert: Alert) -> None:
        self.alerts = {alert.id: alert}


def test_state_of_every_flow_and_open_alerts(
    embedded_dsn: str,
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
    with Store.open(embedded_dsn) as store:
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
    assert rows[0][4] == "8,640 (simulated)"
    assert rows[1] == ("Idle", "no data", "–", "–", "0", "–")
    assert len(rows[0]) == len(status_headings(english))
    assert alert_lines(missed, english) == ["No open alert."]

    assert alarmed.flows[0].state == "alert"
    assert [one.id for one in alarmed.alerts] == [alert.id]
    assert alert_lines(alarmed, chinese)[0].startswith(
        "[0123456789ab] 「账单查询」的「账单总额」自 2026年3月14日 10:42 起变慢"
    )
