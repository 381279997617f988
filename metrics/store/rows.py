"""Observations and rollups as rows of the database, both ways, in columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..rollup import Rollup
from ..verdict import VERDICT_COUNT, Verdict
from .copy_binary import (
    COPY_HEADER,
    COPY_TRAILER,
    INT2_OID,
    INT4_OID,
    copy_rows,
    copy_rows_with_arrays,
    read_array,
    read_array_column,
)

__all__ = ["observation_rows", "read_rollup", "rollup_rows"]

_EPOCH_2000 = 946_684_800  # PostgreSQL counts microseconds from 2000-01-01 UTC
_INT4_LIMIT = 2**31 - 1
_OBSERVATION_COLUMNS = (
    ("observed_at", ">i8"),
    ("duration_seconds", ">f8"),
    ("checks", ">i8"),
    ("series_id", ">i4"),
    ("verdict", ">i2"),
    ("source", ">i2"),
)
_OPTIONAL_COLUMNS = (("flow_instance", "V16"), ("customer", "V16"), ("trace_id", "V16"), ("span_id", ">i8"))
_ROLLUP_COLUMNS: tuple[tuple[str, str | None], ...] = (
    ("window_start", ">i8"),
    ("sum_seconds", ">f8"),
    ("sum_log", ">f8"),
    ("sum_log_sq", ">f8"),
    ("min_seconds", ">f8"),
    ("max_seconds", ">f8"),
    ("series_id", ">i4"),
    ("answered", ">i4"),
    *((verdict.label, ">i4") for verdict in Verdict),
    ("window_seconds", ">i2"),
    ("origin", ">i2"),
)


def observation_rows(columns: dict[str, NDArray[Any]]) -> bytes:
    """COPY data for ``write.copy_observations``; ids that are all zero become NULL.

    Rows are laid in groups with the same NULL columns, so that each group has rows of one size.

    Args:
        columns: ``observed_at_us`` (since 1970), ``duration_seconds``, ``checks``, ``series_id``, ``verdict``,
            ``source``, and ``flow_instance``, ``customer``, ``trace_id`` (V16), ``span_id``.
    """
    columns = {**columns, "observed_at": columns["observed_at_us"] - _EPOCH_2000 * 1_000_000}
    pattern = np.zeros(len(columns["observed_at"]), dtype=np.uint8)
    for bit, (name, _) in enumerate(_OPTIONAL_COLUMNS):
        pattern |= _is_set(columns[name]).astype(np.uint8) << bit
    parts = [COPY_HEADER]
    for present in np.flatnonzero(np.bincount(pattern, minlength=1)).tolist():
        optional = [(name, kind if present >> bit & 1 else None) for bit, (name, kind) in enumerate(_OPTIONAL_COLUMNS)]
        chosen = pattern == present
        values = columns if chosen.all() else {name: column[chosen] for name, column in columns.items()}
        layout = [*_OBSERVATION_COLUMNS, *optional]
        parts.append(copy_rows(layout, values, fields=len(layout)).tobytes())
    return b"".join([*parts, COPY_TRAILER])


def rollup_rows(rollups: Sequence[Rollup], *, rolled: bool | None) -> bytes:
    """COPY data for ``write.copy_window_rollups``, or for ``copy_hour_rollups`` with ``rolled`` None.

    Raises:
        OverflowError: a count does not fit into the database's 32-bit columns.
    """
    return b"".join([COPY_HEADER, *(_rows(rollup, rolled) for rollup in rollups), COPY_TRAILER])


def _rows(rollup: Rollup, rolled: bool | None) -> bytes:
    if len(rollup) and int(rollup.observations.max()) > _INT4_LIMIT:
        raise OverflowError(
            f"a rollup row counts {int(rollup.observations.max())} observations, more than {_INT4_LIMIT}; "
            "choose shorter windows"
        )
    size = len(rollup)
    values: dict[str, NDArray[Any]] = {
        "window_start": (rollup.window_start - _EPOCH_2000) * 1_000_000,
        "sum_seconds": rollup.sum_seconds,
        "sum_log": rollup.sum_log,
        "sum_log_sq": rollup.sum_log_sq,
        "min_seconds": rollup.min_seconds,
        "max_seconds": rollup.max_seconds,
        "series_id": rollup.series,
        "answered": rollup.count,
        "window_seconds": np.full(size, rollup.window_seconds),
        "origin": rollup.origin,
        **{verdict.label: rollup.verdicts[:, verdict] for verdict in Verdict},
    }
    layout = list(_ROLLUP_COLUMNS)
    if rolled is not None:
        layout.append(("rolled", ">i1"))
        values["rolled"] = np.full(size, rolled)
    checks, check_offsets = _trimmed_checks(rollup)
    fixed = copy_rows(layout, values, fields=len(layout) + 3)
    return copy_rows_with_arrays(
        fixed,
        [
            (rollup.offsets, rollup.buckets, INT2_OID, ">i2"),
            (rollup.offsets, rollup.bucket_counts, INT4_OID, ">i4"),
            (check_offsets, checks, INT4_OID, ">i4"),
        ],
    )


def _trimmed_checks(rollup: Rollup) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The checks of each row up to its last position in use, one after the other, and where each row begins."""
    rows, width, _ = rollup.checks.shape
    used = rollup.checks.any(axis=2) * np.arange(1, width + 1)
    widths = used.max(axis=1, initial=0)
    offsets = np.zeros(rows + 1, dtype=np.int64)
    np.cumsum(widths * 3, out=offsets[1:])
    return rollup.checks[np.arange(width) < widths[:, None]].reshape(-1), offsets


def read_rollup(rows: Sequence[Sequence[Any]], window_seconds: int) -> Rollup:
    """The rollup of rows fetched by a query that ends in the columns of ``read.columns`` (several slices add up).

    Rows may come in any order and with equal keys: the result is canonical only after ``rollup.merge`` or
    :func:`regroup`; see ``store_read``.
    """
    slices = [_read_slice(row, window_seconds) for row in rows]
    if not slices:
        return Rollup.empty(window_seconds)
    if len(slices) == 1:
        return slices[0]
    width = max(part.checks.shape[1] for part in slices)
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in slices])
        for name in Rollup.__slots__
        if name not in ("window_seconds", "offsets", "checks")
    }
    offsets = np.concatenate(([0], np.cumsum(np.concatenate([np.diff(part.offsets) for part in slices]))))
    checks = np.concatenate(
        [np.pad(part.checks, ((0, 0), (0, width - part.checks.shape[1]), (0, 0))) for part in slices]
    )
    return Rollup(window_seconds=window_seconds, offsets=offsets.astype(np.int64), checks=checks, **columns)


def _read_slice(row: Sequence[Any], window_seconds: int) -> Rollup:
    window, series, origin, answered = (
        read_array(row[0], ">i8") // 1_000_000 + _EPOCH_2000,
        read_array(row[1], ">i4"),
        read_array(row[2], ">i2"),
        read_array(row[3], ">i4"),
    )
    sums = [read_array(column, ">f8") for column in row[4:9]]
    verdicts = [read_array(column, ">i4") for column in row[9 : 9 + VERDICT_COUNT]]
    widths, buckets, counts, check_widths, checks = row[9 + VERDICT_COUNT : 14 + VERDICT_COUNT]
    width = read_array(widths, ">i4").astype(np.int64)
    check_width = read_array(check_widths, ">i4").astype(np.int64)
    most = int(check_width.max(initial=0)) // 3
    table = np.zeros((len(window), most * 3), dtype=np.int64)
    table[np.arange(most * 3) < check_width[:, None]] = read_array_column(checks, check_width, ">i4")
    offsets = np.zeros(len(window) + 1, dtype=np.int64)
    np.cumsum(width, out=offsets[1:])
    return Rollup(
        window_seconds,
        window,
        series.astype(np.int64),
        origin,
        answered.astype(np.int64),
        sums[0],
        sums[1],
        sums[2],
        sums[3],
        sums[4],
        offsets,
        read_array_column(buckets, width, ">i2"),
        read_array_column(counts, width, ">i4").astype(np.int64),
        np.stack(verdicts, axis=1).astype(np.int64),
        table.reshape(len(window), most, 3),
    )


def _is_set(column: NDArray[Any]) -> NDArray[np.bool_]:
    if column.dtype.kind == "V":
        halves = np.ascontiguousarray(column).view("<u8").reshape(-1, 2)
        return np.asarray((halves[:, 0] | halves[:, 1]) != 0)
    return np.asarray(column != 0)
