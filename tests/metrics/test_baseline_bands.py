"""Bands of the baseline: what they say of a known history, and what of them stays."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

from cxgauge.metrics.baseline.bands import BandHour, baseline_bands
from cxgauge.metrics.baseline.baseline import Profile, learn
from cxgauge.metrics.detection.input import SKETCH_GRID, Fleet, Measurements
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.rollup import roll_up
from cxgauge.metrics.store.evaluation import add_bands
from cxgauge.metrics.store.store import Store

HOUR = 3600.0
START = 1_767_225_600.0  # 2026-01-01T00:00:00Z


@pytest.fixture(scope="module")
def profile() -> Profile:
    """Six hours of a step of 1 s and one of 0.25 s, each with a standard deviation of 0.2 in ln seconds."""
    random = np.random.default_rng(4)
    keys = (SeriesKey("bill", "total"), SeriesKey("bill", "details"))
    records = np.zeros(40_000, dtype=RECORD)
    records["observed_at_us"] = ((START + np.sort(random.random(len(records))) * 6 * HOUR) * 1e6).astype(np.int64)
    records["series"] = random.integers(0, 2, len(records))
    level = np.where(records["series"] == 0, 1.0, 0.25)
    records["duration_seconds"] = level * np.exp(random.normal(0, 0.2, len(records)))
    rollup = roll_up(ObservationBatch(keys, records), 60)
    measured = Measurements.from_rollup(rollup, {0: 0, 1: 1})
    settings = DetectionSettings(minimum_history_seconds=HOUR)
    return learn(measured, Fleet.build(list(keys), SKETCH_GRID), settings)


def test_the_band_is_around_the_typical_duration(profile: Profile) -> None:
    bands = baseline_bands(profile, START, START + 3 * HOUR)
    assert [(band.step, band.hour) for band in bands if band.step == "total"] == [
        ("total", START),
        ("total", START + HOUR),
        ("total", START + 2 * HOUR),
    ]
    for band in bands:
        assert band.expected_seconds == pytest.approx({"total": 1.0, "details": 0.25}[band.step], rel=0.02)
        # 56 observations a window: at least ± 1.96 · 0.2 / √56 of the logarithm, and not many times that
        half = np.log(band.high_seconds / band.expected_seconds)
        assert half == pytest.approx(np.log(band.expected_seconds / band.low_seconds))
        assert 0.04 < half < 0.15


def test_only_whole_hours_that_begin_in_the_span(profile: Profile) -> None:
    assert {band.hour for band in baseline_bands(profile, START + 1, START + HOUR + 1)} == {START + HOUR}
    assert baseline_bands(profile, START + 1, START + HOUR) == []


def test_steps_with_too_little_history_have_none(profile: Profile) -> None:
    from dataclasses import replace

    untested = replace(profile, reasons=("too little history",) * len(profile.reasons))
    assert baseline_bands(untested, START, START + HOUR) == []


def test_what_was_said_of_the_past_stays_and_the_future_follows(migrated_embedded_dsn: str) -> None:
    def band(hour: float, expected: float) -> BandHour:
        return BandHour("bill", "total", hour, expected, expected / 2, expected * 2)

    with Store.open(migrated_embedded_dsn) as store:
        store.migrate()
        with store.connection() as connection:
            add_bands(connection, [band(START, 1.0), band(START + HOUR, 1.0)], START)
            add_bands(connection, [band(START, 3.0), band(START + HOUR, 3.0)], START + HOUR)
            assert _expected(connection) == [1.0, 3.0]
            add_bands(connection, [], START + HOUR + 10.0, keep_seconds=10.0)
            assert _expected(connection) == [3.0]


def _expected(connection: psycopg.Connection[tuple[float, ...]]) -> list[float]:
    return [
        row[0] for row in connection.execute("SELECT expected_seconds FROM baseline_bands ORDER BY hour").fetchall()
    ]


def test_special_days_have_bands_of_their_own(profile: Profile) -> None:
    """Paydays were half as slow again at noon, on two days; a statement day was never seen."""
    from dataclasses import replace

    from cxgauge.metrics.detection.special_days import SpecialDays

    cells, scopes = len(profile.fleet.cells), len(profile.fleet.scopes)
    level = np.zeros((1, 24, cells))
    level[0, 12] = np.log(1.5)
    days = SpecialDays(np.array(["payday"]), np.array([2.0]), level, np.zeros((1, 24, scopes)))
    calendar = {"2026-01-02": "payday", "2026-01-03": "statement"}
    special = replace(profile, special=days, settings=replace(profile.settings, special_days=calendar))

    def ratios(hour: float) -> tuple[float, float]:
        """Level and width against those of an ordinary day."""
        (plain,), (own,) = (
            [band for band in baseline_bands(each, hour, hour + HOUR) if band.step == "total"]
            for each in (profile, special)
        )
        widths = [np.log(band.high_seconds / band.expected_seconds) for band in (plain, own)]
        return own.expected_seconds / plain.expected_seconds, widths[1] - widths[0]

    noon, morning = START + 12 * HOUR, START + 8 * HOUR
    assert ratios(noon) == (1.0, 0.0)
    # margins are those of the detector: 0.35 / (1 + 2 · days), and a quarter of the correction / √days
    assert ratios(noon + 24 * HOUR) == pytest.approx((1.5, 0.07 + 0.25 * np.log(1.5) / np.sqrt(2)))
    assert ratios(morning + 24 * HOUR) == pytest.approx((1.0, 0.07))
    assert ratios(noon + 48 * HOUR) == pytest.approx((1.0, 0.35))
    assert ratios(noon + 72 * HOUR) == (1.0, 0.0)
