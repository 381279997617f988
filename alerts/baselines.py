"""The baseline in force, and the detector on it: loaded from the store, learnt when due, taken over from the last one.

Learning runs in a thread of its own, so that judging goes on, whatever alert is open. A detector goes on from the state
of the one before on a new baseline (``metrics/detection/carry_over.py``), and from what is open when its own state was
written by another version.

After a reload windows are judged by the new calendar at once, and when the baseline was learnt by other settings a new
one is learnt without delay.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from ..metrics.baseline.bands import HOUR_SECONDS, baseline_bands
from ..metrics.baseline.baseline import Profile
from ..metrics.baseline.bytes import profile_from_bytes, profile_to_bytes
from ..metrics.detection.carry_over import carry_over, forgotten, remember
from ..metrics.detection.detector import Detector
from ..metrics.detection.settings import DetectionSettings
from ..metrics.deviation import Deviation
from ..metrics.store.evaluation import (
    DetectorState,
    StoredBaseline,
    add_bands,
    add_baseline,
    detector_state,
    newest_baseline,
    newest_baseline_id,
)
from ..metrics.store.store import Store
from .cells import CellMap
from .evaluation_settings import EvaluationSettings
from .learning import learn_from_store

__all__ = ["NAME", "Baselines", "Judge"]

NAME = "fleet"
BANDS_SECONDS = 7 * 86_400.0  # what is usual is written down for this long before and after a learning
_RETRY_SECONDS = 600.0  # after a learning that failed
_OTHER_VERSION = (ValueError, KeyError, TypeError)
_log = structlog.get_logger("cxgauge.evaluator")


@dataclass(slots=True)
class Judge:
    """A detector and what it needs, as kept in memory between windows.

    Attributes:
        through: End of the last window it has judged.
        baseline_id: The baseline it is on.
        detector: The detector.
        cells: Which cell each series is measured against.
    """

    through: float
    baseline_id: int
    detector: Detector
    cells: CellMap


class Baselines:
    """Loads and learns baselines of a store.

    Args:
        store: Where they are.
        settings: How windows are judged.
        clock: Seconds since 1970 UTC.
        open_deviations: What open alerts are made of.
    """

    def __init__(
        self,
        store: Store,
        settings: EvaluationSettings,
        clock: Callable[[], float],
        open_deviations: Callable[[], Sequence[Deviation]],
    ) -> None:
        self._store, self._settings, self._clock = store, settings, clock
        self._open_deviations = open_deviations
        self._learner: threading.Thread | None = None
        self._learned_at = 0.0  # when the newest baseline was learnt, or its learning last failed
        self._span = 0.0
        self._declined: int | None = None

    def learn(self, through: float) -> bool:
        """Learn a baseline up to ``through`` and store it; False without data."""
        profile = learn_from_store(self._store, through, self._settings.learning, self._settings.detection)
        if profile is None:
            return False
        history = (profile.learnt_until - profile.span_seconds, through)
        details = {
            "scopes": len(profile.fleet.scopes),
            "cells": len(profile.fleet.cells),
            "untested": sum(reason != "" for reason in profile.reasons),
        }
        now = self._clock()
        with self._store.connection() as connection, connection.transaction():
            add_baseline(connection, NAME, now, history, profile_to_bytes(profile), details)
            hours = (through // HOUR_SECONDS * HOUR_SECONDS - BANDS_SECONDS, through + BANDS_SECONDS)
            add_bands(connection, baseline_bands(profile, *hours), through)
        self._learned_at, self._span = now, profile.span_seconds
        return True

    def learn_when_due(self, through: float) -> None:
        """Learn anew in the background, when it is time."""
        if self._learner is not None and self._learner.is_alive():
            return
        if self._settings.learning.due(self._learned_at, self._span, self._clock()):
            arguments = (through,)
            self._learner = threading.Thread(
                target=self._learn_quietly, args=arguments, name="cxgauge-learner", daemon=True
            )
            self._learner.start()

    def wait(self, timeout_seconds: float) -> None:
        """Wait for a baseline that is being learnt in the background."""
        if self._learner is not None:
            self._learner.join(timeout_seconds)

    def _learn_quietly(self, through: float) -> None:
        before = self._learned_at
        try:
            self.learn(through)
        except Exception as error:
            _log.error("learning baselines failed, the old ones stay", error=f"{type(error).__name__}: {error}")
        if self._learned_at == before:  # not at once again, and not after a whole interval either
            wait = min(self._settings.learning.interval_seconds, _RETRY_SECONDS)
            self._learned_at = self._clock() - self._settings.learning.interval_seconds + wait

    def judge(self, present: Judge | None, target: float) -> Judge | None:
        """The judge to go on with: ``present``, or one on a newer baseline, or as stored; ``None`` without data.

        Args:
            present: The one in memory.
            target: End of the newest window that can be judged.
        """
        with self._store.connection() as connection:
            newest = newest_baseline_id(connection, NAME)
        if newest is None:
            if not self.learn(target):
                return None
            with self._store.connection() as connection:
                newest = newest_baseline_id(connection, NAME)
        if present is None:
            present = self._restored(target)
        if present is not None and newest not in {present.baseline_id, self._declined}:
            return self._promoted(present, newest)
        return present

    def _restored(self, target: float) -> Judge | None:
        """The judge as it was stored; where it cannot be read, a new one that knows what is open."""
        with self._store.connection() as connection:
            state = detector_state(connection, NAME)
            used = state.settings.get("baseline_id") if state is not None else None
            stored = (newest_baseline(connection, NAME, used) if used is not None else None) or newest_baseline(
                connection, NAME
            )
        profile = self._profile(stored)
        if profile is None:
            _log.warning("the stored baseline is of another version, learning anew")
            if not self.learn(state.through if state is not None else target):
                return None
            with self._store.connection() as connection:
                stored = newest_baseline(connection, NAME)
            profile = self._profile(stored)
        if stored is None or profile is None:
            return None
        self._learned_at, self._span = self._as_of(stored, profile), profile.span_seconds
        detector = self._detector(state, profile) if used == stored.baseline_id else None
        if detector is None:
            detector = self._anew(profile)
        through = state.through if state is not None else min(target, stored.history_through)
        return Judge(through, stored.baseline_id, detector, CellMap(profile.fleet.cells, profile.traffic))

    def _as_of(self, stored: StoredBaseline, profile: Profile) -> float:
        """When it was learnt; long ago, if that was by other settings or another calendar than those of now."""
        return stored.learned_at if profile.settings == self._settings.detection else 0.0

    def _profile(self, stored: StoredBaseline | None) -> Profile | None:
        """The profile, by today's calendar; ``None`` when another version wrote it."""
        if stored is None:
            return None
        try:
            return profile_from_bytes(stored.profile)
        except _OTHER_VERSION:
            return None

    def _detector(self, state: DetectorState | None, profile: Profile) -> Detector | None:
        if state is None:
            return None
        try:
            return Detector.from_bytes(state.state, profile, self._calendar(profile.settings))
        except _OTHER_VERSION as error:
            _log.warning("the stored detector is of another version, going on from open alerts", error=str(error))
            return None

    def _anew(self, profile: Profile) -> Detector:
        detector = Detector(profile, self._calendar(profile.settings))
        remember(detector, self._open_deviations())
        return detector

    def _calendar(self, settings: DetectionSettings) -> DetectionSettings:
        """The settings a profile was learnt with, and the bank's calendar as it is now."""
        now = self._settings.detection
        return replace(
            settings,
            country=now.country,
            special_days=now.special_days,
            holidays=now.holidays,
            workdays=now.workdays,
        )

    def _promoted(self, present: Judge, newest: int | None) -> Judge:
        """The judge on a newer baseline; the present one if what is reported could not be followed to its end there."""
        with self._store.connection() as connection:
            stored = newest_baseline(connection, NAME, newest)
        profile = self._profile(stored)
        if stored is None or profile is None:
            return present
        self._learned_at, self._span = max(self._learned_at, stored.learned_at), profile.span_seconds
        lost = forgotten(present.detector, profile)
        if lost:
            self._declined = newest
            _log.warning("a new baseline is not used yet: open alerts could not be followed on it", scope=str(lost[0]))
            return present
        detector = carry_over(present.detector, profile, self._calendar(profile.settings))
        cells = CellMap(profile.fleet.cells, profile.traffic)
        return Judge(present.through, stored.baseline_id, detector, cells)
