"""How fast the spool takes and gives batches, beside the disk's own sync.

    .venv/bin/python bench/spool.py [--rounds 9] [--directory DIR] [--format json]

Every round runs all cases one after the other; figures are medians over rounds. `bare` writes and syncs the same bytes
to one file, without framing, checksums or rotation: what the disk alone takes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cxgauge.collectors.spool import ResumePoint, SpoolReader, SpoolWriter
from cxgauge.metrics.observation import RECORD, ObservationBatch, SeriesKey

SERIES = tuple(SeriesKey("bill_inquiry", f"step_{number}", (("channel", "app"),)) for number in range(20))


def batch_of(count: int) -> ObservationBatch:
    """Observations of twenty series."""
    records = np.zeros(count, RECORD)
    records["duration_seconds"] = np.random.default_rng(1).lognormal(size=count)
    records["series"] = np.arange(count) % len(SERIES)
    return ObservationBatch(SERIES, records)


def bare(folder: Path, batch: ObservationBatch, times: int) -> None:
    """Write and sync the same bytes."""
    with (folder / "bare").open("wb", buffering=0) as file:
        data = batch.to_bytes()
        for _ in range(times):
            file.write(data)
            os.fdatasync(file.fileno())


def append(policy: str) -> Callable[[Path, ObservationBatch, int], None]:
    """Append batch by batch with a sync policy."""

    def run(folder: Path, batch: ObservationBatch, times: int) -> None:
        with SpoolWriter(folder / policy, sync=policy, minimum_free_bytes=0) as writer:  # type: ignore[arg-type]
            for _ in range(times):
                writer.append(batch)

    return run


def read(folder: Path, batch: ObservationBatch, times: int) -> None:
    """Read all of what the case `append, sync interval` left."""
    del batch, times
    reader = SpoolReader(folder / "interval")
    (source,) = reader.sources()
    chunk = reader.read(source, ResumePoint())
    while not chunk.finished:
        chunk = reader.read(source, chunk.next)


def measure(rounds: int, directory: Path | None) -> dict[str, float]:
    """Median observations a second by case and batch size."""
    cases: dict[str, Callable[[Path, ObservationBatch, int], None]] = {
        "bare write and sync": bare,
        "append, sync always": append("always"),
        "append, sync interval": append("interval"),
        "read": read,
    }
    found: dict[str, list[float]] = {}
    for size, times in ((1, 200), (100, 200), (512, 200), (10_000, 40)):
        batch = batch_of(size)
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(dir=directory) as folder:
                for name, case in cases.items():
                    started = time.perf_counter()
                    case(Path(folder), batch, times)
                    rate = size * times / (time.perf_counter() - started)
                    found.setdefault(f"{name}, {size} a batch", []).append(rate)
    return {name: statistics.median(rates) for name, rates in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--directory", type=Path, help="where to write; by default the folder of temporary files")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    given = parser.parse_args()
    found = measure(given.rounds, given.directory)
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    if given.format == "json":
        print(json.dumps({"machine": machine, "observations_per_second": found}, indent=1))
        return
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"{'case':40} {'observations/s':>15} {'× bare':>8}")
    for name, rate in found.items():
        peer = found["bare write and sync," + name.rpartition(",")[2]]
        print(f"{name:40} {rate:15,.0f} {rate / peer:8.2f}")


if __name__ == "__main__":
    main()
