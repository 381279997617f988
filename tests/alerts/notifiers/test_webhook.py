import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from cxgauge.alerts.message import Message
from cxgauge.alerts.notifier import Delivery, Outcome
from cxgauge.alerts.notifiers.webhook import WebhookNotifier, sign
from cxgauge.metrics.configuration.notifiers import WebhookNotifier as Settings

SECRET = "whsec_" + base64.b64encode(b"a-secret-of-enough-bytes").decode()


@pytest.fixture
def settings(service: Any, tmp_path: Path) -> Settings:
    for name, text in {"url": service.url + "/hook?token=t0k3n", "key": SECRET, "token": "Bearer t0k3n"}.items():
        (tmp_path / name).write_text(text + "\n")
    return Settings.model_validate(
        {
            "name": "ops",
            "type": "webhook",
            "url": f"file:{tmp_path}/url",
            "headers": {"Authorization": f"file:{tmp_path}/token"},
            "secret": f"file:{tmp_path}/key",
        }
    )


def test_the_json_form_is_posted_and_signed(service: Any, settings: Settings, message: Message) -> None:
    notifier = WebhookNotifier(settings, clock=lambda: 1_767_235_500.9)
    assert notifier.send([message]) == Delivery(Outcome.SENT, "127.0.0.1 answered 200")
    (request,) = service.requests
    assert request.path == "/hook?token=t0k3n"
    assert request.json() == message.data
    assert request.headers["authorization"] == "Bearer t0k3n"
    assert request.headers["webhook-id"] == request.headers["idempotency-key"] == message.key
    signed = f"{message.key}.1767235500.".encode() + request.body
    digest = hmac.new(b"a-secret-of-enough-bytes", signed, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert request.headers["webhook-timestamp"] == "1767235500"


def test_the_signature_is_that_of_the_specification() -> None:
    # https://github.com/standard-webhooks/standard-webhooks, the libraries' own test vector
    signature = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_retry_carries_the_same_id(service: Any, settings: Settings, message: Message) -> None:
    service.answer(500)
    notifier = WebhookNotifier(settings)
    assert notifier.send([message]).outcome is Outcome.RETRY
    assert notifier.send([message]).outcome is Outcome.SENT
    assert len({request.headers["webhook-id"] for request in service.requests}) == 1
    assert len({request.body for request in service.requests}) == 1


def test_a_secret_that_cannot_be_read_is_waited_for(settings: Settings, message: Message, tmp_path: Path) -> None:
    (tmp_path / "key").unlink()
    assert WebhookNotifier(settings).send([message]) == Delivery(
        Outcome.RETRY,
        f"secret file {tmp_path}/key cannot be read (No such file or directory); check path and permissions",
    )


def test_no_secret_is_in_what_is_logged(service: Any, settings: Settings, message: Message) -> None:
    service.answer(403)
    detail = WebhookNotifier(settings).send([message]).detail
    assert detail == "127.0.0.1 answered 403"


def test_a_key_that_is_not_base64_is_taken_as_it_is() -> None:
    assert sign("whsec_äöü", "id", 1, b"{}") == sign("whsec_äöü", "id", 1, b"{}") != sign("whsec_äö", "id", 1, b"{}")
