"""The detector's peers, each as a function of a stream and a threshold to the minutes at which it alarms.

Peers read what they would in practice: means of log duration by minute or five minutes, over all groups. Those of
river, ruptures and apache-otava get them less their hour-of-week mean; the last two run once an hour over the last day.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from cells import HISTORY, Stream
from limits import threshold
from simulator import DAY, level


def five(mean: np.ndarray) -> np.ndarray:
    """Means of five minutes."""
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

    detector, found = ADWIN(delta=edge), []
    for minute, value in enumerate(deseasoned(stream)):
        before = detector.estimation
        detector.update(value)
        if detector.drift_detected and detector.estimation > before:
            found.append(minute)
    return np.array(found)


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

    values = five(deseasoned(stream))
    detector, found = KSWIN(alpha=edge, window_size=60, stat_size=12, seed=1), []
    for index, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            found.append(index)
    return alarms(np.isin(np.arange(len(values)), found), 5)


def pelt(stream: Stream, edge: float) -> np.ndarray:
    import ruptures

    values = five(deseasoned(stream))
    found = []
    for end in range(144, len(values), 12):
        window = values[max(end - 288, 0) : end]
        penalty = edge * np.var(window) * np.log(len(window))
        # PELT with the cost l2, in C
        points = ruptures.KernelCPD(kernel="linear", min_size=3).fit(window).predict(pen=penalty)[:-1]
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
    ("ruptures PELT hourly, tuned", pelt, [10, 20, 30, 50, 80]),
    ("river ADWIN, tuned", adwin, [1e-3, 1e-6, 1e-12, 1e-24, 1e-48]),
    ("river Page-Hinkley, tuned", page_hinkley, [2, 5, 12, 25, 40, 80]),
    ("river KSWIN on five minutes, tuned", kswin, [1e-6, 1e-9, 1e-15, 1e-20]),
    ("apache-otava hourly, tuned", otava, [5, 8]),
]
SLOW = {"apache-otava hourly, tuned", (1000.0, "river KSWIN on five minutes, tuned")}
"""Peers that get a quarter of the streams, one a case and seed; with a traffic level: there."""
