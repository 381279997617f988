"""Writer and database killed at random moments, many times: nothing is lost and nothing doubled.

The seed is printed; CXGAUGE_KILL_SEED repeats it (kills are timed, so not to the microsecond), and CXGAUGE_KILL_SECONDS
lengthens the killing.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psycopg
import pytest

from cxgauge.collectors.spool import SpoolReader, SpoolWriter
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.rollup import regroup, roll_up
from cxgauge.metrics.store.embedded import EmbeddedPostgres
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.verdict import VERDICT_COUNT

FEWEST = 5  # kills that a run must have seen
SECONDS = float(os.environ.get("CXGAUGE_KILL_SECONDS", "7"))
SERIES = tuple(SeriesKey("bill_inquiry", f"step_{n}", (("channel", "app"),), ("total", "details")) for n in range(4))

# Keeps the imports, so that a writer starts within milliseconds of being asked for; each is a process of its own.
NURSERY = """
import os, signal, sys, threading
from cxgauge.collectors.spool import SpoolReader
from cxgauge.collectors.writer import Writer, WriterSettings
from cxgauge.metrics.store.store import Store

dsn, spool = sys.argv[1:]
signal.signal(signal.SIGCHLD, signal.SIG_IGN)

def tidy(store):
    while True:
        try:
            store.compact()
        except Exception:
            pass

for _ in sys.stdin:
    pid = os.fork()
    if pid == 0:
        store = Store.open(dsn)
        threading.Thread(target=tidy, args=(store,), daemon=True).start()
        settings = WriterSettings(300, linger_seconds=0.001, retry_first_seconds=0.01, retry_limit_seconds=0.05)
        Writer(store, SpoolReader(spool), settings).run(threading.Event())
    print(pid, flush=True)
"""


class Nursery:
    """Starts writers."""

    def __init__(self, dsn: str, spool: Path) -> None:
        command = [sys.executable, "-c", NURSERY, dsn, str(spool)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start_writer(self) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        with self._process:
            self._process.kill()


class Feeder(threading.Thread):
    """Appends batches to three sources until told to stop, and remembers them; makes one source anew at times."""

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__()
        self.stop = threading.Event()
        self.batches: list[ObservationBatch] = []
        self._directory = directory
        self._random = np.random.default_rng(seed)

    def run(self) -> None:
        sources = [self._open() for _ in range(3)]
        while not self.stop.wait(0.004):
            number = int(self._random.integers(3))
            if self._random.random() < 0.01:
                sources[number].close()
                sources[number] = self._open()
            batch = self._batch(int(self._random.integers(1, 120)))
            sources[number].append(batch)
            self.batches.append(batch)
        for source in sources:
            source.close()

    def _open(self) -> SpoolWriter:
        return SpoolWriter(self._directory, "test", sync="interval", segment_bytes=50_000)

    def _batch(self, size: int) -> ObservationBatch:
        records = np.zeros(size, dtype=RECORD)
        ago = self._random.integers(300, 7200, size)
        records["observed_at_us"] = (int(time.time()) - ago) * 1_000_000
        records["duration_seconds"] = self._random.integers(1, 4096, size) / 1024  # sums of such are exact
        records["series"] = self._random.integers(0, len(SERIES), size)
        records["verdict"] = self._random.integers(0, VERDICT_COUNT, size)
        records["checks"] = self._random.integers(0, 16, size)
        records["flow_instance"] = np.frombuffer(self._random.bytes(16 * size), dtype="V16")
        return ObservationBatch(SERIES, records)


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgres]:
    with tempfile.TemporaryDirectory(prefix="cxgauge-kill-") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedPostgres(Path(folder) / "pg")
        server.start()
        yield server
        server.remove()


def test_writer_and_embedded_database_killed_at_random(own_server: EmbeddedPostgres, tmp_path: Path) -> None:
    def kill_server() -> None:
        own_server.kill()
        own_server.start()

    kill_and_compare(own_server.dsn(), tmp_path / "spool", kill_server)


def test_writer_and_its_connections_killed_at_random_on_timescaledb(timescaledb_dsn: str, tmp_path: Path) -> None:
    with psycopg.connect(timescaledb_dsn, autocommit=True) as admin:

        def kill_connections() -> None:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'cxgauge' AND datname = current_database()"
            )

        kill_and_compare(timescaledb_dsn, tmp_path / "spool", kill_connections)


def kill_and_compare(dsn: str, spool: Path, hurt_database: Callable[[], None]) -> None:
    seed = int(os.environ.get("CXGAUGE_KILL_SEED", time.time_ns() % 1_000_000))
    print(f"CXGAUGE_KILL_SEED={seed}")
    chance = random.Random(seed)
    with Store.open(dsn) as store:
        store.migrate()
    feeder = Feeder(spool, seed)
    nursery = Nursery(dsn, spool)
    kills = hurts = 0
    try:
        writer = nursery.start_writer()
        feeder.start()
        deadline = time.monotonic() + SECONDS
        # On a busy machine a restart takes seconds: go on until enough has been killed to say anything.
        while time.monotonic() < deadline or (kills + hurts <= FEWEST and time.monotonic() < deadline + 60):
            time.sleep(chance.expovariate(1 / 0.12))
            if chance.random() < 0.25:
                hurt_database()
                hurts += 1
            else:
                os.kill(writer, signal.SIGKILL)
                kills += 1
                writer = nursery.start_writer()
        feeder.stop.set()
        feeder.join()
        reader = SpoolReader(spool)
        limit = time.monotonic() + 60
        while reader.sources():  # each goes away once it has been written, for its producer has gone
            assert time.monotonic() < limit, f"the writer left {reader.sources()}"
            time.sleep(0.02)
        os.kill(writer, signal.SIGKILL)
    finally:
        feeder.stop.set()
        nursery.close()
        with suppress(ProcessLookupError):
            os.kill(writer, signal.SIGKILL)
    assert kills + hurts > FEWEST
    compare(dsn, np.concatenate([batch.records for batch in feeder.batches]))
    print(f"{kills} writers killed, database hurt {hurts} times, {sum(map(len, feeder.batches))} observations")


def compare(dsn: str, sent: np.ndarray) -> None:
    with Store.open(dsn) as store:
        with store.connection() as connection:
            rows = connection.execute(
                "SELECT verdict, count(*), count(DISTINCT flow_instance), sum(duration_seconds) FROM observations "
                "GROUP BY verdict ORDER BY verdict"
            ).fetchall()
        expected = []
        for verdict in range(VERDICT_COUNT):
            chosen = sent[sent["verdict"] == verdict]
            expected.append((verdict, len(chosen), len(chosen), float(chosen["duration_seconds"].sum())))
        assert rows == expected

        found, series = store.read_rollups(0, time.time() + 3600)
        numbers = {key.step: number for number, key in series.items()}
        sent = sent.copy()
        sent["series"] = np.array([numbers[key.step] for key in SERIES])[sent["series"]]
        rollup = roll_up(ObservationBatch((), sent), 60)
        for name in (
            "window_start",
            "series",
            "count",
            "sum_seconds",
            "offsets",
            "buckets",
            "bucket_counts",
            "verdicts",
            "checks",
        ):
            np.testing.assert_array_equal(getattr(found, name), getattr(rollup, name), err_msg=name)
        store.compact()
        hours, _ = store.read_rollups(0, time.time() + 3600, hours=True)
        by_hour = regroup(rollup, window_seconds=3600)
        np.testing.assert_array_equal(hours.verdicts, by_hour.verdicts)
        np.testing.assert_array_equal(hours.bucket_counts, by_hour.bucket_counts)
        np.testing.assert_array_equal(hours.sum_seconds, by_hour.sum_seconds)
