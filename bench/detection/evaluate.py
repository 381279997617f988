"""Every kind of change, and what must not alarm: delays, coverage of intervals, error of the start.

    python bench/detection/evaluate.py --seeds 2 --repeats 1     # a quick look
    nice python bench/detection/evaluate.py                      # the table of docs/reference/detection.md

Creep is a change of 3 % a day on five days; its delay counts from the first step. A tail is 2 % of the observations
becoming much slower; a part is one of three sub-populations.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from cells import CASES, PAGED, Cell, Stream, parse_cells, run_cell
from limits import failure_information, limit, shift_information

CHANGES = (
    *("up1.05", "up1.1", "up1.2", "up1.5", "up0.9", "up0.8", "ramp", "pulse", "part1.2", "part1.5", "tail", "creep"),
    *("fail1.5", "fail2", "fail3", "fail10", "silence"),
)
_HEAD = (
    "| change | cases | limit (minutes) | median delay | of the limit | in an hour | in a day "
    "| interval holds the effect | start off by (minutes) |\n|---|---|---|---|---|---|---|---|---|"
)
QUIET = ("spike1.2", "spike1.5", "spike", "spike3", "drop", "burst", "mix", "clock", "job", "gap")
_KINDS = {"creep": (*PAGED, "creep"), "up0.9": ("down",), "up0.8": ("down",), "silence": ("volume",)}
_LEFT_OUT = (("fail1.5", 0.001), ("fail10", 0.01))
_NAMES = {"up1.05": "×1.05", "up1.1": "×1.1", "up1.2": "×1.2", "up1.5": "×1.5", "up0.9": "×0.9 (reported)",
          "up0.8": "×0.8 (reported)", "ramp": "ramp to ×1.2 in two hours", "pulse": "×1.3 for six hours",
          "part1.2": "one part ×1.2", "part1.5": "one part ×1.5", "tail": "slowest 2 % much slower",
          "creep": "creep, 3 % a day", "silence": "silent"}  # fmt: skip


def groups(cell: Cell, label: str) -> list[tuple[str, list[Stream]]]:
    """The streams of a case under the names of the table; failures by their usual rate."""
    streams = cell.of(label)
    if not label.startswith("fail"):
        return [(_NAMES.get(label, label), streams)]
    rates = sorted({stream.truth.failure for stream in streams})
    every = [[stream for stream in streams if stream.truth.failure == rate] for rate in rates]
    wanted = [some for some in every if (label, some[0].truth.failure) not in _LEFT_OUT]
    return [(_failures(some), some) for some in wanted]


def _failures(streams: list[Stream]) -> str:
    before = streams[0].truth.failure
    return f"failures {100 * before:g} → {100 * before * float(np.exp(streams[0].case.effect)):.2g} %"


def describe(cell: Cell, label: str, name: str, streams: list[Stream]) -> str:
    """One row on a kind of change."""
    kinds = _KINDS.get(label, PAGED)
    delays, limits, covered, starts = [], [], [], []
    for stream in streams:
        change = stream.case.change
        after = [e for e in cell.events[stream.name] if e.kind in kinds and e.minute - stream.first >= change]
        delays.append(after[0].minute - stream.first - change + 1 if after else np.inf)
        if stream.case.kind in ("up", "fail"):
            information = failure_information if stream.case.kind == "fail" else shift_information
            limits.append(limit(information(stream.truth, stream.rate[change:], stream.case.effect)))
            covered += [after[0].low <= stream.case.effect <= after[0].high] if after else []
        starts += [abs(after[0].change_minute - stream.first - change)] if after else []
    times, middle = np.array(delays), float(np.median(delays))
    bound = float(np.median(limits)) if limits else np.nan
    figures = [
        str(len(streams)),
        f"{bound:.0f}" if limits else "",
        f"{middle:.0f}" if np.isfinite(middle) else "never",
        f"{middle / bound:.1f}" if limits and np.isfinite(middle) else "",
        f"{np.mean(times <= 60):.0%}",
        f"{np.mean(times <= 1440):.0%}" if label != "creep" else f"{np.mean(np.isfinite(times)):.0%} in six days",
        f"{np.mean(covered):.0%}" if covered else "",
        f"{np.median(starts):.0f}" if starts else "",
    ]
    return f"| {name} | {' | '.join(figures)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="10,100,1000")
    parser.add_argument("--cells", default="", help="only these, such as 100:tail,100:creep")
    parser.add_argument("--set", type=int, default=2, dest="seed_set")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    wanted = parse_cells(options.cells) if options.cells else {}
    wanted = wanted or {float(rate): [*CHANGES, *QUIET] for rate in options.rates.split(",")}
    for rate, labels in wanted.items():
        clock = time.perf_counter()
        cell = run_cell(rate, range(options.seeds), labels, options.repeats, options.seed_set)
        print(f"### {rate:g} observations a minute\n")
        print(_HEAD)
        for label in [label for label in labels if label in CASES and label not in QUIET]:
            for name, streams in groups(cell, label):
                print(describe(cell, label, name, streams))
        print("\n| must not alarm | cases | alarmed |\n|---|---|---|")
        for label in [label for label in labels if label in QUIET]:
            hits = [bool(any(cell.alarms(stream) >= stream.case.change)) for stream in cell.of(label)]
            print(f"| {label} | {len(hits)} | {np.mean(hits):.0%} |")
        print(f"\n{time.perf_counter() - clock:.0f} s\n", flush=True)


if __name__ == "__main__":
    main()
