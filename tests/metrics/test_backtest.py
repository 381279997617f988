"""Recordings in, events out: the format to the letter, faults with file and line, nothing from the future."""

import gzip
import math

import numpy as np
import pytest

from cxgauge.commands.backtest import backtest
from cxgauge.metrics.backtest.backtest import promise_of, run_backtest
from cxgauge.metrics.backtest.file import RecordingError, read_recording, write_events
from cxgauge.metrics.detection.input import BucketGrid
from cxgauge.metrics.detection.settings import DetectionSettings

GRID = BucketGrid(-4.0, 0.125)
SETTINGS = DetectionSettings(false_alarms_per_series_month=1.0)
HEADER = "series,minute,group,n,sum_log,sum_sq,hist,fails\n"
DAY = 1440


def rows(
    seed,
    name,
    first,
    minutes,
    *,
    rate=60,
    change=None,
    effect=0.0,
    failure=0.01,
    failures_change=1.0,
    parts="lh",
    job=0.0,
):
    """CSV rows of a two-group series; ``parts``: l = sums, h = histogram, f = failures only; ``job`` runs at three."""
    rng = np.random.default_rng(seed)
    out = []
    for t in range(minutes):
        common = rng.normal() * 0.01
        after = change is not None and t >= change
        for group, level in (("a", -0.2), ("b", 0.3)):
            n = rng.poisson(rate / 2)
            x = level + common + (effect if after else 0.0) + 0.4 * rng.normal(size=n)
            x += job if 180 <= (first + t) % DAY < 210 else 0.0
            fails = rng.binomial(n, failure * (failures_change if after else 1.0))
            bucket, count = np.unique(np.floor((x + 4) / 0.125).astype(int), return_counts=True)
            hist = " ".join(f"{b}:{c}" for b, c in zip(bucket, count, strict=True)) if "h" in parts else ""
            sums = f"{x.sum():.6f},{(x * x).sum():.6f}" if "l" in parts else ","
            out.append(f"{name},{first + t},{group},{n},{sums},{hist},{fails}\n")
    return out


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    path = tmp_path_factory.mktemp("history") / "history.csv.gz"
    path.write_bytes(gzip.compress((HEADER + "".join(rows(1, "T", 0, 4 * DAY))).encode()))
    return read_recording(path)


def run(tmp_path, history, lines):
    path = tmp_path / "stream.csv"
    path.write_text(HEADER + "".join(lines))
    return run_backtest(history, read_recording(path), SETTINGS, GRID)


def test_slow_down_and_failures_are_found_in_their_series(tmp_path, history):
    lines = rows(2, "slow", 5 * DAY, 240, change=120, effect=math.log(1.2))
    lines += rows(3, "wrong@T", 6 * DAY, 400, change=120, failures_change=5.0)
    lines += rows(4, "calm", 5 * DAY, 240)
    events = run(tmp_path, history, lines)
    assert [(event.series, event.kind) for event in events] == [("slow", "up"), ("wrong@T", "fail")]
    slow, wrong = events
    assert 5 * DAY + 120 <= slow.minute <= 5 * DAY + 135
    assert abs(slow.change_minute - (5 * DAY + 120)) <= 5
    assert slow.low < math.log(1.2) < slow.high
    assert 6 * DAY + 120 <= wrong.minute <= 6 * DAY + 180
    assert wrong.low < math.log(5) < wrong.high


def test_how_long_a_spike_lasts_is_a_setting_and_an_option(tmp_path, history):
    calm = rows(8, "pause", 5 * DAY, 240)
    pause = [line for line in rows(8, "pause", 5 * DAY, 240, change=120, effect=math.log(2)) if minute(line) < 127]
    lines = pause + [line for line in calm if minute(line) >= 127]
    assert [event.kind for event in run(tmp_path, history, lines)] == ["up", "resolve"]
    stream = read_recording(tmp_path / "stream.csv")
    assert run_backtest(history, stream, SETTINGS.with_spike(8, None), GRID) == []
    past, events = tmp_path / "past.csv.gz", tmp_path / "events.csv"
    past.write_bytes(gzip.compress((HEADER + "".join(rows(1, "T", 0, 2 * DAY))).encode()))
    backtest(past, tmp_path / "stream.csv", events, spike_windows=8, spike_effect=1.3)
    assert events.read_text().splitlines() == ["series,minute,change_minute,effect,lo,hi,kind"]


@pytest.mark.parametrize("seed", range(3))
def test_a_shift_in_the_hours_of_a_job_is_told_by_its_own_size(tmp_path, seed):
    path = tmp_path / "past.csv"
    path.write_text(HEADER + "".join(rows(1, "T", 0, 6 * DAY, rate=300, job=0.26)))
    lines = rows(20 + seed, "slow", 7 * DAY + 60, 120, rate=300, change=60, effect=math.log(1.5))
    events = run(tmp_path, read_recording(path), lines)
    assert [event.kind for event in events] == ["up"]
    assert events[0].low < math.log(1.5) < events[0].high
    assert events[0].effect == pytest.approx(math.log(1.5), abs=0.05)


def minute(line):
    """The minute of the day that a row is of."""
    return int(line.split(",")[1]) % DAY


def test_order_of_rows_and_later_rows_do_not_matter(tmp_path, history):
    lines = rows(2, "slow", 5 * DAY, 240, change=120, effect=math.log(1.2))
    events = run(tmp_path, history, lines)
    shuffled = [lines[index] for index in np.random.default_rng(0).permutation(len(lines))]
    assert run(tmp_path, history, shuffled) == events
    cut = [line for line in lines if int(line.split(",")[1]) <= events[0].minute]
    assert run(tmp_path, history, cut) == events
    before = [line for line in cut if int(line.split(",")[1]) < events[0].minute]
    assert run(tmp_path, history, before) == []


@pytest.mark.parametrize("parts", ["l", "h", "lh"])
def test_sums_or_histogram_alone_are_enough(tmp_path, parts):
    past = tmp_path / "past.csv"
    past.write_text(HEADER + "".join(rows(1, "T", 0, 3 * DAY, parts=parts)))
    stream = rows(2, "s", 4 * DAY, 200, change=100, effect=math.log(1.3), parts=parts)
    events = run(tmp_path, read_recording(past), stream)
    assert [event.kind for event in events] == ["up"]
    assert events[0].low < math.log(1.3) < events[0].high


def test_failures_alone_are_enough(tmp_path):
    past = tmp_path / "past.csv"
    past.write_text("series,minute,n,fails\n" + "".join(f"T,{t},50,{t % 4 == 0:d}\n" for t in range(3 * DAY)))
    lines = [f"s,{t},,50,,,,{2 if t % 2 else 1}\n" for t in range(300)]
    assert [event.kind for event in run(tmp_path, read_recording(past), lines)] == ["fail"]


def test_gaps_unknown_groups_and_empty_files(tmp_path, history):
    lines = rows(5, "s", 5 * DAY, 300)
    holes = [line for line in lines if not 5 * DAY + 60 <= int(line.split(",")[1]) < 5 * DAY + 63]
    holes += [f"s,{5 * DAY + t},new,10,0.5,1.0,31:10,0\n" for t in range(100, 300)]
    assert [event for event in run(tmp_path, history, holes) if event.kind in ("up", "tail", "fail")] == []
    assert run(tmp_path, history, []) == []
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    assert run_backtest(history, read_recording(empty), SETTINGS, GRID) == []
    assert len(read_recording(empty)) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("series,group\n", "1: header='series,group' has no column 'minute'; write " + HEADER.strip()),
        (HEADER + "T,1,a,x,,,,\n", "2: n='x' is not a number; write digits, or nothing if unknown"),
        (
            HEADER + "T,1,a,5,,,,\nT,1.5,a,5,,,,\n",
            "3: minute=1.5 is not a whole number of minutes; write minutes since a Monday 00:00",
        ),
        (HEADER + "T,1,a,5,,,,9\n", "2: fails=9 is more than n; count failures among them"),
        (HEADER + "T,1,a,5,,,4-5,0\n", "2: hist='4-5' is not a list of bucket:count pairs; write e.g. '31:4 32:7'"),
        (HEADER + "T,1,a,5\n", "2: the row has 4 fields, the header 8; write one field a column, empty if unknown"),
        (HEADER + ",1,a,5,,,,\n", "2: series= is empty; name the series of each row"),
    ],
)
def test_faults_name_file_line_value_rule_and_remedy(tmp_path, text, message):
    path = tmp_path / "faulty.csv"
    path.write_text(text)
    with pytest.raises(RecordingError) as caught:
        read_recording(path)
    assert str(caught.value) == f"{path}:{message}"


def test_unknown_history_series_is_named(tmp_path, history):
    with pytest.raises(
        RecordingError, match=r"stream\.csv:2: series='s@T9' needs history series 'T9', which is not in"
    ):
        run(tmp_path, history, rows(1, "s@T9", 0, 2))


def test_events_are_written_with_their_header(tmp_path):
    path = tmp_path / "events.csv"
    write_events(path, [("s", 5, 3, "0.18232", "0.10000", "0.25000", "up")])
    assert path.read_text() == "series,minute,change_minute,effect,lo,hi,kind\ns,5,3,0.18232,0.10000,0.25000,up\n"


def test_the_promise_of_a_recording_counts_the_minutes_of_its_series(history):
    promise = promise_of(history, 3, 1.0)
    assert (promise.alarms, promise.promised) == (3, 1.0)
    assert promise.months == pytest.approx(3 / 22.5)
    assert promise.interval == pytest.approx((4.52, 65.74), abs=0.01)
    assert promise_of(history, 0, 1.0).observed == 0.0


def test_durations_that_hardly_vary_are_told_by_their_size(tmp_path):
    """All observations of a window lie within a bucket: a change is not clipped to next to nothing, a spike is one."""

    def steady(seed, name, first, minutes, shift):
        rng = np.random.default_rng(seed)
        for t in range(minutes):
            x = math.log(0.05) + 0.02 * rng.normal() + 0.005 * rng.normal(size=rng.poisson(40)) + shift(t)
            bucket, count = np.unique(np.floor((x + 4) / 0.125).astype(int), return_counts=True)
            hist = " ".join(f"{b}:{c}" for b, c in zip(bucket, count, strict=True))
            yield f"{name},{first + t},a,{len(x)},{x.sum():.6f},{(x * x).sum():.6f},{hist},0\n"

    past = tmp_path / "past.csv"
    past.write_text(HEADER + "".join(steady(1, "T", 0, 4 * DAY, lambda t: 0.0)))
    lines = [*steady(2, "slow", 5 * DAY, 240, lambda t: math.log(1.2) * (t >= 120))]
    lines += steady(3, "spike", 5 * DAY, 240, lambda t: math.log(2) * (120 <= t < 123))
    lines += steady(4, "calm", 5 * DAY, 2 * DAY, lambda t: 0.0)
    events = run(tmp_path, read_recording(past), lines)
    assert [(event.series, event.kind) for event in events] == [("slow", "up")]
    assert events[0].low < math.log(1.2) < events[0].high
