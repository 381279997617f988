"""Digests of windows: they say what the windows say, whenever and however often they are made."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cxgauge.metrics.digest.day import BIN_SECONDS, DayDigests
from cxgauge.metrics.digest.making import put_hours
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey, Source
from cxgauge.metrics.rollup import Rollup, regroup, roll_up
from cxgauge.metrics.store.digests import Digester, DigestHistory, digested_hours, read_history
from cxgauge.metrics.store.named_queries import named_query
from cxgauge.metrics.store.retention import Retention
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
DAY, HOUR = 86_400, 3_600
TODAY = int(NOW) - DAY
WHOLE = ("count", "tails", "verdicts", "checks", "shape")
BILL = SeriesKey("bill_inquiry", "step_0", (("channel", "app"),), ("total", "details"))


def answers(size: int, *, seed: int = 1, series: int = 2, start: float = TODAY, end: float = NOW) -> ObservationBatch:
    """Log-normal durations, one in fifty a time-out's length, one in twenty with an error or a failed check."""
    random = np.random.default_rng(seed)
    records = np.zeros(size, dtype=RECORD)
    records["observed_at_us"] = ((start + random.random(size) * (end - start)) * 1e6).astype(np.int64)
    records["duration_seconds"] = np.exp(random.normal(-0.5, 0.4, size))
    records["duration_seconds"][random.random(size) < 0.02] = 30.0
    records["series"] = random.integers(0, series, size)
    records["verdict"] = np.where(random.random(size) < 0.05, random.integers(4, 8, size), 0)
    records["checks"] = random.integers(0, 16, size)
    keys = tuple(
        SeriesKey("bill_inquiry", f"step_{n}", (("channel", "app"),), ("total", "details")) for n in range(series)
    )
    return ObservationBatch(keys, records)


def digest(rollup: Rollup, rows: int = 2, hours: Any = range(24)) -> DayDigests:
    nothing = DayDigests.empty(rows, 60)
    return put_hours(nothing, nothing, rollup, np.arange(rows), TODAY, list(hours))


def assert_same(left: DayDigests, right: DayDigests) -> None:
    assert left.window_seconds == right.window_seconds
    for name in WHOLE:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
    np.testing.assert_allclose(left.level, right.level)
    np.testing.assert_allclose(left.ruler, right.ruler)
    np.testing.assert_allclose(left.pulled, right.pulled, atol=3e-4)


# -- what a digest says ----------------------------------------------------------------------------------------------


def test_counts_are_those_of_the_windows() -> None:
    rollup = roll_up(answers(30_000), 60)
    days = digest(rollup)
    windows = regroup(rollup, window_seconds=60)
    for row in range(2):
        mine = windows.select(windows.series == row)
        slot = (mine.window_start - TODAY) // 60
        np.testing.assert_array_equal(days.count[row][slot], mine.count)
        assert days.count[row].sum() == mine.count.sum() == days.shape[row].sum()
        bins = regroup(mine, window_seconds=BIN_SECONDS)
        place = (bins.window_start - TODAY) // BIN_SECONDS
        np.testing.assert_array_equal(days.verdicts[row][:, place].T, bins.verdicts)
        np.testing.assert_array_equal(days.checks[row][:2, place].T, bins.checks[:, :, 0])
        np.testing.assert_array_equal(days.checks[row][2:, place].T, bins.checks[:, :, 1])


def test_locations_are_hubers_about_the_hours_level() -> None:
    batch = answers(30_000, series=1)
    days = digest(roll_up(batch, 60), rows=1)
    assert days.ruler[0, 0] == pytest.approx(0.4, rel=0.05)
    records = batch.records[batch.records["verdict"] <= 4]
    slot = ((records["observed_at_us"] // 1_000_000 - TODAY) // 60).astype(int)
    distance = np.log(records["duration_seconds"]) - days.level[0, slot // 60]
    edge = 1.8 * days.ruler[0, 0]
    total = np.bincount(slot, np.clip(distance, -edge, edge), minlength=1440)
    expected = total / np.maximum(np.bincount(slot, minlength=1440), 1)
    np.testing.assert_allclose(days.pulled[0], expected, atol=0.012)  # what is beyond the edge is known by bucket
    assert abs((days.pulled[0] - expected).mean()) < 1e-3


def test_tails_are_those_beyond_the_edges() -> None:
    batch = answers(60_000, series=1)
    days = digest(roll_up(batch, 60), rows=1)
    records = batch.records[batch.records["verdict"] <= 4]
    hour = ((records["observed_at_us"] // 1_000_000 - TODAY) // HOUR).astype(int)
    for tail in range(2):
        beyond = np.log(records["duration_seconds"]) > days.edges()[0, hour, tail] + 1e-9
        expected = np.bincount(hour[beyond], minlength=24)
        np.testing.assert_array_equal(days.tails[0, tail].reshape(24, 12).sum(axis=1), expected)
        assert beyond.mean() == pytest.approx((0.05, 0.02)[tail], abs=0.016)


def test_a_quiet_hour_leans_on_the_one_before() -> None:
    many, few = answers(6_000, series=1, end=TODAY + HOUR), answers(2, seed=3, series=1, start=TODAY + HOUR)
    few.records["observed_at_us"] = (TODAY + HOUR + 60) * 1_000_000
    few.records["duration_seconds"], few.records["verdict"] = 20.0, 0
    both = ObservationBatch(many.series, np.concatenate([many.records, few.records]))
    level = digest(roll_up(both, 60), rows=1).level[0]
    assert level[0] == pytest.approx(-0.5, abs=0.03)
    assert level[1] - level[0] == pytest.approx((np.log(20.0) + 0.5) * 2 / 17, abs=0.02)
    assert np.isnan(level[2:]).all()


def test_bytes_and_back_are_the_same() -> None:
    days = digest(roll_up(answers(30_000), 60))
    rows = list(days.to_bytes())
    assert all(len(row) < 8_000 for row in rows)
    assert_same(DayDigests.from_bytes(rows), days)


def test_counts_beyond_sixteen_bits_and_days_of_other_windows_go_together() -> None:
    busy = digest(roll_up(answers(1_000), 60))
    busy.verdicts[0, 0, 7] = 70_000
    short = digest(roll_up(answers(1_000, seed=2), 10))
    back = DayDigests.from_bytes([*busy.to_bytes(), *short.to_bytes()])
    assert back.window_seconds == 60
    assert_same(back.take([0, 1]), busy)
    assert_same(back.take([2, 3]), short.coarsened(60))
    np.testing.assert_array_equal(short.coarsened(60).count, digest(roll_up(answers(1_000, seed=2), 60)).count)


def test_bytes_of_another_format_are_refused() -> None:
    row = bytearray(next(digest(roll_up(answers(100), 60)).to_bytes()))
    row[0] = 9
    with pytest.raises(ValueError) as refused:
        DayDigests.from_bytes([bytes(row)])
    assert str(refused.value) == "a digest of format 9 cannot be read, only 1; digest its day anew"


def test_windows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError) as refused:
        DayDigests.empty(1, 60).coarsened(90)
    assert str(refused.value) == "windows of 90 s are not a multiple of 60 s"


@hypothesis_settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(6)), again=st.lists(st.integers(0, 5), max_size=3))
def test_hours_may_be_told_in_any_order_and_again(order: list[int], again: list[int]) -> None:
    """Counts do not depend on it; levels and edges may, as far as they lean on what was known."""
    rollup = roll_up(answers(3_000, end=TODAY + 6 * HOUR), 60)
    hour = (rollup.window_start - TODAY) // HOUR
    days = DayDigests.empty(2, 60)
    for each in [*order, *again]:
        days = put_hours(days, DayDigests.empty(2, 60), rollup.select(hour == each), np.arange(2), TODAY, [each])
    expected = digest(rollup)
    for name in ("count", "verdicts", "checks"):
        np.testing.assert_array_equal(getattr(days, name), getattr(expected, name))
    np.testing.assert_array_equal(days.shape.sum(axis=(1, 2)), expected.shape.sum(axis=(1, 2)))


# -- in the store ----------------------------------------------------------------------------------------------------


def write(store: Store, batch: ObservationBatch, source: str) -> None:
    store.write([batch], source, StoredPosition(), StoredPosition(1, 1))


def history(store: Store, start: float = TODAY, end: float = NOW, missing: Any = ()) -> DigestHistory:
    with store.connection() as connection:
        return read_history(connection, sorted(store.series()), start, end, missing)


def rows_of(store: Store, table: str) -> int:
    with store.connection() as connection:
        found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # type: ignore[arg-type, unused-ignore]
    assert found is not None
    return int(found[0])


def of_windows(store: Store, start: float = TODAY, end: float = NOW) -> DigestHistory:
    """What the windows themselves say, without any digest."""
    with store.connection() as connection:
        missing = range(int(start), int(end), HOUR)
        series = sorted(store.series())
        connection.execute("SET search_path TO cxgauge")
        with connection.transaction(force_rollback=True):
            connection.execute("TRUNCATE window_digests")
            return read_history(connection, series, start, end, missing)


def test_housekeeping_digests_hours_that_are_over_once(make_store: Any) -> None:
    now = [NOW]
    store = make_store(clock=lambda: now[0])
    write(store, answers(20_000), "a")
    store.compact()
    now[0] = NOW + 400
    store.compact()
    assert store.digest() == 24 * 2
    assert store.digest() == 0
    assert rows_of(store, "window_digests") == 2
    found = history(store)
    assert (found.first_day, found.days) == (TODAY, 1)
    assert_same(found.rows, of_windows(store).rows)
    with store.connection() as connection:
        assert digested_hours(connection, TODAY, NOW + HOUR) == list(range(TODAY, int(NOW), HOUR))


def test_an_hour_is_left_alone_until_it_is_over(make_store: Any) -> None:
    now = [TODAY + 2 * HOUR + 299.0]
    store = make_store(clock=lambda: now[0])
    write(store, answers(2_000, end=TODAY + 2 * HOUR), "a")
    store.compact()
    assert store.digest() == 2  # the first hour of two series
    now[0] += 2
    assert store.digest() == 2


def test_what_comes_late_is_folded_in_once(make_store: Any) -> None:
    store = make_store(clock=lambda: NOW + 600)
    write(store, answers(5_000), "a")
    store.compact()
    store.digest()
    late = answers(40, seed=5, series=1, start=TODAY + 3 * HOUR, end=TODAY + 4 * HOUR)
    write(store, late, "b")
    assert history(store).rows.count.sum() < of_windows(store).rows.count.sum()
    store.compact()
    assert rows_of(store, "digest_late") == 1
    assert store.digest() == 1
    assert rows_of(store, "digest_late") == 0
    found, expected = history(store).rows, of_windows(store).rows
    for name in ("count", "verdicts", "checks"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_late_windows_of_days_that_may_have_lost_some_change_nothing(make_store: Any) -> None:
    store = make_store(clock=lambda: NOW + 600, retention=Retention(windows_days=20))
    start = TODAY - 19 * DAY
    write(store, answers(500, start=start, end=start + HOUR), "a")
    store.compact()
    assert store.digest() == 0
    assert rows_of(store, "window_digests") == 0


def test_probes_are_not_digested_and_simulated_history_is(make_store: Any) -> None:
    store = make_store(clock=lambda: NOW + 600)
    for number, source in enumerate((Source.RECORDER, Source.SIMULATED, Source.PROBE)):
        batch = answers(1_000, seed=number)
        batch.records["source"] = source
        write(store, batch, str(number))
    store.compact()
    store.digest()
    assert history(store).rows.verdicts.sum() == 2_000


class KilledError(Exception):
    """Stands for a process that ends between two statements."""


def test_killed_anywhere_and_begun_again_gives_the_same(make_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import cxgauge.metrics.store.digests as module

    store = make_store(clock=lambda: NOW + 600)
    write(store, answers(8_000, series=5), "a")
    store.compact()
    digester = Digester(store._database, rows_per_transaction=3_000)
    calls, original = [0], named_query

    def dying(name: str) -> Any:
        calls[0] += name.startswith("digests.")
        if calls[0] % 11 == 0:
            calls[0] += 1
            raise KilledError
        return original(name)

    monkeypatch.setattr(module, "named_query", dying)
    for _ in range(100):
        try:
            if digester.run(NOW + 600, 90 * DAY) == 0:
                break
        except KilledError:
            continue
    monkeypatch.undo()
    assert calls[0] > 20
    assert rows_of(store, "digest_hours") == 24
    assert_same(history(store).rows, of_windows(store).rows)


@pytest.mark.parametrize("server", ["embedded"])
@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["write", "late", "compact", "digest", "some"]), min_size=3, max_size=9))
def test_any_order_of_writing_and_digesting_ends_in_the_same(server: str, embedded_dsn: str, steps: list[str]) -> None:
    with Store.open(embedded_dsn) as store:
        store._clock = lambda: NOW + 600
        store.migrate()
        tables = "observations, window_rollups, hour_rollups, resume_points, window_digests, digest_hours, digest_late"
        with store.connection() as connection:
            connection.execute(f"TRUNCATE {tables}")  # type: ignore[arg-type, unused-ignore]
        small = Digester(store._database, rows_per_transaction=1)
        for number, step in enumerate(["write", *steps, "compact", "digest"]):
            match step:
                case "write":
                    write(store, answers(300, seed=number), str(number))
                case "late":
                    write(store, answers(30, seed=number, series=1, end=TODAY + 2 * HOUR), str(number))
                case "compact":
                    store.compact()
                case "digest":
                    store.digest()
                case "some":
                    calls = iter([False, False, True])
                    small.run(NOW + 600, 90 * DAY, lambda calls=calls: next(calls))  # type: ignore[misc]
        found, expected = history(store).rows, of_windows(store).rows
        for name in ("count", "verdicts", "checks"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_a_store_with_a_past_gets_its_digests_bit_by_bit(make_store: Any) -> None:
    """As the migration does it: hours are known from rollups, their windows are there, digests are not."""
    store = make_store(clock=lambda: NOW + 600)
    write(store, answers(3_000, start=TODAY - DAY), "a")
    store.compact()
    expected = of_windows(store, TODAY - DAY)
    assert store.digest(seconds=0.0) == 0
    digester = Digester(store._database, rows_per_transaction=2_000)
    calls = iter([False, True])
    assert 0 < digester.run(NOW + 600, 90 * DAY, lambda: next(calls)) < 96
    digester.run(NOW + 600, 90 * DAY)
    for name in ("count", "verdicts", "checks"):
        found = getattr(history(store, TODAY - DAY).rows, name)
        np.testing.assert_array_equal(found, getattr(expected.rows, name))


def test_old_digests_are_removed_after_windows_and_not_before_120_days(make_store: Any) -> None:
    store = make_store(clock=lambda: NOW + 600)
    write(store, answers(500), "a")
    store.compact()
    store.digest()
    for days, left in ((119, 2), (121, 0)):
        store._clock = lambda days=days: NOW + days * DAY
        store.expire()
        assert (rows_of(store, "window_digests"), rows_of(store, "digest_hours") > 0) == (left, left > 0)
    assert Retention(windows_days=200).digests_days == 200


def test_the_migration_knows_the_hours_of_the_past(embedded_dsn: str) -> None:
    from cxgauge.metrics.store.connection import DatabaseSettings
    from cxgauge.metrics.store.migrations import migrate, migrations

    settings = DatabaseSettings(embedded_dsn)
    number = next(each.version for each in migrations() if each.name.endswith("window_digests.sql"))
    with psycopg.connect(embedded_dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS cxgauge CASCADE")
        migrate(settings, migrations()[: number - 1])
        connection.execute(
            "INSERT INTO cxgauge.hour_rollups SELECT date_trunc('hour', now()), 0, 0, 0, 0, 0, one, 0, 0, 0, 0, 0, 0, "
            "0, 0, 0, 3600, 0, '{}', '{}', '{}' FROM generate_series(1, 3) AS one"
        )
        migrate(settings)
        found = connection.execute(
            "SELECT count(*), bool_and(digested_at IS NULL) FROM cxgauge.digest_hours"
        ).fetchone()
    assert found == (1, True)
