"""Reading spans in lockstep comes to the same as reading them one by one, whatever they look like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WholeSpan

from cxgauge.collectors.across import AcrossJudge
from cxgauge.collectors.customer_token import CustomerKey, CustomerTokens
from cxgauge.collectors.receiver.attribute_memo import AttributeMemo
from cxgauge.collectors.receiver.intake import Mapped
from cxgauge.collectors.receiver.otlp_decode import MalformedBodyError, Refusals, decode_trace
from cxgauge.collectors.receiver.otlp_mapping import OtlpMapper
from cxgauge.collectors.receiver.otlp_schema import Span
from cxgauge.collectors.receiver.scan_keys import scan_keys
from cxgauge.collectors.receiver.span_scan import SpanScan, scan
from cxgauge.collectors.receiver.span_shape import ShapeSettings
from cxgauge.metrics.observation import RECORD
from cxgauge.metrics.specification.flow import load_flows, parse_flow

NOW = 1_767_225_600.0
TOKENS = CustomerTokens([CustomerKey(1, b"0123456789abcdef")])
SPAN: Any = WholeSpan
ONE_BY_ONE = 1 << 30

texts = st.text(max_size=20) | st.sampled_from(["", "x" * 130, "账单" * 40])
LONG = "y" * 17_000
values = st.one_of(
    texts.map(lambda text: AnyValue(string_value=text)),
    st.booleans().map(lambda flag: AnyValue(bool_value=flag)),
    st.integers(-(2**63), 2**63 - 1).map(lambda number: AnyValue(int_value=number)),
    st.floats().map(lambda number: AnyValue(double_value=number)),
    st.just(AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1)]))),
    st.just(AnyValue()),
)
KNOWN: dict[str, list[Any]] = {
    "http.route": ["/bills/{month}", "/other"],
    "page": [1, 2],
    "cached": [False, True],
    "channel": ["app", "web", "wechat"],
    "app_version": ["1", "2", "3", "4", "5"],
    "http.response.status_code": [200, 503, 504],
    "error.type": ["timeout", "x"],
    "cxgauge.flow.name": ["bill", "none"],
    "cxgauge.step.name": ["total", "details", "none"],
    "cxgauge.verdict": ["good", "wrong", "bad"],
    "cxgauge.check.shown": ["pass", "fail", "perhaps"],
    "cxgauge.check.none": ["pass"],
    "cxgauge.answer": ['{"total": "1.00", "currency": "EUR"}', '{"total": null}', "{"],
    "enduser.id": ["张三", "C7"],
    "session.id": ["s1", "s2"],
    "user_agent.synthetic.type": ["bot"],
    "cxgauge.dimension.channel": ["app"],
}


def pair(key: str, value: object) -> KeyValue:
    if isinstance(value, AnyValue):
        return KeyValue(key=key, value=value)
    if isinstance(value, bool):
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    return KeyValue(key=key, value=AnyValue(string_value=str(value)))


known_attributes = st.sampled_from(sorted(KNOWN)).flatmap(
    lambda key: st.sampled_from(KNOWN[key]).map(lambda value: pair(key, value))
)
attributes = st.one_of(known_attributes, known_attributes, st.builds(pair, texts | st.just("http.route"), values))


@st.composite
def whole_spans(draw: st.DrawFn) -> Any:
    """A span as an encoder may write it, with fields that the receiver does not read."""
    end = draw(st.sampled_from([0, 2**63 + 5, 2**64 - 1]) | st.integers(1, int(NOW * 1e9) + 10**13))
    span: Any = SPAN(
        trace_id=draw(st.binary(min_size=16, max_size=16)),
        span_id=draw(st.binary(min_size=8, max_size=8)),
        name=draw(st.sampled_from(["GET /bills/{month}", "details one", ""]) | texts),
        kind=draw(st.sampled_from([0, 1, 2, 2, 2, 3, 5])),
        start_time_unix_nano=max(0, min(2**64 - 1, end - draw(st.integers(-5, 12 * 10**9)))),
        end_time_unix_nano=end,
        attributes=draw(st.lists(attributes, max_size=6)),
        trace_state=draw(st.sampled_from(["", "a=b"])),
        parent_span_id=draw(st.sampled_from([b"", b"\1" * 8])),
        dropped_attributes_count=draw(st.sampled_from([0, 0, 3, 300])),
        flags=draw(st.sampled_from([0, 256, 0x301])),
    )
    if draw(st.integers(0, 3)) == 0:
        span.status.code = draw(st.sampled_from([0, 1, 2]))
        span.status.message = draw(texts)
    if draw(st.integers(0, 3)) == 0:
        span.events.add(name="exception", time_unix_nano=5).attributes.append(
            pair("stack", draw(texts | st.just(LONG)))
        )
        span.links.add(trace_id=b"\2" * 16, span_id=b"\3" * 8)
    return span


def fields_of(found: SpanScan) -> list[Any]:
    """What was found, span by span, as a parser says it."""
    attributes_of: list[list[bytes]] = [[] for _ in range(found.count)]
    for place in found.attributes:
        for row, raw in zip(place.rows.tolist(), found.texts(place), strict=True):
            attributes_of[row].append(raw)
    return [
        (
            bytes(found.trace_ids[row]),
            int(found.span_ids[row]),
            name,
            int(found.kinds[row]),
            int(found.starts[row]),
            int(found.ends[row]),
            attributes_of[row],
            status,
        )
        for row, (name, status) in enumerate(zip(found.texts(found.names), found.texts(found.statuses), strict=True))
    ]


def parsed(raw: bytes) -> Any:
    span = Span.FromString(raw)
    return (
        span.trace_id,
        int.from_bytes(span.span_id, "big", signed=True),
        span.name,
        span.kind,
        span.start,
        span.end,
        list(span.attributes),
        span.status,
    )


@settings(max_examples=80, deadline=None)
@given(st.lists(whole_spans(), min_size=1, max_size=6))
def test_what_encoders_write_is_read_as_a_parser_reads_it(spans: list[WholeSpan]) -> None:
    raws = [span.SerializeToString() for span in spans]
    found = scan(raws)
    if found is None:  # the one thing here that is left to the parser
        assert any(span.dropped_attributes_count > 127 for span in spans)
        return
    assert fields_of(found) == [parsed(raw) for raw in raws]


@settings(max_examples=200, deadline=None)
@given(st.lists(whole_spans(), min_size=1, max_size=3), st.data())
def test_damaged_bytes_are_read_as_a_parser_reads_them_or_left_to_it(
    spans: list[WholeSpan], data: st.DataObject
) -> None:
    raws = [bytearray(span.SerializeToString()) for span in spans]
    for _ in range(data.draw(st.integers(1, 3))):
        raw = raws[data.draw(st.integers(0, len(raws) - 1))]
        at = data.draw(st.integers(0, max(0, min(len(raw), 120) - 1)))
        piece = data.draw(st.binary(max_size=6) | st.just(b"\xff\xff\xff\xff\x7f"))
        raw[at : at + data.draw(st.integers(0, 3))] = piece
    found = scan([bytes(raw) for raw in raws])
    if found is not None:
        assert fields_of(found) == [parsed(bytes(raw)) for raw in raws]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4))
def test_bytes_that_are_no_spans_are_left_to_the_parser(raws: list[bytes]) -> None:
    found = scan(raws)
    if found is not None:
        assert fields_of(found) == [parsed(raw) for raw in raws]


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b"\x0a",
        lambda raw: raw + b"\x4a\xff\xff\xff\x7f",
        lambda raw: raw + b"\x4a\xff\xff\xff\xff\x0f",
        lambda raw: raw + b"\xff",
        lambda raw: b"\xff" + raw,
        lambda raw: raw + b"\x0b\x0c",
        lambda raw: raw + b"\x02\x00",
        lambda raw: raw + b"\x0a\x03abc",
        lambda raw: raw + b"\x4a\x02\x0a\x00" * 200,
        lambda raw: b"",
    ],
)
def test_the_unusual_is_left_to_the_parser(damage: Any) -> None:
    raw = WholeSpan(trace_id=b"t" * 16, span_id=b"s" * 8, name="n").SerializeToString()
    assert scan([raw, raw]) is not None
    assert scan([raw, damage(raw), raw]) is None


def rows_of(mapped: Mapped) -> list[Any]:
    if mapped.batch is None:
        return []
    names = [name for name in RECORD.names or () if name != "series"]
    series = mapped.batch.series
    return [(series[row["series"]], *(row[name].tobytes() for name in names)) for row in mapped.batch.records]


groups = st.lists(
    st.tuples(
        st.sampled_from([{}, {"enduser.id": "of the resource"}, {"session.id": "d1", "channel": "web"}]),
        st.sampled_from(["bill-service", "other-service"]),
        st.sampled_from(["", "x", "cxgauge.recorder"]),
        st.lists(whole_spans(), max_size=5),
    ),
    max_size=4,
)


def request_of(parts: Any) -> bytes:
    message = ExportTraceServiceRequest()
    for resource, service, scope_name, spans in parts:
        group = message.resource_spans.add()
        group.resource.attributes.extend(
            pair(key, value) for key, value in {"service.name": service, **resource}.items()
        )
        scope = group.scope_spans.add(spans=spans)
        scope.scope.name = scope_name
    return bytes(message.SerializeToString())


@settings(max_examples=80, deadline=None)
@given(st.lists(groups, min_size=1, max_size=3), st.booleans())
def test_both_ways_of_reading_make_the_same_observations(bill_flow_text: str, requests: Any, with_names: bool) -> None:
    text = bill_flow_text if with_names else bill_flow_text.replace('span: {pattern: "details.{0,20}"}, ', "")
    outcomes = []
    for scanned_from in (1, ONE_BY_ONE):
        flow = parse_flow(text, "bill.yml")  # each its own: dimensions remember values
        mapper = OtlpMapper({"bill": flow}, ShapeSettings(tokens=TOKENS), lambda: NOW, scanned_from=scanned_from)
        found = []
        for parts in requests:
            refusals = Refusals()
            mapped = mapper.map_trace_body(request_of(parts), refusals)
            found.append((rows_of(mapped), mapped.ignored, dict(refusals.reasons)))
        outcomes.append((found, mapper.clock_ahead, mapper.dimension_other))
    assert outcomes[0] == outcomes[1]


def test_a_malformed_span_among_many_spoils_the_request(shared_bill_flows: Any) -> None:
    span = WholeSpan(trace_id=b"t" * 16, span_id=b"s" * 8, name="n").SerializeToString()
    broken = b"\x12" + bytes((len(span) + 2,)) + span + b"\x4a\x7f"
    scope = (b"\x12" + bytes((len(span),)) + span) * 200 + broken
    body = b"\x12" + varint(len(scope)) + scope
    body = b"\x0a" + varint(len(body)) + body
    mapper = OtlpMapper(shared_bill_flows, ShapeSettings(), lambda: NOW)
    with pytest.raises(MalformedBodyError) as caught:
        mapper.map_trace_body(body, Refusals())
    assert str(caught.value) == (
        f"the body of {len(body)} bytes is not a protobuf ExportTraceServiceRequest; check Content-Type"
    )


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def test_so_many_attribute_values_that_the_memo_is_full_are_read_one_by_one(shared_bill_flows: Any) -> None:
    spans = [
        SPAN(
            trace_id=number.to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big"),
            start_time_unix_nano=1,
            end_time_unix_nano=10**9,
            kind=2,
            attributes=[pair(f"cxgauge.dimension.x{place}", number) for place in range(40)],
        )
        for number in range(1, 1001)
    ]
    body = request_of([({}, "bill-service", "", spans)])
    mapper = OtlpMapper(shared_bill_flows, ShapeSettings(), lambda: NOW)
    assert mapper.map_trace_body(body, Refusals()).ignored == 1000
    assert mapper.map_trace(decode_trace(body, is_json=False, refusals=Refusals()), Refusals()).ignored == 1000


def test_an_attribute_that_changes_its_key_within_is_left_to_the_parser() -> None:
    twofold = pair("matters", 1).SerializeToString() + pair("own", 2).SerializeToString()
    span = WholeSpan(trace_id=b"t" * 16, span_id=b"s" * 8).SerializeToString()
    raw = span + b"\x4a" + bytes((len(twofold),)) + twofold
    found = scan([raw])
    assert found is not None
    memo = AttributeMemo(lambda key: key == "matters", lambda key: key == "own")
    assert scan_keys(found, np.zeros(1, dtype=np.intp), memo) is None


def test_checks_between_steps_are_judged_for_spans_read_at_once(tmp_path: Any) -> None:
    text = """
name: bill
title: {en: Bill, zh: 账单}
owner: cards
steps:
  - name: total
    title: {en: Total, zh: 总额}
    timeliness: {target: 1s, objective: 0.9}
    values: {total: {path: $.total, privacy: C2, tokenise: true}}
  - name: details
    title: {en: Details, zh: 明细}
    timeliness: {target: 1s, objective: 0.9}
    values: {amounts: {path: "$.items[*]", privacy: C2, tokenise: true}}
across:
  - {name: adds_up, kind: sum_equals, value: total.total, of: details.amounts}
"""
    (tmp_path / "bill.yml").write_text(text, encoding="utf-8")
    flows = load_flows(tmp_path / "bill.yml")
    counts = []
    for scanned_from in (1, ONE_BY_ONE):
        judge = AcrossJudge(flows, tmp_path / f"{scanned_from}.sqlite3")
        mapper = OtlpMapper(flows, ShapeSettings(tokens=TOKENS, across=judge), lambda: NOW, scanned_from=scanned_from)
        spans = []
        for number in range(1, 201):
            for step, answer in (
                ("total", '{"total": "3.00"}'),
                ("details", f'{{"items": ["1.00", "{2 + (number % 10 == 0)}"]}}'),
            ):
                named = {"cxgauge.flow.name": "bill", "cxgauge.step.name": step, "cxgauge.answer": answer}
                spans.append(
                    WholeSpan(
                        trace_id=number.to_bytes(16, "big"),
                        span_id=(2 * number + (step == "total")).to_bytes(8, "big"),
                        start_time_unix_nano=int(NOW * 1e9) - 10**9,
                        end_time_unix_nano=int(NOW * 1e9) - 10**8,
                        attributes=[pair(key, value) for key, value in named.items()],
                    )
                )
        mapped = mapper.map_trace_body(request_of([({}, "s", "", spans)]), Refusals())
        counts.append((rows_of(mapped), {key[1:]: count for key, count in judge.judged.items()}))
        judge.close()
    assert counts[0] == counts[1]
    assert {result.name: count for (_, result), count in counts[0][1].items()} == {"PASS": 180, "FAIL": 20}
