"""The search behind attribution: which dimension values changed differently from the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Gain", "Pairs", "name_values"]

Floats = NDArray[Any]  # float64
Pairs = tuple[tuple[str, str], ...]

Gain = Callable[[Floats, Floats], tuple[Floats, Floats]]
"""Given candidates ``[K, C]`` and the cells still open ``[C]`` (0 or 1): the squared standardised difference between
the effects inside and outside, and that difference, both ``[K]``."""

_FALSE_NAMING = 0.01  # chance that some value is named although all changed alike
_PAIRS_LIMIT = 4000
_NAMED_LIMIT = 3
_LEAST_EXCESS = 0.25  # of the whole change: a value is named when it changed this much more than the rest


def name_values(
    cells: Sequence[Mapping[str, str]], present: NDArray[np.bool_], gain: Gain, effect: float
) -> list[tuple[Pairs, NDArray[np.bool_]]]:
    """The values (or pairs) that carry a change of ``effect``, and their cells; empty when all changed alike."""
    candidates, member = _candidates(cells, present)
    if not candidates:
        return []
    threshold = NormalDist().inv_cdf(1 - _FALSE_NAMING / (2 * len(candidates))) ** 2
    single = np.array([len(candidate) == 1 for candidate in candidates])
    open_ = present.astype(np.float64)
    named: list[tuple[Pairs, NDArray[np.bool_]]] = []
    while len(named) < _NAMED_LIMIT and open_.sum() >= 2:
        found, difference = gain(member, open_)
        found = np.nan_to_num(found)
        wrong_way = np.nan_to_num(difference) * np.sign(effect) < _LEAST_EXCESS * abs(effect)
        found = np.where(wrong_way | (found < threshold), 0.0, found)
        # a pair must say clearly more than the best single value does
        best_single = float(found[single].max(initial=0.0))
        found = np.where(single, found, np.where(found > best_single + threshold, found, 0.0))
        best = int(found.argmax())
        if found[best] <= 0:
            break
        best = _narrowed(best, candidates, member, open_, gain, (threshold, effect))
        chosen = (member[best] > 0) & (open_ > 0)
        named.append((candidates[best], chosen))
        open_[chosen] = 0.0
    return named


def _narrowed(
    best: int, candidates: Sequence[Pairs], member: Floats, open_: Floats, gain: Gain, least: tuple[float, float]
) -> int:
    """The pair within a single value that carries the value's change, if the rest of the value changed otherwise.

    A value looks guilty when one of its pairs is; within the value alone the pair then stands out.
    """
    threshold, effect = least
    if len(candidates[best]) > 1:
        return best
    found, difference = gain(member, open_ * member[best])
    (value,) = candidates[best]
    pairs = np.array([len(each) > 1 and value in each for each in candidates])
    right_way = np.nan_to_num(difference) * np.sign(effect) >= _LEAST_EXCESS * abs(effect)
    found = np.where(pairs & right_way, np.nan_to_num(found), 0.0)
    narrower = int(found.argmax())
    return narrower if found[narrower] >= threshold else best


def _candidates(cells: Sequence[Mapping[str, str]], present: NDArray[np.bool_]) -> tuple[list[Pairs], Floats]:
    """Values and pairs of values that some but not all cells have; each set of cells once, by its shortest name."""
    values = sorted({(name, value) for cell in cells for name, value in cell.items()})
    has = np.array([[cell.get(name) == value for cell in cells] for name, value in values], dtype=np.bool_)
    seen: set[bytes] = set()
    candidates: list[Pairs] = []
    rows: list[NDArray[np.bool_]] = []

    def add(name: Pairs, member: NDArray[np.bool_]) -> None:
        inside = member & present
        if inside.any() and not inside[present].all() and inside.tobytes() not in seen:
            seen.add(inside.tobytes())
            candidates.append(name)
            rows.append(member)

    for index, value in enumerate(values):
        add((value,), has[index])
    for first, second in combinations(range(len(values)), 2):
        if len(candidates) >= _PAIRS_LIMIT:
            break
        if values[first][0] != values[second][0]:
            add((values[first], values[second]), has[first] & has[second])
    return candidates, np.array(rows, dtype=np.float64).reshape(len(rows), len(cells))
