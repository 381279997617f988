"""Follows a fleet by window: what deviates, what is over, what is explained otherwise.

Shifts of location, volume and mix are followed by ``follow_shifts``, failures and tails by ``follow_rates``, silence
and creep by modules of those names; here they are put together.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baseline.baseline import Profile
from ..deviation import Deviation
from .channels import Drift
from .clock import Alternatives, ClockState, explain
from .count import at_ratio
from .events import Event
from .follow_creep import CreepFollower
from .follow_improvement import ImprovementFollower
from .follow_rates import RateFollower
from .follow_shifts import ShiftFollower
from .follow_silence import SilenceFollower
from .settings import DetectionSettings
from .state_bytes import arrays_to_bytes, bytes_to_arrays

__all__ = ["Follower", "Inputs"]

Floats = NDArray[Any]  # float64

_OF_TESTS = frozenset({"count", "failing", "rates_meanwhile", "fewer", "improved"})
_OF_SCOPES = frozenset({"silent", "day", "drift", "clock", "rivals"})


@dataclass(frozen=True, slots=True)
class Inputs:
    """One window: quantities ``[3S]`` (locations, volumes, mixes), count tests ``[J]``, expected traffic ``[S]``.

    ``special`` is what a special day has been given of the residuals of locations, ``[S]``.
    """

    residual: Floats
    variance: Floats
    seen: Floats
    failed: Floats
    mean: Floats
    tried: Floats
    expected: Floats
    other: Alternatives
    special: Floats | float = 0.0


class Follower:
    """The state of a fleet and how one window changes it.

    ``now`` may be one time or each scope's own, so that recordings of different times can be followed together.
    """

    def __init__(self, profile: Profile, settings: DetectionSettings) -> None:
        self._profile, self._settings = profile, settings
        scopes = len(profile.fleet.scopes)
        self._scopes = scopes
        long_enough = profile.span_seconds >= settings.minimum_history_seconds
        tested = np.array([reason == "" for reason in profile.reasons], dtype=bool)
        self._tested = np.concatenate([tested, np.full(scopes, long_enough), tested])
        self._shifts = ShiftFollower(profile, settings)
        self._rates = RateFollower(profile, settings, tested, long_enough=long_enough)
        self._improvement = ImprovementFollower(profile, settings, self._rates.scope)
        self._silence = SilenceFollower(profile.fleet.parent, settings)
        self._creep = CreepFollower(profile, tested, self._shifts.common[:scopes])
        self._drift = Drift.new(scopes)
        every = np.arange(scopes)
        self._scope_of = np.tile(every, 3), every, self._rates.scope
        self._sizes = 3 * scopes, scopes, len(self._rates.scope)
        self._clock = ClockState.new(scopes)
        part = np.array([bool(scope.dimensions) for scope in profile.fleet.scopes], dtype=bool)
        self._top = np.where(part & (profile.fleet.parent >= 0), profile.fleet.parent, np.arange(scopes))

    @property
    def accepted(self) -> Floats:
        """Rates accepted since the profile was learnt, log-ratios of count tests ``[J]``."""
        return self._rates.accepted

    @property
    def offset(self) -> Floats:
        """Levels of scopes accepted as the new normal since the profile was learnt, ``[S]`` (log-ratios)."""
        return self._shifts.offset[: self._scopes]

    def begin_anew(self, scopes: Floats, channels: Floats) -> None:
        """Forget reports and evidence about locations and tails of ``scopes`` and about ``channels``; reports nothing.

        Tails that are reported keep their present rate as the usual one.
        """
        self._shifts.begin_anew(scopes)
        self._rates.begin_anew(scopes, channels)
        self._improvement.begin_anew(channels)

    def take_over(self, old: Follower, quantity: Floats, test: Floats, scope: Floats) -> None:
        """Go on from the state of a follower on another profile.

        Args:
            old: The other one.
            quantity: For each of this one's quantities ``[3S]`` the number it has there, -1 = it is not there.
            test: The same for count tests ``[J]``.
            scope: The same for scopes ``[S]``.
        """
        before = old._parts()
        for name, part in self._parts().items():
            place = test if name in _OF_TESTS else scope if name in _OF_SCOPES else quantity
            for item in fields(part):
                _copy(getattr(before[name], item.name), getattr(part, item.name), place)
        _copy(old._shifts.offset, self._shifts.offset, quantity)
        _copy(old._rates.accepted, self._rates.accepted, test)

    def move_accepted(self, quantity: Floats, test: Floats) -> None:
        """The profile moved by so much (log-ratios): levels and rates that were accepted move the other way."""
        offset, accepted = self._shifts.offset, self._rates.accepted
        self._shifts.offset = np.where(offset != 0, offset - quantity, 0.0)
        self._rates.accepted = np.where(accepted != 0, accepted - test, 0.0)

    def remember(self, quantity: int, test: int, silent: int, deviation: Deviation) -> None:
        """Take a deviation as reported: ``quantity`` or ``test`` or scope ``silent`` by number, -1 = not that."""
        raised, place = self._shifts.raised, quantity
        if test >= 0:
            raised, place = self._rates.failing, test
        elif silent >= 0:
            raised, place = self._silence.silent, silent
        if place < 0:
            return
        width = max(deviation.effect_high - deviation.effect_low, 0.02) / (2 * 1.96)
        raised.effect[place] = -1.0 if raised is self._silence.silent else deviation.effect
        raised.started[place], raised.detected[place] = deviation.started_at, deviation.detected_at
        raised.told[place], raised.weight[place], raised.recovery[place] = 1.0, 1 / width**2, 0.0

    def told(self) -> tuple[Floats, Floats, Floats]:
        """What is reported and not over: quantities, count tests and silent scopes, by number."""
        every = self._shifts.raised, self._rates.failing, self._silence.silent
        first, second, third = (np.flatnonzero((each.effect != 0) & (each.told > 0)) for each in every)
        return first, second, third

    def nothing(self) -> Inputs:
        """A window without any data."""
        scopes, tests = self._scopes, len(self._profile.count.rate)
        quantities, rates = np.zeros(3 * scopes), np.zeros(tests)
        none = np.full(3 * scopes, np.inf)
        return Inputs(
            quantities, none, quantities, rates, rates, rates, np.zeros(scopes), Alternatives.none(scopes)
        )  # fmt: skip

    def forget(self) -> None:
        """After a long gap: evidence starts anew; what was reported stays reported."""
        self._shifts.forget()
        self._rates.forget()
        self._improvement.forget()

    def step(self, now: float | Floats, inputs: Inputs) -> list[Event]:
        """Take in one window; events in the order recoveries, shifts, rates, silence, creep."""
        moment = np.asarray(now, dtype=np.float64)
        of_quantity, clock, of_test = (
            np.broadcast_to(moment, size) if moment.ndim == 0 else moment[scope]
            for size, scope in zip(self._sizes, self._scope_of, strict=True)
        )
        variance = np.where(self._tested, inputs.variance, np.inf)
        residual = inputs.residual - self._shifts.offset - self._shifts.raised.effect
        explained, traffic = self._explain(inputs.other, residual, variance)
        rivals = inputs.other, (explained, traffic), self._clock.missed > 0
        events = self._shifts.step(of_quantity, residual, variance, inputs.seen, *rivals)
        self._creep.day.told[self._shifts.rebased] = self.offset[self._shifts.rebased]  # that much has been said
        location, location_variance = inputs.residual[: self._scopes], variance[: self._scopes]
        drift = self._drift.advance(location - self.offset - explained, location_variance) + explained + inputs.special
        if len(self._profile.count.rate):
            counted = inputs.failed, inputs.mean, inputs.tried
            events += self._rates.step(of_test, *counted, drift, self._shifts)
            usual = inputs.failed, at_ratio(inputs.mean, self._rates.accepted), inputs.tried
            worse = self._rates.failing.effect > 0
            events += self._improvement.step(of_test, *usual, worse, self._rates.accepted)
        events += self._silence.step(clock, inputs.seen[: self._scopes], inputs.expected)
        raised = self._shifts.raised.effect[: self._scopes]
        return events + self._creep.step(clock, location, location_variance, raised)

    def _explain(self, other: Alternatives, residual: Floats, variance: Floats) -> tuple[Floats, Floats]:
        """Take off what a moved clock or job explains, in place; returns it for locations and volumes, ``[S]``."""
        scopes, state = self._scopes, self._shifts.state
        location, volume = slice(0, scopes), slice(scopes, 2 * scopes)
        bare = residual - state.slow
        long_run = variance + self._shifts.common
        parts = (bare[location], bare[volume]), (long_run[location], long_run[volume])
        window = self._settings.window_seconds
        shift, traffic, anew = explain(self._clock, other, parts[0], parts[1], window, self._top)
        residual[location] -= shift
        # a job's edges are known to five minutes
        residual[location] -= np.clip(residual[location], other.under, other.over)
        residual[volume] -= traffic
        again = np.flatnonzero(anew)
        if len(again):
            quantities = np.concatenate([again, again + scopes])
            state.evidence[:, quantities] = 0.0
            self._shifts.rivals.restart(again)
        return shift, traffic

    def to_bytes(self, extra: dict[str, Any]) -> bytes:
        """The state and ``extra`` (plain values)."""
        arrays: dict[str, Any] = {"offset": self._shifts.offset, "accepted": self._rates.accepted}
        for name, part in self._parts().items():
            arrays |= {f"{name}.{item.name}": getattr(part, item.name) for item in fields(part)}
        arrays["extra"] = np.frombuffer(json.dumps({"version": 2} | extra).encode(), dtype=np.uint8)
        return arrays_to_bytes(arrays)

    def restore(self, data: bytes) -> dict[str, Any]:
        """Take over a state that :meth:`to_bytes` wrote; returns what was given as ``extra``.

        Raises:
            ValueError: the state was made on a profile with other scopes or channels.
        """
        arrays = bytes_to_arrays(data)
        if (
            arrays["offset"].shape != self._shifts.offset.shape
            or arrays["failing.effect"].shape != self._rates.failing.effect.shape
        ):
            raise ValueError(
                f"detector state of {arrays['offset'].size // 3} scopes does not fit a profile of {self._scopes}; "
                "learn the profile and start the detector anew"
            )
        self._shifts.offset, self._rates.accepted = arrays["offset"], arrays["accepted"]
        for name, part in self._parts().items():
            for item in fields(part):
                present = getattr(part, item.name)  # a former version wrote more digits of some
                setattr(part, item.name, arrays[f"{name}.{item.name}"].astype(present.dtype, copy=False))
        extra: dict[str, Any] = json.loads(arrays["extra"].tobytes())
        return extra

    def _parts(self) -> dict[str, Any]:
        return {
            "shift": self._shifts.state,
            "count": self._rates.state,
            "raised": self._shifts.raised,
            "failing": self._rates.failing,
            "rates_meanwhile": self._rates.meanwhile,
            "shifts_meanwhile": self._shifts.meanwhile,
            "fewer": self._improvement.state,
            "improved": self._improvement.improved,
            "silent": self._silence.silent,
            "day": self._creep.day,
            "drift": self._drift,
            "clock": self._clock,
            "rivals": self._shifts.rivals.state,
        }


def _copy(source: Floats, target: Floats, place: Floats) -> None:
    """Copy the last axis as ``place`` says; what has no place there, or another shape, stays as it is."""
    if source.shape[:-1] == target.shape[:-1] and target.shape[-1] == len(place):
        here = place >= 0
        target[..., here] = source[..., place[here]]
