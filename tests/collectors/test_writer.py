"""The writer between a real spool and real servers: everything once, in spite of refusals and broken connections."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cxgauge.collectors.spool import ProblemKind, ResumePoint, SpoolProblem, SpoolReader, SpoolWriter
from cxgauge.collectors.writer import Writer, WriterSettings
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.store.connection import DatabaseSettings
from cxgauge.metrics.store.store import Store, StoreSettings

FAST = WriterSettings(rows_per_transaction=100, linger_seconds=0.01, retry_first_seconds=0.02, retry_limit_seconds=0.05)
SERIES = (SeriesKey("bill_inquiry", "total"),)


def batch_of(size: int, duration: float = 1.0, series: tuple[SeriesKey, ...] = SERIES) -> ObservationBatch:
    records = np.zeros(size, dtype=RECORD)
    records["observed_at_us"] = int(time.time() * 1_000_000)
    records["duration_seconds"] = duration
    records["flow_instance"] = np.frombuffer(os.urandom(16 * size), dtype="V16")
    return ObservationBatch(series, records)


def count(store: Store) -> tuple[int, int, int]:
    """Observations, distinct ones among them, and observations in rollups."""
    with store.connection() as connection:
        row = connection.execute(
            "SELECT count(*), count(DISTINCT flow_instance), (SELECT coalesce(sum(good), 0) FROM window_rollups) "
            "FROM observations"
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])


@pytest.fixture
def store(migrated_dsn: str) -> Iterator[Store]:
    settings = StoreSettings(DatabaseSettings(migrated_dsn, connect_timeout_seconds=1.0))
    with Store(settings) as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolWriter]:
    with SpoolWriter(tmp_path / "spool", "test", sync="interval", segment_bytes=20_000) as opened:
        yield opened


def reader_of(spool: SpoolWriter) -> SpoolReader:
    return SpoolReader(spool.directory)


def write_all(writer: Writer) -> int:
    total = 0
    while rows := writer.write_once():
        total += rows
    return total


def test_everything_is_written_once_and_released(store: Store, spool: SpoolWriter, tmp_path: Path) -> None:
    other = SpoolWriter(tmp_path / "spool", "other", sync="interval")
    committed: list[ObservationBatch] = []
    writer = Writer(store, reader_of(spool), FAST, on_committed=committed.extend)
    for _ in range(20):
        spool.append(batch_of(30))
        other.append(batch_of(7))
    writer.measure_lag()
    assert writer.progress.lag_bytes > 20 * 37 * RECORD.itemsize
    assert write_all(writer) == 740
    assert count(store) == (740, 740, 740)
    assert sum(map(len, committed)) == 740
    writer.measure_lag()
    assert (writer.progress.lag_bytes, writer.progress.lag_seconds) == (0, 0.0)
    assert writer.progress.observations == 740
    assert writer.progress.transactions >= 7
    assert len(list((tmp_path / "spool" / spool.source).glob("*.segment"))) == 1

    # A new writer goes on where the first one ended; sources whose producer has gone disappear.
    other.append(batch_of(5))
    other.close()
    successor = Writer(store, reader_of(spool), FAST)
    assert write_all(successor) == 5
    assert count(store) == (745, 745, 745)
    assert reader_of(spool).sources() == [spool.source]


def test_what_was_committed_but_not_released_is_released_by_the_next(store: Store, spool: SpoolWriter) -> None:
    for _ in range(30):
        spool.append(batch_of(30))
    chunk = reader_of(spool).read(spool.source, ResumePoint(), limit_bytes=1 << 24)
    store.write(chunk.batches, f"spool/{spool.source}", ResumePoint(), chunk.next)  # and then it was killed
    assert Writer(store, reader_of(spool), FAST).write_once() == 0
    assert len(list((spool.directory / spool.source).glob("*.segment"))) == 1
    assert count(store) == (900, 900, 900)


def test_stopping_drains_the_spool(store: Store, spool: SpoolWriter) -> None:
    stop = threading.Event()
    writer = Writer(store, reader_of(spool), FAST)
    thread = threading.Thread(target=writer.run, args=(stop,))
    thread.start()
    for _ in range(50):
        spool.append(batch_of(30))
    stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert count(store) == (1500, 1500, 1500)
    assert writer.progress.last_error is None


def test_sources_that_ended_without_an_observation_disappear(store: Store, spool: SpoolWriter) -> None:
    SpoolWriter(spool.directory, "idle").close()
    assert len(reader_of(spool).sources()) == 2
    assert Writer(store, reader_of(spool), FAST).write_once() == 0
    assert reader_of(spool).sources() == [spool.source]


def test_a_lost_stretch_of_the_spool_is_counted_once_and_only_with_its_commit(store: Store, spool: SpoolWriter) -> None:
    problems: list[SpoolProblem] = []
    spool.append(batch_of(10))
    spool.append(batch_of(10))
    spool.close()
    (segment,) = (spool.directory / spool.source).glob("*.segment")
    damaged = bytearray(segment.read_bytes())
    damaged[len(damaged) - 25 * RECORD.itemsize // 2] ^= 0xFF  # within the first record
    segment.write_bytes(damaged)
    writer = Writer(store, reader_of(spool), FAST, on_problem=problems.append)
    with store.connection() as connection:
        connection.execute("ALTER TABLE resume_points RENAME TO hidden")
    for _ in range(2):
        with pytest.raises(psycopg.errors.UndefinedTable):
            writer.write_once()
    assert (problems, writer.progress.counts) == ([], {})
    with store.connection() as connection:
        connection.execute("ALTER TABLE hidden RENAME TO resume_points")
    assert write_all(writer) == 10
    assert [problem.kind for problem in problems] == [ProblemKind.CORRUPT]
    assert writer.progress.counts["corrupt"] == 1
    assert count(store) == (10, 10, 10)


def test_what_is_long_gone_is_forgotten_once_an_hour(store: Store, spool: SpoolWriter) -> None:
    now = time.time() + 8 * 86_400
    writer = Writer(store, reader_of(spool), FAST, clock=lambda: now)
    store.write([], "spool/gone", ResumePoint(), ResumePoint(1, 1))
    spool.append(batch_of(10))
    writer.write_once()
    unborn = spool.directory / ".creating-gone"
    unborn.mkdir()
    assert writer.write_once() == 0
    assert store.position("spool/gone") is None
    assert store.position(f"spool/{spool.source}") is not None
    assert not unborn.exists()


def test_a_listener_that_fails_does_not_stop_the_writer(store: Store, spool: SpoolWriter) -> None:
    def fail(_: list[ObservationBatch]) -> None:
        raise RuntimeError("listener")

    writer = Writer(store, reader_of(spool), FAST, on_committed=fail)
    spool.append(batch_of(10))
    assert writer.write_once() == 10
    spool.append(batch_of(10))
    assert writer.write_once() == 10
    assert count(store) == (20, 20, 20)


def test_a_batch_that_the_database_refuses_is_kept_aside_and_the_rest_written(store: Store, spool: SpoolWriter) -> None:
    with store.connection() as connection:
        connection.execute("ALTER TABLE observations ADD CONSTRAINT short CHECK (duration_seconds < 100)")
    poison = batch_of(3, duration=1000.0)
    for batch in (batch_of(10), poison, batch_of(20)):
        spool.append(batch)
    writer = Writer(store, reader_of(spool), FAST)
    assert write_all(writer) == 30
    assert count(store) == (30, 30, 30)
    assert writer.progress.refused == 3
    kept = list((spool.directory / "corrupt").glob("refused-*.batch"))
    assert [ObservationBatch.from_bytes(path.read_bytes()).records.tolist() for path in kept] == [
        poison.records.tolist()
    ]


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * 5000], ids=["nul", "surrogate", "endless"])
def test_names_that_no_database_takes_are_made_storable(store: Store, spool: SpoolWriter, text: str) -> None:
    series = (SeriesKey("f", "s", (("channel", text),), (f"{text} check",)), SeriesKey("f" + text, "s"))
    batch = batch_of(10, series=series)
    batch.records["series"][5:] = 1
    store.write([batch], "a", ResumePoint(), ResumePoint(1, 1))
    spool.append(batch_of(10))
    assert write_all(Writer(store, reader_of(spool), FAST)) == 10
    assert count(store) == (20, 20, 20)


def test_the_database_may_go_away_and_come_back(store: Store, spool: SpoolWriter) -> None:
    writer = Writer(store, reader_of(spool), FAST)
    stop = threading.Event()
    thread = threading.Thread(target=writer.run, args=(stop,))
    name = conninfo_to_dict(store.settings.database.dsn)["dbname"]
    with psycopg.connect(store.settings.database.dsn, dbname="postgres", autocommit=True) as admin:
        thread.start()
        spool.append(batch_of(10))
        wait_until(lambda: writer.progress.observations == 10)
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        spool.append(batch_of(10))
        wait_until(lambda: writer.progress.last_error is not None)
        assert writer.progress.failures > 0
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        wait_until(lambda: writer.progress.observations == 20)
    stop.set()
    thread.join(30)
    assert writer.progress.last_error is None
    assert count(store) == (20, 20, 20)


def test_a_commit_whose_answer_was_lost_is_noticed(migrated_embedded_dsn: str, tmp_path: Path) -> None:
    with Store.open(migrated_embedded_dsn) as direct:
        direct.migrate()
    spool = SpoolWriter(tmp_path / "spool", "test")
    with LossyProxy(migrated_embedded_dsn) as proxy, Store.open(proxy.dsn) as store:
        committed: list[ObservationBatch] = []
        writer = Writer(store, reader_of(spool), FAST, on_committed=committed.extend)
        spool.append(batch_of(10))
        assert writer.write_once() == 10
        spool.append(batch_of(10))
        proxy.lose_next_commit.set()
        with pytest.raises(psycopg.OperationalError):
            writer.write_once()
        assert not proxy.lose_next_commit.is_set()
        assert count(store) == (20, 20, 20)
        spool.append(batch_of(10))
        assert write_all(writer) == 10
        assert count(store) == (30, 30, 30)
        assert sum(map(len, committed)) == 30
        assert writer.progress.observations == 30
    spool.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class LossyProxy:
    """A socket in front of the server's that, when told to, cuts the line instead of answering COMMIT."""

    def __init__(self, dsn: str) -> None:
        import tempfile

        parts = conninfo_to_dict(dsn)
        self._target = f"{parts['host']}/.s.PGSQL.{parts['port']}"
        self._folder = tempfile.TemporaryDirectory(prefix="cxgauge-proxy-")
        self.dsn = make_conninfo(dsn, host=self._folder.name)
        self.lose_next_commit = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self._folder.name}/.s.PGSQL.{parts['port']}")
        self._listener.listen()
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def __enter__(self) -> "LossyProxy":
        return self

    def __exit__(self, *_: Any) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)
        self._folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            self._start(self._forward, client, server, False)
            self._start(self._forward, server, client, True)

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _forward(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if answers and b"COMMIT\0" in data and self.lose_next_commit.is_set():
                    self.lose_next_commit.clear()
                    break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
