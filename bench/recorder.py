"""What a step costs the host's thread, beside a bare OpenTelemetry span and the floor of two clock reads.

    .venv/bin/python bench/recorder.py [--rounds 41] [--steps 4000] [--format json]

Every round runs all cases one after the other, so that what else the machine does hits all of them; the figures are
medians over rounds, of the processor time of the host's thread (on a busy machine, wall time measures the others).
The recorder writes to a real spool, with its flush thread at work. Steps come in bursts with a
pause between them in which the flush thread empties the buffer, as between a host's requests; `flush thread` says what
it then spends on a step.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from cxgauge.collectors.customer_token import CustomerKey, CustomerTokens
from cxgauge.collectors.recorder.recorder import Recorder
from cxgauge.collectors.spool import SpoolWriter
from cxgauge.metrics.specification.flow import parse_flow

FLOW = """
name: bill_inquiry
title: {en: Bill inquiry, zh: 账单查询}
owner: cards
dimensions: [{name: channel, values: [app, web]}]
steps:
  - {name: bill_total, title: {en: Total, zh: 总额}, timeliness: {target: 1.0s}}
  - name: bill_details
    title: {en: Details, zh: 明细}
    timeliness: {target: 1.0s}
    checks:
      - {name: details_present, kind: present, value: $.details}
      - {name: total_is_sum, kind: sum_equals, value: $.total, of: "$.details[*].amount"}
"""
LINES = 100
ANSWER = {"total": f"{LINES}.00", "details": [{"id": f"item-{n}", "amount": "1.00"} for n in range(LINES)]}


class Nowhere(SpanExporter):
    """Drops spans, so that only the making of a span is measured."""

    def export(self, spans: Any) -> SpanExportResult:
        del spans
        return SpanExportResult.SUCCESS


def floor(count: int) -> None:
    """Two clock reads, a tuple and an append: what no recorder can go below."""
    clock, kept = time.perf_counter_ns, deque[Any](maxlen=count)
    for _ in range(count):
        started = clock()
        kept.append(("bill_inquiry", "bill_total", started, clock()))


def without_checks(recorder: Recorder) -> Callable[[int], None]:
    """Steps of one flow, without an answer."""

    def run(count: int) -> None:
        with recorder.flow("bill_inquiry", customer="c", instance="bench", channel="app") as flow:
            for _ in range(count):
                with flow.step("bill_total"):
                    pass

    return run


def whole_flows(recorder: Recorder) -> Callable[[int], None]:
    """A flow of its own around every step: instance, customer, dimensions and context."""

    def run(count: int) -> None:
        for _ in range(count):
            with recorder.flow("bill_inquiry", customer="c", channel="app") as flow, flow.step("bill_total"):
                pass

    return run


def with_checks(recorder: Recorder) -> Callable[[int], None]:
    """Steps whose answer has a hundred detail lines that must sum up to its total."""

    def run(count: int) -> None:
        with recorder.flow("bill_inquiry", customer="c", instance="bench", channel="app") as flow:
            for _ in range(max(1, count // 100)):
                with flow.step("bill_details") as step:
                    step.answer(ANSWER)

    return run


def bare_span(count: int) -> None:
    """A sampled span with two attributes and a batch processor, as a host would write for the same purpose."""
    tracer = PROVIDER.get_tracer("bench")
    for _ in range(count):
        with tracer.start_as_current_span("bill_total") as span:
            span.set_attribute("cxgauge.flow.name", "bill_inquiry")
            span.set_attribute("cxgauge.step.name", "bill_total")


def inside_span(recorder: Recorder) -> Callable[[int], None]:
    """Steps while an OpenTelemetry span is current, whose ids are kept."""
    step = without_checks(recorder)

    def run(count: int) -> None:
        with PROVIDER.get_tracer("bench").start_as_current_span("request"):
            step(count)

    return run


PROVIDER = TracerProvider()
PROVIDER.add_span_processor(BatchSpanProcessor(Nowhere(), max_queue_size=1 << 17))


def measure(rounds: int, steps: int) -> dict[str, float]:
    """Median nanoseconds a step of every case, and of the flush thread."""
    flows = {"bill_inquiry": parse_flow(FLOW, "bench.yml")}
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(
            flows=flows,
            spool=lambda: SpoolWriter(Path(folder), sync="interval", minimum_free_bytes=0),
            tokens=CustomerTokens([CustomerKey(1, b"k" * 32)]),
            buffer_limit=4 * steps,
            flush_interval_seconds=3600,
        )
        cases: dict[str, Callable[[int], None]] = {
            "floor": floor,
            "step": without_checks(recorder),
            "step in a current span": inside_span(recorder),
            "flow and step": whole_flows(recorder),
            "bare span": bare_span,
            "answer with 100 lines": with_checks(recorder),
        }
        found: dict[str, list[float]] = {name: [] for name in (*cases, "flush thread")}
        for _ in range(rounds):
            for name, case in cases.items():
                started = time.thread_time_ns()
                case(steps)
                ended = time.thread_time_ns()
                done = max(1, steps // 100) if name == "answer with 100 lines" else steps
                found[name].append((ended - started) / done)
                cpu = time.process_time_ns()
                if not recorder.flush(60):
                    raise SystemExit("the flush thread did not finish within a minute")
                if name == "step":
                    found["flush thread"].append((time.process_time_ns() - cpu) / steps)
                PROVIDER.force_flush()
        recorder.close()
        drops = recorder.drops()
        if drops:
            raise SystemExit(f"the figures are void: {drops}")
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--format", choices=("text", "json"), default="text")
    given = parser.parse_args()
    found = measure(given.rounds, given.steps)
    machine = {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "rounds": given.rounds,
        "steps": given.steps,
    }
    if given.format == "json":
        print(json.dumps({"machine": machine, "ns": found}, indent=1))
        return
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"{'case':26} {'ns a step':>10} {'× floor':>9} {'× bare span':>12}")
    for name, value in found.items():
        print(f"{name:26} {value:10.0f} {value / found['floor']:9.2f} {value / found['bare span']:12.3f}")


if __name__ == "__main__":
    main()
