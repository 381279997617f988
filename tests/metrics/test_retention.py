"""Housekeeping keeps every sum, whenever and however often it runs and wherever it is killed."""

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cxgauge.metrics.observation import SeriesKey
from cxgauge.metrics.rollup import Rollup, regroup
from cxgauge.metrics.store.named_queries import named_query
from cxgauge.metrics.store.retention import Housekeeping, Retention
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

NOW = 1_767_225_600.0
FOREVER = (0.0, NOW + 86_400)
DAY = 86_400.0


def write(store: Store, batch: Any, source: str) -> None:
    store.write([batch], source, StoredPosition(), StoredPosition(1, 1))


def count(store: Store, table: str) -> int:
    with store.connection() as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # type: ignore[arg-type, unused-ignore]
    assert row is not None
    return int(row[0])


def assert_equal(left: Rollup, right: Rollup) -> None:
    for name in Rollup.__slots__:
        np.testing.assert_allclose(getattr(left, name), getattr(right, name), rtol=1e-9, atol=1e-9, err_msg=name)


def test_compaction_keeps_every_figure_and_leaves_one_row_a_key(store: Store, make_batch: Any) -> None:
    for seed in range(5):
        write(store, make_batch(200, seed=seed, end=NOW - 600), f"source {seed}")
    before, _ = store.read_rollups(*FOREVER)
    appended = count(store, "window_rollups")
    assert store.compact() == len(before)
    after, _ = store.read_rollups(*FOREVER)
    assert_equal(after, before)
    assert count(store, "window_rollups") == len(before) < appended
    hours, _ = store.read_rollups(*FOREVER, hours=True)
    assert_equal(hours, regroup(before, window_seconds=3600))
    assert count(store, "hour_rollups") == len(hours)
    assert store.compact() == 0
    assert_equal(store.read_rollups(*FOREVER, hours=True)[0], hours)


def test_rows_that_come_late_are_taken_in(store: Store, make_batch: Any) -> None:
    write(store, make_batch(300, seed=1, end=NOW - 600), "a")
    store.compact()
    write(store, make_batch(300, seed=2, end=NOW - 600), "b")  # the same hours again
    expected, _ = store.read_rollups(*FOREVER)
    assert_equal(store.read_rollups(*FOREVER, hours=True)[0], regroup(expected, window_seconds=3600))
    store.compact()
    assert_equal(store.read_rollups(*FOREVER)[0], expected)
    assert_equal(store.read_rollups(*FOREVER, hours=True)[0], regroup(expected, window_seconds=3600))
    assert count(store, "window_rollups") == len(expected)


def expected_rows(node: dict[str, Any], table: str) -> float:
    """How many rows the planner expects to read of a table."""
    here = float(node["Plan Rows"]) if node.get("Relation Name") == table and "Scan" in node["Node Type"] else 0.0
    return here + sum(expected_rows(part, table) for part in node.get("Plans", []))


def test_adding_up_does_not_rely_on_what_the_database_knew_before(embedded_dsn: str, make_batch: Any) -> None:
    """After an import and ANALYZE, statistics say that no row is rolled; by such plans a batch took minutes."""
    keys = {"windows": [int(NOW) - 60 * n for n in range(1_440)], "series": [1] * 1_440}
    span = {"first": NOW - DAY, "last": NOW}
    query: Any = f"EXPLAIN (FORMAT JSON) {named_query('retention.take_rolled')}"
    with Store.open(embedded_dsn) as store:
        store.migrate()
        write(store, make_batch(8_000, start=NOW - DAY, end=NOW - 600), "a")
        store.analyze()
        with store.connection() as connection:
            row = connection.execute(query, {**keys, **span}).fetchone()
    assert row is not None
    assert expected_rows(row[0][0]["Plan"], "window_rollups") > 500


def test_windows_that_are_still_open_are_left_alone(store: Store, make_batch: Any) -> None:
    write(store, make_batch(50, start=NOW - 90, end=NOW), "a")
    assert store.compact() == 0


def test_windows_of_another_length_are_kept_apart_and_add_up_in_hours(make_store: Any, make_batch: Any) -> None:
    write(make_store(window_seconds=60), make_batch(200, seed=1), "a")
    short = make_store(window_seconds=10)
    write(short, make_batch(200, seed=2), "b")
    write(make_store(window_seconds=15), make_batch(200, seed=3), "c")
    before, _ = short.read_rollups(*FOREVER)
    assert before.window_seconds == 60
    assert int(before.observations.sum()) == 600
    assert short.read_rollups(0, 1)[0].window_seconds == 10
    short.compact()
    assert_equal(short.read_rollups(*FOREVER)[0], before)
    assert_equal(short.read_rollups(*FOREVER, hours=True)[0], regroup(before, window_seconds=3600))


@pytest.mark.parametrize("server", ["embedded"])
@hypothesis_settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["write", "late", "compact", "killed", "expire"]), min_size=3, max_size=8))
def test_any_order_of_writing_killing_and_tidying_keeps_the_sums(
    server: str, migrated_embedded_dsn: str, make_batch: Any, steps: list[str]
) -> None:
    with Store.open(migrated_embedded_dsn) as store:
        store._clock = lambda: NOW
        store.migrate()
        with store.connection() as connection:
            connection.execute("TRUNCATE observations, window_rollups, hour_rollups, resume_points")
        housekeeping = Housekeeping(store._database, rows_per_transaction=37)
        written = 0
        for number, step in enumerate(steps):
            match step:
                case "write" | "late":
                    start = NOW - 3600 if step == "write" else NOW - 200 * DAY
                    store.write(
                        [make_batch(60, seed=number, start=start, end=start + 3600)],
                        f"{number}",
                        StoredPosition(),
                        StoredPosition(1, 1),
                    )
                    written += 60
                case "compact":
                    housekeeping.compact(NOW)
                case "killed":
                    calls = iter([False, True])
                    housekeeping.compact(NOW, lambda calls=calls: next(calls))  # type: ignore[misc]
                case "expire":
                    housekeeping.expire(NOW, Retention(30, 90, 300))
            hours, _ = store.read_rollups(*FOREVER, hours=True)
            assert int(hours.observations.sum()) == written
        housekeeping.compact(NOW)
        assert int(store.read_rollups(*FOREVER, hours=True)[0].observations.sum()) == written


def test_compaction_killed_in_the_middle_of_its_transaction_changes_nothing(store: Store, make_batch: Any) -> None:
    write(store, make_batch(300), "a")
    before, _ = store.read_rollups(*FOREVER)
    with store.connection() as connection:
        connection.execute("ALTER TABLE hour_rollups ADD CONSTRAINT refuse CHECK (answered < 0)")
    with pytest.raises(Exception, match="refuse"):
        store.compact()
    assert_equal(store.read_rollups(*FOREVER)[0], before)
    with store.connection() as connection:
        connection.execute("ALTER TABLE hour_rollups DROP CONSTRAINT refuse")
    store.compact()
    assert_equal(store.read_rollups(*FOREVER)[0], before)


def test_two_that_tidy_while_a_third_writes_keep_the_sums(make_store: Any, make_batch: Any) -> None:
    stores = [make_store() for _ in range(3)]
    stop = threading.Event()
    errors: list[Exception] = []

    def tidy(store: Store) -> None:
        try:
            while not stop.is_set():
                store.compact()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=tidy, args=(store,)) for store in stores[:2]]
    for thread in threads:
        thread.start()
    for seed in range(20):
        write(stores[2], make_batch(100, seed=seed), f"source {seed}")
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    stores[2].compact()
    windows, _ = stores[2].read_rollups(*FOREVER)
    assert int(windows.observations.sum()) == 2000
    assert_equal(stores[2].read_rollups(*FOREVER, hours=True)[0], regroup(windows, window_seconds=3600))


def test_what_is_old_is_removed_and_hours_outlive_windows(make_store: Any, make_batch: Any) -> None:
    store = make_store(retention=Retention(observations_days=10, windows_days=20, hours_days=30))
    ages = [1, 5, 15, 25, 35]
    for age in ages:
        write(store, make_batch(40, seed=age, start=NOW - age * DAY, end=NOW - age * DAY + 60), f"{age} days")
    # Windows that hours do not contain yet are not removed, however old they are.
    store.expire()
    assert int(store.read_rollups(*FOREVER)[0].observations.sum()) == 200
    assert count(store, "observations") == 80
    store.compact()
    store.expire()
    assert int(store.read_rollups(*FOREVER)[0].observations.sum()) == 120
    assert int(store.read_rollups(*FOREVER, hours=True)[0].observations.sum()) == 160
    result = store.expire()
    assert (result.observations, result.windows, result.hours) == (0, 0, 0)


def test_a_row_may_have_a_series_without_dimensions_or_checks(store: Store, make_batch: Any) -> None:
    batch = make_batch(50, series=[SeriesKey("f", "s")])
    batch.records["checks"] = 0
    write(store, batch, "a")
    store.compact()
    rollup, series = store.read_rollups(*FOREVER)
    assert int(rollup.observations.sum()) == 50
    assert list(series.values()) == [SeriesKey("f", "s")]


def test_retention_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError) as refused:
        Retention(observations_days=0)
    assert str(refused.value) == "retention observations_days=0 is not a number of days > 0; write e.g. 30"
    with pytest.raises(ValueError) as refused:
        Retention(windows_days=100, hours_days=90)
    assert str(refused.value) == (
        "retention hours_days=90 is shorter than windows_days=100; hours are made from windows and must be kept at "
        "least as long"
    )
