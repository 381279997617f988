"""Simulated streams of one traffic level, each case seeded by itself, and what the detector says of them; both cached.

A cell is a traffic level. Its streams are named `<case>.<repeat>.<seed>@T<seed>`; which other cases are asked for does
not change a stream. Sets of seeds are numbered: set 1 was looked at while the detector was made, set 2 is for the
published table. Caches lie in a folder of the system's temporary directory and are keyed by the sources they depend on.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from simulator import DAY, LOW, WIDTH, Case, Columns, Truth, draw_truth, recording, simulate

from cxgauge.metrics.backtest.backtest import BacktestEvent, run_backtest
from cxgauge.metrics.backtest.file import Recording
from cxgauge.metrics.baseline.baseline import Profile
from cxgauge.metrics.detection.input import BucketGrid
from cxgauge.metrics.detection.settings import DetectionSettings

HISTORY = 28 * DAY
MONTH = 30 * DAY
PAGED = ("up", "tail", "fail")
GRID = BucketGrid(LOW, WIDTH)
SETTINGS = DetectionSettings(false_alarms_per_series_month=1.0)
CACHE = Path(tempfile.gettempdir()) / "cxgauge-bench"

_SOURCES = Path(__file__).parents[2]
_NOT_LEARNT = {"follow.py", "clock.py", "detector.py", "interval.py", "events.py", "minimum_change.py"}
NULL_WEEKS = 4  # a history series is followed for four weeks without change, side by side


def _shift(ratio: float) -> Callable[[np.random.Generator], Case]:
    return lambda rng: Case("up", _noon(rng), math.log(ratio))


def _fail(ratio: float) -> Callable[[np.random.Generator], Case]:
    return lambda rng: Case("fail", _noon(rng), math.log(ratio))


def _creep(percent: float, every_days: int) -> Callable[[np.random.Generator], Case]:
    options = {"every": every_days * DAY}
    return lambda rng: Case("creep", _noon(rng), math.log(1 + percent / 100), options=options)


def _spikes(
    ratio: float, minutes: int, *, group: bool = False, **options: float
) -> Callable[[np.random.Generator], Case]:
    def make(rng: np.random.Generator) -> Case:
        change, part = _noon(rng), int(rng.integers(0, 3))
        every: dict[str, float] = {"minutes": minutes, "every": 487}
        return Case("spikes", change, math.log(ratio), part if group else -1, {**every, **options})

    return make


def _noon(rng: np.random.Generator) -> int:
    return int(rng.integers(300, 1700))


CASES: dict[str, Callable[[np.random.Generator], Case]] = {
    **{f"up{ratio:g}": _shift(ratio) for ratio in (1.05, 1.1, 1.2, 1.5, 0.9, 0.8)},
    **{f"fail{ratio:g}": _fail(ratio) for ratio in (1.5, 2.0, 3.0, 10.0)},
    "part1.2": lambda rng: Case("part", _noon(rng), math.log(1.2), int(rng.integers(0, 3))),
    "part1.5": lambda rng: Case("part", _noon(rng), math.log(1.5), int(rng.integers(0, 3))),
    "tail": lambda rng: Case("tail", _noon(rng), 0.3),
    "ramp": lambda rng: Case("ramp", _noon(rng), math.log(1.2)),
    "pulse": lambda rng: Case("pulse", int(rng.integers(300, 1000)), math.log(1.3)),
    "silence": lambda rng: Case("gap", _noon(rng), options={"minutes": 600}),
    "creep": _creep(3, 1),
    "creep2": _creep(2, 1),
    "creepweek": _creep(3, 7),
    **{f"spikes{ratio:g}": _spikes(ratio, 3) for ratio in (1.2, 1.3, 1.5, 2.0, 3.0, 5.0, 10.0)},
    "spikes3x1": _spikes(3.0, 1),
    "spikes3x2": _spikes(3.0, 2),
    "spikespart": _spikes(3.0, 3, group=True),
    **{f"timeouts{100 * share:g}": _spikes(1.0, 3, outliers=share) for share in (0.05, 0.3)},
    "spike": lambda rng: Case("spike", _noon(rng), math.log(2.0)),
    "drop": lambda rng: Case("drop", _noon(rng), math.log(0.4)),
    "burst": lambda rng: Case("burst", _noon(rng)),
    "mix": lambda rng: Case("mix", _noon(rng)),
    "clock": lambda rng: Case("dst", 120, options={"by": int(rng.choice([-60, 60]))}),
    "job": lambda rng: Case("batch", 0, options={"by": int(rng.choice([-90, -60, 60, 90, 180]))}),
    "gap": lambda rng: Case("gap", _noon(rng)),
}
SPIKES = 4  # in a stream of them
_WARM_UP = 240  # minutes
_HOURS = {"up1.5": 6, "fail10": 12, "silence": 12}  # plainly enough at a hundred observations a minute and more
SILENT = ("spike", "drop", "burst", "mix", "clock", "job", "gap")


@dataclass
class Stream:
    """One stream with what a peer may see of it, minute by minute."""

    label: str
    truth: Truth
    case: Case
    first: int
    name: str
    rate: np.ndarray  # expected observations a minute
    mean: np.ndarray  # mean ln s a minute, NaN without data
    count: np.ndarray
    history: np.ndarray  # the same for the 28 days before


@dataclass
class Cell:
    """A traffic level: what happened, and what the detector said."""

    rate: float
    streams: list[Stream]
    events: dict[str, list[BacktestEvent]]

    def of(self, label: str) -> list[Stream]:
        """The streams of one case."""
        return [stream for stream in self.streams if stream.label == label]

    def alarms(self, stream: Stream, kinds: tuple[str, ...] = PAGED) -> np.ndarray:
        """Minutes from the stream's start at which it alarmed."""
        return np.array([event.minute - stream.first for event in self.events[stream.name] if event.kind in kinds])


def run_cell(
    rate: float,
    seeds: Iterable[int],
    labels: Iterable[str],
    repeats: int | Mapping[str, int],
    seed_set: int,
    *,
    judge: bool = True,
    short: bool = False,
) -> Cell:
    """Simulate (or take from the cache) and judge one traffic level.

    Args:
        rate: Observations a minute.
        seeds: One history series each.
        labels: Cases, keys of :data:`CASES` or "null".
        repeats: Streams of each case a seed, of all cases or by label.
        seed_set: Which set of seeds.
        judge: Whether to run the detector at all.
        short: Whether to begin streams four hours before the change, and to end some hours after what is plain.
    """
    streams: list[Stream] = []
    columns: list[Columns] = []
    for seed in seeds:
        truth, known = _known(rate, seed, seed_set)
        for label in labels:
            number = repeats if isinstance(repeats, int) else repeats[label]
            for repeat in range(NULL_WEEKS if label == "null" else number):
                case, first, one = _stream(truth, rate, seed, seed_set, label, repeat, short=short)
                mean, count = minutes_of(one, first, len(one.rate))
                columns.append(one)
                streams.append(Stream(label, truth, case, first, one.name, one.rate, mean, count, known))
    events: dict[str, list[BacktestEvent]] = {stream.name: [] for stream in streams}
    if judge and columns:
        past = _past(rate, tuple(seeds), seed_set)
        key = _key("profile", rate, tuple(seeds), seed_set, repr(SETTINGS), _source_key())
        profiles: dict[tuple[str, ...], Profile] = _cached(key, dict)
        known_before = len(profiles)
        for event in run_backtest(past, recording(columns), SETTINGS, GRID, profiles=profiles):
            events[event.series].append(event)
        if len(profiles) > known_before:
            _store(key, profiles)
    return Cell(rate, streams, events)


@lru_cache(maxsize=100)
def _known(rate: float, seed: int, seed_set: int) -> tuple[Truth, np.ndarray]:
    truth, past = _history(rate, seed, seed_set)
    return truth, minutes_of(past, 0, HISTORY)[0]


@lru_cache(maxsize=1)
def _past(rate: float, seeds: tuple[int, ...], seed_set: int) -> Recording:
    return recording([_history(rate, seed, seed_set)[1] for seed in seeds])


def minutes_of(one: Columns, first: int, minutes: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean log duration and count by minute over all groups."""
    at = one.minute - first
    count = np.bincount(at, one.n, minlength=minutes)
    total = np.bincount(at, one.sum_log, minlength=minutes)
    with np.errstate(invalid="ignore"):
        return total / count, count


def parse_cells(text: str) -> dict[float, list[str]]:
    """``100:up1.1,100:null,1000:clock`` as labels by traffic level.

    Raises:
        ValueError: a label is not a case.
    """
    out: dict[float, list[str]] = {}
    for item in text.split(","):
        rate, _, label = item.partition(":")
        if label not in CASES and label != "null":
            raise ValueError(f"case {label!r} is none of null, {', '.join(CASES)}")
        out.setdefault(float(rate), []).append(label)
    return out


def _number(label: str) -> int:
    return int.from_bytes(hashlib.sha256(label.encode()).digest()[:4], "big")


def _history(rate: float, seed: int, seed_set: int) -> tuple[Truth, Columns]:
    def make() -> tuple[Truth, Columns]:
        rng = np.random.default_rng([seed, int(rate), seed_set])
        # failures of one in a thousand and one in a hundred take turns
        truth = draw_truth(rng, rate, failure=0.01 if seed % 2 else 0.001)
        return truth, simulate(truth, int(rng.integers(1 << 40)), f"T{seed}", 0, HISTORY)

    return _cached(_key("history", rate, seed, seed_set, _simulator_key()), make)


def _stream(
    truth: Truth, rate: float, seed: int, seed_set: int, label: str, repeat: int, *, short: bool
) -> tuple[Case, int, Columns]:
    def make() -> tuple[Case, int, Columns]:
        rng = np.random.default_rng([seed, int(rate), seed_set, _number(label), repeat])
        name = f"{label}.{repeat}.{seed}@T{seed}"
        if label == "null":
            case, first, size = Case(), HISTORY + 7 * DAY * repeat, 7 * DAY
        else:
            case, first = CASES[label](rng), HISTORY + DAY * int(rng.integers(0, 7))
            if short and case.change > _WARM_UP:
                first += case.change - _WARM_UP
                case = replace(case, change=_WARM_UP)
            size = case.change + _minutes_after(label, case, rate, short=short)
        return case, first, simulate(truth, int(rng.integers(1 << 40)), name, first, size, case)

    return _cached(_key("stream", rate, seed, seed_set, label, repeat, short, _simulator_key()), make)


def _minutes_after(label: str, case: Case, rate: float, *, short: bool) -> int:
    """How long a stream goes on after the change: a day, but for what is found within hours or takes days."""
    if case.kind == "creep":
        return 5 * int(case.options["every"]) + DAY
    if case.kind == "spikes":
        return SPIKES * int(case.options["every"])
    return _HOURS.get(label, 24) * 60 if short and rate >= 100 else DAY


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def _simulator_key() -> str:
    return hashlib.sha256((Path(__file__).parent / "simulator.py").read_bytes()).hexdigest()


def _source_key() -> str:
    digest = hashlib.sha256(_simulator_key().encode())
    for folder in ("baseline", "detection"):
        for path in sorted((_SOURCES / "metrics" / folder).glob("*.py")):
            if path.name not in _NOT_LEARNT and not path.name.startswith("follow"):
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _cached(key: str, make: Callable[[], Any]) -> Any:
    path = CACHE / key
    if path.exists():
        return pickle.loads(path.read_bytes())
    value = make()
    _store(key, value)
    return value


def _store(key: str, value: object) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    temporary = CACHE / f"{key}.new"
    temporary.write_bytes(pickle.dumps(value, protocol=5))
    temporary.rename(CACHE / key)
