from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from cxgauge.dashboards.figure_types import ChangeFigure, ChangeStatus, Estimate, Period
from cxgauge.dashboards.wording import Wording

ENGLISH = Wording("en", ZoneInfo("Asia/Shanghai"))
CHINESE = Wording("zh", ZoneInfo("Asia/Shanghai"))
SLOWER = ChangeFigure(ChangeStatus.WORSE, 1.0, 1.19, 0.19, 0.181, 0.199, 0.01, 5000, 6000, 12)


@pytest.mark.parametrize(
    ("value", "low", "high", "english", "chinese"),
    [
        (1.194, 1.1701, 1.2049, "1.19 s (1.17–1.20)", "1.19 秒 (1.17～1.20)"),
        (0.0832, 0.08, 0.09, "83.2 ms (80.0–90.0)", "83.2 毫秒 (80.0～90.0)"),
        (12.34, 12.0, 13.0, "12.3 s (12.0–13.0)", "12.3 秒 (12.0～13.0)"),
        (0.0, None, None, "0 ms", "0 毫秒"),
        (None, None, None, "–", "–"),
    ],
)
def test_durations(value: float | None, low: float | None, high: float | None, english: str, chinese: str) -> None:
    estimate = Estimate(value, low, high, 10)
    assert ENGLISH.duration(estimate) == english
    assert CHINESE.duration(estimate) == chinese


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (0.99314, "99.31 %"),
        (0.5, "50.0 %"),
        (0.001, "0.10 %"),
        (0.00012, "0.012 %"),
        (0.999988, "99.9988 %"),
        (1.0, "100 %"),
        (0.0, "0 %"),
    ],
)
def test_percentages_show_two_figures_of_what_is_rarer(ratio: float, expected: str) -> None:
    assert ENGLISH.percent(ratio) == expected
    assert CHINESE.percent(ratio) == expected.replace(" %", "%")


def test_interval_of_a_rate_is_not_rounded_away() -> None:
    assert ENGLISH.rate(Estimate(0.0, 0.0, 0.0000468, 82_000)) == "0 % (0–0.005)"
    assert ENGLISH.rate(Estimate(0.9931, 0.9928, 0.9934, 500_000)) == "99.31 % (99.28–99.34)"


def test_changes_of_durations_are_relative() -> None:
    assert ENGLISH.levels(SLOWER) == "1.00 → 1.19 s"
    assert ENGLISH.change(SLOWER) == "+19.0 % (+18.1 to +19.9)"
    assert CHINESE.change(SLOWER) == "+19.0%（+18.1～+19.9）"
    assert ENGLISH.status(SLOWER) == "slower"
    assert CHINESE.status(SLOWER) == "变慢"


def test_changes_of_rates_are_in_points() -> None:
    change = ChangeFigure(ChangeStatus.WORSE, 0.9931, 0.989, -0.0041, -0.0052, -0.003, 0.001, 5000, 6000, 12)
    assert ENGLISH.levels(change, rate=True) == "99.31 → 98.90 %"
    assert ENGLISH.change(change, rate=True) == "−0.41 pp (−0.52 to −0.30)"
    assert ENGLISH.status(change, rate=True) == "worse"


def test_no_evidence_says_what_would_have_been_seen() -> None:
    change = ChangeFigure(ChangeStatus.NO_EVIDENCE, 1.0, 1.002, 0.002, -0.01, 0.014, 0.0234, 5000, 6000, 12)
    assert ENGLISH.status(change) == (
        "not enough data to say: no evidence of a change, yet only 2.3 % or more would have been seen"
    )
    assert CHINESE.status(change) == "数据不足，无法判断：没有变化的证据，但变化须达到 2.3% 以上才能被发现"


def test_times_are_the_banks() -> None:
    period = Period(1_773_456_120.0, 1_773_460_000.0)
    assert ENGLISH.period(period) == "2026-03-14 10:42 – 11:46:40"
    assert CHINESE.period(period) == "2026年3月14日 10:42 至 11:46:40"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(30, "30 s"), (90, "2 min"), (12_000, "3 h 20 min"), (100_000, "1 d 3 h"), (86_400, "1 d")],
)
def test_lengths(seconds: float, expected: str) -> None:
    assert ENGLISH.length(seconds) == expected
