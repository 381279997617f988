"""Observations as JSON: judged, bounded, described, and held against the description by fuzzing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from schemathesis.checks import CHECKS

from cxgauge.collectors.customer_token import CustomerKey, CustomerTokens, flow_instance_id
from cxgauge.collectors.receiver.openapi import openapi
from cxgauge.collectors.receiver.span_shape import ShapeSettings
from cxgauge.metrics.observation import Source, check_results
from cxgauge.metrics.verdict import CheckResult, Verdict

NOW = 1_767_225_600.0
JSON = "application/json"
EXAMPLES = int(os.environ.get("CXGAUGE_FUZZ_EXAMPLES", "40"))
ONE = {"flow": "bill", "step": "total", "duration_seconds": 0.5}
NEITHER = "the body is neither an observation nor a list of at most 10000 of them"
TOKENS = CustomerTokens([CustomerKey(1, b"0123456789abcdef")])


@pytest.fixture
def post(start_receiver: Callable[..., Any]) -> Callable[..., Any]:
    running = start_receiver(app_arguments={"settings": ShapeSettings(tokens=TOKENS)})

    def send(document: Any, content_type: str = JSON, path: str = "/v1/observations", **headers: str) -> Any:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return running.post(path, body, content_type, **headers)

    send.running = running  # type: ignore[attr-defined]
    return send


def stored(post: Any) -> list[tuple[Any, dict[str, Any]]]:
    rows: list[tuple[Any, dict[str, Any]]] = post.running.stored()
    return rows


def test_one_observation(post: Any) -> None:
    full: dict[str, Any] = {
        **ONE,
        "at": "2025-12-31T23:59:00Z",
        "dimensions": {"channel": "web", "app_version": "8"},
        "instance": "s-1",
        "customer": "张三",
        "trace_id": "0123456789abcdef0123456789ABCDEF",
        "id": "b-1",
    }
    reply = post(full)
    assert (reply.status, reply.json) == (200, {"accepted": 1, "duplicates": 0, "refused": 0, "refusals": []})
    [(series, row)] = stored(post)
    assert series.dimensions == (("channel", "web"), ("app_version", "8"))
    assert (row["observed_at_us"], row["duration_seconds"]) == ((NOW - 60) * 1e6, 0.5)
    assert (row["verdict"], row["source"]) == (Verdict.GOOD, Source.BEACON)
    assert row["flow_instance"] == TOKENS.flow_instance("s-1") != flow_instance_id("s-1")
    assert row["customer"] == TOKENS.token("张三")
    assert row["trace_id"].hex() == full["trace_id"].lower()
    assert row["span_id"] != 0


@pytest.mark.parametrize(
    ("changes", "verdict", "checks"),
    [
        ({"duration_seconds": 1}, Verdict.GOOD, (0, 0)),
        ({"duration_seconds": 1.01}, Verdict.SLOW, (0, 0)),
        ({"duration_seconds": 10}, Verdict.TIMEOUT, (0, 0)),
        ({"verdict": "abandoned"}, Verdict.ABANDONED, (0, 0)),
        ({"verdict": "good", "duration_seconds": 2}, Verdict.SLOW, (0, 0)),
        ({"checks": {"shown": "fail"}}, Verdict.INCOMPLETE, (2, 0)),
        ({"checks": {"shown": "pass", "euros": "unknown"}}, Verdict.GOOD, (1, 3)),
        ({"answer": {"total": 1, "currency": "EUR"}}, Verdict.GOOD, (1, 1)),
        ({"answer": {"total": 1, "currency": "USD"}}, Verdict.WRONG, (1, 2)),
        ({"answer": {"currency": "EUR"}, "checks": {"shown": "pass"}}, Verdict.GOOD, (1, 1)),
        ({"probe": True}, Verdict.GOOD, (0, 0)),
    ],
)
def test_verdict(post: Any, changes: dict[str, Any], verdict: Verdict, checks: tuple[int, int]) -> None:
    assert post({**ONE, **changes}).status == 200
    [(_, row)] = stored(post)
    assert Verdict(row["verdict"]) is verdict
    assert check_results(row["checks"], 2) == tuple(CheckResult(check) for check in checks)
    assert row["source"] == (Source.PROBE if changes.get("probe") else Source.BEACON)


def test_time_by_age_and_never_in_the_future(post: Any) -> None:
    post([{**ONE, "age_seconds": 2.5}, {**ONE, "at": "2026-06-01T00:00:00+08:00"}, ONE])
    assert [row["observed_at_us"] for _, row in stored(post)] == [(NOW - 2.5) * 1e6, NOW * 1e6, NOW * 1e6]


def test_a_batch_keeps_what_it_can_and_lists_the_rest(post: Any) -> None:
    batch = [
        ONE,
        {**ONE, "flow": "bil"},
        {**ONE, "step": "x"},
        {**ONE, "duration_seconds": -1},
        {**ONE, "checks": {"size": "pass"}},
        {**ONE, "at": "2026-01-01T00:00:00"},
        {**ONE, "amount": 5},
        7,
    ]
    reply = post(batch)
    assert (reply.status, reply.json["accepted"], reply.json["refused"]) == (200, 1, 7)
    assert reply.json["refusals"] == [
        {"index": 1, "reason": "flow='bil' is not a flow; known are bill"},
        {"index": 2, "reason": "step='x' is not a step of bill; known are total, details"},
        {"index": 3, "reason": "duration_seconds: input should be greater than or equal to 0"},
        {
            "index": 4,
            "reason": "attribute cxgauge.check.size names no check of the step; its checks are shown, euros",
        },
        {"index": 5, "reason": "at: input should have timezone info"},
        {"index": 6, "reason": "amount: extra inputs are not permitted"},
        {"index": 7, "reason": "input should be a valid dictionary or instance of Observation"},
    ]
    assert len(stored(post)) == 1
    assert post(batch[1:]).status == 422


def test_an_id_makes_retries_harmless_and_is_no_ones_elses(post: Any) -> None:
    first = {**ONE, "id": "1", "instance": "a"}
    assert post([first, {**first, "instance": "b"}, {**first, "step": "details"}]).json["accepted"] == 3
    assert post([first, ONE, ONE]).json == {"accepted": 2, "duplicates": 1, "refused": 0, "refusals": []}
    assert post(first).status == 200
    assert len(stored(post)) == 5


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "the body is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"7", 400, NEITHER),
        (b"[" * 5000, 400, "the JSON body is nested too deeply"),
        (b'{"duration_seconds": Infinity}', 400, "the body is not JSON: Infinity is not a JSON number"),
        (json.dumps([1] * 10_001).encode(), 400, NEITHER),
    ],
)
def test_bodies_that_are_no_observations(post: Any, body: bytes, status: int, error: str) -> None:
    reply = post(body)
    assert (reply.status, reply.json) == (status, {"error": error})


def test_a_beacon_is_text_of_an_allowed_page(start_receiver: Any) -> None:
    receiver = start_receiver(allowed_origins=("https://bank.example.com",))
    body = json.dumps(ONE).encode()
    sent = receiver.post("/v1/observations", body, "text/plain;charset=UTF-8", origin="https://bank.example.com")
    assert (sent.status, sent.headers["access-control-allow-origin"]) == (200, "https://bank.example.com")
    foreign = receiver.post("/v1/observations", body, "text/plain", origin="https://evil.example")
    assert (foreign.status, foreign.json) == (
        403,
        {"error": "pages of https://evil.example may not send; add it to receiver.allowed_origins"},
    )
    assert len(receiver.stored()) == 1
    preflight = {"origin": "https://bank.example.com", "access-control-request-method": "POST"}
    preflight["access-control-request-headers"] = "content-type"
    assert receiver.request("OPTIONS", "/v1/observations", headers=preflight).status == 200
    preflight["origin"] = "https://evil.example"
    assert receiver.request("OPTIONS", "/v1/observations", headers=preflight).status == 400


def test_without_an_allow_list_no_page_may_send(post: Any) -> None:
    for path in ("/v1/observations", "/v1/traces"):
        assert post(ONE, path=path, origin="http://localhost:8000").status == 403


def test_the_description_is_served_and_valid(post: Any) -> None:
    served = post.running.request("GET", "/v1/openapi.json").json
    assert served == openapi()
    Draft202012Validator.check_schema(served["components"]["schemas"]["Observation"])


schema = schemathesis.openapi.from_dict(openapi())


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_is_answered_as_described(case: Any, shared_receiver: Any) -> None:
    response = case.call(base_url=f"http://127.0.0.1:{shared_receiver.port}")
    # A flow may be unknown and one of a list refused: the description cannot say which data are taken.
    undescribed = [
        check for check in CHECKS.get_all() if check.__name__ in ("positive_data_acceptance", "negative_data_rejection")
    ]
    case.validate_response(response, excluded_checks=undescribed)
    assert response.status_code < 500
