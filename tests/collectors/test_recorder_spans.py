"""The recorder beside OpenTelemetry: ids of current spans, and steps as spans of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cxgauge.collectors.recorder.recorder import Recorder
from cxgauge.collectors.spool import ResumePoint, SpoolReader
from cxgauge.metrics.specification.flow import parse_flow

FLOW = """
name: bill_inquiry
title: {en: Bill inquiry, zh: 账单查询}
owner: cards
steps:
  - name: bill_details
    title: {en: Details, zh: 明细}
    timeliness: {target: 60s}
    checks:
      - {name: details_present, kind: present, value: $.details}
      - {name: total_present, kind: present, value: $.total}
"""


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """The process's tracer provider can be set once, so that all tests here share it."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    return kept


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    exporter.clear()
    yield exporter
    exporter.clear()


def made(path: Path, **options: Any) -> Recorder:
    return Recorder(flows={"bill_inquiry": parse_flow(FLOW, "bill.yml")}, spool=path, **options)


def records(recorder: Recorder, path: Path) -> list[Any]:
    assert recorder.close(30)
    reader = SpoolReader(path)
    (source,) = reader.sources()
    return [record for batch in reader.read(source, ResumePoint()).batches for record in batch.records]


def ids(span: ReadableSpan) -> tuple[bytes, int]:
    assert span.context is not None
    return span.context.trace_id.to_bytes(16, "big"), span.context.span_id


def test_ids_of_the_current_span_are_kept(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    recorder = made(tmp_path)
    request = trace.get_tracer("host").start_as_current_span("request")
    with request, recorder.flow("bill_inquiry", instance="x") as flow, flow.step("bill_details"):
        pass
    with flow.step("bill_details"):
        pass
    first, second = records(recorder, tmp_path)
    (span,) = spans.get_finished_spans()
    assert (bytes(first["trace_id"]), int(first["span_id"]) & (1 << 64) - 1) == ids(span)
    assert (bytes(second["trace_id"]), second["span_id"]) == (bytes(16), 0)


def test_steps_are_spans_on_request(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    recorder = made(tmp_path, spans=True)
    tracer, flow = trace.get_tracer("host"), recorder.flow("bill_inquiry", instance="ab" * 16)
    with tracer.start_as_current_span("request"), flow.step("bill_details") as step:
        with tracer.start_as_current_span("inner"):
            pass
        step.answer({"details": [], "total": "12.34"})
    (record,) = records(recorder, tmp_path)
    inner, own, request = spans.get_finished_spans()
    assert own.instrumentation_scope is not None
    assert (own.name, own.instrumentation_scope.name) == ("bill_inquiry bill_details", "cxgauge.recorder")
    assert own.attributes == {
        "cxgauge.flow.name": "bill_inquiry",
        "cxgauge.step.name": "bill_details",
        "cxgauge.flow.instance": "ab" * 16,
        "cxgauge.verdict": "incomplete",
        "cxgauge.check.details_present": "fail",
        "cxgauge.check.total_present": "pass",
    }
    assert own.status.is_unset
    assert inner.parent is not None
    assert own.parent is not None
    assert inner.parent.span_id == own.context.span_id
    assert own.parent.span_id == request.context.span_id
    assert int(record["span_id"]) & (1 << 64) - 1 == own.context.span_id


def test_a_failed_step_is_a_failed_span_without_the_exceptions_text(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    recorder = made(tmp_path, spans=True)
    with pytest.raises(ValueError, match="6222"), recorder.flow("bill_inquiry") as flow, flow.step("bill_details"):
        raise ValueError("card 6222020000000000")
    recorder.close(30)
    (own,) = spans.get_finished_spans()
    assert own.attributes is not None
    assert own.attributes["cxgauge.verdict"] == "error"
    assert not own.status.is_ok
    assert own.status.description == "ValueError"
    assert "6222" not in own.to_json()


def test_opentelemetry_is_not_loaded_by_the_recorder_and_found_when_the_host_does(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from cxgauge.collectors.recorder.recorder import Recorder
from cxgauge.metrics.specification.flow import parse_flow
recorder = Recorder(flows={{"bill_inquiry": parse_flow({FLOW!r}, "x")}}, spool={str(tmp_path)!r})
def step():
    with recorder.flow("bill_inquiry", instance="x") as flow, flow.step("bill_details"): pass
step()
assert "opentelemetry.trace" not in sys.modules and "opentelemetry.sdk" not in sys.modules
from opentelemetry.sdk.trace import TracerProvider
with TracerProvider().get_tracer("t").start_as_current_span("s"): step()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    reader = SpoolReader(tmp_path)
    (source,) = reader.sources()
    traces = [any(bytes(r["trace_id"])) for b in reader.read(source, ResumePoint()).batches for r in b.records]
    assert traces == [False, True]
