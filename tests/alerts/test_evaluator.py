"""The evaluator on real databases: it finds what was injected, once, however often it is killed."""

import io
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
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
from cxgauge.alerts.learning import LearningSchedule, learn_from_store
from cxgauge.alerts.lifecycle import LifecycleSettings
from cxgauge.metrics.baseline.bytes import profile_from_bytes, profile_to_bytes
from cxgauge.metrics.configuration.notifiers import LogNotifier
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.deviation import Scope
from cxgauge.metrics.specification.flow import parse_flow
from cxgauge.metrics.store.evaluation import newest_baseline, save_detector_state

SETTINGS = EvaluationSettings(
    grace_seconds=5.0,
    learning=LearningSchedule(interval_seconds=1e9, history_seconds=86400.0),
    lifecycle=LifecycleSettings(remind_seconds=0.0),
)
TABLES = ("deviations", "alerts", "alert_transitions", "deliveries", "detector_state", "evaluation_progress")
NEVER_SAME = {"created_at", "updated_at", "delivery_id", "deviation_id"}


def make_evaluator(bank: Any, settings: EvaluationSettings = SETTINGS, **changes: Any) -> Evaluator:
    flows = changes.pop("flows", {})
    announcer = Announcer(flows, [LogNotifier(name="log", type="log")], ZoneInfo("Asia/Shanghai"))
    return Evaluator(bank.store, flows, settings, announcer, clock=lambda: bank.now + 6, **changes)


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


def test_kill_9_at_any_window_changes_nothing(bank: Any) -> None:
    make_evaluator(bank).tick()
    times = story(bank)
    make_evaluator(bank).tick()
    expected = snapshot(bank)
    assert len(expected["alerts"]) == 2
    forget(bank)
    random = np.random.default_rng(7)
    kills: list[int] = []
    judged = 0
    while judged < len(times):
        command = [sys.executable, "-c", PROGRAM, bank.store.settings.database.dsn, str(bank.now)]
        last = int(random.integers(4, 14)) if len(kills) < 5 else None
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            for number, line in enumerate(process.stdout, start=1):
                finished = line == "done\n"
                judged += not finished
                if number == last:
                    time.sleep(float(random.uniform(0.0, 0.08)))  # a window takes some tens of milliseconds
                    process.kill()
                    kills.append(judged)
                    break
                if finished:
                    judged = len(times)
            assert last is not None or process.wait() == 0, process.stderr.read()
            process.kill()
        assert kills or judged, "the process judged nothing"
    assert len(kills) >= 3
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


def test_a_new_baseline_is_learnt_while_an_alert_is_open_which_is_then_followed_to_its_end(bank: Any) -> None:
    settings = replace(SETTINGS, learning=LearningSchedule(interval_seconds=600.0, history_seconds=86400.0))
    evaluator = make_evaluator(bank, settings)
    evaluator.tick()
    bank.write(15)
    evaluator.tick()
    evaluator.wait_for_learning()
    assert evaluator.tick().learned
    learnt = 0
    for _ in range(25):
        bank.write(1, slow=1.6)
        learnt += evaluator.tick().learned
        evaluator.wait_for_learning()
    assert bank.rows("SELECT state FROM alerts") == [("firing",)]
    assert learnt >= 2
    level = evaluator.profile
    assert level is not None
    assert np.exp(level.season.level).max() < 1.15  # the time of the alert has taught nothing
    for _ in range(20):
        bank.write(1)
        evaluator.tick()
        evaluator.wait_for_learning()
    assert bank.rows("SELECT state, resolution FROM alerts") == [("resolved", "recovered")]
    events = [row[0] for row in bank.rows("SELECT message ->> 'event' FROM deliveries ORDER BY delivery_id")]
    assert events == ["firing", "resolved"]


def test_an_unrelated_alert_does_not_keep_other_flows_from_learning(bank: Any) -> None:
    settings = replace(SETTINGS, learning=LearningSchedule(interval_seconds=600.0, history_seconds=86400.0))
    evaluator = make_evaluator(bank, settings)
    evaluator.tick()
    bank.write(20, slow=1.6)
    evaluator.tick()
    assert bank.rows("SELECT flow, state FROM alerts") == [("bill_inquiry", "firing")]
    bank.write(30, slow=1.6)
    bank.now -= 30 * 60
    bank.write(30, flow="transfer")
    evaluator.wait_for_learning()
    bank.now += 60
    evaluator.tick()
    evaluator.wait_for_learning()
    bank.now += 600
    evaluator.tick()
    evaluator.wait_for_learning()
    evaluator.tick()
    profile = evaluator.profile
    assert profile is not None
    known = {cell.flow for cell, seen in zip(profile.fleet.cells, profile.known, strict=True) if seen}
    assert known == {"bill_inquiry", "transfer"}


@pytest.mark.parametrize("kind", ["incident", "maintenance"])
def test_incidents_and_maintenance_teach_nothing(bank: Any, kind: str) -> None:
    start = bank.now
    bank.write(120, slow=3.0)
    with bank.store.connection() as connection:
        connection.execute(
            "INSERT INTO events (at, ended_at, kind, flow, title) VALUES "
            "(to_timestamp(%s), to_timestamp(%s), %s, 'bill_inquiry', 'core')",
            [start, bank.now, kind],
        )
    evaluator = make_evaluator(bank)
    evaluator.tick()
    profile = evaluator.profile
    assert profile is not None
    assert np.exp(profile.season.level).max() < 1.1


def test_a_year_that_is_caught_up_with_is_one_learning() -> None:
    schedule = LearningSchedule(interval_seconds=86_400.0)
    assert not schedule.due(1_000_000.0, 28 * 86_400.0, 1_000_000.0 + 3600)
    assert schedule.due(1_000_000.0, 28 * 86_400.0, 1_000_000.0 + 86_400)
    assert not schedule.due(1_000_000.0, 600.0, 1_000_000.0 + 599)
    assert schedule.due(1_000_000.0, 600.0, 1_000_000.0 + 600)


def test_learning_that_fails_is_tried_again_later_and_judging_goes_on(
    bank: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SETTINGS, learning=LearningSchedule(interval_seconds=7200.0, history_seconds=86400.0))
    evaluator = make_evaluator(bank, settings)
    evaluator.tick()
    calls = []

    def failing(*_arguments: Any, **_named: Any) -> None:
        calls.append(bank.now)
        raise RuntimeError("no memory")

    monkeypatch.setattr("cxgauge.alerts.baselines.learn_from_store", failing)
    bank.write(125)
    for _ in range(13):
        bank.write(1)
        assert evaluator.tick().windows >= 1
        evaluator.wait_for_learning()
    assert len(calls) == 2
    assert calls[1] - calls[0] >= 600


def test_judging_goes_on_while_a_baseline_is_learnt(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(SETTINGS, learning=LearningSchedule(interval_seconds=600.0, history_seconds=86400.0))
    evaluator = make_evaluator(bank, settings)
    evaluator.tick()
    begun, finish = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        begun.set()
        finish.wait(60)
        return learn_from_store(*arguments)

    monkeypatch.setattr("cxgauge.alerts.baselines.learn_from_store", slow)
    bank.write(11)
    evaluator.tick()
    assert begun.wait(60)
    windows = 0
    for _ in range(12):
        bank.write(1, slow=1.6)
        windows += evaluator.tick().windows
    assert windows == 12
    assert bank.rows("SELECT state FROM alerts") == [("firing",)]
    finish.set()
    evaluator.wait_for_learning()
    assert evaluator.tick().learned


@pytest.mark.parametrize("kind", ["slower", "failing"])
def test_an_accepted_level_is_the_new_normal(bank: Any, kind: str) -> None:
    evaluator = make_evaluator(bank, flows={"bill_inquiry": FLOW})
    evaluator.tick()
    worse = {"slow": 1.4} if kind == "slower" else {"failing": 0.06}
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
@pytest.mark.parametrize("worse", [{"slow": 1.35}, {"failing": 0.06}])  # below what is critical: no message between
def test_state_of_another_version_is_begun_anew_and_what_is_open_followed_to_its_end(
    bank: Any, column: str, table: str, worse: dict[str, float]
) -> None:
    make_evaluator(bank).tick()
    bank.write(20, **worse)
    make_evaluator(bank).tick()
    assert bank.rows("SELECT state FROM alerts") == [("firing",)]
    with bank.store.connection() as connection:
        archive = io.BytesIO()
        np.savez(archive, plain=np.frombuffer(b'{"version": 0}', dtype=np.uint8), extra=np.zeros(1, dtype=np.uint8))
        connection.execute(f"UPDATE {table} SET {column} = %s", [archive.getvalue()])
    bank.write(5, **worse)
    done = make_evaluator(bank).tick()
    assert (done.windows, done.through) == (5, bank.now)
    assert bank.rows("SELECT state FROM alerts") == [("firing",)]
    bank.write(40)
    make_evaluator(bank).tick()
    assert bank.rows("SELECT state, resolution FROM alerts") == [("resolved", "recovered")]
    events = [row[0] for row in bank.rows("SELECT message ->> 'event' FROM deliveries ORDER BY delivery_id")]
    assert events == ["firing", "resolved"]


# --- reported, not paged ---------------------------------------------------------------------------------


def test_improvements_are_recorded_and_nobody_is_told(bank: Any) -> None:
    evaluator = make_evaluator(bank)
    with bank.store.connection() as connection:
        connection.execute("TRUNCATE window_rollups, hour_rollups, observations")
    bank.write(360, failing=0.05)
    evaluator.tick()
    bank.write(60, slow=0.7, failing=0.0)
    evaluator.tick()
    found = bank.rows("SELECT DISTINCT kind, step FROM deviations WHERE step IS NOT NULL AND dimensions = '{}'")
    assert ("faster", "total") in found
    assert ("improving", "details") in found
    rows = bank.rows(
        "SELECT effect_low, effect_high, before, after, observations FROM deviations "
        "WHERE kind = 'improving' AND step = 'details' AND dimensions = '{}'"
    )
    assert all(low < high < 0 and after < before and count > 0 for low, high, before, after, count in rows)
    assert bank.rows("SELECT count(*) FROM alerts") == [(0,)]
    assert bank.rows("SELECT count(*) FROM deliveries") == [(0,)]


# --- taken for normal ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("worse", "kind"), [({"slow": 1.6}, "slower"), ({"failing": 0.06}, "failing")])
def test_a_level_that_lasts_ends_its_alert_in_words(bank: Any, worse: dict[str, float], kind: str) -> None:
    settings = replace(SETTINGS, detection=replace(SETTINGS.detection, rebase_seconds=2400.0))
    evaluator = make_evaluator(bank, settings, flows={"bill_inquiry": FLOW})
    evaluator.tick()
    bank.write(80, **worse)
    evaluator.tick()
    (alert,) = alerts(bank).values()
    assert (alert.lead.kind.value, alert.state, alert.resolution, alert.accepted_by) == (
        kind, "resolved", "accepted", None,
    )  # fmt: skip
    ends = bank.rows(
        f"SELECT DISTINCT details ->> 'ends', evidence ->> 'rebased' FROM deviations WHERE kind = 'recovered' "
        f"AND details ->> 'ends' = '{kind}'"
    )
    assert ends == [(kind, "1.0")]
    texts = [row[0] for row in bank.rows("SELECT message ->> 'headline' FROM deliveries ORDER BY delivery_id")]
    assert len(texts) == 2
    assert "has become the new normal" in texts[1]


def test_what_a_person_accepts_is_recorded_as_taken_for_normal(bank: Any) -> None:
    evaluator = make_evaluator(bank)
    evaluator.tick()
    bank.write(20, slow=1.5)
    evaluator.tick()
    (alert,) = alerts(bank).values()
    announcer = Announcer({}, [], ZoneInfo("Asia/Shanghai"))
    Actions(bank.store, {}, SETTINGS.lifecycle, announcer, lambda: bank.now + 6).accept(alert.id, "wang", "agreed")
    bank.write(2, slow=1.5)
    evaluator.tick()
    ends = bank.rows(
        "SELECT DISTINCT details ->> 'ends', evidence ->> 'rebased', evidence ->> 'by_person' FROM deviations "
        "WHERE kind = 'recovered'"
    )
    assert ends == [("slower", "1.0", "1.0")]


# --- sizes estimated anew --------------------------------------------------------------------------------


def test_the_size_of_an_open_alert_is_estimated_anew_and_told_at_the_end_only(bank: Any) -> None:
    evaluator = make_evaluator(bank)
    evaluator.tick()
    bank.write(70, slow=1.3)
    evaluator.tick()
    (alert,) = alerts(bank).values()
    assert alert.state == "firing"
    sizes = [np.exp(size.effect) for size in alert.history]
    assert len(sizes) >= 4
    assert sizes[-1] == pytest.approx(1.3, abs=0.06)
    last = alert.history[-1]
    assert last.effect_low < np.log(1.3) < last.effect_high
    assert last.observations > alert.history[0].observations
    assert alert.lead.effect == last.effect
    assert last.customers is not None
    bank.write(30)
    evaluator.tick()
    messages = bank.rows("SELECT message ->> 'event', message::text FROM deliveries ORDER BY delivery_id")
    assert [row[0] for row in messages] == ["firing", "resolved"]
    assert f"{(sizes[-1] - 1) * 100:.0f} %" in messages[1][1]


# --- one cause, one alert ----------------------------------------------------------------------------------


FLOW = parse_flow(
    """
name: bill_inquiry
title: {en: Bill inquiry, zh: 账单查询}
owner: cards
dimensions: [{name: app_version, limit: 20}, {name: channel, values: [app, web]}]
steps:
  - {name: total, title: {en: Total, zh: 总额}, timeliness: {target: 3s, objective: 0.95}}
  - {name: details, title: {en: Details, zh: 明细}, timeliness: {target: 3s, objective: 0.95}}
"""
)


def deaf(bank: Any, is_deaf: Callable[[Scope], bool]) -> None:
    """Make a baseline whose tests of some scopes never cross their thresholds, so that others are reported first."""
    with bank.store.connection() as connection:
        stored = newest_baseline(connection, "fleet")
        assert stored is not None
        profile = profile_from_bytes(stored.profile)
        scopes = np.array([is_deaf(scope) for scope in profile.fleet.scopes])
        channels = np.array([is_deaf(profile.fleet.scopes[channel.scope]) for channel in profile.fleet.channels])
        shift, count = profile.shift, profile.count
        high = replace(shift, threshold=np.where(np.tile(scopes, 3), 1e6, shift.threshold))
        rates = np.concatenate([np.repeat(scopes, 2), channels])
        profile = replace(profile, shift=high, count=replace(count, threshold=np.where(rates, np.inf, count.threshold)))
        connection.execute("UPDATE baselines SET profile = %s", [profile_to_bytes(profile)])


@pytest.mark.parametrize(
    ("worse", "guilty", "kind"),
    [
        ({"slow": 1.25}, "total", "slower"),
        ({"slow_details": 1.25}, "details", "slower"),
        ({"failing": 0.05}, "details", "failing"),
    ],
)
def test_the_guilty_step_leads_though_only_the_whole_flow_is_reported(
    bank: Any, worse: dict[str, float], guilty: str, kind: str
) -> None:
    make_evaluator(bank).tick()
    deaf(bank, lambda scope: scope.step is not None)
    evaluator = make_evaluator(bank, flows={"bill_inquiry": FLOW})
    bank.write(30, **worse)
    evaluator.tick()
    found = [alert_from_json(row[0]) for row in bank.rows("SELECT document::text FROM alerts")]
    assert [(alert.scope.step, alert.lead.kind.value) for alert in found] == [(guilty, kind)]
    assert {member.deviation.scope.step for member in found[0].members} == {None, guilty}
    if kind == "failing":
        assert found[0].scope.check == "details_present"
    bank.write(60)
    evaluator.tick()
    assert bank.rows("SELECT state, resolution FROM alerts") == [("resolved", "recovered")]
    told = [row[0] for row in bank.rows("SELECT message ->> 'event' FROM deliveries ORDER BY delivery_id")]
    assert told == ["firing", "resolved"]


@pytest.mark.parametrize("silent", ["total", "details", None])
def test_the_first_guilty_step_leads_whatever_is_reported_first(bank: Any, silent: str | None) -> None:
    make_evaluator(bank).tick()
    deaf(bank, lambda scope: scope.step == silent)
    evaluator = make_evaluator(bank, flows={"bill_inquiry": FLOW})
    bank.write(30, slow=1.25, slow_details=1.25)
    evaluator.tick()
    found = [alert_from_json(row[0]) for row in bank.rows("SELECT document::text FROM alerts")]
    assert [alert.scope.step for alert in found] == ["total"]
    assert len({member.deviation.scope.step for member in found[0].members}) >= 2


def test_a_step_that_is_well_is_not_blamed_for_a_later_one(bank: Any) -> None:
    evaluator = make_evaluator(bank, flows={"bill_inquiry": FLOW})
    evaluator.tick()
    bank.write(30, slow_details=1.4)
    evaluator.tick()
    found = [alert_from_json(row[0]) for row in bank.rows("SELECT document::text FROM alerts")]
    assert [alert.scope.step for alert in found] == ["details"]
    assert "total" not in {member.deviation.scope.step for member in found[0].members}


# --- the bank's calendar -----------------------------------------------------------------------------------


def calendar_settings(**changes: Any) -> EvaluationSettings:
    detection = DetectionSettings(zone="Asia/Shanghai", minimum_history_seconds=3600.0, **changes)
    learning = LearningSchedule(interval_seconds=1e9, history_seconds=28 * 86400.0)
    return replace(SETTINGS, detection=detection, learning=learning)


def begin_at(bank: Any, text: str) -> None:
    """Let the bank begin at a time in Shanghai, without a past."""
    with bank.store.connection() as connection:
        connection.execute("TRUNCATE window_rollups, hour_rollups, observations")
    bank.now = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Asia/Shanghai")).timestamp()


@pytest.mark.parametrize(
    ("settings", "alarmed"),
    [
        (calendar_settings(country="CN"), False),
        (calendar_settings(workdays=("2025-09-28",)), False),  # the bank's own word, without a country
        (calendar_settings(), True),
    ],
)
def test_a_make_up_sunday_is_judged_as_a_workday(bank: Any, settings: EvaluationSettings, alarmed: bool) -> None:
    begin_at(bank, "2025-09-14T00:00")  # a Sunday
    for days, level in ((1, 0.65), (5, 1.0), (2, 0.65), (5, 1.0), (1, 0.65)):
        bank.write(1440 * days, a_minute=2, slow=level, slow_details=level)
    evaluator = make_evaluator(bank, settings)
    evaluator.tick()
    bank.write(240, a_minute=2)  # 28 September, worked for the National Day
    evaluator.tick()
    kinds = {row[0] for row in bank.rows("SELECT kind FROM alerts")}
    assert kinds == ({"slower"} if alarmed else set())


@pytest.mark.parametrize("known", [True, False])
def test_a_busy_and_slow_payday_makes_no_alert_if_the_calendar_knows_it(bank: Any, known: bool) -> None:
    begin_at(bank, "2025-09-06T00:00")
    bank.write(4 * 1440, a_minute=2)
    before = calendar_settings()
    evaluator = make_evaluator(bank, before)
    evaluator.tick()  # learnt before anybody entered the payday: it counts from the next start on
    days = {"2025-09-10": "payday"} if known else {}
    evaluator = make_evaluator(bank, calendar_settings(special_days=days))
    bank.write(300, a_minute=10, slow=1.25, slow_details=1.25)
    evaluator.tick()
    assert (bank.rows("SELECT count(*) FROM alerts") == [(0,)]) is known
