import random

from hypothesis import given
from hypothesis import strategies as st

from cxgauge.alerts.notifier import RetryPolicy


@given(st.integers(1, 1000), st.none() | st.floats(0, 3600), st.integers())
def test_a_delay_grows_to_its_ceiling_and_respects_what_was_asked(
    attempts: int, asked: float | None, seed: int
) -> None:
    policy = RetryPolicy()
    delay = policy.delay(attempts, asked, random.Random(seed))
    ceiling = min(300.0, 2.0 * 2.0 ** min(attempts - 1, 30))
    assert delay >= max(ceiling / 2, asked or 0.0)
    assert delay <= max(ceiling, asked or 0.0)


def test_senders_do_not_come_back_at_once() -> None:
    delays = {RetryPolicy().delay(8, None, random.Random(seed)) for seed in range(20)}
    assert len(delays) == 20
