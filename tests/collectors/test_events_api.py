"""Events as JSON: on disk before they are acknowledged, bounded, refused by name and reason, within a token's flows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cxgauge.collectors.receiver.openapi import openapi
from cxgauge.collectors.receiver.sender_tokens import SenderTokens
from cxgauge.metrics.change_event import ChangeEvent

ONE: dict[str, Any] = {"kind": "deployment", "title": "bill-service 8.2.0"}
FULL: dict[str, Any] = {
    **ONE,
    "at": "2025-12-31T23:59:00+08:00",
    "ended_at": "2026-01-01T00:10:00+08:00",
    "flow": "bill",
    "step": "total",
    "version": "8.2.0",
    "details": {"ticket": "CHG-17", "hosts": 12, "canary": True},
    "id": "d-1",
}


def post(running: Any, document: Any, content_type: str = "application/json", **headers: str) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return running.post("/v1/events", body, content_type, **headers)


def kept(running: Any) -> list[ChangeEvent]:
    found: list[ChangeEvent] = []

    def write(events: Iterable[ChangeEvent]) -> None:
        found.extend(events)

    running.receiver.journal.drain(write)
    return found


def test_an_event_is_on_disk_when_it_is_acknowledged(receiver: Any) -> None:
    reply = post(receiver, FULL)
    assert (reply.status, reply.json) == (200, {"accepted": 1, "ids": ["d-1"], "refused": 0, "refusals": []})
    [event] = kept(receiver)
    assert event == ChangeEvent.model_validate_json(json.dumps(FULL))


def test_without_time_and_id_they_are_given(receiver: Any, clock: Any) -> None:
    reply = post(receiver, [ONE, ONE])
    events = kept(receiver)
    assert reply.json["ids"] == [event.id for event in events]
    assert events[0].id != events[1].id
    assert [event.at.timestamp() for event in events if event.at] == [clock.now, clock.now]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"flow": "loan"}, "flow='loan' is not a flow; known are bill"),
        ({"flow": "bill", "step": "x"}, "step='x' is not a step of bill; known are total, details"),
        ({"step": "total"}, "step needs a flow; name it, or leave step out"),
        (
            {"kind": "party"},
            "kind: input should be 'deployment', 'configuration', 'campaign', 'incident' or 'maintenance'",
        ),
        ({"title": ""}, "title: string should have at least 1 character"),
        ({"title": "a\nb"}, "title: contains control characters; write it in one line"),
        ({"at": "2026-01-01T00:00:00"}, "at: input should have timezone info"),
        ({"at": "1969-12-31T00:00:00Z"}, "at: is not between 1970 and 2100; send when it happened"),
        ({"ended_at": "2026-01-01T00:00:00Z"}, "ended_at needs at; send when it began as well"),
        (
            {"at": "2026-01-01T00:00:00Z", "ended_at": "2025-01-01T00:00:00Z"},
            "ended_at is before at; swap them",
        ),
        ({"secret": "x"}, "secret: extra inputs are not permitted"),
    ],
)
def test_what_is_refused(receiver: Any, changes: dict[str, Any], reason: str) -> None:
    reply = post(receiver, [ONE, {**ONE, **changes}])
    assert (reply.status, reply.json["accepted"]) == (200, 1)
    assert reply.json["refusals"] == [{"index": 1, "reason": reason}]
    assert len(kept(receiver)) == 1
    alone = post(receiver, {**ONE, **changes})
    assert (alone.status, alone.json["refused"]) == (422, 1)
    assert kept(receiver) == []


@pytest.mark.parametrize(
    ("body", "content_type", "status", "error"),
    [
        (b"7", "application/json", 400, "the body is neither an event nor a list of at most 1000 of them"),
        (
            json.dumps([ONE] * 1001).encode(), "application/json", 400,
            "the body is neither an event nor a list of at most 1000 of them",
        ),
        (b"{}", "text/plain", 415, "Content-Type 'text/plain' is not JSON; send application/json"),
        (b"[" * 100_000, "application/json", 400, "the JSON body is nested too deeply"),
    ],
)  # fmt: skip
def test_bodies_that_are_no_events(receiver: Any, body: bytes, content_type: str, status: int, error: str) -> None:
    reply = post(receiver, body, content_type)
    assert (reply.status, reply.json) == (status, {"error": error})


def test_a_token_may_send_for_its_flows_only(start_receiver: Callable[..., Any], tmp_path: Path) -> None:
    tokens = SenderTokens(tmp_path / "tokens.json")
    text, made = tokens.add("shop", ("loan",))
    running = start_receiver(app_arguments={"tokens": tokens}, tokens_required=True)
    assert post(running, ONE).status == 401
    reply = post(running, [ONE, {**ONE, "flow": "bill"}], authorization=f"Bearer {text}")
    assert reply.status == 422
    assert [refusal["reason"] for refusal in reply.json["refusals"]] == [
        f"token {made.id} (shop) may not send for events of all flows",
        f"token {made.id} (shop) may not send for flow bill",
    ]


def test_a_disk_that_fails_is_answered_with_try_again(receiver: Any) -> None:
    receiver.receiver.journal.directory.write_bytes(b"")  # a file where the folder should be
    reply = post(receiver, ONE)
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")


def test_memory_for_bodies_is_given_back(receiver: Any) -> None:
    for document in (ONE, b"nonsense"):
        post(receiver, document)
    assert receiver.receiver.in_flight.used == 0


def test_the_description_is_valid() -> None:
    document = openapi()
    Draft202012Validator.check_schema(document["components"]["schemas"]["Event"])
    assert Draft202012Validator(document["components"]["schemas"]["Event"]).is_valid(FULL)
    assert "/v1/events" in document["paths"]
