"""Native histograms by OTLP: the right buckets, a real Prometheus that takes them, and trouble that is only counted."""

from __future__ import annotations

import gzip
import math
import random
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from cxgauge.alerts.notifier import Outcome
from cxgauge.dashboards.exposition.exponential import (
    BASE,
    RELATIVE_ERROR,
    SCALE,
    DurationCounts,
    export_requests,
)
from cxgauge.dashboards.exposition.exposition import Exposition
from cxgauge.dashboards.exposition.push import HistogramPush
from cxgauge.metrics.configuration.config import Config
from cxgauge.metrics.configuration.sections import PrometheusConfig
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.sketch import GAMMA, quantile, sketch_of
from cxgauge.metrics.sketch import RELATIVE_ERROR as SKETCH_ERROR
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.verdict import Verdict

NOW = 1_767_225_600.0
LABELS = '{flow="bill_inquiry",step="bill_total",job="cxgauge",instance="ruler-1"}'


def settings(url: str, **more: str) -> PrometheusConfig:
    keys = {"otlp_url": url, "otlp_timeout": "2s", "otlp_instance": "ruler-1", **more}
    text = "prometheus:\n" + "".join(f"  {key}: {value}\n" for key, value in keys.items())
    return Config.parse(text).prometheus


def batch(durations: np.ndarray[Any, Any], verdict: Verdict = Verdict.GOOD) -> ObservationBatch:
    records = np.zeros(len(durations), dtype=RECORD)
    records["observed_at_us"] = int(NOW * 1e6)
    records["duration_seconds"] = durations
    records["verdict"] = verdict
    return ObservationBatch((SeriesKey("bill_inquiry", "bill_total"),), records)


def data_points(bodies: list[bytes]) -> list[Any]:
    requests = [ExportMetricsServiceRequest.FromString(body) for body in bodies]
    return [
        point
        for request in requests
        for metric in request.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.exponential_histogram.data_points
    ]


def test_the_scale_is_the_coarsest_that_is_as_fine_as_the_sketch() -> None:
    assert SCALE == 6
    assert BASE <= GAMMA < 2.0 ** (2.0 ** (1 - SCALE))


@given(st.lists(st.floats(1e-5, 80_000), min_size=1, max_size=60))
def test_every_duration_lies_in_its_bucket(durations: list[float]) -> None:
    counts = DurationCounts(NOW)
    for duration in durations:
        counts.add(np.array([duration]))
    point = counts.point("f", "s")
    assert point.count == len(durations)
    assert point.sum_seconds == pytest.approx(sum(durations))
    assert point.counts[[0, -1]].all()
    for place in np.flatnonzero(point.counts):
        low, high = BASE ** (point.offset + place), BASE ** (point.offset + place + 1)
        inside = sum(low * (1 - 1e-12) < duration <= high * (1 + 1e-12) for duration in durations)
        assert inside >= point.counts[place]


def test_zero_and_what_is_off_the_scale_are_counted() -> None:
    counts = DurationCounts(NOW)
    counts.add(np.array([0.0, 1e-9, 1e9, 1.0]))
    (point,) = data_points(list(export_requests([counts.point("f", "s")], NOW + 5, {})))
    assert (point.zero_count, point.count, sum(point.positive.bucket_counts)) == (1, 4, 3)
    assert (point.scale, point.start_time_unix_nano, point.time_unix_nano) == (SCALE, NOW * 1e9, (NOW + 5) * 1e9)
    first, last = BASE**point.positive.offset, BASE ** (point.positive.offset + len(point.positive.bucket_counts))
    assert first == pytest.approx(1e-6, rel=0.02)
    assert last == pytest.approx(86_400, rel=0.03)


def test_a_step_without_durations_is_said_to_have_none() -> None:
    (point,) = data_points(list(export_requests([DurationCounts(NOW).point("f", "s")], NOW, {})))
    assert (point.count, list(point.positive.bucket_counts), point.sum) == (0, [], 0.0)


def test_requests_are_bounded() -> None:
    counts = DurationCounts(NOW)
    counts.add(np.exp(np.random.default_rng(1).normal(0, 1, 10_000)))
    points = [counts.point("flow", f"step_{number}") for number in range(1_201)]
    bodies = list(export_requests(points, NOW, {"service.name": "cxgauge"}))
    assert [len(data_points([body])) for body in bodies] == [500, 500, 201]
    assert max(map(len, bodies)) < 2**20


Push = Callable[..., HistogramPush]


@pytest.fixture
def make_push(exposition: Exposition) -> Iterator[Push]:
    """``make_push(settings, clock)``: closed afterwards."""
    with ExitStack() as stack:

        def make(chosen: PrometheusConfig, clock: Callable[[], float] = lambda: NOW) -> HistogramPush:
            push = HistogramPush(chosen, exposition.durations, clock, random.Random(1))
            stack.callback(push.close)
            return push

        yield make


@pytest.fixture
def exposition(flow: FlowSpec) -> Exposition:
    """Counts durations in exponential buckets too."""
    return Exposition({flow.name: flow}, clock=lambda: NOW, process_metrics=False, exponential=True)


def test_only_answered_observations_count_and_a_reload_goes_on(exposition: Exposition, flow: FlowSpec) -> None:
    exposition.observe(batch(np.array([1.0, 1.1])))
    exposition.observe(batch(np.array([0.01]), Verdict.ERROR))
    exposition.reload({flow.name: flow})
    exposition.observe(batch(np.array([1.2]), Verdict.SLOW))
    found = {point.step: (point.count, point.sum_seconds) for point in exposition.durations()}
    assert found == {"log_in": (0, 0.0), "bill_total": (3, pytest.approx(3.3))}
    assert Exposition({flow.name: flow}, process_metrics=False).durations() == []


def ask(server: Any, query: str, at: float) -> list[dict[str, Any]]:
    path = f"/api/v1/query?{urllib.parse.urlencode({'query': query, 'time': at})}"
    result: list[dict[str, Any]] = server.get(path)["data"]["result"]
    return result


@pytest.mark.prometheus
def test_a_real_prometheus_answers_our_p95(
    exposition: Exposition, make_push: Push, prometheus: Callable[..., Any], services: dict[str, dict[str, str]]
) -> None:
    """By its OTLP endpoint; where it was built without one, as Debian's is, through what it scrapes."""
    with Translator() as translator:
        server = prometheus(translator.config, flags=flags_of(services["prometheus"]["binary"]))
        path = "/api/v1/otlp/v1/metrics"
        has_endpoint = post(server.url + path) != 404
        # A scrape is of now; what is pushed may be of a while ago, so that nothing needs to wait.
        now = [time.time() - (60 if has_endpoint else 0)]
        url = (server.url if has_endpoint else translator.url) + path
        push = make_push(settings(url), lambda: now[0])

        def tell(durations: np.ndarray[Any, Any], told: int) -> None:
            exposition.observe(batch(durations))
            assert push.push().outcome is Outcome.SENT, push.last_error
            wait_for(lambda: count_of(server, LABELS, now, has_endpoint) == told)

        generator = np.random.default_rng(7)
        before = np.exp(generator.normal(0, 0.4, 3_000))
        after = np.exp(generator.normal(math.log(1.2), 0.4, 5_000))
        tell(before, 3_000)
        now[0] += 30 if has_endpoint else 0
        tell(after, 8_000)
        now[0] = now[0] if has_endpoint else time.time()
        for q in (0.5, 0.95, 0.99):
            whole = f"histogram_quantile({q}, cxgauge_step_duration_seconds{LABELS})"
            since = f"histogram_quantile({q}, increase(cxgauge_step_duration_seconds{LABELS}[1m]))"
            agree(ask(server, whole, now[0]), np.concatenate([before, after]), q)
            agree(ask(server, since, now[0]), after, q)


def flags_of(binary: str) -> list[str]:
    """What switches the endpoint on: a feature before version 3, a flag from then on."""
    known = subprocess.run([binary, "--help"], capture_output=True, text=True, check=False)
    flags = ["--enable-feature=otlp-write-receiver,native-histograms"]
    newer = "web.enable-otlp-receiver" in known.stdout + known.stderr
    return [*flags, "--web.enable-otlp-receiver"] if newer else flags


def agree(result: list[dict[str, Any]], durations: np.ndarray[Any, Any], q: float) -> None:
    """Prometheus' answer is within its error of the truth, and within both errors of the sketch's."""
    (found,) = (float(one["value"][1]) for one in result)
    both = (1 + RELATIVE_ERROR) * (1 + SKETCH_ERROR) - 1
    assert found == pytest.approx(quantile(*sketch_of(durations), q), rel=both)
    assert found == pytest.approx(float(np.quantile(durations, q)), rel=RELATIVE_ERROR + 1e-3)  # between two ranks


def count_of(server: Any, labels: str, now: list[float], has_endpoint: bool) -> float:
    at = now[0] if has_endpoint else time.time()
    result = ask(server, f"histogram_count(cxgauge_step_duration_seconds{labels})", at)
    return float(result[0]["value"][1]) if result else -1


def wait_for(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < deadline, "it did not happen within 30 s"
        time.sleep(0.1)


def post(url: str) -> int:
    """The status of an empty request."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=b""), timeout=10) as response:
            status: int = response.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.prometheus
def test_a_prometheus_without_the_endpoint_is_named(make_push: Push, prometheus: Callable[..., Any]) -> None:
    server = prometheus("global: {scrape_interval: 1h}\n")
    push = make_push(settings(f"{server.url}/api/v1/otlp/v1/metrics"), lambda: NOW)
    assert push.push().outcome is Outcome.RETRY
    assert push.last_error == "127.0.0.1 answered 404"
    assert push.failures == 1


class Endpoint:
    """Answers with the statuses given, the last one for ever, and keeps what it is sent."""

    def __init__(self) -> None:
        self.statuses: list[int] = [200]
        self.requests: list[tuple[dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.requests.append(({key.lower(): value for key, value in self.headers.items()}, body))
                self.send_response(outer.statuses.pop(0) if len(outer.statuses) > 1 else outer.statuses[0])
                self.send_header("content-length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                body = outer.exposed()
                kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/api/v1/otlp/v1/metrics"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def exposed(self) -> bytes:
        """What a GET is answered."""
        return b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A local OTLP endpoint."""
    with Endpoint() as found:
        yield found


class Translator(Endpoint):
    """An OTLP endpoint whose last request Prometheus scrapes, translated as Prometheus' own endpoint does.

    https://github.com/prometheus/prometheus/blob/v2.53.3/storage/remote/otlptranslator/prometheusremotewrite/histograms.go:
    bucket ``offset + i`` becomes index ``offset + i + 1`` (there the upper bound counts), counts become differences.
    """

    @property
    def config(self) -> str:
        target = f"127.0.0.1:{self.server.server_port}"
        job = f"{{job_name: cxgauge, honor_labels: true, static_configs: [{{targets: ['{target}']}}]}}"
        return f"global: {{scrape_interval: 1s}}\nscrape_configs: [{job}]\n"

    def exposed(self) -> bytes:
        family = FAMILY(name="cxgauge_step_duration_seconds", type=4)
        for point in data_points([gzip.decompress(self.requests[-1][1])] if self.requests else []):
            metric = family.metric.add()
            labels = {one.key: one.value.string_value for one in point.attributes}
            for name, value in {**labels, "instance": "ruler-1"}.items():
                metric.label.add(name=name, value=value)
            histogram = metric.histogram
            histogram.sample_count, histogram.sample_sum = point.count, point.sum
            histogram.schema, histogram.zero_count, histogram.zero_threshold = point.scale, point.zero_count, 1e-128
            counts = list(point.positive.bucket_counts)
            histogram.positive_span.add(offset=point.positive.offset + 1, length=len(counts))
            histogram.positive_delta.extend(count - last for last, count in pairwise([0, *counts]))
        body: bytes = family.SerializeToString()
        return encode_varint(len(body)) + body if family.metric else b""


def encode_varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def message_family() -> Any:
    """``io.prometheus.client.MetricFamily``, as much of it as histograms need; made here as no package has it.

    https://github.com/prometheus/client_model/blob/v0.6.1/io/prometheus/client/metrics.proto
    """
    kinds = {"string": 9, "enum": 5, "message": 11, "uint64": 4, "double": 1, "sint32": 17, "uint32": 13, "sint64": 18}
    messages = {
        "LabelPair": (("name", 1, "string"), ("value", 2, "string")),
        "BucketSpan": (("offset", 1, "sint32"), ("length", 2, "uint32")),
        "Histogram": (
            ("sample_count", 1, "uint64"), ("sample_sum", 2, "double"), ("schema", 5, "sint32"),
            ("zero_threshold", 6, "double"), ("zero_count", 7, "uint64"), ("positive_span", 12, "*BucketSpan"),
            ("positive_delta", 13, "*sint64"),
        ),
        "Metric": (("label", 1, "*LabelPair"), ("histogram", 7, "Histogram")),
        "MetricFamily": (("name", 1, "string"), ("type", 3, "enum"), ("metric", 4, "*Metric")),
    }  # fmt: skip
    file = descriptor_pb2.FileDescriptorProto(name="client_model.proto", package="io.prometheus.client")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            many, bare = kind.startswith("*"), kind.lstrip("*")
            added = message.field.add(name=field, number=number, label=3 if many else 1, type=kinds.get(bare, 11))
            if bare in messages:
                added.type_name = f".io.prometheus.client.{bare}"
            elif many:
                added.options.packed = False
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("io.prometheus.client.MetricFamily"))


FAMILY = message_family()


def test_what_is_sent_says_who_and_is_compressed(make_push: Push, endpoint: Endpoint, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n", encoding="utf-8")
    push = make_push(settings(endpoint.url, token_file=str(tmp_path / "token")), lambda: NOW)
    push.push()
    ((headers, body),) = endpoint.requests
    assert headers["authorization"] == "Bearer s3cret"
    assert (headers["content-type"], headers["content-encoding"]) == ("application/x-protobuf", "gzip")
    resource = ExportMetricsServiceRequest.FromString(gzip.decompress(body)).resource_metrics[0].resource
    said = {attribute.key: attribute.value.string_value for attribute in resource.attributes}
    assert said["service.name"] == "cxgauge"
    assert said["service.instance.id"] == "ruler-1"


def test_a_failure_is_counted_said_once_and_made_up_for(
    exposition: Exposition, make_push: Push, endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [NOW]
    endpoint.statuses = [503, 503, 200]
    push = make_push(settings(endpoint.url), lambda: now[0])
    for seconds in (15, 30):
        now[0] = NOW + seconds
        exposition.observe(batch(np.array([1.0])))
        assert push.push().outcome is Outcome.RETRY
    assert (push.failures, push.last_error, push.lag_seconds) == (2, "127.0.0.1 answered 503", 30)
    now[0] = NOW + 45
    assert push.push().outcome is Outcome.SENT
    assert (push.failures, push.last_error, push.lag_seconds) == (2, None, 0)
    point = data_points([gzip.decompress(endpoint.requests[-1][1])])[1]
    assert point.count == 2
    assert capsys.readouterr().out.count("histograms were not pushed") == 1


def test_a_secret_that_is_not_there_is_said_and_the_thread_ends_when_told(make_push: Push) -> None:
    chosen = settings("http://127.0.0.1:9/", token="env:CXGAUGE_NO_SUCH_TOKEN", otlp_interval="50ms")
    push = make_push(chosen, time.time)
    stop = threading.Event()
    thread = threading.Thread(target=push.run, args=(stop,))
    thread.start()
    deadline = time.monotonic() + 10
    while push.failures == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert push.last_error == "environment variable CXGAUGE_NO_SUCH_TOKEN is not set; set it to the secret"
