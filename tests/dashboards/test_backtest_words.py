"""What a backtest of a recording prints, in English and Chinese."""

from pathlib import Path

import pytest

from cxgauge.dashboards.backtest_words import promise_lines, recording_line
from cxgauge.metrics.backtest.promise import Promise
from cxgauge.metrics.translation import Language

BROKEN = {
    "en": [
        "promised 1, observed 22.50 false alarms a series-month (95 % interval 4.52 to 65.74; 3 in 0.13 series-months)",
        "more than promised, beyond chance: was nothing wrong in this span?",
    ],
    "zh": [
        "每序列每月误报：承诺 1 次，实际 22.50 次（95% 置信区间 4.52 至 65.74；0.13 个序列月内 3 次）",
        "超出承诺，且非偶然：这段时间确实一切正常吗？",
    ],
}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_promise_that_is_broken_is_said_to_be(language: Language) -> None:
    assert promise_lines(Promise(3, 3 / 22.5, 1.0), 0, language) == BROKEN[language]


@pytest.mark.parametrize(
    ("alarms", "months", "last"),
    [
        (0, 0.5, "the span is too short to say that the promise is kept; it is not seen to be broken"),
        (2, 40.0, "the promise is kept"),
    ],
)
def test_a_promise_is_kept_only_when_the_interval_says_so(alarms: int, months: float, last: str) -> None:
    assert promise_lines(Promise(alarms, months, 1.0), 0, "en")[1:] == [last]


@pytest.mark.parametrize(
    ("language", "line"),
    [("en", "no data, so nothing can be said about the promise"), ("zh", "没有数据，无法判断承诺是否兑现")],
)
def test_nothing_is_said_of_no_data(language: Language, line: str) -> None:
    assert promise_lines(Promise(0, 0.0, 1.0), 0, language) == [line]


@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("en", "12 series followed, 3 alarms, 4 other events: events.csv"),
        ("zh", "跟踪了 12 个序列，3 个告警，4 个其他事件：events.csv"),
    ],
)
def test_how_much_was_judged_and_where_it_is(language: Language, line: str) -> None:
    assert recording_line(12, 3, 4, Path("events.csv"), language) == line
