"""How long one minute of a fleet of 100,000 series takes to be judged, everything included, and what is remembered.

    python bench/detection/evaluation_speed.py --series 100000 --windows 30

Two shapes of fleet. *bank*: flows of five steps, each split by channel, region and version of the application into 200
series, so that 100,000 series make 10,600 scopes. *apart*: every series a flow with one step of its own, 100,000 scopes
of which each has its own tests of location, volume, tails, eight failure rates and their improvement. Windows are drawn
from the profile without any change in them, ten observations a series. `--profile` prints where the time goes.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pickle
import platform
import pstats
import time
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from cxgauge.metrics.baseline.baseline import Profile, learn
from cxgauge.metrics.detection.calendar import local_time
from cxgauge.metrics.detection.detector import Detector
from cxgauge.metrics.detection.input import SKETCH_GRID, Fleet, Measurements
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.detection.special_days import SpecialDays
from cxgauge.metrics.observation import SeriesKey
from cxgauge.metrics.sketch import LOG_GAMMA
from cxgauge.metrics.verdict import VERDICT_COUNT, Verdict

DAY, START = 1_440, 345_600.0
COLUMNS = VERDICT_COUNT + 1
WRONG, FAULTY = 0.002, 0.001  # share of answers that fail their check, that are errors
DIMENSIONS = {
    "channel": ("app", "web", "counter", "phone"),
    "region": tuple(f"r{n}" for n in range(10)),
    "version": tuple(f"8.{n}" for n in range(5)),
}


def keys_of(shape: str) -> list[SeriesKey]:
    """The series that are learnt: one flow of five steps and 1,000 series, or eight flows of one."""
    if shape == "apart":
        return [SeriesKey(f"flow{n}", "step", (), ("total",)) for n in range(8)]
    values = [tuple(zip(DIMENSIONS, each, strict=True)) for each in product(*DIMENSIONS.values())]
    return [SeriesKey("flow", f"step{n}", each, ("total",)) for n in range(5) for each in values]


def draw(
    rng: np.random.Generator, at: np.ndarray, cell: np.ndarray, level: np.ndarray, scale: np.ndarray, n: np.ndarray
) -> Measurements:
    """Rows as the store gives them: one a window and series, with log duration about a level."""
    row = np.repeat(np.arange(len(cell)), n)
    x = level[row] + scale[row] * rng.standard_normal(len(row))
    x[rng.random(len(x)) < 0.001] = 3.4
    key, amount = np.unique(row * 4096 + np.ceil(x / LOG_GAMMA).astype(np.int64) + 2048, return_counts=True)
    total, square = (np.bincount(row, values, minlength=len(cell)) for values in (x, x * x))
    offsets = np.concatenate(([0], np.cumsum(np.bincount(key // 4096, minlength=len(cell)))))
    failed, tried = (np.zeros((len(cell), COLUMNS), order="F") for _ in range(2))
    wrong, error = rng.binomial(n, WRONG), rng.binomial(n, FAULTY)
    failed[:, Verdict.GOOD], failed[:, Verdict.WRONG], failed[:, Verdict.ERROR] = n - wrong - error, wrong, error
    failed[:, VERDICT_COUNT] = wrong
    tried[:] = n[:, None]
    buckets = (key % 4096 - 2048).astype(np.int16)
    return Measurements(at, cell, n * 1.0, total, square, offsets, buckets, amount * 1.0, failed, tried)


def _busy(day: Any, rate: float) -> Any:
    """Observations expected at a time of the day, about twice as many at noon as in the mean."""
    return rate * (0.25 + 1.15 * np.exp(-((day - 0.5) ** 2) / 0.06))


def learnt_flow(shape: str, rate: float, days: int) -> Profile:
    """The profile of some series with a daily season, common noise and time-outs."""
    rng, windows = np.random.default_rng(0), days * DAY
    keys = keys_of(shape)
    fleet = Fleet.build(keys, SKETCH_GRID)
    day = (np.arange(windows) % DAY) / DAY
    busy = _busy(day, rate)
    noise = np.convolve(rng.normal(size=windows) * 0.02 * np.sqrt(1 - 0.49), 0.7 ** np.arange(60))[:windows]
    level = -0.3 + 0.1 * np.sin(2 * np.pi * day) + noise
    cell = np.repeat(np.arange(len(keys)), windows)
    own = rng.normal(0, 0.2, len(keys))
    minute = np.tile(np.arange(windows), len(keys))
    n = rng.poisson(busy[minute])
    cell, minute, n = cell[n > 0], minute[n > 0], n[n > 0]
    rows = draw(rng, START + 60.0 * minute, cell, level[minute] + own[cell], np.full(len(cell), 0.5), n)
    settings = DetectionSettings()
    return learn(rows.narrow(), fleet, settings, families=500 if shape == "bank" else 100_000)


def copied(profile: Profile, copies: int) -> Profile:
    """The profile of a fleet many times as large: every flow again and again under other names."""
    fleet = profile.fleet
    keys = [replace(key, flow=f"{n:06d}{key.flow}") for n in range(copies) for key in fleet.cells]
    whole, scopes = Fleet.build(keys, fleet.grid), len(fleet.scopes)

    def again(values: Any, blocks: int = 1) -> Any:
        """The last axis again and again, block by block."""
        apart = np.split(values, blocks, axis=-1)
        return np.concatenate([np.tile(each, copies) for each in apart], axis=-1)

    def tests(values: Any) -> Any:
        tails, channels = np.split(values, [2 * scopes], axis=-1)
        return np.concatenate([np.tile(tails, copies), np.tile(channels, copies)], axis=-1)

    def each(part: Any, how: Any, *left: str) -> Any:
        names = [item.name for item in fields(part) if item.name not in left]
        return replace(part, **{name: how(getattr(part, name)) for name in names})

    shift = each(profile.shift, lambda values: again(values, 3), "noise")
    names = ("scale", "slope", "spread", "known", "traffic", "pair_rate")
    by_cell: dict[str, Any] = {name: again(getattr(profile, name)) for name in names}
    for name in ("tail_edge", "tail_rate", "tail_slope"):
        by_cell[name] = np.tile(getattr(profile, name), (copies, 1))
    return replace(
        profile,
        fleet=whole,
        season=each(profile.season, again),
        volume=each(profile.volume, again),
        mix=each(profile.mix, again),
        shift=replace(shift, noise=each(profile.shift.noise, lambda values: again(values, 3))),
        count=each(profile.count, tests, "ratios"),
        reasons=profile.reasons * copies,
        special=SpecialDays.none(len(whole.cells), len(whole.scopes)),
        history_seconds=again(profile.history_seconds),
        **by_cell,
    )


def fleet_of(shape: str, series: int, rate: float, days: int, cache: Path | None) -> Profile:
    """The profile of so many series, made of copies of a few that were learnt."""
    stored = cache / f"{shape}-{series}-{rate:g}-{days}.pickle" if cache else None
    if stored is not None and stored.exists():
        return pickle.loads(stored.read_bytes())
    taught = learnt_flow(shape, rate, days)
    profile = copied(taught, max(series // len(taught.fleet.cells), 1))
    if stored is not None:
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_bytes(pickle.dumps(profile))
    return profile


def windows_of(profile: Profile, number: int, rate: float) -> list[tuple[float, Measurements]]:
    """Windows drawn from a profile, from ten in the morning of a Tuesday on."""
    rng, found = np.random.default_rng(7), []
    cells = np.arange(len(profile.fleet.cells))
    flow = np.unique([key.flow for key in profile.fleet.cells], return_inverse=True)[1]
    common = np.zeros(flow.max() + 1)
    for each in range(number):
        at = START + 22 * 86_400.0 + 36_000.0 + 60.0 * each
        level = profile.season.at(local_time(np.array([at]), profile.settings))[0].astype(np.float64)
        common = 0.7 * common + 0.02 * np.sqrt(1 - 0.49) * rng.standard_normal(len(common))
        level += common[flow]
        n = rng.poisson(_busy(at / 86_400 % 1, rate), len(cells))
        some = np.flatnonzero(n)
        row = draw(rng, np.full(len(some), at), cells[some], level[some], profile.scale[some], n[some])
        found.append((at, row))
    return found


def judge(profile: Profile, windows: list[tuple[float, Measurements]], *, with_profile: bool) -> None:
    """Print what a window costs, and what is remembered."""
    began = time.perf_counter()
    detector = Detector(profile)
    made = time.perf_counter() - began
    events, times = 0, []
    watch = cProfile.Profile(time.process_time)
    for number, (at, window) in enumerate(windows):
        wall, processor = time.perf_counter(), time.process_time()
        if with_profile and number > 2:
            watch.enable()
        events += len(detector.advance(at, window))
        watch.disable()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    wall, processor = np.median(times[2:], axis=0)
    worst = max(each[1] for each in times[2:])
    began = time.perf_counter()
    state = detector.to_bytes()
    took = time.perf_counter() - began
    fleet = profile.fleet
    print(
        f"  one window: {1e3 * wall:.0f} ms, {1e3 * processor:.0f} ms of a processor (at most {1e3 * worst:.0f}); "
        f"{events} events in {len(windows)} windows; made in {made:.1f} s"
    )
    print(
        f"  state: {len(state) / len(fleet.cells):.0f} bytes a series, {len(state) / len(fleet.scopes):.0f} a scope as "
        f"stored, written in {1e3 * took:.0f} ms"
    )
    if with_profile:
        pstats.Stats(watch).sort_stats("tottime").print_stats(28)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--rate", type=float, default=10.0, help="observations a minute and series")
    parser.add_argument("--days", type=int, default=3, help="days of history to learn the copies from")
    parser.add_argument("--shape", choices=("bank", "apart", "both"), default="both")
    parser.add_argument("--cache", type=Path, help="folder to keep profiles in")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    options = parser.parse_args()
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}, {os.cpu_count()} "
        f"processors, load {os.getloadavg()[0]:.1f} before"
    )
    for shape in ("bank", "apart") if options.shape == "both" else (options.shape,):
        profile = fleet_of(shape, options.series, options.rate, options.days, options.cache)
        fleet = profile.fleet
        tests = len(profile.count.rate)
        print(
            f"{shape}: {len(fleet.cells):,} series, {len(fleet.scopes):,} scopes, "
            f"{tests - 2 * len(fleet.scopes):,} failure channels"
        )
        judge(profile, windows_of(profile, options.windows, options.rate), with_profile=options.profile)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    main()
