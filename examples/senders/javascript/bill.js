// A service with ordinary OpenTelemetry spans: HTTP server spans by the semantic conventions, nothing else.
// node bill.js COUNT [json]   The address comes from OTEL_EXPORTER_OTLP_ENDPOINT.
const { SpanKind, SpanStatusCode } = require("@opentelemetry/api");
const { resourceFromAttributes } = require("@opentelemetry/resources");
const { BatchSpanProcessor, NodeTracerProvider } = require("@opentelemetry/sdk-trace-node");

const count = Number(process.argv[2] || 10);
const encoding = process.argv[3] === "json" ? "http" : "proto";
const { OTLPTraceExporter } = require(`@opentelemetry/exporter-trace-otlp-${encoding}`);

const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": "bill-service", "service.version": "8.1.0" }),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter(), { maxQueueSize: 100000 })],
});
const tracer = provider.getTracer("bills");
const end = Date.now() - 1000;

for (let index = 0; index < count; index++) {
  const milliseconds = index % 10 === 0 ? 1500 : 200; // every tenth is slower than the target of a second
  const failed = index % 25 === 1;
  const span = tracer.startSpan("GET /v1/bills/:bill_id/total", {
    kind: SpanKind.SERVER,
    startTime: end - milliseconds,
    attributes: {
      "http.request.method": "GET",
      "http.route": "/v1/bills/{bill_id}/total",
      "http.response.status_code": failed ? 500 : 200,
      "url.path": `/v1/bills/${index}/total`,
      "enduser.id": `customer-${index % 7}`,
      "channel": index % 2 ? "app" : "web",
    },
  });
  if (failed) span.setStatus({ code: SpanStatusCode.ERROR });
  span.end(end);
}
provider.shutdown().then(() => console.log(`${count} spans sent as ${encoding}`));
