"""Young series lean on the fleet: noise, over-dispersion and thresholds, as far as their own history is short.

Empirical Bayes in its plainest form: what is used is ``k`` times the series' own estimate and ``1 − k`` times what most
of the fleet's older series stay below, ``k = days / (days + 5)``. The level is the series' own, from the days it has,
and the less certain for it: until there is a season, that of the fleet counts as slow noise. A series that is noisier
than four fifths of the fleet can thus have more false alarms than promised while it is young; most have fewer.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.count import count_information
from ..detection.shift import Noise, steady_information
from ..detection.threshold import solve_threshold
from .budget import TAILS, Budget, count_families, divide_budget
from .count import CountTest
from .profile import Profile
from .season import Season
from .shift import ShiftTest, evidence_limit, shift_limit

__all__ = ["GROWN_SECONDS", "pool_young"]

Floats = NDArray[Any]  # float64

_DAY = 86_400.0
GROWN_SECONDS = 14 * _DAY  # a series with this much history stands by itself
_PRIOR_DAYS = 5.0
_FEWEST_GROWN = 8
_HALF_SEEN = 0.5 * _DAY  # before, not even the mean is known around which the season swings
_SAFE_SHARE = 0.8  # of the fleet stays below what is borrowed from it


def pool_young(profile: Profile, families: int | None = None) -> Profile:
    """The profile with young scopes leaning on grown ones; the same where there are too few of those.

    Args:
        profile: What was learnt.
        families: Over how many families the budget is divided; see :func:`~.budget.count_families`.
    """
    age, least = profile.history_seconds, profile.settings.minimum_history_seconds
    tested = np.array([reason == "" for reason in profile.reasons], dtype=bool)
    grown, young = tested & (age >= GROWN_SECONDS), tested & (age < GROWN_SECONDS) & (age >= least)
    if grown.sum() < _FEWEST_GROWN or not young.any():
        return profile
    own = age / (age + _PRIOR_DAYS * _DAY)
    counted = np.asarray(np.isfinite(profile.count.threshold).any(axis=0))[len(TAILS) * len(age) :]
    number = families if families is not None else count_families(profile.fleet)
    budget = divide_budget(profile.fleet, profile.settings, tested * 1.0, counted * 1.0, number)
    shift = _pooled_shift(profile, np.tile(grown, 3), np.tile(young, 3), np.tile(own, 3), budget)
    return replace(profile, shift=shift, count=_pooled_count(profile, grown, young, own, budget))


def _prior(values: Floats, grown: Floats) -> Floats:
    """What most of the grown stay below, along the last axis."""
    return np.quantile(values[..., grown], _SAFE_SHARE, axis=-1)


def _pooled_shift(profile: Profile, grown: Floats, young: Floats, own: Floats, budget: Budget) -> ShiftTest:
    test, scopes = profile.shift, len(profile.fleet.scopes)
    rate = [np.concatenate([budget.paged, budget.reported, budget.reported]), np.tile(budget.reported, 3)]
    pooled = {item.name: np.array(getattr(test.noise, item.name), dtype=np.float64) for item in fields(Noise)}
    threshold, limit = (np.array(each, dtype=np.float64) for each in (test.threshold, test.limit))
    before = _theory(test.noise, test, rate)
    seasons = (profile.season, profile.volume, profile.mix)
    several = np.array([len(inside) > 1 for inside in profile.fleet.members], dtype=bool)
    for kind, season in enumerate(seasons):
        here = np.arange(3 * scopes) // scopes == kind
        if kind == 2:
            here &= np.tile(several, 3)
        old, new = here & grown, here & young
        if old.sum() < _FEWEST_GROWN or not new.any():
            continue
        for values in pooled.values():
            values[new] = own[new] * values[new] + (1 - own[new]) * _prior(values, old)
        unknown = profile.history_seconds[np.flatnonzero(new) % scopes] < profile.settings.season_history_seconds
        age = profile.history_seconds[np.flatnonzero(new) % scopes]
        swing = np.where(age < _HALF_SEEN, 2.0, 1.0) * _swing(season, profile, kind)
        error = _season_error(pooled, test.variance, new, age, profile)
        pooled["slow_variance"][new] += np.where(unknown, swing, error)
    noise = Noise(**pooled)
    after = _theory(noise, test, rate)
    more = threshold - before
    for kind in range(3):
        here = np.arange(3 * scopes) // scopes == kind
        old, new = here & grown & (threshold[0] < 500), here & young & (threshold[0] < 500)
        if old.sum() >= _FEWEST_GROWN and new.any():
            lent = _prior(more, old)[:, None]
            threshold[:, new] = np.maximum(after[:, new] + own[new] * more[:, new] + (1 - own[new]) * lent, 3.0)
    information = steady_information(noise, test.variance, test.shifts)
    limit[:, young] = shift_limit(threshold, information, profile.settings)[:, young]
    single = {name: values.astype(np.float32) for name, values in pooled.items()}
    return replace(test, noise=Noise(**single), threshold=threshold.astype(np.float32), limit=limit.astype(np.float32))


def _theory(noise: Noise, test: ShiftTest, rate: list[Floats]) -> Floats:
    """The thresholds that theory sets for noise and typical traffic."""
    half = len(test.shifts) // 2
    wanted = np.concatenate([np.broadcast_to(each / np.sqrt(half), (half, len(each))) for each in rate])
    information = steady_information(noise, test.variance, test.shifts)
    return solve_threshold(information[None].astype(np.float64), np.ones(1), np.maximum(wanted, 1e-12))


def _season_error(noise: dict[str, Floats], sampling: Floats, new: Floats, age: Floats, profile: Profile) -> Floats:
    """Variance of a season learnt from few days: of the mean of an hour's windows on each of them."""
    fast = noise["fast_correlation"][new]
    window = sampling[new] + noise["white_variance"][new] + noise["fast_variance"][new] * (1 + fast) / (1 - fast)
    windows = 3_600.0 / profile.settings.window_seconds * age / _DAY
    return np.asarray(window / np.maximum(windows, 1.0))


def _swing(season: Season, profile: Profile, kind: int) -> float:
    """How far the season of a typical series is from its mean, as a variance; of traffic, of its logarithm."""
    level = np.asarray(season.level, dtype=np.float64)
    grown = profile.history_seconds >= GROWN_SECONDS
    if kind == 0:
        grown = np.array([grown[scope] for scope in _first_scope(profile)])
    if kind == 1:
        level = np.log(np.maximum(level, 1e-3))
    return float(np.median(level[..., grown].var(axis=(0, 1))))


def _first_scope(profile: Profile) -> Floats:
    """The narrowest scope that each cell is in."""
    out = np.zeros(len(profile.fleet.cells), dtype=np.int64)
    order = sorted(range(len(profile.fleet.scopes)), key=lambda scope: -len(profile.fleet.members[scope]))
    for scope in order:
        out[profile.fleet.members[scope]] = scope
    return out


def _pooled_count(profile: Profile, grown: Floats, young: Floats, own: Floats, budget: Budget) -> CountTest:
    test, scopes = profile.count, len(profile.fleet.scopes)
    channel_scope = np.array([channel.scope for channel in profile.fleet.channels], dtype=np.int64)
    scope = np.concatenate([np.repeat(np.arange(scopes), len(TAILS)), channel_scope])
    tail = np.arange(len(scope)) < scopes * len(TAILS)
    rate = np.maximum(np.broadcast_to(budget.counts / np.sqrt(len(test.ratios)), test.threshold.shape), 1e-12)
    dispersion, threshold, limit = test.dispersion.copy(), test.threshold.copy(), test.limit.copy()
    there = np.isfinite(threshold).all(axis=0)

    def theory(values: Floats) -> Floats:
        return solve_threshold(count_information(test.expected, values, test.ratios)[None], np.ones(1), rate)

    before = theory(dispersion)
    for kind in (tail, ~tail):
        old, new = kind & there & grown[scope], kind & there & young[scope]
        if old.sum() >= _FEWEST_GROWN and new.any():
            share = own[scope][new]
            dispersion[new] = np.maximum(
                dispersion[new], share * dispersion[new] + (1 - share) * _prior(dispersion, old)
            )
            lent = _prior(threshold - before, old)[:, None]
            more = share * (threshold - before)[:, new] + (1 - share) * lent
            threshold[:, new] = np.maximum(theory(dispersion)[:, new] + more, 3.0)
            information = count_information(test.expected, dispersion, test.ratios)
            limit[:, new] = evidence_limit(np.where(there, threshold, 1.0), information, profile.settings)[:, new]
    return replace(test, dispersion=dispersion, threshold=threshold, limit=limit)
