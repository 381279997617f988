"""What is not taken, or not as it is, goes the way of the observations, by flow, step, hour and reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxgauge.collectors.receiver.sender_tokens import SenderTokens
from cxgauge.collectors.recorder.recorder import Recorder
from cxgauge.collectors.spool import ResumePoint, SpoolReader, SpoolWriter
from cxgauge.collectors.writer import Writer, WriterSettings
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.quality import counts_of, is_counts
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.store.store import Store

NOW = 1_767_225_600.0
HOUR = 3_600
BEFORE, AFTER = int(NOW) - HOUR, int(NOW)
Amounts = dict[tuple[int, str, str, str], int]


def left_out(directory: Path) -> Amounts:
    """What all sources of a spool say was left out."""
    found: Amounts = {}
    reader = SpoolReader(directory)
    for source in reader.sources():
        for batch in reader.read(source, ResumePoint()).batches:
            if is_counts(batch):
                for place, amount in counts_of(batch, NOW + HOUR).amounts.items():
                    found[place] = found.get(place, 0) + amount
    return found


@pytest.fixture
def receiver(start_receiver: Callable[..., Any]) -> Any:
    return start_receiver()


def test_duplicates_are_counted_in_the_hour_of_their_own(receiver: Any, trace: Callable[..., Any]) -> None:
    first, more = trace(), trace()
    old = first.span(end=NOW - HOUR - 5)
    new = first.span("details 1", end=NOW - 5, kind=1, attributes={"page": 1, "cached": False})
    for span in (old, new, new):
        more.scope.spans.add().CopyFrom(span)
    more.span()
    assert receiver.post("/v1/traces", first.to_bytes()).status == 200
    assert left_out(receiver.spool.directory) == {}
    assert receiver.post("/v1/traces", more.to_bytes()).status == 200
    assert left_out(receiver.spool.directory) == {
        (BEFORE - HOUR, "bill", "total", "duplicate"): 1, (BEFORE, "bill", "details", "duplicate"): 2,
    }  # fmt: skip
    assert len(receiver.stored()) == 3


def test_what_cannot_be_used_is_counted_by_its_step_where_that_is_known(
    receiver: Any, trace: Callable[..., Any]
) -> None:
    spans = trace()
    spans.span(seconds=-3)
    spans.span(span_id=bytes(8))
    spans.span(end=NOW + 60)
    spans.span()
    receiver.post("/v1/traces", spans.to_bytes())
    one = {"flow": "bill", "step": "total", "duration_seconds": 1}
    body = json.dumps([{**one, "step": "nope"}, {**one, "flow": "nope"}, one])
    assert receiver.post("/v1/observations", body.encode(), "application/json").json["accepted"] == 1
    assert left_out(receiver.spool.directory) == {
        (AFTER, "bill", "total", "invalid"): 2,
        (AFTER, "bill", "total", "time_corrected"): 1,
        (AFTER, "bill", "", "invalid"): 1,
        (AFTER, "", "", "invalid"): 1,
    }


def test_requests_that_are_not_read_and_flows_that_are_not_allowed(
    start_receiver: Callable[..., Any], tmp_path: Path, trace: Callable[..., Any]
) -> None:
    tokens = SenderTokens(tmp_path / "tokens.json")
    token, _ = tokens.add("other", flows=("other",))
    receiver = start_receiver(app_arguments={"tokens": tokens}, body_bytes_limit=2_000)
    receiver.post("/v1/traces", b"x" * 3_000)
    receiver.post("/v1/traces", b"\xff")
    receiver.post("/v1/traces", b"", authorization="Bearer nonsense")
    spans = trace()
    spans.span()
    receiver.post("/v1/traces", spans.to_bytes(), authorization=f"Bearer {token}")
    receiver.receiver.close()
    assert left_out(receiver.spool.directory) == {
        (AFTER, "", "", "request_refused"): 3, (AFTER, "bill", "", "not_allowed"): 1,
    }  # fmt: skip


def test_what_a_full_spool_sent_back_is_told_once_it_has_room(
    start_receiver: Callable[..., Any], trace: Callable[..., Any]
) -> None:
    receiver = start_receiver(spool={"maximum_bytes": 2_500})
    spans = trace()
    for _ in range(40):
        spans.span(end=NOW - 5)
    for _ in range(2):
        assert receiver.post("/v1/traces", spans.to_bytes()).status == 429
    assert left_out(receiver.spool.directory) == {}
    one = trace()
    one.span()
    assert receiver.post("/v1/traces", one.to_bytes()).status == 200
    assert left_out(receiver.spool.directory) == {(BEFORE, "bill", "total", "not_taken"): 80}


def test_the_recorder_tells_what_it_dropped(bill_flows: dict[str, FlowSpec], tmp_path: Path) -> None:
    with Recorder(flows=bill_flows, spool=tmp_path / "spool", clock=lambda: NOW) as recorder:
        recorder.step("total")
        recorder.flow("nope").step("total")
        for step in ("total", "nope", "nope"):
            with recorder.flow("bill") as flow, flow.step(step):
                pass
    assert left_out(tmp_path / "spool") == {
        (AFTER, "", "", "no_flow"): 1, (AFTER, "", "", "unknown_flow"): 1, (AFTER, "bill", "", "unknown_step"): 2,
    }  # fmt: skip


def test_the_recorder_tells_of_which_step_its_full_memory_lost(bill_flows: dict[str, FlowSpec], tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.write_text("in the way")
    recorder = Recorder(flows=bill_flows, spool=spool, clock=lambda: NOW, buffer_limit=3, flush_interval_seconds=0.01)
    for _ in range(5):
        with recorder.flow("bill") as flow:
            with flow.step("total"):
                pass
            with flow.step("details"):
                pass
    spool.unlink()
    assert recorder.flush(60)
    assert recorder.close(60)
    drops = recorder.drops()
    found = left_out(spool)
    assert sum(found.values()) == sum(drops.values()) > 4
    assert {(flow, step) for _, flow, step, _ in found} >= {("bill", "total"), ("bill", "details")}
    assert {reason for *_, reason in found} == set(drops)


@pytest.fixture
def store(embedded_dsn: str) -> Iterator[Store]:
    with Store.open(embedded_dsn) as store:
        store.migrate()
        yield store


def written(store: Store) -> dict[tuple[str, str, str], int]:
    with store.connection() as connection:
        rows = connection.execute("SELECT flow, step, reason, amount FROM quality_rollups").fetchall()
    return {(flow, step, reason): amount for flow, step, reason, amount in rows}


def batch_of(size: int, duration: float = 1.0) -> ObservationBatch:
    records = np.zeros(size, dtype=RECORD)
    records["observed_at_us"] = int((NOW - 100) * 1e6)
    records["duration_seconds"] = duration
    return ObservationBatch((SeriesKey("f", "s"),), records)


def test_the_writer_writes_what_was_left_out_once(store: Store, tmp_path: Path) -> None:
    with SpoolWriter(tmp_path / "spool", minimum_free_bytes=0) as spool:
        spool.append(batch_of(10))
        spool.append(batch_of(5, duration=1_000.0))
        spool.append(batch_of(10))
        segment = next((spool.directory / spool.source).glob("*.segment"))
    damaged = bytearray(segment.read_bytes())
    damaged[-3 * RECORD.itemsize] ^= 0xFF  # within the last record
    segment.write_bytes(damaged)
    with store.connection() as connection:
        connection.execute("ALTER TABLE observations ADD CONSTRAINT short CHECK (duration_seconds < 100)")
    for _ in range(2):
        writer = Writer(store, SpoolReader(spool.directory), WriterSettings(), clock=lambda: NOW)
        while writer.write_once():
            pass
    assert written(store) == {("f", "s", "refused"): 5, ("", "", "corrupt"): 1}
