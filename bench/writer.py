"""Rows a second into the database: the store's write path beside psql's \\copy of the same observations.

    .venv/bin/python bench/writer.py [--rows 300000] [--batch 10000] [--rounds 3] [--dsn DSN]

The reference (1.0) is `psql \\copy` in binary, of the same observations already encoded, `--batch` rows a transaction,
into a table with a unique index on (time, id) and one on (series, time): what one would do without a resume point.
`store` is the whole write path: series and checks resolved, times checked, rolled up, encoded, observations and rollup
rows copied and the resume point advanced in one transaction. Rounds are interleaved; figures are medians. Without
`--dsn` an embedded PostgreSQL is used, with fsync on as always.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psycopg
from psycopg.conninfo import make_conninfo

from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.rollup import ORIGIN_BY_SOURCE, roll_up_columns
from cxgauge.metrics.store.embedded import EmbeddedPostgres
from cxgauge.metrics.store.rows import observation_rows, rollup_rows
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.write import StoredPosition

SERIES = tuple(
    SeriesKey("bill_inquiry", f"step_{n % 5}", (("channel", "app"), ("version", f"8.{n // 5}")), ("total", "details"))
    for n in range(50)
)
REFERENCE = """
DROP TABLE IF EXISTS reference;
CREATE TABLE reference (
    observed_at timestamptz NOT NULL, duration_seconds float8 NOT NULL, checks int8 NOT NULL, series_id int NOT NULL,
    verdict int2 NOT NULL, source int2 NOT NULL, flow_instance uuid, customer uuid, trace_id uuid, span_id int8
);
CREATE UNIQUE INDEX ON reference (observed_at, flow_instance);
CREATE INDEX ON reference (series_id, observed_at);
"""


def batches_of(rows: int, batch: int) -> list[ObservationBatch]:
    """Observations of an hour at a steady rate, with all ids."""
    random = np.random.default_rng(1)
    records = np.zeros(rows, dtype=RECORD)
    start = (time.time() - 3600) * 1e6
    records["observed_at_us"] = start + np.arange(rows) * (3600e6 / rows)
    records["duration_seconds"] = np.exp(random.normal(0, 0.5, rows))
    records["series"] = random.integers(0, len(SERIES), rows)
    records["verdict"] = random.choice([0, 1, 4, 7], rows, p=[0.95, 0.03, 0.01, 0.01])
    records["checks"] = 0b0101
    for name in ("flow_instance", "customer", "trace_id"):
        records[name] = np.frombuffer(random.bytes(16 * rows), dtype="V16")
    records["span_id"] = random.integers(1, 2**62, rows)
    return [ObservationBatch(SERIES, records[at : at + batch]) for at in range(0, rows, batch)]


def columns_of(batch: ObservationBatch) -> dict[str, np.ndarray]:
    """A batch as the columns that ``observation_rows`` encodes."""
    return {**{name: batch.records[name] for name in RECORD.names or ()}, "series_id": batch.records["series"]}


def by_psql(psql: str, dsn: str, batches: list[ObservationBatch], folder: Path) -> float:
    """Seconds that psql takes to copy the batches from files, one transaction each."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(REFERENCE)
    script = folder / "copy.sql"
    lines = []
    for number, batch in enumerate(batches):
        path = folder / f"{number}.copy"
        path.write_bytes(observation_rows(columns_of(batch)))
        lines.append(f"\\copy reference from '{path}' with (format binary)\n")
    script.write_text("".join(lines))
    started = time.perf_counter()
    subprocess.run([psql, dsn, "-q", "-v", "ON_ERROR_STOP=1", "-f", str(script)], check=True)
    return time.perf_counter() - started


def by_store(store: Store, batches: list[ObservationBatch], source: str) -> float:
    """Seconds that the store takes to write the batches, one transaction each."""
    with store.connection() as connection:
        connection.execute("TRUNCATE observations, window_rollups, hour_rollups")
    store.series()
    started = time.perf_counter()
    for number, batch in enumerate(batches):
        store.write([batch], source, StoredPosition(0, number), StoredPosition(0, number + 1))
    return time.perf_counter() - started


def client_nanoseconds(batches: list[ObservationBatch]) -> tuple[float, float]:
    """Nanoseconds a row of rolling up and of encoding, on this side of the connection."""
    rows = sum(map(len, batches))
    started = time.perf_counter()
    rollups = []
    for batch in batches:
        columns = columns_of(batch)
        rollups.append(
            roll_up_columns(
                columns["observed_at_us"],
                duration_seconds=columns["duration_seconds"],
                series=columns["series_id"],
                verdict=columns["verdict"],
                checks=columns["checks"],
                origin=ORIGIN_BY_SOURCE[columns["source"]],
                window_seconds=60,
            )
        )
    rolled = time.perf_counter()
    for batch, rollup in zip(batches, rollups, strict=True):
        observation_rows(columns_of(batch))
        rollup_rows([rollup], rolled=False)
    encoded = time.perf_counter()
    return (rolled - started) / rows * 1e9, (encoded - rolled) / rows * 1e9


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="rows a second into the database")
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dsn", help="a database that may be written to; without it an embedded server")
    arguments = parser.parse_args()
    psql = shutil.which("psql")
    batches = batches_of(arguments.rows, arguments.batch)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cxgauge-bench-")))
        folder.chmod(0o755)
        dsn = arguments.dsn
        if dsn is None:
            server = EmbeddedPostgres(folder / "pg")
            stack.callback(server.remove)
            dsn = server.start()
        store = stack.enter_context(Store.open(make_conninfo(dsn), schema="cxgauge_bench"))
        store.migrate()
        facts = store.facts
        print(
            f"Python {platform.python_version()}, {os.cpu_count()} cores, PostgreSQL {facts.postgresql}, {facts.tier}; "
            f"{arguments.rows:,} rows, {arguments.batch:,} a transaction"
        )
        taken: dict[str, list[float]] = {"psql": [], "store": []}
        for number in range(arguments.rounds):
            if psql:
                taken["psql"].append(by_psql(psql, dsn, batches, folder))
            taken["store"].append(by_store(store, batches, f"bench {time.time_ns()} {number}"))
        rate = {name: arguments.rows / statistics.median(seconds) for name, seconds in taken.items() if seconds}
        for name, rows in rate.items():
            ratio = f"{rows / rate['psql']:5.2f}" if "psql" in rate else "  -  "
            print(f"{name:<8}{rows:>12,.0f} rows/s   {ratio}")
        rolling, encoding = client_nanoseconds(batches)
        print(f"of which on the client: rolling up {rolling:.0f} ns a row, encoding {encoding:.0f} ns a row")
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS reference")
            connection.execute("DROP SCHEMA cxgauge_bench CASCADE")


if __name__ == "__main__":
    main()
