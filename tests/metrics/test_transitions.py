"""Transitions of flow instances: counted once into rollups, and the same however a period is cut."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from cxgauge.metrics.flow_instances import GAP_SECONDS, LONGEST_SECONDS
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey, Source
from cxgauge.metrics.store.store import Store
from cxgauge.metrics.store.transition_counting import count_tail, count_transitions
from cxgauge.metrics.store.transitions import Customers, Instances, read_customers, read_instances
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


def read(
    store: Store, start: float = 0, end: float = 24 * HOUR, now: float = 30 * HOUR, *, on_the_spot: bool = True
) -> Instances:
    return read_instances(store, "bill", ENDS["bill"], START + start, START + end, START + now, on_the_spot=on_the_spot)


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


def journeys(seed: int = 7) -> list[Passing]:
    """Four hundred that begin within six hours and wander about."""
    random = np.random.default_rng(seed)
    passings: list[Passing] = []
    for number in range(400):
        at = float(random.uniform(0, 6 * HOUR))
        for step in random.choice(STEPS, random.integers(1, 6)):
            passings.append((f"i{number}", number % 90 + 1, at, str(step), Verdict(int(random.choice([0, 0, 1, 4])))))
            at += float(random.exponential(900))
    return passings


def test_rollups_say_what_observations_say_wherever_a_period_is_cut(store: Store, past: Past) -> None:
    past.write(journeys())
    spans = ((0, 24 * HOUR), (1_234, 5 * HOUR + 77), (HOUR, 2 * HOUR))
    fresh = [counts(read(store, start, end)) for start, end in spans]
    now = START + 30 * HOUR

    assert count_transitions(store, ENDS, now) > 6
    assert count_transitions(store, ENDS, now) == 0
    assert [counts(read(store, start, end)) for start, end in spans] == fresh
    pieces = [counts(read(store, a, b)) for a, b in ((0, 1_234), (1_234, 5 * HOUR + 77), (5 * HOUR + 77, 24 * HOUR))]
    assert sum((piece[1] for piece in pieces), Counter()) == fresh[0][1]


def test_a_tail_that_was_counted_says_what_counting_on_the_spot_says(store: Store, past: Past) -> None:
    past.write([each for each in journeys() if each[2] < 6 * HOUR])
    for now in (5 * HOUR + 1_234, 6 * HOUR):
        spans = ((0, now), (now - HOUR, now), (now - HOUR - 77, now - 700), (now - 6 * HOUR, now + HOUR))
        fresh = [read(store, start, end, now) for start, end in spans]
        assert count_tail(store, ENDS, START + now) > 50
        count_transitions(store, ENDS, START + now)
        stored = [read(store, start, end, now, on_the_spot=False) for start, end in spans]
        assert [counts(found) for found in stored] == [counts(found) for found in fresh]
        assert [(found.start, found.end, found.under_way) for found in stored] == [
            (found.start, found.end, found.under_way) for found in fresh
        ]
        assert fresh[0].under_way > 0
        assert [found.missing for found in stored] == [()] * 4


def test_a_period_is_taken_by_full_five_minutes_but_up_to_now(store: Store, past: Past) -> None:
    past.write([("a", 1, 299.0, "total", Verdict.GOOD), ("b", 2, 300.0, "total", Verdict.GOOD)])
    assert counts(read(store, 0, 599))[0][""] == (1, 1, 0)
    assert counts(read(store, 301, 600))[0][""] == (1, 1, 0)
    found = read(store, 250, 1_500, now=1_299)
    assert (found.start, found.end) == (START, START + 1_299)
    assert counts(found)[0][""] == (2, 2, 0)


def test_the_tail_is_as_old_as_its_count_and_an_old_one_is_counted_again(store: Store, past: Past) -> None:
    now = 3 * HOUR + 100
    past.write(journey("a", now - 1_000, "total"))
    count_tail(store, ENDS, START + now)
    past.write(journey("b", now + 30, "total"))
    known = read(store, now - HOUR, now + 500, now + 500)
    assert (counts(known)[0], known.end) == ({"": (1, 1, 0), "total": (1, 1, 0)}, START + now)
    assert read(store, now - HOUR, now + 601, now + 601, on_the_spot=False).missing == (
        (START + (now - HOUR) // 300 * 300, START + now + 601),
    )
    later = read(store, now - HOUR, now + 601, now + 601)
    assert (counts(later)[0], later.end) == ({"": (2, 2, 0), "total": (2, 2, 0)}, START + now + 601)
    count_tail(store, ENDS, START + now + 601)
    assert counts(read(store, now - HOUR, now + 601, now + 601, on_the_spot=False)) == counts(later)


def test_slices_are_forgotten_and_hours_stay(store: Store, past: Past) -> None:
    past.write(journeys())
    count_transitions(store, ENDS, START + 12 * HOUR)
    count_tail(store, ENDS, START + 12 * HOUR)
    kept = "SELECT count(*) FROM instance_slices UNION ALL SELECT count(*) FROM transition_slices"
    with store.connection() as connection:
        assert all(row[0] > 100 for row in connection.execute(kept))
        before = counts(read(store))
        count_tail(store, ENDS, START + 72 * HOUR)
        assert connection.execute(kept).fetchall() == [(0,), (0,)]
    assert counts(read(store)) == before


def test_many_passages_are_read_in_parts(store: Store, past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    past.write(journeys())
    whole = counts(read(store))
    monkeypatch.setattr("cxgauge.metrics.store.transition_counting._PASSAGES_AT_ONCE", 300)
    assert counts(read(store)) == whole


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
