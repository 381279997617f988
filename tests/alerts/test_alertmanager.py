"""Alertmanager: against a local service for the contract, and against the real one for what it makes of it."""

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cxgauge.alerts.alertmanager import AlertmanagerSender
from cxgauge.alerts.announcer import Announcer
from cxgauge.alerts.lifecycle import Lifecycle, LifecycleSettings, severity
from cxgauge.alerts.notifier import Outcome
from cxgauge.alerts.records import load_lifecycle, save_lifecycle
from cxgauge.metrics.configuration.notifiers import AlertmanagerNotifier
from cxgauge.metrics.deviation import Deviation, DeviationKind
from cxgauge.metrics.store.connection import DatabaseSettings
from cxgauge.metrics.store.store import Store, StoreSettings

MakeDeviation = Callable[..., Deviation]
RESEND = 60.0


@pytest.fixture
def store(migrated_embedded_dsn: str) -> Iterator[Store]:
    with Store(StoreSettings(DatabaseSettings(migrated_embedded_dsn, connections_limit=4))) as found:
        found.migrate()
        yield found


@pytest.fixture
def happen(store: Store) -> Callable[..., Lifecycle]:
    """Let deviations reach the stored alerts, as the evaluator does."""

    def act(now: float, *deviations: Deviation) -> Lifecycle:
        with store.connection() as connection, connection.transaction():
            settings = LifecycleSettings(settle_seconds=0, remind_seconds=0)
            lifecycle = load_lifecycle(connection, settings, {}, severity, now)
            before = dict(lifecycle.alerts)
            transitions = lifecycle.apply(deviations, now)
            for transition in transitions:
                lifecycle.mark_told(transition.alert_id)
            save_lifecycle(connection, before, lifecycle, transitions)
        return lifecycle

    return act


def over(deviation: Deviation) -> Deviation:
    return replace(deviation, kind=DeviationKind.RECOVERED, ends=deviation.kind)


@pytest.fixture
def sender(store: Store) -> Iterator[Callable[..., AlertmanagerSender]]:
    """Make senders as after a restart; closed when the test is over."""
    made: list[AlertmanagerSender] = []

    def make(url: str, clock: Callable[[], float], resend: str = "60s", **changes: Any) -> AlertmanagerSender:
        values = {"name": "am", "type": "alertmanager", "url": url, "resend": resend, "timeout": "2s", **changes}
        settings = AlertmanagerNotifier.model_validate(values)
        announcer = Announcer({}, [settings], ZoneInfo("Asia/Shanghai"), "en", "https://cx.example")
        made.append(AlertmanagerSender(store, settings, announcer, clock))
        return made[-1]

    yield make
    for each in made:
        each.close()


def outcome(am: AlertmanagerSender) -> Outcome | None:
    delivery = am.step().delivery
    return delivery.outcome if delivery else None


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_what_is_posted(
    sender: Any, happen: Any, service: Any, clock: Any, deviation: MakeDeviation, golden: Any, tmp_path: Path
) -> None:
    clock.now = 1_767_235_500.0
    happen(clock.now, deviation(dimensions=[("region", "north")]), deviation("failing", check="verdict:wrong"))
    (tmp_path / "token").write_text("t0k3n")
    posted = sender(service.url, clock, token=f"file:{tmp_path}/token").step()
    assert (posted.firing, posted.resolved) == (2, 0)
    (request,) = service.requests
    assert request.path == "/api/v2/alerts"
    assert request.headers["authorization"] == "Bearer t0k3n"
    golden("alertmanager.json", {"alerts": sorted(request.json(), key=lambda each: each["labels"]["alertname"])})


def test_firing_is_resent_and_ends_by_itself_no_sooner_than_three_intervals(
    sender: Any, happen: Any, service: Any, clock: Any, deviation: MakeDeviation
) -> None:
    happen(clock.now, deviation())
    am = sender(service.url, clock)
    labels = []
    for _ in range(3):
        am.step()
        (body,) = service.requests[-1].json()
        assert seconds(body["endsAt"]) >= clock.now + 3 * RESEND
        assert seconds(body["startsAt"]) == happen(clock.now).alerts[body["labels"]["cxgauge_alert"]].fired_at
        labels.append(body["labels"])
        clock.advance(RESEND)
    assert labels[0] == labels[1] == labels[2]


def test_labels_stay_when_the_severity_grows(
    sender: Any, happen: Any, service: Any, clock: Any, deviation: MakeDeviation
) -> None:
    am = sender(service.url, clock)
    happen(clock.now, deviation(ratio=1.2))
    am.step()
    happen(clock.now + 60, deviation(ratio=1.9))
    am.step()
    first, second = (request.json()[0]["labels"] for request in service.requests)
    assert first == second
    assert first["severity"] == "warning"


def test_the_end_is_resent_for_a_quarter_of_an_hour(
    sender: Any, happen: Any, service: Any, clock: Any, deviation: MakeDeviation
) -> None:
    am = sender(service.url, clock)
    happen(clock.now, deviation())
    am.step()
    ended = clock.advance(120)
    happen(ended, over(deviation()))
    posts = 0
    for _ in range(40):
        posted = am.step()
        if posted.resolved:
            posts += 1
            assert seconds(service.requests[-1].json()[0]["endsAt"]) == ended
        clock.advance(RESEND)
    assert posts == 15  # one a minute


def test_an_alert_that_came_and_went_while_it_was_away_is_told_of(
    sender: Any, happen: Any, service: Any, clock: Any, deviation: MakeDeviation
) -> None:
    am = sender("http://127.0.0.1:1", clock)
    happen(clock.now, deviation())
    assert outcome(am) is Outcome.RETRY
    happen(clock.advance(300), over(deviation()))
    assert outcome(am) is Outcome.RETRY
    clock.advance(7200)
    am = sender(service.url, clock)  # and we were restarted
    assert (am.step().firing, am.step().resolved) == (1, 0)
    clock.advance(RESEND)
    assert (am.step().resolved, am.step().firing) == (1, 0)


def test_a_restart_repeats_and_does_not_double(
    sender: Any, happen: Any, service: Any, clock: Any, deviation: MakeDeviation
) -> None:
    happen(clock.now, deviation())
    sender(service.url, clock).step()
    clock.advance(10)
    sender(service.url, clock).step()
    first, second = (request.json()[0] for request in service.requests)
    assert (first["labels"], first["startsAt"]) == (second["labels"], second["startsAt"])


def test_pending_and_unwanted_alerts_are_not_posted(
    sender: Any, happen: Any, service: Any, clock: Any, deviation: MakeDeviation
) -> None:
    happen(clock.now, deviation())
    assert sender(service.url, clock, severity_at_least="critical").step().delivery is None
    assert service.requests == []


CONFIG = """
route:
  receiver: chat
  group_by: [alertname, cxgauge_alert]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
receivers:
  - name: chat
    webhook_configs:
      - url: {url}
        send_resolved: true
"""


def wait_until(met: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not met():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def statuses(service: Any) -> list[tuple[str, str]]:
    """What the real Alertmanager told its receiver: status and our alert's id, in order."""
    return [
        (alert["status"], alert["labels"]["cxgauge_alert"])
        for request in service.requests
        for alert in request.json()["alerts"]
    ]


@pytest.mark.alertmanager
def test_the_real_one_tells_once_and_tells_the_end(
    alertmanager: Any, sender: Any, happen: Any, service: Any, deviation: MakeDeviation
) -> None:
    server = alertmanager(CONFIG.format(url=service.url))
    now = time.time()
    began = deviation(began=now - 180)
    (alert,) = happen(now, began).alerts.values()
    am = sender(server.url, time.time, resend="1s")
    assert outcome(am) is Outcome.SENT
    wait_until(lambda: ("firing", alert.id) in statuses(service), "no notification")
    (active,) = server.get("/api/v2/alerts")
    assert active["labels"]["kind"] == "slower"
    assert active["annotations"]["description"].startswith("bill_inquiry got slower")
    for _ in range(3):
        am.step()
    happen(time.time(), over(began))
    time.sleep(1.0)  # shown as firing for at least one interval
    wait_until(lambda: am.step().resolved == 1, "no end")
    wait_until(lambda: ("resolved", alert.id) in statuses(service), "no end told")
    assert statuses(service) == [("firing", alert.id), ("resolved", alert.id)]


@pytest.mark.alertmanager
def test_the_real_one_being_down_loses_nothing_and_doubles_nothing(
    alertmanager: Any, sender: Any, happen: Any, service: Any, deviation: MakeDeviation
) -> None:
    server = alertmanager(CONFIG.format(url=service.url))
    now = time.time()
    lasting, brief = deviation(began=now - 180), deviation(flow="transfer", step="amount", began=now - 180)
    am = sender(server.url, time.time, resend="1s")
    (first,) = happen(now, lasting).alerts.values()
    am.step()
    wait_until(lambda: ("firing", first.id) in statuses(service), "no notification")
    server.stop()
    second = next(alert for alert in happen(now, brief).alerts.values() if alert.flow == "transfer")
    assert outcome(am) is Outcome.RETRY
    happen(now + 1, over(brief))
    assert outcome(am) is Outcome.RETRY
    # the same process anew, on its own data: Alertmanager remembers what it told
    with subprocess.Popen(server.process.args, cwd=server.directory, stderr=subprocess.DEVNULL) as again:
        try:
            deadline = time.monotonic() + 60
            while ("resolved", second.id) not in statuses(service):
                am.step()
                time.sleep(0.2)
                assert time.monotonic() < deadline, statuses(service)
        finally:
            again.terminate()
    told = statuses(service)
    assert told.count(("firing", second.id)) == 1
    assert told.count(("resolved", second.id)) == 1
    assert ("resolved", first.id) not in told
