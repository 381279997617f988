"""Chat services: signatures checked as the services check them, payloads against golden files, limits of length."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cxgauge.alerts.alert import Severity
from cxgauge.alerts.message import Event, Message
from cxgauge.alerts.notifier import Delivery, Outcome

NOW = 1_767_235_500.25
Make = Callable[..., Any]
Golden = Callable[[str, str | dict[str, Any]], None]
OK = {
    "wecom": {"errcode": 0, "errmsg": "ok"},
    "dingtalk": {"errcode": 0, "errmsg": "ok"},
    "feishu": {"code": 0, "msg": "success"},
}
CHATS = ["wecom", "dingtalk", "feishu", "slack"]


@pytest.fixture(params=["en", "zh"])
def spoken(request: pytest.FixtureRequest, messages_by_language: dict[str, Message]) -> Message:
    return messages_by_language[request.param]


@pytest.mark.parametrize("kind", CHATS)
def test_a_message_in_full(kind: str, make: Make, service: Any, spoken: Message, golden: Golden) -> None:
    service.answer(200, OK.get(kind, "ok"))
    assert make(kind).send([spoken]) == Delivery(Outcome.SENT, "127.0.0.1 answered 200")
    (request,) = service.requests
    assert request.path.startswith("/hook?key=t0k3n")
    golden(f"{kind}.{spoken.language}.json", request.json())


@pytest.mark.parametrize("kind", CHATS)
def test_a_digest_keeps_a_line_for_every_message(
    kind: str, make: Make, service: Any, spoken: Message, golden: Golden
) -> None:
    service.answer(200, OK.get(kind, "ok"))
    notifier = make(kind)
    over = replace(spoken, event=Event.RESOLVED, subject=spoken.subject.replace("WARNING", "RESOLVED"))
    many = [spoken, over] * (notifier.batch_size // 2)
    assert notifier.send(many).outcome is Outcome.SENT
    text = service.requests[0].body.decode()
    assert text.count("\\n- ") + text.count('"- ') == len(many)
    golden(f"{kind}_digest.{spoken.language}.json", service.requests[0].json())


def test_wecom_keeps_its_limit_of_4096_bytes(make: Make, service: Any, spoken: Message) -> None:
    huge = replace(spoken, facts=tuple(replace(fact, value="账单总额" * 500) for fact in spoken.facts))
    notifier = make("wecom", plain={"mentions": ["wangli"]})
    notifier.send([replace(huge, severity=Severity.CRITICAL)])
    notifier.send([replace(huge, severity=Severity.CRITICAL, short="账单总额" * 500)] * 10)
    for request in service.requests:
        content = request.json()["markdown"]["content"]
        assert len(content.encode()) <= 4096
        assert "<@wangli>" in content


def test_mentions_are_for_critical_alerts(make: Make, service: Any, message: Message) -> None:
    wecom, dingtalk = (
        make("wecom", plain={"mentions": ["wangli"]}),
        make("dingtalk", plain={"mentions": ["13800000000"]}),
    )
    for notifier in (wecom, dingtalk):
        notifier.send([message])
        notifier.send([replace(message, severity=Severity.CRITICAL)])
    quiet, loud, also_quiet, also_loud = (request.json() for request in service.requests)
    assert "<@wangli>" not in quiet["markdown"]["content"]
    assert "<@wangli>" in loud["markdown"]["content"]
    assert also_quiet["at"] == {"atMobiles": [], "isAtAll": False}
    assert also_loud["at"] == {"atMobiles": ["13800000000"], "isAtAll": False}
    assert "@13800000000" in also_loud["markdown"]["text"]


def test_the_dingtalk_signature(make: Make, service: Any, message: Message) -> None:
    make("dingtalk", "/robot/send?access_token=t0k3n", secret="SECabc").send([message])
    query = parse_qs(urlsplit(service.requests[0].path).query)
    assert query["access_token"] == ["t0k3n"]
    assert query["timestamp"] == ["1767235500250"]
    digest = hmac.new(b"SECabc", b"1767235500250\nSECabc", hashlib.sha256).digest()
    assert base64.b64decode(query["sign"][0]) == digest


def test_the_feishu_signature(make: Make, service: Any, message: Message) -> None:
    make("feishu", secret="SECabc").send([message])
    body = service.requests[0].json()
    assert body["timestamp"] == "1767235500"
    assert base64.b64decode(body["sign"]) == hmac.new(b"1767235500\nSECabc", b"", hashlib.sha256).digest()


@pytest.mark.parametrize(
    ("kind", "answer", "expected"),
    [
        # what time mends: the service's limits
        ("wecom", {"errcode": 45009, "errmsg": "api freq out of limit"}, (Outcome.RETRY, 60.0)),
        ("dingtalk", {"errcode": 410100, "errmsg": "send too fast"}, (Outcome.RETRY, 600.0)),
        ("dingtalk", {"errcode": 90030, "errmsg": "webhook over limit"}, (Outcome.RETRY, 600.0)),
        ("feishu", {"code": 11232, "msg": "frequency limited"}, (Outcome.RETRY, 60.0)),
        # what people mend: address, signature, keyword
        ("wecom", {"errcode": 93000, "errmsg": "invalid webhook url"}, (Outcome.RETRY, None)),
        ("dingtalk", {"errcode": 310000, "errmsg": "sign not match"}, (Outcome.RETRY, None)),
        ("dingtalk", {"errcode": 400101, "errmsg": "access_token不存在"}, (Outcome.RETRY, None)),
        (
            "feishu",
            {"code": 19021, "msg": "sign match fail or timestamp is too old"},
            (Outcome.RETRY, None),
        ),
        ("feishu", {"code": 19024, "msg": "Key Words Not Found"}, (Outcome.RETRY, None)),
        # what nothing mends: the message
        ("wecom", {"errcode": 40058, "errmsg": "markdown.content exceed max length 4096"}, (Outcome.REFUSED, None)),
        ("dingtalk", {"errcode": 460101, "errmsg": "message too long"}, (Outcome.REFUSED, None)),
        ("dingtalk", {"errcode": 430104, "errmsg": "内容不合适"}, (Outcome.REFUSED, None)),
        ("feishu", {"code": 19002, "msg": "params error, msg_type need"}, (Outcome.REFUSED, None)),
    ],
)
def test_errors_that_come_with_status_200(
    kind: str,
    answer: dict[str, Any],
    expected: tuple[Outcome, float | None],
    make: Make,
    service: Any,
    message: Message,
) -> None:
    service.answer(200, answer)
    (name, code), (_, text) = answer.items()
    outcome, wait = expected
    detail = f"127.0.0.1 answered 200 with {name} {code}: {text}"
    assert make(kind).send([message]) == Delivery(outcome, detail, wait)


def test_what_a_service_says_is_one_short_line_without_our_key(make: Make, service: Any, message: Message) -> None:
    service.answer(200, {"errcode": 1, "errmsg": "first\n second " + "x" * 200})
    delivery = make("wecom").send([message])
    assert delivery.detail == "127.0.0.1 answered 200 with errcode 1: first second " + "x" * 66 + "…"
    for text in ("no robot t0k3n-5ecret", "/hook-of-ours is wrong", "", None, ["list"]):
        service.answer(200, {"errcode": 1, "errmsg": text})
        found = make("wecom", "/hook-of-ours?key=t0k3n-5ecret").send([message])
        assert found.detail == "127.0.0.1 answered 200 with errcode 1"


def test_an_answer_without_its_code_is_trouble(make: Make, service: Any, message: Message) -> None:
    service.answer(200, ["a proxy's page"])
    assert make("wecom").send([message]) == Delivery(Outcome.RETRY, "127.0.0.1 answered 200 without errcode")


@pytest.mark.parametrize("kind", CHATS)
def test_trouble_is_told_without_the_key(kind: str, make: Make, service: Any, message: Message) -> None:
    service.answer(429, retry_after="30")
    assert make(kind).send([message]) == Delivery(Outcome.RETRY, "127.0.0.1 answered 429", 30.0)
    service.answer(503)
    assert make(kind).send([message]) == Delivery(Outcome.RETRY, "127.0.0.1 answered 503")


@pytest.mark.parametrize("kind", CHATS)
def test_a_service_that_hangs_is_left_alone(kind: str, make: Make, service: Any, message: Message) -> None:
    service.stall = True
    notifier = make(kind, plain={"timeout": "200ms"})
    assert notifier.send([message]) == Delivery(Outcome.RETRY, "127.0.0.1 did not answer in time")
    notifier.close()


@pytest.mark.parametrize("kind", CHATS)
def test_markup_from_outside_stays_text(kind: str, make: Make, service: Any, message: Message) -> None:
    evil = "<@all> [click](https://evil.example) <!channel> `x` # h"
    make(kind).send(
        [replace(message, short=evil, subject=evil, facts=tuple(replace(f, value=evil) for f in message.facts))]
    )
    body = json.dumps(service.requests[0].json(), ensure_ascii=False)
    plain_text = {"slack": ['"type": "header"'], "feishu": ['"tag": "plain_text"']}.get(kind)
    if plain_text is None:
        assert "<@all>" not in body
        assert "](https://evil" not in body
    elif kind == "slack":
        assert all("<!channel>" not in block["text"]["text"] for block in service.requests[0].json()["blocks"][1:2])
    else:
        assert "<@all>" not in service.requests[0].json()["card"]["elements"][0]["text"]["content"]


def test_slack_keeps_its_limits(make: Make, service: Any, message: Message) -> None:
    facts = tuple(replace(message.facts[0], label=f"f{number}", value="x" * 5000) for number in range(25))
    make("slack").send([replace(message, facts=facts, subject="s" * 400, short="t" * 9000)])
    blocks = service.requests[0].json()["blocks"]
    assert len(blocks[0]["text"]["text"]) == 150
    assert len(blocks[1]["text"]["text"]) == 3000
    fields = [block["fields"] for block in blocks if "fields" in block]
    assert [len(each) for each in fields] == [10, 10, 5]
    assert max(len(field["text"]) for each in fields for field in each) == 2000


def test_pagerduty_opens_and_closes_one_incident(
    make: Make, service: Any, messages_by_language: dict[str, Message], golden: Golden
) -> None:
    message = messages_by_language["en"]
    notifier = make("pagerduty", "/v2/enqueue", routing_key="R0UT1NG")
    service.answer(202, {"status": "success"})
    assert notifier.send([message]).outcome is Outcome.SENT
    notifier.send([replace(message, event=Event.RESOLVED)])
    opened, closed = (request.json() for request in service.requests)
    assert opened["routing_key"] == "R0UT1NG"
    assert opened["dedup_key"] == closed["dedup_key"] == f"cxgauge-{message.alert_id}"
    assert closed == {"routing_key": "R0UT1NG", "event_action": "resolve", "dedup_key": closed["dedup_key"]}
    golden("pagerduty.en.json", opened)
    notifier.send([replace(message, short="x" * 3000)])
    assert len(service.requests[2].json()["payload"]["summary"]) == 1024
