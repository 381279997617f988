"""The detector over stored windows: learn from what was before a moment, follow what came after, online.

The same code as in production judges; a window's judgement uses nothing that came after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baseline.baseline import Profile
from ..baseline.budget import TAILS
from ..detection.detector import Detector
from ..detection.input import Measurements
from ..detection.settings import MONTH_SECONDS, DetectionSettings
from ..deviation import Deviation, DeviationKind, Scope
from ..observation import SeriesKey
from ..sketch import quantile

__all__ = ["Alarm", "Levels", "detection_limit_seconds", "families", "levels_of", "replay", "share_of_budget"]

PAGED = frozenset({DeviationKind.SLOWER, DeviationKind.TAIL, DeviationKind.FAILING, DeviationKind.SILENT})


@dataclass(frozen=True, slots=True)
class Alarm:
    """What was found, as it was known when it was found.

    Attributes:
        deviation: The finding.
        ended_at: When its end was found, if it was.
        limit_seconds: The expected delay that no rule of the same run length can beat, for a change of the estimated
            size; ``None`` where the theory gives none.
    """

    deviation: Deviation
    ended_at: float | None
    limit_seconds: float | None

    @property
    def paged(self) -> bool:
        """Whether somebody would have been told; the rest is reported only."""
        return self.deviation.kind in PAGED

    @property
    def delay_seconds(self) -> float:
        """From the estimated beginning to the finding."""
        return self.deviation.detected_at - self.deviation.started_at


@dataclass(frozen=True, slots=True)
class Levels:
    """Median and 95 % quantile of durations over time, seconds; NaN where there are no answers."""

    start: NDArray[Any]
    seconds: float
    p50: NDArray[Any]
    p95: NDArray[Any]


def families(series: Mapping[int, SeriesKey]) -> int:
    """Over how many families of scopes the budget of false alarms is divided: steps, and flows of several steps."""
    steps = {(key.flow, key.step) for key in series.values()}
    flows = [flow for flow, _ in steps]
    return len(steps) + sum(flows.count(flow) > 1 for flow in set(flows))


def share_of_budget(settings: DetectionSettings, series: Mapping[int, SeriesKey]) -> DetectionSettings:
    """The settings for some of a fleet's series alone, with the thresholds that they have within the fleet."""
    if settings.false_alarms_per_series_month is not None:
        return settings
    return replace(settings, false_alarms_per_series_month=settings.false_alarms_per_month / max(families(series), 1))


def replay(profile: Profile, stream: Measurements, start: float, end: float) -> list[Alarm]:
    """Follow the windows that start in [start, end), those without data included, and say what was found when.

    Args:
        profile: Learnt from what was before ``start``.
        stream: The windows, cells numbered as in the profile.
        start: Start of the first window, seconds since 1970 UTC.
        end: End of the last one.
    """
    window = profile.settings.window_seconds
    rows = dict(stream.windows())
    nothing = Measurements.empty(stream.failed.shape[1])
    detector = Detector(profile)
    found: list[Alarm] = []
    running: dict[tuple[Scope, DeviationKind], int] = {}
    for number in range(round((end - start) / window)):
        at = start + window * number
        for deviation in detector.advance(at, rows.get(at, nothing)):
            if deviation.kind is DeviationKind.RECOVERED:
                for key in [key for key in running if key[0] == deviation.scope and deviation.ends in (None, key[1])]:
                    place = running.pop(key)
                    found[place] = replace(found[place], ended_at=deviation.detected_at)
            elif (deviation.scope, deviation.kind) not in running:
                running[deviation.scope, deviation.kind] = len(found)
                found.append(Alarm(deviation, None, detection_limit_seconds(profile, deviation)))
    return found


def detection_limit_seconds(profile: Profile, deviation: Deviation) -> float | None:
    """``ln γ / D`` for a change of the estimated size (G. Lorden 1971, doi:10.1214/aoms/1177693055).

    ``γ`` is the run length between false alarms that the family of the scope is allowed, ``D`` the information in a
    window: ``δ²/2v`` for a shift ``δ`` of log duration with the long-run variance ``v`` of a window, and
    ``μ(R ln R − R + 1)/(1 + ωμ)`` for ``R`` times as many failures or slow answers. At least one window. It is the
    limit at the estimated size and the mean traffic, not at the true size, and is asymptotic.
    """
    settings, fleet, effect = profile.settings, profile.fleet, abs(deviation.effect)
    scope = replace(deviation.scope, check=None)
    if scope not in fleet.scopes or not effect > 0:
        return None
    index = fleet.scopes.index(scope)
    information = 0.0
    if deviation.kind in {DeviationKind.SLOWER, DeviationKind.FASTER}:
        inside, noise = fleet.members[index], profile.shift.noise
        fast = float(noise.fast_correlation[index])
        common = float(noise.white_variance[index] + noise.fast_variance[index] * (1 + fast) / (1 - fast))
        weight = float((profile.traffic[inside] / profile.spread[inside]).sum())
        information = effect**2 / (2 * (1 / weight + common)) if weight > 0 else 0.0
    elif deviation.kind in {DeviationKind.TAIL, DeviationKind.FAILING, DeviationKind.IMPROVING}:
        place = _count_test(profile, deviation, index)
        if place is not None:
            expected, dispersion = float(profile.count.expected[place]), float(profile.count.dispersion[place])
            ratio = float(np.exp(deviation.effect))
            information = expected * (ratio * np.log(ratio) - ratio + 1) / (1 + dispersion * expected)
    if not (np.isfinite(information) and information > 0):
        return None
    each = settings.false_alarms_per_series_month
    if each is None:
        each = settings.false_alarms_per_month / max(families(dict(enumerate(fleet.cells))), 1)
    windows = max(np.log(MONTH_SECONDS / settings.window_seconds / each) / information, 1.0)
    return float(windows * settings.window_seconds)


def _count_test(profile: Profile, deviation: Deviation, scope: int) -> int | None:
    """Number of the count test that speaks of a deviation: tails of scopes come first, then channels."""
    if deviation.kind is DeviationKind.TAIL:
        wanted = deviation.evidence.get("quantile")
        return scope * len(TAILS) + (TAILS.index(wanted) if wanted in TAILS else 0)
    for number, channel in enumerate(profile.fleet.channels):
        if channel.scope == scope and channel.check == deviation.scope.check:
            return len(TAILS) * len(profile.fleet.scopes) + number
    return None


def levels_of(stream: Measurements, cells: Sequence[int], start: float, end: float, seconds: float) -> Levels:
    """Median and 95 % quantile over spans of ``seconds``, of some cells together."""
    size = max(int(np.ceil((end - start) / seconds)), 1)
    rows = stream.take(np.flatnonzero(np.isin(stream.cell, cells)))
    place = np.floor((rows.window_start - start) / seconds).astype(np.int64)
    each = np.repeat(place, np.diff(rows.offsets))
    p50, p95 = np.full(size, np.nan), np.full(size, np.nan)
    order = np.argsort(each, kind="stable")
    edges = np.searchsorted(each[order], np.arange(size + 1))
    for number in np.flatnonzero(np.diff(edges)):
        inside = order[edges[number] : edges[number + 1]]
        buckets, where = np.unique(rows.buckets[inside], return_inverse=True)
        counts = np.bincount(where, rows.bucket_counts[inside]).astype(np.int64)
        p50[number], p95[number] = quantile(buckets, counts, 0.5), quantile(buckets, counts, 0.95)
    return Levels(start + seconds * np.arange(size), seconds, p50, p95)
