"""The bank's calendar in learning and judging: a simulated autumn of a Chinese bank, 2025."""

import datetime as dt
from dataclasses import replace
from functools import cache
from zoneinfo import ZoneInfo

import holidays
import numpy as np
import pytest

from cxgauge.metrics.baseline.baseline import learn
from cxgauge.metrics.baseline.bytes import profile_from_bytes, profile_to_bytes
from cxgauge.metrics.detection.calendar import WEEKEND, WORKDAY, is_workday, local_time
from cxgauge.metrics.detection.detector import Detector
from cxgauge.metrics.detection.input import BucketGrid, Fleet, Measurements
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.deviation import DeviationKind
from cxgauge.metrics.observation import SeriesKey

ZONE = ZoneInfo("Asia/Shanghai")
GRID = BucketGrid(-4.0, 0.125)
WINDOW = 300.0
PAGED = {DeviationKind.SLOWER, DeviationKind.TAIL, DeviationKind.FAILING, DeviationKind.SILENT}
PAYDAYS = {f"2025-{month:02d}-10": "payday" for month in range(1, 13)}
CHINA = DetectionSettings(
    window_seconds=WINDOW, zone="Asia/Shanghai", country="CN", false_alarms_per_series_month=1.0, special_days=PAYDAYS
)
CELLS = [SeriesKey("bill_inquiry", "total", (("channel", channel),)) for channel in ("app", "web")]
# the truth is written down here, not asked of the code under test
MAKE_UP = {dt.date(2025, 9, 28), dt.date(2025, 10, 11)}
FREE = {dt.date(2025, 10, day) for day in range(1, 9)}


def at(text):
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp()


def works(date):
    return date in MAKE_UP or (date.weekday() < 5 and date not in FREE)


def bank(first, last, *, seed=1, payday=(1.0, 1.0), fault=(0.0, 1.0, 0.0)):
    """Windows of two channels: busy and slow on workdays. ``payday`` = (traffic, durations) against other days;
    ``fault`` = (from, factor on durations, share of failures)."""
    rng = np.random.default_rng(seed)
    start = np.arange(at(first), at(last), WINDOW)
    local = [dt.datetime.fromtimestamp(moment, ZONE) for moment in start]
    busy = np.array([works(moment.date()) for moment in local])
    paid = np.array([moment.day == 10 for moment in local])
    hour = np.array([moment.hour + moment.minute / 60 for moment in local])
    wave = np.sin(2 * np.pi * (hour - 8) / 24)
    rate = np.where(busy, 120.0, 50.0) * (1 + 0.5 * wave) * np.where(paid, payday[0], 1.0)
    level = np.where(busy, 0.0, -0.25) + np.where(busy, 0.12, 0.04) * wave + np.where(paid, np.log(payday[1]), 0.0)
    faulty = (start >= fault[0]) & (fault[0] > 0)
    level = level + np.where(faulty, np.log(fault[1]), 0.0) + rng.normal(size=len(start)) * 0.01
    parts = []
    for cell in range(len(CELLS)):
        count = rng.poisson(rate)
        row = np.repeat(np.arange(len(start)), count)
        x = level[row] + 0.1 * cell + rng.normal(size=len(row)) * 0.4
        failed = np.bincount(row, rng.random(len(row)) < 0.002 + np.where(faulty, fault[2], 0.0)[row], len(start))
        parts.append((row, x, np.full(len(row), cell), count, failed))
    row = np.concatenate([part[0] + len(start) * part[2] for part in parts])
    x = np.concatenate([part[1] for part in parts])
    size = len(start) * len(CELLS)
    key, amount = np.unique(row * 128 + np.clip(np.floor((x + 4) / 0.125), 0, 127).astype(int), return_counts=True)
    outcomes, tried = np.zeros((size, 8)), np.zeros((size, 8))
    outcomes[:, 4] = np.concatenate([part[4] for part in parts])
    tried[:] = np.concatenate([part[3] for part in parts])[:, None]
    return Measurements(
        np.tile(start, len(CELLS)),
        np.repeat(np.arange(len(CELLS)), len(start)),
        tried[:, 0].copy(),
        np.bincount(row, x, size),
        np.bincount(row, x * x, size),
        np.concatenate(([0], np.cumsum(np.bincount(key // 128, minlength=size)))),
        key % 128,
        amount.astype(float),
        outcomes,
        tried,
    )


@cache
def profile_of(first, last, settings_name, payday=(1.0, 1.0)):
    settings = {"china": CHINA, "none": replace(CHINA, country="", special_days={})}[settings_name]
    return learn(bank(first, last, payday=payday), Fleet.build(CELLS, GRID), settings)


def judged(profile, first, last, **what):
    """Deviations, and the detector that found them."""
    detector = Detector(profile)
    found = []
    for start, window in bank(first, last, seed=7, **what).windows():
        found += detector.advance(start, window)
    return found


def paged(found):
    return [(each.kind.value, dt.datetime.fromtimestamp(each.started_at, ZONE)) for each in found if each.kind in PAGED]


def test_the_calendar_follows_the_state_councils_year():
    for date, expected in ((dt.date(2025, 9, 28), True), (dt.date(2025, 10, 1), False), (dt.date(2025, 10, 11), True)):
        assert is_workday(CHINA, date) is expected
    year = [dt.date(2025, 1, 1) + dt.timedelta(days=number) for number in range(365)]
    assert {date for date in year if date.weekday() >= 5 and is_workday(CHINA, date)} == {
        date for date in holidays.country_holidays("CN", years=2025).weekend_workdays if date.year == 2025
    }
    assert sum(is_workday(CHINA, date) for date in year) == 248  # 365 - 104 weekend days - 18 holidays + 5 made up


def test_a_date_is_like_the_day_of_the_week_it_is_worked_as():
    dates = ["2025-09-28", "2025-10-01", "2025-10-04", "2025-10-11", "2025-10-13"]
    local = local_time(np.array([at(f"{date}T12:00") for date in dates]), CHINA)
    assert local.day_type.tolist() == [WORKDAY, WEEKEND, WEEKEND, WORKDAY, WORKDAY]
    assert local.weekday.tolist() == [0, 6, 5, 4, 0]


def test_the_banks_own_days_go_before_the_countrys():
    settings = replace(CHINA, holidays=("2025-09-28",), workdays=("2025-10-01",))
    local = local_time(np.array([at("2025-09-28T12:00"), at("2025-10-01T12:00")]), settings)
    assert local.day_type.tolist() == [WEEKEND, WORKDAY]
    without_country = replace(settings, country="")
    assert is_workday(without_country, dt.date(2025, 10, 1))
    assert not is_workday(without_country, dt.date(2025, 9, 28))


def test_make_up_workdays_and_the_national_holiday_make_no_alarm():
    profile = profile_of("2025-08-25", "2025-09-28", "china")
    found = judged(profile, "2025-09-28", "2025-10-13")
    assert paged(found) == []


def test_without_the_calendar_the_same_days_do_alarm():
    profile = profile_of("2025-08-25", "2025-09-28", "none")
    days = {started.date() for _, started in paged(judged(profile, "2025-09-28", "2025-10-13"))}
    assert days & MAKE_UP


def test_a_slow_down_within_the_holiday_is_found():
    profile = profile_of("2025-08-25", "2025-09-28", "china")
    found = judged(profile, "2025-10-02", "2025-10-03", fault=(at("2025-10-02T10:00"), 1.2, 0.0))
    kinds = {kind for kind, _ in paged(found)}
    assert kinds == {"slower"}


def test_a_payday_five_times_as_busy_and_slower_makes_no_alarm_whether_or_not_there_was_one_before():
    never_seen = profile_of("2025-08-11", "2025-09-10", "china")
    assert never_seen.special.names.tolist() == []
    assert paged(judged(never_seen, "2025-09-09", "2025-09-12", payday=(5.0, 1.25))) == []
    seen = profile_of("2025-08-05", "2025-09-09", "china", (5.0, 1.25))
    assert (seen.special.names.tolist(), seen.special.days.tolist()) == (["payday"], [1.0])
    assert np.exp(seen.special.level[0, 8:20].mean()) == pytest.approx(1.25, abs=0.05)
    assert np.exp(seen.special.volume[0, 8:20].mean()) == pytest.approx(5.0, rel=0.1)
    found = judged(seen, "2025-09-09", "2025-09-12", payday=(5.0, 1.25))
    assert [each.kind for each in found if each.scope.dimensions == ()] == []


def test_without_the_calendar_the_same_payday_alarms():
    profile = profile_of("2025-08-11", "2025-09-10", "none")
    found = paged(judged(profile, "2025-09-09", "2025-09-12", payday=(5.0, 1.25)))
    assert 10 in {started.day for _, started in found}


def test_a_payday_does_not_teach_what_ordinary_days_are_like():
    ordinary = profile_of("2025-08-05", "2025-09-09", "china", (1.0, 1.0))
    with_payday = profile_of("2025-08-05", "2025-09-09", "china", (5.0, 1.6))
    local = local_time(np.array([at("2025-09-09T12:00")]), CHINA)
    assert with_payday.season.at(local)[0] == pytest.approx(ordinary.season.at(local)[0], abs=0.01)
    assert with_payday.volume.at(local)[0] == pytest.approx(ordinary.volume.at(local)[0], rel=0.02)


@pytest.mark.parametrize(("seen", "factor"), [(True, 1.5), (False, 2.0)])
def test_trouble_on_a_payday_is_found(seen, factor):
    history = ("2025-08-05", "2025-09-09", "china", (5.0, 1.25)) if seen else ("2025-08-11", "2025-09-10", "china")
    fault = at("2025-09-10T11:00")
    found = judged(
        profile_of(*history), "2025-09-10", "2025-09-11", payday=(5.0, 1.25), fault=(fault, factor / 1.0, 0.0)
    )
    alarms = [each for each in found if each.kind is DeviationKind.SLOWER]
    assert alarms
    assert fault <= alarms[0].detected_at <= fault + 3600
    assert abs(alarms[0].started_at - fault) <= 1800


def test_failures_on_a_payday_never_seen_are_found():
    fault = at("2025-09-10T11:00")
    profile = profile_of("2025-08-11", "2025-09-10", "china")
    found = judged(profile, "2025-09-10", "2025-09-11", payday=(5.0, 1.25), fault=(fault, 1.0, 0.01))
    failing = [each for each in found if each.kind is DeviationKind.FAILING]
    assert failing
    assert failing[0].detected_at <= fault + 1800


def test_a_restart_on_a_payday_changes_nothing_and_profiles_keep_their_special_days():
    profile = profile_of("2025-08-05", "2025-09-09", "china", (5.0, 1.25))
    stored = profile_from_bytes(profile_to_bytes(profile))
    whole, parts = Detector(profile), Detector(stored)
    for start, window in bank("2025-09-10", "2025-09-11", seed=3, payday=(5.0, 1.25)).windows():
        whole.advance(start, window)
        parts = Detector.from_bytes(parts.to_bytes(), stored)
        parts.advance(start, window)
    assert parts.to_bytes() == whole.to_bytes()
