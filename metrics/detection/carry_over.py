"""From one baseline to the next: a detector on a new profile that knows what the old one knew.

What is reported and not over stays so, evidence that is being gathered is kept, and levels that a person or the
detector has accepted since the old profile was learnt are measured against the new one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baseline.baseline import Profile
from ..baseline.budget import TAILS
from ..deviation import Deviation, DeviationKind, Scope
from .channels import ChannelMap
from .detector import Detector
from .settings import DetectionSettings

__all__ = ["carry_over", "forgotten", "remember"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64


def carry_over(old: Detector, profile: Profile, settings: DetectionSettings | None = None) -> Detector:
    """A detector on ``profile`` that goes on where ``old`` stopped; scopes the old one did not know start anew."""
    new = Detector(profile, settings)
    scope, test = _scope_places(old.profile, profile), _test_places(old.profile, profile)
    before = len(old.profile.fleet.scopes)
    quantity = np.concatenate([np.where(scope >= 0, scope + before * kind, -1) for kind in range(3)])
    new.follower.take_over(old.follower, quantity, test, scope)
    new.follower.move_accepted(*_moved(old.profile, profile, scope, test))
    new.take_position(old)
    cell = _places([_cell(key) for key in old.profile.fleet.cells], [_cell(key) for key in profile.fleet.cells])
    pair = _places(_pairs(old.profile), _pairs(profile))
    level = _difference(_cell_levels(old.profile), _cell_levels(profile), cell)
    rate = _difference(np.log(old.profile.pair_rate), np.log(profile.pair_rate), pair)
    new.take_accepted(old, cell, pair, level, rate)
    return new


def forgotten(old: Detector, profile: Profile) -> list[Scope]:
    """Scopes of which ``old`` reports something that a detector on ``profile`` could not follow to its end."""
    scope, test = _scope_places(profile, old.profile), _test_places(profile, old.profile)  # the other way round
    quantities, tests, silent = old.follower.told()
    scopes, seen = old.profile.fleet.scopes, len(old.profile.fleet.scopes)
    lost = [scopes[int(each) % seen] for each in quantities if not _tested(profile, int(scope[int(each) % seen]))]
    lost += [scopes[_scope_of_test(old.profile, int(each))] for each in tests if test[int(each)] < 0]
    return lost + [scopes[int(each)] for each in silent if scope[int(each)] < 0]


def remember(detector: Detector, deviations: Iterable[Deviation]) -> None:
    """Take deviations as reported, so that their end is found: for a detector whose own state was lost.

    What the profile does not know is left out.
    """
    fleet = detector.profile.fleet
    place = {scope: number for number, scope in enumerate(fleet.scopes)}
    channels = {(channel.scope, channel.check): number for number, channel in enumerate(fleet.channels)}
    for deviation in deviations:
        scope = place.get(replace(deviation.scope, check=None), -1)
        if scope < 0:
            continue
        quantity = test = silent = -1
        if deviation.kind is DeviationKind.SLOWER:
            quantity = scope
        elif deviation.kind is DeviationKind.SILENT:
            silent = scope
        elif deviation.kind is DeviationKind.TAIL:
            quantile = deviation.evidence.get("quantile")
            test = scope * len(TAILS) + (TAILS.index(quantile) if quantile in TAILS else 0)
        elif deviation.kind is DeviationKind.FAILING:
            channel = channels.get((scope, deviation.scope.check), -1)
            test = len(TAILS) * len(fleet.scopes) + channel if channel >= 0 else -1
        detector.follower.remember(quantity, test, silent, deviation)


def _tested(profile: Profile, scope: int) -> bool:
    return scope >= 0 and profile.reasons[scope] == ""


def _places(old: list[Any], new: list[Any]) -> Integers:
    """For each of ``new`` its position in ``old``, -1 = it is not there."""
    where = {each: number for number, each in enumerate(old)}
    return np.array([where.get(each, -1) for each in new], dtype=np.int64)


def _scope_places(old: Profile, new: Profile) -> Integers:
    return _places(list(old.fleet.scopes), list(new.fleet.scopes))


def _test_places(old: Profile, new: Profile) -> Integers:
    return _places(_tests(old), _tests(new))


def _tests(profile: Profile) -> list[tuple[Scope, Any]]:
    scopes = profile.fleet.scopes
    tails = [(scope, tail) for scope in scopes for tail in TAILS]
    return tails + [(scopes[channel.scope], (channel.check,)) for channel in profile.fleet.channels]


def _scope_of_test(profile: Profile, test: int) -> int:
    tails = len(TAILS) * len(profile.fleet.scopes)
    return test // len(TAILS) if test < tails else profile.fleet.channels[test - tails].scope


def _cell(key: Any) -> tuple[Any, ...]:
    return key.flow, key.step, key.dimensions


def _pairs(profile: Profile) -> list[Any]:
    """Identity of each pair of cell and outcome: the column is a verdict, or a check by name."""
    cells, found = profile.fleet.cells, []
    for cell, column in ChannelMap.of(profile.fleet).pairs.tolist():
        checks, verdicts = cells[cell].checks, 8
        name = checks[column - verdicts] if verdicts <= column < verdicts + len(checks) else column
        found.append((_cell(cells[cell]), name))
    return found


def _cell_levels(profile: Profile) -> Floats:
    """Mean level of each cell over a day of every type."""
    return np.asarray(profile.season.level.mean(axis=(0, 1)))


def _scope_levels(profile: Profile) -> Floats:
    level, traffic = _cell_levels(profile), np.maximum(profile.traffic, 1e-9)
    return np.array([np.average(level[inside], weights=traffic[inside]) for inside in profile.fleet.members])


def _difference(old: Floats, new: Floats, place: Integers) -> Floats:
    return np.where(place >= 0, new - (old[np.maximum(place, 0)] if len(old) else 0.0), 0.0)


def _moved(old: Profile, new: Profile, scope: Integers, test: Integers) -> tuple[Floats, Floats]:
    """By how much levels of quantities ``[3S]`` and rates ``[J]`` of the new profile are above the old ones."""
    parts = [_difference(_scope_levels(old), _scope_levels(new), scope)]
    for name in ("volume", "mix"):
        means = [np.asarray(getattr(each, name).level.mean(axis=(0, 1))) for each in (old, new)]
        if name == "volume":
            means = [np.log(np.maximum(each, 1e-9)) for each in means]
        parts.append(_difference(means[0], means[1], scope))
    rates = [np.log(np.maximum(each.count.rate, 1e-9)) for each in (old, new)]
    return np.concatenate(parts), _difference(rates[0], rates[1], test)
