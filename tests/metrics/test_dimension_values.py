from __future__ import annotations

import os
import threading
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cxgauge.metrics.dimension_values import DISTINCT_LIMIT, OTHER, UNKNOWN, DimensionValues
from cxgauge.metrics.specification.flow import FlowSpec, parse_flow

FLOW = """
name: bill
title: {en: Bill, zh: 账单}
owner: cards
dimensions:
  - {name: channel, values: [app, web]}
  - {name: version, limit: 2}
  - {name: region}
steps:
  - name: total
    title: {en: Total, zh: 总额}
    timeliness: {target: 1s}
"""


def flow() -> FlowSpec:
    return parse_flow(FLOW)


def test_values_come_in_declared_order_and_bounded() -> None:
    spec = flow()
    assert spec.dimension_values({"version": "8.1", "channel": "app", "region": "SH"}) == (
        ("channel", "app"),
        ("version", "8.1"),
        ("region", "SH"),
    )
    assert spec.dimension_values({"version": "8.2", "channel": "phone"})[:2] == (("channel", OTHER), ("version", "8.2"))
    assert spec.dimension_values({"version": "8.3"})[1] == ("version", OTHER)
    assert spec.dimension_values({"version": "8.1"})[1] == ("version", "8.1")
    assert spec.dimension_overflow() == {"channel": 1, "version": 1, "region": 0}


def test_missing_values_are_unknown_and_undeclared_names_left_out() -> None:
    assert flow().dimension_values({"channel": "", "customer": "42"}) == (
        ("channel", UNKNOWN),
        ("version", UNKNOWN),
        ("region", UNKNOWN),
    )


def test_the_word_other_is_taken_and_not_counted() -> None:
    spec = flow()
    assert spec.dimension_values({"region": "other", "channel": "other"})[2] == ("region", OTHER)
    assert spec.dimension_overflow() == {"channel": 0, "version": 0, "region": 0}


def test_values_that_cannot_be_shown_become_other() -> None:
    spec = flow()
    for value in ("x" * 65, "a\nb", "\x00", "\u202e"):
        assert spec.dimension_values({"region": value})[2] == ("region", OTHER)
    assert spec.dimension_overflow()["region"] == 4


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("boom")


def test_values_that_are_no_text() -> None:
    spec = flow()
    given: dict[str, Any] = {"version": 8, "region": Hostile(), "channel": None}
    assert spec.dimension_values(given) == (("channel", UNKNOWN), ("version", "8"), ("region", OTHER))


@given(st.lists(st.text(max_size=5), max_size=300))
def test_the_number_of_distinct_values_is_bounded(values: list[str]) -> None:
    dimension = DimensionValues([("region", None, None)])
    seen = Counter(dimension.of({"region": value})[0][1] for value in values)
    assert len(set(seen) - {OTHER, UNKNOWN}) <= DISTINCT_LIMIT
    assert sum(seen.values()) == len(values)


def test_the_bound_holds_over_threads() -> None:
    dimension = DimensionValues([("region", None, 10)])
    found: list[set[str]] = []
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        found.append({dimension.of({"region": f"r{(number * 7 + index) % 50}"})[0][1] for index in range(50)})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = set().union(*found) - {OTHER}
    assert len(kept) == 10
    assert dimension.overflow()["region"] == 8 * 50 - 8 * 10


def test_a_child_is_not_blocked_by_a_lock_of_its_parent() -> None:
    dimension = DimensionValues([("region", None, 10)])
    with dimension._lock:  # as if another thread of the parent were in the middle of it
        child = os.fork()
        if child == 0:
            os._exit(0 if dimension.of({"region": "SH"}) == (("region", "SH"),) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
