"""A flow that goes on in another process, by W3C baggage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.collectors.customer_token import CustomerKey, CustomerTokens
from cxgauge.collectors.recorder.propagation import Handover, extract, inject
from cxgauge.collectors.recorder.recorder import Recorder
from cxgauge.collectors.spool import ResumePoint, SpoolReader
from cxgauge.metrics.specification.flow import parse_flow
from cxgauge.metrics.verdict import Verdict

FLOW = """
name: bill_inquiry
title: {en: Bill inquiry, zh: 账单查询}
owner: cards
dimensions: [{name: channel, values: [app, web]}, {name: region, limit: 5}]
steps:
  - {name: bill_total, title: {en: Total, zh: 总额}, timeliness: {target: 1.0s}}
  - {name: bill_details, title: {en: Details, zh: 明细}, timeliness: {target: 1.0s}}
"""
TOKENS = CustomerTokens([CustomerKey(3, b"k" * 32)])
INSTANCE = bytes(range(16))


def recorder(path: Path) -> Recorder:
    return Recorder(flows={"bill_inquiry": parse_flow(FLOW, "bill.yml")}, spool=path, tokens=TOKENS)


def written(made: Recorder, path: Path) -> list[tuple[Any, Any]]:
    assert made.close(30)
    reader, found = SpoolReader(path), []
    for source in reader.sources():
        for batch in reader.read(source, ResumePoint()).batches:
            found += [(batch.series[record["series"]], record) for record in batch.records]
    return found


def test_a_flow_goes_on_in_another_process(tmp_path: Path) -> None:
    front, back = recorder(tmp_path / "front"), recorder(tmp_path / "back")
    headers: dict[str, str] = {}
    with front.flow("bill_inquiry", customer="c-1", channel="app", region="沪, 浦东=1;x") as flow:
        with flow.step("bill_total"):
            front.inject(headers)
        with back.flow("bill_inquiry", carrier=headers, channel="web") as joined, joined.step("bill_details"):
            pass
        with back.join(headers) as joined, joined.step("bill_details"):
            pass
    ((_, sent),) = written(front, tmp_path / "front")
    received = written(back, tmp_path / "back")
    assert [dict(key.dimensions) for key, _ in received] == [
        {"channel": "web", "region": "沪, 浦东=1;x"},
        {"channel": "app", "region": "沪, 浦东=1;x"},
    ]
    for _, record in received:
        assert bytes(record["flow_instance"]) == bytes(sent["flow_instance"]) == flow.id
        assert bytes(record["customer"]) == bytes(sent["customer"]) == TOKENS.token("c-1")
        assert record["verdict"] == Verdict.GOOD
    assert "c-1" not in headers["baggage"]


def test_another_flows_baggage_gives_nothing(tmp_path: Path) -> None:
    made = recorder(tmp_path)
    headers: dict[str, str] = {}
    inject(headers, Handover("transfer", INSTANCE, INSTANCE, {"channel": "app"}))
    with made.flow("bill_inquiry", carrier=headers) as flow, flow.step("bill_total"):
        pass
    found = written(made, tmp_path)
    assert [key.step for key, _ in found] == ["bill_total", "bill_details"]
    assert bytes(found[0][1]["flow_instance"]) != INSTANCE


def test_joining_without_baggage_is_no_flow(tmp_path: Path) -> None:
    made = recorder(tmp_path)
    with made.join({"accept": "*/*"}) as flow, flow.step("bill_total"):
        pass
    assert made.drops() == {"no_flow": 1}


def test_others_entries_are_kept_and_ours_replaced() -> None:
    headers = {"Baggage": "userId=alice, cxgauge.flow.name=old,cxgauge.dimension.x=1,serverNode=DF%2028;secret"}
    inject(headers, Handover("bill_inquiry", INSTANCE))
    assert set(headers) == {"Baggage"}
    assert set(headers["Baggage"].split(",")) == {
        "userId=alice",
        "serverNode=DF%2028;secret",
        "cxgauge.flow.name=bill_inquiry",
        f"cxgauge.flow.instance={INSTANCE.hex()}",
    }


def test_a_header_without_room_is_left_alone() -> None:
    headers = {"baggage": "a=" + "b" * 8150}
    inject(headers, Handover("bill_inquiry", INSTANCE))
    assert headers == {"baggage": "a=" + "b" * 8150}


@pytest.mark.parametrize(
    "carrier",
    [
        {"baggage": "cxgauge.flow.name=bill_inquiry"},
        {"BAGGAGE": "a=b, cxgauge.flow.name = bill_inquiry "},
        [(b"accept", b"*/*"), (b"baggage", b"a=b"), (b"Baggage", b"cxgauge.flow.name=bill_inquiry")],
        [("baggage", "cxgauge.flow.name=bill_inquiry")],
    ],
)
def test_carriers_of_all_kinds(carrier: Any) -> None:
    assert extract(carrier) == Handover("bill_inquiry")


@pytest.mark.parametrize("instance", ["", "00" * 16, "zz" * 16, "ab" * 15, "AB" * 16, "ab" * 17, "%FF%FE"])
def test_malformed_ids_are_left_out(instance: str) -> None:
    header = f"cxgauge.flow.name=bill_inquiry,cxgauge.flow.instance={instance},cxgauge.customer.token={instance}"
    assert extract({"baggage": header}) == Handover("bill_inquiry")


@given(st.text(max_size=300) | st.builds(lambda text: "cxgauge.flow.name=" + text, st.text(max_size=100)))
def test_no_header_raises(header: str) -> None:
    found = extract({"baggage": header})
    assert found is None or found.flow


def test_an_oversized_header_is_ignored() -> None:
    assert extract({"baggage": "cxgauge.flow.name=x," + "a" * 9000}) is None


@given(
    flow=st.from_regex(r"[a-z][a-z0-9_]{0,40}", fullmatch=True),
    dimensions=st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True),
        st.text(st.characters(codec="utf-8"), max_size=64),
        max_size=8,
    ),
)
def test_what_is_injected_is_extracted(flow: str, dimensions: dict[str, str]) -> None:
    headers: dict[str, str] = {}
    inject(headers, Handover(flow, INSTANCE, None, dimensions))
    found = extract(headers)
    assert found is not None
    assert found.instance == INSTANCE
    assert found.flow == flow
    assert found.dimensions == {name: value.strip() for name, value in dimensions.items()}
