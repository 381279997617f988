"""Every kind of change, and what must not alarm: delays, coverage of intervals, error of the start.

    python bench/detection/evaluate.py --seeds 2 --repeats 1 --more 1 --set 1    # a quick look
    nice python bench/detection/evaluate.py                      # the table of docs/reference/detection.md

Creep is a change of 3 % a day on five days; its delay counts from the first step. A tail is 2 % of the observations
becoming much slower; a part is one of three sub-populations.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from cells import PAGED, SPIKES, Cell, Stream, parse_cells, run_cell
from limits import failure_information, limit, shift_information

CHANGES = (
    *("up1.05", "up1.1", "up1.2", "up1.5", "up0.9", "up0.8", "ramp", "pulse", "part1.2", "part1.5", "tail", "creep"),
    *("fail1.5", "fail2", "fail3", "fail10", "silence"),
)
_HEAD = (
    "| change | cases | limit (minutes) | median delay | of the limit | in an hour | in a day "
    "| interval holds the effect | its median width | start off by (minutes) |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)
_SPIKES = (
    *("spikes1.2", "spikes1.3", "spikes1.5", "spikes2", "spikes3", "spikes5", "spikes10", "spikes3x1", "spikes3x2"),
    *("spikespart", "timeouts5", "timeouts30"),
)
QUIET = (*_SPIKES, "drop", "burst", "mix", "clock", "job", "gap")
_INTERVALS = ("up", "fail")  # beginnings of cases of which more are needed, since coverage is looked at
_AT_ONCE = 450  # streams
_AFTER = 45  # minutes from the start of a spike in which an alarm counts as the spike's
_KINDS = {
    **dict.fromkeys(("creep", "creep2", "creepweek"), (*PAGED, "creep")),
    **dict.fromkeys(("up0.9", "up0.8"), ("down",)),
    "silence": ("volume",),
}
_LEFT_OUT = (("fail1.5", 0.001), ("fail10", 0.01))
_NAMES = {"up1.05": "×1.05", "up1.1": "×1.1", "up1.2": "×1.2", "up1.5": "×1.5", "up0.9": "×0.9 (reported)",
          "up0.8": "×0.8 (reported)", "ramp": "ramp to ×1.2 in two hours", "pulse": "×1.3 for six hours",
          "part1.2": "one part ×1.2", "part1.5": "one part ×1.5", "tail": "slowest 2 % much slower",
          "creep": "creep, 3 % a day", "creep2": "creep, 2 % a day", "creepweek": "creep, 3 % a week",
          "silence": "silent", "spikespart": "one part ×3 for three minutes", "spikes3x1": "×3 for one minute",
          "spikes3x2": "×3 for two minutes", "timeouts5": "5 % time-outs and failures for three minutes",
          "timeouts30": "30 % time-outs and failures for three minutes", "drop": "traffic down to 40 %",
          "burst": "four times the traffic for an hour", "mix": "change of mix", "clock": "clocks an hour off",
          "job": "job at another time", "gap": "45 minutes without data"}  # fmt: skip


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
    delays, limits, covered, widths, starts = [], [], [], [], []
    for stream in streams:
        change = stream.case.change
        after = [e for e in cell.events[stream.name] if e.kind in kinds and e.minute - stream.first >= change]
        delays.append(after[0].minute - stream.first - change + 1 if after else np.inf)
        if stream.case.kind in ("up", "fail"):
            information = failure_information if stream.case.kind == "fail" else shift_information
            limits.append(limit(information(stream.truth, stream.rate[change:], stream.case.effect)))
            covered += [after[0].low <= stream.case.effect <= after[0].high] if after else []
            widths += [after[0].high - after[0].low] if after else []
        starts += [abs(after[0].change_minute - stream.first - change)] if after else []
    times, middle = np.array(delays), float(np.median(delays))
    bound = float(np.median(limits)) if limits else np.nan
    figures = [
        str(len(streams)),
        f"{bound:.0f}" if limits else "",
        f"{middle:.0f}" if np.isfinite(middle) else "never",
        f"{middle / bound:.1f}" if limits and np.isfinite(middle) else "",
        f"{np.mean(times <= 60):.0%}",
        f"{np.mean(times <= 1440):.0%}" if not label.startswith("creep") else f"{np.mean(np.isfinite(times)):.0%} ever",
        f"{np.mean(covered):.0%}" if covered else "",
        f"{np.median(widths):.2f}" if widths else "",
        f"{np.median(starts):.0f}" if starts else "",
    ]
    return f"| {name} | {' | '.join(figures)} |"


def quiet(cell: Cell, label: str) -> str:
    """One row on what must not alarm: any alarm in the day after it, of spikes in the minutes after each."""
    hits = []
    for stream in cell.of(label):
        alarms = cell.alarms(stream)
        if stream.case.kind != "spikes":
            hits.append(bool(any(alarms >= stream.case.change)))
            continue
        for number in range(SPIKES if stream.case.effect else 1):  # failures of one spike are evidence at the next
            begin = stream.case.change + number * int(stream.case.options["every"])
            hits.append(bool(any((alarms >= begin) & (alarms < begin + _AFTER))))
    name = _NAMES.get(label) or label.replace("spikes", "×") + " for three minutes"
    return f"| {name} | {len(hits)} | {np.mean(hits):.1%} |"


def _share(label: str, more: int) -> int:
    """How many times as many streams as usual: failures of one in a hundred and one in a thousand take turns."""
    return more * (2 if label.startswith("fail") else 1) if label.startswith(_INTERVALS) else 1


def _portions(labels: list[str], repeats: dict[str, int], seeds: int) -> Iterator[list[str]]:
    """Labels that are run together: as many streams as fit into some gigabytes."""
    portion: list[str] = []
    for label in labels:
        if portion and seeds * sum(repeats[each] for each in [*portion, label]) > _AT_ONCE:
            yield portion
            portion = []
        portion.append(label)
    if portion:
        yield portion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="10,100,1000")
    parser.add_argument("--cells", default="", help="only these, such as 100:tail,100:creep")
    parser.add_argument("--set", type=int, default=3, dest="seed_set")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3, help="streams a case and seed")
    parser.add_argument("--more", type=int, default=3, help="times as many where intervals are looked at")
    options = parser.parse_args()
    wanted = parse_cells(options.cells) if options.cells else {}
    wanted = wanted or {float(rate): [*CHANGES, *QUIET] for rate in options.rates.split(",")}
    for rate, labels in wanted.items():
        clock = time.perf_counter()
        print(f"### {rate:g} observations a minute\n\n{_HEAD}", flush=True)
        repeats = {label: options.repeats * _share(label, options.more) for label in labels}
        for rows in ([each for each in labels if each not in QUIET], [each for each in labels if each in QUIET]):
            if rows and rows[0] in QUIET:
                print("\n| must not alarm | cases | alarmed |\n|---|---|---|")
            for some in _portions(rows, repeats, options.seeds):
                cell = run_cell(rate, range(options.seeds), some, repeats, options.seed_set, short=True)
                for label in some:
                    if label in QUIET:
                        print(quiet(cell, label), flush=True)
                        continue
                    for name, streams in groups(cell, label):
                        print(describe(cell, label, name, streams), flush=True)
        print(f"\n{time.perf_counter() - clock:.0f} s\n", flush=True)


if __name__ == "__main__":
    main()
