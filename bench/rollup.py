"""Rolling up, merging and sketches in memory: rows a second, beside the floor of one numpy pass and a sort.

.venv/bin/python bench/rollup.py [--rows 1000000] [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np

from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey
from cxgauge.metrics.rollup import merge, regroup, roll_up
from cxgauge.metrics.sketch import buckets_of

SERIES = tuple(SeriesKey("bill_inquiry", f"step_{n}", (), ("total", "details")) for n in range(50))


def records_of(rows: int, seconds: int) -> np.ndarray:
    """Observations spread over a span."""
    random = np.random.default_rng(1)
    records = np.zeros(rows, dtype=RECORD)
    records["observed_at_us"] = 1_767_225_600_000_000 + np.sort(random.integers(0, seconds * 1_000_000, rows))
    records["duration_seconds"] = np.exp(random.normal(0, 0.5, rows))
    records["series"] = random.integers(0, len(SERIES), rows)
    records["verdict"] = random.choice([0, 1, 4, 7], rows, p=[0.95, 0.03, 0.01, 0.01])
    records["checks"] = 0b0101
    return records


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="rolling up in memory")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    rows = arguments.rows
    records = records_of(rows, 600)
    durations = np.ascontiguousarray(records["duration_seconds"])
    whole = ObservationBatch(SERIES, records)
    small = [ObservationBatch(SERIES, records[at : at + 10_000]) for at in range(0, rows, 10_000)]
    parts = [roll_up(batch, 60) for batch in small]
    week = roll_up(ObservationBatch(SERIES, records_of(rows, 7 * 86_400)), 60)
    cases: dict[str, tuple[int, Callable[[], object]]] = {
        "one pass: Σ ln d": (rows, lambda: np.log(durations).sum()),
        "a sort of 32-bit numbers": (rows, lambda: np.sort(durations.astype(np.float32))),
        "buckets of durations": (rows, lambda: buckets_of(durations)),
        "roll up, one batch": (rows, lambda: roll_up(whole, 60)),
        "roll up, batches of 10,000": (rows, lambda: [roll_up(batch, 60) for batch in small]),
        f"merge {len(parts)} rollups": (sum(map(len, parts)), lambda: merge(parts)),
        "regroup a week to hours": (len(week), lambda: regroup(week, window_seconds=3600)),
        "quantiles of each row": (len(week), lambda: week.quantiles(0.5, 0.95, 0.99)),
    }
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(arguments.rounds):
        for name, (_, call) in cases.items():
            started = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - started)
    print(f"Python {platform.python_version()}, numpy {np.__version__}, {os.cpu_count()} cores; {rows:,} observations")
    for name, (size, _) in cases.items():
        seconds = statistics.median(taken[name])
        print(f"{name:<30}{size / seconds / 1e6:>8.2f} M rows/s {seconds / size * 1e9:>8.1f} ns a row")
    print(f"a week's rollup: {len(week):,} rows, {len(week.buckets) / len(week):.1f} buckets a row")


if __name__ == "__main__":
    main()
