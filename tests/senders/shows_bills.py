"""One of two services that show parts of the same bill, with ordinary OpenTelemetry spans.

python shows_bills.py STEP COUNT SEED   STEP is total or details; the address comes from OTEL_EXPORTER_OTLP_ENDPOINT.
Both services of a seed know the same bills. Of every 1000th bill the total is a cent too much, wherever it is shown.
"""

from __future__ import annotations

import json
import random
import sys
from decimal import Decimal
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

WRONG_EVERY = 1000


def answer(step: str, number: int, chance: random.Random) -> dict[str, Any]:
    """What a customer gets to see."""
    amounts = [Decimal(chance.randrange(1, 10**6)) / 100 for _ in range(3)]
    total = sum(amounts) + (Decimal("0.01") if number % WRONG_EVERY == 7 else 0)
    if step == "total":
        return {"total": str(total)}
    return {"total": str(total), "items": [str(amount) for amount in amounts]}


def main(step: str, count: int, seed: int) -> None:
    """Show ``count`` bills, in an order of its own."""
    chance = random.Random(seed)
    shown = [(number, answer(step, number, chance)) for number in range(count)]
    random.Random(step).shuffle(shown)
    provider = TracerProvider(resource=Resource({"service.name": f"bill-{step}-service"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=100_000))
    tracer = provider.get_tracer("bills")
    for number, given in shown:
        attributes = {"http.route": f"/{step}", "session.id": f"{seed}/{number}", "cxgauge.answer": json.dumps(given)}
        tracer.start_span(f"GET /{step}", kind=SpanKind.SERVER, attributes=attributes).end()
    provider.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
