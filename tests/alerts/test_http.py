from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from cxgauge.alerts.http import HttpCaller
from cxgauge.alerts.notifier import Delivery, Outcome


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.SENT),
        (204, Outcome.SENT),
        (302, Outcome.RETRY),
        (400, Outcome.REFUSED),
        (401, Outcome.RETRY),
        (404, Outcome.RETRY),
        (413, Outcome.REFUSED),
        (408, Outcome.RETRY),
        (429, Outcome.RETRY),
        (500, Outcome.RETRY),
        (503, Outcome.RETRY),
    ],
)
def test_what_a_status_means(service: Any, status: int, outcome: Outcome) -> None:
    service.answer(status, location="http://127.0.0.1:1/elsewhere")
    delivery, _ = HttpCaller().post(service.url + "/secret-token", b"{}")
    assert delivery == Delivery(outcome, f"127.0.0.1 answered {status}")


def test_the_service_may_ask_for_patience(service: Any) -> None:
    service.answer(429, retry_after="17")
    assert HttpCaller().post(service.url, b"{}")[0].retry_after_seconds == 17.0
    service.answer(503, retry_after=format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True))
    wait = HttpCaller().post(service.url, b"{}")[0].retry_after_seconds
    assert wait is not None
    assert 90 < wait <= 100


@pytest.mark.parametrize(("asked", "kept"), [("999999999", 3600.0), ("-5", 0.0), ("nan", None), ("soon", None)])
def test_patience_is_bounded(service: Any, asked: str, kept: float | None) -> None:
    service.answer(429, retry_after=asked)
    assert HttpCaller().post(service.url, b"{}")[0].retry_after_seconds == kept


def test_a_service_that_does_not_answer(service: Any) -> None:
    service.stall = True
    delivery, _ = HttpCaller(timeout_seconds=0.2).post(service.url + "/secret-token", b"{}")
    assert delivery == Delivery(Outcome.RETRY, "127.0.0.1 did not answer in time")


def test_a_service_that_is_down() -> None:
    delivery, _ = HttpCaller().post("http://127.0.0.1:1/secret-token", b"{}")
    assert delivery == Delivery(Outcome.RETRY, "127.0.0.1 cannot be reached (ConnectError)")


@pytest.mark.parametrize("url", ["", "nonsense", "http://"])
def test_an_address_that_is_none(url: str) -> None:
    delivery, _ = HttpCaller().post(url, b"{}")
    assert delivery == Delivery(Outcome.RETRY, "the configured address is not a URL; write https://host/path")


def test_an_endless_answer_is_not_read_to_its_end(service: Any) -> None:
    service.answer(200, "x" * 200_000)
    delivery, answer = HttpCaller().post(service.url, b"{}")
    assert delivery.outcome is Outcome.SENT
    assert answer is None
