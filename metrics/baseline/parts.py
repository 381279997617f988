"""Parts of a fleet that can be learnt one after the other, and the profile of the whole put together from theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.channels import ChannelMap
from ..detection.input import Channel, Fleet
from ..detection.shift import Noise
from ..detection.special_days import SpecialDays
from .budget import TAILS
from .count import CountTest
from .profile import Profile
from .season import Season
from .shift import ShiftTest

__all__ = ["FleetPart", "divide", "join", "put_together"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64


@dataclass(frozen=True, slots=True)
class FleetPart:
    """Some cells of a fleet and all scopes over them, as a fleet of its own, and their places in the whole."""

    fleet: Fleet
    cells: Integers
    scopes: Integers
    channels: Integers


def divide(fleet: Fleet, cells: int) -> list[FleetPart]:
    """Parts of about so many cells; the cells of a flow stay together, for scopes and priors are theirs."""
    flows = np.unique([key.flow for key in fleet.cells], return_inverse=True)[1].ravel()
    number = np.bincount(flows)
    part_of_flow = np.zeros(len(number), dtype=np.int64)
    part, size = 0, 0
    for flow in range(len(number)):
        if size and size + number[flow] > cells:
            part, size = part + 1, 0
        part_of_flow[flow] = part
        size += int(number[flow])
    part_of_cell = part_of_flow[flows]
    first = np.array([inside[0] for inside in fleet.members], dtype=np.int64)
    part_of_scope = part_of_cell[first]
    part_of_channel = part_of_scope[np.array([channel.scope for channel in fleet.channels], dtype=np.int64)]
    return [
        _part(fleet, *(np.flatnonzero(each == index) for each in (part_of_cell, part_of_scope, part_of_channel)))
        for index in range(part + 1)
    ]


def _part(fleet: Fleet, cells: Integers, scopes: Integers, channels: Integers) -> FleetPart:
    if len(cells) == len(fleet.cells):
        return FleetPart(fleet, cells, scopes, channels)
    cell_place, scope_place = np.full(len(fleet.cells), -1), np.full(len(fleet.scopes), -1)
    cell_place[cells], scope_place[scopes] = np.arange(len(cells)), np.arange(len(scopes))
    parent = fleet.parent[scopes]
    own = Fleet(
        tuple(fleet.cells[cell] for cell in cells),
        np.unique(fleet.family[cells], return_inverse=True)[1].ravel(),
        tuple(fleet.scopes[scope] for scope in scopes),
        tuple(cell_place[fleet.members[scope]] for scope in scopes),
        np.where(parent >= 0, scope_place[parent], -1),
        tuple(
            Channel(
                int(scope_place[fleet.channels[each].scope]),
                fleet.channels[each].check,
                tuple((int(cell_place[cell]), column) for cell, column in fleet.channels[each].pairs),
            )
            for each in channels
        ),
        fleet.grid,
    )
    return FleetPart(own, cells, scopes, channels)


def put_together(profiles: Sequence[Profile], parts: Sequence[FleetPart], fleet: Fleet) -> Profile:
    """The profile of a fleet from those of its parts.

    Args:
        profiles: What was learnt of each part, with the same settings over the same time.
        parts: All parts of the fleet.
        fleet: The fleet.
    """
    if len(profiles) == 1:
        return profiles[0]
    scopes = len(fleet.scopes)
    by_cell, by_scope = [part.cells for part in parts], [part.scopes for part in parts]
    by_quantity = [np.concatenate([part.scopes + scopes * each for each in range(3)]) for part in parts]
    by_test = [_tests(part, scopes) for part in parts]

    def gather(value: Callable[[Profile], Any], places: Sequence[Integers], axis: int = -1) -> Any:
        return _gather([value(profile) for profile in profiles], places, axis)

    def part_of(name: str, kind: Any, places: Sequence[Integers], *, whole: tuple[str, ...] = ()) -> Any:
        found: dict[str, Any] = {}
        for item in fields(kind):
            each = [getattr(getattr(profile, name), item.name) for profile in profiles]
            if item.name in whole:
                found[item.name] = each[0]
            elif item.name == "noise":
                found["noise"] = Noise(
                    *(_gather([getattr(one, field.name) for one in each], places, -1) for field in fields(Noise))
                )
            else:
                found[item.name] = _gather(_same_types(each), places, -1)
        return kind(**found)

    pairs = ChannelMap.of(fleet).pairs
    reasons = [""] * scopes
    for profile, part in zip(profiles, parts, strict=True):
        for place, reason in zip(part.scopes.tolist(), profile.reasons, strict=True):
            reasons[place] = reason
    return Profile(
        fleet=fleet,
        settings=profiles[0].settings,
        learnt_until=max(profile.learnt_until for profile in profiles),
        span_seconds=max(profile.span_seconds for profile in profiles),
        season=part_of("season", Season, by_cell),
        volume=part_of("volume", Season, by_scope),
        mix=part_of("mix", Season, by_scope),
        shift=part_of("shift", ShiftTest, by_quantity),
        count=part_of("count", CountTest, by_test, whole=("ratios",)),
        reasons=tuple(reasons),
        special=_joined_special(profiles, parts, fleet),
        pair_rate=gather(lambda profile: profile.pair_rate, [_pairs(part, pairs) for part in parts]),
        tail_slope=gather(lambda profile: profile.tail_slope, by_scope, 0),
        history_seconds=gather(lambda profile: profile.history_seconds, by_scope),
        **{
            name: _gather([getattr(profile, name) for profile in profiles], by_cell, 0)
            for name in ("scale", "slope", "spread", "known", "traffic", "tail_edge", "tail_rate")
        },
    )


def join(profiles: Sequence[Profile]) -> Profile:
    """The profile of several fleets together that have no flow in common, learnt with the same settings.

    Raises:
        ValueError: there is none.
    """
    if not profiles:
        raise ValueError("there is no profile to join; learn at least one")
    fleets = [profile.fleet for profile in profiles]
    whole = Fleet.build([cell for fleet in fleets for cell in fleet.cells], fleets[0].grid)
    scope_place = {scope: place for place, scope in enumerate(whole.scopes)}
    channel_place = {(each.scope, each.check): place for place, each in enumerate(whole.channels)}
    parts, first = [], 0
    for fleet in fleets:
        scopes = np.array([scope_place[scope] for scope in fleet.scopes], dtype=np.int64)
        channels = [channel_place[int(scopes[each.scope]), each.check] for each in fleet.channels]
        cells = np.arange(first, first + len(fleet.cells))
        parts.append(FleetPart(fleet, cells, scopes, np.array(channels, dtype=np.int64)))
        first += len(cells)
    return put_together(profiles, parts, whole)


def _joined_special(profiles: Sequence[Profile], parts: Sequence[FleetPart], fleet: Fleet) -> SpecialDays:
    """What special days were like; of kinds that a part did not see, nothing."""
    names = np.unique(np.concatenate([profile.special.names for profile in profiles]))
    days = np.zeros(len(names))
    level, volume = np.zeros((len(names), 24, len(fleet.cells))), np.zeros((len(names), 24, len(fleet.scopes)))
    for profile, part in zip(profiles, parts, strict=True):
        for place, kind in enumerate(np.searchsorted(names, profile.special.names)):
            days[kind] = max(days[kind], profile.special.days[place])
            level[kind][:, part.cells] = profile.special.level[place]
            volume[kind][:, part.scopes] = profile.special.volume[place]
    return SpecialDays(names, days, level, volume)


def _tests(part: FleetPart, scopes: int) -> Integers:
    tails = (part.scopes[:, None] * len(TAILS) + np.arange(len(TAILS))).ravel()
    return np.concatenate([tails, scopes * len(TAILS) + part.channels])


def _pairs(part: FleetPart, pairs: Integers) -> Integers:
    """Places of a part's pairs of cell and outcome column among those of the whole, which are sorted."""
    own = ChannelMap.of(part.fleet).pairs
    wide = int(pairs[:, 1].max(initial=0)) + 1
    return np.searchsorted(pairs[:, 0] * wide + pairs[:, 1], part.cells[own[:, 0]] * wide + own[:, 1])


def _gather(values: Sequence[Floats], places: Sequence[Integers], axis: int) -> Floats:
    order = np.argsort(np.concatenate(places), kind="stable")
    return np.ascontiguousarray(np.take(np.concatenate(values, axis=axis), order, axis=axis))


def _same_types(values: Sequence[Floats]) -> Sequence[Floats]:
    """Seasons of one day type beside seasons of two: both days alike."""
    most = max((len(each) for each in values if each.ndim == 3), default=0)
    return [
        np.repeat(each, most, axis=0) if each.ndim == 3 and len(each) == 1 and most == 2 else each for each in values
    ]
