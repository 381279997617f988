"""The detector over stored windows: what is found when, nothing from the future, delays beside their limit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cxgauge.metrics.backtest.store import families, levels_of, replay, share_of_budget
from cxgauge.metrics.baseline.baseline import Profile, learn
from cxgauge.metrics.detection.input import SKETCH_GRID, Fleet, Measurements, concatenate
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.deviation import Deviation, DeviationKind
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.rollup import roll_up
from cxgauge.metrics.verdict import Verdict

START = 1_767_225_600.0
MINUTES = 360
KEYS = (SeriesKey("bill", "total", (), ("shown",)), SeriesKey("bill", "details", (), ("shown",)))
SETTINGS = DetectionSettings(false_alarms_per_series_month=1.0)


def measured(
    first: int, minutes: int, seed: int, *, slow: float = 1.0, since: int = 0, failing: float = 0.0
) -> Measurements:
    """100 observations a minute of two steps; from minute ``since`` on, ``total`` is slower and fails more often."""
    rng = np.random.default_rng(seed)
    size = 100 * minutes
    records = np.zeros(size, dtype=RECORD)
    at = np.sort(rng.random(size) * minutes)
    records["observed_at_us"] = (START + 60 * (first + at)) * 1e6
    records["series"] = rng.integers(0, 2, size)
    hit = (records["series"] == 0) & (at >= since)
    records["duration_seconds"] = np.exp(rng.normal(0.0, 0.4, size)) * np.where(hit, slow, 1.0)
    bad = rng.random(size) < np.where(hit, 0.01 + failing, 0.01)
    records["verdict"] = np.where(bad, Verdict.INCOMPLETE, Verdict.GOOD)
    records["checks"] = np.where(bad, 2, 1)
    return Measurements.from_rollup(roll_up(ObservationBatch(KEYS, records), 60), {0: 0, 1: 1})


@pytest.fixture(scope="module")
def profile() -> Profile:
    return learn(measured(0, MINUTES, 1), Fleet.build(KEYS, SKETCH_GRID), SETTINGS)


BEGIN = START + 60 * MINUTES


def test_a_slow_down_is_found_with_its_limit(profile: Profile) -> None:
    stream = measured(MINUTES, 60, 2, slow=1.25, since=20)
    found = replay(profile, stream, BEGIN, BEGIN + 3600)
    # The whole flow may be told a window earlier: diluted by its other step, the change is no spike's size there.
    slower = next(
        each for each in found if each.deviation.kind is DeviationKind.SLOWER and each.deviation.scope.step == "total"
    )
    assert slower.deviation.detected_at <= found[0].deviation.detected_at + 60
    assert slower.paged
    assert abs(slower.deviation.started_at - (BEGIN + 1200)) <= 180
    assert slower.deviation.effect_low < math.log(1.25) < slower.deviation.effect_high
    assert slower.limit_seconds is not None
    assert 60 <= slower.limit_seconds <= 2 * slower.delay_seconds
    assert slower.ended_at is None


def test_an_end_is_found(profile: Profile) -> None:
    slow, well = measured(MINUTES, 40, 3, slow=1.4), measured(MINUTES + 40, 60, 4)
    found = replay(profile, concatenate([slow, well]), BEGIN, BEGIN + 6000)
    slower = next(each for each in found if each.deviation.kind is DeviationKind.SLOWER)
    assert slower.ended_at is not None
    assert slower.ended_at > BEGIN + 2400


def test_failures_have_a_limit_of_their_own(profile: Profile) -> None:
    found = replay(profile, measured(MINUTES, 60, 5, failing=0.08), BEGIN, BEGIN + 3600)
    failing = next(each for each in found if each.deviation.kind is DeviationKind.FAILING)
    assert failing.limit_seconds is not None
    assert 60 <= failing.limit_seconds <= 3 * failing.delay_seconds + 120


def test_a_quiet_hour_is_quiet(profile: Profile) -> None:
    assert [each for each in replay(profile, measured(MINUTES, 60, 6), BEGIN, BEGIN + 3600) if each.paged] == []


def test_windows_without_any_data_are_followed_too(profile: Profile) -> None:
    stream = measured(MINUTES, 10, 7)
    found = replay(profile, stream, BEGIN, BEGIN + 3600)
    assert DeviationKind.SILENT in {each.deviation.kind for each in found}


def test_nothing_is_used_before_it_came(profile: Profile) -> None:
    stream = measured(MINUTES, 60, 8, slow=1.25, since=20)

    def early(found: list[tuple[Deviation, float | None]]) -> list[tuple[Deviation, float | None]]:
        return [each for each in found if each[0].detected_at <= BEGIN + 2400]

    whole = [(each.deviation, each.limit_seconds) for each in replay(profile, stream, BEGIN, BEGIN + 3600)]
    cut = stream.take(np.flatnonzero(stream.window_start < BEGIN + 2400))
    part = [(each.deviation, each.limit_seconds) for each in replay(profile, cut, BEGIN, BEGIN + 2400)]
    assert early(whole) == early(part) != []


def test_part_of_a_fleet_gets_its_part_of_the_budget() -> None:
    series = {0: KEYS[0], 1: KEYS[1], 2: replace(KEYS[0], flow="loan"), 3: replace(KEYS[0], dimensions=(("a", "b"),))}
    assert families(series) == 4  # three steps, and one flow of two
    settings = DetectionSettings(false_alarms_per_month=2.0)
    assert share_of_budget(settings, series).false_alarms_per_series_month == 0.5
    assert share_of_budget(SETTINGS, series) is SETTINGS


def test_levels_over_time_have_gaps_where_there_are_no_data() -> None:
    stream = measured(0, 10, 9, slow=2.0, since=5)
    levels = levels_of(stream, [0], START, START + 1200, 300.0)
    assert levels.start.tolist() == [START, START + 300, START + 600, START + 900]
    assert levels.p50[:2] == pytest.approx([1.0, 2.0], rel=0.1)
    assert levels.p95[:2] == pytest.approx([math.exp(1.645 * 0.4), 2 * math.exp(1.645 * 0.4)], rel=0.15)
    assert np.isnan(levels.p50[2:]).all()
