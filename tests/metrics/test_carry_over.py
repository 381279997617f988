"""What lasts: levels taken for normal, improvements, a new profile or a lost state while something is reported."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from cxgauge.metrics.baseline.baseline import learn
from cxgauge.metrics.detection.carry_over import carry_over, forgotten, remember
from cxgauge.metrics.detection.detector import Detector
from cxgauge.metrics.detection.estimate import estimate
from cxgauge.metrics.detection.input import BucketGrid, Fleet, Measurements
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.deviation import DeviationKind, Scope
from cxgauge.metrics.observation import SeriesKey

GRID = BucketGrid(-4.0, 0.125)
DAY = 86_400.0
WINDOW = 300.0
START = 20_000 * DAY
SETTINGS = DetectionSettings(window_seconds=WINDOW, false_alarms_per_series_month=1.0, rebase_seconds=DAY)
CELLS = [
    SeriesKey("bill", step, (("channel", channel),), ("total_ok",))
    for step in ("total", "details")
    for channel in ("app", "web")
]
TOTAL, DETAILS = Scope("bill", "total"), Scope("bill", "details")
WRONG = 4  # column of verdict "wrong"


def windows(first, days, *, seed=1, slow=(1.0, 1.0), failing=0.01, tail=0.0, silent=False, cells=CELLS):
    """Windows of two steps in two channels, days from START; ``slow`` is a factor for each step."""
    rng = np.random.default_rng(seed)
    start = START + first * DAY + WINDOW * np.arange(round(days * DAY / WINDOW))
    hour = start % DAY / 3600
    size, keys, sums = len(start) * len(cells), [], []
    outcomes, tried = np.zeros((size, 9)), np.zeros((size, 9))
    for cell, key in enumerate(cells):
        count = rng.poisson(60 * (1 + 0.4 * np.sin(2 * np.pi * hour / 24)))
        if silent and key.step == "details":
            count[:] = 0
        row = np.repeat(np.arange(len(start)), count)
        x = rng.normal(size=len(row)) * 0.4 + np.log(slow[key.step == "details"])
        x = np.where(rng.random(len(row)) < tail, x + 2.0, x)
        place = slice(cell * len(start), (cell + 1) * len(start))
        wrong = np.bincount(row, rng.random(len(row)) < failing, len(start))
        outcomes[place, WRONG] = outcomes[place, 8] = wrong
        tried[place] = count[:, None]
        keys.append((row + cell * len(start)) * 128 + np.clip(np.floor((x + 4) / 0.125), 0, 127).astype(int))
        sums.append((np.bincount(row, x, len(start)), np.bincount(row, x * x, len(start))))
    key, amount = np.unique(np.concatenate(keys), return_counts=True)
    return Measurements(
        np.tile(start, len(cells)),
        np.repeat(np.arange(len(cells)), len(start)),
        tried[:, 0].copy(),
        np.concatenate([each[0] for each in sums]),
        np.concatenate([each[1] for each in sums]),
        np.concatenate(([0], np.cumsum(np.bincount(key // 128, minlength=size)))),
        key % 128,
        amount.astype(float),
        outcomes,
        tried,
    )


@cache
def profile(seed=1):
    return learn(windows(0, 6, seed=seed), Fleet.build(CELLS, GRID), SETTINGS)


def follow(detector, rows):
    found = []
    for start, window in rows.windows():
        found += detector.advance(start, window)
    return found


def of(found, kind, scope=None):
    return [each for each in found if each.kind is kind and scope in (None, replace(each.scope, check=None))]


# --- improvements ------------------------------------------------------------------------------------


def test_fewer_failures_are_reported_once_for_each_step_and_their_end_is_found():
    detector = Detector(profile())
    found = follow(detector, windows(6, 0.5, failing=0.002))
    better = of(found, DeviationKind.IMPROVING)
    assert {TOTAL, DETAILS} <= {each.scope for each in better}
    assert len(better) == len({each.scope for each in better})
    assert not of(found, DeviationKind.FAILING)
    first = better[0]
    assert first.effect_low < np.log(0.2) < first.effect_high
    assert first.before == pytest.approx(0.01, rel=0.3)
    assert first.after == pytest.approx(0.002, abs=0.002)
    assert abs(first.started_at - (START + 6 * DAY)) <= 3600
    back = of(follow(detector, windows(6.5, 0.5, seed=2)), DeviationKind.RECOVERED)
    assert {(each.scope, each.ends) for each in back} == {(each.scope, DeviationKind.IMPROVING) for each in better}


def test_the_usual_rate_is_no_improvement():
    assert not of(follow(Detector(profile()), windows(6, 3, seed=5)), DeviationKind.IMPROVING)


def test_the_end_of_more_failures_is_a_recovery_and_no_improvement():
    detector = Detector(profile())
    found = follow(detector, windows(6, 0.25, failing=0.05)) + follow(detector, windows(6.25, 0.5, seed=2))
    assert of(found, DeviationKind.FAILING)
    assert of(found, DeviationKind.RECOVERED)
    assert not of(found, DeviationKind.IMPROVING)


def test_an_improvement_that_lasts_becomes_the_usual_rate_and_the_old_one_is_then_too_high():
    detector = Detector(profile())
    found = follow(detector, windows(6, 1.5, failing=0.002))
    ends = [each for each in of(found, DeviationKind.RECOVERED) if each.ends is DeviationKind.IMPROVING]
    assert ends
    assert all(each.evidence == {"rebased": 1.0} for each in ends)
    assert of(follow(detector, windows(7.5, 0.25, seed=3)), DeviationKind.FAILING)


# --- levels taken for normal -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ({"slow": (1.3, 1.0)}, DeviationKind.SLOWER),
        ({"failing": 0.05}, DeviationKind.FAILING),
        ({"tail": 0.04}, DeviationKind.TAIL),
    ],
)
def test_what_lasts_is_taken_for_normal_and_said_to_be(what, kind):
    detector = Detector(profile())
    found = follow(detector, windows(6, 1.5, **what))
    reported = of(found, kind)
    assert reported
    ends = [each for each in of(found, DeviationKind.RECOVERED) if each.ends is kind and each.evidence]
    assert {each.scope for each in ends} >= {each.scope for each in reported if not each.scope.dimensions}
    assert [each.evidence for each in ends] == [{"rebased": 1.0}] * len(ends)
    assert all(each.detected_at >= START + 7 * DAY for each in ends)
    paged = {DeviationKind.SLOWER, DeviationKind.FAILING, DeviationKind.TAIL}
    after = [each for each in found if each.detected_at > START + 7.1 * DAY]
    after += follow(detector, windows(7.5, 0.4, seed=4, **what))
    assert [each for each in after if each.kind in paged and not each.scope.dimensions] == []
    assert of(after, DeviationKind.CREEP) == []


def test_silence_is_never_taken_for_normal():
    detector = Detector(profile())
    found = follow(detector, windows(6, 1.5, silent=True))
    assert [each.scope for each in of(found, DeviationKind.SILENT)][:1] == [DETAILS]
    assert DeviationKind.SILENT not in {each.ends for each in of(found, DeviationKind.RECOVERED)}


# --- a flow does not speak for its steps ---------------------------------------------------------------


def test_a_step_that_breaks_while_its_flow_is_reported_is_news():
    detector = Detector(profile())
    first = follow(detector, windows(6, 0.25, slow=(1.3, 1.0)))
    assert TOTAL in {each.scope for each in of(first, DeviationKind.SLOWER)}
    second = follow(detector, windows(6.25, 0.25, seed=2, slow=(1.3, 1.3)))
    assert DETAILS in {each.scope for each in of(second, DeviationKind.SLOWER)}


# --- a new profile -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ({"slow": (1.3, 1.0)}, DeviationKind.SLOWER),
        ({"failing": 0.05}, DeviationKind.FAILING),
        ({"tail": 0.04}, DeviationKind.TAIL),
        ({"silent": True}, DeviationKind.SILENT),
    ],
)
def test_what_is_reported_is_followed_to_its_end_on_a_new_profile(what, kind):
    old = Detector(profile())
    reported = of(follow(old, windows(6, 0.25, **what)), kind)
    assert reported
    assert forgotten(old, profile(seed=9)) == []
    new = carry_over(old, profile(seed=9))
    assert not of(follow(new, windows(6.25, 0.1, seed=2, **what)), kind)  # it is known
    back = follow(new, windows(6.35, 0.5, seed=3))
    ended = {each.scope for each in of(back, DeviationKind.RECOVERED) if each.ends is kind}
    assert {each.scope for each in reported} <= ended


def test_evidence_that_is_being_gathered_goes_on():
    rows = windows(6, 0.06, slow=(1.1, 1.0))
    starts = np.unique(rows.window_start)
    whole, old = Detector(profile()), Detector(profile())
    expected = follow(whole, rows)
    before = follow(old, rows.take(np.flatnonzero(rows.window_start < starts[3])))
    new = carry_over(old, profile())
    after = follow(new, rows.take(np.flatnonzero(rows.window_start >= starts[3])))
    assert of(expected, DeviationKind.SLOWER)
    assert before + after == expected


@pytest.mark.parametrize("learnt", [True, False])
def test_an_accepted_level_stays_accepted_whether_or_not_the_new_profile_has_learnt_it(learnt):
    old = Detector(profile())
    slow = windows(6, 0.25, slow=(1.3, 1.0), failing=0.03)
    assert of(follow(old, slow), DeviationKind.SLOWER)
    for kind, check in ((DeviationKind.SLOWER, None), (DeviationKind.FAILING, None)):
        old.accept(replace(TOTAL, check=check), kind, list(slow.windows()))
        old.accept(replace(DETAILS, check=check), kind, list(slow.windows()))
        old.accept(Scope("bill"), kind, list(slow.windows()))
    for channel in ("app", "web"):
        for step in ("total", "details"):
            old.accept(Scope("bill", step, (("channel", channel),)), DeviationKind.FAILING, list(slow.windows()))
    for check in ("verdict:wrong", "total_ok"):
        for scope in (TOTAL, DETAILS):
            old.accept(replace(scope, check=check), DeviationKind.FAILING, list(slow.windows()))
    history = windows(0, 6, seed=9, slow=(1.3, 1.0), failing=0.03) if learnt else windows(0, 6, seed=9)
    new = carry_over(old, learn(history, Fleet.build(CELLS, GRID), SETTINGS))
    found = follow(new, windows(6.25, 0.75, seed=2, slow=(1.3, 1.0), failing=0.03))
    assert not of(found, DeviationKind.SLOWER)
    assert not of(found, DeviationKind.FAILING)
    assert of(follow(new, windows(7, 0.25, seed=3, slow=(1.7, 1.0), failing=0.03)), DeviationKind.SLOWER)


def test_a_profile_that_cannot_follow_what_is_reported_is_named():
    old = Detector(profile())
    assert of(follow(old, windows(6, 0.25, slow=(1.0, 1.3))), DeviationKind.SLOWER, DETAILS)
    only_total = [cell for cell in CELLS if cell.step == "total"]
    fleet = Fleet.build(only_total, GRID)
    lacking = learn(windows(0, 6, cells=only_total), fleet, SETTINGS)
    assert DETAILS in forgotten(old, lacking)


# --- a lost state -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ({"slow": (1.3, 1.0)}, DeviationKind.SLOWER),
        ({"failing": 0.05}, DeviationKind.FAILING),
        ({"tail": 0.04}, DeviationKind.TAIL),
        ({"silent": True}, DeviationKind.SILENT),
    ],
)
def test_a_detector_told_what_is_open_finds_its_end(what, kind):
    before = of(follow(Detector(profile()), windows(6, 0.25, **what)), kind)
    anew = Detector(profile())
    remember(anew, before)
    assert not [each for each in follow(anew, windows(6.25, 0.1, seed=2, **what)) if each.kind is kind]
    back = follow(anew, windows(6.35, 0.5, seed=3))
    ended = {each.scope for each in of(back, DeviationKind.RECOVERED) if each.ends is kind}
    assert {each.scope for each in before} <= ended


def test_what_the_profile_does_not_know_is_left_out():
    known = of(follow(Detector(profile()), windows(6, 0.25, slow=(1.3, 1.0))), DeviationKind.SLOWER)[0]
    detector = Detector(profile())
    untouched = detector.to_bytes()
    strange = [replace(known, scope=Scope("other", "step")), replace(known, kind=DeviationKind.FAILING)]
    remember(detector, [strange[0], replace(strange[1], scope=replace(known.scope, check="no such check"))])
    assert detector.to_bytes() == untouched


# --- effects estimated anew -----------------------------------------------------------------------------


def test_intervals_of_estimates_cover_the_truth():
    detector, inside = Detector(profile()), {"slower": 0, "failing": 0, "tail": 0}
    runs = 60
    for seed in range(runs):
        rows = windows(6 + 0.01 * seed, 0.06, seed=seed + 50, slow=(1.15, 1.0), failing=0.03)
        slower = estimate(detector, TOTAL, DeviationKind.SLOWER, rows)
        failing = estimate(detector, replace(DETAILS, check="total_ok"), DeviationKind.FAILING, rows)
        assert slower is not None
        assert failing is not None
        inside["slower"] += slower.low <= np.log(1.15) <= slower.high
        inside["failing"] += failing.low <= np.log(3.0) <= failing.high
    assert inside["slower"] >= 0.85 * runs
    assert inside["failing"] >= 0.85 * runs
    assert slower is not None
    assert failing is not None
    assert slower.after == pytest.approx(1.15 * slower.before, rel=0.03)
    assert failing.after == pytest.approx(0.03, rel=0.4)
    assert failing.before == pytest.approx(0.01, rel=0.4)


def test_an_estimate_changes_nothing_and_knows_its_limits():
    detector = Detector(profile())
    before = detector.to_bytes()
    rows = windows(6, 0.05)
    assert estimate(detector, TOTAL, DeviationKind.SILENT, rows) is None
    assert estimate(detector, Scope("other"), DeviationKind.SLOWER, rows) is None
    assert estimate(detector, replace(TOTAL, check="other"), DeviationKind.FAILING, rows) is None
    assert estimate(detector, TOTAL, DeviationKind.SLOWER, rows.take(np.zeros(0, dtype=np.int64))) is None
    usual = estimate(detector, TOTAL, DeviationKind.TAIL, rows, 0.95)
    assert usual is not None
    assert usual.low <= 0.0 <= usual.high
    assert detector.to_bytes() == before


def test_an_accepted_level_is_what_estimates_compare_with():
    detector = Detector(profile())
    slow = windows(6, 0.25, slow=(1.3, 1.0))
    follow(detector, slow)
    detector.accept(TOTAL, DeviationKind.SLOWER, list(slow.windows()))
    after = estimate(detector, TOTAL, DeviationKind.SLOWER, windows(6.25, 0.1, seed=2, slow=(1.3, 1.0)))
    assert after is not None
    assert after.effect == pytest.approx(0.0, abs=0.03)
