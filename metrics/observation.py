"""One customer passing one step, and batches of such passages as they travel to the store.

A batch is columnar: a numpy array of fixed-size records (:data:`RECORD`) plus the table of series
(:class:`SeriesKey`) that the records point into. It is the unit of the spool, the writer and the
rollup: nothing between the edge and the database handles single observations.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .verdict import CheckResult

__all__ = ["CHECKS_PER_STEP_LIMIT", "RECORD", "ObservationBatch", "SeriesKey", "Source", "check_bits", "check_results"]

CHECKS_PER_STEP_LIMIT = 32  # two bits a check in one signed 64-bit column

RECORD = np.dtype(
    [
        ("observed_at_us", "<i8"),  # when the answer had arrived: a closing window is not biased to fast answers
        ("duration_seconds", "<f8"),
        ("series", "<u4"),  # index into ObservationBatch.series
        ("verdict", "u1"),
        ("source", "u1"),
        ("reserved", "<u2"),
        ("checks", "<i8"),  # two bits a check, in the order of SeriesKey.checks, see check_bits()
        ("flow_instance", "V16"),  # 128-bit correlation id; all zero = none
        ("customer", "V16"),  # keyed HMAC token; all zero = none
        ("trace_id", "V16"),  # all zero = none
        ("span_id", "<i8"),  # 0 = none
    ]
)
_HEADER = struct.Struct("<II")  # length of the JSON series table, number of records


class Source(IntEnum):
    """How an observation came in; stored."""

    RECORDER = 0
    OTLP = 1
    BEACON = 2
    PROBE = 3
    IMPORT = 4
    SIMULATED = 5  # demonstration history: never shown without the word "simulated"


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """What a series is: flow, step and dimension values, with the names of the step's checks.

    Attributes:
        flow: Name of the flow.
        step: Name of the step.
        dimensions: ``(name, value)`` pairs in the order the flow declares them.
        checks: Names of the step's checks; record bit pair ``i`` belongs to ``checks[i]``. Not part
            of the series' identity in the store: positions are mapped there by name.
    """

    flow: str
    step: str
    dimensions: tuple[tuple[str, str], ...] = ()
    checks: tuple[str, ...] = ()

    def canonical_dimensions(self) -> str:
        """The dimensions as compact JSON with sorted names: the identity used in the store."""
        return json.dumps(dict(self.dimensions), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class ObservationBatch:
    """Observations in columns: ``records`` (dtype :data:`RECORD`) index into ``series``."""

    series: tuple[SeriesKey, ...]
    records: NDArray[np.void]

    def __len__(self) -> int:
        return int(self.records.shape[0])

    def to_bytes(self) -> bytes:
        """Serialise: header, JSON table of series, records as they lie in memory (little endian)."""
        table = [[key.flow, key.step, key.dimensions, key.checks] for key in self.series]
        text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
        return _HEADER.pack(len(text), len(self)) + text + self.records.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> ObservationBatch:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            ValueError: the data is truncated, has trailing bytes, or points outside its series table.
        """
        if len(data) < _HEADER.size:
            raise ValueError(f"observation batch of {len(data)} bytes is shorter than its header ({_HEADER.size})")
        text_length, count = _HEADER.unpack_from(data)
        expected = _HEADER.size + text_length + count * RECORD.itemsize
        if len(data) != expected:
            raise ValueError(f"observation batch of {len(data)} bytes does not match its header ({expected})")
        text = bytes(data[_HEADER.size : _HEADER.size + text_length])
        series = tuple(_series_key(row) for row in json.loads(text))
        records = np.frombuffer(data, dtype=RECORD, count=count, offset=_HEADER.size + text_length)
        if count and int(records["series"].max()) >= len(series):
            raise ValueError(f"observation batch points at series {int(records['series'].max())} of {len(series)}")
        return cls(series, records)


def _series_key(row: Any) -> SeriesKey:
    flow, step, dimensions, checks = row
    return SeriesKey(flow, step, tuple((name, value) for name, value in dimensions), tuple(checks))


def check_bits(results: Sequence[CheckResult]) -> int:
    """Pack results, first check in the lowest two bits, into a signed 64-bit integer.

    Raises:
        ValueError: more than :data:`CHECKS_PER_STEP_LIMIT` results.
    """
    if len(results) > CHECKS_PER_STEP_LIMIT:
        raise ValueError(f"{len(results)} check results do not fit; a step has at most {CHECKS_PER_STEP_LIMIT} checks")
    bits = 0
    for position, result in enumerate(results):
        bits |= int(result) << (2 * position)
    return bits - (1 << 64) if bits >= 1 << 63 else bits


def check_results(bits: int, count: int) -> tuple[CheckResult, ...]:
    """Unpack what :func:`check_bits` packed, for the first ``count`` checks."""
    return tuple(CheckResult((bits >> (2 * position)) & 3) for position in range(count))
