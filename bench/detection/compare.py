"""The detector beside its peers: same data, same budget of one false alarm a series-month, one run.

    uv run --group bench python bench/detection/compare.py --seeds 4

Peers read what they would in practice: means of log duration by minute or five minutes, over all groups. Where a peer
has a threshold it is set, with hindsight and on the very streams without change, to the most sensitive one of a grid
that keeps to the budget ("tuned"); it is otherwise used as shipped. The oracle knows season, noise and size.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from evaluate import HISTORY, PAGED, limit, shift_information, threshold
from simulator import DAY, LOW, WIDTH, Case, Columns, Truth, draw_truth, level, recording, simulate

from cxgauge.metrics.backtest.backtest import run_backtest
from cxgauge.metrics.detection.input import BucketGrid
from cxgauge.metrics.detection.settings import DetectionSettings

SILENT = ("spike", "drop", "mix", "dst", "batch")


@dataclass
class Stream:
    """One stream with what a peer may see of it, minute by minute."""

    truth: Truth
    case: Case
    first: int
    name: str
    columns: Columns
    mean: np.ndarray  # mean ln s a minute, NaN without data
    count: np.ndarray
    history: np.ndarray  # the same for the 28 days before


def minutes_of(one: Columns, first: int, minutes: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean log duration and count by minute over all groups."""
    at = one.minute - first
    count = np.bincount(at, one.n, minlength=minutes)
    total = np.bincount(at, one.sum_log, minlength=minutes)
    with np.errstate(invalid="ignore"):
        return total / count, count


def five(mean: np.ndarray) -> np.ndarray:
    """Means of five minutes."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.nanmean(mean[: len(mean) // 5 * 5].reshape(-1, 5), axis=1)


def alarms(raised: np.ndarray, step: int) -> np.ndarray:
    """Minutes (from the start of the stream) at which a condition turns true; refired only after an hour of calm."""
    found, last = [], -float(np.inf)
    for index in np.flatnonzero(raised):
        if index * step - last > 60:
            found.append(index * step + step - 1)
        last = float(index * step)
    return np.array(found)


def weekly(stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of five-minute means by hour of the week, at each five minutes of the stream."""
    past, now = five(stream.history), five(stream.mean)
    hour = (np.arange(len(past)) // 12) % 168
    mean = np.array([np.nanmean(past[hour == h]) for h in range(168)])
    spread = np.array([np.nanstd(past[hour == h]) for h in range(168)])
    at = ((stream.first // 5 + np.arange(len(now))) // 12) % 168
    return mean[at], spread[at]


def z_score(stream: Stream, edge: float) -> np.ndarray:
    mean, spread = weekly(stream)
    return alarms((five(stream.mean) - mean) / spread > edge, 5)


def median_deviation(stream: Stream, edge: float) -> np.ndarray:
    everything = five(np.concatenate([stream.history[-DAY:], stream.mean]))
    view = np.lib.stride_tricks.sliding_window_view(everything, 288)[:-1]
    centre = np.nanmedian(view, axis=1)
    spread = 1.4826 * np.nanmedian(np.abs(view - centre[:, None]), axis=1)
    now = everything[288:]
    return alarms((now - centre) / spread > edge, 5)


def last_week(stream: Stream, edge: float) -> np.ndarray:
    everything = np.concatenate([stream.history, stream.mean])
    offset = len(stream.history) - 7 * DAY
    gap = (stream.first - HISTORY) % (7 * DAY)
    now = five(stream.mean)
    then = five(everything[offset + gap : offset + gap + len(stream.mean)])[: len(now)]
    now = now[: len(then)]
    over = now - then > edge
    return alarms(over & np.concatenate([[False], over[:-1]]), 5)


def mann_whitney(stream: Stream, edge: float) -> np.ndarray:
    from scipy.stats import mannwhitneyu

    everything = np.concatenate([stream.history, stream.mean])
    offset = len(stream.history)
    gap = (stream.first - HISTORY) % (7 * DAY)
    found = np.zeros(len(stream.mean) // 15, dtype=bool)
    for index in range(4, len(found)):
        end = index * 15
        now = stream.mean[end - 60 : end]
        then = everything[offset - 7 * DAY + gap + end - 60 : offset - 7 * DAY + gap + end]
        now, then = now[np.isfinite(now)], then[np.isfinite(then)]
        if min(len(now), len(then)) > 20:
            found[index - 1] = mannwhitneyu(now, then, alternative="greater").pvalue < 10**-edge
    return alarms(found, 15)


def deseasoned(stream: Stream) -> np.ndarray:
    """Minute means less their hour-of-week mean: what the change detectors of river and ruptures are given."""
    hour = (np.arange(len(stream.history)) // 60) % 168
    mean = np.array([np.nanmean(stream.history[hour == h]) for h in range(168)])
    at = ((stream.first + np.arange(len(stream.mean))) // 60) % 168
    return np.nan_to_num(stream.mean - mean[at])


def adwin(stream: Stream, edge: float) -> np.ndarray:
    from river.drift import ADWIN

    detector, found, mean = ADWIN(delta=edge), [], 0.0
    for minute, value in enumerate(deseasoned(stream)):
        before = detector.estimation
        detector.update(value)
        if detector.drift_detected and detector.estimation > before:
            found.append(minute)
        mean = value
    return np.array(found) if mean is not None else np.array([])


def page_hinkley(stream: Stream, edge: float) -> np.ndarray:
    from river.drift import PageHinkley

    detector, found = PageHinkley(min_instances=30, delta=0.02, threshold=edge, mode="up"), []
    for minute, value in enumerate(deseasoned(stream)):
        detector.update(value)
        if detector.drift_detected:
            found.append(minute)
    return np.array(found)


def kswin(stream: Stream, edge: float) -> np.ndarray:
    from river.drift import KSWIN

    detector, found = KSWIN(alpha=edge, window_size=300, stat_size=60, seed=1), []
    for minute, value in enumerate(deseasoned(stream)):
        detector.update(value)
        if detector.drift_detected:
            found.append(minute)
    return alarms(np.isin(np.arange(len(stream.mean)), found), 1)


def pelt(stream: Stream, edge: float) -> np.ndarray:
    import ruptures

    values = five(deseasoned(stream))
    found = []
    for end in range(144, len(values), 12):
        window = values[max(end - 288, 0) : end]
        penalty = edge * np.var(window) * np.log(len(window))
        points = ruptures.Pelt(model="l2", min_size=3, jump=1).fit(window).predict(penalty)[:-1]
        recent = [point for point in points if point >= len(window) - 24]
        if recent and window[recent[-1] :].mean() > window[: recent[-1]].mean():
            found.append(end)
    return alarms(np.isin(np.arange(len(values)), found), 5)


def otava(stream: Stream, edge: float) -> np.ndarray:
    from otava.analysis import compute_change_points

    values = five(deseasoned(stream))
    found = []
    for end in range(144, len(values), 12):
        window = values[max(end - 288, 0) : end]
        try:
            points, _ = compute_change_points(window, window_len=50, max_pvalue=10**-edge, min_magnitude=0.0)
        except ValueError:  # it refuses to compare pieces of one or two points
            continue
        recent = [
            point for point in points if point.index >= len(window) - 24 and point.stats.mean_2 > point.stats.mean_1
        ]
        if recent:
            found.append(end)
    return alarms(np.isin(np.arange(len(values)), found), 5)


def oracle(stream: Stream, _: float) -> np.ndarray:
    """Page's CUSUM that knows season, noise and the size of the change."""
    truth, effect = stream.truth, stream.case.effect or float(np.log(1.1))
    if effect <= 0:
        effect = float(np.log(1.1))
    minute = stream.first + np.arange(len(stream.mean))
    expected = level(truth, minute, truth.batch_at) + float(np.dot(truth.shares, truth.levels))
    common = truth.noise**2 * (1 + truth.correlation) / (1 - truth.correlation)
    between = float(np.dot(truth.shares, (np.array(truth.levels) - np.dot(truth.shares, truth.levels)) ** 2))
    variance = (truth.deviation**2 * (1 + 8 * truth.heavy) + between) / np.maximum(stream.count, 1) + common
    residual = np.clip(np.nan_to_num(stream.mean - expected), -1, 1) - truth.outliers * (np.log(30) - expected.mean())
    height, evidence, found = threshold(float(np.median(effect**2 / 2 / variance))), 0.0, []
    for index in range(len(residual)):
        evidence = max(evidence + effect * (residual[index] - effect / 2) / variance[index], 0.0)
        if evidence > height:
            found.append(index)
            evidence = 0.0
    return np.array(found)


PEERS: list[tuple[str, Callable[[Stream, float], np.ndarray], list[float]]] = [
    ("oracle CUSUM (knows season, noise, size)", oracle, [0.0]),
    ("z-score by hour of week, tuned", z_score, [3, 3.5, 4, 4.5, 5, 6, 7, 8, 10, 12, 15]),
    ("median and MAD of a day, tuned", median_deviation, [3, 4, 5, 6, 7, 8, 10, 12, 15]),
    ("+20 % on last week for 10 min, as shipped", last_week, [float(np.log(1.2))]),
    ("the same, tuned", last_week, [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0]),
    ("Mann–Whitney on last week, tuned", mann_whitney, [3, 4, 5, 6, 8, 10, 12, 15, 18]),
    ("apache-otava hourly, tuned", otava, [4, 8]),
    ("ruptures PELT hourly, tuned", pelt, [10, 30]),
    ("river ADWIN, tuned", adwin, [1e-3, 1e-12]),
    ("river Page-Hinkley, tuned", page_hinkley, [2, 5, 12, 40]),
    ("river KSWIN, tuned", kswin, [1e-6, 1e-15]),
]


def streams_of(rate: float, seeds: int, repeats: int, null_days: int) -> tuple[list[Columns], list[Stream]]:
    """Histories and streams of one traffic level."""
    histories, streams = [], []
    for seed in range(seeds):
        rng = np.random.default_rng([seed, int(rate), 1])
        truth = draw_truth(rng, rate)
        past = simulate(truth, int(rng.integers(1 << 40)), f"T{seed}", 0, HISTORY)
        histories.append(past)
        known, _ = minutes_of(past, 0, HISTORY)
        wanted = [Case()]
        for _ in range(repeats):
            at = [int(value) for value in rng.integers(300, 1700, 6)]
            wanted += [Case("up", at[0], float(np.log(1.1))), Case("up", at[1], float(np.log(1.2)))]
            wanted += [Case("spike", at[2], float(np.log(2.0))), Case("drop", at[3], float(np.log(0.4)))]
            wanted += [Case("mix", at[4]), Case("dst", 120, options={"by": 60}), Case("batch", 0, options={"by": 90})]
        for number, case in enumerate(wanted):
            first = HISTORY + (0 if case.kind == "null" else DAY * int(rng.integers(0, 7)))
            size = null_days * DAY if case.kind == "null" else case.change + DAY
            name = f"{case.kind}{number}.{seed}@T{seed}"
            one = simulate(truth, int(rng.integers(1 << 40)), name, first, size, case)
            mean, count = minutes_of(one, first, size)
            streams.append(Stream(truth, case, first, name, one, mean, count, known))
    return histories, streams


def summary(streams: list[Stream], found: dict[str, np.ndarray], null_days: int) -> dict[str, float]:
    """False alarms a month, median delays, share found in an hour, share of must-not cases that alarmed."""
    nulls = [stream for stream in streams if stream.case.kind == "null"]
    out = {"false": sum(len(found[stream.name]) for stream in nulls) / (len(nulls) * null_days / 30)}
    for ratio in (1.1, 1.2):
        group = [s for s in streams if s.case.kind == "up" and abs(s.case.effect - np.log(ratio)) < 1e-9]
        delays = []
        for stream in group:
            after = found[stream.name][found[stream.name] >= stream.case.change]
            delays.append(after[0] - stream.case.change + 1 if len(after) else np.inf)
        bounds = [limit(shift_information(s.truth, s.columns.rate[s.case.change :], s.case.effect)) for s in group]
        out[f"delay {ratio}"], out[f"limit {ratio}"] = float(np.median(delays)), float(np.median(bounds))
        out[f"hour {ratio}"] = float(np.mean(np.array(delays) <= 60))
    for kind in SILENT:
        group = [stream for stream in streams if stream.case.kind == kind]
        out[kind] = float(np.mean([any(found[s.name] >= s.case.change) for s in group]))
    return out


def print_row(name: str, row: dict[str, float]) -> None:
    """One row of the table, in Markdown."""

    def delay(ratio: float) -> str:
        value = row[f"delay {ratio}"]
        if not np.isfinite(value):
            return "never | – | " + f"{row[f'hour {ratio}']:.0%}"
        return f"{value:.0f} | {value / row[f'limit {ratio}']:.1f} | {row[f'hour {ratio}']:.0%}"

    silent = " / ".join(f"{row[kind]:.0%}" for kind in SILENT)
    print(f"| {name} | {row['false']:.2f} | {delay(1.1)} | {delay(1.2)} | {silent} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="10,100,1000", help="observations a minute")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--peers", default="", help="only peers whose name contains this")
    parser.add_argument("--null-days", type=int, default=28)
    options = parser.parse_args()
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}"
    size = f"{options.seeds} seeds, {options.repeats} of each case and {options.null_days} days without change a seed"
    print(f"{versions}; {size}\n")
    settings = DetectionSettings(false_alarms_per_series_month=1.0)
    for rate in [float(item) for item in options.rates.split(",")]:
        clock = time.perf_counter()
        histories, streams = streams_of(rate, options.seeds, options.repeats, options.null_days)
        print(f"### {rate:g} observations a minute\n")
        print("| detector | false alarms a series-month | ×1.1: minutes | of the limit | in an hour | ×1.2: minutes | "
              f"of the limit | in an hour | alarmed: {' / '.join(SILENT)} |")  # fmt: skip
        print("|---|---|---|---|---|---|---|---|---|")
        events = run_backtest(
            recording(histories), recording([s.columns for s in streams]), settings, BucketGrid(LOW, WIDTH)
        )
        first = {stream.name: stream.first for stream in streams}
        own = {
            name: np.array([e.minute - first[name] for e in events if e.series == name and e.kind in PAGED])
            for name in first
        }
        row = summary(streams, own, options.null_days)
        print(f"| *limit* | | {row['limit 1.1']:.0f} | 1 | | {row['limit 1.2']:.0f} | 1 | | |")
        print_row("**cxgauge**", row)
        for name, detect, edges in [peer for peer in PEERS if options.peers in peer[0]]:
            try:
                print_row(name, tuned(streams, detect, edges, options.null_days))
            except ImportError as error:
                print(f"| {name} | not installed ({error.name}) | | | | | | | |")
        print(f"\n{time.perf_counter() - clock:.0f} s\n", flush=True)


def tuned(
    streams: list[Stream], detect: Callable[[Stream, float], np.ndarray], edges: list[float], null_days: int
) -> dict[str, float]:
    """The summary at the most sensitive threshold that keeps to the budget, or at the least sensitive of all."""
    nulls = [stream for stream in streams if stream.case.kind == "null"]
    months = len(nulls) * null_days / 30
    edge = edges[-1]
    for candidate in edges:
        if len(edges) == 1 or sum(len(detect(stream, candidate)) for stream in nulls) <= months:
            edge = candidate
            break
    return summary(streams, {stream.name: detect(stream, edge) for stream in streams}, null_days)


if __name__ == "__main__":
    main()
