"""Spans to observations: what becomes which series, verdict, instance and customer."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxgauge.collectors.customer_token import CustomerKey, CustomerTokens, flow_instance_id
from cxgauge.collectors.receiver.intake import Mapped
from cxgauge.collectors.receiver.otlp_decode import Refusals, decode_trace
from cxgauge.collectors.receiver.otlp_mapping import OtlpMapper
from cxgauge.collectors.receiver.span_shape import ShapeSettings
from cxgauge.metrics.observation import RECORD, Source, check_results
from cxgauge.metrics.specification.flow import FlowSpec
from cxgauge.metrics.verdict import CheckResult, Verdict

NOW = 1_767_225_600.0
ROUTE = {"http.route": "/bills/{month}"}
TOKENS = CustomerTokens([CustomerKey(1, b"0123456789abcdef")])


def map_all(mapper: OtlpMapper, builder: Any) -> Mapped:
    refusals = Refusals()
    return mapper.map_trace_body(builder.to_bytes(), refusals)


@pytest.fixture
def map_one(bill_flows: dict[str, FlowSpec], trace: Callable[..., Any], clock: Any) -> Callable[..., Any]:
    """Map a single span and return ``(series, row)``; None when it is no observation."""

    def run(
        name: str = "GET", *, service: str = "bill-service", resource: Any = None, shape: Any = None, **span: Any
    ) -> Any:
        builder = trace(service=service, resource=resource or {})
        builder.span(name, **span)
        mapped = map_all(OtlpMapper(bill_flows, shape or ShapeSettings(tokens=TOKENS), clock), builder)
        if mapped.batch is None:
            return mapped.refusals.message() or None
        [record] = mapped.batch.records
        return mapped.batch.series[0], {name: record[name].item() for name in RECORD.names or ()}

    return run


@pytest.mark.parametrize(
    ("seconds", "span", "verdict"),
    [
        (1.0, {}, Verdict.GOOD),
        (1.000001, {}, Verdict.SLOW),
        (9.999999, {}, Verdict.SLOW),
        (10.0, {}, Verdict.TIMEOUT),
        (0.1, {"error": True}, Verdict.ERROR),
        (
            0.1,
            {"error": True, "attributes": {**ROUTE, "error.type": "java.net.SocketTimeoutException"}},
            Verdict.TIMEOUT,
        ),
        (0.1, {"attributes": {**ROUTE, "http.response.status_code": 500}}, Verdict.ERROR),
        (0.1, {"attributes": {**ROUTE, "http.response.status_code": 504}}, Verdict.TIMEOUT),
        (0.1, {"attributes": {**ROUTE, "http.response.status_code": 404}}, Verdict.GOOD),
        (20.0, {"error": True}, Verdict.ERROR),
        (0.1, {"attributes": {**ROUTE, "cxgauge.check.euros": "fail"}}, Verdict.WRONG),
        (0.1, {"attributes": {**ROUTE, "cxgauge.check.shown": "fail"}}, Verdict.INCOMPLETE),
        (0.1, {"attributes": {**ROUTE, "cxgauge.check.shown": "unknown"}}, Verdict.GOOD),
        (2.0, {"attributes": {**ROUTE, "cxgauge.check.shown": "fail"}}, Verdict.INCOMPLETE),
        (99.0, {"attributes": {**ROUTE, "cxgauge.verdict": "good"}}, Verdict.GOOD),
        (0.1, {"attributes": {**ROUTE, "cxgauge.verdict": "abandoned"}}, Verdict.ABANDONED),
        (0.1, {"attributes": {**ROUTE, "cxgauge.answer": '{"total": 3, "currency": "EUR"}'}}, Verdict.GOOD),
        (0.1, {"attributes": {**ROUTE, "cxgauge.answer": '{"total": 3, "currency": "USD"}'}}, Verdict.WRONG),
        (0.1, {"attributes": {**ROUTE, "cxgauge.answer": '{"currency": "EUR"}'}}, Verdict.INCOMPLETE),
        (3.0, {"attributes": {**ROUTE, "cxgauge.answer": '{"total": 3, "currency": "EUR"}'}}, Verdict.SLOW),
        (3.0, {"attributes": {**ROUTE, "cxgauge.answer": "{"}}, Verdict.SLOW),
    ],
)
def test_verdict(map_one: Any, seconds: float, span: dict[str, Any], verdict: Verdict) -> None:
    _, row = map_one(seconds=seconds, **span)
    assert Verdict(row["verdict"]) is verdict
    assert row["duration_seconds"] == seconds


def test_check_results_are_at_their_checks_positions(map_one: Any) -> None:
    series, row = map_one(attributes={**ROUTE, "cxgauge.check.euros": "fail", "cxgauge.check.shown": "pass"})
    assert series.checks == ("shown", "euros")
    assert check_results(row["checks"], 2) == (CheckResult.PASS, CheckResult.FAIL)


def test_results_stated_by_the_sender_win_over_the_answer(map_one: Any) -> None:
    answer = '{"total": 3, "currency": "USD"}'
    _, row = map_one(attributes={**ROUTE, "cxgauge.answer": answer, "cxgauge.check.euros": "pass"})
    assert check_results(row["checks"], 2) == (CheckResult.PASS, CheckResult.PASS)
    assert row["verdict"] == Verdict.GOOD


def test_matching_by_attributes_compares_as_text(map_one: Any) -> None:
    assert map_one("details page", attributes={"page": 1, "cached": False})[0].step == "details"
    assert map_one("details page", attributes={"page": "1", "cached": "false"})[0].step == "details"
    assert map_one("details page", attributes={"page": 2, "cached": False}) is None
    assert map_one("GET", kind=3) is None


def test_explicit_attributes_win_over_matching(map_one: Any) -> None:
    explicit = {"cxgauge.flow.name": "bill", "cxgauge.step.name": "details"}
    assert map_one(attributes={**ROUTE, **explicit})[0].step == "details"
    assert map_one(attributes={**ROUTE, **explicit, "cxgauge.flow.name": "bil"}) == (
        "1 × cxgauge.flow.name='bil' is not a flow; known are bill"
    )


def test_business_activity_attributes_of_cloudevents(map_one: Any) -> None:
    bam = {"bampid": "cards", "bamptxid": "bill", "bamptxsid": "total", "bamtxid": "order-7"}
    series, row = map_one("activity", service="any", attributes={**bam, "bamptxsstatus": "failure"})
    assert (series.step, row["verdict"]) == ("total", Verdict.ERROR)
    assert row["flow_instance"] == TOKENS.flow_instance("order-7")
    assert map_one("activity", attributes={**bam, "bamptxid": "somebody-else"}) is None


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"cxgauge.check.euro": "pass"},
            "1 × attribute cxgauge.check.euro names no check of the step; its checks are shown, euros",
        ),
        (
            {"cxgauge.check.euros": "ok"},
            "1 × cxgauge.check.euros='ok' is not a check result; send pass, fail or unknown",
        ),
        (
            {"cxgauge.verdict": "fine"},
            f"1 × cxgauge.verdict='fine' is not a verdict; send one of {', '.join(v.label for v in Verdict)}",
        ),
    ],
)
def test_what_is_not_understood_is_refused_with_a_remedy(map_one: Any, attributes: Any, message: str) -> None:
    assert map_one(attributes={**ROUTE, **attributes}) == message


def test_dimensions_come_from_explicit_then_configured_then_equal_names(map_one: Any) -> None:
    shape = ShapeSettings(dimension_attributes={"app_version": "service.version"})
    plain = {**ROUTE, "channel": "web"}
    series, _ = map_one(attributes=plain, resource={"service.version": "8.1"}, shape=shape)
    assert series.dimensions == (("channel", "web"), ("app_version", "8.1"))
    series, _ = map_one(attributes={**plain, "cxgauge.dimension.channel": "app"}, resource={"channel": "tv"})
    assert series.dimensions == (("channel", "app"), ("app_version", "unknown"))


def test_values_beyond_a_dimensions_limit_become_other_and_are_counted_each_time(
    bill_flows: Any, trace: Any, clock: Any
) -> None:
    mapper = OtlpMapper(bill_flows, ShapeSettings(), clock)
    builder = trace()
    for number in range(10):
        for _ in range(4):
            builder.span(attributes={**ROUTE, "app_version": f"1.{number}"})
    batch = map_all(mapper, builder).batch
    assert batch is not None
    versions = [dict(batch.series[row].dimensions)["app_version"] for row in batch.records["series"]]
    assert set(versions) == {"1.0", "1.1", "1.2", "other"}
    assert versions.count("other") == 28
    assert mapper.dimension_other == {"bill.app_version": 28}


def test_memory_stays_flat_with_ten_thousand_values(bill_flows: Any, trace: Any, clock: Any) -> None:
    mapper = OtlpMapper(bill_flows, ShapeSettings(), clock)
    sizes = []
    for batch in range(60):
        builder = trace()
        for number in range(500):
            value = batch * 500 + number
            builder.span(attributes={**ROUTE, "app_version": f"{value}", "request.id": f"r{value}"})
        batch_mapped = map_all(mapper, builder).batch
        assert batch_mapped is not None
        assert len(batch_mapped) == 500
        sizes.append(len(mapper._memory))
    assert max(sizes) < 3 * (8_192 + 500)  # entries, effects and shapes; without a bound it would be 90,000
    assert mapper.dimension_other == {"bill.app_version": 60 * 500 - 3}


def test_flow_instance_and_customer(map_one: Any) -> None:
    trace_id = bytes(range(16))
    _, row = map_one(trace_id=trace_id)
    assert (row["flow_instance"], row["customer"]) == (trace_id, bytes(16))
    identified = {**ROUTE, "session.id": "s1", "enduser.id": "张三"}
    _, row = map_one(attributes=identified)
    assert row["flow_instance"] == TOKENS.flow_instance("s1")
    assert row["customer"] == TOKENS.token("张三")
    explicit = {"cxgauge.flow.instance": "ab" * 16, "cxgauge.customer": "42"}
    _, row = map_one(attributes={**identified, **explicit})
    assert (row["flow_instance"], row["customer"]) == (bytes.fromhex("ab" * 16), TOKENS.token("42"))
    handed_on = {**identified, "cxgauge.customer.token": "0a" * 16}
    assert map_one(attributes=handed_on)[1]["customer"] == bytes.fromhex("0a" * 16)
    for wrong in ("0a", "zz" * 16, "00" * 16):
        assert map_one(attributes={**identified, "cxgauge.customer.token": wrong})[1]["customer"] == TOKENS.token(
            "张三"
        )
    _, row = map_one(resource={"session.id": "of the device"})
    assert row["flow_instance"] == TOKENS.flow_instance("of the device")
    _, row = map_one(attributes=identified, shape=ShapeSettings())
    assert (row["flow_instance"], row["customer"]) == (flow_instance_id("s1"), bytes(16))


def test_synthetic_senders_are_probes(map_one: Any) -> None:
    assert map_one()[1]["source"] == Source.OTLP
    assert map_one(attributes={**ROUTE, "user_agent.synthetic.type": "bot"})[1]["source"] == Source.PROBE
    assert map_one(resource={"user_agent.synthetic.type": "test"})[1]["source"] == Source.PROBE


def test_an_answer_is_never_later_than_now(map_one: Any, bill_flows: Any, trace: Any, clock: Any) -> None:
    assert map_one(end=NOW + 3600)[1]["observed_at_us"] == NOW * 1e6
    assert map_one(end=NOW - 86_400)[1]["observed_at_us"] == (NOW - 86_400) * 1e6
    mapper = OtlpMapper(bill_flows, ShapeSettings(), clock)
    builder = trace()
    for ahead in (0, 4, 6, 3600):
        builder.span(end=NOW + ahead)
    map_all(mapper, builder)
    assert mapper.clock_ahead == 2


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        (0, 5, "start or end time is missing or beyond the year 2262"),
        (5, 0, "start or end time is missing or beyond the year 2262"),
        (1, 2**64 - 1, "start or end time is missing or beyond the year 2262"),
        (6, 5, "end time is before start time"),
    ],
)
def test_impossible_times_are_refused(
    bill_flows: Any, trace: Any, clock: Any, start: int, end: int, reason: str
) -> None:
    builder = trace()
    span = builder.span()
    span.start_time_unix_nano, span.end_time_unix_nano = start, end
    mapped = map_all(OtlpMapper(bill_flows, ShapeSettings(), clock), builder)
    assert (mapped.batch, mapped.refusals.message()) == (None, f"1 × {reason}")


def test_all_zero_span_ids_are_refused(map_one: Any) -> None:
    assert map_one(span_id=bytes(8)) == "1 × span id is all zeros"


@settings(max_examples=60, deadline=None)
@given(
    spans=st.lists(
        st.tuples(
            st.sampled_from(["GET", "details one", "x"]),
            st.integers(0, 12_000_000_000),
            st.sampled_from([{}, ROUTE, {"page": 1, "cached": False}, {**ROUTE, "channel": "web", "user.id": "7"}]),
            st.booleans(),
        ),
        max_size=30,
    ),
    cuts=st.lists(st.integers(0, 30), max_size=4),
)
def test_mapping_a_request_equals_mapping_its_spans_one_by_one(
    shared_bill_flows: Any, trace: Any, spans: Any, cuts: Any
) -> None:
    def build(part: Any) -> Any:
        builder = trace()
        for index, nanoseconds, name, attributes, error in part:
            ids = {"trace_id": index.to_bytes(16, "big"), "span_id": index.to_bytes(8, "big")}
            span = builder.span(name, attributes=attributes, error=error, **ids)
            span.start_time_unix_nano = span.end_time_unix_nano - nanoseconds
        return builder

    def rows(mapped: list[Mapped]) -> list[Any]:
        batches = [one.batch for one in mapped if one.batch is not None]
        names = [name for name in RECORD.names or () if name != "series"]
        return [
            (batch.series[record["series"]], *(record[name].tobytes() for name in names))
            for batch in batches
            for record in batch.records
        ]

    numbered = [
        (index + 1, duration, name, attributes, error)
        for index, (name, duration, attributes, error) in enumerate(spans)
    ]
    mapper = OtlpMapper(shared_bill_flows, ShapeSettings(tokens=TOKENS), lambda: NOW)
    whole = rows([map_all(mapper, build(numbered))])
    bounds = sorted({0, len(numbered), *(cut for cut in cuts if cut < len(numbered))})
    fresh = OtlpMapper(shared_bill_flows, ShapeSettings(tokens=TOKENS), lambda: NOW)
    parts = [map_all(fresh, build(numbered[a:b])) for a, b in itertools.pairwise(bounds)]
    assert rows(parts) == whole


@pytest.mark.parametrize("is_json", [True, False])
def test_spans_of_our_own_recorder_are_not_counted_again(
    bill_flows: Any, trace: Any, clock: Any, is_json: bool
) -> None:
    builder = trace()
    builder.span()
    builder.scope.scope.name = "cxgauge.recorder"
    body = builder.to_bytes()
    if is_json:
        span = {"traceId": "01" * 16, "spanId": "02" * 8, "startTimeUnixNano": "1", "endTimeUnixNano": "2"}
        scope = {"scope": {"name": "cxgauge.recorder"}, "spans": [span]}
        body = json.dumps({"resourceSpans": [{"scopeSpans": [scope]}]}).encode()
    refusals = Refusals()
    request = decode_trace(body, is_json=is_json, refusals=refusals)
    mapped = OtlpMapper(bill_flows, ShapeSettings(), clock).map_trace(request, refusals)
    assert (mapped.batch, mapped.ignored, refusals.count) == (None, 1, 0)
