"""The evaluator on real databases: it finds what was injected, once, however often it is killed."""

import io
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
import pytest

from cxgauge.alerts.actions import Actions
from cxgauge.alerts.alert import alert_from_json
from cxgauge.alerts.announcer import Announcer
from cxgauge.alerts.evaluation_settings import EvaluationSettings
from cxgauge.alerts.evaluator import Evaluator
from cxgauge.alerts.learning import LearningSchedule
from cxgauge.alerts.lifecycle import LifecycleSettings
from cxgauge.metrics.configuration.notifiers import LogNotifier
from cxgauge.metrics.store.alerts import save_detector_state

SETTINGS = EvaluationSettings(
    grace_seconds=5.0,
    learning=LearningSchedule(interval_seconds=1e9, history_seconds=86400.0),
    lifecycle=LifecycleSettings(remind_seconds=0.0),
)
TABLES = ("deviations", "alerts", "alert_transitions", "deliveries", "detector_state", "evaluation_progress")
NEVER_SAME = {"created_at", "updated_at", "delivery_id", "deviation_id"}


def make_evaluator(bank: Any, settings: EvaluationSettings = SETTINGS, **changes: Any) -> Evaluator:
    announcer = Announcer({}, [LogNotifier(name="log", type="log")], ZoneInfo("Asia/Shanghai"))
    return Evaluator(bank.store, {}, settings, announcer, clock=lambda: bank.now + 6, **changes)


QUIET, BAD, AFTER = 6, 20, 22


def story(bank: Any) -> list[float]:
    """Some quiet minutes, some of a slow version and missing details, some after: the ends of the windows."""
    start = bank.now
    bank.write(QUIET)
    bank.write(BAD, slow_version=1.5, failing=0.06)
    bank.write(AFTER)
    return [start + 60 * (minute + 1) for minute in range(QUIET + BAD + AFTER)]


def snapshot(bank: Any) -> dict[str, list[Any]]:
    """Everything the evaluation left behind, in columns that a replay must reproduce."""
    found: dict[str, list[Any]] = {}
    with bank.store.connection() as connection:
        for table in TABLES:
            cursor = connection.execute(f"SELECT * FROM {table}")
            names = [column.name for column in cursor.description or ()]
            keep = [index for index, name in enumerate(names) if name not in NEVER_SAME]
            found[table] = sorted(repr([row[index] for index in keep]) for row in cursor)
    return found


def forget(bank: Any) -> None:
    with bank.store.connection() as connection:
        connection.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")


def alerts(bank: Any) -> dict[tuple[str, str | None, str | None], Any]:
    found = [alert_from_json(row[0]) for row in bank.rows("SELECT document::text FROM alerts")]
    return {(alert.lead.kind.value, alert.scope.step, alert.scope.check): alert for alert in found}


def test_what_was_injected_is_found_told_and_ended(any_bank: Any) -> None:
    bank = any_bank
    evaluator = make_evaluator(bank)
    first = evaluator.tick()
    assert (first.learned, first.windows, first.through) == (True, 0, bank.now)
    with bank.store.connection() as connection:
        for minutes, flow, title in ((-3, None, "app 8.2.0"), (-90, None, "too early"), (0, "transfer", "elsewhere")):
            connection.execute(
                "INSERT INTO events (at, kind, flow, title) VALUES (to_timestamp(%s), 'deployment', %s, %s)",
                [bank.now + 60 * (QUIET + minutes), flow, title],
            )
    story(bank)
    done = evaluator.tick()
    assert (done.windows, done.through, done.lag_seconds) == (QUIET + BAD + AFTER, bank.now, 6.0)
    found = alerts(bank)
    assert {key[0] for key in found} == {"slower", "failing"}
    slower = next(alert for key, alert in found.items() if key[0] == "slower")
    assert first.through is not None
    began = first.through + QUIET * 60
    assert abs(slower.lead.started_at - began) <= 180
    assert slower.resolution == "recovered"
    assert ("app_version", "8.2.0") in slower.attribution.contributions[0].dimensions
    assert [(event.kind, event.title) for event in slower.nearby] == [("deployment", "app 8.2.0")]
    failing = found["failing", "details", "details_present"]
    assert failing.attribution.concentration == "everyone"
    assert 0 < failing.impact.customers <= failing.impact.customers_seen
    events = bank.rows("SELECT message ->> 'event' FROM deliveries ORDER BY delivery_id")
    assert [row[0] for row in events].count("firing") == 2
    assert [row[0] for row in events].count("resolved") == 2


def test_a_quiet_hour_makes_no_alert(bank: Any) -> None:
    evaluator = make_evaluator(bank)
    evaluator.tick()
    bank.write(60)
    assert evaluator.tick().deviations == ()
    assert bank.rows("SELECT count(*) FROM alerts") == [(0,)]


def test_restarting_between_any_two_windows_changes_nothing(bank: Any) -> None:
    make_evaluator(bank).tick()
    times = story(bank)
    whole = make_evaluator(bank)
    whole.tick()
    expected = snapshot(bank)
    assert len(expected["alerts"]) == 2
    forget(bank)
    for at in times:
        bank.now = at
        make_evaluator(bank).tick()
    assert snapshot(bank) == expected


class Killed(BaseException):
    """Stands for a process that ends between two statements."""


def test_dying_in_the_middle_of_a_window_changes_nothing(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make_evaluator(bank).tick()
    story(bank)
    make_evaluator(bank).tick()
    expected = snapshot(bank)
    forget(bank)
    import cxgauge.alerts.evaluator as module

    # die once before and once after each of these, at every window in turn
    places = ["save_lifecycle", "enqueue", "save_deviation", "save_detector_state", "set_progress"]
    state = {"calls": 0, "deaths": 0}

    def dying(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            state["calls"] += 1
            if state["calls"] % 23 == 0:
                state["deaths"] += 1
                if state["deaths"] % 2:
                    original(*arguments)
                raise Killed
            return original(*arguments)

        return call

    for place in places:
        monkeypatch.setattr(module, place, dying(getattr(module, place)))
    evaluator = make_evaluator(bank)
    for _ in range(100):
        try:
            evaluator.tick()
            break
        except Killed:
            if state["deaths"] % 3:
                evaluator = make_evaluator(bank)
    assert state["deaths"] >= 8
    assert snapshot(bank) == expected


def test_a_database_that_drops_the_connection_changes_nothing(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make_evaluator(bank).tick()
    story(bank)
    make_evaluator(bank).tick()
    expected = snapshot(bank)
    forget(bank)
    import cxgauge.alerts.evaluator as module

    original, calls = save_detector_state, [0]

    def dropping(connection: Any, *arguments: Any) -> None:
        calls[0] += 1
        original(connection, *arguments)
        if calls[0] % 10 == 0:
            with bank.store.connection() as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])

    monkeypatch.setattr(module, "save_detector_state", dropping)
    evaluator = make_evaluator(bank)
    drops = 0
    for _ in range(100):
        try:
            evaluator.tick()
            break
        except psycopg.OperationalError:
            drops += 1
    assert drops >= 4
    assert snapshot(bank) == expected


PROGRAM = textwrap.dedent(
    """
    import sys
    from zoneinfo import ZoneInfo
    from cxgauge.alerts.announcer import Announcer
    from cxgauge.alerts.evaluation_settings import EvaluationSettings
    from cxgauge.alerts.evaluator import Evaluator
    from cxgauge.alerts.learning import LearningSchedule
    from cxgauge.alerts.lifecycle import LifecycleSettings
    from cxgauge.metrics.configuration.notifiers import LogNotifier
    from cxgauge.metrics.store.store import Store
    dsn, now = sys.argv[1], float(sys.argv[2])
    settings = EvaluationSettings(
        grace_seconds=5.0,
        learning=LearningSchedule(interval_seconds=1e9, history_seconds=86400.0),
        lifecycle=LifecycleSettings(remind_seconds=0.0),
        catch_up_seconds=0.0,
        late_seconds=1e9,
    )
    announcer = Announcer({}, [LogNotifier(name="log", type="log")], ZoneInfo("Asia/Shanghai"))
    evaluator = Evaluator(Store.open(dsn), {}, settings, announcer, clock=lambda: now + 6)
    while (through := evaluator.tick().through) != now:
        print(through, flush=True)
    print("done", flush=True)
    """
)


def test_kill_9_changes_nothing(bank: Any) -> None:
    make_evaluator(bank).tick()
    story(bank)
    make_evaluator(bank).tick()
    expected = snapshot(bank)
    forget(bank)
    finished, kills = False, 0
    while not finished:
        command = [sys.executable, "-c", PROGRAM, bank.store.settings.database.dsn, str(bank.now)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for number, line in enumerate(process.stdout):
                finished = line == "done\n"
                if number >= 15 + kills and kills < 3:
                    time.sleep(0.001 * kills)
                    process.kill()
                    kills += 1
                    break
            process.kill()
    assert kills >= 2
    assert snapshot(bank) == expected


def test_two_evaluators_share_the_work_without_doubling_it(bank: Any) -> None:
    make_evaluator(bank).tick()
    times = story(bank)
    make_evaluator(bank).tick()
    expected = snapshot(bank)
    forget(bank)
    first, second = make_evaluator(bank), make_evaluator(bank)
    windows = 0
    for number, at in enumerate(times):
        bank.now = at
        windows += (first if number % 3 else second).tick().windows
        windows += (second if number % 3 else first).tick().windows
    assert snapshot(bank) == expected


def test_nothing_to_learn_from_yet(bank: Any) -> None:
    with bank.store.connection() as connection:
        connection.execute("TRUNCATE window_rollups, hour_rollups, observations")
    done = make_evaluator(bank).tick()
    assert (done.windows, done.through, done.learned) == (0, None, False)


def test_silence_of_everything_is_one_alert_and_its_end_is_told(bank: Any) -> None:
    evaluator = make_evaluator(bank)
    evaluator.tick()
    bank.write(5)
    evaluator.tick()
    silent_since = bank.now
    for _ in range(20):
        bank.now += 60
        evaluator.tick()
    found = [alert_from_json(row[0]) for row in bank.rows("SELECT document::text FROM alerts")]
    (alert,) = found
    assert (alert.flow, alert.scope.step, alert.state) == ("", "source", "firing")
    assert alert.lead.started_at == silent_since
    assert {member.deviation.kind.value for member in alert.members} == {"silent"}
    assert len(alert.members) >= 2
    bank.write(3)
    evaluator.tick()
    assert [row[0] for row in bank.rows("SELECT state FROM alerts")] == ["resolved"]


def test_a_late_evaluation_is_an_alert_until_it_has_caught_up(bank: Any) -> None:
    settings = EvaluationSettings(
        grace_seconds=5.0, learning=SETTINGS.learning, lifecycle=SETTINGS.lifecycle, catch_up_seconds=0.0
    )
    evaluator = make_evaluator(bank, settings)
    evaluator.tick()
    bank.write(30)
    first = evaluator.tick()
    assert (first.windows, first.lag_seconds) == (1, 29 * 60 + 6)
    (row,) = bank.rows("SELECT document::text FROM alerts")
    assert alert_from_json(row[0]).scope.step == "evaluation"
    while evaluator.tick().lag_seconds > 300:
        pass
    evaluator.tick()
    assert [row[0] for row in bank.rows("SELECT state FROM alerts")] == ["resolved"]


def test_windows_wait_for_what_is_still_to_be_written(bank: Any) -> None:
    evaluator = make_evaluator(bank, delivered_through=lambda: bank.now - 100)
    assert evaluator.tick().through == bank.now - 120
    bank.write(10)
    evaluator = make_evaluator(bank, delivered_through=lambda: 0.0)
    assert evaluator.tick().through == bank.now - 300 + 6 - 6


def test_a_new_baseline_is_learnt_when_due_and_not_while_an_alert_is_open(bank: Any) -> None:
    settings = EvaluationSettings(
        grace_seconds=5.0,
        learning=LearningSchedule(interval_seconds=600.0, history_seconds=86400.0),
        lifecycle=SETTINGS.lifecycle,
    )
    evaluator = make_evaluator(bank, settings)
    evaluator.tick()
    bank.write(15)
    evaluator.tick()
    evaluator.wait_for_learning()
    assert evaluator.tick().learned
    for _ in range(25):
        bank.write(1, slow=1.6)
        evaluator.tick()
        evaluator.wait_for_learning()
    assert bank.rows("SELECT state FROM alerts") == [("firing",)]
    assert bank.rows("SELECT count(*) FROM baselines") == [(2,)]


@pytest.mark.parametrize("kind", ["slower", "failing"])
def test_an_accepted_level_is_the_new_normal(bank: Any, kind: str) -> None:
    evaluator = make_evaluator(bank)
    evaluator.tick()
    worse = {"slow": 1.5} if kind == "slower" else {"failing": 0.06}
    bank.write(20, **worse)
    evaluator.tick()
    (alert,) = alerts(bank).values()
    assert (alert.lead.kind.value, alert.state) == (kind, "firing")
    announcer = Announcer({}, [LogNotifier(name="log", type="log")], ZoneInfo("Asia/Shanghai"))
    actions = Actions(bank.store, {}, SETTINGS.lifecycle, announcer, lambda: bank.now + 6)
    assert actions.accept(alert.id[:5], "wang", "agreed").resolution == "accepted"
    bank.write(40, **worse)
    evaluator.tick()
    assert [row[0] for row in bank.rows("SELECT state FROM alerts")] == ["resolved"]
    much_worse = {"slow": 2.4} if kind == "slower" else {"failing": 0.3}
    bank.write(20, **much_worse)
    evaluator.tick()
    states = sorted(row[0] for row in bank.rows("SELECT state FROM alerts"))
    assert states == ["firing", "resolved"]
    events = [row[0] for row in bank.rows("SELECT message ->> 'event' FROM deliveries ORDER BY delivery_id")]
    assert events == ["firing", "resolved", "firing"]


@pytest.mark.parametrize(("column", "table"), [("profile", "baselines"), ("state", "detector_state")])
def test_state_of_another_version_is_begun_anew(bank: Any, column: str, table: str) -> None:
    make_evaluator(bank).tick()
    bank.write(2)
    make_evaluator(bank).tick()
    with bank.store.connection() as connection:
        archive = io.BytesIO()
        np.savez(archive, plain=np.frombuffer(b'{"version": 0}', dtype=np.uint8), extra=np.zeros(1, dtype=np.uint8))
        connection.execute(f"UPDATE {table} SET {column} = %s", [archive.getvalue()])
    bank.write(5)
    done = make_evaluator(bank).tick()
    assert (done.windows, done.through) == (5, bank.now)
