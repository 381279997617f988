"""The dispatcher on a real database and real HTTP: nothing lost, nothing out of order, limits kept over restarts."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxgauge.alerts.alert import Alert
from cxgauge.alerts.dispatcher import Dispatched, Dispatcher
from cxgauge.alerts.lifecycle import Lifecycle, LifecycleSettings
from cxgauge.alerts.message import Message, message_to_json
from cxgauge.alerts.notifier import Delivery, Outcome, RateLimit, RetryPolicy
from cxgauge.alerts.notifiers.webhook import WebhookNotifier
from cxgauge.alerts.records import save_lifecycle
from cxgauge.metrics.configuration.notifiers import WebhookNotifier as WebhookSettings
from cxgauge.metrics.store.connection import DatabaseSettings
from cxgauge.metrics.store.outbox import GivenUpMessages, enqueue_message, given_up_messages
from cxgauge.metrics.store.store import Store, StoreSettings

MakeDeviation = Callable[..., Any]


class Post:
    """A notifier of the test: keeps what it gets, and answers as told."""

    def __init__(self, name: str = "post", limits: tuple[RateLimit, ...] = (), batch_size: int = 1) -> None:
        self.name, self.limits, self.batch_size = name, limits, batch_size
        self.sent: list[list[str]] = []
        self.answers: list[Delivery | Exception] = []

    def send(self, messages: Sequence[Message]) -> Delivery:
        answer = self.answers.pop(0) if self.answers else Delivery(Outcome.SENT)
        if isinstance(answer, Exception):
            raise answer
        if answer.outcome is Outcome.SENT:
            self.sent.append([message.key for message in messages])
        return answer

    def close(self) -> None:
        pass


@pytest.fixture
def store(migrated_embedded_dsn: str) -> Any:
    with Store(StoreSettings(DatabaseSettings(migrated_embedded_dsn, connections_limit=4))) as found:
        found.migrate()
        yield found


@pytest.fixture
def enqueue(store: Store, message: Message, deviation: MakeDeviation, clock: Any) -> Callable[..., list[str]]:
    """Put messages about one alert into the outbox, as the evaluator does; returns their keys."""
    known: dict[str, Alert] = {}

    def put(count: int = 1, notifier: str = "post", flow: str = "bill_inquiry", at: float | None = None) -> list[str]:
        lifecycle = Lifecycle(LifecycleSettings(), {}, [known[flow]] if flow in known else [])
        transitions = [] if flow in known else lifecycle.apply([deviation(flow=flow)], clock.now)
        id_ = next(iter(lifecycle.alerts))
        for number in range(count):
            transitions += lifecycle.comment(id_, str(number), "wang", clock.now)
        known[flow] = lifecycle.alerts[id_]
        keys = []
        with store.connection() as connection, connection.transaction():
            save_lifecycle(connection, {}, lifecycle, transitions)
            for transition in transitions[-count:]:
                keys.append(f"{flow}-{transition.sequence}")
                text = message_to_json(replace(message, key=keys[-1], alert_id=id_))
                enqueue_message(connection, id_, transition.sequence, notifier, text, clock.now, at)
        return keys

    return put


def make(store: Store, clock: Any, *notifiers: Any, **changes: Any) -> Dispatcher:
    return Dispatcher(store, notifiers, clock=clock, rng=random.Random(1), **changes)


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    with store.connection() as connection:
        return connection.execute(query).fetchall()


def test_messages_go_out_once_and_in_order(store: Store, clock: Any, enqueue: Any) -> None:
    keys, post = enqueue(3), Post()
    dispatcher = make(store, clock, post)
    assert dispatcher.step() == Dispatched(delivered=3)
    assert dispatcher.step() == Dispatched()
    assert post.sent == [[key] for key in keys]
    assert rows(store, "SELECT DISTINCT state FROM deliveries") == [("delivered",)]


def test_a_service_that_is_down_gets_everything_later_and_in_order(store: Store, clock: Any, enqueue: Any) -> None:
    keys, post = enqueue(2), Post()
    post.answers = [Delivery(Outcome.RETRY, "down")] * 5
    dispatcher = make(store, clock, post)
    for _ in range(5):
        assert dispatcher.step() == Dispatched(put_off=1)
        assert dispatcher.step() == Dispatched()  # not before its time
        clock.advance(400)
    keys += enqueue(1)
    assert dispatcher.step() == Dispatched(delivered=3)
    assert [key for (key,) in post.sent] == keys


def test_a_restart_goes_on_where_it_stopped(store: Store, clock: Any, enqueue: Any) -> None:
    keys, post = enqueue(2), Post()
    post.answers = [Delivery(Outcome.SENT), Delivery(Outcome.RETRY, "down")]
    make(store, clock, post).step()
    clock.advance(400)
    make(store, clock, post).step()
    assert [key for (key,) in post.sent] == keys


def test_dying_while_sending_sends_again_with_the_same_key(store: Store, clock: Any, enqueue: Any) -> None:
    class Died(BaseException):
        pass

    keys, post = enqueue(1), Post()
    original = post.send

    def die(messages: Sequence[Message]) -> Delivery:
        original(messages)
        raise Died

    post.send = die  # type: ignore[method-assign]
    with pytest.raises(Died):
        make(store, clock, post).step()
    post.send = original  # type: ignore[method-assign]
    dispatcher = make(store, clock, post)
    assert dispatcher.step() == Dispatched()
    clock.advance(121)
    assert dispatcher.step() == Dispatched(delivered=1)
    assert post.sent == [keys, keys]


def test_a_refused_message_is_marked_and_does_not_hold_up_the_next(store: Store, clock: Any, enqueue: Any) -> None:
    keys, post = enqueue(2), Post()
    post.answers = [Delivery(Outcome.REFUSED, "400")]
    dispatcher = make(store, clock, post)
    assert dispatcher.step() == Dispatched(delivered=1, failed=1)
    assert dispatcher.totals == {"post": Dispatched(delivered=1, failed=1)}
    with store.connection() as connection:
        assert given_up_messages(connection, clock.now - 60) == [GivenUpMessages("post", "400", 1, clock.now)]
        assert given_up_messages(connection, clock.now + 60) == []
    assert post.sent == [[keys[1]]]
    assert rows(store, "SELECT last_error FROM deliveries WHERE state = 'failed'") == [("400",)]


def test_a_message_is_given_up_after_its_time(store: Store, clock: Any, enqueue: Any) -> None:
    enqueue(1)
    post = Post()
    post.answers = [Delivery(Outcome.RETRY, "down")] * 9
    dispatcher = make(store, clock, post, policies={"post": RetryPolicy(give_up_seconds=600)})
    assert dispatcher.step() == Dispatched(put_off=1)
    clock.advance(601)
    assert dispatcher.step() == Dispatched(failed=1)
    assert rows(store, "SELECT state, last_error FROM deliveries") == [("failed", "down")]


def test_a_fault_in_a_notifier_is_trouble_and_no_crash(store: Store, clock: Any, enqueue: Any) -> None:
    enqueue(1)
    broken, post = Post(), Post("other")
    broken.answers = [ZeroDivisionError()]
    enqueue(1, notifier="other")
    assert make(store, clock, broken, post).step() == Dispatched(delivered=1, put_off=1)
    assert rows(store, "SELECT last_error FROM deliveries WHERE state = 'waiting'") == [
        ("ZeroDivisionError in notifier post",)
    ]


def test_a_rate_limit_holds_over_a_restart(store: Store, clock: Any, enqueue: Any) -> None:
    enqueue(25)
    post = Post(limits=(RateLimit(20, 60.0), RateLimit(5, 1.0)))
    sent = []
    for _ in range(90):
        sent.append(make(store, clock, post).step().delivered)
        clock.advance(1.0)
    assert sum(sent) == 25
    assert max(sent) == 5
    assert all(sum(sent[second : second + 60]) <= 20 for second in range(30))


def test_what_piled_up_goes_out_as_a_digest(store: Store, clock: Any, enqueue: Any) -> None:
    keys = enqueue(25)
    post = Post(limits=(RateLimit(20, 60.0),), batch_size=10)
    assert make(store, clock, post).step().delivered == 25
    assert [len(batch) for batch in post.sent] == [10, 10, 5]
    assert [key for batch in post.sent for key in batch] == keys


def test_what_is_to_wait_for_morning_waits(store: Store, clock: Any, enqueue: Any) -> None:
    enqueue(1, at=clock.now + 3600)
    post = Post()
    dispatcher = make(store, clock, post)
    assert dispatcher.step() == Dispatched()
    clock.advance(3600)
    assert dispatcher.step() == Dispatched(delivered=1)


def test_messages_for_a_notifier_that_is_gone_are_given_up_in_the_end(store: Store, clock: Any, enqueue: Any) -> None:
    enqueue(1, notifier="gone")
    dispatcher = make(store, clock, Post())
    assert dispatcher.step() == Dispatched()
    clock.advance(86401)
    assert dispatcher.step() == Dispatched(failed=1)
    assert rows(store, "SELECT last_error FROM deliveries") == [("notifier gone is not configured any more",)]


def test_over_real_http_with_trouble_of_every_kind(
    store: Store, clock: Any, enqueue: Any, service: Any, tmp_path: Path
) -> None:
    enqueue(4, notifier="ops")
    (tmp_path / "url").write_text(service.url)
    settings = WebhookSettings.model_validate(
        {"name": "ops", "type": "webhook", "url": f"file:{tmp_path}/url", "timeout": "1s"}
    )
    service.answer(429, retry_after="700")
    service.answer(500)
    notifier = WebhookNotifier(settings, clock=clock)
    dispatcher = make(store, clock, notifier)
    assert dispatcher.step() == Dispatched(put_off=1)
    clock.advance(699)
    assert dispatcher.step() == Dispatched()
    clock.advance(1)
    assert dispatcher.step() == Dispatched(put_off=1)
    clock.advance(400)
    assert dispatcher.step() == Dispatched(delivered=4)
    ids = [request.headers["webhook-id"] for request in service.requests]
    assert ids == [ids[0]] * 3 + ids[3:]
    assert len(set(ids)) == 4
