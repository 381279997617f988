"""How long a fleet takes: one window of many series, and learning baselines.

    python bench/detection/fleet_speed.py --series 100000 --learn 32

Prints milliseconds a window for the test of shifts, beside a copy of its state (the least that touching the state can
cost), and seconds of learning with their extrapolation to 10,000 series of 28 days.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from simulator import DAY, LOW, WIDTH, draw_truth, recording, simulate

from cxgauge.metrics.backtest.backtest import _learn
from cxgauge.metrics.detection.input import BucketGrid
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.detection.shift import Noise, ShiftState, advance_shift


def median_seconds(action: object, rounds: int = 15) -> float:
    """Median time of a call."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        action()  # type: ignore[operator]
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--learn", type=int, default=32, help="series to learn, one group each")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}")
    rng, size = np.random.default_rng(0), options.series
    noise = Noise(*(np.full(size, value) for value in (4e-4, 0.7, 1e-5, 0.9986, 0.0)))
    up = np.log(np.array([1.05, 1.1, 1.2, 1.5]))
    shifts = np.repeat(np.concatenate([up, -up])[:, None], size, axis=1)
    limit = np.full(shifts.shape, 2.0)
    state = ShiftState.new(noise, len(shifts))
    residual, variance = rng.normal(size=size) * 0.05, np.full(size, 0.0025)

    def advance() -> None:
        advance_shift(state, noise, shifts, limit, 0.0, residual, variance, np.ones(size))

    def copy() -> None:
        for item in fields(state):
            getattr(state, item.name).copy()

    one, least = median_seconds(advance), median_seconds(copy)
    width = sum(getattr(state, item.name).nbytes for item in fields(state)) / size
    print(
        f"shift test, {size} series: {1e3 * one:.1f} ms a window, "
        f"copy of the state {1e3 * least:.1f} ms, {width:.0f} B a series"
    )
    truth = draw_truth(rng, 100.0)
    history = recording([simulate(truth, seed, f"T{seed}", 0, 28 * DAY) for seed in range(options.learn)])
    begin = time.perf_counter()
    settings = DetectionSettings(false_alarms_per_series_month=1.0)
    profile = _learn(history, list(history.names), settings, BucketGrid(LOW, WIDTH))
    spent, scopes = time.perf_counter() - begin, len(profile.fleet.scopes)
    print(
        f"learning {options.learn} series of 28 days ({scopes} scopes): {spent:.1f} s, "
        f"{1e3 * spent / scopes:.0f} ms a scope, 10,000 series in {1e4 * spent / options.learn:.0f} s"
    )


if __name__ == "__main__":
    main()
