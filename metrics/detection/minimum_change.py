"""The smallest lasting change that a scope's present traffic lets the detector find within a given time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..baseline.baseline import Profile
from ..baseline.budget import TAILS
from ..deviation import Scope

__all__ = ["MinimumChange", "minimum_detectable_change", "minimum_detectable_failures"]


@dataclass(frozen=True, slots=True)
class MinimumChange:
    """A ratio above 1 found in half of all cases within ``horizon_seconds``; NaN with a ``reason`` if there is none."""

    ratio: float
    horizon_seconds: float
    reason: str = ""


def minimum_detectable_change(profile: Profile, scope: Scope, horizon_seconds: float) -> MinimumChange:
    """The smallest ratio of durations found within the horizon, in half of all cases.

    Solves ``δ² / 2(v/T + s) = h + 1`` for the shift δ: ``v`` the long-run variance of a window, ``s`` what the slow
    wander adds over ``T`` windows, ``h`` the threshold (the mean path of a CUSUM, see Lorden 1971,
    doi:10.1214/aoms/1177693055). It does not say what is found at other traffic than the mean.

    Args:
        profile: The learnt baseline.
        scope: A step, flow or sub-population of the profile's fleet.
        horizon_seconds: Time from the change on.
    """
    index = _index(profile, scope)
    reason = "not monitored" if index < 0 else profile.reasons[index]
    windows = horizon_seconds / profile.settings.window_seconds
    if not reason and windows < profile.settings.spike_windows + 1:
        reason = "a disturbance of so few windows is not reported"
    if reason:
        return MinimumChange(np.nan, horizon_seconds, reason)
    inside, noise = profile.fleet.members[index], profile.shift.noise
    sampling = 1.0 / float((profile.traffic[inside] / profile.spread[inside]).sum())
    f = float(noise.fast_correlation[index])
    common = float(noise.white_variance[index] + noise.fast_variance[index] * (1 + f) / (1 - f))
    slow = float(noise.slow_variance[index] * (1 - noise.slow_correlation[index] ** windows))
    half = len(profile.shift.shifts) // 2
    shifts, thresholds = profile.shift.shifts[:half, index], profile.shift.threshold[:half, index]
    shift = float(shifts[0])
    for _ in range(20):
        h = float(np.interp(shift, shifts, thresholds))
        shift = float(np.sqrt(2 * (h + 1) * ((sampling + common) / windows + slow)))
    # evidence is tested for set shifts: smaller ones than half of the smallest are never reported
    shift = max(shift, 0.5 * float(shifts[0]) * 1.05)
    return MinimumChange(float(np.exp(shift)), horizon_seconds)


def minimum_detectable_failures(profile: Profile, scope: Scope, horizon_seconds: float) -> MinimumChange:
    """The smallest ratio of failure rates found within the horizon, in half of all cases.

    ``scope.check`` names the check or verdict as in :class:`~.deviation.Scope`. Solves
    ``T·μ(R ln R − R + 1)/(1 + ωμ) = h + 1`` for the ratio R.
    """
    base = Scope(scope.flow, scope.step, scope.dimensions)
    index = _index(profile, base)
    channels = [
        number
        for number, channel in enumerate(profile.fleet.channels)
        if channel.scope == index and channel.check == scope.check
    ]
    if index < 0 or not channels:
        return MinimumChange(np.nan, horizon_seconds, "not monitored")
    test, place = profile.count, len(TAILS) * len(profile.fleet.scopes) + channels[0]
    threshold = float(np.min(test.threshold[:, place]))
    if not np.isfinite(threshold):
        return MinimumChange(np.nan, horizon_seconds, "no trials in the history")
    expected, dispersion = float(test.expected[place]), float(test.dispersion[place])
    windows = horizon_seconds / profile.settings.window_seconds
    ratio = np.exp(np.linspace(0.01, np.log(1000.0), 4000))
    information = windows * expected * (ratio * np.log(ratio) - ratio + 1) / (1 + dispersion * expected)
    enough = np.flatnonzero(information >= threshold + 1)
    if not len(enough):
        return MinimumChange(np.nan, horizon_seconds, "too few answers for any change to be found in this time")
    return MinimumChange(float(ratio[enough[0]]), horizon_seconds)


def _index(profile: Profile, scope: Scope) -> int:
    plain = Scope(scope.flow, scope.step, scope.dimensions)
    return profile.fleet.scopes.index(plain) if plain in profile.fleet.scopes else -1
