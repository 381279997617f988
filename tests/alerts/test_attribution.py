"""Attribution against simulated truth."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.alerts.attribution import (
    Attribution,
    CellCounts,
    Concentration,
    attribute_failures,
    attribute_latency,
)

Cells = list[dict[str, str]]
VALUES = {
    "app_version": ["8.0.3", "8.1.0", "8.2.0"],
    "channel": ["app", "web"],
    "region": ["east", "north", "south", "west"],
}


def grid(**values: list[str]) -> Cells:
    cells: Cells = [{}]
    for name, options in values.items():
        cells = [{**cell, name: option} for cell in cells for option in options]
    return cells


def draw(
    rng: np.random.Generator, cells: Cells, total: int, *, effect: np.ndarray, rate: np.ndarray, weight: np.ndarray
) -> CellCounts:
    """Counts of one span: log durations with a level of its own in each cell, failures at the cell's rate."""
    count = rng.multinomial(total, weight / weight.sum()).astype(float)
    sums = [
        (part.sum(), (part**2).sum())
        for part in (rng.normal(each, 0.5, int(n)) for each, n in zip(effect, count, strict=True))
    ]
    sum_log, squares = (np.array(column) for column in zip(*sums, strict=True))
    return CellCounts(count, sum_log, squares, count, rng.binomial(count.astype(int), rate).astype(float))


def guilty(cells: Cells, **who: str) -> np.ndarray:
    return np.array([who.items() <= cell.items() for cell in cells])


def simulate(
    rng: np.random.Generator, who: Mapping[str, str] | None, *, ratio: float, failing: float = 1.0, after: int = 2000
) -> Attribution:
    cells = grid(**VALUES)
    weight = rng.dirichlet(np.full(len(cells), 4.0)) + 0.005
    level, rate = rng.normal(0, 0.3, len(cells)), np.full(len(cells), 0.004)
    hit = np.ones(len(cells), dtype=bool) if who is None else guilty(cells, **who)
    before = draw(rng, cells, 40_000, effect=level, rate=rate, weight=weight)
    changed = draw(
        rng, cells, after, effect=level + hit * math.log(ratio), rate=rate * np.where(hit, failing, 1.0), weight=weight
    )
    return (attribute_latency if failing == 1.0 else attribute_failures)(cells, before, changed)


def first_named(found: Attribution) -> dict[str, str]:
    return dict(found.contributions[0].dimensions) if found.contributions else {}


CAUSES = [
    {"app_version": "8.2.0"},
    {"channel": "web"},
    {"region": "north"},
    {"app_version": "8.2.0", "region": "north"},
]


@pytest.mark.parametrize("who", CAUSES, ids=str)
def test_the_guilty_value_of_a_slow_down_is_named_first(who: dict[str, str]) -> None:
    rng = np.random.default_rng(7)
    ratio = 1.6 if len(who) > 1 else 1.35
    found = [simulate(rng, who, ratio=ratio, after=4000) for _ in range(60)]
    assert sum(first_named(each) == who for each in found) >= 57


@pytest.mark.parametrize("who", CAUSES, ids=str)
def test_the_guilty_value_of_failures_is_named_first(who: dict[str, str]) -> None:
    rng = np.random.default_rng(11)
    after = 20_000 if len(who) > 1 else 6000  # of a pair there are fewer answers
    found = [simulate(rng, who, ratio=1.0, failing=12.0, after=after) for _ in range(60)]
    assert sum(first_named(each) == who for each in found) >= 57


def test_everyone_alike_is_an_answer() -> None:
    rng = np.random.default_rng(3)
    found = [simulate(rng, None, ratio=1.2) for _ in range(100)]
    assert sum(each.concentration is Concentration.EVERYONE for each in found) >= 96
    failures = [simulate(rng, None, ratio=1.0, failing=5.0, after=5000) for _ in range(100)]
    assert sum(each.concentration is Concentration.EVERYONE for each in failures) >= 96


def test_no_change_is_not_attributed() -> None:
    rng = np.random.default_rng(5)
    found = [simulate(rng, None, ratio=1.0) for _ in range(100)]
    assert sum(each.concentration is Concentration.UNKNOWN for each in found) >= 90
    assert found[0].reason == "the change is within its own uncertainty"


def test_share_and_effect_cover_the_truth() -> None:
    rng = np.random.default_rng(13)
    found = [simulate(rng, {"channel": "web"}, ratio=1.3, after=4000) for _ in range(100)]
    best = [each.contributions[0] for each in found if first_named(each) == {"channel": "web"}]
    assert sum(each.effect_low <= math.log(1.3) <= each.effect_high for each in best) >= 0.9 * len(best)
    assert sum(each.share_low <= 1.0 <= each.share_high for each in best) >= 0.9 * len(best)


def test_a_change_of_mix_is_told_from_a_change_within() -> None:
    cells = [{"channel": "app"}, {"channel": "branch"}]
    level = np.array([0.0, 1.0])
    rng = np.random.default_rng(17)
    none = np.zeros(2)
    before = draw(rng, cells, 20_000, effect=level, rate=none, weight=np.array([0.8, 0.2]))
    shifted = draw(rng, cells, 20_000, effect=level, rate=none, weight=np.array([0.5, 0.5]))
    found = attribute_latency(cells, before, shifted)
    assert found.mix == pytest.approx(0.3, abs=0.02)
    assert found.within == pytest.approx(0.0, abs=0.02)
    assert found.concentration is Concentration.UNKNOWN
    both = draw(rng, cells, 20_000, effect=level + 0.2, rate=none, weight=np.array([0.5, 0.5]))
    found = attribute_latency(cells, before, both)
    assert found.mix == pytest.approx(0.3, abs=0.02)
    assert found.within == pytest.approx(0.2, abs=0.02)
    assert found.concentration is Concentration.EVERYONE


def test_a_new_version_is_compared_with_comparable_customers() -> None:
    cells = grid(app_version=["8.1.0", "8.2.0"], channel=["app", "web"])
    level = np.array([0.0, 1.0, 0.0, 1.0])
    rng = np.random.default_rng(19)
    none = np.zeros(4)
    before = draw(rng, cells, 20_000, effect=level, rate=none, weight=np.array([1, 1, 0, 0.0]))
    after = draw(
        rng, cells, 4000, effect=level + np.array([0, 0, 0.3, 0.3]), rate=none, weight=np.array([1, 1, 1, 1.0])
    )
    found = attribute_latency(cells, before, after)
    worst = found.contributions[0]
    assert worst.dimensions == (("app_version", "8.2.0"),)
    assert worst.is_new
    assert worst.effect == pytest.approx(0.3, abs=0.05)
    assert found.mix == pytest.approx(0.0, abs=0.03)


def test_two_guilty_values_are_both_named() -> None:
    cells = grid(region=["east", "north", "south", "west"])
    rng = np.random.default_rng(23)
    none, weight = np.zeros(4), np.ones(4)
    before = draw(rng, cells, 40_000, effect=none, rate=none, weight=weight)
    after = draw(rng, cells, 8000, effect=np.array([0, 0.4, 0, 0.3]), rate=none, weight=weight)
    named = [dict(each.dimensions)["region"] for each in attribute_latency(cells, before, after).contributions]
    assert named == ["north", "west"]


@pytest.mark.parametrize("attribute", [attribute_latency, attribute_failures])
def test_nothing_before_is_not_enough(attribute: Callable[..., Attribution]) -> None:
    cells, none = [{"region": "north"}, {"region": "south"}], np.zeros(2)
    counts = CellCounts(np.ones(2) * 100, none, none + 25.0, np.ones(2) * 100, none + 5)
    nothing = CellCounts(none, none, none, none, none)
    assert attribute(cells, nothing, counts).concentration is Concentration.UNKNOWN


columns = st.lists(st.integers(0, 400), min_size=4, max_size=4)


@given(columns, columns, columns, columns, st.lists(st.floats(-3, 3), min_size=8, max_size=8))
def test_mix_and_within_sum_to_the_total(
    n0: list[int], n1: list[int], k0: list[int], k1: list[int], means: list[float]
) -> None:
    cells = grid(a=["x", "y"], b=["u", "v"])

    def counts(n: list[int], k: list[int], mean: list[float]) -> CellCounts:
        count, level = np.array(n, dtype=float), np.array(mean)
        failed = np.minimum(count, np.array(k, dtype=float))
        return CellCounts(count, count * level, count * (level**2 + 0.2), count, failed)

    before, after = counts(n0, k0, means[:4]), counts(n1, k1, means[4:])
    for found in (attribute_latency(cells, before, after), attribute_failures(cells, before, after)):
        assert found.within + found.mix == pytest.approx(found.total, abs=1e-9)
        assert all(math.isfinite(value) for value in (found.total, found.within, found.mix))
    if min(sum(n0), sum(n1)) >= 2:
        total = (after.sum_log.sum() / after.count.sum()) - (before.sum_log.sum() / before.count.sum())
        assert attribute_latency(cells, before, after).total == pytest.approx(total, abs=1e-9)
