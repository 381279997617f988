# ruff: noqa: E501, PLR0915 - a table of figures
"""How long questions of a week take, from rollups of some million observations.

    .venv/bin/python bench/queries.py [--observations 10000000] [--series 50] [--rounds 5] [--fleet 100000] [--dsn DSN]

A week of observations is rolled up by minute and written as the writer would; the rows are added up and rolled forward;
then each question is asked `--rounds` times over a span that begins and ends within an hour, and the median is printed.
`--fleet` series of one minute are read back as columns at the end, which is what evaluation does each minute.
`--raw` also writes the observations themselves, for percentile_cont on them beside it (slow).
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.rollup import Rollup, regroup, roll_up
from cxgauge.metrics.store.embedded import EmbeddedPostgres
from cxgauge.metrics.store.rows import observation_rows, rollup_rows
from cxgauge.metrics.store.store import Store

DAY = 86_400
START = 1_767_225_600  # 2026-01-01T00:00:00Z
FUNCTIONS = {
    "one step, p50/p95/p99 of 7 days": "SELECT * FROM quantiles('flow', 'step_0', {span}, ARRAY[0.5, 0.95, 0.99])",
    "one step, summary of 7 days": "SELECT * FROM step_summary('flow', 'step_0', {span})",
    "one step, good-answer ratio of 7 days": "SELECT good_answer_ratio('flow', 'step_0', {span})",
    "one step, counts by hour": "SELECT * FROM step_timeseries('flow', 'step_0', {span}, '1 hour')",
    "one step, quantiles by hour": "SELECT * FROM quantile_timeseries('flow', 'step_0', {span}, '1 hour')",
    "one step, counts by 10 minutes": "SELECT * FROM step_timeseries('flow', 'step_0', {span}, '10 minutes')",
    "one step, quantiles by 10 minutes": "SELECT * FROM quantile_timeseries('flow', 'step_0', {span}, '10 minutes')",
    "one step, checks by hour": "SELECT * FROM check_timeseries('flow', 'step_0', {span}, '1 hour')",
    "one step, distribution": "SELECT * FROM distribution('flow', 'step_0', {span})",
    "all steps, p50/p95/p99 of 7 days": (
        "SELECT s.step, q.* FROM (SELECT DISTINCT step FROM series WHERE flow = 'flow') AS s, "
        "quantiles('flow', s.step, {span}, ARRAY[0.5, 0.95, 0.99]) AS q"
    ),
}
RAW = (
    "SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration_seconds) FROM observations "
    "JOIN series USING (series_id) WHERE step = 'step_0' AND verdict < 5 AND observed_at >= {start} AND observed_at < {end}"
)


def load(store: Store, arguments: argparse.Namespace) -> None:
    """Write a week."""
    random = np.random.default_rng(1)
    keys = tuple(
        SeriesKey("flow", f"step_{n}", (("channel", "app"),), ("total", "details")) for n in range(arguments.series)
    )
    ids = store._catalog.resolve(keys).ids
    pieces = 7 * 4
    size = arguments.observations // pieces
    for piece in range(pieces):
        records = np.zeros(size, dtype=RECORD)
        records["observed_at_us"] = (START + piece * DAY // 4) * 1_000_000 + np.sort(
            random.integers(0, DAY // 4 * 1_000_000, size)
        )
        records["series"] = ids[random.integers(0, len(ids), size)]
        records["duration_seconds"] = np.exp(random.normal(0, 0.5, size))
        records["verdict"] = random.choice([0, 1, 4, 7], size, p=[0.95, 0.03, 0.01, 0.01])
        records["checks"] = 0b0101
        rollup = roll_up(ObservationBatch(keys, records), 60)
        with store.connection() as connection, connection.transaction():
            copy(connection, "window_rollups", rollup_rows([rollup], rolled=False))
            if arguments.raw:
                columns = {**{name: records[name] for name in RECORD.names or ()}, "series_id": records["series"]}
                copy(connection, "observations", observation_rows(columns))


def copy(connection: Any, table: str, data: bytes) -> None:
    """Copy rows as the store does."""
    from cxgauge.metrics.store.named_queries import named_query

    with connection.cursor() as cursor, cursor.copy(named_query(f"write.copy_{table}")) as stream:
        stream.write(data)


def load_fleet(store: Store, size: int) -> float:
    """One minute of many series; returns the minute."""
    keys = [SeriesKey(f"fleet_{n // 1000}", f"step_{n % 20}", (("branch", str(n)),)) for n in range(size)]
    ids = store._catalog.resolve(keys).ids
    minute = START + 8 * DAY
    random = np.random.default_rng(2)
    records = np.zeros(size * 20, dtype=RECORD)
    records["observed_at_us"] = minute * 1_000_000
    records["series"] = np.repeat(ids, 20)
    records["duration_seconds"] = np.exp(random.normal(0, 0.5, len(records)))
    rollup = roll_up(ObservationBatch((), records), 60)
    with store.connection() as connection, connection.transaction():
        copy(connection, "window_rollups", rollup_rows([rollup], rolled=False))
    return minute


def asking(connection: Any, query: bytes) -> Callable[[], object]:
    """A call that asks ``query``."""
    return lambda: connection.execute(query).fetchall()


def server_seconds(connection: Any) -> float:
    """Processor time of the connection's server process, if it is on this machine: what a busy machine cannot blur."""
    try:
        return int(Path(f"/proc/{connection.info.backend_pid}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return float("nan")


def median_milliseconds(call: Callable[[], object], rounds: int) -> float:
    """Median time of one call."""
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        taken.append((time.perf_counter() - started) * 1e3)
    return statistics.median(taken)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="questions of a week, from rollups")
    parser.add_argument("--observations", type=int, default=10_000_000)
    parser.add_argument("--series", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fleet", type=int, default=100_000)
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--dsn", help="a database that may be written to; without it an embedded server")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cxgauge-bench-")))
        folder.chmod(0o755)
        dsn = arguments.dsn
        if dsn is None:
            server = EmbeddedPostgres(folder / "pg")
            stack.callback(server.remove)
            dsn = server.start()
        store = stack.enter_context(Store.open(dsn, schema="cxgauge_bench"))
        store.migrate()
        started = time.perf_counter()
        load(store, arguments)
        loaded = time.perf_counter()
        rows = store.compact()
        compacted = time.perf_counter()
        with store.connection() as connection:
            connection.execute("VACUUM ANALYZE window_rollups, hour_rollups, series")
            sizes = connection.execute(
                "SELECT (SELECT sum(pg_column_size(r.*)) FROM window_rollups AS r), (SELECT sum(pg_column_size(r.*)) FROM hour_rollups AS r)"
            ).fetchone()
        assert sizes is not None
        print(
            f"Python {platform.python_version()}, {os.cpu_count()} cores, PostgreSQL {store.facts.postgresql}, "
            f"{store.facts.tier}; {arguments.observations:,} observations, {arguments.series} series, 7 days, {rows:,} windows"
        )
        print(
            f"rolled up and written in {loaded - started:.1f} s, added up in {compacted - loaded:.1f} s "
            f"({rows / (compacted - loaded):,.0f} rows/s)"
        )
        print(
            "bytes an observation: windows {:.1f}, hours {:.2f}".format(
                *(float(size) / arguments.observations for size in sizes)
            )
        )
        span = f"to_timestamp({START + 1000}), to_timestamp({START + 7 * DAY - 1000})"
        with store.connection() as connection:
            connection.execute("SET max_parallel_workers_per_gather = 0")  # its work would not be counted
            for name, query in FUNCTIONS.items():
                text = query.format(span=span).encode()
                before = server_seconds(connection)
                wall = median_milliseconds(asking(connection, text), arguments.rounds)
                spent = (server_seconds(connection) - before) / arguments.rounds * 1e3
                print(f"{name:<42}{wall:>9.1f} ms{spent:>9.1f} ms of the server's processor")
            if arguments.raw:
                text = RAW.format(
                    start=f"to_timestamp({START + 1000})", end=f"to_timestamp({START + 7 * DAY - 1000})"
                ).encode()
                print(
                    f"{'one step, percentile_cont on observations':<42}{median_milliseconds(lambda: connection.execute(text).fetchall(), 1):>9.1f} ms"
                )
        read: list[Rollup] = []

        def columns(**selection: Any) -> Callable[[], object]:
            return lambda: read.append(store.read_rollups(START, START + 7 * DAY, "flow", **selection)[0])

        print(
            f"{'columns: one step, hours':<42}{median_milliseconds(columns(step='step_0', hours=True), arguments.rounds):>9.1f} ms"
        )
        print(
            f"{'columns: one step, minutes':<42}{median_milliseconds(columns(step='step_0'), arguments.rounds):>9.1f} ms"
        )
        print(f"{'columns: all steps, hours':<42}{median_milliseconds(columns(hours=True), arguments.rounds):>9.1f} ms")
        whole = read[-1]
        print(
            f"{'… of which adding up the hours':<42}{median_milliseconds(lambda: regroup(whole, window_seconds=3600 * 24 * 7), 3):>9.1f} ms"
        )
        if arguments.fleet:
            minute = load_fleet(store, arguments.fleet)
            store.read_rollups(minute, minute + 60)
            name = f"columns: one minute of {arguments.fleet:,} series"
            print(
                f"{name:<42}{median_milliseconds(lambda: store.read_rollups(minute, minute + 60), arguments.rounds):>9.1f} ms"
            )
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("DROP SCHEMA cxgauge_bench CASCADE")


if __name__ == "__main__":
    main()
