"""The detector finds small lasting shifts early and survives restarts exactly."""

import io
from typing import Any

import numpy as np
import pytest

from cxgauge.metrics.baseline.baseline import learn
from cxgauge.metrics.baseline.bytes import profile_from_bytes, profile_to_bytes
from cxgauge.metrics.detection.detector import Detector
from cxgauge.metrics.detection.input import BucketGrid, Fleet, Measurements
from cxgauge.metrics.detection.minimum_change import minimum_detectable_change
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.detection.state_bytes import arrays_to_bytes, bytes_to_arrays
from cxgauge.metrics.deviation import DeviationKind, Scope
from cxgauge.metrics.observation import SeriesKey
from cxgauge.metrics.verdict import VERDICT_COUNT, Verdict

GRID = BucketGrid(-4.0, 0.125)
MONDAY = 345_600.0
SETTINGS = DetectionSettings(false_alarms_per_series_month=1.0)


def simulate(seed, first_minute, minutes, rate, *, change=None, effect=0.0, deviation=0.5):
    """Seasonal, heavy-tailed latency with common noise; one cell."""
    rng = np.random.default_rng(seed)
    start = MONDAY + 60.0 * (first_minute + np.arange(minutes))
    day = (start % 86_400) / 86_400
    count = rng.poisson(rate * (1 + 0.6 * np.sin(2 * np.pi * (day - 0.3))))
    common = np.zeros(minutes)
    for t in range(1, minutes):
        common[t] = 0.7 * common[t - 1] + rng.normal() * 0.014
    level = 0.15 * np.sin(2 * np.pi * (day - 0.4)) + common
    if change is not None:
        level += np.where(np.arange(minutes) >= change, effect, 0.0)
    row = np.repeat(np.arange(minutes), count)
    x = level[row] + rng.normal(size=len(row)) * deviation
    x = np.where(rng.random(len(row)) < 0.002, np.log(30.0), x)
    key, amount = np.unique(row * 128 + np.clip(np.floor((x + 4) / 0.125), 0, 127).astype(int), return_counts=True)
    offsets = np.concatenate(([0], np.cumsum(np.bincount(key // 128, minlength=minutes))))
    nothing = np.zeros((minutes, 0))
    return Measurements(
        start,
        np.zeros(minutes, dtype=np.int64),
        count.astype(float),
        np.bincount(row, x, minlength=minutes),
        np.bincount(row, x * x, minlength=minutes),
        offsets,
        key % 128,
        amount.astype(float),
        nothing,
        nothing,
    )


@pytest.fixture(scope="module")
def profile():
    fleet = Fleet.build([SeriesKey("bill_inquiry", "bill_total")], GRID)
    return learn(simulate(1, 0, 21 * 1440, 50), fleet, SETTINGS)


def test_twenty_percent_slower_is_found_within_minutes(profile):
    delays = []
    for seed in range(5):
        detector = Detector(profile)
        found = []
        stream = simulate(seed + 10, 28 * 1440 + 540, 200, 50, change=90, effect=np.log(1.2))
        for start, window in stream.windows():
            found += detector.advance(start, window)
        assert [deviation.kind for deviation in found] == [DeviationKind.SLOWER]
        assert found[0].effect_low < np.log(1.2) < found[0].effect_high + 0.1
        delays.append((found[0].detected_at - MONDAY) / 60 - (28 * 1440 + 540 + 90))
    assert np.median(delays) <= 10
    assert max(delays) <= 30


def test_restart_between_any_two_windows_changes_nothing(profile):
    stream = list(simulate(3, 28 * 1440 + 600, 120, 50, change=40, effect=np.log(1.3)).windows())
    through = Detector(profile)
    expected = [deviation for start, window in stream for deviation in through.advance(start, window)]
    detector, found = Detector(profile), []
    for start, window in stream:
        detector = Detector.from_bytes(detector.to_bytes(), profile)
        found += detector.advance(start, window)
    assert found == expected
    assert found
    assert detector.to_bytes() == through.to_bytes()


def test_a_state_of_a_former_version_with_more_digits_is_gone_on_from(profile):
    stream = list(simulate(3, 28 * 1440 + 600, 120, 50, change=40, effect=np.log(1.3)).windows())
    through = Detector(profile)
    expected = [deviation for start, window in stream for deviation in through.advance(start, window)]
    detector = Detector(profile)
    found = [deviation for start, window in stream[:45] for deviation in detector.advance(start, window)]
    now = bytes_to_arrays(detector.to_bytes())
    wide: dict[str, Any] = {
        name: array.astype(np.float64) if name.startswith("count.") else array for name, array in now.items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **wide)
    detector = Detector.from_bytes(buffer.getvalue(), profile)
    found += [deviation for start, window in stream[45:] for deviation in detector.advance(start, window)]
    assert found == expected
    assert bytes_to_arrays(detector.to_bytes())["count.evidence"].dtype == np.float32


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.uint8])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_arrays_of_a_state_come_back_bit_by_bit(kind, share):
    rng = np.random.default_rng(1)
    array = np.where(rng.random((3, 50)) < share, rng.normal(size=(3, 50)) * 9, 0).astype(kind)
    if kind in (np.float32, np.float64):
        array[0, :4] = [-0.0, np.nan, np.inf, 5e-324]
    given = {"one": array, "none": np.zeros((0, 4), dtype=kind), "text": np.frombuffer(b"{}", dtype=np.uint8)}
    data = arrays_to_bytes(given)
    found = bytes_to_arrays(data)
    assert found.keys() == given.keys()
    for name, values in given.items():
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape)
        assert found[name].tobytes() == values.tobytes()


def test_what_is_nothing_takes_no_bytes():
    assert len(arrays_to_bytes({"much": np.zeros((4, 100_000))})) < 2_000


def test_late_window_is_counted(profile):
    stream = list(simulate(4, 28 * 1440, 3, 50).windows())
    detector = Detector(profile)
    for start, window in [stream[0], stream[2], stream[1]]:
        detector.advance(start, window)
    assert detector.late_windows == 1


def test_stored_profile_and_state_go_on_exactly(profile):
    restored = profile_from_bytes(profile_to_bytes(profile))
    assert restored.fleet.scopes == profile.fleet.scopes
    assert restored.settings == profile.settings
    stream = list(simulate(5, 28 * 1440 + 600, 100, 50, change=40, effect=np.log(1.3)).windows())
    detector, other = Detector(profile), Detector(restored)
    assert [detector.advance(*item) for item in stream] == [other.advance(*item) for item in stream]
    assert detector.to_bytes() == other.to_bytes()


def test_minimum_detectable_change_shrinks_with_time_and_is_about_right(profile):
    scope = Scope("bill_inquiry", "bill_total")
    hour, day = (minimum_detectable_change(profile, scope, seconds).ratio for seconds in (3600.0, 86_400.0))
    assert 1.0 < day < hour < 1.2
    delays = []
    for seed in range(6):
        detector = Detector(profile)
        stream = simulate(seed + 40, 28 * 1440 + 540, 260, 50, change=60, effect=float(np.log(hour)))
        found = [d for start, window in stream.windows() for d in detector.advance(start, window)]
        delays.append((found[0].detected_at - MONDAY) / 60 - (28 * 1440 + 600) if found else np.inf)
    assert 10 <= np.median(delays) <= 150
    unknown = minimum_detectable_change(profile, Scope("bill_inquiry", "other"), 3600.0)
    assert np.isnan(unknown.ratio)
    assert unknown.reason == "not monitored"


def test_baseline_band_holds_the_level(profile):
    band = Detector(profile).baseline_band(Scope("bill_inquiry", "bill_total"), MONDAY + 29 * 86_400 + 43_200)
    assert band.reason == ""
    assert band.low < band.level < band.high
    assert abs(np.log(band.level) - 0.15 * np.sin(2 * np.pi * (0.5 - 0.4))) < 0.02


def answers(first_minute, minutes, tried, failed):
    """One cell whose answers carry no duration: ``failed`` of ``tried`` a minute are incomplete."""
    outcomes = np.zeros((minutes, VERDICT_COUNT))
    outcomes[:, Verdict.INCOMPLETE] = failed
    unknown, none = np.full(minutes, np.nan), np.zeros(minutes)
    return Measurements(
        MONDAY + 60.0 * (first_minute + np.arange(minutes)),
        np.zeros(minutes, dtype=np.int64),
        none,
        unknown,
        unknown,
        np.zeros(minutes + 1, dtype=np.int64),
        np.zeros(0, dtype=np.int64),
        np.zeros(0),
        outcomes,
        np.full((minutes, VERDICT_COUNT), float(tried)),
    )


def test_failures_where_there_were_next_to_none_are_told_by_what_was_counted():
    history = np.zeros(2 * 1440)
    history[[500, 2000]] = 1
    fleet = Fleet.build([SeriesKey("bill_inquiry", "bill_details")], GRID)
    detector = Detector(learn(answers(0, 2 * 1440, 60, history), fleet, SETTINGS))
    found = []
    for start, window in answers(2 * 1440, 10, 60, 4).windows():
        found += detector.advance(start, window)
    failing = [deviation for deviation in found if deviation.kind is DeviationKind.FAILING]
    assert failing
    for deviation in failing:
        assert deviation.after == pytest.approx(4 / 60, rel=0.05)
        assert deviation.effect_low > np.log(10)
        assert deviation.effect_high - deviation.effect_low < 4
