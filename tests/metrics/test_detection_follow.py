"""What must not alarm, and what is reported instead: season, mix, spikes, a moved clock, silence, recovery."""

import numpy as np
import pytest

from cxgauge.metrics.baseline.baseline import learn
from cxgauge.metrics.detection.detector import Detector
from cxgauge.metrics.detection.input import BucketGrid, Fleet, Measurements
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.deviation import DeviationKind
from cxgauge.metrics.observation import SeriesKey

GRID = BucketGrid(-4.0, 0.125)
WINDOW = 600
DAY = 86_400 // WINDOW
MONDAY = 345_600
SETTINGS = DetectionSettings(window_seconds=WINDOW, false_alarms_per_series_month=1.0)
PAGED = {DeviationKind.SLOWER, DeviationKind.TAIL, DeviationKind.FAILING}
CELLS = [SeriesKey("bill_inquiry", "bill_total", (("channel", name),)) for name in ("app", "web")]


def simulate(seed, first, windows, *, shift=None, shares=None, hour_ahead=False, empty=()):
    """Two channels of different speed; ``shift`` [windows] in ln s, ``shares`` [windows, 2]."""
    rng = np.random.default_rng(seed)
    start = MONDAY + WINDOW * (first + np.arange(windows))
    day = ((start + (3600 if hour_ahead else 0)) % 86_400) / 86_400
    rate = 300 * (1 + 0.7 * np.sin(2 * np.pi * (day - 0.3)))
    level = 0.15 * np.sin(2 * np.pi * (day - 0.4)) + 0.01 * rng.normal(size=windows)
    level = level + (0.0 if shift is None else shift)
    shares = np.tile([0.7, 0.3], (windows, 1)) if shares is None else shares
    parts = []
    for cell, centre in enumerate((-0.4, 0.5)):
        count = rng.poisson(rate * shares[:, cell])
        count[list(empty)] = 0
        row = np.repeat(np.arange(windows), count)
        x = level[row] + centre + 0.4 * rng.standard_t(6, size=len(row))
        bucket = np.clip(np.floor((x + 4) / 0.125), 0, 79).astype(int)
        key, amount = np.unique(row * 80 + bucket, return_counts=True)
        parts.append((cell, count, np.bincount(row, x, minlength=windows), np.bincount(row, x * x, minlength=windows),
                      key, amount))  # fmt: skip
    row = np.concatenate([key // 80 + windows * cell for cell, *_, key, _ in parts])
    offsets = np.concatenate(([0], np.cumsum(np.bincount(row, minlength=2 * windows))))
    none = np.zeros((2 * windows, 0))
    return Measurements(
        np.tile(start, 2).astype(float),
        np.repeat([0, 1], windows),
        np.concatenate([part[1] for part in parts]).astype(float),
        np.concatenate([part[2] for part in parts]),
        np.concatenate([part[3] for part in parts]),
        offsets,
        np.concatenate([part[4] % 80 for part in parts]),
        np.concatenate([part[5] for part in parts]).astype(float),
        none,
        none,
    )


@pytest.fixture(scope="module")
def profile():
    return learn(simulate(1, 0, 28 * DAY), Fleet.build(CELLS, GRID), SETTINGS)


def follow(profile, stream):
    detector = Detector(profile)
    return [deviation for start, window in stream.windows() for deviation in detector.advance(start, window)]


def test_a_month_of_seasonal_heavy_tailed_noise_is_silent(profile):
    assert [d.kind for d in follow(profile, simulate(2, 28 * DAY, 30 * DAY)) if d.kind in PAGED] == []


def test_a_change_of_mix_is_reported_as_mix(profile):
    shares = np.where(np.arange(3 * DAY)[:, None] >= DAY, [0.2, 0.8], [0.7, 0.3])
    found = follow(profile, simulate(3, 28 * DAY, 3 * DAY, shares=shares))
    mixes = [d for d in found if d.kind is DeviationKind.MIX and d.scope.dimensions == ()]
    assert mixes
    assert abs(mixes[0].effect - 0.45) < 0.15
    assert [d for d in found if d.kind in PAGED] == []


def test_a_spike_of_three_windows_is_silent(profile):
    for seed, height in enumerate((0.3, 0.4, 0.7, 1.1, 1.6, 2.3)):
        shift = np.zeros(DAY)
        shift[60:63] = height
        found = follow(profile, simulate(10 + seed, 28 * DAY, DAY, shift=shift))
        assert [d.kind for d in found if d.kind in PAGED] == []


@pytest.mark.parametrize(("effect", "windows"), [(0.2, {3, 4}), (0.5, {4, 5})])
def test_a_lasting_change_is_told_as_soon_as_it_is_no_spike(profile, effect, windows):
    shift = np.where(np.arange(DAY) >= 70, effect, 0.0)
    for seed in range(3):
        found = follow(profile, simulate(50 + seed, 28 * DAY, DAY, shift=shift))
        slower = [d for d in found if d.kind is DeviationKind.SLOWER and d.scope.dimensions == ()]
        assert round((slower[0].detected_at - MONDAY) / WINDOW) - 28 * DAY - 70 in windows


def test_daylight_saving_elsewhere_is_silent(profile):
    found = follow(profile, simulate(20, 27 * DAY, 3 * DAY, hour_ahead=True))
    assert [d.kind for d in found if d.kind in PAGED] == []


def test_recovery_names_what_is_over(profile):
    shift = np.zeros(2 * DAY)
    shift[60:140] = 0.3
    found = [d for d in follow(profile, simulate(30, 28 * DAY, 2 * DAY, shift=shift)) if d.scope.dimensions == ()]
    slower, recovered = (d for d in found if d.kind in (DeviationKind.SLOWER, DeviationKind.RECOVERED))
    assert abs(slower.effect - 0.3) < 0.1
    assert recovered.ends is DeviationKind.SLOWER
    assert 140 <= (recovered.detected_at - MONDAY) / WINDOW - 28 * DAY <= 150


def test_silence_is_an_event_of_its_own(profile):
    found = follow(profile, simulate(40, 28 * DAY, DAY, empty=range(70, 76)))
    kinds = [d.kind for d in found if d.scope.dimensions == ()]
    assert kinds.count(DeviationKind.SILENT) == 1
    assert DeviationKind.RECOVERED in kinds


def test_short_history_is_said_not_guessed():
    young = learn(simulate(5, 0, 4), Fleet.build(CELLS, GRID), SETTINGS)
    assert young.reasons[0] == "history of 40 minutes is shorter than the 60 needed"
    assert follow(young, simulate(6, DAY, 20, shift=np.full(20, 1.0))) == []
    assert Detector(young).baseline_band(young.fleet.scopes[0], float(MONDAY)).reason == young.reasons[0]
