import math
from datetime import UTC, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxgauge.alerts.figures import Figures

EN = Figures("en", ZoneInfo("Asia/Shanghai"))
ZH = Figures("zh", ZoneInfo("Asia/Shanghai"))
NOW = 1_767_235_500.0


@pytest.mark.parametrize(
    ("before", "after", "en", "zh"),
    [
        (1.0, 1.19, "1.00 → 1.19 s", "1.00 → 1.19 秒"),
        (0.083, 0.099, "83.0 → 99.0 ms", "83.0 → 99.0 毫秒"),
        (0.002, 0.00208, "2.00 → 2.08 ms", "2.00 → 2.08 毫秒"),
        (12.0, 15.1, "12.0 → 15.1 s", "12.0 → 15.1 秒"),
        (1.001, 1.0042, "1.001 → 1.004 s", "1.001 → 1.004 秒"),
    ],
)
def test_durations_share_a_unit_and_differ_to_the_eye(before: float, after: float, en: str, zh: str) -> None:
    assert EN.durations(before, after) == en
    assert ZH.durations(before, after) == zh


@pytest.mark.parametrize(
    ("ratio", "en", "zh"),
    [
        (1.19, "+19 %", "+19%"),
        (1.042, "+4.2 %", "+4.2%"),
        (0.8, "−20 %", "−20%"),
        (3.1, "×3.1", "×3.1"),
        (1500, "×1,500", "×1,500"),
    ],
)
def test_a_change_is_a_percentage_until_it_doubles(ratio: float, en: str, zh: str) -> None:
    assert EN.change(math.log(ratio)) == en
    assert ZH.change(math.log(ratio)) == zh


@pytest.mark.parametrize(
    ("low", "high", "en", "zh"),
    [
        (1.18, 1.20, "18–20 %", "18%～20%"),
        (0.98, 1.05, "−2 to 5 %", "−2% 到 5%"),
        (2.2, 4.4, "×2.2–4.4", "×2.2～4.4"),
    ],
)
def test_intervals(low: float, high: float, en: str, zh: str) -> None:
    assert EN.interval(math.log(low), math.log(high)) == en
    assert ZH.interval(math.log(low), math.log(high)) == zh


def test_rates_shares_and_counts() -> None:
    assert EN.rates(0.001, 0.0031) == "0.10 → 0.31 %"
    assert ZH.rates(0.0, 0.0031) == "0.00 → 0.31%"
    assert EN.share(0.81) == "81 %"
    assert ZH.shares(0.7, 0.92) == "70%～92%"
    assert EN.count(3412.4) == "3,412"


def test_times_are_in_the_banks_zone_with_their_date_when_it_matters() -> None:
    assert EN.time(NOW - 180, NOW) == "10:42"
    assert EN.time(NOW - 175, NOW) == "10:42:05"
    assert EN.time(NOW - 86400, NOW) == "2025-12-31 10:45"
    assert ZH.time(NOW - 86400, NOW) == "2025年12月31日 10:45"
    assert EN.iso(NOW) == "2026-01-01T02:45:00.000Z"
    assert EN.zone_name(NOW) == "Asia/Shanghai"
    assert Figures("en", timezone(timedelta(hours=8))).zone_name(NOW) == "UTC+08:00"
    assert Figures("en", UTC).time(NOW, NOW) == "02:45"


@given(st.floats(1e-5, 1e4), st.floats(1e-5, 1e4))
def test_different_levels_never_look_equal_unless_within_a_ten_thousandth(before: float, after: float) -> None:
    shown = EN.durations(before, after).split(" ")
    if shown[0] == shown[2]:
        scale = 1000 if max(before, after) < 0.1 else 1
        assert abs(before - after) * scale <= 1e-4
