"""The detector: one window after the other against a profile, deviations out; its state survives restarts exactly."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .baseline import Band, Profile
from .baseline_location import pulled_in_sum, undo_clip
from .detection_calendar import local_time
from .detection_input import Measurements
from .detection_settings import DetectionSettings
from .detection_shift import ShiftState, advance_shift
from .deviation import Deviation, DeviationKind, Scope

__all__ = ["Detector", "deviations"]

Floats = NDArray[Any]  # float64
Integers = NDArray[Any]  # int64

_LONGEST_GAP = 240  # windows without data that are stepped through one by one; after longer gaps evidence starts anew
_Z95 = 1.959964


@dataclass(slots=True)
class _Raised:
    """Shifts that have been reported and are not over, ``[S]``; ``effect`` 0 = none."""

    effect: Floats
    started: Floats
    detected: Floats
    recovery: Floats

    @classmethod
    def new(cls, scopes: int) -> _Raised:
        return cls(*(np.zeros(scopes) for _ in range(4)))


class Detector:
    """Follows a fleet window by window.

    The same windows in the same order give the same deviations, whether or not the detector was
    stored and restored between any two of them.

    Args:
        profile: What is normal.
        settings: Defaults to the profile's.
    """

    def __init__(self, profile: Profile, settings: DetectionSettings | None = None) -> None:
        self.profile = profile
        self.settings = settings or profile.settings
        fleet = profile.fleet
        self.late_windows = 0
        self.unknown_cells = 0
        self._last = -np.inf
        self._member_cell = np.concatenate([*fleet.members, np.zeros(0, dtype=np.int64)])
        self._member_scope = np.repeat(np.arange(len(fleet.scopes)), [len(inside) for inside in fleet.members])
        self._tested = np.array([reason == "" for reason in profile.reasons], dtype=bool)
        self._shift = ShiftState.new(profile.noise, len(profile.shifts))
        self._raised = _Raised.new(len(fleet.scopes))
        self._offset = np.zeros(len(fleet.scopes))  # level accepted since the profile was learnt

    def advance(self, window_start: float, window: Measurements) -> list[Deviation]:
        """Take in one closed window and say what deviates.

        A window that is not later than the last one is counted in :attr:`late_windows` and otherwise ignored; windows
        that were skipped count as windows without data.

        Args:
            window_start: Start of the window, seconds since 1970 UTC.
            window: Its measurements (their own ``window_start`` is not looked at).
        """
        if window_start <= self._last:
            self.late_windows += 1
            return []
        self._skip(window_start)
        self._last = window_start
        deviation, count = self._locations(window_start, window)
        residual, variance, seen = self._stratify(deviation, count)
        residual = residual - self._offset - self._raised.effect
        variance = np.where(self._tested, variance, np.inf)
        found = self._recoveries(window_start, residual, variance)
        advance_shift(
            self._shift,
            self.profile.noise,
            self.profile.shifts,
            self.profile.limit,
            window_start,
            residual,
            variance,
            seen,
        )
        return found + self._alarms(window_start)

    def baseline_band(self, scope: Scope, at: float) -> Band:
        """The expected level of a scope at a time, and where 95 % of its windows should lie (seconds)."""
        profile = self.profile
        try:
            index = profile.fleet.scopes.index(scope)
        except ValueError:
            return Band(np.nan, np.nan, np.nan, "not monitored")
        if profile.reasons[index]:
            return Band(np.nan, np.nan, np.nan, profile.reasons[index])
        inside = profile.fleet.members[index]
        weight = profile.traffic[inside] / profile.spread[inside]
        level = float(np.average(self._levels(at)[inside], weights=weight)) + float(self._offset[index])
        noise = profile.noise
        variance = noise.fast_variance[index] + noise.slow_variance[index] + noise.white_variance[index]
        half = _Z95 * float(np.sqrt(variance + 1 / weight.sum()))
        return Band(float(np.exp(level)), float(np.exp(level - half)), float(np.exp(level + half)))

    def to_bytes(self) -> bytes:
        """The state, without the profile."""
        arrays = {f"shift.{f.name}": getattr(self._shift, f.name) for f in fields(self._shift)}
        arrays |= {f"raised.{f.name}": getattr(self._raised, f.name) for f in fields(self._raised)}
        arrays["offset"] = self._offset
        meta = {"version": 1, "last": self._last, "late": self.late_windows, "unknown": self.unknown_cells}
        arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, profile: Profile, settings: DetectionSettings | None = None) -> Detector:
        """The detector that :meth:`to_bytes` described, on the same profile.

        Raises:
            ValueError: the state was made on a profile with other scopes.
        """
        detector = cls(profile, settings)
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            meta = json.loads(arrays["meta"].tobytes())
            if arrays["offset"].shape != detector._offset.shape:
                raise ValueError(
                    f"detector state of {arrays['offset'].size} scopes does not fit a profile of "
                    f"{detector._offset.size}; learn the profile and start the detector anew"
                )
            for f in fields(ShiftState):
                setattr(detector._shift, f.name, arrays[f"shift.{f.name}"])
            for f in fields(_Raised):
                setattr(detector._raised, f.name, arrays[f"raised.{f.name}"])
            detector._offset = arrays["offset"]
        detector._last = meta["last"]
        detector.late_windows, detector.unknown_cells = meta["late"], meta["unknown"]
        return detector

    def _skip(self, window_start: float) -> None:
        """Step through windows without data, so that correlation fades and clocks stay right."""
        if not np.isfinite(self._last):
            return
        window = self.settings.window_seconds
        missing = round((window_start - self._last) / window) - 1
        if missing > _LONGEST_GAP:
            self._shift = ShiftState.new(self.profile.noise, len(self.profile.shifts))
            return
        zero = np.zeros(len(self.profile.fleet.scopes))
        none = np.full_like(zero, np.inf)
        for index in range(missing):
            at = self._last + window * (index + 1)
            advance_shift(
                self._shift, self.profile.noise, self.profile.shifts, self.profile.limit, at, zero, none, zero
            )

    def _levels(self, at: float) -> Floats:
        return np.asarray(self.profile.season.at(local_time(np.array([at]), self.settings))[0])

    def _locations(self, at: float, window: Measurements) -> tuple[Floats, Floats]:
        """Deviation of each cell from its level, and its observations, ``[C]``."""
        profile = self.profile
        cells = len(profile.fleet.cells)
        known = window.cell < cells
        self.unknown_cells += int((~known).sum())
        rows = window if known.all() else window.take(np.flatnonzero(known))
        level = self._levels(at)[rows.cell]
        pulled = pulled_in_sum(rows, profile.fleet.grid, level, profile.scale[rows.cell])
        usable = np.isfinite(pulled) & profile.known[rows.cell]
        count = np.bincount(rows.cell, np.where(usable, rows.count, 0.0), minlength=cells)
        total = np.bincount(rows.cell, np.where(usable, pulled, 0.0), minlength=cells)
        return np.divide(total, count * profile.slope, out=np.zeros(cells), where=count > 0), count

    def _stratify(self, deviation: Floats, count: Floats) -> tuple[Floats, Floats, Floats]:
        scopes = len(self.profile.fleet.scopes)
        weight = count / self.profile.spread
        cell, scope = self._member_cell, self._member_scope
        top = np.bincount(scope, (weight * deviation)[cell], minlength=scopes)
        bottom = np.bincount(scope, weight[cell], minlength=scopes)
        seen = np.bincount(scope, count[cell], minlength=scopes)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(bottom > 0, top / bottom, 0.0), 1.0 / bottom, seen

    def _recoveries(self, now: float, residual: Floats, variance: Floats) -> list[Deviation]:
        """Test raised scopes for being back at their old level."""
        raised = self._raised
        noise = self.profile.noise
        long_run = (
            variance
            + noise.white_variance
            + noise.fast_variance * (1 + noise.fast_correlation) / (1 - noise.fast_correlation)
        )
        active = (raised.effect != 0) & np.isfinite(variance)
        step = np.where(active, -raised.effect * (residual + 0.5 * raised.effect) / long_run, 0.0)
        cap = self.settings.resolve_evidence / (self.settings.spike_windows + 1)
        raised.recovery = np.where(active, np.maximum(raised.recovery + np.minimum(step, cap), 0.0), raised.recovery)
        over = np.flatnonzero((raised.effect != 0) & (raised.recovery >= self.settings.resolve_evidence))
        found = [self._event(DeviationKind.RECOVERED, int(scope), now, raised.started[scope], 0.0, 0.0, 0.0, 0.0, {})
                 for scope in over]  # fmt: skip
        stale = np.flatnonzero((raised.effect != 0) & (now - raised.detected >= self.settings.rebase_seconds))
        self._offset[stale] += raised.effect[stale]
        for scope in over:
            residual[scope] += raised.effect[scope]
        ended = np.union1d(over, stale)
        raised.effect[ended] = 0.0
        raised.recovery[ended] = 0.0
        self._reset(over)
        return found

    def _reset(self, scopes: Integers) -> None:
        fresh = ShiftState.new(self.profile.noise.take(scopes), len(self.profile.shifts))
        for f in fields(ShiftState):
            getattr(self._shift, f.name)[..., scopes] = getattr(fresh, f.name)

    def _alarms(self, now: float) -> list[Deviation]:
        state, profile, raised = self._shift, self.profile, self._raised
        over = state.evidence - profile.threshold
        found: list[Deviation] = []
        candidates = np.flatnonzero(over.max(axis=0) >= 0)
        for scope in candidates:
            best = int(over[:, scope].argmax())
            raw = state.score[best, scope] / max(state.weight[best, scope], 1e-300)
            error = float(1 / np.sqrt(max(state.weight[best, scope], 1e-300)))
            scale = float(np.median(profile.scale[profile.fleet.members[scope]]))
            effect = float(undo_clip(raw, scale))
            was = raised.effect[scope]
            raised.effect[scope] = was + raw
            raised.started[scope], raised.detected[scope] = state.start[best, scope], now
            raised.recovery[scope] = 0.0
            if was == 0 and not self._parent_raised(int(scope)):
                kind = DeviationKind.SLOWER if effect > 0 else DeviationKind.FASTER
                evidence = {
                    "statistic": float(state.evidence[best, scope]),
                    "threshold": float(profile.threshold[best, scope]),
                    "tested_effect": float(profile.shifts[best]),
                }
                found.append(
                    self._event(kind, int(scope), now, state.start[best, scope], effect, effect - _Z95 * error,
                                effect + _Z95 * error, state.count[best, scope], evidence)
                )  # fmt: skip
        self._reset(candidates)
        return found

    def _parent_raised(self, scope: int) -> bool:
        parent = int(self.profile.fleet.parent[scope])
        while parent >= 0:
            if self._raised.effect[parent] != 0:
                return True
            parent = int(self.profile.fleet.parent[parent])
        return False

    def _event(
        self, kind: DeviationKind, scope: int, now: float, started: float, effect: float, low: float, high: float,
        count: float, evidence: dict[str, float],
    ) -> Deviation:  # fmt: skip
        band = self.baseline_band(self.profile.fleet.scopes[scope], now)
        span = self.profile.fleet.members[scope]
        return Deviation(
            kind=kind,
            scope=self.profile.fleet.scopes[scope],
            detected_at=now + self.settings.window_seconds,
            started_at=float(started),
            started_low=float(started) - self.settings.window_seconds,
            started_high=float(started) + self.settings.window_seconds,
            effect=effect,
            effect_low=low,
            effect_high=high,
            before=band.level,
            after=float(band.level * np.exp(effect)),
            observations=round(float(count)),
            observations_before=round(float(self.profile.traffic[span].sum() * 1440)),
            evidence=evidence,
        )


def deviations(profile: Profile, stream: Iterable[tuple[float, Measurements]]) -> list[Deviation]:
    """Every deviation of a stream of windows in order of time: :class:`Detector` as a pure function."""
    detector = Detector(profile)
    return [deviation for start, window in stream for deviation in detector.advance(start, window)]
