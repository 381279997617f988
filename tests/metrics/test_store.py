# ruff: noqa: E501 - queries read better on one line
"""The store on real servers: what is written is read back, once, and rollups agree with the observations."""

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg
import pytest

from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey, Source
from cxgauge.metrics.rollup import Origin, Rollup, roll_up
from cxgauge.metrics.sketch import RELATIVE_ERROR
from cxgauge.metrics.store.connection import DatabaseSettings, Tier
from cxgauge.metrics.store.store import Store, StoreSettings
from cxgauge.metrics.store.write import ResumePointMismatch, StoredPosition
from cxgauge.metrics.verdict import Verdict

NOW = 1_767_225_600.0
START = StoredPosition()
FOREVER = (0.0, NOW + 86_400)


def at(offset: int) -> StoredPosition:
    return StoredPosition(1, offset)


def fetch(store: Store, query: Any, *parameters: Any) -> list[tuple[Any, ...]]:
    with store.connection() as connection:
        return connection.execute(query, parameters).fetchall()


def test_the_tier_is_found_by_asking(store: Store) -> None:
    facts = store.facts
    assert facts.tier is (Tier.PLAIN if facts.timescaledb is None else Tier.TIMESCALEDB_APACHE)
    if facts.tier.has_hypertables:
        tables = fetch(store, "SELECT hypertable_name FROM timescaledb_information.hypertables ORDER BY 1")
        assert tables == [("observations",), ("window_rollups",)]


def test_observations_come_back_as_they_were_sent(store: Store, make_batch: Any) -> None:
    batch = make_batch(300)
    result = store.write([batch], "a", START, at(10))
    assert result.observations == 300
    assert result.newest_at == pytest.approx(batch.records["observed_at_us"].max() / 1e6)
    rows = fetch(
        store,
        "SELECT (extract(epoch FROM observed_at) * 1000000)::int8, duration_seconds, flow, step, dimensions, verdict, "
        "source, o.checks, flow_instance, customer, trace_id, span_id FROM observations AS o JOIN series USING (series_id)",
    )

    def token(value: Any) -> bytes | None:
        return None if value is None else value.bytes

    found = Counter((*row[:4], *row[4].items(), *row[5:8], *map(token, row[8:11]), row[11]) for row in rows)

    def raw(value: Any) -> bytes | None:
        return bytes(value) if any(bytes(value)) else None

    sent = Counter(
        (
            int(r["observed_at_us"]),
            float(r["duration_seconds"]),
            batch.series[r["series"]].flow,
            batch.series[r["series"]].step,
            *batch.series[r["series"]].dimensions,
            int(r["verdict"]),
            int(r["source"]),
            int(r["checks"]),
            raw(r["flow_instance"]),
            raw(r["customer"]),
            raw(r["trace_id"]),
            int(r["span_id"]) or None,
        )
        for r in batch.records
    )
    assert found == sent


def test_rollups_read_back_equal_rolling_up_in_memory(store: Store, make_batch: Any) -> None:
    batches = [make_batch(400, seed=seed) for seed in (1, 2, 3)]
    for number, batch in enumerate(batches):
        store.write([batch], "a", at(number) if number else START, at(number + 1))
    rollup, series = store.read_rollups(*FOREVER)
    records = np.concatenate([batch.records for batch in batches])
    ids = {key.step: number for number, key in series.items()}
    assert [series[ids[f"step_{n}"]] for n in (0, 1)] == list(batches[0].series)
    records["series"] = np.array([ids["step_0"], ids["step_1"]])[records["series"]]
    expected = roll_up(ObservationBatch((), records), 60)
    for name in Rollup.__slots__:
        np.testing.assert_allclose(getattr(rollup, name), getattr(expected, name), rtol=1e-12, err_msg=name)


def test_reads_are_narrowed_to_flow_step_dimension_and_span(store: Store, make_batch: Any) -> None:
    keys = [
        SeriesKey("bill_inquiry", step, (("channel", channel),))
        for step in ("total", "details")
        for channel in ("app", "web")
    ]
    store.write([make_batch(series=[*keys, SeriesKey("transfer", "total")])], "a", START, at(1))
    everything, _ = store.read_rollups(*FOREVER)
    parts = [store.read_rollups(*FOREVER, "bill_inquiry", step)[0] for step in ("total", "details")]
    parts.append(store.read_rollups(*FOREVER, "transfer")[0])
    assert sum(int(part.observations.sum()) for part in parts) == int(everything.observations.sum()) == 500
    web, series = store.read_rollups(*FOREVER, "bill_inquiry", dimensions={"channel": "web"})
    assert {key.dimensions for key in series.values()} == {(("channel", "web"),)}
    assert 0 < len(web) < len(everything)
    early, _ = store.read_rollups(0, NOW - 3600)
    late, _ = store.read_rollups(NOW - 3600, NOW)
    assert int(early.observations.sum() + late.observations.sum()) == 500
    assert len(store.read_rollups(*FOREVER, "no_such_flow")[0]) == 0
    assert store.span() == (float(everything.window_start.min()), float(everything.window_start.max()))


def test_a_second_writer_of_the_same_source_is_refused(make_store: Any, make_batch: Any) -> None:
    first, second = make_store(), make_store()
    first.write([make_batch(10)], "a", START, at(5))
    with pytest.raises(ResumePointMismatch) as refused:
        second.write([make_batch(10)], "a", START, at(5))
    assert str(refused.value) == (
        "source 'a' is at segment 1, offset 5, not at segment 0, offset 0: another writer is at work, or a commit was not "
        "noticed; read the resume point again and go on from there"
    )
    assert refused.value.stored == at(5)
    with pytest.raises(ResumePointMismatch) as refused:
        second.write([make_batch(10)], "b", at(3), at(5))
    assert str(refused.value).startswith("source 'b' is not known to the store, not at segment 1, offset 3: ")
    assert fetch(first, "SELECT count(*) FROM observations") == [(10,)]
    assert fetch(
        first, "SELECT sum(good + slow + stale + incomplete + wrong + abandoned + timeout + error) FROM window_rollups"
    ) == [(10,)]
    assert second.position("a") == at(5)
    assert second.position("b") is None
    progress = first.progress()
    assert [(one.source, one.position, one.observations) for one in progress] == [("a", at(5), 10)]


def test_a_failed_transaction_leaves_nothing(store: Store, make_batch: Any) -> None:
    with store.connection() as connection:
        connection.execute("ALTER TABLE window_rollups ADD CONSTRAINT refuse CHECK (answered < 0)")
    with pytest.raises(psycopg.errors.CheckViolation):
        store.write([make_batch(10)], "a", START, at(5))
    assert store.position("a") is None
    assert fetch(store, "SELECT count(*) FROM observations") == [(0,)]


def test_writers_that_meet_the_same_new_series_at_once_agree(make_store: Any, make_batch: Any) -> None:
    keys = [SeriesKey("f", f"step_{n % 3}", (("region", f"r{n}"),), (f"check_{n % 7}", "total")) for n in range(60)]
    stores = [make_store(series_per_step_limit=15) for _ in range(3)]

    def write(number: int) -> None:
        order = np.random.default_rng(number).permutation(len(keys))
        batch = make_batch(600, seed=number, series=[keys[n] for n in order])
        stores[number].write([batch], f"source {number}", START, at(1))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    rows = fetch(
        stores[0],
        "SELECT step, count(*) FILTER (WHERE dimensions ->> 'region' <> 'other') FROM series GROUP BY 1 ORDER BY 1",
    )
    assert rows == [("step_0", 15), ("step_1", 15), ("step_2", 15)]
    assert fetch(stores[0], "SELECT count(*) FROM observations JOIN series USING (series_id)") == [(1800,)]
    assert fetch(stores[0], "SELECT count(*), count(DISTINCT (step, name)), max(position) FROM checks") == [(24, 24, 7)]


@pytest.mark.parametrize("table", ["series", "checks"])
def test_numbers_of_a_transaction_that_failed_are_not_remembered(store: Store, make_batch: Any, table: str) -> None:
    fetch_nothing = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'refused'; END$$"
    with store.connection() as connection:
        connection.execute(fetch_nothing)
        connection.execute(
            f"CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    with pytest.raises(psycopg.errors.RaiseException):
        store.write([make_batch(10)], "a", START, at(5))
    with store.connection() as connection:
        connection.execute(f"DROP TRIGGER refuse ON {table}")
    store.write([make_batch(10)], "a", START, at(5))
    assert fetch(store, "SELECT count(*) FROM observations JOIN series USING (series_id)") == [(10,)]
    assert fetch(store, "SELECT name FROM checks WHERE step = 'step_0' ORDER BY position") == [("total",), ("details",)]


def test_an_empty_chunk_only_moves_the_resume_point(store: Store) -> None:
    assert store.write([], "a", START, at(7)).observations == 0
    assert store.write([ObservationBatch((), np.empty(0, dtype=RECORD))], "a", at(7), at(8)).observations == 0
    assert store.position("a") == at(8)


def test_sources_that_cannot_come_again_are_forgotten(store: Store) -> None:
    for source in ("spool/old", "spool/kept", "import-1"):
        store.write([], source, START, at(1))
    with store.connection() as connection:
        connection.execute("UPDATE resume_points SET updated_at = to_timestamp(%s)", (NOW,))
    assert store.forget_sources("spool/", ["spool/kept"], NOW) == 0
    assert store.forget_sources("spool/", ["spool/kept"], NOW + 1) == 1
    assert [one.source for one in store.progress()] == ["import-1", "spool/kept"]


def test_checks_keep_their_position_when_the_specification_reorders_them(make_store: Any, make_batch: Any) -> None:
    def write(store: Store, checks: tuple[str, ...], bits: int, number: int) -> None:
        batch = make_batch(1, series=[SeriesKey("f", "s", (), checks)])
        batch.records["checks"] = bits
        store.write([batch], f"source {number}", START, at(1))

    store = make_store()
    write(store, ("total", "details"), 0b0110, 1)  # total failed, details passed
    write(store, ("details", "total"), 0b1001, 2)  # the same, told in the other order
    write(make_store(), ("fresh", "total"), 0b1011, 3)  # fresh unknown, total failed
    assert fetch(store, "SELECT position, name FROM checks ORDER BY position") == [
        (0, "total"),
        (1, "details"),
        (2, "fresh"),
    ]
    assert fetch(store, "SELECT DISTINCT checks FROM observations ORDER BY 1") == [(0b0110,), (0b110010,)]
    rollup, series = store.read_rollups(*FOREVER)
    assert rollup.checks.sum(axis=0).tolist() == [[0, 3, 0], [2, 0, 0], [0, 0, 1]]
    assert next(iter(series.values())).checks == ("total", "details", "fresh")


def test_the_thirty_third_check_is_counted_and_left_out(store: Store, make_batch: Any) -> None:
    first = make_batch(1, series=[SeriesKey("f", "s", (), tuple(f"check_{n}" for n in range(32)))])
    store.write([first], "a", START, at(1))
    second = make_batch(3, series=[SeriesKey("f", "s", (), ("new", "check_31"))])
    second.records["checks"] = [0b1010, 0b1000, 0b0000]
    assert store.write([second], "a", at(1), at(2)).checks_without_position == 1
    failed = 2 << 62
    assert fetch(store, "SELECT count(*) FROM observations WHERE checks = %s", failed - (1 << 64)) == [(2,)]


def test_series_beyond_the_cap_go_to_other_and_are_counted(make_store: Any, make_batch: Any) -> None:
    store = make_store(series_per_step_limit=3)
    keys = [SeriesKey("f", "s", (("region", f"r{n}"),)) for n in range(50)]
    batch = make_batch(50, series=keys)
    batch.records["series"] = np.arange(50)
    assert store.write([batch], "a", START, at(1)).overflowed == 47
    other = make_store(series_per_step_limit=3)  # one that has just started agrees
    assert other.write([batch], "b", START, at(1)).overflowed == 47
    regions = fetch(
        store,
        "SELECT dimensions ->> 'region', count(*) FROM observations JOIN series USING (series_id) GROUP BY 1 ORDER BY 1",
    )
    assert regions == [("other", 94), ("r0", 2), ("r1", 2), ("r2", 2)]


def test_times_that_cannot_be_are_replaced_and_counted(store: Store, make_batch: Any) -> None:
    batch = make_batch(6, series=[SeriesKey("f", "s")])
    seconds = [NOW + 301, NOW + 299, NOW - 3 * 86_400, 0, -(2**62) / 1e6, NOW - 1]
    batch.records["observed_at_us"] = [int(second * 1_000_000) for second in seconds]
    result = store.write([batch], "a", START, at(1))
    assert (result.observations, result.from_future, result.without_time) == (6, 1, 2)
    times = fetch(store, "SELECT extract(epoch FROM observed_at)::float8 FROM observations ORDER BY 1")
    assert [time for (time,) in times] == [NOW - 3 * 86_400, NOW - 1, NOW, NOW, NOW, NOW + 299]


def test_durations_that_cannot_be_are_counted_by_verdict_only(store: Store, make_batch: Any) -> None:
    batch = make_batch(4, series=[SeriesKey("f", "s")])
    batch.records["duration_seconds"] = [1.0, math.nan, -1.0, math.inf]
    batch.records["verdict"] = Verdict.GOOD
    assert store.write([batch], "a", START, at(1)).without_duration == 3
    assert fetch(store, "SELECT count(*) FROM observations WHERE duration_seconds = 'NaN'") == [(3,)]
    rollup, _ = store.read_rollups(*FOREVER)
    assert (int(rollup.good.sum()), int(rollup.count.sum())) == (4, 1)


def test_probes_are_left_out_unless_asked_for_and_simulated_stays_marked(store: Store, make_batch: Any) -> None:
    for number, source in enumerate((Source.OTLP, Source.PROBE, Source.SIMULATED)):
        store.write([make_batch(100, source=source)], f"source {number}", START, at(1))
    rollup, _ = store.read_rollups(*FOREVER)
    assert set(rollup.origin.tolist()) == {Origin.CUSTOMER, Origin.SIMULATED}
    assert int(rollup.observations.sum()) == 200
    probes, _ = store.read_rollups(*FOREVER, origins=[Origin.PROBE])
    assert int(probes.observations.sum()) == 100
    rows = fetch(
        store,
        "SELECT observations, simulated FROM step_summary('bill_inquiry', NULL, to_timestamp(0), to_timestamp(%s))",
        NOW,
    )
    assert rows == [(200, True)]


@pytest.mark.parametrize("compacted", [False, True])
def test_sql_functions_agree_with_the_observations_over_any_span(
    store: Store, make_batch: Any, compacted: bool
) -> None:
    store.write([make_batch(3000, start=NOW - 4 * 3600)], "a", START, at(1))
    if compacted:
        assert store.compact() > 0
    for start, end in [
        (NOW - 86_400, NOW),
        (NOW - 9000, NOW - 1800),
        (NOW - 3960, NOW - 3660),
        (NOW - 7200, NOW - 3600),
    ]:
        exact = fetch(
            store,
            "SELECT count(*), count(*) FILTER (WHERE verdict = 0), avg(duration_seconds) FILTER (WHERE verdict < 5), "
            "percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY CASE WHEN verdict < 5 THEN duration_seconds END) "
            "FROM observations JOIN series USING (series_id) WHERE step = 'step_0' AND observed_at >= to_timestamp(%s) "
            "AND observed_at < to_timestamp(%s)",
            start,
            end,
        )[0]
        summary = fetch(
            store,
            "SELECT observations, good, mean_seconds, ARRAY[p50_seconds, p95_seconds, p99_seconds], good_answer_ratio "
            "FROM step_summary('bill_inquiry', 'step_0', to_timestamp(%s), to_timestamp(%s))",
            start,
            end,
        )[0]
        assert summary[:2] == exact[:2]
        assert summary[2] == pytest.approx(exact[2])
        assert summary[3] == pytest.approx(exact[3], rel=RELATIVE_ERROR * 1.000001)
        assert summary[4] == pytest.approx(exact[1] / exact[0])
        span = ("bill_inquiry", "step_0", start, end)
        for bucket in ("1 minute", "1 hour", "7 minutes"):
            series = fetch(
                store,
                "SELECT sum(observations), sum(good) FROM step_timeseries(%s, %s, to_timestamp(%s), to_timestamp(%s), %s::text::interval)",
                *span,
                bucket,
            )
            assert series == [exact[:2]]
        ratio = fetch(store, "SELECT good_answer_ratio(%s, %s, to_timestamp(%s), to_timestamp(%s))", *span)
        assert ratio[0][0] == pytest.approx(exact[1] / exact[0])


def test_quantiles_in_sql_equal_those_in_numpy_to_the_last_digit(store: Store, make_batch: Any) -> None:
    store.write([make_batch(2000)], "a", START, at(1))
    store.compact()
    rollup, _ = store.read_rollups(*FOREVER, "bill_inquiry", "step_1", hours=True)
    rows = fetch(
        store,
        "SELECT time, array_agg(seconds ORDER BY q) FROM quantile_timeseries('bill_inquiry', 'step_1', to_timestamp(0), "
        "to_timestamp(%s), '1 hour', ARRAY[0.1, 0.5, 0.95]) GROUP BY time ORDER BY time",
        NOW + 3600,
    )
    assert [row[0].timestamp() for row in rows] == rollup.window_start.tolist()
    np.testing.assert_allclose([row[1] for row in rows], rollup.quantiles(0.1, 0.5, 0.95), rtol=1e-12)
    merged = fetch(store, "SELECT sketch_quantile(sketch_merge(buckets, bucket_counts), 0.5) FROM hour_rollups")
    whole = fetch(store, "SELECT quantile('bill_inquiry', NULL, to_timestamp(0), to_timestamp(%s), 0.5)", NOW + 3600)
    assert merged == whole
    assert fetch(store, "SELECT quantile('bill_inquiry', 'nothing', to_timestamp(0), now(), 0.5)") == [(None,)]
    counts = fetch(
        store,
        "SELECT sum(observations) FROM distribution('bill_inquiry', 'step_1', to_timestamp(0), to_timestamp(%s))",
        NOW + 3600,
    )
    assert counts == [(int(rollup.count.sum()),)]


def test_checks_and_dimensions_in_sql(store: Store, make_batch: Any) -> None:
    keys = [SeriesKey("f", "s", (("channel", channel),), ("total", "details")) for channel in ("app", "web")]
    batch = make_batch(1000, series=keys)
    store.write([batch], "a", START, at(1))
    for number, name in enumerate(("total", "details")):
        results = batch.records["checks"] >> (2 * number) & 3
        rows = fetch(
            store,
            "SELECT sum(passed), sum(failed), sum(unknown) FROM check_timeseries('f', 's', to_timestamp(0), to_timestamp(%s), "
            "'1 hour') WHERE check_name = %s",
            NOW,
            name,
        )
        assert rows == [tuple(int((results == result).sum()) for result in (1, 2, 3))]
    rows = fetch(
        store,
        "SELECT value, observations FROM dimension_summary('f', 's', 'channel', to_timestamp(0), to_timestamp(%s)) ORDER BY 1",
        NOW,
    )
    assert rows == [(name, int((batch.records["series"] == n).sum())) for n, name in enumerate(("app", "web"))]


def test_customers_hit_and_worst_examples(store: Store, make_batch: Any) -> None:
    batch = make_batch(90, series=[SeriesKey("f", "s")])
    batch.records["customer"] = [b"\0" * 16 if n % 3 == 0 else bytes([n % 3] * 16) for n in range(90)]
    batch.records["verdict"] = [Verdict.WRONG if n % 30 == 1 else Verdict.GOOD for n in range(90)]
    batch.records["duration_seconds"] = np.arange(90) + 1.0
    store.write([batch], "a", START, at(1))
    hit = store.customers_hit(*FOREVER, "f", "s")
    assert (hit.customers, hit.flow_instances, hit.observations) == (2, 90, 90)
    hit = store.customers_hit(*FOREVER, "f", verdicts=[Verdict.WRONG])
    assert (hit.customers, hit.flow_instances, hit.observations) == (1, 3, 3)
    assert store.customers_hit(*FOREVER, "f", at_least_seconds=81).observations == 10
    worst = store.worst_examples(*FOREVER, "f", limit=4)
    assert [(one.verdict, one.duration_seconds) for one in worst] == [
        (Verdict.WRONG, 62.0),
        (Verdict.WRONG, 32.0),
        (Verdict.WRONG, 2.0),
        (Verdict.GOOD, 90.0),
    ]
    traced = store.worst_examples(*FOREVER, "f", verdicts=[Verdict.GOOD], limit=100)
    ids = {one.trace_id for one in traced if one.trace_id is not None}
    assert ids <= {bytes(value).hex() for value in batch.records["trace_id"]}
    assert len(ids) == 30
    assert all(len(one.span_id or "") == 16 for one in traced if one.trace_id)


def test_a_broken_connection_is_replaced(store: Store, make_batch: Any) -> None:
    store.write([make_batch(10)], "a", START, at(1))
    with psycopg.connect(store.settings.database.dsn, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cxgauge' AND datname = current_database()"
        )
    store.write([make_batch(10)], "a", at(1), at(2))
    assert fetch(store, "SELECT count(*) FROM observations") == [(20,)]


def test_schemas_of_other_names_live_side_by_side(database_dsn: str, make_batch: Any) -> None:
    stores = [
        Store(StoreSettings(DatabaseSettings(database_dsn, schema=name)), clock=lambda: NOW)
        for name in ("bank_a", "bank_b")
    ]
    for number, store in enumerate(stores):
        store.migrate()
        store.write([make_batch(10 + number)], "a", START, at(1))
    for number, store in enumerate(stores):
        assert fetch(store, "SELECT count(*) FROM observations") == [(10 + number,)]
        summary = (
            "SELECT observations FROM bank_a.step_summary('bill_inquiry', NULL, to_timestamp(0), to_timestamp(%s))"
        )
        assert fetch(store, summary, NOW) == [(10,)]
        store.close()


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError) as refused:
        DatabaseSettings("", schema="Bank A")
    assert str(refused.value) == (
        "schema='Bank A' is not a plain name; use lower-case letters, digits and underscores, not a digit first"
    )
    with pytest.raises(ValueError) as refused:
        StoreSettings(DatabaseSettings(""), window_seconds=7)
    assert str(refused.value) == (
        "window_seconds=7 does not divide a minute; choose one of 60, 30, 20, 15, 12, 10, 6, 5, 4, 3, 2, 1"
    )
