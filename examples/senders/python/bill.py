"""A service with ordinary OpenTelemetry spans: HTTP server spans by the semantic conventions, nothing else.

python bill.py COUNT   The address comes from OTEL_EXPORTER_OTLP_ENDPOINT.
"""

import sys
import time

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode


def main(count: int) -> None:
    """Send ``count`` spans."""
    provider = TracerProvider(resource=Resource({"service.name": "bill-service", "service.version": "8.1.0"}))
    exporter = OTLPSpanExporter(compression=Compression.Gzip)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=100_000))
    tracer = provider.get_tracer("bills")
    end = time.time_ns() - 1_000_000_000
    for index in range(count):
        milliseconds = 1500 if index % 10 == 0 else 200  # every tenth is slower than the target of a second
        failed = index % 25 == 1
        attributes = {
            "http.request.method": "GET",
            "http.route": "/v1/bills/{bill_id}/total",
            "http.response.status_code": 500 if failed else 200,
            "url.path": f"/v1/bills/{index}/total",
            "enduser.id": f"customer-{index % 7}",
            "channel": "app" if index % 2 else "web",
        }
        name = "GET /v1/bills/:bill_id/total"
        start = end - milliseconds * 1_000_000
        span = tracer.start_span(name, kind=SpanKind.SERVER, start_time=start, attributes=attributes)
        if failed:
            span.set_status(StatusCode.ERROR)
        span.end(end)
    provider.shutdown()
    print(f"{count} spans sent as proto")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
