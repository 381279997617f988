"""What the figures do not show by themselves: observations that came late, twice or not at all, counted by hour.

Whoever takes observations counts what it left out, and sends the counts the way of the observations: as a batch
without records, through the spool, so that they are written exactly once as well. A writer that does not know them
passes over an empty batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from .observation import RECORD, ObservationBatch, SeriesKey

__all__ = ["OF_RECORDERS", "Effect", "Place", "QualityCounts", "Reason", "counts_of", "is_counts"]

_HOUR = 3_600
_HOUR_US = _HOUR * 1_000_000
_SECONDS_2000 = 946_684_800
_KEYS_LIMIT = 2_000  # of one batch of counts; what exceeds it is counted without step, then without flow and hour
_FIELDS = ("cxgauge.reason", "cxgauge.hour", "cxgauge.amount")

Place = tuple[int, str, str, str]
"""Start of the hour (seconds since 1970 UTC), flow, step, reason; flow and step empty where they are not known."""


class Effect(StrEnum):
    """What a reason means for the figures."""

    KEPT = "kept"  # in the figures all the same
    LEFT_OUT = "left_out"  # rightly not in the figures
    SENT_BACK = "sent_back"  # refused for now: in the figures if the sender sent it again
    LOST = "lost"  # missing in the figures


class Reason(StrEnum):
    """Why an observation is not simply one among others; names are stored."""

    LATE = "late"  # written after its window was judged: detection did not see it
    TIME_CORRECTED = "time_corrected"  # dated in the future, or before 2000: taken at the time of receipt
    SERIES_LIMIT = "series_limit"  # its dimension values exceed the step's limit: counted as "other"
    DUPLICATE = "duplicate"  # received before
    INVALID = "invalid"  # cannot be used: ids, times or fields are wrong, or no flow is declared
    NOT_ALLOWED = "not_allowed"  # the sender's token is not for this flow
    NOT_TAKEN = "not_taken"  # the receiver had no room or a disk error, and said so
    REQUEST_NOT_TAKEN = "request_not_taken"  # requests: too much at once, or too much of one sender
    REQUEST_REFUSED = "request_refused"  # requests: too large, unreadable, or without a good token
    REJECTED = "rejected"  # a row of an import that cannot be used
    REFUSED = "refused"  # the database refuses it for good; kept in a file
    CORRUPT = "corrupt"  # stretches of the spool that cannot be read
    MISSING = "missing"  # stretches of the spool that somebody took away
    TORN = "torn"  # stretches of the spool that were being written when their process died
    BUFFER_FULL = "buffer_full"  # the recorder: memory was full
    SPOOL_FULL = "spool_full"  # the recorder: the spool took nothing more
    SPOOL_ERROR = "spool_error"  # the recorder: the disk failed
    UNKNOWN_FLOW = "unknown_flow"  # the recorder: no such flow is declared
    UNKNOWN_STEP = "unknown_step"  # the recorder: the flow declares no such step
    NO_FLOW = "no_flow"  # the recorder: a step outside any flow
    INTERNAL_ERROR = "internal_error"  # the recorder failed
    OTHER = "other"  # of a newer version than ours

    @property
    def effect(self) -> Effect:
        """What it means for the figures."""
        return _EFFECTS.get(self, Effect.LOST)

    @property
    def counts_observations(self) -> bool:
        """Whether amounts are observations, rather than requests or stretches of the spool."""
        return self not in _OTHER_UNITS


_EFFECTS = {
    Reason.LATE: Effect.KEPT,
    Reason.TIME_CORRECTED: Effect.KEPT,
    Reason.SERIES_LIMIT: Effect.KEPT,
    Reason.DUPLICATE: Effect.LEFT_OUT,
    Reason.TORN: Effect.LEFT_OUT,  # it was never confirmed
    Reason.NOT_TAKEN: Effect.SENT_BACK,
    Reason.REQUEST_NOT_TAKEN: Effect.SENT_BACK,
}
OF_RECORDERS = (
    Reason.BUFFER_FULL, Reason.SPOOL_FULL, Reason.SPOOL_ERROR, Reason.UNKNOWN_FLOW, Reason.UNKNOWN_STEP,
    Reason.NO_FLOW, Reason.INTERNAL_ERROR,
)  # fmt: skip
"""What recorders could not record, as they tell it themselves."""
_OTHER_UNITS = frozenset(
    {Reason.REQUEST_NOT_TAKEN, Reason.REQUEST_REFUSED, Reason.CORRUPT, Reason.MISSING, Reason.TORN}
)


@dataclass(slots=True)
class QualityCounts:
    """Amounts by hour, flow, step and reason. Not thread-safe."""

    amounts: Counter[Place]

    def __init__(self, amounts: Mapping[Place, int] | None = None) -> None:
        self.amounts = Counter(amounts or {})

    def __bool__(self) -> bool:
        return bool(self.amounts)

    def add(self, reason: str, amount: int, at: float, flow: str = "", step: str = "") -> None:
        """Count ``amount`` in the hour of ``at`` (seconds since 1970 UTC)."""
        if amount > 0:
            self.amounts[int(at // _HOUR) * _HOUR, flow, step, reason] += amount

    def add_all(self, others: QualityCounts) -> None:
        """Count what somebody else counted."""
        self.amounts.update(others.amounts)

    def add_rows(
        self, reason: str, keys: Iterable[SeriesKey], series: NDArray[np.integer], observed_at_us: NDArray[np.int64]
    ) -> None:
        """Count observations by the hours of their own.

        Args:
            reason: Why.
            keys: The table of series.
            series: [R] index into it.
            observed_at_us: [R] microseconds since 1970 UTC.
        """
        if not len(series):
            return
        table = tuple(keys)
        found, amounts = np.unique(
            observed_at_us // _HOUR_US * len(table) + series.astype(np.int64), return_counts=True
        )
        for pair, amount in zip(found.tolist(), amounts.tolist(), strict=True):
            hour, number = divmod(pair, len(table))
            self.add(reason, amount, hour * _HOUR, table[number].flow, table[number].step)

    def batch(self) -> ObservationBatch:
        """The counts as they travel: a batch without records."""
        series = tuple(
            SeriesKey(flow, step, tuple(zip(_FIELDS, (reason, str(hour), str(amount)), strict=True)))
            for (hour, flow, step, reason), amount in self._bounded().items()
        )
        return ObservationBatch(series, np.zeros(0, dtype=RECORD))

    def _bounded(self) -> Counter[Place]:
        found = self.amounts
        if len(found) > _KEYS_LIMIT:
            found = _summed(((hour, flow, "", reason), amount) for (hour, flow, _, reason), amount in found.items())
        if len(found) > _KEYS_LIMIT:
            newest = max(hour for hour, *_ in found)
            found = _summed(((newest, "", "", reason), amount) for (*_, reason), amount in found.items())
        return found


def _summed(amounts: Iterable[tuple[Place, int]]) -> Counter[Place]:
    result: Counter[Place] = Counter()
    for place, amount in amounts:
        result[place] += amount
    return result


def is_counts(batch: ObservationBatch) -> bool:
    """Whether a batch has counts instead of observations."""
    return (
        not len(batch)
        and bool(batch.series)
        and all(tuple(name for name, _ in key.dimensions) == _FIELDS for key in batch.series)
    )


def counts_of(batch: ObservationBatch, now: float) -> QualityCounts:
    """The counts that a batch has: reasons we do not know as ``other``, impossible hours as that of ``now``."""
    found = QualityCounts()
    for key in batch.series:
        reason, hour, amount = (value for _, value in key.dimensions)
        if not amount.isdecimal() or len(amount) > 15:
            continue
        known = reason if reason in Reason._value2member_map_ else Reason.OTHER.value
        at = float(hour) if hour.isdecimal() and len(hour) < 12 else now
        found.add(known, int(amount), at if _SECONDS_2000 <= at <= now + _HOUR else now, key.flow, key.step)
    return found
