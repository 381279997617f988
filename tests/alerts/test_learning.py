"""Learning from the store: history, its digests, a profile that is kept and judged by; killed and taken up again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cxgauge.alerts.announcer import Announcer
from cxgauge.alerts.evaluation_settings import EvaluationSettings
from cxgauge.alerts.evaluator import Evaluator
from cxgauge.alerts.learning import LearningSchedule, learn_from_store
from cxgauge.alerts.lifecycle import LifecycleSettings
from cxgauge.metrics.baseline.baseline import Profile, learn
from cxgauge.metrics.baseline.bytes import profile_from_bytes
from cxgauge.metrics.detection.input import SKETCH_GRID, Fleet, Measurements
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.store.connection import DatabaseSettings
from cxgauge.metrics.store.evaluation import newest_baseline
from cxgauge.metrics.store.store import Store, StoreSettings
from cxgauge.metrics.store.write import StoredPosition
from cxgauge.metrics.verdict import Verdict

DAY, HOUR = 86_400, 3_600
END = 1_767_225_600.0  # 2026-01-01T00:00:00Z, a Thursday
START = END - 4 * DAY
SETTINGS = DetectionSettings(minimum_history_seconds=3_600.0)
SCHEDULE = LearningSchedule()
STEPS = ("total", "details")


def answers(start: float, end: float, seed: int, *, flows: int = 2, a_minute: int = 6, slow: float = 1.0) -> Any:
    """Two steps a flow in two channels, slower by day than by night; one in a hundred answers is wrong."""
    rng = np.random.default_rng(seed)
    keys = [
        SeriesKey(f"flow_{flow}", step, (("channel", channel),), ("right",))
        for flow in range(flows)
        for step in STEPS
        for channel in ("app", "web")
    ]
    size = int((end - start) / 60 * a_minute * len(keys))
    records = np.zeros(size, dtype=RECORD)
    at = np.sort(start + rng.random(size) * (end - start))
    records["observed_at_us"] = (at * 1e6).astype(np.int64)
    records["series"] = rng.integers(0, len(keys), size)
    season = 0.15 * np.sin(2 * np.pi * (at % DAY) / DAY)
    records["duration_seconds"] = slow * np.exp(-0.5 + season + rng.normal(0, 0.4, size))
    wrong = rng.random(size) < 0.01
    records["verdict"] = np.where(wrong, Verdict.WRONG, Verdict.GOOD)
    records["checks"] = np.where(wrong, 2, 1)
    return ObservationBatch(tuple(keys), records)


class Past:
    """A store with a past, whose clock stands still."""

    def __init__(self, store: Store) -> None:
        self.store, self.now = store, END + 600
        store._clock = lambda: self.now

    def write(self, batch: Any) -> None:
        self.store.write([batch], f"past {uuid.uuid4().hex}", StoredPosition(), StoredPosition(1, 1))

    def tidy(self) -> None:
        """What housekeeping does."""
        self.store.compact()
        self.store.digest()

    def learn(self, through: float = END, **named: Any) -> Profile:
        found = learn_from_store(self.store, through, SCHEDULE, SETTINGS, **named)
        assert found is not None
        return found

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.store.connection() as connection:
            return connection.execute(query.encode()).fetchall()

    def event(self, kind: str, start: float, end: float, flow: str = "flow_0") -> None:
        with self.store.connection() as connection:
            connection.execute(
                "INSERT INTO events (at, ended_at, kind, flow, title) VALUES "
                "(to_timestamp(%s), to_timestamp(%s), %s, %s, 'core')",
                [start, end, kind, flow],
            )


def open_past(dsn: str) -> Past:
    store = Store(StoreSettings(DatabaseSettings(dsn, connections_limit=4)))
    store.migrate()
    return Past(store)


@contextmanager
def database(server: str, name: str, template: str) -> Iterator[str]:
    """A database that is a copy of another, dropped afterwards."""
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        try:
            yield make_conninfo(server, dbname=name)
        finally:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def four_days(postgres_server: str) -> Iterator[str]:
    """The name of a database with four days of two flows, added up and digested; nobody is connected to it."""
    name = f"cxgauge_past_{uuid.uuid4().hex[:12]}"
    with database(postgres_server, name, "template0") as dsn:
        found = open_past(dsn)
        found.write(answers(START, END, 1))
        found.tidy()
        found.store.close()
        yield name


@pytest.fixture
def past(postgres_server: str, four_days: str) -> Iterator[Past]:
    """Four days of two flows, added up and digested."""
    with database(postgres_server, f"{four_days}_{uuid.uuid4().hex[:6]}", four_days) as dsn:
        found = open_past(dsn)
        yield found
        found.store.close()


@pytest.fixture
def short(database_dsn: str) -> Iterator[Past]:
    """Eight hours, once on each kind of server, added up and digested but for the last hour."""
    found = open_past(database_dsn)
    found.write(answers(END - 8 * HOUR, END, 1))
    found.now = END - 200
    found.tidy()
    yield found
    found.store.close()


def flatten(value: Any, name: str = "") -> dict[str, Any]:
    if is_dataclass(value) and not isinstance(value, type):
        return {
            key: each
            for item in fields(value)
            for key, each in flatten(getattr(value, item.name), f"{name}.{item.name}").items()
        }
    return {name: value}


def assert_same(left: Profile, right: Profile, atol: float = 0.0) -> None:
    one, other = flatten(replace(left, fleet=right.fleet)), flatten(right)
    assert one.keys() == other.keys()
    assert left.fleet.cells == right.fleet.cells
    for name, value in one.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            np.testing.assert_allclose(value, other[name], atol=atol, rtol=1e-5, err_msg=name)


def of_windows(past: Past, start: float, end: float, settings: DetectionSettings = SETTINGS) -> Profile:
    """What windows themselves teach, each with its histogram."""
    rollup, keys = past.store.read_rollups(start, end)
    numbers = sorted(keys, key=lambda one: (keys[one].flow, keys[one].step, keys[one].dimensions))
    measured = Measurements.from_rollup(rollup, {number: place for place, number in enumerate(numbers)})
    return learn(measured, Fleet.build([keys[one] for one in numbers], SKETCH_GRID), settings, span=(start, end))


def test_digests_teach_what_windows_teach(past: Past) -> None:
    found, expected = past.learn(), of_windows(past, START, END)
    assert found.fleet.scopes == expected.fleet.scopes
    assert (found.span_seconds, found.learnt_until) == (4 * DAY, END)
    np.testing.assert_allclose(found.scale, expected.scale, rtol=0.02)
    np.testing.assert_allclose(found.spread, expected.spread, rtol=0.03)
    np.testing.assert_allclose(found.season.level, expected.season.level, atol=0.02)
    np.testing.assert_allclose(found.traffic, expected.traffic)
    np.testing.assert_allclose(found.pair_rate, expected.pair_rate)
    scopes = len(found.fleet.scopes)
    locations = (found.shift.threshold - expected.shift.threshold)[:, :scopes]
    assert np.median(np.abs(locations)) < 0.15
    assert np.abs(locations).max() < 1.0
    assert found.reasons == expected.reasons
    tested = np.isfinite(expected.count.threshold)
    assert (np.isfinite(found.count.threshold) == tested).all()
    counts = (found.count.threshold - expected.count.threshold)[tested]
    assert np.median(np.abs(counts)) < 0.5


def test_hours_that_are_not_digested_are_read_from_windows(short: Past) -> None:
    digested = short.rows("SELECT count(*) FROM digest_hours WHERE digested_at IS NOT NULL")
    assert digested == [(7,)]
    found = short.learn()
    with short.store.connection() as connection:
        connection.execute("TRUNCATE window_digests, digest_hours")
    without = short.learn()
    assert found.span_seconds == without.span_seconds == 8 * HOUR
    np.testing.assert_allclose(found.traffic, without.traffic)
    np.testing.assert_allclose(found.pair_rate, without.pair_rate)
    np.testing.assert_allclose(found.season.level, without.season.level, atol=0.01)
    np.testing.assert_allclose(found.scale, without.scale, rtol=0.02)
    assert np.median(np.abs(found.shift.threshold - without.shift.threshold)) < 0.2


def test_once_there_are_days_of_digests_the_last_hours_wait(past: Past) -> None:
    past.write(answers(END, END + 2 * HOUR, 2))
    found = past.learn(END + 2 * HOUR)
    assert (found.learnt_until, found.span_seconds) == (END, 4 * DAY)
    past.now += 2 * HOUR
    past.tidy()
    assert past.learn(END + 2 * HOUR).learnt_until == END + 2 * HOUR


def test_several_processes_learn_what_one_learns(past: Past) -> None:
    one = past.learn(processes=1)
    import cxgauge.alerts.learning as module

    assert_same(past.learn(processes=2), one)
    assert module._PORTIONS_ALONE >= 1


def test_one_flow_is_learnt_with_its_share_of_the_budget(past: Past) -> None:
    whole, part = past.learn(), past.learn(flow="flow_1")
    assert {cell.flow for cell in part.fleet.cells} == {"flow_1"}
    mine = [place for place, scope in enumerate(whole.fleet.scopes) if scope.flow == "flow_1"]
    scopes = len(part.fleet.scopes)
    np.testing.assert_allclose(part.shift.threshold[:, :scopes], whole.shift.threshold[:, mine], rtol=1e-4)


def test_series_without_data_in_the_history_are_not_part_of_it(past: Past) -> None:
    old = answers(START - 40 * DAY, START - 40 * DAY + HOUR, 3, flows=3)
    past.write(ObservationBatch(old.series, old.records[old.records["series"] >= 8]))
    past.tidy()
    assert {cell.flow for cell in past.learn().fleet.cells} == {"flow_0", "flow_1"}
    assert learn_from_store(past.store, START - 60 * DAY, SCHEDULE, SETTINGS) is None
    assert past.learn(START - 39 * DAY).fleet.cells[0].flow == "flow_2"


@pytest.mark.parametrize("kind", ["incident", "maintenance"])
def test_incidents_and_maintenance_teach_their_flow_nothing(past: Past, kind: str) -> None:
    begun = END - 30 * HOUR + 100  # not at the edge of a window, nor of a digest's stretch
    past.write(answers(begun, begun + 5 * HOUR, 4, a_minute=60, slow=4.0))
    past.tidy()
    past.event(kind, begun, begun + 5 * HOUR)
    found, quiet = past.learn(), of_windows(past, START, END - 31 * HOUR)
    taught = np.array([cell.flow == "flow_1" for cell in found.fleet.cells])
    seen = found.traffic * 4 * DAY / 60  # observations, of 6 a minute
    assert seen[~taught] == pytest.approx(6 * 60 * (96 - 5), rel=0.02)
    assert seen[taught] == pytest.approx(6 * 60 * 96 + 60 * 60 * 5, rel=0.02)
    np.testing.assert_allclose(found.scale[~taught], quiet.scale[~taught], rtol=0.03)
    difference = found.season.level[..., ~taught] - quiet.season.level[..., ~taught]
    assert np.sqrt((difference**2).mean()) < 0.03
    flow_1 = np.array([scope.flow == "flow_1" for scope in found.fleet.scopes])
    slow = found.shift.noise.slow_variance[: len(flow_1)]
    assert slow[flow_1].min() > 5 * slow[~flow_1].max()


def test_special_days_are_kept_apart(past: Past) -> None:
    settings = replace(SETTINGS, special_days={"2025-12-30": "payday"}, zone="Asia/Shanghai")
    begun = 1_767_024_000.0  # 2025-12-30T00:00+08:00
    past.write(answers(begun, begun + DAY, 5, slow=1.5))
    past.tidy()
    found = learn_from_store(past.store, END, SCHEDULE, settings)
    assert found is not None
    expected = of_windows(past, START, END, settings)
    assert found.special.names.tolist() == expected.special.names.tolist() == ["payday"]
    assert found.special.days.tolist() == [1.0]
    # half of that day's answers are half as slow again, the others are as ever
    assert np.median(found.special.level) == pytest.approx(np.log(1.5) / 2, abs=0.06)
    assert np.sqrt(((found.special.level - expected.special.level) ** 2).mean()) < 0.02
    np.testing.assert_allclose(found.special.volume, expected.special.volume, atol=0.01)
    np.testing.assert_allclose(found.traffic, expected.traffic)


# -- kept, judged by, killed -----------------------------------------------------------------------------------------


def evaluator(past: Past, detection: DetectionSettings = SETTINGS, **learning: Any) -> Evaluator:
    settings = EvaluationSettings(
        grace_seconds=5.0,
        detection=detection,
        learning=LearningSchedule(**{"interval_seconds": 1e9, **learning}),
        lifecycle=LifecycleSettings(remind_seconds=0.0),
    )
    return Evaluator(past.store, {}, settings, Announcer({}, [], ZoneInfo("UTC")), clock=lambda: past.now)


def stored(past: Past) -> Profile:
    with past.store.connection() as connection:
        found = newest_baseline(connection, "fleet")
    assert found is not None
    return profile_from_bytes(found.profile)


def test_history_digest_profile_and_what_is_found_by_it(past: Past) -> None:
    past.now = END + 6
    judge = evaluator(past)
    assert judge.tick().learned
    kept = stored(past)
    assert_same(kept, past.learn())
    past.write(answers(END, END + 10 * 60, 6))
    past.write(answers(END + 10 * 60, END + 40 * 60, 7, slow=1.4))
    past.now = END + 40 * 60 + 6
    judge.tick()
    found = past.rows("SELECT flow, kind, state, extract(epoch FROM started_at)::float8 FROM alerts ORDER BY flow")
    assert {row[:3] for row in found} == {("flow_0", "slower", "firing"), ("flow_1", "slower", "firing")}
    assert all(abs(row[3] - END - 600) <= 180 for row in found)


def test_a_process_killed_while_learning_leaves_nothing_and_is_taken_up_again(past: Past, tmp_path: Path) -> None:
    """The learning process is stopped within a portion, then killed; its own processes end with it."""
    marker = tmp_path / "learning"
    program = f"""
        import os, time
        from cxgauge.alerts import learning
        from cxgauge.metrics.store.connection import DatabaseSettings
        from cxgauge.metrics.store.store import Store, StoreSettings
        from cxgauge.metrics.detection.settings import DetectionSettings

        class Slow:
            def __init__(self, learn):
                self.learn = learn
            def __call__(self, connection, portion, space):
                with open({str(marker)!r}, "a") as file:
                    file.write(f"{{os.getpid()}}\\n")
                time.sleep(600)

        def slowly(settings, learn, portions, processes, original=learning.learn_in_processes):
            return original(settings, Slow(learn), portions, processes)

        if __name__ == "__main__":
            learning.learn_in_processes = slowly
            store = Store(StoreSettings(DatabaseSettings({past.store.settings.database.dsn!r})))
            learning.learn_from_store(store, {END}, learning.LearningSchedule(), DetectionSettings(), processes=2)
    """
    script = tmp_path / "learn.py"
    script.write_text(textwrap.dedent(program), encoding="utf-8")
    process = subprocess.Popen([sys.executable, str(script)])
    until(lambda: marker.exists() and marker.read_text().count("\n") >= 1)
    workers = [int(line) for line in marker.read_text().split()]
    process.kill()
    process.wait(30)
    for worker in workers:
        until(lambda worker=worker: not alive(worker))
    assert past.rows("SELECT count(*) FROM baselines") == [(0,)]
    past.now = END + 6
    assert evaluator(past).tick().learned
    assert past.rows("SELECT count(*) FROM baselines") == [(1,)]


def test_a_learning_process_that_is_ended_from_outside_is_an_error_and_no_baseline(past: Past) -> None:
    def kill_children() -> None:
        own = str(os.getpid())
        while not stop.wait(0.05):
            for each in Path("/proc").glob("[0-9]*/stat"):
                try:
                    fields_ = each.read_text().rpartition(")")[2].split()
                    command = (each.parent / "cmdline").read_bytes()
                except OSError:
                    continue
                if fields_[1] == own and b"spawn_main" in command:
                    os.kill(int(each.parent.name), signal.SIGKILL)

    stop = threading.Event()
    killer = threading.Thread(target=kill_children, daemon=True)
    killer.start()
    try:
        with pytest.raises(BrokenProcessPool):
            past.learn(processes=2)
    finally:
        stop.set()
        killer.join()
    assert past.learn(processes=1).fleet.cells


def test_a_calendar_that_was_changed_is_learnt_and_judged_by_at_once(past: Past) -> None:
    """As a reload does it: a new evaluator with the new settings goes on from the store."""
    past.now = END + 6
    evaluator(past).tick()
    assert stored(past).settings.special_days == {}
    calendar = {"2025-12-30": "payday", "2026-01-01": "payday"}
    changed = replace(SETTINGS, special_days=calendar)
    judge = evaluator(past, changed)
    past.write(answers(END, END + 20 * 60, 8, slow=1.25))
    past.now = END + 20 * 60 + 6
    judge.tick()
    assert past.rows("SELECT kind FROM alerts") == []  # judged as a payday, of which nothing is known yet
    judge.wait_for_learning()
    assert judge.tick().learned
    assert stored(past).settings.special_days == calendar
    assert stored(past).special.names.tolist() == ["payday"]
    before = past.rows("SELECT count(*) FROM baselines")
    judge.tick()
    judge.wait_for_learning()
    assert past.rows("SELECT count(*) FROM baselines") == before  # once is enough


def test_without_the_change_the_same_day_alarms(past: Past) -> None:
    past.now = END + 6
    judge = evaluator(past)
    judge.tick()
    past.write(answers(END, END + 20 * 60, 8, slow=1.25))
    past.now = END + 20 * 60 + 6
    judge.tick()
    assert {row[0] for row in past.rows("SELECT kind FROM alerts")} == {"slower"}


def until(condition: Any) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
