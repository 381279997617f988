"""Back-off after failed tries: laws that hold whatever is tried."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cxgauge.dashboards.access import throttle as module
from cxgauge.dashboards.access.throttle import Throttle


class Clock:
    """Seconds that tests move."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_few_mistakes_cost_nothing_and_success_forgets_them() -> None:
    throttle = Throttle(Clock())
    for _ in range(3):
        assert [throttle.begin("li.wei", "10.0.0.1") for _ in range(5)] == [0.0] * 5
        throttle.succeeded("li.wei", "10.0.0.1")


def test_names_in_other_letters_and_addresses_of_one_household_count_together() -> None:
    throttle = Throttle(Clock())
    tries = [("li.wei", "2001:db8::1"), ("LI.WEI", "2001:db8::2"), ("Li.Wei", "2001:db8:0:0:ffff::1")] * 2
    assert [throttle.begin(*one) for one in tries] == [0.0] * 5 + [1.0]
    assert throttle.begin("li.wei", "2001:db8:0:1::1") == 0.0


def test_spraying_many_names_from_one_address_is_slowed() -> None:
    throttle = Throttle(Clock())
    waits = [throttle.begin(f"name{number}", "10.0.0.1") for number in range(52)]
    assert waits == [0.0] * 50 + [1.0] * 2
    assert throttle.begin("name1", "10.0.0.2") == 0.0


def test_guessing_from_many_addresses_is_slowed_but_shuts_the_owner_out_for_a_minute_at_most() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    let_through = 0
    for number in range(5_000):
        let_through += throttle.begin("li.wei", f"10.{number >> 8}.{number & 255}.1") == 0.0
        clock.now += 0.1
    assert let_through < 40
    clock.now += 60
    assert throttle.begin("li.wei", "192.168.0.1") == 0.0


def test_what_is_remembered_is_bounded() -> None:
    throttle = Throttle(Clock())
    for number in range(module._KEPT + 500):
        throttle.begin(f"name{number}", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert {len(kept) for kept in throttle._failures.values()} == {module._KEPT}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["1", "2"]), st.floats(0, 2_000)), max_size=80))
def test_a_wait_that_is_told_is_long_enough(tries: list[tuple[str, str, float]]) -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for name, address, pause in tries:
        wait = throttle.begin(name, address)
        assert 0 <= wait <= 900
        if wait:
            clock.now += wait
            assert throttle.begin(name, address) == 0.0
        clock.now += pause
