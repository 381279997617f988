"""Transitions of flow instances: counted once into rollups, and the same however a period is cut."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey, Source
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.transitions import (
    GAP_SECONDS,
    LONGEST_SECONDS,
    Customers,
    Instances,
    count_transitions,
    read_customers,
    read_instances,
)
from cxgauge.metrics.store.write import StoredPosition
from cxgauge.metrics.verdict import Verdict

HOUR = 3_600
START = 1_767_225_600  # 2026-01-01T00:00:00Z
STEPS = ("total", "details", "dispute")
ENDS = {"bill": ("details", "dispute")}
Passing = tuple[str, int, float, str, Verdict]  # instance, customer, seconds since START, step, verdict


@pytest.fixture
def store(database_dsn: str) -> Iterator[Store]:
    with Store.open(database_dsn) as store:
        store.migrate()
        yield store


class Past:
    """Writes passings."""

    def __init__(self, store: Store) -> None:
        self.store, self.offset = store, 0

    def write(self, passings: Sequence[Passing], *, source: Source = Source.RECORDER) -> None:
        keys = tuple(SeriesKey("bill", step) for step in STEPS)
        records = np.zeros(len(passings), dtype=RECORD)
        for record, (instance, customer, at, step, verdict) in zip(records, passings, strict=True):
            record["observed_at_us"] = int((START + at) * 1e6)
            record["duration_seconds"] = 1.0
            record["series"] = STEPS.index(step)
            record["verdict"] = verdict
            record["source"] = source
            record["flow_instance"] = uuid.uuid5(uuid.NAMESPACE_URL, instance).bytes
            record["customer"] = customer.to_bytes(16, "little")
        before, self.offset = self.offset, self.offset + 1
        batch = ObservationBatch(keys, records)
        self.store.write([batch], "test", StoredPosition(0, before), StoredPosition(0, self.offset))


@pytest.fixture
def past(store: Store) -> Past:
    return Past(store)


def journey(name: str, at: float, *steps: str, bad: str = "") -> list[Passing]:
    """A journey with ten seconds a step; answers of step ``bad`` are wrong."""
    customer = int.from_bytes(name.encode(), "little") % 1_000 + 1
    return [
        (name, customer, at + 10 * number, step, Verdict.WRONG if step == bad else Verdict.GOOD)
        for number, step in enumerate(steps)
    ]


def counts(found: Instances) -> tuple[dict[str, tuple[int, int, int]], Counter[tuple[str, str]]]:
    """Reached, given up and hit by step, and passings, over all hours."""
    steps: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in found.rows:
        for place, value in enumerate((row.reached, row.given_up, row.hit)):
            steps[row.step][place] += value
    passings: Counter[tuple[str, str]] = Counter()
    for each in found.transitions:
        passings[each.from_step, each.to_step] += each.passings
    return {step: (one, two, three) for step, (one, two, three) in steps.items()}, passings


def read(store: Store, start: float = 0, end: float = 24 * HOUR, now: float = 30 * HOUR) -> Instances:
    return read_instances(store, "bill", ENDS["bill"], START + start, START + end, START + now)


def test_who_reached_what_and_where_they_went(store: Store, past: Past) -> None:
    past.write(
        journey("through", 100, "total", "details")
        + journey("gives-up", 200, "total", bad="total")
        + journey("back", 300, "total", "details", "total")
        + journey("repeats", 400, "total", "total", "details", "dispute", bad="details")
    )
    steps, passings = counts(read(store))

    assert steps == {"": (4, 1, 2), "total": (4, 1, 1), "details": (3, 0, 1), "dispute": (1, 0, 0)}
    assert passings == {
        ("", "total"): 4,
        ("total", "details"): 3,
        ("total", "total"): 1,
        ("details", "total"): 1,
        ("details", "dispute"): 1,
        ("details", ""): 1,
        ("total", ""): 2,
        ("dispute", ""): 1,
    }


def test_an_end_without_an_answer_does_not_complete(store: Store, past: Past) -> None:
    (first, last) = journey("timeout", 100, "total", "details")
    past.write([first, (*last[:4], Verdict.TIMEOUT)])
    steps, _ = counts(read(store))

    assert steps == {"": (1, 1, 1), "total": (1, 0, 0), "details": (1, 1, 1)}


def test_questions_asked_at_once_stand_in_the_order_of_asking(store: Store, past: Past) -> None:
    past.write([("a", 1, 100.0, "total", Verdict.GOOD), ("a", 1, 100.0, "details", Verdict.GOOD)])
    _, passings = counts(read(store))

    assert passings == {("", "details"): 1, ("details", "total"): 1, ("total", ""): 1}


def test_a_pause_begins_anew_and_nothing_is_followed_for_ever(store: Store, past: Past) -> None:
    past.write(journey("pause", 100, "total") + journey("pause", 101 + GAP_SECONDS, "total"))
    past.write([("endless", 1, float(at), "total", Verdict.GOOD) for at in range(0, 3 * LONGEST_SECONDS, 1_200)])
    steps, passings = counts(read(store))

    assert steps["total"] == (3, 3, 0)
    assert passings["total", "total"] == LONGEST_SECONDS // 1_200 - 1


def test_probes_do_not_count_and_simulated_ones_are_told_apart(store: Store, past: Past) -> None:
    past.write(journey("probe", 100, "total"), source=Source.PROBE)
    past.write(journey("simulated", 100, "total", "details"), source=Source.SIMULATED)
    found = read(store)

    assert {row.origin for row in found.rows} == {2}
    assert counts(found)[0] == {"": (1, 0, 0), "total": (1, 0, 0), "details": (1, 0, 0)}


def test_whoever_had_an_answer_just_now_is_under_way(store: Store, past: Past) -> None:
    past.write(journey("old", 100, "total") + journey("young", 1_000, "total"))
    found = read(store, now=1_100)

    assert found.under_way == 1
    assert counts(found)[0] == {"": (1, 1, 0), "total": (1, 1, 0)}


def test_rollups_say_what_observations_say_wherever_a_period_is_cut(store: Store, past: Past) -> None:
    random = np.random.default_rng(7)
    passings: list[Passing] = []
    for number in range(400):
        at = float(random.uniform(0, 6 * HOUR))
        for step in random.choice(STEPS, random.integers(1, 6)):
            passings.append((f"i{number}", number % 90 + 1, at, str(step), Verdict(int(random.choice([0, 0, 1, 4])))))
            at += float(random.exponential(900))
    past.write(passings)
    spans = ((0, 24 * HOUR), (1_234, 5 * HOUR + 77), (HOUR, 2 * HOUR))
    fresh = [counts(read(store, start, end)) for start, end in spans]
    now = START + 30 * HOUR

    assert count_transitions(store, ENDS, now) > 6
    assert count_transitions(store, ENDS, now) == 0
    assert [counts(read(store, start, end)) for start, end in spans] == fresh
    pieces = [counts(read(store, a, b)) for a, b in ((0, 1_234), (1_234, 5 * HOUR + 77), (5 * HOUR + 77, 24 * HOUR))]
    assert sum((piece[1] for piece in pieces), Counter()) == fresh[0][1]


def test_an_hour_is_counted_again_when_more_comes_for_it(store: Store, past: Past) -> None:
    now = START + 30 * HOUR
    past.write(journey("a", 100, "total"))
    assert count_transitions(store, ENDS, now) == 1
    past.write(journey("a", 150, "details"))
    assert count_transitions(store, ENDS, now) == 1

    assert counts(read(store))[0] == {"": (1, 0, 0), "total": (1, 0, 0), "details": (1, 0, 0)}


def test_an_hour_waits_until_its_instances_are_over(store: Store, past: Past) -> None:
    past.write(journey("a", 100, "total"))

    assert count_transitions(store, ENDS, START + HOUR + LONGEST_SECONDS + 299) == 0
    assert count_transitions(store, ENDS, START + HOUR + LONGEST_SECONDS + 300) == 1


def test_rollups_outlive_observations_and_what_is_gone_is_said(store: Store, past: Past) -> None:
    past.write(journey("a", 100, "total", "details") + journey("b", 4 * HOUR, "total"))
    count_transitions(store, ENDS, START + 4 * HOUR)
    with store.connection() as connection:
        assert connection.execute("SELECT count(*) FROM transition_hours").fetchone() == (1,)
    store.compact()
    found = read_instances(store, "bill", ENDS["bill"], START, START + 24 * HOUR, START + 60 * 86_400)

    assert counts(found)[0] == {"": (1, 0, 0), "total": (1, 0, 0), "details": (1, 0, 0)}
    assert found.missing == ((START + HOUR, START + 24 * HOUR),)


def test_customers_are_distinct_and_unknown_once_observations_are_gone(store: Store, past: Past) -> None:
    past.write(journey("a", 100, "total", bad="total") + journey("a", 200, "total") + journey("b", 300, "total"))

    assert read_customers(store, "bill", START, START + HOUR, START + HOUR) == Customers(2, 1)
    assert read_customers(store, "bill", START, START + HOUR, START + 60 * 86_400) is None
