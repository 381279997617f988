"""Any process may be killed at any moment: nothing that was confirmed is lost, and nothing counts twice."""

from __future__ import annotations

import time
from typing import Any

import psycopg


def test_nothing_happens(pipeline: Any) -> None:
    pipeline.send(3)
    time.sleep(1.0)
    pipeline.settle()


def test_the_receiver_is_killed(pipeline: Any, moments: Any) -> None:
    senders = pipeline.send(3)
    for _ in moments(0.1, 0.8):
        pipeline.receiver.kill()
        pipeline.receiver.start()
    time.sleep(0.3)
    pipeline.settle()
    assert sum(sender.retries for sender in senders) > 0


def test_the_writer_is_killed(pipeline: Any, moments: Any) -> None:
    pipeline.send(2)
    for _ in moments(0.05, 0.6):
        pipeline.writer.kill()
        pipeline.writer.start()
    pipeline.settle()


def test_the_database_is_killed_in_the_middle_of_batches(pipeline: Any, database: Any, moments: Any) -> None:
    pipeline.send(2)
    for _ in moments(0.2, 0.8):
        database.kill()
        time.sleep(0.2)
        database.start()
    pipeline.settle()


def test_the_embedded_database_is_killed(start_pipeline: Any, embedded_database: Any, moments: Any) -> None:
    pipeline = start_pipeline(server=embedded_database).start()
    pipeline.send(2)
    for _ in moments(0.2, 0.8):
        embedded_database.kill()
        time.sleep(0.2)
        embedded_database.start()
    pipeline.settle()


def test_everything_is_killed_at_once(pipeline: Any, database: Any, moments: Any) -> None:
    pipeline.send(2)
    for _ in moments(0.2, 0.8):
        database.kill()
        pipeline.writer.kill()
        pipeline.receiver.kill()
        database.start()
        pipeline.start()
    pipeline.settle()


def test_the_database_is_gone_while_traffic_goes_on_then_comes_back(pipeline: Any, database: Any) -> None:
    senders = pipeline.send(2)
    time.sleep(0.3)
    database.kill()
    before = len(pipeline.confirmed())
    time.sleep(2.5)
    assert len(pipeline.confirmed()) > before + 10 * 40
    database.start()
    pipeline.settle()
    assert {status for sender in senders for status in sender.statuses} == {200}


def test_sigterm_under_load_loses_nothing_and_ends_at_once(pipeline: Any, moments: Any) -> None:
    pipeline.send(3)
    for _ in moments(0.2, 0.6):
        began = time.monotonic()
        said = pipeline.receiver.terminate()
        assert time.monotonic() - began < 10
        assert "IntakeCounters(" in said
        pipeline.receiver.start()
        pipeline.writer.terminate()
        pipeline.writer.start()
    pipeline.settle()


def test_connections_to_the_database_are_cut(pipeline: Any, moments: Any) -> None:
    pipeline.send(2)
    for _ in moments(0.1, 0.4):
        with psycopg.connect(pipeline.dsn, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
    pipeline.settle()
