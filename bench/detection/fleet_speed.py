"""How long a fleet takes: learning, one window of many series, reading it from the store, Prometheus beside it.

    python bench/detection/fleet_speed.py --learn 10000 --series 100000

Every series is a step of its own, with failures by verdict and one check. Learning is timed as the running ruler does
it: the store is filled with the digests of as many series as are asked for (64 different ones again and again), which
are read, learnt and put together by as many processes as it would take; then on rows of windows in memory, as backtests
of files do it (`--rows`). `--dsn` (by default the TimescaleDB of `make services`) is used in a schema of its own, which
is dropped at the end; 10,000 series take 1.5 GB there. Processor time is printed beside the time that passed: on
a busy machine only the first can be compared.
"""

from __future__ import annotations

import argparse
import datetime as dt
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
PORTION, DRAWN = 64, 4
SCHEMA = "cxgauge_fleet_speed"


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


def learning_rows(options: argparse.Namespace) -> None:
    """Print how long learning from rows of windows takes."""
    workers = os.cpu_count() or 1
    each = max(-(-options.rows // PORTION // workers), 1)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        work = [pool.submit(learn_portions, each, options.rate, options.days) for _ in range(workers)]
        found = [one.result() for one in work]
    series = each * workers * PORTION
    wall, processor = max(one[0] for one in found), sum(one[1] for one in found)
    print(
        f"learning {series:,} series of {options.days} days of rows ({options.rate:g} observations a minute), "
        f"{workers} processes: {wall:.0f} s, {1e3 * processor / series:.1f} ms of processors a series; "
        f"at most {max(one[3] for one in found):.1f} GB a process, the history of {PORTION} series included"
    )


def digested_days(rate: float, days: int) -> list[list[bytes]]:
    """The digests of a portion, by day and series; a few series at a time, so that memory stays small."""
    parts = [_digested_days(rate, days, seed) for seed in range(PORTION // DRAWN)]
    return [[row for part in parts for row in part[day]] for day in range(days)]


def _digested_days(rate: float, days: int, seed: int) -> list[list[bytes]]:
    from cxgauge.metrics.digest.day import DayDigests
    from cxgauge.metrics.digest.making import put_hours
    from cxgauge.metrics.rollup import Rollup

    rows, _ = portion(DRAWN, rate, days, seed)
    rows = rows.take(np.lexsort((rows.cell, rows.window_start)))
    size, none = len(rows), np.zeros(len(rows))
    checks = np.zeros((size, 1, 3), dtype=np.int64)
    checks[:, 0, 0], checks[:, 0, 1] = (rows.tried - rows.failed)[:, 8], rows.failed[:, 8]
    start, cell, count, amounts = (
        each.astype(np.int64) for each in (rows.window_start, rows.cell, rows.count, rows.bucket_counts)
    )
    origin, buckets = np.zeros(size, dtype=np.int16), rows.buckets.astype(np.int16)
    sums = none, rows.sum_log, rows.sum_log_sq, none, none
    verdicts = rows.failed[:, :8].astype(np.int64)
    rollup = Rollup(60, start, cell, origin, count, *sums, rows.offsets, buckets, amounts, verdicts, checks)
    before, found = DayDigests.empty(DRAWN, 60), []
    for day in range(days):
        first = int(START) + day * 86_400
        part = rollup.select((start >= first) & (start < first + 86_400))
        before = put_hours(DayDigests.empty(DRAWN, 60), before, part, np.arange(DRAWN), first, range(24))
        found.append(list(before.to_bytes()))
    return found


def learning(options: argparse.Namespace) -> None:
    """Print how long learning from the store takes, digests made beforehand."""
    from cxgauge.alerts.learning import LearningSchedule, learn_from_store
    from cxgauge.metrics.baseline.bytes import profile_to_bytes
    from cxgauge.metrics.store.store import Store

    store = Store.open(options.dsn, schema=SCHEMA)
    store.migrate()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # whose memory is not ours
        days = pool.submit(digested_days, options.rate, options.days).result()
    ids = store._catalog.resolve(
        [SeriesKey(f"flow{index:05d}", "step", (), ("total",)) for index in range(options.learn)]
    ).ids
    octets = 0
    with store.connection() as connection:
        connection.execute("SET statement_timeout = 0")
        with connection.cursor().copy(
            "COPY window_digests (day, series_id, digest) FROM STDIN (FORMAT binary)"
        ) as into:
            into.set_types(["date", "int4", "bytea"])
            for number, rows in enumerate(days):
                date = dt.date(1970, 1, 1) + dt.timedelta(days=int(START) // 86_400 + number)
                for place, series in enumerate(ids.tolist()):
                    into.write_row((date, series, rows[place % PORTION]))
                    octets += len(rows[place % PORTION])
        end = int(START) + options.days * 86_400
        connection.execute(
            "INSERT INTO digest_hours (hour, digested_at) SELECT to_timestamp(hour), now() "
            "FROM generate_series(%s::int8, %s::int8, 3600) AS hour",
            (int(START), end - 3_600),
        )
        connection.execute("ANALYZE window_digests")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began, processor = time.perf_counter(), time.process_time()
    profile = learn_from_store(
        store, end, LearningSchedule(history_seconds=options.days * 86_400.0), DetectionSettings()
    )
    wall, processor = time.perf_counter() - began, time.process_time() - processor
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    of_children = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if profile is None:
        raise SystemExit("nothing was learnt; is the schema empty?")
    began = time.perf_counter()
    kept = len(profile_to_bytes(profile))
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    each = (of_children + processor) / options.learn
    for line in (
        f"learning {options.learn:,} series of {options.days} days from the store, {options.rate:g} a minute,",
        f"  {octets / options.learn / options.days:,.0f} bytes a series and day:",
        f"  {wall:.0f} s; {of_children:.0f} s of processes that read and learn, {processor:.1f} s of the one that puts",
        f"  together: {1e3 * each:.1f} ms a series, 10,000 in {1e4 * each:.0f} s of processors, less the server's",
        f"  at most {after.ru_maxrss / 1e6:.2f} GB a process that learns, {own / 1e6:.2f} GB in the other",
        f"  profile as bytes: {time.perf_counter() - began:.1f} s, {kept / 1e6:.0f} MB",
    ):
        print(line)
    with store.connection() as connection:
        connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    store.close()


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

    store = Store.open(options.dsn, schema=SCHEMA)
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
        connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    store.close()


def main() -> None:
    services = Path(__file__).parents[2] / ".services" / "services.json"
    known = json.loads(services.read_text()) if services.exists() else {}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=100_000, help="series judged, 0 for none")
    parser.add_argument("--learn", type=int, default=10_000, help="series to learn, 0 for none")
    parser.add_argument("--rows", type=int, default=256, help="series to learn from rows of windows, 0 for none")
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
    if options.series:
        judging(options.series)
        whole_window(options)
        if options.dsn:
            reading(options)
    if options.learn and options.dsn:
        learning(options)
    if options.rows:
        learning_rows(options)
    if options.prometheus and "prometheus" in known:
        times = time_prometheus(options.prometheus)
        print(f"Prometheus, z-score rules over {options.prometheus:,} series: {1e3 * np.median(times):.0f} ms a round")


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # processes are the parallelism here
    main()
