"""The recorder through the life of a process: threads, forks, the end, a full and a hanging disk."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cxgauge.collectors.recorder.recorder import Recorder
from cxgauge.collectors.spool import ResumePoint, SpoolReader, SpoolWriter
from cxgauge.collectors.spool.files import Files
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow

FLOW = """
name: bill_inquiry
title: {en: Bill inquiry, zh: 账单查询}
owner: cards
steps:
  - {name: bill_total, title: {en: Total, zh: 总额}, repeated: true, timeliness: {target: 1.0s}}
"""
PROGRAM = """
import os, sys, threading, time
from cxgauge.collectors.recorder.recorder import Recorder
from cxgauge.metrics.specification.flow import parse_flow

recorder = Recorder(flows={"bill_inquiry": parse_flow(%r, "bill.yml")}, spool=sys.argv[1], flush_interval_seconds=3600)

def record(count):
    for _ in range(count):
        with recorder.flow("bill_inquiry") as flow, flow.step("bill_total"):
            pass
"""


def flows() -> dict[str, FlowSpec]:
    return {"bill_inquiry": parse_flow(FLOW, "bill.yml")}


def record(recorder: Recorder, count: int) -> None:
    for _ in range(count):
        with recorder.flow("bill_inquiry") as flow, flow.step("bill_total"):
            pass


def pass_steps(recorder: Recorder, count: int) -> None:
    """Steps of a flow that is not left, so that one entry is one observation."""
    flow = recorder.flow("bill_inquiry")
    for _ in range(count):
        with flow.step("bill_total"):
            pass


def counts(spool: Path) -> list[int]:
    """Observations by source."""
    reader = SpoolReader(spool)
    return [sum(map(len, reader.read(source, ResumePoint()).batches)) for source in reader.sources()]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited for half a minute"
        time.sleep(0.005)


def run(spool: Path, program: str) -> subprocess.CompletedProcess[str]:
    text = PROGRAM % FLOW + textwrap.dedent(program)
    return subprocess.run(
        [sys.executable, "-W", "ignore:.*multi-threaded:DeprecationWarning", "-c", text, str(spool)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_many_threads_record_at_once(tmp_path: Path) -> None:
    with Recorder(flows=flows(), spool=tmp_path) as recorder:
        threads = [threading.Thread(target=record, args=(recorder, 500)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert recorder.flush(30)
        assert counts(tmp_path) == [4000]
        assert recorder.drops() == {}


def test_what_was_recorded_arrives_without_flushing(tmp_path: Path) -> None:
    with Recorder(flows=flows(), spool=tmp_path, flush_interval_seconds=0.01) as recorder:
        record(recorder, 5)
        wait_for(lambda: counts(tmp_path) == [5])


def test_a_half_full_buffer_is_flushed_before_the_interval_is_over(tmp_path: Path) -> None:
    with Recorder(flows=flows(), spool=tmp_path, flush_interval_seconds=3600, buffer_limit=100) as recorder:
        record(recorder, 60)
        wait_for(lambda: counts(tmp_path) and counts(tmp_path)[0] >= 50)


def test_the_end_of_the_process_flushes(tmp_path: Path) -> None:
    assert run(tmp_path, "record(7)").stderr == ""
    assert counts(tmp_path) == [7]


def test_an_unhandled_exception_flushes_too(tmp_path: Path) -> None:
    assert "ZeroDivisionError" in run(tmp_path, "record(7)\n1 / 0").stderr
    assert counts(tmp_path) == [7]


def test_a_forked_child_has_a_source_of_its_own_and_nothing_of_the_parents(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        record(3)
        recorder.flow("nope").step("x")
        child = os.fork()
        if not child:
            assert recorder.drops() == {}
            record(4)
            assert recorder.flush(30)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        record(1)
        """,
    )
    assert "Error" not in done.stderr
    assert sorted(counts(tmp_path)) == [4, 4]
    instances = [
        bytes(record["flow_instance"])
        for source in SpoolReader(tmp_path).sources()
        for batch in SpoolReader(tmp_path).read(source, ResumePoint()).batches
        for record in batch.records
    ]
    assert len(set(instances)) == 8


def test_a_fork_while_threads_record_and_flush(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        stop = threading.Event()
        def busy():
            while not stop.is_set():
                record(20)
                recorder.flush(30)
        threads = [threading.Thread(target=busy) for _ in range(3)]
        for thread in threads: thread.start()
        for _ in range(10):
            child = os.fork()
            if not child:
                record(5)
                os._exit(0 if recorder.flush(20) else 1)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for thread in threads: thread.join()
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(counts(tmp_path))[:10] == [5] * 10


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_multiprocessing_flush_at_their_end(tmp_path: Path, method: str) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        PROGRAM % FLOW
        + textwrap.dedent(
            f"""
            import multiprocessing
            if __name__ == "__main__":
                workers = [multiprocessing.get_context({method!r}).Process(target=record, args=(6,)) for _ in range(2)]
                for worker in workers: worker.start()
                for worker in workers: worker.join()
            """
        )
    )
    spool = tmp_path / "spool"
    done = subprocess.run([sys.executable, script, spool], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert counts(spool) == [6, 6]


def test_a_child_does_not_keep_its_dead_parents_source_alive(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        record(3)
        recorder.flush(30)
        child = os.fork()
        if not child:
            for descriptor in range(3):
                os.close(descriptor)  # or the test would wait for the end of the output
            time.sleep(60)
            os._exit(0)
        print(child, flush=True)
        os._exit(0)
        """,
    )
    child = int(done.stdout)
    try:
        (backlog,) = SpoolReader(tmp_path).backlog()
        assert not backlog.producer_lives
    finally:
        os.kill(child, signal.SIGKILL)


class StallingFiles(Files):
    """A disk that hangs in every sync while told to."""

    def __init__(self) -> None:
        self.awake = threading.Event()
        self.awake.set()
        self.stalled = threading.Event()

    def sync(self, descriptor: int) -> None:
        if not self.awake.is_set():
            self.stalled.set()
            self.awake.wait()
        super().sync(descriptor)


@pytest.fixture
def stalling() -> Iterator[StallingFiles]:
    files = StallingFiles()
    yield files
    files.awake.set()


def test_a_hanging_disk_costs_observations_and_not_the_hosts_time(tmp_path: Path, stalling: StallingFiles) -> None:
    recorder = Recorder(
        flows=flows(),
        spool=lambda: SpoolWriter(tmp_path, files=stalling, minimum_free_bytes=0),
        buffer_limit=100,
        flush_interval_seconds=0.01,
        exit_timeout_seconds=0.05,
    )
    pass_steps(recorder, 1)
    assert recorder.flush(30)
    stalling.awake.clear()
    pass_steps(recorder, 1)
    assert stalling.stalled.wait(30)
    pass_steps(recorder, 500)  # returns though nothing can be written
    assert not recorder.flush(0.01)
    assert not recorder.close()
    dropped = recorder.drops()["buffer_full"]
    assert dropped == 400
    stalling.awake.set()
    assert recorder.close(30)
    (count,) = counts(tmp_path)
    assert count + dropped == 502


def test_a_full_spool_keeps_observations_waiting_then_drops_and_counts(tmp_path: Path) -> None:
    recorder = Recorder(
        flows=flows(),
        spool=lambda: SpoolWriter(tmp_path, segment_bytes=4_000, maximum_bytes=20_000, minimum_free_bytes=0),
        buffer_limit=50,
        flush_interval_seconds=0.005,
    )
    recorded = 0
    while "spool_full" not in recorder.drops():
        pass_steps(recorder, 20)
        recorded += 20
        time.sleep(0.005)
    assert "maximum_bytes=20000" in str(recorder.problem)
    assert not recorder.flush(0.02)
    reader, found, point = SpoolReader(tmp_path), 0, ResumePoint()
    (source,) = reader.sources()
    while not recorder.flush(0.02):
        chunk = reader.read(source, point)
        found += sum(map(len, chunk.batches))
        point = chunk.next
        reader.release(source, point)
    assert recorder.problem is None
    assert recorder.close(30)
    found += sum(map(len, reader.read(source, point).batches))
    dropped = sum(recorder.drops().values())
    assert found + dropped == recorded


def test_a_spool_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    with Recorder(flows=flows(), spool=tmp_path / "spool", flush_interval_seconds=0.01) as recorder:
        record(recorder, 3)
        wait_for(lambda: recorder.problem)
        assert "cannot be written" in str(recorder.problem)
        (tmp_path / "spool").unlink()
        wait_for(lambda: recorder.problem is None)
        assert recorder.flush(30)
        assert counts(tmp_path / "spool") == [3]


def test_what_is_left_at_the_end_is_counted(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("in the way")
    recorder = Recorder(flows=flows(), spool=tmp_path / "spool", flush_interval_seconds=0.01)
    pass_steps(recorder, 3)
    assert recorder.close(30)
    assert recorder.drops() == {"spool_error": 3}


def test_what_a_full_spool_refused_to_the_end_is_counted(tmp_path: Path) -> None:
    recorder = Recorder(flows=flows(), spool=lambda: SpoolWriter(tmp_path, maximum_bytes=300, minimum_free_bytes=0))
    pass_steps(recorder, 3)
    assert recorder.close(30)
    assert recorder.drops() == {"spool_full": 3}
    assert counts(tmp_path) == [0]


def test_drops_are_told_to_the_log_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), Recorder(flows=flows(), spool=tmp_path) as recorder:
        recorder.flow("nope").step("x")
        record(recorder, 1)
        recorder.flush(30)
        recorder.flush(30)
    assert caplog.messages == ["1 observations were not recorded so far: {'unknown_flow': 1}"]


def test_a_signal_handler_may_record_while_its_thread_records(tmp_path: Path) -> None:
    with Recorder(flows=flows(), spool=tmp_path, buffer_limit=50, flush_interval_seconds=0.005) as recorder:
        seen = []

        def handler(*_: object) -> None:
            record(recorder, 1)
            seen.append(1)

        previous = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            while len(seen) < 100:
                record(recorder, 10)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        assert set(recorder.drops()) <= {"buffer_full"}
