"""Two releases in the same period, the older one weighted to the customers of the newer.

Customers who update early are not like the others, and a release that is rolled out is used at other times than the one
it replaces: what happened to the bank on Thursday would be put down to it. So the older release's observations are
weighted by cell (step, all other dimensions, span of time) to the newer's proportions: direct standardisation, as in
Kitagawa 1955, doi:10.1080/01621459.1955.10501299. Where a span has few observations of either release, the cell is that
of the other dimensions over all such spans. Cells that only one of the two has are left out of both. What no dimension
tells, such as the age of the phone, is not evened out.
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
_SPANS = 28  # of a period: six hours of a week
_SHORTEST_SPAN_SECONDS = 1_800
_FEWEST_IN_SPAN = 5


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
    of_row = [version.get(int(number), "") for number in customers.series]
    is_newer, is_older = (np.array([one == wanted for one in of_row], dtype=bool) for wanted in (newer, older))
    observations = customers.observations.astype(np.float64)
    cell = _cells_by_time(customers, keys, dimension or "", [observations * side for side in (is_newer, is_older)])
    size = int(cell.max(initial=-1)) + 1
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


def _cells_by_time(
    rollup: Rollup, keys: Mapping[int, SeriesKey], dimension: str, observations: list[NDArray[np.float64]]
) -> NDArray[np.int64]:
    """The cell of each row: step, other dimensions and span of time, if either release has enough in that span."""
    if not len(rollup):
        return np.zeros(0, dtype=np.int64)
    cells = _cells(keys, dimension)
    plain = np.array([cells[int(number)] for number in rollup.series], dtype=np.int64)
    first, last = int(rollup.window_start.min()), int(rollup.window_start.max()) + rollup.window_seconds
    seconds = max(_SHORTEST_SPAN_SECONDS, -(-(last - first) // _SPANS), rollup.window_seconds)
    span = (rollup.window_start - first) // seconds
    spans = int(span.max()) + 1
    within = plain * spans + span
    size = len(cells) * spans
    enough = np.ones(size, dtype=bool)
    for counts in observations:
        enough &= np.bincount(within, weights=counts, minlength=size) >= _FEWEST_IN_SPAN
    return np.where(enough[within], len(cells) + within, plain)


def _cells(keys: Mapping[int, SeriesKey], dimension: str) -> dict[int, int]:
    """A number for each combination of step and other dimensions, by series."""
    numbers: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
    result = {}
    for series, key in keys.items():
        others = tuple(sorted((name, value) for name, value in key.dimensions if name != dimension))
        result[series] = numbers.setdefault((key.step, others), len(numbers))
    return result
