"""Two releases in the same period, the older one weighted to the customers of the newer.

Customers who update early are not like the others, so the older release's observations are weighted by cell (step and
all other dimensions) to the newer's proportions: direct standardisation, as in Kitagawa 1955,
doi:10.1080/01621459.1955.10501299. Cells that only one of the two has are left out of both. What no dimension tells,
such as the age of the phone, is not evened out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..metrics.observation import SeriesKey
from ..metrics.rollup import Origin, Rollup

__all__ = ["RELEASE", "VERSION_DIMENSIONS", "ReleaseSplit", "releases_of", "split_releases"]

RELEASE = "release:"
VERSION_DIMENSIONS = ("app_version", "version", "release")
_SEEN_LISTED = 10


@dataclass(frozen=True, slots=True)
class ReleaseSplit:
    """Rows of the newer and of the older release; ``weights`` are of the older's rows.

    ``left_out`` is the share of the newer release's observations in cells that the older does not have.
    """

    newer: Rollup
    older: Rollup
    weights: NDArray[np.float64]
    left_out: float


def releases_of(kind: str) -> tuple[str, str]:
    """The older and the newer release of ``release:8.1.0..8.2.0``.

    Raises:
        ValueError: it is not written so.
    """
    older, separator, newer = kind.removeprefix(RELEASE).partition("..")
    if not separator or not older or not newer or older == newer:
        raise ValueError(f"--compare {kind!r} names no two releases; write e.g. release:8.1.0..8.2.0")
    return older, newer


def split_releases(rollup: Rollup, keys: Mapping[int, SeriesKey], kind: str) -> ReleaseSplit:
    """Split the rows of a period by release.

    Raises:
        ValueError: the flow has no dimension of versions, or one of the releases was not seen.
    """
    older, newer = releases_of(kind)
    names = {name for key in keys.values() for name, _ in key.dimensions}
    dimension = next((name for name in VERSION_DIMENSIONS if name in names), None)
    if dimension is None and keys:
        raise ValueError(f"releases are told by a dimension {' or '.join(VERSION_DIMENSIONS)}, and the flow has none")
    version = {number: dict(key.dimensions).get(dimension or "", "") for number, key in keys.items()}
    seen = sorted(set(version.values()))
    for release in (older, newer):
        if keys and release not in seen:
            listed = ", ".join(seen[:_SEEN_LISTED])
            raise ValueError(f"release {release!r} was not seen in this period; seen were {listed}")
    customers = rollup.select(rollup.origin != Origin.PROBE)
    cells = _cells(keys, dimension or "")
    cell = np.array([cells.get(int(number), -1) for number in customers.series], dtype=np.int64)
    of_row = [version.get(int(number), "") for number in customers.series]
    is_newer, is_older = (np.array([one == wanted for one in of_row], dtype=bool) for wanted in (newer, older))
    size = max(cells.values(), default=-1) + 1
    observations = customers.observations.astype(np.float64)
    counts = [np.bincount(cell[rows], weights=observations[rows], minlength=size) for rows in (is_newer, is_older)]
    shared = (counts[0] > 0) & (counts[1] > 0)
    weight = np.divide(counts[0], counts[1], out=np.zeros(size), where=shared)
    kept = shared[cell] if size else np.zeros(0, dtype=bool)
    total = float(counts[0].sum())
    return ReleaseSplit(
        customers.select(is_newer & kept),
        customers.select(is_older & kept),
        weight[cell[is_older & kept]],
        1 - float(counts[0][shared].sum()) / total if total else 0.0,
    )


def _cells(keys: Mapping[int, SeriesKey], dimension: str) -> dict[int, int]:
    """A number for each combination of step and other dimensions, by series."""
    numbers: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
    result = {}
    for series, key in keys.items():
        others = tuple(sorted((name, value) for name, value in key.dimensions if name != dimension))
        result[series] = numbers.setdefault((key.step, others), len(numbers))
    return result
