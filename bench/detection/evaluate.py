"""How well the detector does on simulated series: false alarms, delays against the limit, must-not cases, intervals.

python bench/detection/evaluate.py --quick          # about a minute
nice python bench/detection/evaluate.py --seeds 8   # the figures of docs/reference/detection.md
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from simulator import DAY, LOW, WIDTH, Case, Truth, draw_truth, recording, simulate

from cxgauge.metrics.backtest.backtest import run_backtest
from cxgauge.metrics.detection.input import BucketGrid
from cxgauge.metrics.detection.settings import DetectionSettings

HISTORY = 28 * DAY
MONTH = 30 * DAY
PAGED = ("up", "tail", "fail")


def threshold(information: float, months: float = 1.0) -> float:
    """h with (e^h − h − 1)/D = γ (Lorden, Moustakides)."""
    low, high = 0.0, 60.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if (np.exp(middle) - middle - 1) / information < months * MONTH else (low, middle)
    return high


def limit(information: np.ndarray) -> float:
    """Minutes that the best rule needs from the change on, when each minute brings this much information."""
    mean = float(np.median(information))
    h = threshold(mean)
    target = np.exp(-h) + h - 1
    total = np.cumsum(information)
    if total[-1] < target:
        return float(len(information))
    index = int(np.searchsorted(total, target))
    before = total[index - 1] if index else 0.0
    return max(index + (target - before) / information[index], 1.0)


def shift_information(truth: Truth, rate: np.ndarray, effect: float) -> np.ndarray:
    """Nats a minute of a shift, with the common noise as part of the variance."""
    common = truth.noise**2 * (1 + truth.correlation) / (1 - truth.correlation)
    return effect**2 / 2 / (truth.deviation**2 / np.maximum(rate, 1e-3) + common)


def failure_information(truth: Truth, rate: np.ndarray, effect: float) -> np.ndarray:
    """Nats a minute of a change of the failure rate."""
    p0, p1 = truth.failure, truth.failure * np.exp(effect)
    return rate * (p1 * np.log(p1 / p0) + (1 - p1) * np.log((1 - p1) / (1 - p0)))


def cases(rng: np.random.Generator, repeats: int) -> list[Case]:
    """The cases of one series; every change at a random time of the first day."""
    out = []
    for _ in range(repeats):
        out += [Case("up", int(rng.integers(300, 1700)), float(np.log(ratio))) for ratio in (1.05, 1.1, 1.2, 1.5)]
        out += [Case("fail", int(rng.integers(300, 1700)), float(np.log(ratio))) for ratio in (1.5, 2.0, 3.0)]
        out.append(Case("part", int(rng.integers(300, 1700)), float(np.log(1.2)), int(rng.integers(0, 3))))
        out.append(Case("tail", int(rng.integers(300, 1700)), 0.3))
        out.append(Case("ramp", int(rng.integers(300, 1700)), float(np.log(1.2))))
        out.append(Case("up", int(rng.integers(300, 1700)), float(np.log(0.9))))
        out += [Case("spike", int(rng.integers(300, 1700)), float(np.log(height))) for height in (1.5, 2.0, 3.0)]
        out.append(Case("drop", int(rng.integers(300, 1700)), float(np.log(0.4))))
        out.append(Case("burst", int(rng.integers(300, 1700))))
        out.append(Case("mix", int(rng.integers(300, 1700))))
        out.append(Case("dst", 120, options={"by": int(rng.choice([-60, 60]))}))
        out.append(Case("batch", 0, options={"by": int(rng.choice([-90, -60, 60, 90, 180]))}))
        out.append(Case("gap", int(rng.integers(300, 1700))))
        out.append(Case("pulse", int(rng.integers(300, 1000)), float(np.log(1.3))))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--null-days", type=int, default=28)
    parser.add_argument("--rates", default="10,100,1000")
    parser.add_argument("--base", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.repeats = 2, 1
    settings = DetectionSettings(false_alarms_per_series_month=1.0)
    for rate in [float(item) for item in options.rates.split(",")]:
        report(rate, options, settings)


def report(rate: float, options: argparse.Namespace, settings: DetectionSettings) -> None:
    """Simulate, run and print one traffic level."""
    clock = time.perf_counter()
    history, streams, facts = [], [], {}
    for seed in range(options.base, options.base + options.seeds):
        rng = np.random.default_rng([seed, int(rate)])
        truth = draw_truth(rng, rate)
        history.append(simulate(truth, int(rng.integers(1 << 40)), f"T{seed}", 0, HISTORY))
        null = simulate(truth, int(rng.integers(1 << 40)), f"null{seed}@T{seed}", HISTORY, options.null_days * DAY)
        streams.append(null)
        facts[null.name] = (truth, Case(), null.rate)
        for number, case in enumerate(cases(rng, options.repeats)):
            first = HISTORY + DAY * int(rng.integers(0, 7))
            name = f"{case.kind}{number}.{seed}@T{seed}"
            one = simulate(
                truth,
                int(rng.integers(1 << 40)),
                name,
                first,
                2 * DAY if case.kind in ("dst", "batch") else case.change + DAY,
                case,
            )
            streams.append(one)
            facts[name] = (truth, case, one.rate)
            if len(streams) % 50 == 0:
                print(".", end="", flush=True, file=sys.stderr)
    made = time.perf_counter()
    past, stream = recording(history), recording(streams)
    events = run_backtest(past, stream, settings, BucketGrid(LOW, WIDTH))
    done = time.perf_counter()
    by_series = defaultdict(list)
    first_of = {one.name: int(one.minute.min()) for one in streams}
    for event in events:
        by_series[event.series].append(event)
    months = options.seeds * options.null_days / 30
    null_events = [event for name in facts if name.startswith("null") for event in by_series[name]]
    kinds = {
        kind: sum(event.kind == kind for event in null_events)
        for kind in ("up", "tail", "fail", "down", "volume", "mix", "creep", "resolve")
    }
    paged = sum(kinds[kind] for kind in PAGED)
    print(f"\nn={rate:g}: {len(streams)} streams, simulated in {made - clock:.0f} s, judged in {done - made:.0f} s")
    print(f"  null {months:.1f} series-months: {paged / months:.2f} paged a month  {kinds}")
    table = defaultdict(list)
    for name, (truth, case, rates) in facts.items():
        if case.kind == "null":
            continue
        found = [event for event in by_series[name] if event.kind in PAGED]
        change = first_of[name] + case.change
        label = (
            case.kind
            if case.kind in ("part", "tail", "ramp", "drop", "burst", "mix", "dst", "batch", "gap", "pulse")
            else f"{case.kind} ×{np.exp(case.effect):.2f}"
        )
        table[label].append((truth, case, rates, change, found, by_series[name]))
    for label, rows in table.items():
        describe(label, rows)


def describe(label: str, rows: list[Any]) -> None:
    """Print one line on the cases of one kind."""
    kind = rows[0][1].kind
    silent = kind in ("spike", "drop", "burst", "mix", "dst", "batch", "gap")
    if silent:
        alarmed = np.mean([any(event.minute >= change for event in found) for _, _, _, change, found, _ in rows])
        others: dict[str, int] = defaultdict(int)
        for row in rows:
            for event in row[5]:
                if event.minute >= row[3]:
                    others[event.kind] += 1
        print(f"  {label:12s} alarmed {alarmed:5.0%} of {len(rows)}   events {dict(others)}")
        return
    wanted = ("down",) if rows[0][1].effect < 0 else PAGED
    delays, limits, covered, offsets, early = [], [], [], [], 0
    kinds: dict[str, int] = defaultdict(int)
    for truth, case, rates, change, _, every in rows:
        events = [event for event in every if event.kind in wanted]
        early += any(event.minute < change for event in events)
        after = [event for event in events if event.minute >= change]
        delays.append(after[0].minute - change + 1 if after else np.inf)
        information = failure_information if kind == "fail" else shift_information
        limits.append(limit(information(truth, rates[case.change :], case.effect)))
        if after:
            kinds[after[0].kind] += 1
            covered.append(after[0].low <= case.effect <= after[0].high)
            offsets.append(after[0].change_minute - change)
    middle, bound = float(np.median(delays)), float(np.median(limits))
    hour = np.mean(np.array(delays) <= 60)
    coverage, offset = np.mean(covered or [0]), np.median(np.abs(offsets or [0]))
    print(
        f"  {label:12s} median {middle:7.1f}  limit {bound:6.1f}  ratio {middle / bound:5.2f}  in an hour {hour:4.0%}  "
        f"covered {coverage:4.0%}  start off {offset:4.0f}  early {early}  {dict(kinds)}"
    )


if __name__ == "__main__":
    main()
