"""How long a fleet takes: learning, one window of many series, reading it from the store, Prometheus beside it.

    python bench/detection/fleet_speed.py --learn 10000 --series 100000

Learning goes through the series of a portion of 64 again and again, as many as are asked for, in as many processes as
there are processors; every series is a step of its own, with failures by verdict and one check. `--dsn` (by default the
TimescaleDB of `make services`) is read from a schema of its own, which is dropped at the end. Processor time is printed
beside the time that passed: on a busy machine only the first can be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from multiprocessing import get_context
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from prometheus_rules import time_prometheus

from cxgauge.metrics.baseline.baseline import learn
from cxgauge.metrics.detection.detector import Detector
from cxgauge.metrics.detection.input import SKETCH_GRID, Fleet, Measurements
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.detection.shift import Noise, ShiftState, advance_shift
from cxgauge.metrics.observation import SeriesKey
from cxgauge.metrics.sketch import LOG_GAMMA

DAY, START = 1_440, 345_600.0
PORTION = 64


def spent(action: Callable[[], object], rounds: int = 15) -> tuple[float, float]:
    """Median time and processor time of a call, seconds."""
    times = []
    for _ in range(rounds):
        wall, processor = time.perf_counter(), time.process_time()
        action()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    wall, processor = np.median(times, axis=0)
    return float(wall), float(processor)


def portion(series: int, rate: float, days: int, seed: int = 0) -> tuple[Measurements, Fleet]:
    """A history of some series, each a step of its own, as the store gives it: rows by series and minute."""
    rng, windows = np.random.default_rng(seed), days * DAY
    minute, day = np.arange(windows), (np.arange(windows) % DAY) / DAY
    parts: list[list[np.ndarray]] = [[] for _ in range(8)]
    for _ in range(series):
        n = rng.poisson(rate * (0.25 + 1.15 * np.exp(-((day - 0.5) ** 2) / 0.06)))
        common = np.convolve(rng.normal(size=windows) * 0.02 * np.sqrt(1 - 0.49), 0.7 ** np.arange(60))[:windows]
        row = np.repeat(minute, n)
        x = (-0.3 + 0.1 * np.sin(2 * np.pi * day) + common)[row] + 0.5 * rng.standard_normal(len(row))
        x = np.where(rng.random(len(x)) < 0.001, 3.4, x)
        key, amount = np.unique(row * 4096 + np.ceil(x / LOG_GAMMA).astype(np.int64) + 2048, return_counts=True)
        wrong, error = rng.binomial(n, 0.002), rng.binomial(n, 0.001)
        failed = np.zeros((windows, 9))
        failed[:, 0], failed[:, 4], failed[:, 7], failed[:, 8] = n - wrong - error, wrong, error, wrong
        sums = [np.bincount(row, values, minlength=windows) for values in (x, x * x)]
        lengths = np.bincount(key // 4096, minlength=windows)
        columns = (START + 60.0 * minute, n * 1.0, *sums, lengths, failed, np.repeat(n[:, None] * 1.0, 9, axis=1))
        for target, values in zip(parts, (*(each[n > 0] for each in columns), np.stack([key, amount])), strict=False):
            target.append(values)
    start, count, total, square, lengths, failed, tried = (np.concatenate(each) for each in parts[:7])
    entries = np.concatenate(parts[7], axis=1)
    cell = np.repeat(np.arange(series), [len(each) for each in parts[0]])
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    rows = Measurements(
        start, cell, count, total, square, offsets, entries[0] % 4096 - 2048, entries[1], failed, tried
    )  # fmt: skip
    keys = [SeriesKey(f"flow{index:05d}", "step", (), ("total",)) for index in range(series)]
    return rows.narrow(), Fleet.build(keys, SKETCH_GRID)


def learn_portions(number: int, rate: float, days: int) -> tuple[float, float, float, float]:
    """Learn a portion so many times: time, processor time, gigabytes of the process without and with learning."""
    rows, fleet = portion(PORTION, rate, days)
    settings = DetectionSettings()
    learn(rows, fleet, settings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(number):
        learn(rows, fleet, settings, families=10_000)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return time.perf_counter() - wall, time.process_time() - processor, before, after


def learning(options: argparse.Namespace) -> None:
    """Print how long learning takes."""
    workers = os.cpu_count() or 1
    each = max(-(-options.learn // PORTION // workers), 1)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        work = [pool.submit(learn_portions, each, options.rate, options.days) for _ in range(workers)]
        found = [one.result() for one in work]
    series = each * workers * PORTION
    wall, processor = max(one[0] for one in found), sum(one[1] for one in found)
    print(
        f"learning {series:,} series of {options.days} days of minutes ({options.rate:g} observations a minute), "
        f"{workers} processes: {wall:.0f} s, {processor:.0f} s of processors; 10,000 series in "
        f"{1e4 * wall / series:.0f} s, {1e4 * processor / series:.0f} s of processors; "
        f"at most {max(one[3] for one in found):.1f} GB a process, the history of {PORTION} series included"
    )


def judging(series: int) -> None:
    """Print how long one window takes: the shift test, then everything."""
    rng = np.random.default_rng(0)
    noise = Noise(*(np.full(series, value, dtype=np.float32) for value in (4e-4, 0.7, 1e-5, 0.9986, 0.0)))
    up = np.log(np.array([1.05, 1.1, 1.2, 1.5], dtype=np.float32))
    shifts = np.repeat(np.concatenate([up, -up])[:, None], series, axis=1)
    limit = np.full(shifts.shape, 2.0, dtype=np.float32)
    state = ShiftState.new(noise, len(shifts))
    variance, count = np.full(series, 0.0025), np.ones(series)

    def advance() -> None:
        residual = rng.standard_normal(series) * 0.05
        advance_shift(state, noise, shifts, limit, 0.0, residual, variance, count)

    def copy() -> None:
        for item in fields(state):
            getattr(state, item.name).copy()

    draw = spent(lambda: rng.standard_normal(series) * 0.05)
    wall, processor = spent(advance)
    width = sum(getattr(state, item.name).nbytes for item in fields(state)) / series
    print(
        f"shift test of {series:,} series: {1e3 * (wall - draw[0]):.1f} ms a window, "
        f"{1e3 * (processor - draw[1]):.1f} ms of a processor; a copy of its state {1e3 * spent(copy)[0]:.1f} ms; "
        f"{width:.0f} bytes a series"
    )


def whole_window(options: argparse.Namespace) -> None:
    """Print what one window costs with everything: locations, volumes, tails and failures, and all that is kept."""
    rows, fleet = portion(PORTION, options.rate, 3)
    profile = learn(rows, fleet, DetectionSettings())
    windows = list(rows.windows())[-60:]
    detector = Detector(profile)
    begin = time.process_time()
    for start, window in windows:
        detector.advance(start, window)
    spent_each = (time.process_time() - begin) / len(windows)
    state = len(detector.to_bytes()) / len(fleet.scopes)
    print(
        f"one window of {len(fleet.scopes)} steps with everything: {1e3 * spent_each:.1f} ms of a processor; "
        f"state {state:.0f} bytes a step with {len(fleet.channels) // len(fleet.scopes)} failure channels"
    )


def reading(options: argparse.Namespace) -> None:
    """Print how long one minute of all series takes to be read from the store."""
    from cxgauge.metrics.observation import RECORD, ObservationBatch
    from cxgauge.metrics.rollup import roll_up
    from cxgauge.metrics.store.rows import rollup_rows
    from cxgauge.metrics.store.store import Store

    store = Store.open(options.dsn, schema="cxgauge_fleet_speed")
    store.migrate()
    keys = [SeriesKey(f"fleet_{n // 1000}", f"step_{n % 20}", (("branch", str(n)),)) for n in range(options.series)]
    ids = store._catalog.resolve(keys).ids
    minute, rng = 1_767_225_600 + 8 * 86_400, np.random.default_rng(2)
    records = np.zeros(options.series * 10, dtype=RECORD)
    records["observed_at_us"], records["series"] = minute * 1_000_000, np.repeat(ids, 10)
    records["duration_seconds"] = np.exp(rng.normal(0, 0.5, len(records)))
    rollup = roll_up(ObservationBatch((), records), 60)
    with store.connection() as connection, connection.cursor() as cursor:
        from cxgauge.metrics.store.named_queries import named_query

        with cursor.copy(named_query("write.copy_window_rollups")) as into:
            into.write(rollup_rows([rollup], rolled=False))
    with store.connection() as connection:
        connection.execute("ANALYZE window_rollups")
    store.read_rollups(minute, minute + 60)
    wall, processor = spent(lambda: store.read_rollups(minute, minute + 60), 5)
    found, names = store.read_rollups(minute, minute + 60)
    cells = {number: place for place, number in enumerate(sorted(names))}
    columns = spent(lambda: Measurements.from_rollup(found, cells), 5)[0]
    print(
        f"reading one minute of {len(found):,} series from the store: {wall:.2f} s, {processor:.2f} s of this process; "
        f"as columns for the detector {columns:.2f} s more"
    )
    with store.connection() as connection:
        connection.execute("DROP SCHEMA cxgauge_fleet_speed CASCADE")
    store.close()


def main() -> None:
    services = Path(__file__).parents[2] / ".services" / "services.json"
    known = json.loads(services.read_text()) if services.exists() else {}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--learn", type=int, default=10_000, help="series to learn, 0 for none")
    parser.add_argument("--days", type=int, default=28)
    parser.add_argument("--rate", type=float, default=10.0, help="observations a minute and series")
    parser.add_argument("--dsn", default=known.get("timescaledb", {}).get("dsn", ""))
    parser.add_argument("--prometheus", type=int, default=10_000, help="series of Prometheus, 0 for none")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}, {os.cpu_count()} "
        f"processors, load {load:.1f} before"
    )
    judging(options.series)
    whole_window(options)
    if options.dsn:
        reading(options)
    if options.learn:
        learning(options)
    if options.prometheus and "prometheus" in known:
        times = time_prometheus(options.prometheus)
        print(f"Prometheus, z-score rules over {options.prometheus:,} series: {1e3 * np.median(times):.0f} ms a round")


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # processes are the parallelism here
    main()
