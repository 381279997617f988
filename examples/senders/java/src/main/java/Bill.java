import io.opentelemetry.api.common.AttributeKey;
import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.StatusCode;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.exporter.otlp.http.trace.OtlpHttpSpanExporter;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;
import java.time.Instant;
import java.util.concurrent.TimeUnit;

/** A service with ordinary OpenTelemetry spans; java -cp 'lib/*' Bill.java COUNT. */
public class Bill {
  public static void main(String[] arguments) {
    int count = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 10;
    String endpoint = System.getenv().getOrDefault("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    var exporter = OtlpHttpSpanExporter.builder().setEndpoint(endpoint + "/v1/traces").setCompression("gzip").build();
    var resource = Resource.create(Attributes.of(
        AttributeKey.stringKey("service.name"), "bill-service", AttributeKey.stringKey("service.version"), "8.1.0"));
    var provider = SdkTracerProvider.builder()
        .setResource(resource)
        .addSpanProcessor(BatchSpanProcessor.builder(exporter).setMaxQueueSize(100_000).build())
        .build();
    Tracer tracer = provider.get("bills");
    Instant end = Instant.now().minusSeconds(1);
    for (int index = 0; index < count; index++) {
      int milliseconds = index % 10 == 0 ? 1500 : 200; // every tenth is slower than the target of a second
      boolean failed = index % 25 == 1;
      Span span = tracer.spanBuilder("GET /v1/bills/:bill_id/total")
          .setSpanKind(SpanKind.SERVER)
          .setStartTimestamp(end.minusMillis(milliseconds))
          .setAttribute("http.request.method", "GET")
          .setAttribute("http.route", "/v1/bills/{bill_id}/total")
          .setAttribute("http.response.status_code", failed ? 500L : 200L)
          .setAttribute("url.path", "/v1/bills/" + index + "/total")
          .setAttribute("enduser.id", "customer-" + index % 7)
          .setAttribute("channel", index % 2 == 1 ? "app" : "web")
          .startSpan();
      if (failed) span.setStatus(StatusCode.ERROR);
      span.end(end);
    }
    provider.shutdown().join(20, TimeUnit.SECONDS);
    System.out.println(count + " spans sent as proto");
  }
}
