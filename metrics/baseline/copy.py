"""A profile laid out anew: each stream gets the baseline of the history series it is judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np

from ..detection.channels import ChannelMap
from ..detection.input import Channel, Fleet
from ..detection.special_days import SpecialDays
from ..deviation import Scope
from ..observation import SeriesKey
from .budget import TAILS
from .profile import Profile

__all__ = ["copy_profile"]


def copy_profile(
    profile: Profile, teachers: list[str], key: Callable[[str, str], SeriesKey], other: str
) -> tuple[Profile, Callable[[int, str], int]]:
    """Copy the parts of ``profile`` that belong to each teacher, one copy a stream.

    Args:
        profile: Learnt on flows named like the teachers; cells have one dimension, their group.
        teachers: The flow each stream is judged by; the copies' flows are "0", "1", ….
        key: Makes the key of a cell from flow and group.
        other: The group that takes observations of unknown groups.

    Returns:
        The copy, and a function from stream number and group name to cell.
    """
    fleet = profile.fleet
    cells_of: dict[str, list[int]] = {}
    scopes_of: dict[str, list[int]] = {}
    for index, cell in enumerate(fleet.cells):
        cells_of.setdefault(cell.flow, []).append(index)
    for index, scope in enumerate(fleet.scopes):
        scopes_of.setdefault(scope.flow, []).append(index)
    cell_from = [index for teacher in teachers for index in cells_of[teacher]]
    scope_from = [index for teacher in teachers for index in scopes_of[teacher]]
    cells: list[SeriesKey] = []
    scopes: list[Scope] = []
    members: list[Any] = []
    parent: list[int] = []
    where: dict[tuple[int, str], int] = {}
    for stream, teacher in enumerate(teachers):
        new_cell = {old: len(cells) + offset for offset, old in enumerate(cells_of[teacher])}
        new_scope = {old: len(scopes) + offset for offset, old in enumerate(scopes_of[teacher])}
        for old in cells_of[teacher]:
            group = fleet.cells[old].dimensions[0][1]
            where[stream, group] = len(cells)
            cells.append(key(str(stream), group))
        for old in scopes_of[teacher]:
            scopes.append(Scope(str(stream), fleet.scopes[old].step, fleet.scopes[old].dimensions))
            members.append(np.array([new_cell[int(cell)] for cell in fleet.members[old]], dtype=np.int64))
            parent.append(new_scope.get(int(fleet.parent[old]), -1))
    channels = tuple(
        Channel(index, None, tuple((int(cell), 0) for cell in inside)) for index, inside in enumerate(members)
    )
    family = np.array([int(cell.flow) for cell in cells], dtype=np.int64)
    copy = Fleet(tuple(cells), family, tuple(scopes), tuple(members), np.array(parent), channels, fleet.grid)
    result = _select(profile, copy, np.array(cell_from), np.array(scope_from))
    return result, lambda stream, group: where.get((stream, group), where[stream, other])


def _select(profile: Profile, fleet: Fleet, cell_from: Any, scope_from: Any) -> Profile:
    scopes = len(profile.fleet.scopes)
    quantities = np.concatenate([scope_from + offset * scopes for offset in range(3)])
    tails = (scope_from[:, None] * len(TAILS) + np.arange(len(TAILS))).ravel()
    tests = np.concatenate([tails, scopes * len(TAILS) + scope_from])
    pairs = ChannelMap.of(profile.fleet).pairs
    old_pair = {(int(cell), int(column)): index for index, (cell, column) in enumerate(pairs)}
    new_pairs = ChannelMap.of(fleet).pairs
    pair_from = np.array([old_pair[int(cell_from[cell]), int(column)] for cell, column in new_pairs], dtype=np.int64)

    def part(value: Any, which: Any) -> Any:
        return type(value)(
            **{
                item.name: getattr(value, item.name).take(which)
                if item.name == "noise"
                else getattr(value, item.name)
                if item.name == "ratios"
                else getattr(value, item.name)[..., which]
                for item in fields(value)
            }
        )

    by_cell = {name: getattr(profile, name)[cell_from] for name in ("scale", "slope", "spread", "known", "traffic")}
    by_cell |= {name: getattr(profile, name)[cell_from] for name in ("tail_edge", "tail_rate")}
    return replace(
        profile,
        fleet=fleet,
        season=part(profile.season, cell_from),
        volume=part(profile.volume, scope_from),
        mix=part(profile.mix, scope_from),
        shift=part(profile.shift, quantities),
        count=part(profile.count, tests),
        tail_slope=profile.tail_slope[scope_from],
        pair_rate=profile.pair_rate[pair_from],
        reasons=tuple(profile.reasons[index] for index in scope_from),
        history_seconds=profile.history_seconds[scope_from],
        special=SpecialDays.none(len(fleet.cells), len(fleet.scopes)),
        **by_cell,
    )
