"""Checks between steps, judged by the recorder's flush thread on keyed tokens."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...metrics.judge import Judgement
from ...metrics.verdict import CheckResult
from .buffer import DropReason, Drops
from .flow import Step

if TYPE_CHECKING:
    from ..across import AcrossJudge

__all__ = ["AcrossResults"]

_LOGGER = logging.getLogger("cxgauge.recorder")
_EXPIRE_SECONDS = 60.0
_OPEN_AGAIN_SECONDS = 10.0
_FOR_EVER: list[object] = []  # a parent's database connections in its forked child, where they must not be closed


class AcrossResults:
    """Overlays judgements with the results of checks between steps. Used by one thread.

    Args:
        open_judge: Opens the judge, on first use; None leaves these checks out.
        drops: Where failures are counted: the observation is recorded, its checks between steps are not evaluated.
    """

    def __init__(self, open_judge: Callable[[], AcrossJudge] | None, drops: Drops) -> None:
        self._open = open_judge
        self._drops = drops
        self._judge: AcrossJudge | None = None
        self._open_again_at = float("-inf")
        self._latest_at = self._expire_at = float("-inf")

    def forked(self) -> None:
        """Leave the parent's connection alone (https://www.sqlite.org/howtocorrupt.html, section 2.6)."""
        if self._judge is not None:
            _FOR_EVER.append(self._judge)
            self._judge = None

    def overlay(self, judgement: Judgement, step: Step, at: float) -> Judgement:
        """The judgement with the results that this answer completes.

        Args:
            judgement: Of the step's own checks.
            step: The passage; its tokens are taken.
            at: When the answer arrived, seconds since 1970.
        """
        flow, said = step.flow, step.said
        judge = self._opened()
        if judge is None or said is None:
            return judgement
        try:
            found = judge.judge(flow.name, flow.id, said.sides, at)
        except Exception:
            self._failed("judged")
            return judgement
        self._latest_at = max(self._latest_at, at)
        verdict, bits = judgement.verdict, judgement.check_bits & 0xFFFF_FFFF_FFFF_FFFF
        for one in found:
            if one.name in step.plan.check_names:
                bits |= one.result << 2 * step.plan.check_names.index(one.name)
                if one.result is CheckResult.FAIL:
                    verdict = max(verdict, one.verdict)
        return Judgement(verdict, bits - (1 << 64) if bits >= 1 << 63 else bits, judgement.outcomes)

    def settle(self) -> None:
        """Make what was kept durable, before the observations are; now and then give up what waited too long."""
        if self._judge is None:
            return
        try:
            self._judge.commit()
            if self._latest_at >= self._expire_at:
                self._expire_at = self._latest_at + _EXPIRE_SECONDS
                self._judge.expire(self._latest_at)
        except Exception:
            self._failed("kept")

    def close(self) -> None:
        """Make what was kept durable and close the file; it is opened again when another answer comes."""
        judge, self._judge = self._judge, None
        if judge is not None:
            try:
                judge.close()
            except Exception:
                self._failed("kept")

    def _opened(self) -> AcrossJudge | None:
        if self._judge is None and self._open is not None and time.monotonic() >= self._open_again_at:
            try:
                self._judge = self._open()
            except Exception:
                self._failed("opened")
        return self._judge

    def _failed(self, what: str) -> None:
        self._drops.add(DropReason.INTERNAL_ERROR)
        self._open_again_at = time.monotonic() + _OPEN_AGAIN_SECONDS
        self._judge = None
        _LOGGER.warning("checks between steps cannot be %s at present", what, exc_info=True)
