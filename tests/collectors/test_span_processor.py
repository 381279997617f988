"""Spans of a real OpenTelemetry SDK becoming observations in the process that made them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer

from cxgauge.collectors.customer_token import CustomerKey, CustomerTokens
from cxgauge.collectors.receiver.span_shape import ShapeSettings
from cxgauge.collectors.recorder.recorder import Recorder
from cxgauge.collectors.recorder.span_processor import CxgaugeSpanProcessor
from cxgauge.collectors.spool import ResumePoint, SpoolReader
from cxgauge.metrics.observation import SeriesKey, Source, check_results
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow
from cxgauge.metrics.verdict import CheckResult, Verdict

FLOW = """
name: bill_inquiry
title: {en: Bill inquiry, zh: 账单查询}
owner: cards
dimensions: [{name: channel, values: [app, web]}]
steps:
  - name: bill_total
    title: {en: Total, zh: 总额}
    timeliness: {target: 1.0s}
    match: [{service: billing, route: /bill, kind: server}]
  - name: bill_details
    title: {en: Details, zh: 明细}
    timeliness: {target: 1.0s, timeout: 10s}
    checks: [{name: details_present, kind: present, value: $.details}]
"""
SECOND = 1_000_000_000
TOKENS = CustomerTokens([CustomerKey(3, b"k" * 32)])
STEP = {"cxgauge.flow.name": "bill_inquiry", "cxgauge.step.name": "bill_details"}


def flows() -> dict[str, FlowSpec]:
    return {"bill_inquiry": parse_flow(FLOW, "bill.yml")}


class Service:
    """A tracer provider with our processor, and what arrives in the spool."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self.processor = CxgaugeSpanProcessor(flows=flows(), spool=spool, settings=ShapeSettings(tokens=TOKENS))
        self.provider = TracerProvider(resource=Resource({"service.name": "billing"}))
        self.provider.add_span_processor(self.processor)

    @property
    def tracer(self) -> Tracer:
        return self.provider.get_tracer("test")

    def span(self, seconds: float, attributes: dict[str, Any], **options: Any) -> Any:
        span = self.tracer.start_span("GET", start_time=1000 * SECOND, attributes=attributes, **options)
        span.end(end_time=1000 * SECOND + round(seconds * SECOND))
        return span

    def written(self) -> list[tuple[SeriesKey, Any]]:
        assert self.provider.force_flush(30_000)
        reader, found = SpoolReader(self.spool), []
        for source in reader.sources():
            for batch in reader.read(source, ResumePoint()).batches:
                found += [(batch.series[record["series"]], record) for record in batch.records]
        return found


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.provider.shutdown()


def test_a_span_that_matches_a_step_is_an_observation(service: Service) -> None:
    span = service.span(1.25, {"http.route": "/bill", "channel": "web", "user.id": 42}, kind=SpanKind.SERVER)
    service.span(1.25, {"http.route": "/other"}, kind=SpanKind.SERVER)
    service.span(1.25, {"http.route": "/bill"}, kind=SpanKind.CLIENT)
    ((key, record),) = service.written()
    assert key == SeriesKey("bill_inquiry", "bill_total", (("channel", "web"),))
    assert (record["duration_seconds"], record["observed_at_us"]) == (1.25, 1_001_250_000)
    assert (record["verdict"], record["source"]) == (Verdict.SLOW, Source.OTLP)
    assert bytes(record["trace_id"]) == bytes(record["flow_instance"]) == span.context.trace_id.to_bytes(16, "big")
    assert int(record["span_id"]) & 0xFFFF_FFFF_FFFF_FFFF == span.context.span_id
    assert bytes(record["customer"]) == TOKENS.token("42")
    assert service.processor.drops() == {}


def test_explicit_attributes_checks_and_failures(service: Service) -> None:
    service.span(0.5, {**STEP, "cxgauge.check.details_present": "fail"})
    service.span(0.5, {**STEP, "cxgauge.answer": '{"details": [1]}'})
    failed = service.tracer.start_span("x", start_time=SECOND, attributes=STEP)
    failed.set_status(Status(StatusCode.ERROR))
    failed.end(end_time=2 * SECOND)
    service.span(11, STEP)
    records = [record for _, record in service.written()]
    verdicts = [Verdict(record["verdict"]) for record in records]
    assert verdicts == [Verdict.INCOMPLETE, Verdict.GOOD, Verdict.ERROR, Verdict.TIMEOUT]
    assert check_results(int(records[1]["checks"]), 1) == (CheckResult.PASS,)


def test_unknown_names_are_counted(service: Service) -> None:
    service.span(1, {"cxgauge.flow.name": "nope", "cxgauge.step.name": "nope"})
    assert service.written() == []
    assert service.processor.drops() == {"unknown_step": 1}


def test_flow_instance_and_customer_come_from_baggage(service: Service) -> None:
    carrier: dict[str, str] = {}
    recorder = Recorder(flows=flows(), spool=service.spool / "other", tokens=TOKENS)
    flow = recorder.flow("bill_inquiry", customer="c-1")
    recorder.inject(carrier, flow)
    recorder.close()
    from opentelemetry.baggage.propagation import W3CBaggagePropagator

    context = W3CBaggagePropagator().extract(carrier)
    assert baggage.get_all(context)
    service.span(1, STEP, context=context)
    service.span(1, STEP, context=baggage.set_baggage("cxgauge.flow.instance", "malformed"))
    (_, first), (_, second) = service.written()
    assert (bytes(first["flow_instance"]), bytes(first["customer"])) == (flow.id, TOKENS.token("c-1"))
    assert bytes(second["flow_instance"]) == bytes(second["trace_id"])


def test_spans_of_our_own_recorder_are_not_counted_again(service: Service) -> None:
    tracer = service.provider.get_tracer("cxgauge.recorder")
    tracer.start_span("bill_inquiry bill_details", attributes=STEP).end()
    assert service.written() == []


def test_odd_spans_do_not_disturb_the_host(service: Service) -> None:
    service.span(-1, STEP)
    service.span(1, {**STEP, "list": ["a", "b"], "cxgauge.customer": "\ud800"})
    assert len(service.written()) == 1
    assert service.processor.drops() == {"internal_error": 1}


def test_a_missing_configuration_records_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    processor = CxgaugeSpanProcessor.from_config(tmp_path / "missing.yml")
    provider = TracerProvider()
    provider.add_span_processor(processor)
    provider.get_tracer("t").start_span("x", attributes=STEP).end()
    provider.shutdown()
    assert "cxgauge records no spans" in caplog.text


def test_a_processor_from_a_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "bill_inquiry.yml").write_text(FLOW)
    (tmp_path / "cxgauge.yml").write_text("spool: {minimum_free_bytes: 1MiB}\n")
    provider = TracerProvider()
    provider.add_span_processor(CxgaugeSpanProcessor.from_config(tmp_path / "cxgauge.yml"))
    provider.get_tracer("t").start_span("x", attributes=STEP).end()
    provider.shutdown()
    reader = SpoolReader(tmp_path / "data" / "spool")
    (source,) = reader.sources()
    assert len(reader.read(source, ResumePoint()).batches[0]) == 1
