"""From the recorder's buffer to the spool, on the flush thread."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ...metrics.observation import ObservationBatch
from ...metrics.quality import QualityCounts
from ..spool import SpoolError, SpoolFull, SpoolWriter
from .buffer import DropReason, Drops

__all__ = ["Encodes", "SpoolSink"]

_LOGGER = logging.getLogger("cxgauge.recorder")
_OPEN_AGAIN_SECONDS = 1.0
_REPORT_SECONDS = 5.0


class Encodes(Protocol):
    """Makes batches of what was queued."""

    def encode(self, entries: list[Any], timer_offset_ns: int, /) -> ObservationBatch:
        """A batch of ``entries``; ``timer_offset_ns`` turns the recorder's timer into nanoseconds since 1970."""

    def forked(self) -> None:
        """Forget, in a forked child, what belongs to the parent."""

    def close(self) -> None:
        """Close what was opened to encode."""


class SpoolSink:
    """Encodes entries and appends them to a source of its own, opened with the first of them.

    Args:
        open_spool: Opens the source; called again in a forked child, and every second while it fails.
        encoder: Makes batches of entries.
        drops: Where observations that the disk did not take are counted.
        clock: Seconds since 1970.
        timer: The monotonic nanoseconds that entries are timed with.
    """

    def __init__(
        self,
        open_spool: Callable[[], SpoolWriter] | None,
        encoder: Encodes,
        drops: Drops,
        clock: Callable[[], float],
        timer: Callable[[], int],
    ) -> None:
        self._open = open_spool
        self._encoder = encoder
        self._drops = drops
        self._clock = clock
        self._timer = timer
        self.forked()

    def forked(self) -> None:
        """Forget the parent's source, and what was refused to it."""
        self.problem: str | None = None
        self._writer: SpoolWriter | None = None
        self._refused: ObservationBatch | None = None
        self._open_again_at = self._report_at = float("-inf")
        self._reported: dict[tuple[str, str, str], int] = {}
        self._encoder.forked()

    def ready(self) -> str | None:
        """Open the source if need be, and try again what was refused."""
        if self._writer is None and not self._opened():
            return DropReason.SPOOL_ERROR
        if self._refused is not None:
            refused, self._refused = self._refused, None
            self._append(refused)
        return None if self._refused is None else DropReason.SPOOL_FULL

    def take(self, entries: list[Any]) -> None:
        """Encode and append; a batch that the spool refuses is kept until it has room."""
        batch = self._encoder.encode(entries, round(self._clock() * 1e6) * 1000 - self._timer())
        if len(batch):
            self._append(batch)

    def idle(self) -> None:
        """Let the spool close a segment that is old enough."""
        if self._writer is not None:
            with contextlib.suppress(SpoolError):  # told by the next append
                self._writer.maintain()
            if time.monotonic() >= self._report_at:
                self._report_at = time.monotonic() + _REPORT_SECONDS
                self._report_drops()

    def end(self) -> None:
        """Count what was refused to the last, and close the source."""
        if self._refused is not None:
            self._count(DropReason.SPOOL_FULL, self._refused)
            self._refused = None
        self._encoder.close()
        if self._writer is not None:
            self._report_drops()
            self._writer.close()

    def _report_drops(self) -> None:
        """Send what was dropped since the last time the way of the observations, so that figures can say it."""
        places = self._drops.places()
        counts = QualityCounts()
        now = self._clock()
        for (reason, flow, step), count in places.items():
            counts.add(reason, count - self._reported.get((reason, flow, step), 0), now, flow, step)
        if self._writer is None or not counts:
            return
        try:
            self._writer.append(counts.batch())
        except SpoolFull:
            return  # nothing was kept: again next time
        except SpoolError as error:
            self._say(str(error))  # it may have been kept: rather lost than counted twice
        self._reported = places

    def _count(self, reason: str, batch: ObservationBatch) -> None:
        """Count a batch that is lost, by flow and step."""
        counts = np.bincount(batch.records["series"], minlength=len(batch.series)).tolist()
        for key, count in zip(batch.series, counts, strict=True):
            if count:
                self._drops.add(reason, count, flow=key.flow, step=key.step)

    def _append(self, batch: ObservationBatch) -> None:
        if self._writer is None:
            raise RuntimeError("no source is open; ask ready() before take()")
        try:
            self._writer.append(batch)
            self._say(None)
        except SpoolFull as full:
            self._refused = batch
            self._say(str(full))
        except SpoolError as error:
            # Whether it was kept is not known: counted as lost rather than written twice.
            self._count(DropReason.SPOOL_ERROR, batch)
            self._say(str(error))

    def _opened(self) -> bool:
        if self._open is None or time.monotonic() < self._open_again_at:
            return False
        try:
            self._writer = self._open()
            self._say(None)
        except Exception as error:
            self._open_again_at = time.monotonic() + _OPEN_AGAIN_SECONDS
            self._say(str(error))
        return self._writer is not None

    def _say(self, problem: str | None) -> None:
        """Log a problem when it begins and when it is over."""
        if problem is not None and self.problem is None:
            _LOGGER.warning("observations wait in memory: %s", problem)
        elif problem is None and self.problem is not None:
            _LOGGER.warning("observations are written to the spool again")
        self.problem = problem
