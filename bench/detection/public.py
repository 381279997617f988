"""The detector on public labelled series: what it finds of what people marked, and what it says besides.

    git clone https://github.com/numenta/NAB
    git clone https://github.com/microsoft/cloud-monitoring-dataset
    python bench/detection/public.py NAB cloud-monitoring-dataset

A value of such a series is one observation a window, without a histogram: much less than cxgauge is made for. The first
two fifths of a series are its history (at least two days; what is marked there is left out), the rest is judged. An
event counts for a mark if it comes while the mark lasts or an hour after; both directions count. Peers (z-score by hour
of week, median and MAD of a day) get, with hindsight, the most sensitive threshold that gives no more false alarms than
cxgauge over all series of the collection. Series of fewer than 500 windows or with values that are not positive are
left out and counted.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from cxgauge.metrics.baseline.baseline import learn
from cxgauge.metrics.detection.detector import Detector
from cxgauge.metrics.detection.input import BucketGrid, Fleet, Measurements
from cxgauge.metrics.detection.settings import DetectionSettings
from cxgauge.metrics.deviation import DeviationKind
from cxgauge.metrics.observation import SeriesKey

Spans = list[tuple[float, float]]
Alarms = Callable[["Series", float], np.ndarray]
_FEWEST = 500
_GRACE_SECONDS = 3600.0
_EDGES = [2.5, 3, 3.5, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 50, 100, 1000]


@dataclass(frozen=True)
class Series:
    """A series on its own grid of windows; values are logarithms, NaN where there is none."""

    name: str
    window: float
    start: np.ndarray
    value: np.ndarray
    marks: Spans
    history: int  # windows

    @property
    def months(self) -> float:
        """Length of what is judged."""
        return (len(self.value) - self.history) * self.window / (30 * 86_400)


def read_nab(folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray, Spans]]:
    """Series of the Numenta Anomaly Benchmark measured on real systems; the artificial ones are left out."""
    labels = json.loads((folder / "labels/combined_windows.json").read_text())
    for name, spans in sorted(labels.items()):
        if name.startswith("real"):
            with (folder / "data" / name).open() as file:
                rows = [(_seconds(row["timestamp"]), float(row["value"])) for row in csv.DictReader(file)]
            times, values = (np.array(column) for column in zip(*rows, strict=True))
            yield name, times, values, [(_seconds(low), _seconds(high)) for low, high in spans]


def read_microsoft(folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray, Spans]]:
    """Series of Microsoft's cloud monitoring dataset: marked windows next to each other are one mark."""
    for path in sorted((folder / "data").glob("*/*.csv")):
        with path.open(encoding="utf-8-sig") as file:
            rows = [
                (_seconds(row["TimeStamp"]), float(row["Value"] or "nan"), row["Label"].strip() in ("1", "1.0"))
                for row in csv.DictReader(file)
            ]
        times, values, marked = (np.array(column) for column in zip(*rows, strict=True))
        spans: Spans = []
        step = float(np.median(np.diff(times)))
        for moment in times[marked]:
            if spans and moment - spans[-1][1] <= 3 * step:
                spans[-1] = (spans[-1][0], float(moment))
            else:
                spans.append((float(moment), float(moment)))
        yield f"{path.parent.name}/{path.name}", times, values, spans


def on_grid(name: str, times: np.ndarray, values: np.ndarray, marks: Spans) -> Series | None:
    """The series in windows of its usual spacing; ``None`` if it is too short or not positive."""
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    window = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    usual = float(np.nanmedian(values)) if len(values) else 0.0
    if len(times) < _FEWEST or window <= 0 or usual <= 0 or np.nanmin(values) < 0:
        return None
    number = np.rint((times - times[0]) / window).astype(np.int64)
    grid = np.full(int(number[-1]) + 1, np.nan)
    grid[number] = np.log(values + 0.01 * usual)
    history = max(int(0.4 * len(grid)), int(np.ceil(2 * 86_400 / window)))
    if history > 0.8 * len(grid):
        return None
    return Series(name, window, times[0] + window * np.arange(len(grid)), grid, marks, history)


def cxgauge(series: Series, _: float) -> np.ndarray:
    """Times at which the detector reports a shift up or down."""
    settings = DetectionSettings(window_seconds=series.window, false_alarms_per_series_month=1.0)
    fleet = Fleet.build([SeriesKey("public", "series")], BucketGrid(-4.0, 0.125))
    past = measurements(series, 0, series.history)
    profile = learn(past, fleet, settings, excluded=[(low - 3600, high + 3600) for low, high in series.marks])
    detector, found = Detector(profile), list[float]()
    for start, rows in measurements(series, series.history, len(series.value)).windows():
        both = (DeviationKind.SLOWER, DeviationKind.FASTER)
        found += [start for deviation in detector.advance(start, rows) if deviation.kind in both]
    return np.array(found)


def measurements(series: Series, first: int, last: int) -> Measurements:
    """Windows of a series as the detector reads them."""
    rows = first + np.flatnonzero(np.isfinite(series.value[first:last]))
    one, nothing = np.ones(len(rows)), np.zeros((len(rows), 0))
    empty = np.zeros(0, dtype=np.int64)
    return Measurements(
        series.start[rows], np.zeros(len(rows), dtype=np.int64), one, series.value[rows], series.value[rows] ** 2,
        np.zeros(len(rows) + 1, dtype=np.int64), empty, np.zeros(0), nothing, nothing,
    )  # fmt: skip


def z_score(series: Series, edge: float) -> np.ndarray:
    """Times at which a value is ``edge`` deviations from the mean of its hour of the week (of the day if too few)."""
    hour = (series.start // 3600).astype(np.int64) % 168
    if series.history * series.window < 14 * 86_400:
        hour %= 24
    past, now = slice(0, series.history), slice(series.history, None)
    score = np.full(len(series.value) - series.history, np.nan)
    for each in np.unique(hour):
        known = series.value[past][hour[past] == each]
        known = known[np.isfinite(known)]
        if len(known) > 2:
            rows = hour[now] == each
            score[rows] = (series.value[now][rows] - known.mean()) / max(known.std(), 1e-6)
    return calm(series, np.abs(np.nan_to_num(score)) > edge)


def median_deviation(series: Series, edge: float) -> np.ndarray:
    """Times at which a value is ``edge`` robust deviations from the median of the day before."""
    return calm(series, _median_score(series) > edge)


@lru_cache(maxsize=256)
def _scores(value: bytes, history: int, day: int) -> np.ndarray:
    values = np.frombuffer(value)
    view = np.lib.stride_tricks.sliding_window_view(values, day)[history - day : -1]
    centre = np.median(view, axis=1)
    spread = 1.4826 * np.median(np.abs(view - centre[:, None]), axis=1)
    return np.asarray(np.abs(values[history:] - centre) / np.maximum(spread, 1e-6))


def _median_score(series: Series) -> np.ndarray:
    day = min(max(int(86_400 / series.window), 8), series.history)
    value = np.where(np.isfinite(series.value), series.value, np.nanmedian(series.value))
    return _scores(value.tobytes(), series.history, day)


def calm(series: Series, over: np.ndarray) -> np.ndarray:
    """Times at which a condition turns true; again only after an hour (four windows at least) of calm."""
    rest, found, last = max(3600.0, 4 * series.window), [], -np.inf
    for moment in series.start[series.history :][over]:
        if moment - last > rest:
            found.append(moment)
        last = moment
    return np.array(found)


def score(every: list[Series], found: list[np.ndarray]) -> tuple[int, int, int]:
    """Marks in what is judged, marks found, and alarms outside marks."""
    marks = hits = false = 0
    for series, alarms in zip(every, found, strict=True):
        outside = np.ones(len(alarms), dtype=bool)
        for low, high in series.marks:
            inside = (alarms >= low) & (alarms <= high + max(_GRACE_SECONDS, 4 * series.window))
            outside &= ~inside
            if low >= series.start[series.history]:
                marks += 1
                hits += bool(inside.any())
        false += int(outside.sum())
    return marks, hits, false


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    print("| collection | series (left out) | months judged | marks | detector | marks found | false alarms a month |")
    print("|---|---|---|---|---|---|---|")
    for folder in parser.parse_args().folders:
        nab = (folder / "labels").is_dir()
        read = list(read_nab(folder) if nab else read_microsoft(folder))
        every = [series for one in read if (series := on_grid(*one)) is not None]
        months = sum(series.months for series in every)
        own = [cxgauge(series, 0.0) for series in every]
        marks, hits, false = score(every, own)
        head = f"{folder.name} | {len(every)} ({len(read) - len(every)}) | {months:.1f} | {marks}"
        print(f"| {head} | **cxgauge** | {hits / max(marks, 1):.0%} | {false / months:.2f} |", flush=True)
        for name, detect in (("z-score by hour", z_score), ("median and MAD of a day", median_deviation)):
            for edge in _EDGES:
                theirs = score(every, [detect(series, edge) for series in every])
                if theirs[2] <= false:
                    break
            print(f"| | | | | {name}, tuned | {theirs[1] / max(marks, 1):.0%} | {theirs[2] / months:.2f} |", flush=True)


def _seconds(text: str) -> float:
    moment = dt.datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


if __name__ == "__main__":
    main()
